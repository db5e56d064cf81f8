"""Rules of thumb must obey every rule of the book they are measured in, or the comparison is worth nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.stock_loan import heuristics
from mmlib.stock_loan.allocation import Problem, income, solve

books = settings(max_examples=15, deadline=None, derandomize=True)
RULES = (heuristics.merit_order, heuristics.first_come, heuristics.pro_rata, heuristics.trimmed)


def book(seed, S=5, K=4, C=3):
    rng = np.random.default_rng(seed)
    price, demand = rng.uniform(5, 200, S), 100.0 * rng.integers(0, 9, (S, C))
    value = 1.0 + price @ demand.sum(1)
    limit = 0.1 * value
    return Problem(
        securities=[f"S{i}" for i in range(S)], pools=[f"P{i}" for i in range(K)], clients=[f"C{i}" for i in range(C)],
        price=price, client_fee=rng.uniform(10, 500, (S, C)), source_cost=rng.uniform(0, 300, (S, K)), demand=demand,
        supply=100.0 * rng.integers(0, 9, (S, K)), eligible=(rng.random((K, C)) < 0.8) | (np.arange(C) == 0),
        concentration=np.where(rng.random(K) < 0.5, rng.uniform(0.3, 0.9, K), 1.0),
        capital_weight=rng.uniform(0, 1, (K, C)), capital=0.2 * value, credit=0.3 * value,
        debit=np.where(rng.random(K) < 0.5, limit, np.inf), customer=rng.choice(["A", "B"], K), turnover_cost=0.01,
        previous=100.0 * rng.integers(0, 5, (S, K, C)) * (rng.random((S, K, C)) < 0.4),
    )  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@books
@given(seed=st.integers(0, 10**6))
def test_a_rule_is_feasible_and_never_beats_the_programme(rule, seed):
    """Every limit checked on the array itself, written out here."""
    problem = book(seed)
    x = rule(problem)
    dollars, drawn = problem.price[:, None, None] * x, x.sum(2)
    assert np.all(x >= 0)
    assert not np.any(x[~problem.eligible])
    assert np.all(drawn <= problem.supply + 1e-9)
    assert np.all(x.sum(1) <= problem.demand + 1e-9)
    assert (problem.capital_weight * dollars).sum() <= problem.capital * (1 + 1e-12)
    assert np.all(dollars.sum((0, 1)) <= problem.credit * (1 + 1e-12))
    for customer in "AB":
        mine = np.array([problem.customer[k] == customer and np.isfinite(problem.debit[k]) for k in range(4)])
        if mine.any():
            assert dollars[:, mine].sum() <= 1.4 * problem.debit[mine][0] * (1 + 1e-12)
    for s, k in np.ndindex(drawn.shape):
        if problem.concentration[k] < 1 and np.delete(problem.supply[s], k).any():
            assert drawn[s, k] <= problem.concentration[k] * problem.demand[s].sum() + 1e-8
    assert income(problem, x).sum() <= solve(problem, "monolithic").value + 1e-7


@books
@given(st.integers(0, 10**6))
def test_merit_order_is_the_optimum_where_all_pools_serve_all(seed):
    free = dict(capital=np.inf, credit=np.inf, debit=np.inf, concentration=1.0)
    problem = replace(book(seed), eligible=np.ones((4, 3), bool), turnover_cost=0.0, **free)
    assert income(problem, heuristics.merit_order(problem)).sum() == pytest.approx(solve(problem).value, abs=1e-9)


def test_pro_rata_gives_everyone_the_same_part():
    """90 shares for demands of 100 and 50: three fifths each."""
    problem = Problem(
        securities=["A"], pools=["P", "Q"], clients=["C", "D"], price=[10.0], client_fee=[[90.0, 70.0]],
        source_cost=[[10.0, 30.0]], demand=[[100.0, 50.0]], supply=[[60.0, 30.0]], eligible=np.ones((2, 2), bool),
    )  # fmt: skip
    x = heuristics.pro_rata(problem)
    assert x.sum((0, 1)) == pytest.approx([60.0, 30.0])
    assert x[0, 0] == pytest.approx([60.0, 0.0])  # the first client's turn comes first


def test_first_come_depends_on_the_seed_only():
    problem = book(4)
    assert np.array_equal(heuristics.first_come(problem, seed=1), heuristics.first_come(problem, seed=1))
    with pytest.raises(ValueError, match="seed must be an integer and >= 0"):
        heuristics.first_come(problem, seed=-1)


def test_trimmed_keeps_what_earns_most_per_dollar_of_risk_weight():
    """Loans of 1,000 dollars each at 40 bp with weight 1 and at 30 with weight .2; a balance sheet of 700 dollars.

    Kept first: 30/.2 = 150 a dollar of risk weight, 200 dollars of them; the 500 that are left hold half of the other.
    Without a limit both stay, and a request of 100 dollars at 50 bp, which pays for its opening of 360·.05, is added.
    """
    previous = np.zeros((1, 1, 3))
    previous[0, 0, :2] = 100.0
    problem = Problem(
        securities=["A"], pools=["P"], clients=["C", "D", "E"], price=[10.0], client_fee=[[40.0, 30.0, 50.0]],
        source_cost=0.0, demand=[[100.0, 100.0, 10.0]], supply=500.0, eligible=np.ones((1, 3), bool), previous=previous,
        capital_weight=[[1.0, 0.2, 10.0]], capital=700.0, turnover_cost=0.05,
    )  # fmt: skip
    assert heuristics.trimmed(problem)[0, 0] == pytest.approx([50.0, 100.0, 0.0])
    assert heuristics.trimmed(replace(problem, capital=np.inf))[0, 0] == pytest.approx([100.0, 100.0, 10.0])
    dear = replace(problem, capital=np.inf, turnover_cost=0.15)  # opening costs 54 bp: nothing new
    assert heuristics.trimmed(dear)[0, 0] == pytest.approx([100.0, 100.0, 0.0])
    losing = replace(problem, capital=np.inf, source_cost=45.0)  # closing costs 18: −5 and −15 stay, −33 does not
    assert heuristics.trimmed(losing)[0, 0] == pytest.approx([100.0, 100.0, 0.0])
    assert heuristics.trimmed(replace(losing, source_cost=63.0))[0, 0] == pytest.approx([0.0, 0.0, 0.0])


def test_trimmed_without_yesterday_or_weights_is_merit_order():
    problem = replace(book(4), previous=None, turnover_cost=0.0, capital=np.inf)
    unweighted = replace(problem, capital_weight=np.nan)
    assert np.array_equal(heuristics.trimmed(unweighted), heuristics.merit_order(problem))
