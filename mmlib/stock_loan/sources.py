"""Where a book comes from: one call, `open(url)`, and the same tables whatever is behind it.

    >>> book = sources.open("my/folder")             # CSV: one file a table, or a desk's export of two files
    >>> book = sources.open("parquet:my/warehouse")  # Parquet, one folder a table and trade date
    >>> book = sources.open("ticks:my/store")        # a tick store: its closed days and today
    >>> book = sources.open("kdb://localhost:5010")  # a kdb+ server, by `select from` each table
    >>> book.notes                                   # what was assumed where the files did not say it

Every source yields plain DataFrames by table name and says what to call each in a message; `tables.check` does the
rest, so equal content gives equal books, types included. A folder of CSV holds either the eleven tables of
`_schemas.COLUMNS`, or two files in the form desks export, and a third where the desk has it:

    inventory.csv   tradeDate, securityId, quantityAvailable, marketPrice
    loans.csv       tradeDate, securityId, counterPartyId, quantityReturned, quantityBorrowed,
                    loanFee, borrowFee, rebateRate
    opening.csv     securityId, counterPartyId, quantityOnLoan, loanFee, borrowFee

There, a row of loans is a day's flow between the desk and a counterparty in a name. Balances are carried over the days
without a row; returns are first in, first out; a row's fees hold for the whole balance from its day on. Prices are not
carried: a name needs an inventory row on every trade date on which it is held. What was on loan before the first day is
in opening.csv; without it, the least that makes the returns possible is taken, and said in the notes and in the log.
What the files do not say is "unknown", empty, or one pool named POOL, and the KPIs that need it are NaN (`support` has
the list); a day whose rows imply different benchmarks (loanFee + rebateRate) has none.

Other names, units and spellings are said in columns.json beside the files; all its keys may be left out:

    {"files": {"inventory": "eod.csv", "loans": "trades.csv"},
     "columns": {"inventory": {"securityId": "Ticker"}, "loans": {"loanFee": "Fee %", "rebateRate": null}},
     "ignore": {"loans": ["Desk", "Trader"]},
     "fee_unit": "percent", "date_format": "%d/%m/%Y", "thousands": ",", "decimal": ".",
     "delimiter": ",", "encoding": "cp1252", "last_line_end": false}

`fee_unit` is bp unless said, and must be said where half the fees are below 5; `null` is a column the files do not have
(rebateRate only); a column that is neither mapped nor listed under ignore is refused. A last line without its end is
refused as a cut file unless `last_line_end` is false.
"""

import os
from pathlib import Path

from mmlib import textfiles
from mmlib.observe import observed
from mmlib.stock_loan import _csv_tables, _desk_export, _kdb_tables, _parquet, _ticks, tables
from mmlib.stock_loan._book import Book, TableError
from mmlib.stock_loan._schemas import COLUMNS

#: The sample shipped with the project.
SAMPLE = str(Path(__file__).parents[2] / "data" / "stock_loan")


@observed
def open(url: str | Path) -> Book:
    """The book at `url`, checked.

    Parameters
    ----------
    url : str or Path
        A folder of CSV files; `parquet:` and a folder written by `write_parquet`; `ticks:` and the folder of a tick
        store that holds the eleven tables, as `write_ticks` and a desk's feeds fill it: all its updates so far are one
        book, whose rows of one key sent later replace those sent before; or kdb://HOST:PORT, a kdb+ server with the
        eleven tables, user and password in the environment (`mmlib.tick_store.open`).

    Returns
    -------
    tables.Book
        Its `notes` say what was assumed.

    Raises
    ------
    tables.TableError
        If a file is missing, cut short, not UTF-8, or breaks a rule of the tables; names the file and the line.
    """
    if str(url).lower().startswith("kdb:"):
        return _kdb_tables.book(str(url))
    of = next((kind for kind in ("parquet", "ticks") if str(url).startswith(f"{kind}:")), "csv")
    folder = Path(url) if of == "csv" else Path(str(url).removeprefix(f"{of}:"))
    if not os.path.isdir(folder):  # False, too, for a name too long or with a NUL
        raise TableError(
            f"url must be a folder of CSV files, parquet:FOLDER or ticks:FOLDER, or kdb://HOST:PORT; got {str(url)!r}"
        )
    if of == "ticks":
        return _ticks.read(folder)
    if of == "csv" and _desk_export.is_one(folder):
        return _desk_export.book(folder)
    if of == "csv":
        frames = {name: _read_table(folder / f"{name}.csv") for name in COLUMNS}
        where = {name: (f"{name}.csv", 2) for name in COLUMNS}
    else:
        frames = {name: _parquet.read_table(name, folder / name, columns) for name, columns in COLUMNS.items()}
        where = {name: (f"{name} (Parquet)", 0) for name in COLUMNS}
    _compare_rows(folder, frames)
    return tables.check(Book(**frames, notes=_read_notes(folder)), where)


def write_csv(book: Book, folder: str | Path) -> None:
    """Write a book as one CSV file a table, their numbers of rows in rows.csv and its notes, if any, in notes.txt.

    `open` gives the same book.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in COLUMNS:
        getattr(book, name).to_csv(folder / f"{name}.csv", index=False, date_format="%Y-%m-%d", lineterminator="\n")
    _write_rows(book, folder)


def write_parquet(book: Book, folder: str | Path) -> None:
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


def write_ticks(book: Book, folder: str | Path) -> None:
    """Write a book into a tick store: one update a trade date, all its days closed but the last, which is today.

    The first update has the tables without dates as well. What the store has already is not written again, so a book
    that has grown by some days is written by the same call.

    Raises
    ------
    mmlib.tick_store.StoreError
        If the folder holds something else, or a book that is not the beginning of this one.
    """
    _ticks.write(book, folder)


def _write_rows(book, folder):
    lines = [f"{name},{len(getattr(book, name))}\n" for name in COLUMNS]
    (folder / "rows.csv").write_text("".join(["table,rows\n", *lines]), encoding="utf-8", newline="")
    if book.notes:
        (folder / "notes.txt").write_text("".join(f"{note}\n" for note in book.notes), encoding="utf-8", newline="")
    else:
        (folder / "notes.txt").unlink(missing_ok=True)


def _read_notes(folder):
    path = folder / "notes.txt"
    return tuple(textfiles.lines(path, error=TableError)) if path.is_file() else ()


def _read_table(path):
    if not path.is_file():
        raise TableError(
            f"{path.name} must be in the folder {path.parent.name!r}, with the ten other tables or, in a desk's export"
            f" (columns tradeDate, ...), as inventory.csv and loans.csv; got no such file. Files with other names are"
            f" said in columns.json: help(mmlib.stock_loan.sources)"
        )
    return _csv_tables.read(path)


def _compare_rows(folder, frames):
    """TableError if the folder's rows.csv, where it has one, counts other rows than were read."""
    if not (folder / "rows.csv").is_file():
        return
    counted = _csv_tables.read(folder / "rows.csv")
    if list(counted) != ["table", "rows"]:
        raise TableError(f"rows.csv: columns must be table, rows; got {', '.join(counted)}")
    for name, rows in counted.itertuples(index=False):
        if name in frames and str(len(frames[name])) != rows:
            raise TableError(
                f"{name} must have the {rows} rows that rows.csv says (files missing or cut short?); got"
                f" {len(frames[name])}. Delete rows.csv if the tables were changed on purpose"
            )
