"""Limits of the allocation that are broken by little, and lots of names that need none: worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from mmlib.stock_loan import allocation
from mmlib.stock_loan._allocation import lots
from mmlib.stock_loan.allocation import Problem, round_lots, solve


@pytest.mark.parametrize("capital", [19.999, 19.9])
def test_a_limit_missed_by_half_a_per_cent_binds(capital):
    """Worked by hand: merit order gives P0's ten shares to C0 and stops; the free optimum uses all 20 dollars.

    With ε = 20 − capital too much, P1 lends C0 (95 bp) ε less, and P0 gives C0 (100 bp) those ε in place of C1 (99 bp).
    """
    problem = Problem(
        securities=["S"], pools=["P0", "P1"], clients=["C0", "C1"], price=[1.0], client_fee=[[100.0, 99.0]],
        source_cost=[[0.0, 5.0]], demand=[[10.0, 10.0]], supply=[[10.0, 10.0]], eligible=[[True, True], [True, False]],
        capital=capital,
    )  # fmt: skip
    solution = solve(problem)
    assert solution.allocation.sum() <= capital + 1e-9
    less = 20 - capital
    best = (95 * (10 - less) + 99 * (10 - less) + 100 * less) / 1e4 / 360
    assert solution.value == pytest.approx(best, rel=1e-9)
    assert np.all(solution.coupling()["price"] > 0)
    with pytest.raises(ValueError, match="method must not be 'separate' where a coupling row binds; got 'capital'"):
        solve(problem, "separate")


@pytest.fixture
def two():
    """Two names, two pools, two clients, all lanes open, nothing limited."""
    return Problem(
        securities=["A", "B"], pools=["P", "Q"], clients=["X", "Y"], price=[1.0, 1.0], client_fee=[[100.0, 90.0]] * 2,
        source_cost=[[10.0, 20.0]] * 2, demand=[[100.0, 60.0], [40.0, 0.0]], supply=[[120.0, 50.0], [40.0, 0.0]],
        eligible=np.ones((2, 2), bool), round_lot=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("price", 0.0, None), ("client_fee", -0.5, None), ("source_cost", -0.5, None), ("demand", -0.5, None),
        ("supply", -0.5, None), ("penalty", -0.5, None), ("mandatory", -0.5, None), ("committed", -0.5, None),
        ("external_fee", -0.5, None), ("recall_probability", -0.5, 1.005), ("buy_in_cost", -0.5, None),
        ("turnover_cost", -0.5, None), ("capital_weight", -0.5, None), ("external_weight", -0.5, None),
        ("concentration", 0.0, 1.005), ("round_lot", 0.0, None), ("capital", -0.5, None), ("debit", -0.5, None),
        ("credit", -0.5, None), ("previous", -0.5, None),
    ],
)  # fmt: skip
def test_every_field_ends_where_its_meaning_does(two, field, low, high):
    """The last value that means nothing, below and above; NaN nowhere; the first that does, where it is no other's."""
    two = replace(two, capital=1e9)  # without a limit of capital nobody asks for risk weights
    shape = np.shape(getattr(two, field)) if field != "previous" else two.shape
    for value in (low, high, np.nan):
        if value is not None:
            with pytest.raises(ValueError, match=f"^{field}( of .*)? must be"):
                replace(two, **{field: np.full(shape, value)})
    allowed = 1e-3 if low == 0 else 0.0
    assert np.all(getattr(replace(two, **{field: np.full(shape, allowed)}), field) == allowed)


def test_only_a_pool_with_rivals_for_the_name_is_limited(two):
    """Of A's demand, 160, at most 0.3 from P and all from Q; B is in P alone, which may give it whole."""
    problem = replace(two, concentration=[0.3, 1.0])
    assert problem.concentration_limit().tolist() == [[48.0, np.inf], [np.inf, np.inf]]
    assert solve(problem).allocation.sum(2).tolist() == [[48.0, 50.0], [40.0, 0.0]]


def test_debits_of_a_customer_that_differ_by_cents_are_not_the_same(two):
    with pytest.raises(ValueError, match="debit must be the same for all pools of customer M"):
        replace(two, customer=("M", "M"), debit=[1000.0, 1000.5])
    problem = replace(two, customer=("M", "M"), debit=[100.0, 100.0])
    assert solve(problem).allocation.sum() == pytest.approx(140.0)


def test_names_in_whole_lots_are_left_alone_and_the_others_are_not(two, monkeypatch):
    """Loans of 100 and 60 in A, of 40 in B: which names a lot and a ticket concern, and what is left of the loans."""
    best, asked = lots._best, []

    def counted(program, own, *rest):
        asked.append(int(program.security[own][0]))
        return best(program, own, *rest)

    monkeypatch.setattr(lots, "_best", counted)
    solution = solve(replace(two, supply=[[120.0, 60.0], [40.0, 0.0]], eligible=np.eye(2, dtype=bool)))
    assert solution.loans()["shares"].tolist() == [100.0, 60.0, 40.0]
    for lot, ticket, rounded, shares in (
        (20, 0, [], [100, 60, 40]), (20, 60, [1], [100, 60, 0]), (20, 40, [], [100, 60, 40]),
        (1, 61, [0, 1], [100, 0, 0]), (40, 0, [0], [80, 40, 40]), (50, 0, [0, 1], [100, 50, 0]),
        (7, 0, [0, 1], [98, 56, 35]),
    ):  # fmt: skip
        asked.clear()
        found = round_lots(solution, lot, ticket)
        assert asked == rounded
        assert [found.allocation[s, i, i] for s, i in ((0, 0), (0, 1), (1, 0))] == shares


def test_a_decomposition_that_was_asked_for_and_does_not_converge_says_so(two, monkeypatch):
    monkeypatch.setattr(allocation, "decompose", lambda *_: None)
    problem = replace(two, capital=50.0)
    with pytest.raises(RuntimeError, match="did not converge; use method 'monolithic'"):
        solve(problem, "decomposition")
    assert solve(problem).method == "monolithic"
