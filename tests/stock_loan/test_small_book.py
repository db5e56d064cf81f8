"""A book of two names, worked out on paper: a day's problem and its tickets, number by number."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import allocation, kpis, support, tables, tickets
from mmlib.stock_loan.tables import Book

MONDAY, TUESDAY = pd.Timestamp("2025-09-08"), pd.Timestamp("2025-09-09")
LOANS = ["trade_date", "loan_id", "event", "security_id", "client_id", "pool_id", "quantity", "loan_fee", "borrow_fee"]


def small(*loans, free=(), fee=np.nan, closes=("A", "B")):
    """Names A at 100 dollars and B at 20, pools P and Q, clients X and Y; `free`: name, pool, shares, its fee."""
    empty = {"debits": ["trade_date", "client_id", "net_debit"],
             "positions": ["trade_date", "client_id", "security_id", "account", "side", "quantity"],
             "locates": ["trade_date", "locate_id", "client_id", "security_id", "quantity_requested",
                         "quantity_approved", "quantity_shorted", "quantity_settled", "loan_fee"]}  # fmt: skip
    price = {"A": 100.0, "B": 20.0}
    days = [(day, name) for day in (MONDAY, TUESDAY) for name in (("A", "B") if day == MONDAY else closes)]
    return tables.check(Book(
        securities=pd.DataFrame({"security_id": ["A", "B"], "symbol": ["A", "B"], "sector": "s", "bucket": "GC",
                                 "round_lot": 1, "average_daily_volume": 0}),
        closes=pd.DataFrame([(day, name, price[name], fee) for day, name in days],
                            columns=["trade_date", "security_id", "close", "indicative_fee"]),
        rates=pd.DataFrame({"trade_date": [MONDAY, TUESDAY], "benchmark_rate": 430.0, "funding_rate": 465.0}),
        clients=pd.DataFrame({"client_id": ["X", "Y"], "client_type": "unknown", "markup": [5.0, 10.0],
                              "credit_limit": np.nan, "risk_weight": 1.0}),
        pools=pd.DataFrame({"pool_id": ["P", "Q"], "pool_type": "agent lender", "merit": [1, 2], "client_id": "",
                            "concentration_limit": 1.0}),
        eligibility=pd.DataFrame({"pool_id": ["P", "P", "Q", "Q"], "client_id": ["X", "Y"] * 2}),
        inventory=pd.DataFrame([(MONDAY, *row) for row in free], columns=["trade_date", "security_id", "pool_id",
                                                                          "quantity_available", "borrow_fee"]),
        loans=pd.DataFrame(list(loans), columns=LOANS).assign(rebate_rate=np.nan),
        **{name: pd.DataFrame(columns=columns) for name, columns in empty.items()},
    ))  # fmt: skip


def loan(name, security, client, pool, quantity, fee, cost, day=MONDAY, event="new"):
    return day, name, event, security, client, pool, quantity, fee, cost


def lanes(problem):
    """(name, party) -> source cost or client fee, by the names of the problem."""
    cost = {(s, k): problem.source_cost[i, j] for i, s in enumerate("AB") for j, k in enumerate("PQ")}
    return cost, {(s, c): problem.client_fee[i, j] for i, s in enumerate("AB") for j, c in enumerate("XY")}


def test_an_over_borrow_does_not_raise_the_cost_of_what_a_client_pays_for():
    """X pays 150 for 1,000 shares of A that cost 100; 1,000 more at 500 from the same pool nobody wants.

    An average over both would be 300 and close a loan that earns 100,000 · 50 bp / 360. B has over-borrow alone.
    """
    book = small(loan("L1", "A", "X", "P", 1000, 150.0, 100.0), loan("L2", "A", "Y", "P", 1000, 0.0, 500.0),
                 loan("L3", "B", "Y", "Q", 500, 0.0, 70.0))  # fmt: skip
    problem = allocation.problem(book, MONDAY)
    cost, _ = lanes(problem)
    assert cost["A", "P"] == 100.0
    assert cost["B", "Q"] == 70.0
    assert problem.assumed.empty
    assert problem.supply.tolist() == [[2000.0, 0.0], [0.0, 500.0]]
    assert problem.demand.tolist() == [[1000.0, 0.0], [0.0, 0.0]]
    solution = allocation.solve(problem)
    assert solution.value == pytest.approx(100_000 * 50 / 1e4 / 360)
    found = tickets.table(book, MONDAY, solution).set_index("loan_id")
    assert found.index.tolist() == ["L2", "L3"]
    assert (found["ticket"] == "return").all()
    assert found["dollars_a_day"].to_numpy() == pytest.approx([100_000 * 500 / 3.6e6, 10_000 * 70 / 3.6e6])
    steps = tickets.bridge(book, MONDAY, solution)
    assert steps["today"] == pytest.approx((100_000 * (50 - 500) - 10_000 * 70) / 3.6e6)
    assert steps["solution"] == pytest.approx(solution.value)


def test_each_fee_is_the_first_that_is_known():
    """Quote before loans in force before the lane's last rate before the market before the parameter."""
    loans = [loan("L1", "A", "X", "P", 100, 60.0, 40.0), loan("L2", "A", "X", "P", 300, 80.0, 20.0),
             loan("L3", "A", "Y", "Q", 100, 90.0, 70.0), loan("L3", "A", "Y", "Q", 100, 90.0, 70.0, TUESDAY, "return"),
             loan("L4", "B", "X", "P", 100, 30.0, 10.0),
             loan("L4", "B", "X", "P", 0, 31.0, 11.0, TUESDAY, "re-rate")]  # fmt: skip
    free = [("A", "P", 50, np.nan), ("A", "Q", 100, np.nan), ("B", "P", 0, 17.0), ("B", "Q", 100, np.nan)]
    problem = allocation.problem(small(*loans, free=free), TUESDAY, idle_cost=33.0)
    cost, fee = lanes(problem)
    assert cost == {("A", "P"): 25.0, ("A", "Q"): 70.0, ("B", "P"): 17.0, ("B", "Q"): 11.0}
    assert fee == {("A", "X"): 75.0, ("A", "Y"): 90.0, ("B", "X"): 31.0, ("B", "Y"): 31.0}
    assert problem.assumed[["field", "security", "party", "value", "from"]].to_numpy().tolist() == [
        ["source_cost", "A", "Q", 70.0, "last rate"], ["source_cost", "B", "Q", 11.0, "market fee"],
    ]  # fmt: skip
    assert problem.demand_basis == "today's loans alone: there are no locates up to 2025-09-09"
    assert problem.supply.tolist() == [[450.0, 100.0], [100.0, 100.0]]
    quoted = allocation.problem(small(*loans, free=free, fee=200.0), TUESDAY)
    cost, fee = lanes(quoted)
    assert cost == {("A", "P"): 25.0, ("A", "Q"): 70.0, ("B", "P"): 17.0, ("B", "Q"): 200.0}
    assert fee == {("A", "X"): 205.0, ("A", "Y"): 210.0, ("B", "X"): 205.0, ("B", "Y"): 210.0}
    idle = allocation.problem(small(free=[("B", "Q", 100, np.nan)]), MONDAY, idle_cost=33.0)
    assert lanes(idle)[0]["B", "Q"] == 33.0
    assert idle.assumed["from"].tolist() == ["idle cost"]


