"""Rules of thumb must obey every rule of the book they are measured in, or the comparison is worth nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.stock_loan import heuristics
from mmlib.stock_loan.allocation import Problem, income, solve

books = settings(max_examples=15, deadline=None, derandomize=True)
RULES = (heuristics.merit_order, heuristics.first_come, heuristics.pro_rata)


def book(seed, S=5, K=4, C=3):
    rng = np.random.default_rng(seed)
    price, demand = rng.uniform(5, 200, S), 100.0 * rng.integers(0, 9, (S, C))
    value = 1.0 + price @ demand.sum(1)
    return Problem(
        securities=[f"S{i}" for i in range(S)], pools=[f"P{i}" for i in range(K)], clients=[f"C{i}" for i in range(C)],
        price=price, client_fee=rng.uniform(10, 500, (S, C)), source_cost=rng.uniform(0, 300, (S, K)), demand=demand,
        supply=100.0 * rng.integers(0, 9, (S, K)), eligible=(rng.random((K, C)) < 0.8) | (np.arange(C) == 0),
        concentration=np.where(rng.random(K) < 0.5, rng.uniform(0.3, 0.9, K), 1.0),
        capital_weight=rng.uniform(0, 1, (K, C)), capital=0.2 * value, credit=0.3 * value,
        debit=np.where(rng.random(K) < 0.5, 0.1 * value, np.inf),
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
    assert np.all(dollars.sum((0, 2)) <= 1.4 * problem.debit * (1 + 1e-12))
    assert np.all(drawn <= problem.concentration_limit() + 1e-8)
    assert income(problem, x).sum() <= solve(problem, "monolithic").value + 1e-7


@books
@given(st.integers(0, 10**6))
def test_merit_order_is_the_optimum_where_all_pools_serve_all(seed):
    free = dict(capital=np.inf, credit=np.inf, debit=np.inf, concentration=1.0)
    problem = replace(book(seed), eligible=np.ones((4, 3), bool), **free)
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
