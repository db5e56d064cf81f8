"""Readers for the files regulators, clearing houses and brokers publish on short selling and stock loan.

Each checks what the file says about itself: its trailer's counts and totals, the identities between its columns, the
number of fields on every line, the encoding. A file that was cut short, or is not what it should be, ends in a
`tables.TableError` that names the file and the line; nothing is dropped. Files may be plain, `.gz` or a `.zip` of one.

    fails           SEC fails-to-deliver, cnsfailsYYYYMM{a,b}: a balance at each settlement date, not new fails
    short_volume    FINRA daily short sale volume, CNMSshvolYYYYMMDD.txt, or a history of several days
    shortable       Interactive Brokers' list of shortable stocks, usa.txt: what is available now, and at what fee
    availability    the same broker's record of one stock through a day
    occ_balances    The Options Clearing Corporation's stock-loan balances, CSV or the newer JSON

Rates come in per cent and are returned in basis points a year.
"""

import csv
import html
import json
import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib import checks, textfiles
from mmlib.stock_loan import _published as read
from mmlib.stock_loan._book import TableError

FAILS = ["SETTLEMENT DATE", "CUSIP", "SYMBOL", "QUANTITY (FAILS)", "DESCRIPTION", "PRICE"]
FAILS_TRAILERS = ("Trailer record count ", "Trailer total quantity of shares ")
SHORT_VOLUME = ["Date", "Symbol", "ShortVolume", "ShortExemptVolume", "TotalVolume", "Market"]
SHORT_VOLUME_HISTORY = ["Date", "Symbol", "Short Volume", "Short Exempt Volume", "Total Volume", "Market Center"]
SHORTABLE = ["#SYM", "CUR", "NAME", "CON", "ISIN", "REBATERATE", "FEERATE", "AVAILABLE", "FIGI", ""]
SHORTABLE_BEFORE_FIGI = [column for column in SHORTABLE if column != "FIGI"]  # as in 2022
AVAILABILITY = ["DT", "TM", "REBATE", "FEE", "AVAIL"]
OCC_CSV = ["Symbol", "Market Loan Loan Balance", "Hedge Loan Balance", "Date"]
OCC_JSON = [
    "businessDate",
    "symbol",
    "newMarketLoanCount",
    "totalMarketLoanVal",
    "newBilateralLoanCount",
    "totalBilateralLoanVal",
]
_REFERENCE = re.compile(r"&(#\d+|#x[0-9a-fA-F]+|\w+);", re.ASCII)  # a character written as HTML writes it


def fails(path: str | Path, trailer: bool = True) -> pd.DataFrame:
    """SEC fails-to-deliver: settlement_date, cusip, symbol, quantity (shares), description, price (NaN = not given).

    Parameters
    ----------
    path : str or Path
    trailer : bool
        Whether the file must end in its two trailers. If not, those it has are checked all the same; for what has
        none a warning in the log of this module says how many rows and shares were taken on trust.

    Raises
    ------
    TableError
        If a line has not six fields, a value is not a number, or the two trailers disagree with the rows.
    """
    name, lines = _lines(path, "latin-1")
    read.header(name, 1, lines[0], FAILS)
    has = [prefix for prefix in FAILS_TRAILERS if trailer or any(line.startswith(prefix) for line in lines[-2:])]
    stated = {prefix: read.trailer(name, lines, i - len(has), prefix) for i, prefix in enumerate(has)}
    rows = lines[1 : len(lines) - len(has)]
    date, cusip, symbol, quantity, description, price = read.fields(name, rows, 2, len(FAILS))
    frame = pd.DataFrame(
        {
            "settlement_date": read.dates(name, date, 2, "%Y%m%d"),
            "cusip": cusip,
            "symbol": symbol,
            "quantity": read.whole(name, quantity, 2, "QUANTITY (FAILS)"),
            "description": description,
            "price": read.numbers(name, price, 2, "PRICE", missing="."),
        }
    )
    for prefix, found in zip(FAILS_TRAILERS, (len(frame), sum(map(int, quantity))), strict=True):
        what = prefix.removeprefix("Trailer ").strip()
        if prefix in stated:
            read.agrees(name, what, stated[prefix], found)
        else:
            logging.getLogger(__name__).warning("%s has no trailer: %s %s is not checked", name, what, f"{found:,}")
    return frame