def test_the_loans_of_a_lane_that_earn_least_go_back_first_whatever_their_fees():
    """Margins 40, 35 and 15 bp at client fees of 50, 80 and 20: of 300 shares the 100 of the first loan stay."""
    book = small(loan("L1", "A", "X", "P", 100, 50.0, 10.0), loan("L2", "A", "X", "P", 100, 80.0, 45.0),
                 loan("L3", "A", "X", "P", 100, 20.0, 5.0))  # fmt: skip
    problem = replace(allocation.problem(book, MONDAY), demand=[[100.0, 0.0], [0.0, 0.0]])
    found = tickets.table(book, MONDAY, allocation.solve(problem))
    back = found[found["ticket"] == "return"]
    assert back[["loan_id", "quantity"]].to_numpy().tolist() == [["L2", 100], ["L3", 100]]
    assert back["dollars_a_day"].to_numpy() == pytest.approx([-10_000 * 35 / 3.6e6, -10_000 * 15 / 3.6e6])
    assert found.loc[found["ticket"] == "re-rate", "loan_id"].tolist() == ["L1"]  # to the average, 50 and 20


def test_a_fee_below_a_basis_point_is_a_fee():
    book = small(loan("L1", "A", "X", "P", 100, 0.5, 0.25))
    problem = allocation.problem(book, MONDAY)
    assert problem.demand[0, 0] == 100
    assert tickets.table(book, MONDAY, allocation.solve(problem)).empty


