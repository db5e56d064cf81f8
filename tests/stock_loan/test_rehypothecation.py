"""The 140 % rule: what the rules release, that the joint optimum is best, and what a dollar of debit is worth."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.stock_loan import allocation, rehypothecation
from mmlib.stock_loan.allocation import BP_DAY, Problem, income, solve

books = settings(max_examples=15, deadline=None, derandomize=True)


def margin_book(seed, S=6):
    """Two margin clients' longs, a dear lender open to all, and debits that release about half of the longs."""
    rng = np.random.default_rng(seed)
    price, supply = rng.uniform(5, 100, S), 100.0 * rng.integers(1, 9, (S, 3))
    debit = np.append((price @ supply)[:2] * rng.uniform(0.2, 0.8, 2) / 1.4, np.inf)
    return Problem(
        securities=[f"S{i}" for i in range(S)], pools=["MARGIN1", "MARGIN2", "LENDER"], clients=["C0", "C1"],
        price=price, client_fee=rng.uniform(30, 900, (S, 2)), source_cost=np.array([0.0, 0.0, 100.0]),
        demand=100.0 * rng.integers(0, 12, (S, 2)), supply=supply, eligible=np.ones((3, 2), bool), debit=debit,
    )  # fmt: skip


@books
@given(st.integers(0, 10**6))
def test_every_rule_releases_what_the_debit_allows_and_no_more_than_the_longs(seed):
    """Σ p r = min(1.4 D, Σ p L) for each margin client, to rounding; other pools are untouched."""
    problem = margin_book(seed)
    longs = problem.price @ problem.supply
    for supply in (
        rehypothecation.pro_rata(problem),
        rehypothecation.value_ranked(problem),
        rehypothecation.released(solve(problem)),
    ):
        assert np.all((supply >= 0) & (supply <= problem.supply * (1 + 1e-12)))
        assert problem.price @ supply == pytest.approx(np.minimum(longs, 1.4 * problem.debit), rel=1e-9)
        assert np.array_equal(supply[:, 2], problem.supply[:, 2])


def test_value_ranked_releases_the_largest_position_first():
    """Positions of 600, 300 and 100 dollars and a limit of 1.4 × 500 = 700: all of the first, 100 of the second."""
    problem = Problem(
        securities=["A", "B", "C"], pools=["M"], clients=["X"], price=[10.0, 30.0, 1.0], client_fee=50.0,
        source_cost=0.0, demand=0.0, supply=[[10.0], [20.0], [300.0]], eligible=[[True]], debit=500.0,
    )  # fmt: skip
    assert rehypothecation.value_ranked(problem)[:, 0] == pytest.approx([0.0, 20.0, 100 / 1.0])
    assert rehypothecation.pro_rata(problem)[:, 0] == pytest.approx([7.0, 14.0, 210.0])


@books
@given(st.integers(0, 10**6))
def test_the_joint_choice_earns_at_least_what_each_rule_does(seed):
    """Each rule's best book is feasible in the joint problem; without the rule nothing earned is lost."""
    table = rehypothecation.compare(margin_book(seed))
    earned = table["income"]
    assert table["gap"].max() <= 1e-8
    assert earned["joint"] >= earned[["pro rata", "value ranked"]].max() - 1e-7
    assert earned["no rule"] >= earned["joint"] - 1e-7


def test_the_joint_choice_equals_the_best_of_all_declarations():
    """Brute force over whole shares released of three names, each judged by greedy lending written out here.

    One client wants two shares of each name; fees differ, the only pool is a margin client's.
    """
    price, fee = np.array([3.0, 2.0, 5.0]), np.array([100.0, 90.0, 120.0])
    problem = Problem(
        securities=["A", "B", "C"], pools=["M"], clients=["X"], price=price, client_fee=fee[:, None], source_cost=0.0,
        demand=2.0, supply=3.0, eligible=[[True]], debit=10.0,
    )  # fmt: skip
    best = 0.0
    for release in itertools.product(range(4), repeat=3):
        if price @ release <= 14.0:
            best = max(best, (price * fee * np.minimum(release, 2)).sum() * BP_DAY)
    joint = solve(problem)
    whole = joint.allocation[:, 0, 0]
    assert income(problem, joint.allocation).sum() >= best - 1e-12
    assert whole == pytest.approx([4 / 3, 0.0, 2.0])  # 120 first, then 100 with the 4 dollars left


