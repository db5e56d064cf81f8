"""The desk's KPIs, per period, security, client, pool, sector or any grouping.

    >>> kpis.table(book)                                             # the whole book, all its days
    >>> kpis.table(book, by=["sector", "bucket"], period="month")

On loan OL, available AV (not on loan), lendable L = OL + AV; V = quantity × close; f the client's fee, g the pool's, in
bp a year. Every KPI is a ratio of sums, never a mean of ratios; averages over time weigh a trade date by its calendar
days. Over a period of D days:

    utilisation_quantity, _value   Σ OL / Σ L ;  Σ V(OL) / Σ V(L)     (also sold as "loan value / average inventory")
    flow_turnover                  value of new loans / average V(L);  annual: × 365/D
    days_on_loan                   Σ balance · age / Σ balance, age in calendar days
    fee_accrual, source_accrual    Σ over loans and dates of V · f/10⁴ · days/360, each rounded half up to the cent
    vwaf                           Σ f V / Σ V, bp
    return_to_lendable             10⁴ · revenue / average V(L) · 360/D, bp, revenue before rounding
    spread_capture                 Σ (f − g) V / Σ f V
    idle, fee_weighted_idle        Σ V(AV) / Σ V(L);  the same with V × the market's indicative fee
    internalisation                value on loan from the firm's own and its margin clients' longs / value on loan
    recall_rate, bought_in_value   value recalled / value on loan, a day;  dollars

Hence return_to_lendable = utilisation_value × vwaf, and utilisation = daily flow turnover × mean tenure for a book that
starts and ends empty (Little 1961, Operations Research 9, 383–387). `_kpi_sums` has the sums and how they stay exact.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mmlib import checks
from mmlib.stock_loan import _kpi_sums
from mmlib.stock_loan._book import Book
from mmlib.stock_loan._kpi_sums import ATTRIBUTES, LIMB, accrual, accrual_days, loan_days, names, sums, timestamp
from mmlib.stock_loan._schemas import POOL_TYPES

__all__ = ["accrual", "accrual_days", "bill", "concentration", "days_to_cover", "flows", "holding_cost", "loan_days",
           "locates", "sums", "table"]  # fmt: skip

PERIODS = {"day": "D", "week": "W", "month": "M", "quarter": "Q"}
UNITS = 1e4 * 1e2 * 1e4 * 360  # value × fee × days units in a dollar


def table(book: Book, by: Sequence[str] = (), period: str | None = None, until: object = None) -> pd.DataFrame:
    """Every KPI of the module's list.

    Parameters
    ----------
    book : tables.Book
    by : sequence of str
        Any of security_id, sector, bucket, client_id, client_type, pool_id, pool_type; none means the whole book.
    period : {"day", "week", "month", "quarter"}, optional
        All the days together if not given.
    until : date, optional
        End of the accrual after the last trade date; the next weekday if not given.

    Returns
    -------
    DataFrame
        Indexed by (period,) + by. Dollars, ratios, fees in bp. A KPI whose denominator is 0 is NaN, and so are those
        that need what is not known: the lendable of a client, the indicative fee of a close, the age of an opening
        loan, the kind of a pool (internalisation), recalls and buy-ins of an unknown pool that has none recorded.
    """
    found = sums(book, by, until)
    values = [name for name in found if name.endswith(("_value", "_hi", "_lo"))]
    found[values] = found[values].astype(float)  # sums over years of a large book do not fit 64 bits
    every = pd.Series(accrual_days(book.dates, until), index=book.dates)
    if period is None:
        keys, days = list(by), every.sum()
        s = found.groupby(keys).sum(numeric_only=True) if keys else found.drop(columns="trade_date").sum().to_frame().T
    else:
        checks.choice("period", period, PERIODS)
        label = book.dates.to_period(PERIODS[period]).start_time
        found = found.assign(period=found["trade_date"].map(pd.Series(label, index=book.dates)))
        s = found.groupby(["period", *by]).sum(numeric_only=True)
        days = every.groupby(label).sum().reindex(s.index.get_level_values("period")).to_numpy()
    revenue, cost, market, idle = (
        s[f"{n}_hi"] * float(LIMB) + s[f"{n}_lo"] for n in ("fee", "source", "market", "idle")
    )
    lendable, lendable_value = s["on_loan"] + s["available"], s["on_loan_value"] + s["available_value"]
    on_loan, value = s["on_loan"], s["on_loan_value"] / 1e4
    if any(ATTRIBUTES[name] == "clients" for name in by):
        lendable, lendable_value = lendable * np.nan, lendable_value * np.nan
    average = lendable_value / 1e4 / days
    fees_known = 1.0 if book.closes["indicative_fee"].notna().all() else np.nan
    turnover = _ratio(s["new_value"] / 1e4, average)
    return pd.DataFrame({
        "days": days, "on_loan_value": value / days, "lendable_value": average,
        "utilisation_quantity": _ratio(on_loan, lendable), "utilisation_value": _ratio(value / days, average),
        "flow_turnover": turnover, "flow_turnover_annual": turnover * 365 / days,
        "days_on_loan": _ratio(s["age"], on_loan).where(s["undated"] == 0),
        "fee_accrual": s["revenue"] / 100, "source_accrual": s["cost"] / 100,
        "vwaf": _ratio(revenue / 100, s["on_loan_value"]),
        "return_to_lendable": 1e4 * _ratio(revenue / UNITS, average) * 360 / days,
        "spread_capture": _ratio(revenue - cost, revenue),
        "idle": _ratio(s["available_value"] / 1e4 / days, average),
        "fee_weighted_idle": _ratio(idle, market + idle + 0 * lendable) * fees_known,
        "internalisation": _ratio(s["internal_value"], s["on_loan_value"]).where(s["unnamed"] == 0),
        "recall_rate": _ratio(s["recalled_value"], s["on_loan_value"]).where(s["unrecorded"] == 0),
        "bought_in_value": (s["bought_in_value"] / 1e4).where(s["unrecorded_returned"] == 0),
    }, index=s.index)  # fmt: skip


def _ratio(above, below):
    return above / below.where(below > 0)


def flows(book: Book, by: Sequence[str] = (), period: str = "day") -> pd.DataFrame:
    """Shares on loan at the start of each period, new, returned and at its end: opening + new − returned = closing.

    The first period opens with the opening loans of the book.

    Opening and closing come from the balances of the loans, new and returned from their events.

    Returns
    -------
    DataFrame
        Indexed by (period,) + by; columns opening, new, returned, closing, int64, for every group and period.
    """
    checks.choice("period", period, PERIODS)
    found, by = sums(book, by), list(by)
    calendar = pd.DataFrame({"trade_date": book.dates, "period": book.dates.to_period(PERIODS[period]).start_time})
    full = calendar.merge(found[by].drop_duplicates(), how="cross") if by else calendar
    full = full.merge(found, how="left", on=["trade_date", *by])  # a group without a row on a date has no balance then
    columns = ["opening", "new", "returned", "closing"]
    full[columns] = full[columns].fillna(0).astype("int64")
    s = full.groupby(["period", *by]).agg(**{name: (name, "last" if name == "closing" else "sum") for name in columns})
    before = s["closing"].groupby(by) if by else s["closing"]
    s["opening"] += before.shift(fill_value=0)  # the log's own opening is on the first trade date, where this is 0
    return s


def bill(book: Book, client_id: str, start: object = None, end: object = None, until: object = None) -> pd.DataFrame:
    """What a client owes: one line a loan, for the trade dates from `start` to `end`, both included.

    Returns
    -------
    DataFrame
        loan_id, security_id, first and last trade date billed, share_days (Σ quantity · days), amount in cents (int64).
        The amount is the sum of the loan's daily accruals, so bills, days and KPIs add up to the cent.

    Raises
    ------
    ValueError
        If the client is not in the book, or `start` or `end` is not a date.
    """
    checks.choice("client_id", client_id, tuple(book.clients["client_id"]))
    lines = loan_days(book, until)
    first = timestamp("start", start) if start is not None else book.dates[0]
    last = timestamp("end", end) if end is not None else book.dates[-1]
    lines = lines[(lines["client_id"] == client_id) & lines["trade_date"].between(first, last)]
    lines = lines.assign(share_days=lines["quantity"] * lines["days"])
    found = lines.groupby(["loan_id", "security_id"], observed=True).agg(
        first=("trade_date", "min"), last=("trade_date", "max"), share_days=("share_days", "sum"),
        amount=("revenue", "sum")).reset_index()  # fmt: skip
    return found.astype({"loan_id": "str", "security_id": "str"})


def holding_cost(
    book: Book,
    by: Sequence[str] = ("security_id",),
    capital_charge: float = 25.0,
    financed: Sequence[str] = ("internal",),
    until: object = None,
) -> pd.DataFrame:
    """What a book costs beside the fees of its loans, dollars over its days: idle longs, capital, over-borrows.

    Idle longs and over-borrows earn nothing. Capital is charged where the rules see an exposure, on what is on loan, at
    the client's risk weight; what is idle is an exposure to nobody, and no table has a risk weight for it.

    Parameters
    ----------
    by : sequence of str
        Any of trade_date, security_id, sector, bucket.
    capital_charge : float
        Cost of the balance sheet, bp a year of value on loan at a risk weight of 1: capital ratio × cost of capital.
    financed : sequence of str
        Kinds of pool whose shares the firm itself finances.

    Returns
    -------
    DataFrame
        idle_longs = V(AV in `financed`) (funding − benchmark)/10⁴ · days/360; capital = V(OL) · risk weight ·
        capital_charge/10⁴ · days/360; over_borrow = (on loan to a client − that client's short position, if positive) ·
        close · g/10⁴ · days/360. NaN where shares are idle on a day without a known rate, and where the book has no
        short positions. NaN too where a client's risk weight, or the kind of a pool with idle shares, is not known.
    """
    capital_charge = checks.nonnegative("capital_charge", capital_charge, "bp a year at risk weight 1")
    by = names("by", by, ("trade_date", "security_id", "sector", "bucket"))
    financed = names("financed", financed, POOL_TYPES)
    lane = ["trade_date", "security_id", "client_id"]
    d = loan_days(book, until)
    d["source"] = d["value"] / 1e4 * d["borrow_fee"] / 1e6 * d["days"] / 360
    d["weighted"] = d["value"] / 1e4 * d["days"]
    d = d.groupby(lane, observed=True)[["quantity", "weighted", "source"]].sum().reset_index()
    d = d.astype({"security_id": "str", "client_id": "str"}).merge(_shorts(book), on=lane, how="left")
    over = (d["quantity"] - d["short"].fillna(0)).clip(lower=0)
    d["over_borrow"] = over / d["quantity"] * d["source"] if (book.positions["side"] == "short").any() else np.nan
    weight = d["client_id"].map(book.clients.set_index("client_id")["risk_weight"]).astype(float)
    d["capital"] = d["weighted"] * weight * capital_charge / 1e4 / 360
    idle = sums(book, ["security_id", "pool_type"], until=until)
    unknown = (idle["pool_type"] == "unknown") & ("unknown" not in financed)
    idle = idle[idle["pool_type"].isin(financed) | unknown]
    rates = book.rates.set_index("trade_date")
    spread = idle["trade_date"].map(rates["funding_rate"] - rates["benchmark_rate"])
    spread = spread.mask(unknown)
    idle = idle.assign(idle_longs=(idle["available_value"] / 1e4 * spread / 1e4 / 360).where(idle["available"] > 0, 0))
    attributes = book.securities[["security_id", "sector", "bucket"]].assign(whole="book")
    keys = list(by) or ["whole"]
    idle, d = (frame.merge(attributes, on="security_id") for frame in (idle, d))
    every = pd.concat([attributes[keys]] if not by else [idle[keys], d[keys]]).drop_duplicates().sort_values(keys)
    every = pd.MultiIndex.from_frame(every) if len(keys) > 1 else pd.Index(every[keys[0]])
    columns = {"idle_longs": idle, "capital": d, "over_borrow": d}
    found = {name: _total(frame, keys, name).reindex(every, fill_value=0.0) for name, frame in columns.items()}
    return pd.DataFrame(found) if by else pd.DataFrame(found).reset_index(drop=True)


def _total(frame, by, column):
    """Sum of `column` by group; NaN where a row of the group is NaN."""
    groups = frame.groupby(by)[column]
    return groups.sum().mask(groups.count() < groups.size())


def _shorts(book):
    """Short positions carried over the trade dates: trade_date, security_id, client_id, short."""
    p = book.positions[book.positions["side"] == "short"].sort_values(["client_id", "security_id", "trade_date"])
    date = book.dates.get_indexer(p["trade_date"])
    same = p[["client_id", "security_id"]].eq(p[["client_id", "security_id"]].shift(-1)).all(axis=1).to_numpy()
    stop = np.where(same, np.append(date[1:], 0)[: len(p)], len(book.dates))
    row, t = _kpi_sums.expand(np.arange(len(p)), date, stop)
    return pd.DataFrame({"trade_date": book.dates[t], "security_id": p["security_id"].array[row],
                         "client_id": p["client_id"].array[row], "short": p["quantity"].to_numpy()[row]})  # fmt: skip


def locates(book: Book, by: Sequence[str] = ()) -> pd.DataFrame:
    """Locate fill (approved / requested) and conversion (shorted / approved), by count, shares and dollars.

    Parameters
    ----------
    by : sequence of str
        Any of trade_date, security_id, sector, bucket, client_id, client_type.

    Returns
    -------
    DataFrame
        requests, fill_count (share of requests approved in part or whole), fill_shares, fill_dollars, conversion_count
        (share of the approved that led to a short sale), conversion_shares, conversion_dollars, settled_shares (settled
        / shorted). Dollars are shares × that day's close. A book without locates has NaN requests: whether nobody asked
        or nobody wrote it down is not known.
    """
    by = names("by", by, ("trade_date", "security_id", "sector", "bucket", "client_id", "client_type"))
    q = book.locates.merge(book.closes[["trade_date", "security_id", "close"]], how="left")
    q = q.merge(book.securities[["security_id", "sector", "bucket"]]).merge(book.clients[["client_id", "client_type"]])
    q["requests"] = 1
    for stage in ("requested", "approved", "shorted", "settled"):
        q[f"{stage}_count"] = (q[f"quantity_{stage}"] > 0).astype("int64")
        q[f"{stage}_dollars"] = q[f"quantity_{stage}"] * q["close"]
        q = q.rename(columns={f"quantity_{stage}": f"{stage}_shares"})
    s = q.groupby(list(by)).sum(numeric_only=True) if by else q.sum(numeric_only=True).to_frame().T
    found = {"requests": s["requests"].astype("int64") if len(q) else s["requests"].where(s["requests"] > 0)}
    found |= {
        f"fill_{unit}": _ratio(s[f"approved_{unit}"], s[f"requested_{unit}"]) for unit in ("count", "shares", "dollars")
    }
    found |= {f"conversion_{unit}": _ratio(s[f"shorted_{unit}"], s[f"approved_{unit}"])
              for unit in ("count", "shares", "dollars")}  # fmt: skip
    return pd.DataFrame(found | {"settled_shares": _ratio(s["settled_shares"], s["shorted_shares"])})


def concentration(book: Book, by: str = "security_id", until: object = None) -> pd.Series:
    """Lender concentration: the Herfindahl index Σ_k share_k² of the pools' parts of the value on loan, by group.

    Returns
    -------
    Series
        Between 1/(number of pools) and 1, for every group with a loan; NaN where a pool's kind is not known, as it may
        stand for many lenders.
    """
    checks.choice("by", by, ("security_id", "sector", "bucket"))
    found = sums(book, [by, "pool_id"], until=until)
    s = found.groupby([by, "pool_id"])["on_loan_value"].sum().astype(float)
    total = s.groupby(by).transform("sum")
    index = ((s / total.where(total > 0)) ** 2).dropna().groupby(by).sum().rename("concentration")
    return index.where(found.groupby(by)["unnamed"].sum().reindex(index.index) == 0)


def days_to_cover(book: Book, date: object) -> pd.Series:
    """Short interest of the clients on `date` / average daily volume, trading days, by security.

    NaN without volume, and throughout a book without any short position.
    """
    day = timestamp("date", date)
    if day not in book.dates:
        raise ValueError(f"date must be a trade date of the book; got {date!r}")
    shorts = _shorts(book)
    short = shorts[shorts["trade_date"] == day].groupby("security_id")["short"].sum()
    securities = book.securities.set_index("security_id")
    interest = short.reindex(securities.index, fill_value=0 if len(shorts) else np.nan)
    return _ratio(interest, securities["average_daily_volume"]).rename("days_to_cover")