def test_a_new_loan_is_at_the_fees_of_its_lane_and_the_street_is_called_so():
    """X has 100 of A and wants 250; Q may lend to the street at 90 bp."""
    book = small(loan("L1", "A", "X", "P", 100, 75.0, 25.0), free=[("A", "P", 200, 25.0), ("A", "Q", 70, 35.0)])
    problem = replace(allocation.problem(book, MONDAY), demand=[[250.0, 0.0], [0.0, 0.0]],
                      external_fee=[[0.0, 90.0], [0.0, 0.0]])  # fmt: skip
    solution = allocation.solve(problem)
    found = tickets.table(book, MONDAY, solution)
    columns = ["ticket", "security_id", "pool_id", "client_id", "quantity", "loan_fee", "borrow_fee", "loan_id"]
    assert found[columns].to_numpy().tolist() == [
        ["new", "A", "P", "X", 150, 75.0, 25.0, ""], ["new", "A", "Q", "street", 70, 90.0, 35.0, ""],
    ]  # fmt: skip
    assert found["dollars_a_day"].to_numpy() == pytest.approx([15_000 * 50 / 3.6e6, 7_000 * 55 / 3.6e6])
    assert (found["trade_date"] == MONDAY).all()
    assert tickets.bridge(book, MONDAY, solution)["solution"] == pytest.approx(solution.value)


def test_a_closed_loan_of_a_name_without_a_close_is_none_of_the_days():
    book = small(loan("L1", "B", "X", "P", 100, 50.0, 10.0),
                 loan("L1", "B", "X", "P", 100, 50.0, 10.0, TUESDAY, "return"),
                 loan("L2", "A", "X", "P", 100, 50.0, 10.0), closes=("A",))  # fmt: skip
    problem = allocation.problem(book, TUESDAY)
    assert problem.securities == ("A",)
    assert tickets.table(book, TUESDAY, allocation.solve(problem)).empty


def test_a_loan_that_the_problem_does_not_know_is_named():
    """The second of three loans is to a client of whom the problem has never heard."""
    book = small(loan("L1", "A", "X", "P", 100, 50.0, 10.0), loan("L2", "B", "Y", "Q", 100, 50.0, 10.0),
                 loan("L3", "B", "X", "P", 100, 50.0, 10.0))  # fmt: skip
    solution = allocation.solve(replace(allocation.problem(book, MONDAY), clients=("X", "Z")))
    with pytest.raises(ValueError, match="loan L2 of B from Q to Y is not in its problem"):
        tickets.table(book, MONDAY, solution)


def test_fractions_of_shares_are_named_and_dropped_unless_they_must_be_delivered():
    """Of B 10.5 shares from Q to Y, of A 3 to X: the first cell in the way is B's."""
    book = small(free=[("A", "P", 3, 10.0), ("B", "Q", 11, 10.0)])
    problem = replace(allocation.problem(book, MONDAY), demand=[[3.0, 0.0], [0.0, 10.5]], client_fee=50.0)
    solution = allocation.solve(problem)
    with pytest.raises(ValueError, match=r"whole shares .*; got 10\.5 of B from Q"):
        tickets.table(book, MONDAY, solution)
    assert tickets.whole(solution).allocation.sum((1, 2)).tolist() == [3.0, 10.0]
    must = replace(problem, mandatory=[[3.0, 0.0], [0.0, 10.5]])
    with pytest.raises(ValueError, match="mandatory demand of B, Y must be met in whole shares"):
        tickets.whole(allocation.solve(must))


def test_a_close_is_needed_on_the_days_of_a_loan_or_a_request_and_on_no_other():
    """B has no close on Tuesday: a loan returned then needs none, one still open does; so do requests of that day."""
    with pytest.raises(tables.TableError, match=r"loans: security_id .* a close .* \(none of B on 2025-09-09\)"):
        small(loan("L1", "B", "X", "P", 100, 50.0, 10.0), closes=("A",))
    back = loan("L1", "B", "X", "P", 100, 50.0, 10.0, TUESDAY, "return")
    book = small(loan("L1", "B", "X", "P", 100, 50.0, 10.0), back, closes=("A",))
    asked = pd.DataFrame({"trade_date": [MONDAY], "locate_id": "Q1", "client_id": "X", "security_id": "B",
                          "quantity_requested": 5, "quantity_approved": 4, "quantity_shorted": 3,
                          "quantity_settled": 2, "loan_fee": 50.0})  # fmt: skip
    assert len(tables.check(replace(book, locates=asked)).locates) == 1
    with pytest.raises(tables.TableError, match=r"locates: security_id .* \(none of B on 2025-09-09\)"):
        tables.check(replace(book, locates=asked.assign(trade_date=TUESDAY)))