def test_a_dollar_of_debit_is_worth_1_4_times_the_price_of_the_row():
    """Re-solved with a dollar more and a dollar less."""
    problem = margin_book(3)
    solution = solve(problem)
    for k in range(2):
        price = 1.4 * solution.coupling()["price"].iloc[k] * BP_DAY
        step = np.zeros(3)
        step[k] = 1.0
        more = solve(replace(problem, debit=problem.debit + step)).value - solution.value
        less = solution.value - solve(replace(problem, debit=problem.debit - step)).value
        assert more - 1e-8 <= price <= less + 1e-8


@books
@given(st.integers(0, 10**6))
def test_the_declaration_accounts_for_every_long(seed):
    """long = released + excess, lent <= released; excess is what the rule requires: Σ p L − 1.4 D where positive."""
    problem = margin_book(seed)
    table = rehypothecation.declare(solve(problem))
    assert len(table) == int((problem.supply[:, :2] > 0).sum())
    assert table["long"].to_numpy() == pytest.approx((table["released"] + table["excess"]).to_numpy())
    assert np.all(table["lent"] <= table["released"] + 1e-6)
    excess = table.groupby("pool")["excess_value"].sum().to_numpy()
    required = np.maximum(problem.price @ problem.supply - 1.4 * problem.debit, 0)[:2]
    assert excess == pytest.approx(required, rel=1e-9, abs=1e-6)


def test_a_book_without_margin_clients_is_refused():
    with pytest.raises(ValueError, match="debit must be finite for at least one pool"):
        rehypothecation.compare(replace(margin_book(1), debit=np.inf))


def test_margin_longs_are_not_borrowed_on_term():
    problem = margin_book(1)
    with pytest.raises(ValueError, match="committed must be 0 in pool"):
        rehypothecation.compare(replace(problem, committed=0.1 * problem.supply))


def test_income_is_that_of_the_allocation_module():
    problem = margin_book(2)
    assert rehypothecation.compare(problem).loc["joint", "income"] == allocation.solve(problem).value


@books
@given(st.integers(0, 10**6))
def test_two_pools_of_one_customer_release_what_one_debit_allows(seed):
    """Σ p r over both pools is the smaller of 1.4 D and all longs, under every rule; the joint choice stays best."""
    problem = margin_book(seed)
    longs = problem.price @ problem.supply[:, :2].sum(1)
    debit = float(0.5 * longs / 1.4)
    problem = replace(problem, debit=[debit, debit, np.inf], customer=["K", "K", "L"])
    for rule in (rehypothecation.pro_rata, rehypothecation.value_ranked):
        assert problem.price @ rule(problem)[:, :2].sum(1) == pytest.approx(0.5 * longs, rel=1e-9)
    joint = solve(problem)
    assert problem.price @ rehypothecation.released(joint)[:, :2].sum(1) == pytest.approx(0.5 * longs, rel=1e-9)
    assert problem.price @ joint.allocation[:, :2].sum((1, 2)) <= 0.5 * longs * (1 + 1e-9)
    assert set(rehypothecation.declare(joint)["customer"]) == {"K"}
    earned = rehypothecation.compare(problem)["income"]
    assert earned["joint"] >= earned[["pro rata", "value ranked"]].max() - 1e-7


def test_value_ranked_looks_over_all_pools_of_a_customer():
    """Positions of 600 in one pool and 500 and 100 in the other, a limit of 700: the 600, then 100 of the 500."""
    problem = Problem(
        securities=["A", "B"], pools=["M1", "M2"], clients=["X"], price=[10.0, 1.0], client_fee=50.0, source_cost=0.0,
        demand=0.0, supply=[[60.0, 50.0], [0.0, 100.0]], eligible=[[True], [True]], debit=500.0, customer=["K", "K"],
    )  # fmt: skip
    assert rehypothecation.value_ranked(problem) == pytest.approx(np.array([[60.0, 10.0], [0.0, 0.0]]))
    assert rehypothecation.pro_rata(problem) == pytest.approx(problem.supply * 7 / 12)
