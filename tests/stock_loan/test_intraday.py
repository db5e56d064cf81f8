"""Balances kept up by updates: after every one the batch's, to the cent, in any order and however often it is sent."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mmlib import tick_store
from mmlib.stock_loan import desk, intraday, kpis, sources
from mmlib.stock_loan._schemas import COLUMNS, EVENTS, KEYS

BOOK = desk.book(securities=20, days=10, clients=3, seed=1)  # for its parties and dates; what is lent is made up below
DAYS = BOOK.dates[:3]
NAMES = list(BOOK.securities["security_id"][:3])


def batch(sent):
    """KPIs of the last trade date, by name: each key's last row, all rows up to that date, the SQL of `kpis`."""
    frames = {}
    for name in intraday.TABLES:
        rows = pd.concat([tables[name] for tables in sent if name in tables])
        frames[name] = rows.drop_duplicates(KEYS[name], keep="last").sort_values(KEYS[name], ignore_index=True)
    day = frames["rates"]["trade_date"].max()
    frames = {name: rows[rows["trade_date"] <= day].reset_index(drop=True) for name, rows in frames.items()}
    table = kpis.table(replace(BOOK, **frames), ["security_id"], "day")
    return day, table.xs(day) if day in table.index.levels[0] else table.droplevel(0).iloc[:0]


def compare(balances, day, expected):
    """To the cent; a name of which nothing is lendable has no row in the batch, or one of zeros."""
    assert balances.date == day
    found = balances.table()
    assert set(expected.index) <= set(found.index)
    expected = expected.reindex(found.index)
    for name in ("on_loan_value", "lendable_value"):
        cents = (expected[name].fillna(0) * 100).round().astype("int64")
        assert (found[name] * 100).round().astype("int64").tolist() == cents.tolist()
    for name in ("utilisation_quantity", "utilisation_value"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-14)


def frame(name, rows):
    """Rows of a table, what they do not say filled in."""
    filled = {"rates": {"benchmark_rate": 430.0, "funding_rate": 465.0}, "closes": {"indicative_fee": 1.0},
              "inventory": {"borrow_fee": 1.0}, "loans": {"client_id": "C01", "pool_id": "AL1", "loan_fee": 40.0,
              "borrow_fee": 20.0, "rebate_rate": 390.0}}[name]  # fmt: skip
    made = pd.DataFrame(rows, columns=intraday.TABLES[name]).assign(**filled)
    return made[list(COLUMNS[name])].astype(getattr(BOOK, name).dtypes)


@st.composite
def days(draw):
    """Updates of some days: loans that start, come back, are corrected; in any order, some of them twice."""
    price = st.integers(1, 10**7).map(lambda units: units / 1e4)
    quantity, day = st.integers(1, 10**6), st.integers(0, len(DAYS) - 1)
    rows = []
    for loan in range(draw(st.integers(1, 4))):
        name, start, left = draw(st.sampled_from(NAMES)), draw(day), draw(quantity)
        rows.append(("loans", (DAYS[start], f"L{loan}", "new", name, left)))
        for kind in draw(st.lists(st.sampled_from(EVENTS[2:]), max_size=3, unique=True)):
            back = {"partial return": draw(st.integers(1, left)), "re-rate": 0}.get(kind, left)
            rows.append(("loans", (DAYS[draw(st.integers(start, len(DAYS) - 1))], f"L{loan}", kind, name, back)))
    for _ in range(draw(st.integers(0, 4))):
        pool = draw(st.sampled_from(["AL1", "INT"]))
        rows.append(("inventory", (DAYS[draw(day)], draw(st.sampled_from(NAMES)), pool, draw(st.integers(0, 10**6)))))
    rows += [("rates", (date,)) for date in DAYS[1:]]
    for table, row in draw(st.lists(st.sampled_from(rows), max_size=4)):  # sent first with another quantity, or again
        wrong = draw(quantity) if table in ("loans", "inventory") and row[2] != "re-rate" else None
        rows.append((table, row if wrong is None else (*row[:-1], wrong)))
    rows += [("closes", (draw(st.sampled_from(list(DAYS))), draw(st.sampled_from(NAMES)), draw(price)))]
    rows = draw(st.permutations(rows))
    dates = iter(DAYS[1:])  # trade dates begin in their order
    rows = [(table, (next(dates, DAYS[-1]),) if table == "rates" else row) for table, row in rows]
    closes = [(date, name, draw(price)) for date in DAYS for name in NAMES]
    first = {"rates": frame("rates", [(DAYS[0],)]), "closes": frame("closes", closes)}
    updates = [first | {name: frame(name, []) for name in ("inventory", "loans")}]
    while rows:
        some, rows = rows[: (n := draw(st.integers(1, 6)))], rows[n:]
        updates.append({name: frame(name, [row for table, row in some if table == name]) for name in intraday.TABLES})
    return updates


def equal_at_every_update(updates):
    balances = intraday.Balances()
    for seq in range(1, len(updates) + 1):
        balances.take(updates[seq - 1], seq)
        assert balances.take(updates[seq - 1], seq) == [] and balances.seq == seq  # sent twice
        compare(balances, *batch(updates[:seq]))


