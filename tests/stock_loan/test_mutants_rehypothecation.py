"""What is released beside what is lent, worked out on paper."""

import numpy as np
import pytest

from mmlib.stock_loan import rehypothecation
from mmlib.stock_loan.allocation import Problem, solve


def test_a_position_lent_in_part_is_released_to_its_end_and_no_further():
    """Longs of 10 A at $10 and 50 B at $1, a limit of 1.4 × 600/7 = $120; 4 A are lent, $40.

    Left are $60 of A, then $50 of B: all of A (60 of the 80 that remain), then 20 of B.
    """
    problem = Problem(
        securities=["A", "B"], pools=["M"], clients=["C"], price=[10.0, 1.0], client_fee=50.0, source_cost=0.0,
        demand=[[4.0], [0.0]], supply=[[10.0], [50.0]], eligible=[[True]], debit=600 / 7,
    )  # fmt: skip
    solution = solve(problem)
    assert solution.allocation[:, 0, 0] == pytest.approx([4.0, 0.0])
    assert rehypothecation.released(solution)[:, 0] == pytest.approx([10.0, 20.0])
    table = rehypothecation.declare(solution).set_index("security")
    assert table[["long", "lent", "released", "excess", "excess_value"]].to_numpy() == pytest.approx(
        np.array([[10, 4, 10, 0, 0], [50, 0, 20, 30, 30]]), abs=1e-9
    )


def test_a_customer_without_longs_is_released_nothing_and_nobody_else_is_touched():
    problem = Problem(
        securities=["A"], pools=["M", "L"], clients=["C"], price=[10.0], client_fee=50.0, source_cost=0.0,
        demand=4.0, supply=[[0.0, 7.0]], eligible=[[True], [True]], debit=[0.0, np.inf],
    )  # fmt: skip
    assert rehypothecation.pro_rata(problem).tolist() == [[0.0, 7.0]]
    assert rehypothecation.value_ranked(problem).tolist() == [[0.0, 7.0]]


def test_the_pool_whose_longs_are_borrowed_on_term_is_named_for_half_a_share_too():
    problem = Problem(
        securities=["A", "B"], pools=["M1", "M2"], clients=["C"], price=10.0, client_fee=50.0, source_cost=0.0,
        demand=4.0, supply=7.0, eligible=[[True], [True]], debit=100.0, committed=[[0.0, 0.5], [0.0, 0.0]],
    )  # fmt: skip
    with pytest.raises(ValueError, match="committed must be 0 in pool M2:"):
        rehypothecation.compare(problem)
