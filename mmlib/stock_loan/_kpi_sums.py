"""What every KPI is a ratio of: sums over loans and inventory, per trade date and group, in whole numbers.

One statement of SQL expands loans to a row a loan and day and adds up. Sums of integers do not depend on the order of
addition, so any other route gives the same integers (the tests have one), and sums of sums over securities, days or
pools are exact too. What is not known is counted beside, so that a KPI that needs it can be NaN: `undated`, shares of
opening loans, whose age nobody knows; `unnamed`, shares from pools of an unknown kind; `unrecorded`, shares from those
of them of which no recall or buy-in was ever recorded, and `unrecorded_returned`, what came back to them.

Units: shares; values in ten-thousandths of a dollar (quantity × close, four decimals); fees in hundredths of a basis
point; money accrued in cents. Balances are multiplied by `days`, the calendar days from a trade date to the next, so
that a Friday counts three times. A product value × fee × days can exceed 64 bits when summed over a large book; it is
kept as two numbers, Σ (value // LIMB)·fee·days and Σ (value % LIMB)·fee·days.
"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from mmlib import checks, optional
from mmlib.stock_loan._book import Book
from mmlib.stock_loan._schemas import EVENTS
from mmlib.stock_loan.tables import RETURNS, STARTS, signed_quantity

LIMB = 100_000  # what a value is split by into a high and a low part
CENT = 36_000_000_000  # value × fee × days units in a cent: 1e4 · (1e2 · 1e4) · 360 / 1e2
INTERNAL = ("internal", "rehypothecation")  # shares that come from within the firm
#: What a book can be grouped by, and the table that says so.
ATTRIBUTES = {"security_id": "securities", "sector": "securities", "bucket": "securities", "client_id": "clients",
              "client_type": "clients", "pool_id": "pools", "pool_type": "pools"}  # fmt: skip
IDS = {"securities": "security_id", "clients": "client_id", "pools": "pool_id"}
LOANS = ["closing", "on_loan", "on_loan_value", "age", "internal_value", "fee_hi", "fee_lo", "source_hi", "source_lo",
         "market_hi", "market_lo", "revenue", "cost", "undated", "unnamed", "unrecorded"]  # fmt: skip
FLOWS = ["opening", "new", "new_value", "returned", "returned_value", "recalled_value", "bought_in_value",
         "unrecorded_returned"]  # fmt: skip
INVENTORY = ["available", "available_value", "idle_hi", "idle_lo"]


def accrual(value: np.ndarray, fee: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Fee accrued on a loan at one close, in cents: value · fee/10⁴ · days/360, rounded half up, once a loan and date.

    Parameters
    ----------
    value : ndarray of int64
        Quantity × close, in ten-thousandths of a dollar.
    fee : ndarray of int64
        Hundredths of a basis point a year.
    days : ndarray of int64
        Calendar days until the next trade date.

    Returns
    -------
    ndarray of int64
        Cents, exact: no floating point is used.

    Raises
    ------
    ValueError
        If fee × days is so large (over 2.5 million bp·days) that the product would not fit 64 bits.
    """
    rate = np.asarray(fee) * days
    checks.in_interval("fee × days", rate, 0, 2.5e8, meaning="hundredths of a bp times days", array=True)
    whole, rest = np.divmod(value, CENT)
    cents, remainder = np.divmod(rest * rate, CENT)
    return whole * rate + cents + (2 * remainder >= CENT)


