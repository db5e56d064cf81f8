"""What every KPI is a ratio of: sums over loans and inventory, per trade date and group, in whole numbers.

Two routes give the same integers: `pandas` expands loans to one row a loan and day; `duckdb` says the same in SQL. Sums
of integers do not depend on the order of addition, so the routes agree exactly, and sums of sums over securities, days
or pools are exact too.

Units: shares; values in ten-thousandths of a dollar (quantity × close, four decimals); fees in hundredths of a basis
point; money accrued in cents. Balances are multiplied by `days`, the calendar days from a trade date to the next, so
that a Friday counts three times. A product value × fee × days can exceed 64 bits when summed over a large book; it is
kept as two numbers, Σ (value // B)·fee·days and Σ (value % B)·fee·days with B = 100,000.
"""

import numpy as np
import pandas as pd

from mmlib import checks
from mmlib.stock_loan._schemas import EVENTS
from mmlib.stock_loan.tables import signed_quantity

B = 100_000
CENT = 36_000_000_000  # value × fee × days units in a cent: 1e4 · (1e2 · 1e4) · 360 / 1e2
INTERNAL = ("internal", "rehypothecation")  # shares that come from within the firm
#: What a book can be grouped by, and the table that says so.
ATTRIBUTES = {"security_id": "securities", "sector": "securities", "bucket": "securities", "client_id": "clients",
              "client_type": "clients", "pool_id": "pools", "pool_type": "pools"}  # fmt: skip
IDS = {"securities": "security_id", "clients": "client_id", "pools": "pool_id"}
LOANS = ["closing", "on_loan", "on_loan_value", "age", "internal_value", "fee_hi", "fee_lo", "source_hi", "source_lo",
         "market_hi", "market_lo", "revenue", "cost"]  # fmt: skip
FLOWS = ["new", "new_value", "returned", "returned_value", "recalled_value", "bought_in_value"]
INVENTORY = ["available", "available_value", "idle_hi", "idle_lo"]


def accrual(value, fee, days):
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


def accrual_days(dates, until=None):
    """Calendar days from each trade date to the next, int64; after the last, to `until` or the next weekday."""
    last = pd.Timestamp(until) if until is not None else dates[-1] + pd.offsets.BDay(1)
    days = np.diff(np.append(dates.to_numpy(), last.to_datetime64().astype(dates.dtype))).astype("timedelta64[D]")
    if days[-1] <= np.timedelta64(0):
        raise ValueError(f"until must be after the last trade date, {dates[-1]:%Y-%m-%d}; got {last:%Y-%m-%d}")
    return days.astype(np.int64)


