"""Limits of the allocation that are broken by little, and lots of names that need none: worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from mmlib.stock_loan import allocation, duals
from mmlib.stock_loan._allocation import lots
from mmlib.stock_loan._allocation.linear_program import assemble
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


def test_what_nothing_can_use_is_no_column(two):
    """Counted by hand. B is in P alone and X alone wants it; yesterday's lane is two pieces where moving it costs."""
    lanes = ["A P X", "A P Y", "A Q X", "A Q Y", "B P X"]
    yesterday = np.zeros(two.shape)
    yesterday[0, 0, 0] = 5.0
    for changes, more in (
        ({}, []),
        ({"previous": yesterday}, []),
        ({"previous": yesterday, "turnover_cost": 0.1}, ["A P X"]),
        ({"external_fee": [[0.0, 50.0], [0.0, 50.0]]}, ["A Q street"]),
        ({"committed": [[0.0, 0.0], [7.0, 0.0]]}, ["B P unused"]),
    ):
        program = assemble(replace(two, **changes))
        client = np.array(["X", "Y", "unused", "street"])[program.client]
        columns = zip(np.array(["A", "B"])[program.security], np.array(["P", "Q"])[program.pool], client, strict=True)
        assert sorted(map(" ".join, columns)) == sorted(lanes + more)


def test_a_violation_is_a_part_of_what_is_allowed(two):
    """One lane of at most 40 shares: 44 are a tenth too many, −4 a tenth below nothing, and 40 are none."""
    program = assemble(replace(two, demand=[[0.0, 0.0], [40.0, 0.0]]))
    for shares, part in ((44.0, 0.1), (-4.0, 0.1), (40.0, 0.0), (0.0, 0.0)):
        assert program.violation(np.array([shares])) == pytest.approx(part, abs=1e-15)


def test_a_share_more_of_demand_comes_from_both_pools_where_one_may_lend_half(two):
    """P costs 10 and may lend half, Q costs 20: the next share at 100 bp brings 100 − 15, one less costs as much.

    Without the limit's part it would bring 100 − 20.
    """
    problem = replace(two, concentration=[0.5, 1.0], demand=[[10.0, 0.0], [0.0, 0.0]])
    ends = duals.interval(solve(problem), "demand", "A", "X")
    assert ends == pytest.approx((85 / 3.6e6, 85 / 3.6e6), rel=1e-9)


def test_a_closed_lane_gains_its_fee_less_its_costs_and_what_it_costs_to_move(two):
    """A loan that is moved every day at 0.25 bp costs 90 bp a year: at 95 bp and a source at 10 it loses 5."""
    problem = replace(two, turnover_cost=0.25, demand=[[0.0, 0.0], [40.0, 0.0]], client_fee=[[95.0, 70.0]] * 2)
    solution = solve(problem)
    assert solution.value == pytest.approx(0.0, abs=1e-12)
    assert duals.reduced_gain(solution)[1, 0, 0] == pytest.approx(95 - 10 - 90, abs=1e-9)


def test_a_coupling_limit_is_broken_by_what_is_above_it(two):
    """100 shares of A at a dollar each, weighed in full: 99.5 dollars of capital are half a dollar too few."""
    x = np.zeros(two.shape)
    x[0, 0, 0] = 100.0
    assert allocation.broken(replace(two, capital=100.0), x).empty
    found = allocation.broken(replace(two, capital=99.5), x)
    assert found.to_numpy().tolist() == [["capital", "", "", 99.5, 100.0, 0.5]]


@pytest.mark.parametrize("method", [None, *allocation.METHODS])
def test_a_day_on_which_nothing_can_be_lent_is_solved_by_every_method(two, method):
    solution = solve(replace(two, demand=0.0, supply=0.0, capital=1.0), method)
    assert (solution.value, solution.bound, len(solution.x)) == (0.0, 0.0, 0)
