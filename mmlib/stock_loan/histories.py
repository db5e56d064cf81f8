"""Histories to forecast: the two that are shipped, and yours.

histories.balance()                    # dollars on loan in one synthetic name: a stock, nearly a random walk
histories.balance("occ.csv", "GME")    # a file of the OCC's balances
histories.flows()                      # shares asked for, days × names: flows, which go back to a level
histories.flows("shares.csv")          # a date column, then a column a name
histories.flows("ticks:my/store")      # the demand of the book in a tick store, or behind parquet:
"""

from pathlib import Path

import pandas as pd

from mmlib.stock_loan import demand, public_files, sources

#: Folder of the shipped histories; `make.py` there wrote them.
SAMPLE = Path(__file__).parents[2] / "data" / "forecast"


def balance(path="", symbol: str = "") -> pd.Series:
    """One name's balance in dollars by day: the shipped one, or from an OCC file (`symbol`, if it has several)."""
    if not path:
        return flows(SAMPLE / "balance.csv")["BALANCE"]
    table = public_files.occ_balances(path)
    names = sorted(table["symbol"].unique())
    if symbol not in names and (symbol or len(names) > 1):
        raise ValueError(f"symbol must be one of {', '.join(names[:10])}; got {symbol!r}")
    rows = table[table["symbol"] == (symbol or names[0])].sort_values("trade_date")
    dollars = rows["market_loans"] + rows["hedge_loans"]
    return pd.Series(dollars.to_numpy(float), pd.DatetimeIndex(rows["trade_date"]), name=symbol or names[0])


def flows(path="") -> pd.DataFrame:
    """Shares by day and name: the shipped ones, from a CSV with a date in the first column, or a book's demand.

    A book is named as `sources.open` takes it, with the prefix that says what holds it: ``ticks:FOLDER``.
    """
    if str(path).startswith(("ticks:", "parquet:", "kdb:")):
        return pd.DataFrame(demand.series(sources.open(path)))
    file = Path(path) if path else SAMPLE / "flows.csv"
    try:
        table = pd.read_csv(file, index_col=0)
        table.index = pd.DatetimeIndex(pd.to_datetime(table.index, format="%Y-%m-%d"))
        return table.astype(float)
    except (OSError, ValueError) as error:
        raise ValueError(f"path must be a CSV of dates (YYYY-MM-DD) and numbers, a column a name; {error}") from error
