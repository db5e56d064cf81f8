"""KPIs of one small book, every number worked out by hand: what one name has too much is no help to another."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import desk, kpis, tables


@pytest.fixture(scope="module")
def made():
    """Thursday 21 August 2025 and the three trade dates after it; A at $10, B at $20, to C01, and B to C02 too.

    Loans: 1,000 of A from Thursday to Tuesday, 300 of B to C01 from Friday on, 200 of B to C02 from Friday to Monday.
    Shorts: C01 600 of A from Thursday, none from Monday; 900 of B from Thursday. C02: 500 of A.
    """
    full = desk.book(securities=20, days=12, clients=3, seed=1)
    week = full.dates[3:7]
    assert [f"{day:%a %d}" for day in week] == ["Thu 21", "Fri 22", "Mon 25", "Tue 26"]
    closes = full.closes[full.closes["trade_date"].isin(week)]
    closes = closes.assign(close=closes["security_id"].map({"S0000": 10.0, "S0001": 20.0}).fillna(1.0))
    events = [(0, "L1", "new", 0, "C01", 1000), (3, "L1", "return", 0, "C01", 1000), (1, "L2", "new", 1, "C01", 300),
              (1, "L3", "new", 1, "C02", 200), (2, "L3", "return", 1, "C02", 200)]  # fmt: skip
    loans = [(week[t], loan, event, f"S{name:04d}", client, "STR", quantity, 72.0, 36.0, np.nan)
             for t, loan, event, name, client, quantity in events]  # fmt: skip
    shorts = [(0, "C01", 0, 600), (2, "C01", 0, 0), (0, "C01", 1, 900), (0, "C02", 0, 500)]
    shorts = [(week[t], client, f"S{name:04d}", "margin", "short", q) for t, client, name, q in shorts]
    asked = [
        (0, "Q1", "C01", 0, 100, 50, 40, 10),
        (0, "Q2", "C02", 0, 300, 0, 0, 0),
        (2, "Q3", "C02", 1, 200, 200, 20, 20),
    ]
    asked = [(week[t], locate, client, f"S{name:04d}", *q, 50.0) for t, locate, client, name, *q in asked]
    volume = full.securities["security_id"].map({"S0000": 250, "S0001": 0}).fillna(100).astype("int64")
    return tables.check(replace(
        full, securities=full.securities.assign(average_daily_volume=volume), rates=full.rates.iloc[3:7], closes=closes,
        debits=full.debits.iloc[:0], inventory=full.inventory.iloc[:0],
        loans=pd.DataFrame(loans, columns=full.loans.columns),
        positions=pd.DataFrame(shorts, columns=full.positions.columns),
        locates=pd.DataFrame(asked, columns=full.locates.columns)))  # fmt: skip


def test_what_is_short_beyond_one_loan_pays_for_no_other(made):
    """A: 400 too many on Thursday and Friday (1 + 3 days), 1,000 on Monday (1), gone on Tuesday; B: 300 < 900, but the
    200 of C02 are no short of theirs: 3 days."""
    costs = kpis.holding_cost(made, ["security_id"])["over_borrow"]
    assert costs["S0000"] == pytest.approx((400 * 4 + 1000) * 10 * 36e-4 / 360, rel=1e-12)
    assert costs["S0001"] == pytest.approx(200 * 20 * 3 * 36e-4 / 360, rel=1e-12)


def test_a_bill_has_the_days_from_start_to_end_and_no_other(made):
    """72 bp a year are 20 cents a day on $10,000, 12 on $6,000 and 8 on $4,000; Friday is three days."""
    lines = kpis.bill(made, "C01", start="2025-08-22", end="2025-08-25").set_index("loan_id")
    assert lines["share_days"].to_dict() == {"L1": 4000, "L2": 1200}
    assert lines["amount"].to_dict() == {"L1": 4 * 20, "L2": 4 * 12}
    assert [f"{day:%d}" for day in lines.loc["L2", ["first", "last"]]] == ["22", "25"]
    assert kpis.bill(made, "C01")["share_days"].tolist() == [5000, 1500]
    assert kpis.bill(made, "C02")["amount"].tolist() == [3 * 8]


def test_days_to_cover_are_those_of_the_day_and_unknown_without_a_volume(made):
    friday, monday = (kpis.days_to_cover(made, day) for day in ("2025-08-22", "2025-08-25"))
    assert (friday["S0000"], monday["S0000"], friday["S0002"]) == (1100 / 250, 500 / 250, 0)
    assert np.isnan(friday["S0001"])


def test_locates_are_counted_by_day_and_client_at_the_days_close(made):
    found = kpis.locates(made, ["trade_date", "client_type"])
    assert found["requests"].sum() == 3
    by_client = kpis.locates(made, ["client_id"])
    assert by_client["requests"].to_dict() == {"C01": 1, "C02": 2}
    assert by_client["fill_count"].to_dict() == {"C01": 1.0, "C02": 0.5}
    assert by_client["fill_dollars"].to_dict() == {"C01": 0.5, "C02": 4000 / 7000}
    assert by_client["conversion_shares"].to_dict() == {"C01": 0.8, "C02": 0.1}
    assert by_client["conversion_count"].to_dict() == {"C01": 1.0, "C02": 1.0}
    assert by_client["settled_shares"].to_dict() == {"C01": 0.25, "C02": 1.0}


def test_flows_of_a_group_open_with_what_it_closed_with(made):
    found = kpis.flows(made, ["security_id"], "week")
    assert found.to_dict("list") == {"opening": [0, 0, 1000, 500], "new": [1000, 500, 0, 0],
                                     "returned": [0, 0, 1000, 200], "closing": [1000, 500, 0, 300]}  # fmt: skip
    day = kpis.flows(made)
    assert day["closing"].tolist() == [1000, 1500, 1300, 300]
    assert day["opening"].tolist() == [0, 1000, 1500, 1300]


def test_capital_is_charged_by_name_and_client_at_the_rate_given(made):
    weight = made.clients.set_index("client_id")["risk_weight"]
    costs = kpis.holding_cost(made, ["security_id"], capital_charge=100.0)["capital"]
    assert costs["S0000"] == pytest.approx(10_000 * 5 * weight["C01"] * 0.01 / 360, rel=1e-12)
    b = 6_000 * 5 * weight["C01"] + 4_000 * 3 * weight["C02"]
    assert costs["S0001"] == pytest.approx(b * 0.01 / 360, rel=1e-12)


def test_prices_of_four_decimals_lose_nothing_of_their_fees(made):
    """All loans at 72 bp and 36 from the pool: 72 and a half exactly, whatever the values are; idle stock beside them.

    Share-days on loan: A 5,000, B 2,100; 77 shares of A lie idle for the four dates' 6 days at 30 bp of the market's.
    """
    odd = {"S0000": 10.0003, "S0001": 0.0123}
    closes = made.closes.assign(close=made.closes["security_id"].map(odd).fillna(1.0), indicative_fee=30.0)
    shelf = pd.DataFrame([(made.dates[0], "S0000", "INT", 77, 5.0)], columns=made.inventory.columns)
    book = tables.check(replace(made, closes=closes, inventory=shelf))
    found = kpis.table(book).iloc[0]
    lent, idle = 5000 * 10.0003 + 2100 * 0.0123, 77 * 10.0003 * 6
    assert found["vwaf"] == pytest.approx(72, rel=1e-13)
    assert found["spread_capture"] == pytest.approx(0.5, rel=1e-13)
    assert found["return_to_lendable"] == pytest.approx(72 * lent / (lent + idle), rel=1e-12)
    assert found["fee_weighted_idle"] == pytest.approx(idle / (lent + idle), rel=1e-12)
    small = kpis.table(book, ["security_id"]).loc["S0001"]
    assert (small["vwaf"], small["spread_capture"]) == pytest.approx((72, 0.5), rel=1e-13)
