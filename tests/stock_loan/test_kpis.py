"""KPIs: identities, hand-made books, and a loop in decimal arithmetic that shares no code with either route."""

from collections import defaultdict
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.stock_loan import desk, kpis, tables
from mmlib.stock_loan._kpi_sums import ATTRIBUTES, FLOWS, INVENTORY, LOANS

ROW = ("trade_date", "security_id", "client_id", "pool_id")
GROUPINGS = [(), ("security_id",), ("client_id",), ("pool_id",), ("sector", "pool_type"), ("bucket", "client_type")]
RELATIVE = 1e-9  # the accuracy asked of the identities; they hold to a few units in the last place


@pytest.fixture(scope="module")
def book():
    return desk.book(securities=60, days=45, clients=6, seed=9)


@pytest.fixture(scope="module")
def template():
    """A book of 20 names without loans or supply, to be filled by hand."""
    full = desk.book(securities=20, days=12, clients=3, seed=1)
    empty = {name: getattr(full, name).iloc[:0] for name in ("inventory", "positions", "loans", "locates")}
    return replace(full, **empty)


def filled(template, prices, events, supply=()):
    """The template with closes of its first names, loan events (day, loan, event, name, quantity, fee, source fee) and
    supply (day, name, pool, quantity); everything is checked at the door."""
    closes = template.closes.copy()
    for i, name in enumerate(template.securities["security_id"][: len(prices)]):
        closes.loc[closes["security_id"] == name, "close"] = prices[i]
    dates = template.dates
    loans = pd.DataFrame(
        [(dates[t], loan, event, f"S{name:04d}", "C01", ("AL1", "STR")[name % 2], quantity, fee, source, np.nan)
         for t, loan, event, name, quantity, fee, source in events], columns=template.loans.columns)  # fmt: skip
    inventory = pd.DataFrame([(dates[t], f"S{name:04d}", pool, quantity, 1.0) for t, name, pool, quantity in supply],
                             columns=template.inventory.columns)  # fmt: skip
    return tables.check(replace(template, closes=closes, loans=loans, inventory=inventory))


