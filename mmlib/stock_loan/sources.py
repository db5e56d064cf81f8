"""Where a book comes from: one call, `open(url)`, and the same tables whatever is behind it.

    >>> book = sources.open("my/folder")             # CSV: one file a table, or inventory.csv and loans.csv
    >>> book = sources.open("parquet:my/warehouse")  # Parquet, one folder a table and trade date

Every source yields plain DataFrames by table name and says what to call each in a message; `tables.check` does the
rest, so equal content gives equal books, types included. A folder of CSV holds either the eleven tables of
`_schemas.COLUMNS`, or two files in the form desks export (fees in basis points a year):

    inventory.csv   tradeDate, securityId, quantityAvailable, marketPrice
    loans.csv       tradeDate, securityId, counterPartyId, quantityReturned, quantityBorrowed,
                    loanFee, borrowFee, rebateRate

There, a row of loans is a day's flow between the desk and a counterparty in a name. Balances are carried over the days
without a row; returns are first in, first out; a row's fees hold for the whole balance from its day on. Prices are not
carried: a name needs an inventory row on every trade date on which it is held. What the two files do not say is
"unknown", empty, or one pool named POOL; a day whose rows imply different benchmarks (loanFee + rebateRate) has none.
"""

import csv
import io
from collections import defaultdict, deque
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib import textfiles
from mmlib.stock_loan import _parquet, tables
from mmlib.stock_loan._book import Book, TableError
from mmlib.stock_loan._schemas import COLUMNS

LARGEST = 2**31  #: bytes that a table's CSV file may have: 5,000 names over three years take a tenth of it
#: The sample shipped with the project.
SAMPLE = str(Path(__file__).parents[2] / "data" / "stock_loan")

DESK_COLUMNS = {
    "inventory": {
        "tradeDate": COLUMNS["closes"]["trade_date"],
        "securityId": COLUMNS["closes"]["security_id"],
        "quantityAvailable": COLUMNS["inventory"]["quantity_available"],
        "marketPrice": COLUMNS["closes"]["close"],
    },
    "loans": {
        "tradeDate": COLUMNS["loans"]["trade_date"],
        "securityId": COLUMNS["loans"]["security_id"],
        "counterPartyId": COLUMNS["loans"]["client_id"],
        "quantityReturned": COLUMNS["loans"]["quantity"],
        "quantityBorrowed": COLUMNS["loans"]["quantity"],
        "loanFee": COLUMNS["loans"]["loan_fee"],
        "borrowFee": COLUMNS["loans"]["borrow_fee"],
        "rebateRate": COLUMNS["loans"]["rebate_rate"],
    },
}
DESK_KEYS = {"inventory": ["tradeDate", "securityId"], "loans": ["tradeDate", "securityId", "counterPartyId"]}


def open(url):
    """The book at `url`, checked.

    Parameters
    ----------
    url : str or Path
        A folder of CSV files, or `parquet:` and a folder written by `write_parquet`.

    Returns
    -------
    tables.Book

    Raises
    ------
    tables.TableError
        If a file is missing, cut short, not UTF-8, or breaks a rule of the tables; names the file and the line.
    """
    if str(url).startswith("parquet:"):
        return _open_parquet(Path(str(url).removeprefix("parquet:")))
    folder = Path(url)
    if not folder.is_dir():
        raise TableError(f"url must be a folder of CSV files or parquet:FOLDER; got {str(url)!r}")
    export = [folder / "inventory.csv", folder / "loans.csv"]
    if any(path.is_file() and b"tradeDate" in _header(path) for path in export):
        return _from_desk(*export)
    frames = {name: _read_csv(folder / f"{name}.csv", whole=True) for name in COLUMNS}
    _compare_rows(folder, frames)
    return tables.check(Book(**frames), {name: (f"{name}.csv", 2) for name in COLUMNS})


def write_csv(book, folder):
    """Write a book as one CSV file a table, and their numbers of rows in rows.csv; `open` gives the same book."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in COLUMNS:
        getattr(book, name).to_csv(folder / f"{name}.csv", index=False, date_format="%Y-%m-%d", lineterminator="\n")
    _write_rows(book, folder)


def write_parquet(book, folder):
    """Write a book as Parquet, one folder a table and, where the table has dates, one `trade_date=…` folder a day.

    rows.csv beside them has the numbers of rows, so that `open` notices a day that is missing.

    Raises
    ------
    ValueError
        If the folder holds something already.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder must be new or empty (Parquet files would mix); got {str(folder)!r}")
    for name in COLUMNS:
        _parquet.write_table(getattr(book, name), folder / name)
    _write_rows(book, folder)


def _write_rows(book, folder):
    lines = [f"{name},{len(getattr(book, name))}\n" for name in COLUMNS]
    (folder / "rows.csv").write_text("".join(["table,rows\n", *lines]), encoding="utf-8", newline="")


def _compare_rows(folder, frames):
    """TableError if the folder's rows.csv, where it has one, counts other rows than were read."""
    if not (folder / "rows.csv").is_file():
        return
    counted = _read_csv(folder / "rows.csv", whole=True)
    if list(counted) != ["table", "rows"]:
        raise TableError(f"rows.csv: columns must be table, rows; got {', '.join(counted)}")
    for name, rows in counted.itertuples(index=False):
        if name in frames and str(len(frames[name])) != rows:
            raise TableError(
                f"{name} must have the {rows} rows that rows.csv says (files missing or cut short?); got"
                f" {len(frames[name])}. Delete rows.csv if the tables were changed on purpose"
            )