def loan_days(book, until=None):
    """One row a loan and trade date on which it is open at the close.

    Returns
    -------
    DataFrame
        trade_date, loan_id, security_id, client_id, pool_id (categorical), quantity, value, loan_fee, borrow_fee, age
        (calendar days since the loan was new), days, revenue, cost; in the units of the module.
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
    age = day[t] - day[date[first[row]]]
    return pd.DataFrame({
        "trade_date": m.dates[t], **ids, "quantity": balance[row], "value": value, "loan_fee": fee, "borrow_fee": cost,
        "age": age, "days": days, "revenue": accrual(value, fee, days),
        "cost": accrual(value, cost, days)})  # fmt: skip


def sums(book, by=(), engine="duckdb", until=None):
    """The sums per trade date and group.

    Parameters
    ----------
    book : tables.Book
    by : sequence of str
        Any of `ATTRIBUTES`.
    engine : {"duckdb", "pandas"}
    until : date, optional
        When the accrual after the last trade date ends; the next weekday if not given.

    Returns
    -------
    DataFrame
        trade_date, the columns of `by`, then LOANS, FLOWS, INVENTORY as int64, sorted. The inventory of a client is not
        defined: if `by` has a column of clients, those sums are 0. A group without a row on a date has no balance then.
    """
    by = [checks.choice("by", name, ATTRIBUTES) for name in by]
    route = {"duckdb": _duckdb, "pandas": _pandas}[checks.choice("engine", engine, ("duckdb", "pandas"))]
    found = route(book, by, _Market(book, until), until)
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


def _pandas(book, by, m, until):
    attributes = {home: getattr(book, home).set_index(key) for home, key in IDS.items()}
    kinds = book.pools.set_index("pool_id")["pool_type"]

    def grouped(frame, columns):
        keys = ["trade_date"]
        for name in by:
            if name not in frame:
                home = ATTRIBUTES[name]
                frame = frame.assign(**{name: frame[IDS[home]].map(attributes[home][name])})
            keys.append(name)
        return frame.groupby(keys, observed=True)[columns].sum()

    def limbs(name, value, fee, days):
        return {f"{name}_hi": value // B * fee * days, f"{name}_lo": value % B * fee * days}

    d = loan_days(book, until)
    t, s = m.date(d["trade_date"]), d["security_id"].cat.codes.to_numpy()
    weighted = d["value"] * d["days"]
    d = d.assign(closing=d["quantity"], on_loan=d["quantity"] * d["days"], on_loan_value=weighted,
                 internal_value=weighted.where(d["pool_id"].map(kinds).isin(INTERNAL), 0),
                 **limbs("fee", d["value"], d["loan_fee"], d["days"]),
                 **limbs("source", d["value"], d["borrow_fee"], d["days"]),
                 **limbs("market", d["value"], m.fee[t, s], d["days"]))  # fmt: skip
    d["age"] *= d["on_loan"]
    parts = [grouped(d, LOANS)]
    e = book.loans
    value = e["quantity"] * m.close[m.date(e["trade_date"]), m.security(e["security_id"])]
    back = e["event"].isin(["partial return", "buy-in", "return"])
    is_new = e["event"] == "new"
    e = e.assign(new=e["quantity"].where(is_new, 0), new_value=value.where(is_new, 0),
                 returned=e["quantity"].where(back, 0), returned_value=value.where(back, 0),
                 recalled_value=value.where(e["event"] == "recall", 0),
                 bought_in_value=value.where(e["event"] == "buy-in", 0))  # fmt: skip
    parts.append(grouped(e[e["event"] != "re-rate"], FLOWS))
    if not any(ATTRIBUTES[name] == "clients" for name in by):
        for _, pool in book.inventory.groupby("pool_id", sort=False):  # one at a time: a row a pool, name and day
            pool = pool.sort_values(["security_id", "trade_date"])
            date, security = m.date(pool["trade_date"]), m.security(pool["security_id"])
            stop = np.append(date[1:], len(m.dates))
            stop[:-1][security[1:] != security[:-1]] = len(m.dates)
            quantity = pool["quantity_available"].to_numpy()
            which = np.flatnonzero(quantity > 0)
            row, t = expand(which, date[which], stop[which])
            value = quantity[row] * m.close[t, security[row]]
            rows = {"trade_date": m.dates[t], "security_id": pd.Categorical.from_codes(security[row], m.securities),
                    "pool_id": pool["pool_id"].iloc[0], "available": quantity[row] * m.days[t],
                    "available_value": value * m.days[t],
                    **limbs("idle", value, m.fee[t, security[row]], m.days[t])}  # fmt: skip
            parts.append(grouped(pd.DataFrame(rows), INVENTORY))
    every = pd.concat(parts).groupby(level=list(range(1 + len(by))), observed=True).sum()
    return every.reindex(columns=LOANS + FLOWS + INVENTORY, fill_value=0).reset_index()


def _duckdb(book, by, m, until):
    try:
        import duckdb
    except ImportError as error:  # pragma: no cover
        raise ImportError("this engine needs duckdb: pip install 'mmlib[loan]'") from error
    database = duckdb.connect()
    calendar = pd.DataFrame({"trade_date": m.dates, "days": m.days, "t": np.arange(len(m.dates))})
    for name, frame in {"calendar": calendar, **{name: getattr(book, name) for name in
                        ("securities", "closes", "clients", "pools", "inventory", "loans")}}.items():  # fmt: skip
        database.register(f"{name}_frame", frame)
    inventory = not any(ATTRIBUTES[name] == "clients" for name in by)
    keys = ", ".join(["trade_date", *by])

    def limbs(name, fee):
        return f"sum(value // {B} * {fee} * days) {name}_hi, sum(value % {B} * {fee} * days) {name}_lo"

    def cents(fee):
        rest = f"(value % {CENT} * {fee} * days)"
        return f"sum(value // {CENT} * {fee} * days + {rest} // {CENT} + (2 * ({rest} % {CENT}) >= {CENT})::INT)"

    def joined(rows, client=True):
        tables = f"{rows} JOIN prices USING (trade_date, security_id) JOIN securities_frame USING (security_id)"
        return f"{tables} JOIN pool_kinds USING (pool_id)" + (" JOIN client_kinds USING (client_id)" if client else "")

    order = "CASE event " + " ".join(f"WHEN '{event}' THEN {i}" for i, event in enumerate(EVENTS)) + " END"
    internal = ", ".join(f"'{kind}'" for kind in INTERNAL)
    back = "event IN ('partial return', 'buy-in', 'return')"
    parts = [
        f"""SELECT {keys}, sum(quantity) closing, sum(quantity * days) on_loan, sum(value * days) on_loan_value,
            sum(quantity * days * age) age, sum(value * days) FILTER (pool_type IN ({internal})) internal_value,
            {limbs("fee", "loan_fee")}, {limbs("source", "borrow_fee")}, {limbs("market", "fee")},
            {cents("loan_fee")} revenue, {cents("borrow_fee")} "cost"
            FROM (SELECT *, quantity * close AS value FROM {joined("loan_days")}) GROUP BY {keys}""",
        f"""SELECT {keys}, sum(quantity) FILTER (event = 'new') AS "new", sum(value) FILTER (event = 'new') new_value,
            sum(quantity) FILTER ({back}) returned, sum(value) FILTER ({back}) returned_value,
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
        pool_kinds AS (SELECT pool_id, pool_type FROM pools_frame),
        client_kinds AS (SELECT client_id, client_type FROM clients_frame),
        events AS (SELECT *,
                sum(CASE WHEN event = 'new' THEN quantity WHEN {back} THEN -quantity ELSE 0 END) OVER life AS balance,
                first(trade_date) OVER life AS start,
                row_number() OVER (PARTITION BY loan_id, trade_date ORDER BY {order} DESC) AS place
            FROM loans_frame WINDOW life AS (PARTITION BY loan_id ORDER BY trade_date, {order}
                                             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)),
        states AS (SELECT *, lead(trade_date) OVER (PARTITION BY loan_id ORDER BY trade_date) AS stop
            FROM events WHERE place = 1),
        spans AS (SELECT states.*, c.t AS first, coalesce(e.t, {len(m.dates)}) AS following FROM states
            JOIN calendar_frame c USING (trade_date) LEFT JOIN calendar_frame e ON e.trade_date = stop
            WHERE balance > 0),
        loan_days AS (SELECT c.trade_date, c.days, security_id, client_id, pool_id, balance::BIGINT AS quantity,
                date_diff('day', start, c.trade_date) AS age, round(s.loan_fee * 100)::BIGINT AS loan_fee,
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