def timestamp(name: str, value: object) -> pd.Timestamp:
    """`value` as a day; ValueError if it is none."""
    try:
        found = pd.Timestamp(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        found = pd.NaT
    if found is pd.NaT or isinstance(value, bool | int | float) or found.tz is not None or found != found.normalize():
        raise ValueError(f"{name} must be a date, as 2025-08-18; got {value!r}")
    return found


def accrual_days(dates: pd.DatetimeIndex, until: object = None) -> np.ndarray:
    """Calendar days from each trade date to the next, int64; after the last, to `until` or the next weekday."""
    last = timestamp("until", until) if until is not None else dates[-1] + pd.offsets.BDay(1)
    days = np.diff(np.append(dates.to_numpy(), last.to_datetime64().astype(dates.dtype))).astype("timedelta64[D]")
    if days[-1] <= np.timedelta64(0, "D"):
        raise ValueError(f"until must be after the last trade date, {dates[-1]:%Y-%m-%d}; got {last:%Y-%m-%d}")
    return days.astype(np.int64)


def loan_days(book: Book, until: object = None) -> pd.DataFrame:
    """One row a loan and trade date on which it is open at the close.

    Returns
    -------
    DataFrame
        trade_date, loan_id, security_id, client_id, pool_id (categorical), quantity, value, loan_fee, borrow_fee, age
        (calendar days since the loan was new, NaN for an opening loan), days, revenue, cost; in the module's units.
    """
    m = _Market(book, until)
    loans = book.loans.sort_values(["loan_id", "trade_date"], kind="stable")  # events of a day are in order already
    balance = signed_quantity(loans).groupby(loans["loan_id"]).cumsum().to_numpy()
    loan, names = pd.factorize(loans["loan_id"])
    date = m.date(loans["trade_date"])
    last_of_day = np.append((loan[1:] != loan[:-1]) | (date[1:] != date[:-1]), True)[: len(loan)]
    first = np.searchsorted(loan, loan)
    stop = np.append(date[1:], 0)[: len(loan)]
    stop[np.append(loan[1:] != loan[:-1], True)[: len(loan)]] = len(m.dates)
    which = np.flatnonzero(last_of_day & (balance > 0))
    row, t = expand(which, date[which], stop[which])
    security = m.security(loans["security_id"])[row]
    fee, cost = _hundredths(loans["loan_fee"])[row], _hundredths(loans["borrow_fee"])[row]
    value, days = balance[row] * m.close[t, security], m.days[t]
    day = m.dates.to_numpy().astype("datetime64[D]").astype(np.int64)
    categories = {"loan_id": (loan, names), "security_id": (m.security(loans["security_id"]), m.securities),
                  "client_id": pd.factorize(loans["client_id"]), "pool_id": pd.factorize(loans["pool_id"])}  # fmt: skip
    ids = {name: pd.Categorical.from_codes(codes[row], known) for name, (codes, known) in categories.items()}
    known = (loans["event"].to_numpy() != "opening")[first[row]]
    age = np.where(known, day[t] - day[date[first[row]]], np.nan)
    return pd.DataFrame({
        "trade_date": m.dates[t], **ids, "quantity": balance[row], "value": value, "loan_fee": fee, "borrow_fee": cost,
        "age": age, "days": days, "revenue": accrual(value, fee, days),
        "cost": accrual(value, cost, days)})  # fmt: skip


def sums(book: Book, by: Sequence[str] = (), until: object = None) -> pd.DataFrame:
    """The sums per trade date and group.

    Parameters
    ----------
    book : tables.Book
    by : sequence of str
        Any of `ATTRIBUTES`, each once.
    until : date, optional
        When the accrual after the last trade date ends; the next weekday if not given.

    Returns
    -------
    DataFrame
        trade_date, the columns of `by`, then LOANS, FLOWS, INVENTORY as int64, sorted. The inventory of a client is not
        defined: if `by` has a column of clients, those sums are 0. A group without a row on a date has no balance then.
    """
    by = names("by", by, ATTRIBUTES)
    found = _added(book, by, _Market(book, until))
    found = found.astype({name: "int64" for name in LOANS + FLOWS + INVENTORY} | {name: "str" for name in by})
    return found.sort_values(["trade_date", *by], ignore_index=True)


class _Market:
    """Dates, days, closes and indicative fees as arrays: (days,), (days, securities), in the module's units."""

    def __init__(self, book, until):
        self.dates, self.securities = book.dates, pd.Index(book.securities["security_id"])
        self.days = accrual_days(self.dates, until)
        at = self.date(book.closes["trade_date"]), self.security(book.closes["security_id"])
        self.close, self.fee = (np.zeros((len(self.dates), len(self.securities)), dtype=np.int64) for _ in range(2))
        self.close[at] = np.round(book.closes["close"].to_numpy() * 1e4).astype(np.int64)
        self.fee[at] = _hundredths(book.closes["indicative_fee"].fillna(0))  # kpis.table says NaN where one is missing

    def date(self, column):
        return self.dates.get_indexer(column)

    def security(self, column):
        return self.securities.get_indexer(column)


def _hundredths(fee):
    return np.round(fee.to_numpy() * 100).astype(np.int64)


def expand(which, start, stop):
    """Each of `which` repeated once for every date index from its start to before its stop; and those indices."""
    length = stop - start
    row = np.repeat(which, length)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length) + np.repeat(start, length)