def short_volume(path: str | Path) -> pd.DataFrame:
    """FINRA short volume: trade_date, symbol, short_volume, short_exempt_volume, total_volume (shares), market.

    The file of a day ends in its number of rows, which is checked; a history over days has no trailer. Volumes are
    floats: recent files carry fractions of shares.

    Raises
    ------
    TableError
        Also if exempt > short or short > total on a line, or a symbol is missing or repeats on a day.
    """
    name, lines = _lines(path, "utf-8")
    history = lines[0].split("|") == SHORT_VOLUME_HISTORY
    read.header(name, 1, lines[0], SHORT_VOLUME_HISTORY if history else SHORT_VOLUME)
    rows = lines[1:] if history else lines[1:-1]
    count = len(rows) if history else read.trailer(name, lines, -1, "")
    date, symbol, short, exempt, total, market = read.fields(name, rows, 2, len(SHORT_VOLUME))
    frame = pd.DataFrame(
        {
            "trade_date": read.dates(name, date, 2, "%Y%m%d"),
            "symbol": symbol,
            "short_volume": read.numbers(name, short, 2, "ShortVolume"),
            "short_exempt_volume": read.numbers(name, exempt, 2, "ShortExemptVolume"),
            "total_volume": read.numbers(name, total, 2, "TotalVolume"),
            "market": market,
        }
    )
    read.agrees(name, "number of rows", count, len(frame))
    day, short_too = frame["trade_date"], frame["short_volume"]
    if not history:
        read.refuse(name, day != day.iloc[:1].min(), date, 2, "Date", "one day's in this file")
    read.refuse(name, frame["short_exempt_volume"] > short_too, exempt, 2, "ShortExemptVolume", "<= ShortVolume")
    read.refuse(name, short_too > frame["total_volume"], short, 2, "ShortVolume", "<= TotalVolume")
    read.refuse(name, frame["symbol"] == "", symbol, 2, "Symbol", "given")
    read.refuse(name, frame.duplicated(["trade_date", "symbol"]), symbol, 2, "Symbol", "listed once a day")
    return frame


def shortable(path: str | Path, agreement: float = 0.95) -> pd.DataFrame:
    """Interactive Brokers' shortable list, one row a stock; a stock that is not listed is not available.

    Columns: as_of (time of the list), symbol, currency, name, contract, isin, rebate_rate and fee_rate (bp a year, NaN
    where the list says NA), available (shares), capped (the list says "more than `available`"), figi (NaN throughout
    in lists from before it was added). Names have their `&amp;` and the like resolved.

    Parameters
    ----------
    path : str or Path
    agreement : float
        FEERATE + REBATERATE is the day's benchmark; the share of rows that must give the commonest sum, to 0.01 bp.

    Raises
    ------
    TableError
        Also if the `#EOF` count is not the number of rows, or fewer rows agree on the benchmark.
    """
    agreement = checks.in_interval("agreement", agreement, 0, 1, meaning="share of rows")
    name, lines = _lines(path, "utf-8")
    begin = lines[0].split("|")
    if begin[0] != "#BOF" or len(begin) != 3:
        raise TableError(f"{name}: line 1 must be #BOF|date|time; got {lines[0]!r}")
    as_of = read.dates(name, [" ".join(begin[1:])], 1, "%Y.%m.%d %H:%M:%S").iloc[0]
    second = lines[1] if len(lines) > 1 else ""
    heads = SHORTABLE_BEFORE_FIGI if second.split("|") == SHORTABLE_BEFORE_FIGI else SHORTABLE
    read.header(name, 2, second, heads)
    count = read.trailer(name, lines, -1, "#EOF|")
    given = dict(zip(heads, read.fields(name, lines[2:-1], 3, len(heads)), strict=True))
    rates = {
        to: read.numbers(name, given[column], 3, column, low, missing="NA")
        for to, column, low in (("rebate_rate", "REBATERATE", -np.inf), ("fee_rate", "FEERATE", 0.0))
    }
    read.refuse(name, [end != "" for end in given[""]], given[""], 3, "what follows the last bar", "nothing")
    frame = pd.DataFrame(
        {
            "as_of": as_of,
            "symbol": given["#SYM"],
            "currency": given["CUR"],
            "name": [_REFERENCE.sub(lambda found: html.unescape(found[0]), text) for text in given["NAME"]],
            "contract": given["CON"],
            "isin": given["ISIN"],
            **{to: (100 * rate).round(2) for to, rate in rates.items()},
            "available": read.whole(name, [a.removeprefix(">") for a in given["AVAILABLE"]], 3, "AVAILABLE"),
            "capped": [a.startswith(">") for a in given["AVAILABLE"]],
            "figi": pd.Series(given.get("FIGI", np.nan), index=range(len(given["CON"])), dtype="str"),
        }
    )
    read.agrees(name, "#EOF count", count, len(frame))
    read.refuse(name, frame["symbol"] == "", given["#SYM"], 3, "#SYM", "given")
    read.refuse(name, frame["contract"].duplicated(), given["CON"], 3, "CON", "listed once")
    sums = (frame["fee_rate"] + frame["rebate_rate"]).round(2)
    share = (sums == sums.mode().iloc[0]).mean() if sums.notna().any() else 0.0
    if share < agreement:
        raise TableError(
            f"{name}: FEERATE + REBATERATE must be one benchmark on {agreement:.0%} of rows; got {share:.1%}"
        )
    return frame


