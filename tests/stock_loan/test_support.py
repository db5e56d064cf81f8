"""What files support: one thing at a time is taken from a whole book, and exactly what needs it is missing."""

from dataclasses import replace

import numpy as np
import pytest

from mmlib.stock_loan import desk, kpis, support


@pytest.fixture(scope="module")
def whole():
    return desk.book(securities=20, days=12, clients=3, seed=3)


def without(book, what):
    """The book without one thing."""
    none = {name: getattr(book, name).iloc[:0] for name in ("loans", "locates", "debits")}
    free = book.inventory.assign(quantity_available=0)
    kinds, loans = book.pools["pool_type"], book.loans
    unknown = book.pools.assign(pool_type="unknown")
    noticed = loans.loc[loans["event"].isin(["recall", "buy-in"]), "loan_id"]

    def lost(name, column):
        """One cell of a column is empty."""
        frame = getattr(book, name)
        return {name: frame.assign(**{column: frame[column].where(frame.index != 1)})}

    changes = {
        "nothing": {},
        "free shares": {"inventory": free},
        "loans": {"loans": none["loans"]},
        "loans and free shares": {"loans": none["loans"], "inventory": free},
        "ages": {"loans": loans.assign(event=loans["event"].replace("new", "opening"))},
        "kinds of pools": {"pools": unknown},
        "kinds of pools and recalls": {"pools": unknown, "loans": loans[~loans["loan_id"].isin(noticed)]},
        "kinds of pools and returns": {"pools": unknown, "loans": loans[loans["event"] == "new"]},
        "the kind of the street": {"pools": book.pools.assign(pool_type=kinds.replace("street", "unknown"))},
        "a fee of the market": lost("closes", "indicative_fee"),
        "a benchmark": lost("rates", "benchmark_rate"),
        "a benchmark and own shares": lost("rates", "benchmark_rate")
        | {"inventory": book.inventory[~book.inventory["pool_id"].isin(book.pools["pool_id"][kinds == "internal"])]},
        "a cost of funding": lost("rates", "funding_rate"),
        "a risk weight": lost("clients", "risk_weight"),
        "shorts": {"positions": book.positions[book.positions["side"] == "long"]},
        "volume beyond one share": {"securities": book.securities.assign(average_daily_volume=1)},
        "volume of the first": {
            "securities": book.securities.assign(
                average_daily_volume=book.securities["average_daily_volume"].where(book.securities.index > 0, 0)
            )
        },
        "volume": {"securities": book.securities.assign(average_daily_volume=0)},
        "locates": {"locates": none["locates"]},
        "debits": {"debits": none["debits"]},
        "margin pools": {"pools": book.pools.assign(pool_type=kinds.replace("rehypothecation", "exclusive"))},
    }
    return replace(book, **changes[what])


OF_LOANS = {"vwaf", "spread_capture", "days_on_loan", "internalisation", "recall_rate", "concentration", "desk", "kpis",
            "allocation", "rehypothecation"}  # fmt: skip
OF_STOCK = {"utilisation_quantity", "utilisation_value", "flow_turnover", "return_to_lendable", "idle",
            "fee_weighted_idle"}  # fmt: skip
OF_KINDS = {"internalisation", "recall_rate", "concentration", "holding_cost idle_longs", "kpis", "rehypothecation"}
MISSING = {
    "nothing": set(),
    "free shares": set(),
    "loans": OF_LOANS,
    "loans and free shares": OF_LOANS | OF_STOCK,
    "ages": {"days_on_loan"},
    "kinds of pools": OF_KINDS | {"bought_in_value"},
    "kinds of pools and recalls": OF_KINDS | {"bought_in_value"},
    "kinds of pools and returns": OF_KINDS,  # nothing has come back: no buy-in is missing
    "the kind of the street": OF_KINDS - {"recall_rate", "rehypothecation"},  # it has recalls
    "a fee of the market": {"fee_weighted_idle"},
    "a benchmark": {"holding_cost idle_longs"},
    "a benchmark and own shares": set(),  # no long of the desk's own that costs money
    "a cost of funding": {"holding_cost idle_longs"},
    "a risk weight": {"holding_cost capital"},
    "shorts": {"holding_cost over_borrow", "days_to_cover", "kpis", "rehypothecation"},
    "volume beyond one share": set(),
    "volume of the first": set(),
    "volume": {"days_to_cover"},
    "locates": {"locates", "kpis"},
    "debits": {"rehypothecation"},
    "margin pools": {"rehypothecation"},
}
WORDS = {
    "loans": {"loans: no loan"},
    "a fee of the market": {"closes: indicative_fee on every row"},
    "a benchmark": {"rates: benchmark_rate and funding_rate on every trade date"},
    "a cost of funding": {"rates: benchmark_rate and funding_rate on every trade date"},
    "a risk weight": {"clients: risk_weight"},
    "volume": {"securities: average_daily_volume"},
    "debits": {"debits: the margin clients' net debits"},
}


@pytest.mark.parametrize("what", MISSING)
def test_a_book_without_one_thing_lacks_exactly_what_needs_it(whole, what):
    """By hand; and a KPI is said to be supported where `kpis` gives a number."""
    book = without(whole, what)
    report = support.report(book)
    lacking = report[~report["supported"]]
    assert set(lacking.index.get_level_values("name")) == MISSING[what]
    if what in WORDS:
        assert set(lacking["missing"]) == WORDS[what]
    assert ((report["missing"] == "") == report["supported"]).all()
    says = report.loc["KPI", "supported"]
    table, costs = kpis.table(book).iloc[0], kpis.holding_cost(book, []).iloc[0].add_prefix("holding_cost ")
    for row in (table[table.index.intersection(says.index)], costs):
        assert len(row) >= 3
        assert says[row.index].to_dict() == row.notna().to_dict()


def test_what_several_things_lack_is_listed(whole):
    """The chapter on KPIs of a book of unknown pools, in the order of what it needs."""
    report = support.report(without(whole, "kinds of pools"))
    assert report.loc[("chapter", "kpis"), "missing"] == (
        "pools: the kind of pool the loans are from; loans: recalls, of the pools whose kind is not known"
    )
    assert np.all(support.report(whole)["missing"] == "")