def by_decimal_loop(book):
    """Accruals in cents by (loan, date), walking the log day by day: Decimal throughout, half a cent rounded up."""
    close = {(r.trade_date, r.security_id): Decimal(str(r.close)) for r in book.closes.itertuples()}
    log = defaultdict(list)
    for event in book.loans.itertuples():
        log[event.trade_date].append(event)
    balance, terms, found = defaultdict(int), {}, {}
    ends = [*book.dates[1:], book.dates[-1] + pd.offsets.BDay(1)]
    for date, end in zip(book.dates, ends, strict=True):
        for event in log[date]:
            terms[event.loan_id] = (event.security_id, Decimal(str(event.loan_fee)))
            balance[event.loan_id] += (event.event == "new") * event.quantity
            balance[event.loan_id] -= (event.event in ("partial return", "return", "buy-in")) * event.quantity
        for loan, quantity in balance.items():
            if quantity:
                name, fee = terms[loan]
                dollars = quantity * close[date, name] * fee * (end - date).days / (10_000 * 360)
                found[loan, date] = int((dollars * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    return found


@st.composite
def lives(draw, days=12, names=3):
    """Prices of a few names and the lives of a few loans, with everything that may happen to one."""
    prices = draw(st.lists(st.lists(st.integers(1, 10**7).map(lambda c: c / 1e4), min_size=days, max_size=days),
                           min_size=names, max_size=names))  # fmt: skip
    fee = st.integers(0, 2 * 10**6).map(lambda f: f / 100)
    events = []
    for i in range(draw(st.integers(1, 5))):
        loan, name, left = f"L{i}", draw(st.integers(0, names - 1)), draw(st.integers(1, 10**6))
        t, terms, noticed = draw(st.integers(0, days - 1)), (draw(fee), draw(fee)), False
        events.append((t, loan, "new", name, left, *terms))
        for kind in draw(
            st.lists(st.sampled_from(["re-rate", "partial return", "recall", "return", "buy-in"]), max_size=4)
        ):
            t += draw(st.integers(1, 4))
            if t >= days or left == 0:
                break
            if kind == "recall" and noticed:
                continue
            noticed |= kind == "recall"
            quantity = left if kind in ("return", "recall", "buy-in") else 0
            if kind == "partial return":
                quantity = draw(st.integers(1, left))
            if kind == "re-rate":
                terms = (draw(fee), draw(fee))
            left -= quantity if kind in ("partial return", "return", "buy-in") else 0
            events.append((t, loan, kind, name, quantity, *terms))
    stock = st.tuples(
        st.integers(0, days - 1), st.integers(0, names - 1), st.sampled_from(["AL1", "INT"]), st.integers(0, 10**6)
    )
    supply = draw(st.lists(stock, max_size=6, unique_by=lambda row: row[:3]))
    return prices, events, supply


def spread(book):
    """Loans and supply a second time, a row a day, in a loop over plain dicts: no SQL and no code of `_kpi_sums`."""
    limb = 100_000
    dates = list(book.dates)
    ends = [*dates[1:], dates[-1] + pd.offsets.BDay(1)]
    days = {date: (end - date).days for date, end in zip(dates, ends, strict=True)}
    price = {(r.trade_date, r.security_id): round(r.close * 1e4) for r in book.closes.itertuples()}
    market = {(r.trade_date, r.security_id): 0 if np.isnan(r.indicative_fee) else round(r.indicative_fee * 100)
              for r in book.closes.itertuples()}  # fmt: skip
    kinds = dict(zip(book.pools["pool_id"], book.pools["pool_type"], strict=True))
    lives, noticed, rows = defaultdict(list), set(), []
    for event in book.loans.itertuples():
        lives[event.loan_id].append(event)
        noticed |= {event.pool_id} if event.event in ("recall", "buy-in") else set()
    for life in lives.values():
        one = life[0]
        kind, same = kinds[one.pool_id], (one.security_id, one.client_id, one.pool_id)
        trusted = kind != "unknown" or one.pool_id in noticed
        for i, event in enumerate(life):
            back = event.event in ("partial return", "return", "buy-in")
            value = event.quantity * price[event.trade_date, one.security_id] if event.quantity else 0
            flow = {"opening": "opening", "new": "new"}.get(event.event, "returned" if back else "")
            rows.append(dict(zip(ROW, (event.trade_date, *same), strict=True)) | ({} if event.event == "re-rate" else {
                "recalled_value": value * (event.event == "recall"),
                "bought_in_value": value * (event.event == "buy-in"),
                "new_value": value * (event.event == "new"), "returned_value": value * back,
                "unrecorded_returned": event.quantity * (back and not trusted),
                **({flow: event.quantity} if flow else {})}))  # fmt: skip
            quantity = sum(e.quantity * {"opening": 1, "new": 1, "re-rate": 0, "recall": 0}.get(e.event, -1)
                           for e in life[: i + 1])  # fmt: skip
            stop = life[i + 1].trade_date if i + 1 < len(life) else ends[-1]
            for date in dates[dates.index(event.trade_date) :] if quantity else []:
                if date >= stop:
                    break
                day, value = days[date], quantity * price[date, one.security_id]
                fees = (round(event.loan_fee * 100), round(event.borrow_fee * 100), market[date, one.security_id])
                row = dict(zip(ROW, (date, *same), strict=True)) | {
                    "closing": quantity, "on_loan": quantity * day, "on_loan_value": value * day,
                    "internal_value": value * day * (kind in ("internal", "rehypothecation")),
                    "unnamed": quantity * day * (kind == "unknown"), "unrecorded": quantity * day * (not trusted),
                    "undated": quantity * day * (one.event == "opening"),
                    "age": quantity * day * (0 if one.event == "opening" else (date - one.trade_date).days),
                    "revenue": (2 * value * fees[0] * day + 36 * 10**9) // (72 * 10**9),
                    "cost": (2 * value * fees[1] * day + 36 * 10**9) // (72 * 10**9)}  # fmt: skip
                for name, rate in zip(("fee", "source", "market"), fees, strict=True):
                    row |= {f"{name}_hi": value // limb * rate * day, f"{name}_lo": value % limb * rate * day}
                rows.append(row)
    shelves = defaultdict(dict)
    for row in book.inventory.itertuples():
        shelves[row.security_id, row.pool_id][row.trade_date] = row.quantity_available
    for (name, pool), shelf in shelves.items():
        quantity = 0
        for date in dates:
            quantity = shelf.get(date, quantity)
            if quantity:
                value, rate, day = quantity * price[date, name], market[date, name], days[date]
                rows.append({"trade_date": date, "security_id": name, "pool_id": pool, "available": quantity * day,
                             "available_value": value * day, "idle_hi": value // limb * rate * day,
                             "idle_lo": value % limb * rate * day})  # fmt: skip
    found = pd.DataFrame(rows, columns=[*ROW, *LOANS, *FLOWS, *INVENTORY])
    return found.astype({"trade_date": "datetime64[us]"})


def by_loop(book, rows, by):
    """The sums of `spread`'s rows by group, as `kpis.sums` should give them."""
    if any(ATTRIBUTES[name] == "clients" for name in by):
        rows = rows[rows["client_id"].notna()]  # the inventory of a client is not defined
    for table, key in (("securities", "security_id"), ("clients", "client_id"), ("pools", "pool_id")):
        for name in by:
            if ATTRIBUTES[name] == table and name != key:
                rows = rows.assign(**{name: rows[key].map(getattr(book, table).set_index(key)[name])})
    moved = rows[rows[[*LOANS, *FLOWS, *INVENTORY]].notna().any(axis=1)]  # a re-rate alone is no row
    total = moved.groupby(["trade_date", *by])[[*LOANS, *FLOWS, *INVENTORY]].sum().reset_index()
    return total.astype({name: "int64" for name in LOANS + FLOWS + INVENTORY} | {name: "str" for name in by})


def identities(book, groupings):
    """Everything that must hold for any book, by any grouping."""
    rows = spread(book)
    for by in groupings:
        by = list(by)
        pd.testing.assert_frame_equal(by_loop(book, rows, by), kpis.sums(book, by), check_exact=True)
        table = kpis.table(book, by, "week")
        if not any(ATTRIBUTES[name] == "clients" for name in by):
            product = table["utilisation_value"] * table["vwaf"]
            known = product.notna()
            np.testing.assert_allclose(table["return_to_lendable"][known], product[known], rtol=RELATIVE)
            total = table["utilisation_value"] + table["idle"]
            np.testing.assert_allclose(total[total.notna()], 1.0, rtol=RELATIVE)
        flow = kpis.flows(book, by, "week")
        assert (flow["opening"] + flow["new"] - flow["returned"] == flow["closing"]).all()
    daily = kpis.loan_days(book)
    bills = sum(int(kpis.bill(book, client)["amount"].sum()) for client in book.clients["client_id"])
    assert bills == daily["revenue"].sum() == round(100 * kpis.table(book)["fee_accrual"].iloc[0])


def test_the_identities_hold_and_the_routes_agree_exactly_on_a_generated_book(book):
    identities(book, GROUPINGS)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(drawn=lives())
def test_the_identities_hold_and_accruals_are_exact_on_any_book(template, drawn):
    """The accruals of both routes are the decimal loop's, loan by loan and day by day."""
    made = filled(template, *drawn)
    identities(made, [("security_id",), ("client_type", "pool_type")])
    loop = by_decimal_loop(made)
    daily = kpis.loan_days(made).astype({"loan_id": "str"})
    assert daily.set_index(["loan_id", "trade_date"])["revenue"].to_dict() == loop


def test_a_generated_books_bills_are_the_decimal_loops_to_the_cent(book):
    loop = by_decimal_loop(book)
    client = dict(zip(book.loans["loan_id"], book.loans["client_id"], strict=True))
    expected = defaultdict(int)
    for (loan, _), cents in loop.items():
        expected[client[loan]] += cents
    for name in book.clients["client_id"]:
        assert kpis.bill(book, name)["amount"].sum() == expected[name]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=st.integers(0, 10**15), fee=st.integers(0, 2 * 10**7), days=st.integers(1, 12))
def test_an_accrual_is_the_exact_fraction_rounded_half_up(value, fee, days):
    """Python's whole numbers have no width: floor(x + 1/2) of the exact fraction."""
    exact = (2 * value * fee * days + 36 * 10**9) // (2 * 36 * 10**9)
    assert int(kpis.accrual(np.array([value]), np.array([fee]), np.array([days]))[0]) == exact


def test_half_a_cent_is_rounded_up():
    """100 shares at $18 and 1 bp for one day: 0.05 cents; 1,000 shares: exactly half a cent."""
    value = np.array([100, 1_000]) * 180_000
    assert list(kpis.accrual(value, np.array([100, 100]), np.array([1, 1]))) == [0, 1]


def test_an_accrual_that_would_not_fit_is_refused():
    with pytest.raises(ValueError, match="fee × days must be"):
        kpis.accrual(np.array([1]), np.array([2 * 10**7]), np.array([13]))


def test_friday_accrues_three_days_and_a_holiday_one_more():
    """Labor Day 2025 is Monday, 1 September."""
    dates = desk.trade_dates("2025-08-21", 8)
    assert list(kpis.accrual_days(dates)) == [1, 3, 1, 1, 1, 1, 4, 1]
    assert list(kpis.accrual_days(dates, until="2025-09-30"))[-1] == 28
    with pytest.raises(ValueError, match="until must be after the last trade date"):
        kpis.accrual_days(dates, until="2025-09-02")


def test_littles_law_utilisation_is_flow_turnover_times_mean_tenure(template):
    """A book that starts and ends empty, constant price and lendable: tenure is counted loan by loan from the log."""
    rng = np.random.default_rng(5)
    dates, events, taken = template.dates, [], []
    for i in range(40):
        first = int(rng.integers(0, 10))
        last = int(rng.integers(first + 1, 12))
        quantity = int(rng.integers(1, 50)) * 100
        events += [
            (first, f"L{i:02d}", "new", 0, quantity, 50.0, 20.0),
            (last, f"L{i:02d}", "return", 0, quantity, 50.0, 20.0),
        ]
        taken.append((quantity, (dates[last] - dates[first]).days))
    lendable = 10**6
    prices = [[10.0] * 12]
    lent = np.zeros(12, dtype=int)
    for t, _, event, _, quantity, *_ in events:
        lent[t:] += quantity if event == "new" else -quantity
    made = filled(template, prices, events, [(t, 0, "AL1", int(lendable - lent[t])) for t in range(12)])
    table = kpis.table(made).iloc[0]
    quantity, tenure = np.array(taken).T
    mean_tenure = (quantity * tenure).sum() / quantity.sum()
    daily_turnover = table["flow_turnover"] / table["days"]
    assert table["utilisation_value"] == pytest.approx(daily_turnover * mean_tenure, rel=RELATIVE)
    assert table["lendable_value"] == pytest.approx(10 * lendable, rel=RELATIVE)


def test_a_book_of_two_loans_by_hand(template):
    """One name at $10, Thursday to the next Wednesday; every KPI worked out on paper.

    Days: Thu 21 Aug (1), Fri (3), Mon (1), Tue (1), Wed (1). Loan A: 1,000 at 36/18 bp from Thursday to Wednesday;
    B: 500 at 72/36 bp from Friday, recalled on Friday, returned on Monday. Available: 4,000 until Wednesday.
    Share-days: A 6,000, B 1,500.
    """
    events = [(0, "A", "new", 0, 1000, 36.0, 18.0), (1, "B", "new", 0, 500, 72.0, 36.0),
              (1, "B", "recall", 0, 500, 72.0, 36.0), (2, "B", "return", 0, 500, 72.0, 36.0),
              (4, "A", "return", 0, 1000, 36.0, 18.0)]  # fmt: skip
    short = replace(template, rates=template.rates.iloc[3:8], closes=template.closes[
        template.closes["trade_date"].isin(template.dates[3:8])], debits=template.debits.iloc[:0])  # fmt: skip
    made = filled(short, [[10.0] * 5], events, [(0, 0, "INT", 4000), (4, 0, "INT", 0)])
    table = kpis.table(made, until="2025-08-28").iloc[0]
    on_loan, available = 7_500 * 10, 6 * 4_000 * 10  # dollar-days
    expected = {
        "days": 7, "utilisation_value": on_loan / (on_loan + available),
        "flow_turnover": 15_000 / ((on_loan + available) / 7),
        "vwaf": (36 * 60_000 + 72 * 15_000) / on_loan, "spread_capture": 0.5,
        "fee_accrual": 0.10 * 6 + 0.10 * 3, "source_accrual": 0.30 + 0.15,
        "days_on_loan": (1_000 * (0 * 1 + 1 * 3 + 4 * 1 + 5 * 1)) / 7_500, "recall_rate": 5_000 / on_loan,
        "internalisation": 0.0, "bought_in_value": 0.0, "idle": available / (on_loan + available)}  # fmt: skip
    for name, value in expected.items():
        assert table[name] == pytest.approx(value, rel=1e-12), name


def test_a_book_of_two_names_by_hand(template):
    """Names at $10 and $40, the week of the test above; the dearer one lent from a margin client's longs, bought in.

    Dollar-days on loan: A 1,000 × 10 × 6, B 500 × 40 × 3 (Friday); available: 4,000 × 10 × 6 and 2,000 × 40 × 6.
    """
    events = [(0, "A", "new", 0, 1000, 36.0, 18.0), (4, "A", "return", 0, 1000, 36.0, 18.0),
              (1, "B", "new", 1, 500, 72.0, 36.0), (2, "B", "buy-in", 1, 500, 72.0, 36.0)]  # fmt: skip
    week = template.dates[3:8]
    fee = template.closes["security_id"].map({"S0000": 30.0, "S0001": 300.0}).fillna(0.0)
    closes = template.closes.assign(indicative_fee=fee)
    closes = closes[closes["trade_date"].isin(week)]
    short = replace(template, rates=template.rates.iloc[3:8], closes=closes, debits=template.debits.iloc[:0])
    made = filled(short, [[10.0] * 5, [40.0] * 5], events,
                  [(t, name, "INT", q) for name, q in ((0, 4000), (1, 2000)) for t, q in ((0, q), (4, 0))])  # fmt: skip
    of_b = made.loans["loan_id"] == "B"
    loans = made.loans.assign(pool_id=made.loans["pool_id"].mask(of_b, "RHY-C01"),
                              client_id=made.loans["client_id"].mask(of_b, "C02"))  # fmt: skip
    table = kpis.table(tables.check(replace(made, loans=loans)), until="2025-08-28").iloc[0]
    on_loan, available = 60_000 + 60_000, 240_000 + 480_000
    turnover = 30_000 / ((on_loan + available) / 7)
    idle = 240_000 * 30 + 480_000 * 300
    expected = {
        "utilisation_quantity": 7_500 / (7_500 + 36_000), "utilisation_value": on_loan / (on_loan + available),
        "flow_turnover": turnover, "flow_turnover_annual": turnover * 365 / 7, "internalisation": 0.5,
        "bought_in_value": 20_000.0, "fee_weighted_idle": idle / (idle + 60_000 * 30 + 60_000 * 300)}  # fmt: skip
    for name, value in expected.items():
        assert table[name] == pytest.approx(value, rel=1e-12), name


def test_years_of_a_custodians_book_do_not_overflow(template):
    """20 names of 10^8 shares at $9,000 for 55 days: 10^15 dollar-days are beyond 64 bits of ten-thousandths."""
    made = filled(template, [[9000.0] * 12] * 20, [], [(0, name, "INT", 10**8) for name in range(20)])
    table = kpis.table(made, until=made.dates[-1] + pd.Timedelta(days=40)).iloc[0]
    assert table["days"] * table["lendable_value"] * 1e4 > 2**63
    assert table["lendable_value"] == pytest.approx(20 * 9e11, rel=1e-12)


def test_a_book_without_loans_has_sums_of_nothing_and_ratios_of_nothing(template):
    identities(template, GROUPINGS[1:3])
    table = kpis.table(template).iloc[0]
    assert table["fee_accrual"] == 0
    assert table[["vwaf", "utilisation_value", "days_on_loan"]].isna().all()


def test_ratios_of_a_group_are_ratios_of_sums_not_means_of_ratios(book):
    """The sum of the sectors' numerators over that of their denominators is the book's, which a mean is not."""
    parts, whole = kpis.table(book, ["sector"]), kpis.table(book).iloc[0]
    utilisation = (parts["utilisation_value"] * parts["lendable_value"]).sum() / parts["lendable_value"].sum()
    assert whole["utilisation_value"] == pytest.approx(utilisation, rel=RELATIVE)
    assert abs(parts["utilisation_value"].mean() - whole["utilisation_value"]) > 1e-3


def test_a_clients_lendable_is_unknown_not_zero(book):
    table = kpis.table(book, ["client_id"])
    assert (
        table[["utilisation_value", "lendable_value", "return_to_lendable", "idle", "fee_weighted_idle"]]
        .isna()
        .all(axis=None)
    )
    assert table["vwaf"].notna().all()


def test_fee_weighted_idle_is_unknown_where_a_close_has_no_fee(book):
    fee = book.closes["indicative_fee"].copy()
    fee.iloc[0] = np.nan
    assert np.isnan(
        kpis.table(replace(book, closes=book.closes.assign(indicative_fee=fee)))["fee_weighted_idle"].iloc[0]
    )
    assert 0 < kpis.table(book)["fee_weighted_idle"].iloc[0] < kpis.table(book)["idle"].iloc[0]


def test_holding_cost_is_the_three_sums_of_its_definition(book):
    """Over-borrows of the generated desk are the loans at no fee: their source accrual, found in the log alone."""
    costs = kpis.holding_cost(book, ["bucket"])
    d = kpis.loan_days(book)
    free = d[d["loan_fee"] == 0]
    over = (free["value"] / 1e4 * free["borrow_fee"] / 1e6 * free["days"] / 360).sum()
    assert 0 < costs["over_borrow"].sum() < 3 * over  # at the client's average source fee instead of the loan's own
    weight = d["client_id"].astype("str").map(book.clients.set_index("client_id")["risk_weight"])
    assert costs["capital"].sum() == pytest.approx(
        (d["value"] / 1e4 * d["days"] * weight).sum() * 25e-4 / 360, rel=RELATIVE
    )
    idle = kpis.sums(book, ["pool_type"])
    idle = idle[idle["pool_type"] == "internal"]["available_value"].sum() / 1e4
    assert costs["idle_longs"].sum() == pytest.approx(idle * 35e-4 / 360, rel=RELATIVE)  # funding − benchmark is 35 bp
    pd.testing.assert_series_equal(kpis.holding_cost(book, []).iloc[0], costs.sum(), check_names=False, rtol=RELATIVE)


def test_an_unknown_funding_rate_is_not_a_rate_of_zero(book):
    """Known on the first day only: that day's cost is known, the others' and the sum are not."""
    rates = book.rates.assign(funding_rate=book.rates["funding_rate"].where(book.rates.index == 0))
    costs = kpis.holding_cost(replace(book, rates=rates), ["trade_date"])["idle_longs"]
    known = kpis.holding_cost(book, ["trade_date"])["idle_longs"]
    assert costs.iloc[0] == pytest.approx(known.iloc[0], rel=RELATIVE)
    assert costs.iloc[1:].isna().all()
    assert np.isnan(kpis.holding_cost(replace(book, rates=rates), [])["idle_longs"].iloc[0])


def test_a_book_without_loans_costs_what_its_idle_longs_cost(template):
    made = filled(template, [[10.0] * 12], [], [(0, 0, "INT", 3600)])
    days = kpis.accrual_days(made.dates).sum()
    costs = kpis.holding_cost(made, [])
    assert costs["idle_longs"].iloc[0] == pytest.approx(3600 * 10 * 35e-4 / 360 * days, rel=RELATIVE)
    assert costs["capital"].iloc[0] == 0


def test_over_borrow_is_what_is_on_loan_beyond_the_short(template):
    """1,000 on loan against a short of 600 from the second day: 400 × $10 × 36 bp for the days that follow."""
    made = filled(template, [[10.0] * 12], [(0, "A", "new", 0, 1000, 50.0, 36.0)])
    rows = [(made.dates[t], "C01", "S0000", "margin", "short", quantity) for t, quantity in ((0, 1000), (1, 600))]
    made = tables.check(replace(made, positions=pd.DataFrame(rows, columns=made.positions.columns)))
    days = kpis.accrual_days(made.dates)[1:].sum()
    cost = kpis.holding_cost(made, [])["over_borrow"].iloc[0]
    assert cost == pytest.approx(400 * 10 * 36e-4 / 360 * days, rel=RELATIVE)
    assert np.isnan(kpis.holding_cost(replace(made, positions=made.positions.iloc[:0]), [])["over_borrow"].iloc[0])


def test_locate_fill_and_conversion_by_hand(template):
    rows = [(template.dates[0], f"Q{i}", "C01", f"S{i:04d}", *q, 50.0) for i, q in
            enumerate([(1000, 1000, 500, 500), (1000, 0, 0, 0), (2000, 1000, 0, 0)])]  # fmt: skip
    made = filled(template, [[10.0] * 12, [20.0] * 12, [40.0] * 12], [])
    made = tables.check(replace(made, locates=pd.DataFrame(rows, columns=made.locates.columns)))
    found = kpis.locates(made).iloc[0]
    assert found["requests"] == 3
    assert found["fill_count"] == pytest.approx(2 / 3)
    assert found["fill_shares"] == 0.5
    assert found["fill_dollars"] == pytest.approx((10_000 + 40_000) / (10_000 + 20_000 + 80_000))
    assert found["conversion_count"] == 0.5
    assert found["conversion_shares"] == 0.25
    assert found["conversion_dollars"] == pytest.approx(5_000 / 50_000)
    assert found["settled_shares"] == 1.0


def test_concentration_is_one_with_one_lender_and_the_sum_of_squares_with_more(book):
    index = kpis.concentration(book)
    value = kpis.table(book, ["security_id", "pool_id"])["on_loan_value"]
    for name in index.index[:10]:
        parts = value[name] / value[name].sum()
        assert index[name] == pytest.approx((parts**2).sum(), rel=1e-12)
    assert index.between(1 / len(book.pools), 1 + 1e-12).all()


def test_days_to_cover_is_short_interest_over_volume(book):
    date = book.dates[20]
    shorts = tables.as_of(book.positions[book.positions["side"] == "short"], date, ["client_id", "security_id"])
    total = shorts.groupby("security_id")["quantity"].sum()
    volume = book.securities.set_index("security_id")["average_daily_volume"]
    found = kpis.days_to_cover(book, date)
    for name in total.index:
        assert found[name] == pytest.approx(total[name] / volume[name], rel=1e-15)
    with pytest.raises(ValueError, match="date must be a trade date"):
        kpis.days_to_cover(book, "2025-08-23")


def test_bad_arguments_are_named(book):
    for call, text in [
        (lambda: kpis.table(book, ["colour"]), "by must be one of 'security_id'"),
        (lambda: kpis.table(book, period="year"), "period must be one of 'day'"),
        (lambda: kpis.table(book, by="sector"), r"by must be a list of names, as \['sector'\]; got 'sector'"),
        (lambda: kpis.table(book, ["sector", "sector"]), "by must name each column once"),
        (lambda: kpis.locates(book, "sector"), "by must be a list of names"),
        (lambda: kpis.holding_cost(book, "sector"), "by must be a list of names"),
        (lambda: kpis.holding_cost(book, financed="internal"), "financed must be a list of names"),
        (lambda: kpis.holding_cost(book, financed=["own"]), "financed must be one of 'internal'"),
        (lambda: kpis.days_to_cover(book, "nope"), "date must be a date, as 2025-08-18; got 'nope'"),
        (lambda: kpis.days_to_cover(book, 3), "date must be a date, as 2025-08-18; got 3"),
        (lambda: kpis.table(book, until="nope"), "until must be a date"),
        (lambda: kpis.table(book, until="2025-12-31T12:00"), "until must be a date"),
        (lambda: kpis.bill(book, "C01", start="nope"), "start must be a date"),
        (lambda: kpis.bill(book, "C01", end="2025-08-20T00:00Z"), "end must be a date"),
        (lambda: kpis.bill(book, "C99"), "client_id must be one of"),
        (lambda: kpis.holding_cost(book, ["client_id"]), "by must be one of 'trade_date'"),
        (lambda: kpis.holding_cost(book, capital_charge=-1), "capital_charge must be >= 0"),
        (lambda: kpis.concentration(book, "pool_id"), "by must be one of"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
