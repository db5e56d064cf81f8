"""The desk's tables, and the checks they pass once, at the door.

A book is eleven tables. Three describe the market (`securities`, `closes`, `rates`), four the parties (`clients`, their
`debits`, `pools` of supply and their `eligibility`), four the day (`inventory`, `positions`, `loans`, `locates`).

    >>> book = tables.check(Book(securities=..., closes=..., ...))       # raises TableError, or returns the book

Units: quantities in shares (whole numbers), prices and balances in dollars, fees and rates in basis points a year,
act/360. Prices carry at most four decimals and fees at most two, so that money is computed in integers, exactly.

`inventory`, `positions` and `debits` are balances: a row holds from its trade date until the next row of the same key;
rows are needed only where something changes. `inventory.quantity_available` is what is *not* on loan, so lendable is
on loan + available. `loans` is a log of events; the balance of a loan at the close of a day follows from it:

    opening        + quantity that was on loan before the first trade date, as of its morning; since when is not known
    new            + quantity, at `loan_fee` (paid by the client) and `borrow_fee` (paid to the pool)
    partial return − quantity
    return         − quantity, which is all that was left
    buy-in         − quantity, bought by force after a recall
    recall         a notice for `quantity`; the balance moves only with the return that follows
    re-rate        quantity 0; the only event that changes `loan_fee` and `borrow_fee`, from this day on

On one day a loan's events happen in the order opening, new, re-rate, recall, partial return, buy-in, return. The rebate
on cash collateral is benchmark − loan fee.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from mmlib.stock_loan._book import Book, TableError
from mmlib.stock_loan._schemas import COLUMNS, EVENTS, KEYS, pa

STARTS, RETURNS = ("opening", "new"), ("partial return", "buy-in", "return")  #: events that move a loan's balance
MOST_DOLLARS = 1e12  #: dollars that a loan, a pool's shares of a name or a request may be worth


def as_of(frame, date, keys):
    """The rows of a table of balances that are in force on `date`: the last one of each key on or before it.

    Parameters
    ----------
    frame : DataFrame
        `inventory`, `positions` or `debits`.
    date : datetime-like
    keys : list of str
        The columns that identify a balance, without the date: `KEYS[name][1:]`.

    Returns
    -------
    DataFrame
        One row a key, with the trade date on which it was last set.
    """
    return frame[frame["trade_date"] <= pd.Timestamp(date)].drop_duplicates(keys, keep="last").reset_index(drop=True)


def check(book, where=None):
    """The book with every table in its final form: columns in order, dtypes exact, rows sorted by key.

    Parameters
    ----------
    book : Book
        Dates may be of any resolution or ISO text, whole numbers may be floats; nothing else is converted.
    where : dict, optional
        Table name -> (file, line of its first row), for the messages; a table not named there is called by its name
        and its rows are counted from 0.

    Raises
    ------
    TableError
        Names the table or file, the column, the rule, the number of bad rows and the first three of them. All the
        problems of one table are reported at once; then those between tables.
    """
    where = {name: (where or {}).get(name, (name, 0)) for name in COLUMNS}
    frames = {name: validate(getattr(book, name), COLUMNS[name], KEYS[name], *where[name]) for name in COLUMNS}
    report = _Report(where)
    _check_references(frames, report)
    _check_quantities(frames, report)
    _check_loans(frames, report)
    if frames["rates"].empty:
        report.lines.append(f"{where['rates'][0]}: trade_date must have at least one row")
    report.close()
    _check_closes(frames, report)
    report.close()
    return Book(**{name: frame.reset_index(drop=True) for name, frame in frames.items()}, notes=tuple(book.notes))


class _Report:
    """Collects what is wrong, and raises it in one error."""

    def __init__(self, where):
        self.where, self.lines = where, []

    def rows(self, name, column, frame, bad, rule):
        """Report the rows of `frame` where the boolean array `bad` is true."""
        bad = np.asarray(bad)
        if bad.any():
            file, first_line = self.where[name]
            word = "line" if first_line else "row"
            shown = zip(frame.index[bad][:3], frame[column].array[bad][:3], strict=True)
            shown = "; ".join(f"{word} {label + first_line}: {value!s}" for label, value in shown)
            self.lines.append(f"{file}: {column} {rule}; {bad.sum()} of {len(bad)} rows bad, first {shown}")

    def close(self):
        if self.lines:
            raise TableError("\n".join(self.lines))


def validate(frame, columns, keys, file, first_line=0):
    """One table on its own: its columns, their types and ranges, duplicate keys.

    Parameters
    ----------
    frame : DataFrame
    columns : dict
        Name -> pandera Column, as in `_schemas.COLUMNS`.
    keys : list of str
        Columns that identify a row, and by which the result is sorted.
    file : str
        What the messages call the table.
    first_line : int
        Line of the first row in the file; 0 if rows are to be counted from 0.

    Returns
    -------
    DataFrame
        The columns in order, in their types; the index holds the original row numbers.

    Raises
    ------
    TableError
    """
    report = _Report({"table": (file, first_line)})
    wrong = [("missing", c) for c in columns if c not in frame] + [("unknown", c) for c in frame if c not in columns]
    if wrong:
        listed = ", ".join(f"{what} {column}" for what, column in wrong)
        raise TableError(f"{file}: columns must be {', '.join(columns)}; got {listed}")
    frame, cast = frame.reset_index(drop=True), {}
    for column, rule in columns.items():
        cast[column], bad, must = _cast(frame[column], rule.dtype.type.kind)
        report.rows("table", column, frame, bad, must)
    report.close()
    frame = pd.DataFrame(cast)
    try:
        pa.DataFrameSchema(columns).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        for (column, rule), cases in error.failure_cases.groupby(["column", "check"], sort=False):
            rule = "must not be missing" if rule == "not_nullable" else rule
            report.rows("table", column, frame, frame.index.isin(cases["index"].astype("int64")), rule)
    report.rows("table", keys[-1], frame, frame.duplicated(keys), f"repeats the key {', '.join(keys)}")
    report.close()
    return frame if _is_sorted(frame, keys) else frame.sort_values(keys, key=_sort_key, kind="stable")


def _cast(column, kind):
    """`column` in its type (kind O text, M date, i, f) where that loses nothing, the rows where it would, the rule."""
    nothing, missing = np.zeros(len(column), dtype=bool), column.isna().to_numpy()
    if kind == "O":
        if pd.api.types.infer_dtype(column) == "string":
            return column.astype("str"), nothing, ""
        bad = ~column.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool) & ~missing
        return (column if bad.any() else column.astype("str")), bad, "must be text"
    if column.dtype.kind == "O":  # text, as from a file, where an empty field is a missing value
        column = column.mask(column == "")
        missing = column.isna().to_numpy()
    if kind == "M":
        if column.dtype.kind in "biufc":
            return column, ~nothing, "must be a date, YYYY-MM-DD"
        zoned, partial = ~nothing if getattr(column.dtype, "tz", None) is not None else nothing, nothing
        if column.dtype.kind == "O":
            text = column.astype("str").str
            zoned = text.contains(r"(?:Z|[+-]\d\d:?\d\d)$", na=False).to_numpy(dtype=bool)
            partial = ~text.match(r"\d{4}-\d\d-\d\d(?:$|[ T])", na=True).to_numpy(dtype=bool)  # 2025-03 is no day
        if zoned.any() and not partial.any():
            return column, zoned, "must be a date without a time zone"
        parsed = pd.to_datetime(column.mask(partial), format="ISO8601", errors="coerce")
        exact = parsed.astype("datetime64[us]")
        bad = (parsed.isna().to_numpy() & ~missing) | ((exact != parsed) & parsed.notna()).to_numpy()
        return exact, bad, "must be a date, YYYY-MM-DD"
    if column.dtype.kind in "bc":
        return column, ~nothing, "must be a number"
    if column.dtype.kind == "O" and pd.api.types.infer_dtype(column) != "string":
        bad = column.map(lambda value: isinstance(value, bool | complex)).to_numpy(dtype=bool)
        if bad.any():
            return column, bad, "must be a number"
    number = pd.to_numeric(column, errors="coerce")
    if kind == "f":
        beyond = (number.abs() > 2**53).to_numpy() if number.dtype.kind in "iu" else nothing
        bad = (number.isna().to_numpy() & ~missing) | beyond
        return number.astype("float64"), bad, "must be a number, whole ones below 2^53"
    if number.dtype.kind == "i" and not missing.any():
        return number.astype("int64"), nothing, ""
    number = number.astype("float64")
    whole = np.isfinite(number) & (number == np.floor(number)) & (number.abs() < 2**53)
    return (number.astype("int64") if whole.all() else number), ~whole.to_numpy(), "must be a whole number, not missing"


def _sort_key(column):
    return column.map(dict(zip(EVENTS, range(len(EVENTS)), strict=True))) if column.name == "event" else column


def _is_sorted(frame, keys):
    after = np.zeros(max(len(frame) - 1, 0), dtype=bool)
    for key in reversed(keys):
        value = _sort_key(frame[key])
        first, second = value[:-1].reset_index(drop=True), value[1:].reset_index(drop=True)
        after = (second > first).to_numpy() | ((second == first).to_numpy() & after)
    return bool(after.all())


def _check_references(frames, report):
    """Every id is known, every date is a trade date, every pool may lend to someone."""
    homes = {"security_id": "securities", "client_id": "clients", "pool_id": "pools", "trade_date": "rates"}
    for name, frame in frames.items():
        for column, home in homes.items():
            if column in frame and name != home:
                known = frame[column].isin(frames[home][column])
                known |= (frame[column] == "") if name == "pools" else False
                what = "must be a trade date, with a row" if column == "trade_date" else "must be known"
                report.rows(name, column, frame, ~known, f"{what} in {home}")
    pools, loans, eligibility = frames["pools"], frames["loans"], frames["eligibility"]
    served = pools["pool_id"].isin(eligibility["pool_id"])
    report.rows("pools", "pool_id", pools, ~served, "must be eligible for at least one client in eligibility")
    pairs = pd.MultiIndex.from_frame(eligibility)
    allowed = pd.MultiIndex.from_frame(loans[["pool_id", "client_id"]]).isin(pairs)
    report.rows("loans", "client_id", loans, ~allowed, "must be eligible for the loan's pool")


def _check_quantities(frames, report):
    locates, positions = frames["locates"], frames["positions"]
    steps = ["quantity_requested", "quantity_approved", "quantity_shorted", "quantity_settled"]
    for more, less in pairwise(steps):
        report.rows("locates", less, locates, locates[less] > locates[more], f"must be <= {more}")
    naked = (positions["side"] == "short") & (positions["account"] == "cash")
    report.rows("positions", "account", positions, naked, "must be margin for a short position")


def _check_loans(frames, report):
    """The lifecycle: starts once, by opening only on day one, does not change hands, returns at most what it has."""
    loans = frames["loans"]
    loans = loans.sort_values(["loan_id", "trade_date", "event"], key=_sort_key)
    event, by_loan = loans["event"], loans["loan_id"]
    start = event.isin(STARTS)
    starts = start.groupby(by_loan).cumsum()
    report.rows("loans", "event", loans, starts == 0, "must not come before the loan is new")
    report.rows("loans", "event", loans, start & (starts > 1), "must be new only once a loan")
    late = (event == "opening") & (loans["trade_date"] > frames["rates"]["trade_date"].min())
    report.rows("loans", "event", loans, late, "must be opening only on the first trade date")
    for column in ("security_id", "client_id", "pool_id"):
        report.rows("loans", column, loans, loans[column] != loans.groupby("loan_id")[column].transform("first"),
                    "must not change during a loan")  # fmt: skip
    empty = (loans["quantity"] == 0) != (event == "re-rate")
    report.rows("loans", "quantity", loans, empty, "must be 0 for a re-rate and > 0 for every other event")
    balance = signed_quantity(loans).groupby(by_loan).cumsum()
    before = balance.groupby(by_loan).shift(fill_value=1)
    report.rows("loans", "quantity", loans, balance < 0, "must not return more than is on loan")
    report.rows("loans", "quantity", loans, (event == "return") & (balance > 0), "must return all that is on loan")
    over = (event == "recall") & (under_recall(loans) > balance)
    report.rows("loans", "quantity", loans, over, "must not recall more than is on loan, with the recalls before it")
    report.rows("loans", "event", loans, before == 0, "must not come after the loan is closed")
    for fee in ("loan_fee", "borrow_fee"):
        moved = (loans[fee] != loans.groupby("loan_id")[fee].shift()) & ~event.isin([*STARTS, "re-rate"])
        report.rows("loans", fee, loans, moved, "must not change without a re-rate")
    benchmark = loans["trade_date"].map(frames["rates"].set_index("trade_date")["benchmark_rate"])
    gap = (loans["loan_fee"] + loans["rebate_rate"] - benchmark).abs()
    report.rows("loans", "rebate_rate", loans, gap > 0.005, "must be benchmark_rate − loan_fee, to 0.01 bp")


def _check_closes(frames, report):
    """A balance needs a close on every trade date on which it is held, a locate on its own; no value is absurd."""
    dates, ids = frames["rates"]["trade_date"], frames["securities"]["security_id"]
    row, column = pd.Index(dates).get_indexer, pd.Index(ids).get_indexer
    closes, loans, inventory = frames["closes"], frames["loans"], frames["inventory"]
    known = np.zeros((len(dates) + 1, len(ids)), dtype=np.int64)
    known[row(closes["trade_date"]) + 1, column(closes["security_id"])] = 1
    known = known.cumsum(axis=0)
    left = signed_quantity(loans).groupby(loans["loan_id"]).sum()
    end = loans.groupby("loan_id")["trade_date"].last()[left == 0]
    new = loans[loans["event"].isin(STARTS)]
    end = end.reindex(new["loan_id"])
    new_end = np.where(end.isna(), len(dates), row(end))
    following = inventory.groupby(["security_id", "pool_id"])["trade_date"].shift(-1)
    inventory_end = np.where(following.isna(), len(dates), row(following))
    inventory_end[inventory["quantity_available"] == 0] = 0
    locates = frames["locates"]
    locates_end = row(locates["trade_date"]) + 1
    highest = closes.groupby("security_id")["close"].max()
    moved = (("loans", "quantity"), ("inventory", "quantity_available"), ("locates", "quantity_requested"))
    for name, quantity in moved:  # so that sums of values × fees × days fit into 64 bits
        value = frames[name][quantity] * frames[name]["security_id"].map(highest)
        report.rows(
            name, quantity, frames[name], value > MOST_DOLLARS, f"must be worth at most {MOST_DOLLARS:g} dollars"
        )
    acts = loans[loans["event"].isin(["new", "recall", "buy-in"])]  # KPIs value these, whatever is held at the close
    held = (
        ("loans", new, new_end),
        ("loans", acts, row(acts["trade_date"]) + 1),
        ("inventory", inventory, inventory_end),
        ("locates", locates, locates_end),
    )
    for name, frame, stop in held:
        start, security = row(frame["trade_date"]), column(frame["security_id"])
        bad = known[stop, security] - known[start, security] < stop - start
        if bad.any():
            first, shown = np.flatnonzero(bad)[:3], []
            for i in first:
                lacks = np.diff(known[start[i] : stop[i] + 1, security[i]]) == 0
                shown.append(f"{ids[security[i]]} on {dates[start[i] + np.argmax(lacks)]:%Y-%m-%d}")
            rule = (
                f"must have a close in {report.where['closes'][0]} on every trade date on which it is held or requested"
            )
            report.rows(name, "security_id", frame, bad, f"{rule} (none of {', '.join(dict.fromkeys(shown))})")


def under_recall(loans: pd.DataFrame) -> pd.Series:
    """Shares of the loan under recall after each event: notices less the returns that follow them, never below 0.

    `loans` must be in the order of time within each loan, as in a book.
    """
    notice = loans["quantity"].where(loans["event"] == "recall", 0)
    back = -signed_quantity(loans).clip(upper=0)
    total = (notice - back).groupby(loans["loan_id"]).cumsum()
    return total - total.groupby(loans["loan_id"]).cummin().clip(upper=0)


def signed_quantity(loans: pd.DataFrame) -> pd.Series:
    """What each event adds to its loan's balance, shares: + for a start, − for a return or buy-in, 0 for notices."""
    back = loans["event"].isin(RETURNS)
    return (loans["event"].isin(STARTS).astype("int64") - back) * loans["quantity"]
