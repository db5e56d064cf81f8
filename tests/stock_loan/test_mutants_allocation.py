"""Limits of the allocation that are broken by little: nothing is loosened by a per cent."""

import numpy as np
import pytest

from mmlib.stock_loan.allocation import Problem, solve


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