def test_a_message_shows_three_rows_and_counts_them_all():
    book = small()
    closes = book.closes.assign(close=[-1.0, 2.0, -3.0, -4.0])
    more = pd.concat([closes, closes.assign(security_id=["C", "D"] * 2)], ignore_index=True)
    with pytest.raises(tables.TableError) as caught:
        tables.check(replace(book, closes=more))
    shown = [line for line in str(caught.value).splitlines() if line.startswith("closes: close ")]
    assert len(shown) == 1
    assert shown[0].endswith("; 6 of 8 rows bad, first row 0: -1.0; row 2: -3.0; row 3: -4.0")


def test_a_ticket_of_one_share_is_a_ticket(tmp_path):
    """One share at 50 over 10 bp; the market's fee is 60 and X's markup 5."""
    book = small(loan("L1", "A", "X", "P", 1, 50.0, 10.0), fee=60.0)
    found = tickets.table(book, MONDAY, allocation.solve(allocation.problem(book, MONDAY)))
    assert found[["ticket", "quantity", "loan_fee", "borrow_fee"]].to_numpy().tolist() == [["re-rate", 1, 65.0, 10.0]]
    assert found["dollars_a_day"].tolist() == [pytest.approx(100 * 15 / 3.6e6)]
    tickets.write(found, tmp_path / "t.csv")
    pd.testing.assert_frame_equal(tickets.read(tmp_path / "t.csv"), found, check_exact=True)


def asks(*rows):
    """Locates: day, client, shares of A requested, approved, sold short."""
    columns = ["trade_date", "client_id", "quantity_requested", "quantity_approved", "quantity_shorted"]
    found = pd.DataFrame(rows, columns=columns).assign(security_id="A", quantity_settled=0, loan_fee=60.0)
    return found.assign(locate_id=[f"Q{i}" for i in range(len(rows))])


def test_a_request_is_at_the_last_fee_its_client_paid():
    """X paid 60 until its loan became an over-borrow on Tuesday; of 10 and 30 shares asked for 4 and 12 are sold."""
    book = small(loan("L1", "A", "X", "P", 100, 60.0, 40.0), loan("L2", "A", "Y", "P", 70, 90.0, 40.0),
                 loan("L1", "A", "X", "P", 0, 0.0, 40.0, TUESDAY, "re-rate"))  # fmt: skip
    located = asks((MONDAY, "X", 10, 10, 4), (TUESDAY, "X", 30, 30, 12))
    problem = allocation.problem(tables.check(replace(book, locates=located)), TUESDAY)
    assert problem.demand.tolist() == [[pytest.approx(30 * 16 / 40), 70.0], [0.0, 0.0]]
    assert lanes(problem)[1]["A", "X"] == 60.0
    assert problem.assumed.to_numpy().tolist() == [["client_fee", "A", "X", 60.0, "last rate"]]


def test_where_every_request_was_cut_what_was_sold_stands_in_and_nothing_sold_is_nothing_assumed():
    book = small(loan("L1", "A", "X", "P", 100, 60.0, 40.0))
    located = asks((MONDAY, "X", 10, 5, 3), (MONDAY, "Y", 10, 5, 0))
    problem = allocation.problem(tables.check(replace(book, locates=located)), MONDAY)
    assert problem.demand.tolist() == [[103.0, 0.0], [0.0, 0.0]]
    assert problem.assumed.to_numpy().tolist() == [["demand", "A", "X", 103.0, "sold short"]]


def test_idle_shares_cost_a_number_where_their_pools_and_the_rates_are_known():
    """No benchmark on either day: idle shares of lenders cost the desk nothing, of its own nobody knows how much."""
    book = small(loan("L1", "A", "X", "P", 100, 60.0, 40.0), free=[("A", "P", 50, 10.0), ("A", "Q", 50, 10.0)])
    book = replace(book, rates=book.rates.assign(benchmark_rate=np.nan))
    for kind, missing in (
        ("agent lender", ""),
        ("internal", "rates: benchmark_rate and funding_rate on every trade date"),
        ("unknown", "pools: the kind of pool the idle shares are in"),
    ):
        found = tables.check(replace(book, pools=book.pools.assign(pool_type=["agent lender", kind])))
        row = support.report(found).loc[("KPI", "holding_cost idle_longs")]
        assert (row["supported"], row["missing"]) == (not missing, missing)
        cost = kpis.holding_cost(found, [])["idle_longs"].iloc[0]
        assert np.isnan(cost) if missing else cost == 0