def names(name: str, given: Sequence[str], options: Collection[str]) -> list[str]:
    """`given` as a list of some of the options, each at most once; ValueError otherwise, for a bare string too."""
    if isinstance(given, str):
        raise ValueError(f"{name} must be a list of names, as [{given!r}]; got {given!r}")
    found = [checks.choice(name, one, options) for one in given]
    if len(set(found)) < len(found):
        raise ValueError(f"{name} must name each column once; got {found}")
    return found


def _added(book, by, m):
    """The sums, unsorted, in SQL."""
    database = optional.load("duckdb", "loan", "KPIs").connect()
    calendar = pd.DataFrame({"trade_date": m.dates, "days": m.days, "t": np.arange(len(m.dates))})
    for name, frame in {"calendar": calendar, **{name: getattr(book, name) for name in
                        ("securities", "closes", "clients", "pools", "inventory", "loans")}}.items():  # fmt: skip
        database.register(f"{name}_frame", frame)
    inventory = not any(ATTRIBUTES[name] == "clients" for name in by)
    keys = ", ".join(["trade_date", *by])

    def limbs(name, fee):
        return f"sum(value // {LIMB} * {fee} * days) {name}_hi, sum(value % {LIMB} * {fee} * days) {name}_lo"

    def cents(fee):
        rest = f"(value % {CENT} * {fee} * days)"
        return f"sum(value // {CENT} * {fee} * days + {rest} // {CENT} + (2 * ({rest} % {CENT}) >= {CENT})::INT)"

    def joined(rows, client=True):
        tables = f"{rows} JOIN prices USING (trade_date, security_id) JOIN securities_frame USING (security_id)"
        return f"{tables} JOIN pool_kinds USING (pool_id)" + (" JOIN client_kinds USING (client_id)" if client else "")

    order = "CASE event " + " ".join(f"WHEN '{event}' THEN {i}" for i, event in enumerate(EVENTS)) + " END"
    internal = ", ".join(f"'{kind}'" for kind in INTERNAL)
    back, start = (f"event IN ({', '.join(map(repr, events))})" for events in (RETURNS, STARTS))
    parts = [
        f"""SELECT {keys}, sum(quantity) closing, sum(quantity * days) on_loan, sum(value * days) on_loan_value,
            sum(quantity * days * age) age, sum(value * days) FILTER (pool_type IN ({internal})) internal_value,
            {limbs("fee", "loan_fee")}, {limbs("source", "borrow_fee")}, {limbs("market", "fee")},
            {cents("loan_fee")} revenue, {cents("borrow_fee")} "cost",
            sum(quantity * days) FILTER (undated) undated, sum(quantity * days) FILTER (unnamed) unnamed,
            sum(quantity * days) FILTER (unrecorded) unrecorded
            FROM (SELECT *, quantity * close AS value FROM {joined("loan_days")}) GROUP BY {keys}""",
        f"""SELECT {keys}, sum(quantity) FILTER (event = 'new') AS "new", sum(value) FILTER (event = 'new') new_value,
            sum(quantity) FILTER (event = 'opening') opening, sum(quantity) FILTER ({back}) returned,
            sum(quantity) FILTER ({back} AND unrecorded) unrecorded_returned, sum(value) FILTER ({back}) returned_value,
            sum(value) FILTER (event = 'recall') recalled_value, sum(value) FILTER (event = 'buy-in') bought_in_value
            FROM (SELECT *, quantity * close AS value FROM {joined("loans_frame")})
            WHERE event <> 're-rate' GROUP BY {keys}""",
    ]
    if inventory:
        parts.append(f"""SELECT {keys}, sum(quantity * days) available, sum(value * days) available_value,
            {limbs("idle", "fee")} FROM (SELECT *, quantity * close AS value FROM {joined("shelf", client=False)})
            GROUP BY {keys}""")
    total = LOANS + FLOWS + INVENTORY * inventory
    columns = ", ".join(f'coalesce(sum("{name}"), 0)::BIGINT "{name}"' for name in total)
    return database.execute(f"""
        WITH prices AS (SELECT trade_date, security_id, round(close * 1e4)::BIGINT AS close,
                round(coalesce(indicative_fee, 0) * 100)::BIGINT AS fee FROM closes_frame),
        pool_kinds AS (SELECT pool_id, pool_type, pool_type = 'unknown' AS unnamed, pool_type = 'unknown' AND pool_id
                NOT IN (SELECT pool_id FROM loans_frame WHERE event IN ('recall', 'buy-in')) AS unrecorded
            FROM pools_frame),
        client_kinds AS (SELECT client_id, client_type FROM clients_frame),
        events AS (SELECT *,
                sum(CASE WHEN {start} THEN quantity WHEN {back} THEN -quantity ELSE 0 END) OVER life AS balance,
                first(trade_date) OVER life AS start, first(event) OVER life = 'opening' AS undated,
                row_number() OVER (PARTITION BY loan_id, trade_date ORDER BY {order} DESC) AS place
            FROM loans_frame WINDOW life AS (PARTITION BY loan_id ORDER BY trade_date, {order}
                                             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)),
        states AS (SELECT *, lead(trade_date) OVER (PARTITION BY loan_id ORDER BY trade_date) AS stop
            FROM events WHERE place = 1),
        spans AS (SELECT states.*, c.t AS first, coalesce(e.t, {len(m.dates)}) AS following FROM states
            JOIN calendar_frame c USING (trade_date) LEFT JOIN calendar_frame e ON e.trade_date = stop
            WHERE balance > 0),
        loan_days AS (SELECT c.trade_date, c.days, security_id, client_id, pool_id, balance::BIGINT AS quantity,
                undated, CASE WHEN undated THEN 0 ELSE date_diff('day', start, c.trade_date) END AS age,
                round(s.loan_fee * 100)::BIGINT AS loan_fee,
                round(s.borrow_fee * 100)::BIGINT AS borrow_fee
            FROM (SELECT *, unnest(range(first, following)) AS t FROM spans) s JOIN calendar_frame c USING (t)),
        stock AS (SELECT *, lead(trade_date) OVER (PARTITION BY security_id, pool_id ORDER BY trade_date) AS stop
            FROM inventory_frame),
        shelf AS (SELECT c.trade_date, c.days, security_id, pool_id, quantity_available AS quantity
            FROM (SELECT stock.*, unnest(range(a.t, coalesce(z.t, {len(m.dates)}))) AS t FROM stock
                  JOIN calendar_frame a USING (trade_date) LEFT JOIN calendar_frame z ON z.trade_date = stop
                  WHERE quantity_available > 0) JOIN calendar_frame c USING (t))
        SELECT {keys}, {columns} FROM ({" UNION ALL BY NAME ".join(parts)}) GROUP BY {keys}
    """).df().reindex(columns=["trade_date", *by, *LOANS, *FLOWS, *INVENTORY], fill_value=0)  # fmt: skip
