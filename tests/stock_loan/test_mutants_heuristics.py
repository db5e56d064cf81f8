"""Rules of thumb at their edges: the cost of closing a loan to the day, and lanes that need no capital."""

from dataclasses import replace

import numpy as np
import pytest

from mmlib.stock_loan import heuristics
from mmlib.stock_loan.allocation import Problem

PROBLEM = Problem(
    securities=["A"], pools=["P"], clients=["C", "D"], price=[10.0], client_fee=[[40.0, 50.0]], source_cost=0.0,
    demand=[[5.0, 5.0]], supply=20.0, eligible=np.ones((1, 2), bool), turnover_cost=0.05,
)  # fmt: skip


@pytest.mark.parametrize(("margin", "kept"), [(-17.98, 5.0), (-18.02, 0.0)])
def test_a_loan_of_yesterday_is_kept_while_it_loses_less_than_closing_it_costs(margin, kept):
    """.05 bp once is 18 bp a year on a day of 360; the other client has no loan, and opening one would not pay."""
    previous = np.array([[[5.0, 0.0]]])
    problem = replace(PROBLEM, client_fee=[[40.0, 30.0]], source_cost=40.0 - margin, previous=previous)
    assert heuristics.trimmed(problem)[0, 0].tolist() == [kept, 0.0]


@pytest.mark.parametrize("rule", [heuristics.trimmed, heuristics.merit_order, heuristics.first_come])
def test_a_lane_without_risk_weight_is_not_held_up_by_the_balance_sheet(rule):
    """C needs no capital and gets all that is wanted; D, at weight 1, has none left or the 30 dollars there are."""
    for capital, other in ((0.0, 0.0), (30.0, 3.0)):
        problem = replace(PROBLEM, capital_weight=[[0.0, 1.0]], capital=capital)
        assert rule(problem)[0, 0] == pytest.approx([5.0, other])