def _open_parquet(folder):
    frames = {name: _parquet.read_table(name, folder / name, columns) for name, columns in COLUMNS.items()}
    _compare_rows(folder, frames)
    return tables.check(Book(**frames), {name: (f"{name} (Parquet)", 0) for name in COLUMNS})


def _header(path):
    with path.open("rb") as file:
        return file.readline()


def _read_csv(path, whole=False):
    """A CSV file as text columns; every line must have all its fields.

    If `whole`, the last line must have a line end, as `write_csv` gives it: a file cut within its last number has none.
    """
    if not path.is_file():
        raise TableError(
            f"{path.name} must be in the folder {path.parent.name!r}, with the ten other tables or, in a desk's export"
            f" (columns tradeDate, ...), as inventory.csv and loans.csv; got no such file"
        )
    text = textfiles.text(path, largest=LARGEST, error=TableError)
    if whole and not text.endswith("\n"):
        raise TableError(f"{path.name}: the last line must have a line end (cut short?); got {text[-40:]!r}")
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        width = len(next(rows))
        for row in rows:
            if len(row) != width:
                raise TableError(
                    f"{path.name}: line {rows.line_num} must have {width} fields (cut short?); got {max(len(row), 1)}"
                )
    except csv.Error as error:
        raise TableError(f"{path.name}: line {rows.line_num}: {error}") from None
    try:
        return pd.read_csv(io.StringIO(text), dtype="str", keep_default_na=False, skip_blank_lines=False)
    except pd.errors.ParserError as error:
        raise TableError(f"{path.name}: {error}") from None


def _from_desk(inventory_path, loans_path):
    """A book from the two files of a desk's export."""
    files = {"inventory": inventory_path, "loans": loans_path}
    frames = {name: tables.validate(_read_csv(path), DESK_COLUMNS[name], DESK_KEYS[name], path.name, 2)
              for name, path in files.items()}  # fmt: skip
    inventory, loans = frames["inventory"], frames["loans"]
    dates = np.unique(np.concatenate([inventory["tradeDate"], loans["tradeDate"]]))
    ids = np.unique(np.concatenate([inventory["securityId"], loans["securityId"]]))
    parties = np.unique(loans["counterPartyId"])
    benchmark = (loans["loanFee"] + loans["rebateRate"]).round(2).groupby(loans["tradeDate"])
    benchmark = benchmark.first().where(benchmark.min() == benchmark.max()).reindex(dates)
    empty = {name: pd.DataFrame({column: pd.Series(dtype=rule.dtype.type) for column, rule in COLUMNS[name].items()})
             for name in ("debits", "positions", "locates")}  # fmt: skip
    return tables.check(Book(
        securities=pd.DataFrame({"security_id": ids, "symbol": ids, "sector": "unknown", "bucket": "unknown",
                                 "round_lot": 1, "average_daily_volume": 0}),
        closes=pd.DataFrame({"trade_date": inventory["tradeDate"], "security_id": inventory["securityId"],
                             "close": inventory["marketPrice"], "indicative_fee": np.nan}),
        rates=pd.DataFrame({"trade_date": dates, "benchmark_rate": benchmark.to_numpy(), "funding_rate": np.nan}),
        clients=pd.DataFrame({"client_id": parties, "client_type": "unknown", "markup": 0.0, "credit_limit": np.nan,
                              "risk_weight": 1.0}),
        pools=pd.DataFrame({"pool_id": ["POOL"], "pool_type": "unknown", "merit": 1, "client_id": "",
                            "concentration_limit": 1.0}),
        eligibility=pd.DataFrame({"pool_id": "POOL", "client_id": parties}),
        inventory=pd.DataFrame({"trade_date": inventory["tradeDate"], "security_id": inventory["securityId"],
                                "pool_id": "POOL", "quantity_available": inventory["quantityAvailable"],
                                "borrow_fee": np.nan}),
        loans=_lots(loans, loans_path.name), **empty))  # fmt: skip


def _lots(flows, file):
    """Loan events from daily flows: what is borrowed in a day is a loan, what is returned closes the oldest first."""
    events, queues, fees = [], defaultdict(deque), {}
    for row in flows.itertuples():
        lane = (row.securityId, row.counterPartyId)
        queue, terms = queues[lane], (row.loanFee, row.borrowFee)
        common = (row.securityId, row.counterPartyId, "POOL")
        if queue and fees[lane] != terms:
            events += [(row.tradeDate, loan, "re-rate", *common, 0, *terms, row.rebateRate) for loan, _ in queue]
        fees[lane] = terms
        if row.quantityBorrowed:
            loan = f"{row.securityId}|{row.counterPartyId}|{row.tradeDate:%Y-%m-%d}"
            queue.append((loan, row.quantityBorrowed))
            events.append((row.tradeDate, loan, "new", *common, row.quantityBorrowed, *terms, row.rebateRate))
        left = row.quantityReturned
        while left:
            if not queue:
                raise TableError(f"{file}: quantityReturned must not exceed what was borrowed before and is still on "
                                 f"loan; line {row.Index + 2}: {left} of {row.quantityReturned} too many")  # fmt: skip
            loan, balance = queue.popleft()
            taken = min(left, balance)
            if taken < balance:
                queue.appendleft((loan, balance - taken))
            event = "return" if taken == balance else "partial return"
            events.append((row.tradeDate, loan, event, *common, taken, *terms, row.rebateRate))
            left -= taken
    return pd.DataFrame(events, columns=list(COLUMNS["loans"]))