def availability(path: str | Path) -> pd.DataFrame:
    """One stock through a day: time, rebate_rate and fee_rate (bp a year), available (shares)."""
    name, lines = _lines(path, "utf-8")
    read.header(name, 1, lines[0], AVAILABILITY)
    date, time, rebate, fee, available = read.fields(name, lines[1:], 2, len(AVAILABILITY))
    stamp = [f"{d} {t}" for d, t in zip(date, time, strict=True)]
    frame = pd.DataFrame(
        {
            "time": read.dates(name, stamp, 2, "%Y.%m.%d %H:%M:%S"),
            "rebate_rate": (100 * read.numbers(name, rebate, 2, "REBATE", low=-np.inf)).round(2),
            "fee_rate": (100 * read.numbers(name, fee, 2, "FEE")).round(2),
            "available": read.whole(name, available, 2, "AVAIL"),
        }
    )
    read.refuse(name, frame["time"].diff() <= pd.Timedelta(0), time, 2, "TM", "later than the line before")
    return frame


def occ_balances(path: str | Path) -> pd.DataFrame:
    """OCC stock-loan balances: trade_date, symbol, market_loans, hedge_loans (dollars on loan at the close).

    The CSV's names may have dots for spaces and a leading row number, as exports from R have. In the JSON the hedge
    programme is called bilateral; the day's numbers of new loans are added as new_market_loans and new_hedge_loans.

    Raises
    ------
    TableError
        Also if row numbers skip, a symbol is missing or repeats on a day, or the JSON breaks off or says a thing twice.
    """
    name = Path(path).name
    text = textfiles.text(path, error=TableError)
    if text.lstrip().startswith("{"):
        frame, first, word = _occ_json(name, text), 1, "record"
    else:
        frame, first, word = _occ_csv(name, _lines(path, "utf-8")[1]), 2, "line"
    symbol = frame["symbol"]
    read.refuse(name, symbol == "", symbol, first, "Symbol", "given", word)
    read.refuse(name, frame.duplicated(["trade_date", "symbol"]), symbol, first, "Symbol", "listed once a day", word)
    return frame


def _occ_csv(name, lines):
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append([cell.strip() for cell in next(csv.reader([line], strict=True))] if line else [])
        except csv.Error as error:
            raise TableError(f"{name}: line {number} must be CSV; got {error}") from None
    header = [cell.replace(".", " ") for cell in rows[0]]
    numbered = header[:1] == [""]
    read.header(name, 1, "|".join(header[numbered:]), OCC_CSV)
    columns = read.columns(name, rows[1:], 2, len(header))
    if numbered:
        number = columns.pop(0)
        skips = read.whole(name, number, 2, "row number") != np.arange(1, len(rows))
        read.refuse(name, skips, number, 2, "row number", "one more than the line before")
    symbol, market, hedge, date = columns
    return pd.DataFrame(
        {
            "trade_date": read.dates(name, date, 2, "%m/%d/%Y"),
            "symbol": pd.Series(symbol, dtype="str"),
            "market_loans": read.numbers(name, market, 2, OCC_CSV[1]),
            "hedge_loans": read.numbers(name, hedge, 2, OCC_CSV[2]),
        }
    )


def _occ_json(name, text):
    def once(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            raise TableError(f"{name}: a field of an object must be given once; got {[key for key, _ in pairs]}")
        return found

    try:
        records = json.loads(text, object_pairs_hook=once)["stockLoanResults"]
    except json.JSONDecodeError as error:
        raise TableError(f"{name}: line {error.lineno} must be JSON (cut short?); got {error.msg}") from None
    except RecursionError:
        raise TableError(f"{name}: line 1 must be an object with a list of records; got brackets without end") from None
    except (KeyError, TypeError):
        raise TableError(f"{name}: line 1 must be an object with stockLoanResults; got none") from None
    if not isinstance(records, list):
        raise TableError(f"{name}: stockLoanResults must be a list; got {records!r}")
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise TableError(f"{name}: record {number} must be an object; got {record!r}")
        if missing := [field for field in OCC_JSON if record.get(field) in (None, "")]:
            raise TableError(f"{name}: record {number} must have {', '.join(OCC_JSON)}; got no {', '.join(missing)}")
    date, symbol, new_market, market, new_hedge, hedge = ([str(r[field]) for r in records] for field in OCC_JSON)
    return pd.DataFrame(
        {
            "trade_date": read.dates(name, date, 1, "%m/%d/%Y" if date and "/" in date[0] else "%Y-%m-%d", "record"),
            "symbol": pd.Series(symbol, dtype="str"),
            "market_loans": read.numbers(name, market, 1, OCC_JSON[3], word="record"),
            "hedge_loans": read.numbers(name, hedge, 1, OCC_JSON[5], word="record"),
            "new_market_loans": read.whole(name, new_market, 1, OCC_JSON[2], "record"),
            "new_hedge_loans": read.whole(name, new_hedge, 1, OCC_JSON[4], "record"),
        }
    )


def _lines(path, encoding):
    """The file's name and its lines, without line ends; the last line must have one."""
    return Path(path).name, textfiles.lines(path, encoding, error=TableError)