QUICK = [Phase.explicit, Phase.reuse, Phase.generate]  # a failure is not made smaller: that takes minutes


@settings(max_examples=8, deadline=None, phases=QUICK)
@given(days())
def test_balances_are_the_batch_kpis_after_every_update(updates):
    equal_at_every_update(updates)


@pytest.mark.deep
@settings(max_examples=150, deadline=None, phases=QUICK)
@given(days())
def test_balances_are_the_batch_kpis_after_every_update_of_many_days(updates):
    equal_at_every_update(updates)


def test_what_an_update_says_has_changed_is_all_that_has():
    """By hand: 100 lent of 400, then 30 back, then the price; a return that comes before its loan waits for it."""
    day, a, b, c = DAYS[0], *NAMES
    balances = intraday.Balances()
    prices = frame("closes", [(day, a, 2.0), (day, b, 5.0)])
    stock = frame("inventory", [(day, a, "AL1", 300), (day, b, "AL1", 10)])
    loans = frame("loans", [(day, "L1", "new", a, 100)])
    first = {"rates": frame("rates", [(day,)]), "closes": prices, "inventory": stock, "loans": loans}
    assert balances.table().empty and balances.take(first, 1) == [a, b]
    back = frame("loans", [(day, "L1", "partial return", a, 30)])
    assert balances.take({"loans": back, "locates": None}, 2) == [a]
    table = balances.table([a])
    assert table.loc[a].tolist() == [70, 300, 370, 140.0, 740.0, 70 / 370, 70 / 370]
    assert balances.take({"loans": frame("loans", [(day, "L2", "return", c, 8)])}, 3) == [c]
    assert balances.table().loc[c, "on_loan"] == 0
    assert balances.take({"loans": frame("loans", [(day, "L2", "new", c, 20)])}, 4) == [c]
    unpriced = balances.table([c]).loc[c]
    assert unpriced["on_loan"] == 12 and np.isnan(unpriced["on_loan_value"]) and unpriced["utilisation_quantity"] == 1
    assert balances.take({"closes": frame("closes", [(day, c, 0.5)])}, 5) == [c]
    assert balances.table([c])["on_loan_value"].tolist() == [6.0]
    assert balances.take({"rates": frame("rates", [(DAYS[1],)])}, 6) == [a, b, c]  # another day: its closes are to come
    assert balances.table()["lendable_value"].isna().all() and balances.table()["lendable"].tolist() == [370, 10, 12]


def test_a_store_is_followed_from_its_closed_days_on(tmp_path):
    """Opened in mid-life, then one day more: at both the KPIs of the book that the store holds."""
    sources.write_ticks(until(3), tmp_path / "s")
    with tick_store.open(tmp_path / "s", read_only=True) as reader:
        following = intraday.follow(reader, timeout=0)
        balances, changed = next(following)
        assert set(changed) == set(balances.table().index)
        for days in (3, 4):
            if days == 4:
                sources.write_ticks(until(4), tmp_path / "s")
                assert next(following)[0] is balances
            book = sources.open(f"ticks:{tmp_path / 's'}")
            table = kpis.table(book, ["security_id"], "day").xs(book.dates[-1])
            compare(balances, book.dates[-1], table)
        assert balances.seq == 4 and next(following, None) is None


def until(days):
    frames = {name: getattr(BOOK, name) for name in COLUMNS}
    end = BOOK.dates[days - 1]
    return replace(BOOK, **{n: f[f["trade_date"] <= end] for n, f in frames.items() if "trade_date" in f})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame("loans", [(DAYS[0], "L1", "new", "A", 1)]).drop(columns="quantity"), "loans must have the columns"),
        (frame("loans", [(DAYS[0], "L1", "borrow", "A", 1)]), "event must be one of opening, new"),
        (frame("loans", [(DAYS[0], "L1", "new", None, 1)]), "loans: security_id must not be missing"),
        (frame("loans", [(DAYS[0], "L1", "new", "A", -1)]), "loans: quantity must be numbers >= 0"),
        (frame("loans", [(DAYS[0], "L1", "new", "A", 1)]).assign(quantity=0.5), "loans: quantity must be whole"),
        (frame("loans", [(DAYS[0], "L1", "new", "A", 1)]).assign(quantity="1"), "loans: quantity must be numbers"),
    ],
)
def test_rows_that_say_nothing_are_refused_and_nothing_is_taken(table, message):
    balances = intraday.Balances()
    with pytest.raises(ValueError, match=message):
        balances.take({"rates": frame("rates", [(DAYS[0],)]), "loans": table}, 1)
    assert balances.seq == 0 and balances.date is None and balances.table().empty
    with pytest.raises(ValueError, match="closes: close must be numbers >= 0, and finite"):
        balances.take({"rates": frame("rates", [(DAYS[0],)]), "closes": frame("closes", [(DAYS[0], "A", np.inf)])}, 1)
    assert balances.seq == 0 and balances.date is None
