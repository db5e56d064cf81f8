"""The allocation, its prices and its fee floors against one plain linear programme written from the definition.

`plain` uses nothing of mmlib: variables, rows and constants (1.4, 360) are written out for SciPy. Values are dollars a
day of the order of 1 to 10, exact to about 1e-9 on either side, so they are held to 1e-7. Derivatives are differences
over a thousandth of a share of values exact to 1e-12 in SciPy, held to 1e-6 dollars a day a share; a floor is such a
difference over 1e-3·price·BP_DAY of about 1e-8 dollars a bp, held to 1e-2 bp.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from mmlib.stock_loan import allocation, duals
from mmlib.stock_loan.allocation import Problem, broken, income, solve

STEP = 1e-3  # shares; breakpoints lie at whole hundreds, or where a limit in dollars falls: seldom so near


def plain(p, supply=None, demand=None, lift=0.0, get=None):
    """Best income of a day, dollars; −inf if no allocation satisfies the rules.

    `lift` (S, K) is added to the concentration limits. `get` = (s, c, shares): client c gets exactly so many shares of
    s, whatever its demand; all of them pay its fee, and none of its demand above what it gets is penalised less.
    """
    S, K, C = len(p.securities), len(p.pools), len(p.clients)
    limits = np.broadcast_to(lift, (S, K)) + np.outer((p.demand if demand is None else demand).sum(1), p.concentration)
    supply, demand = p.supply if supply is None else supply, p.demand if demand is None else demand
    before = np.zeros((S, K, C)) if p.previous is None else p.previous
    n = S * K * C
    X = np.arange(n).reshape(S, K, C)
    Z, unused, T = n + np.arange(S * K).reshape(S, K), n + S * K + np.arange(S * K).reshape(S, K), n + 2 * S * K + X
    day, dollar = p.price / 3.6e6, np.broadcast_to(p.price[:, None, None], (S, K, C))
    risk = p.recall_probability * p.buy_in_cost[:, None] / 1e4
    earned = (p.client_fee + p.penalty)[:, None, :] - p.source_cost[:, :, None]
    gain = np.concatenate([
        (day[:, None, None] * earned - (p.price[:, None] * risk)[:, :, None]).ravel(),
        (day[:, None] * (p.external_fee - p.source_cost)).ravel(),
        (-day[:, None] * p.source_cost).ravel(),
        (-dollar * p.turnover_cost[:, None, None] / 1e4).ravel(),
    ])  # fmt: skip
    most = np.concatenate([np.where(p.eligible, np.inf, 0).ravel(), np.where(p.external_fee > 0, np.inf, 0).ravel(),
                           p.committed.ravel(), np.full(n, np.inf)])  # fmt: skip
    rows, rhs = [], []

    def row(columns, values, right):
        line = np.zeros(len(gain))
        line[np.ravel(columns)] = np.ravel(np.broadcast_to(values, np.shape(columns)))
        rows.append(line)
        rhs.append(right)

    for s, c in np.ndindex(S, C):
        if get is None or (s, c) != get[:2]:
            row(X[s, :, c], 1.0, demand[s, c])
        row(X[s, :, c], -1.0, -p.mandatory[s, c])
    for s, k in np.ndindex(S, K):
        drawn = [*X[s, k], Z[s, k]]
        row(drawn, 1.0, supply[s, k])
        row([*drawn, unused[s, k]], -1.0, -p.committed[s, k])
        if p.concentration[k] < 1 and np.delete(supply[s], k).max(initial=0) > 0:
            row(drawn, 1.0, limits[s, k])
    for lane, sign in [(lane, sign) for lane in np.ndindex(S, K, C) for sign in (1.0, -1.0)]:
        row([X[lane], T[lane]], [sign, -1.0], sign * before[lane])
    if np.isfinite(p.capital):
        weights = [(dollar * p.capital_weight).ravel(), np.outer(p.price, p.external_weight).ravel()]
        row(np.concatenate([X.ravel(), Z.ravel()]), np.concatenate(weights), p.capital)
    for customer in sorted(set(p.customer)):
        mine = [k for k in range(K) if p.customer[k] == customer and np.isfinite(p.debit[k])]
        if mine:
            longs = np.concatenate([X[:, mine].ravel(), Z[:, mine].ravel()])
            row(longs, np.concatenate([dollar[:, mine].ravel(), dollar[:, mine, 0].ravel()]), 1.4 * p.debit[mine[0]])
    for c in np.flatnonzero(np.isfinite(p.credit)):
        row(X[:, :, c], dollar[:, :, c], p.credit[c])
    equal = None
    if get is not None:
        equal = np.zeros((1, len(gain)))
        equal[0, X[get[0], :, get[1]]] = 1.0
    found = linprog(-gain, np.array(rows), rhs, equal, None if get is None else [get[2]],
                    bounds=np.column_stack([np.zeros(len(gain)), most]))  # fmt: skip
    if found.status == 2:
        return -np.inf
    assert found.status == 0, found.message
    return -found.fun - day @ (p.penalty * demand).sum(1)


def day(seed, S=2):
    """A random small day of 1 to `S` names with a random choice of the rules; quantities in whole hundreds mostly."""
    rng = np.random.default_rng(seed)
    S, K, C = int(rng.integers(1, S + 1)), int(rng.integers(2, 4)), int(rng.integers(1, 4))
    whole = rng.random() < 0.8

    def quantity(*shape):
        return 100.0 * rng.integers(0, 9, shape) if whole else rng.uniform(0, 900, shape)

    def sometimes(part, value, otherwise):
        return value if rng.random() < part else otherwise

    price, demand, supply = sometimes(0.7, rng.uniform(5, 200, S), np.full(S, 100.0)), quantity(S, C), quantity(S, K)
    value = 1.0 + price @ demand.sum(1)
    names = rng.choice(["A", "B", "C"], K)
    debts = dict(zip("ABC", value * rng.choice([0.0, 0.05, 0.1, 0.3], 3), strict=True))
    customers = rng.random() < 0.5
    own = np.where(rng.random(K) < 0.6, 0.1 * value, np.inf)
    return Problem(
        securities=[f"S{i}" for i in range(S)], pools=[f"P{i}" for i in range(K)], clients=[f"C{i}" for i in range(C)],
        price=price, client_fee=rng.uniform(10, 500, (S, C)), source_cost=rng.uniform(0, 300, (S, K)), demand=demand,
        supply=supply, eligible=(rng.random((S, K, C)) < 0.8) | (np.arange(S)[:, None, None] == 0),
        penalty=sometimes(0.5, rng.uniform(0, 50, (S, C)), 0.0),
        previous=sometimes(0.7, quantity(S, K, C) * (rng.random((S, K, C)) < 0.4) / 2, None),
        turnover_cost=sometimes(0.7, rng.uniform(0, 0.2, S), 0.0), buy_in_cost=rng.uniform(0, 100, S),
        recall_probability=sometimes(0.5, rng.uniform(0, 0.01, (S, K)), 0.0),
        external_fee=np.where(rng.random((S, K)) < 0.4, rng.uniform(0, 200, (S, K)), 0),
        committed=supply * (rng.random((S, K)) < 0.2) / 2, concentration=rng.choice([0.25, 0.5, 0.6, 1.0], K),
        mandatory=sometimes(0.2, demand * (rng.random((S, C)) < 0.2) * 0.3, 0.0),
        capital_weight=rng.uniform(0, 1, (K, C)), external_weight=rng.uniform(0, 0.5, K),
        capital=sometimes(0.5, 0.2 * value, np.inf), debit=[debts[n] for n in names] if customers else own,
        credit=np.where(rng.random(C) < 0.4, 0.15 * value, np.inf), customer=names if customers else None,
    )  # fmt: skip


def solved(problem, best):
    """The solution, or None where the definition says that there is none and `solve` says so too."""
    if best == -np.inf:
        with pytest.raises(ValueError, match="mandatory demand cannot be met"):
            solve(problem)
        return None
    return solve(problem)


@pytest.mark.parametrize("block", range(10))
def test_five_hundred_books_are_worth_what_the_definition_says_and_never_less_than_today(block):
    """Fifty books a block. Where yesterday's loans break no limit, keeping them is one feasible allocation."""
    for seed in range(50 * block, 50 * block + 50):
        problem = day(seed)
        best = plain(problem)
        solution = solved(problem, best)
        if solution is None:
            continue
        assert solution.value == pytest.approx(best, abs=1e-7), seed
        assert solution.gap <= 1e-7, seed
        assert broken(problem, solution.allocation, solution.external, tolerance=1e-7).empty, seed
        if problem.previous is not None and broken(problem, problem.previous).empty:
            assert solution.value >= income(problem, problem.previous).sum() - 1e-9, seed


@pytest.mark.parametrize("block", range(4))
def test_floors_are_what_the_next_share_costs_when_it_is_forced(block):
    """Ten books a block: force a thousandth of a share on each client and see what the desk loses, the fee aside."""
    for seed in range(1000 + 10 * block, 1010 + 10 * block):
        problem = day(seed)
        best = plain(problem)
        solution = solved(problem, best)
        if solution is None:
            continue
        floor, got = duals.fee_floor(solution), solution.allocation.sum(1)
        for s, c in np.argwhere(problem.demand.sum(1, keepdims=True) + 0 * problem.demand > 0):
            after = plain(problem, get=(s, c, got[s, c] + STEP))
            if after == -np.inf:
                assert floor[s, c] == np.inf, (seed, s, c)
                continue
            lost = (best - after) / (STEP * problem.price[s]) * 3.6e6
            forced = problem.client_fee[s, c] + problem.penalty[s, c] + lost
            assert floor[s, c] == pytest.approx(forced, abs=1e-2), (seed, s, c)


@pytest.mark.parametrize("block", range(3))
def test_prices_are_the_slopes_to_the_right_and_to_the_left(block):
    """Every supply, demand and concentration row of ten books, re-solved with a thousandth of a share to each side.

    An empty pool's first share may bring the other pools under their limits; books with limits skip those cells.
    """
    for seed in range(2000 + 10 * block, 2010 + 10 * block):
        problem = day(seed)
        best = plain(problem)
        solution = solved(problem, best)
        if solution is None:
            continue
        right, left = duals.prices(solution), duals.prices(solution, end="left")
        assert (right.end, left.end) == ("right", "left")
        for kind in ("supply", "demand"):
            amount = getattr(problem, kind)
            for cell in map(tuple, np.argwhere(amount >= 0)):
                step = np.zeros(amount.shape)
                step[cell] = STEP
                if not (kind == "supply" and amount[cell] == 0 and np.any(problem.concentration < 1)):
                    more = (plain(problem, **{kind: amount + step}) - best) / STEP
                    assert getattr(right, kind)[cell] == pytest.approx(more, abs=1e-6), (seed, kind, cell)
                if amount[cell] == 0:
                    assert getattr(left, kind)[cell] == np.inf
                elif (
                    amount[cell] > 1
                    and amount[cell] - STEP >= (problem.committed if kind == "supply" else 0 * step)[cell]
                ):
                    less = (best - plain(problem, **{kind: amount - step})) / STEP
                    assert getattr(left, kind)[cell] == pytest.approx(less, abs=1e-6), (seed, kind, cell)
        for cell in map(tuple, np.argwhere(np.isfinite(problem.concentration_limit()))):
            lift = np.zeros(problem.supply.shape)
            lift[cell] = STEP
            more = (plain(problem, lift=lift) - best) / STEP
            assert right.concentration[cell] == pytest.approx(more, abs=1e-6), (seed, cell)


# ---------------------------------------- by hand


def hundred(fee, **changes):
    """A $100 name: lender AL1 at 100 bp, at most half of it, AL2 at 600 bp; 1,000 shares wanted."""
    terms = dict(
        securities=["A"], pools=["AL1", "AL2"], clients=["C"], price=100.0, client_fee=fee, source_cost=[[100.0, 600]],
        demand=1000.0, supply=2000.0, eligible=np.ones((2, 1), bool), concentration=[0.5, 1.0],
    )  # fmt: skip
    return Problem(**terms | changes)


@pytest.mark.parametrize(
    ("fee", "served", "floor"), [(50.0, 0, 100.0), (349.0, 500, 600.0), (599.0, 500, 600.0), (601.0, 1000, 600.0)]
)
def test_the_floor_rises_in_steps_at_the_lenders_limit(fee, served, floor):
    """100 for the first half of the demand and 600 for every share after it; never the client's own fee."""
    solution = solve(hundred(fee))
    assert solution.allocation.sum() == pytest.approx(served)
    assert duals.fee_floor(solution)[0, 0] == pytest.approx(floor)


def test_a_lender_alone_in_a_name_is_not_limited():
    solution = solve(hundred(349.0, supply=[[2000.0, 0.0]]))
    assert solution.allocation[0, 0, 0] == pytest.approx(1000.0)
    assert duals.fee_floor(solution)[0, 0] == pytest.approx(100.0)


def test_the_first_share_of_a_name_that_nobody_wants_is_not_limited():
    assert duals.fee_floor(solve(hundred(50.0, demand=0.0)))[0, 0] == pytest.approx(100.0)


def test_an_empty_pool_is_worth_what_the_street_would_pay():
    """A $100 share; the street pays 250 bp above cost, the only client 50: 100·250/3.6e6 = .00694, not .00139."""
    problem = hundred(150.0, supply=[[0.0, 0.0]], concentration=1.0, external_fee=[[350.0, 0.0]])
    solution = solve(problem)
    assert duals.prices(solution).supply[0] == pytest.approx([100 * 250 / 3.6e6, 0.0], abs=1e-12)
    assert duals.interval(solution, "supply", "A", "AL1") == (np.inf, pytest.approx(0.00694, abs=1e-5))


def test_what_no_lane_can_use_is_worth_nothing_and_an_absent_rule_is_named():
    problem = hundred(150.0, eligible=np.array([[False], [True]]), external_fee=[[0.0, 1.0]], supply=[[0.0, 5.0]])
    solution = solve(problem)
    assert duals.interval(solution, "supply", "A", "AL1") == (np.inf, 0.0)
    with pytest.raises(ValueError, match="there is no concentration rule for A, AL2"):
        duals.interval(solution, "concentration", "A", "AL2")


def test_two_pools_of_one_customer_share_its_debit():
    """A debit of 1,000 dollars lets 1,400 dollars out of both pools together; taken one by one it would be 2,800."""
    terms = dict(
        securities=["A", "B"], pools=["M1", "M2"], clients=["C"], price=[10.0, 20.0], client_fee=[[50.0], [40.0]],
        source_cost=0.0, demand=1000.0, supply=[[100.0, 0.0], [0.0, 100.0]], eligible=np.ones((2, 1), bool),
        debit=1000.0,
    )  # fmt: skip
    apart, together = solve(Problem(**terms)), solve(Problem(**terms, customer=["K", "K"]))
    assert apart.coupling()["used"].sum() == pytest.approx(1000 + 1400)
    assert list(together.coupling().index) == ["140 % of the debit behind K"]
    assert together.coupling()["used"].to_numpy() == pytest.approx([1400.0])
    assert together.allocation[:, :, 0] == pytest.approx(np.array([[100.0, 0.0], [0.0, 20.0]]))
    with pytest.raises(ValueError, match=r"debit must be the same for all pools of customer K .*; got 1000, 900"):
        Problem(**terms | dict(debit=[1000.0, 900.0]), customer=["K", "K"])
    with pytest.raises(ValueError, match="customer must have 2 names, one a pool; got 1"):
        Problem(**terms, customer=["K"])
    free = Problem(**terms | dict(debit=[1000.0, np.inf]), customer=["K", "K"])  # the second pool: fully paid shares
    assert solve(free).coupling()["used"].to_numpy() == pytest.approx([1000.0])


def test_broken_limits_are_listed_with_amounts():
    """Yesterday's loans of a day on which everything that can shrink has shrunk, each amount worked by hand."""
    previous = np.zeros((1, 2, 1))
    previous[0, :, 0] = 600.0, 700.0
    problem = hundred(
        50.0, previous=previous, supply=[[590.0, 2000.0]], credit=100_000.0, capital=120_000.0, debit=[np.inf, 40_000],
        eligible=np.array([[True], [False]]), external_fee=[[0.0, 1.0]], mandatory=10.0,
    )  # fmt: skip
    street = np.array([[5.0, 0.0]])
    table = broken(problem, previous, street).set_index("limit")
    expected = {
        "demand": ("A", "C", 1000.0, 1300.0, 300.0), "supply": ("A", "AL1", 590.0, 605.0, 15.0),
        "concentration": ("A", "AL1", 500.0, 605.0, 105.0), "street": ("A", "AL1", 0.0, 5.0, 5.0),
        "eligibility": ("A", "AL2 to C", 0.0, 700.0, 700.0), "capital": ("", "", 120_000.0, 130_000.0, 10_000.0),
        "140 % of the debit behind AL2": ("", "", 56_000.0, 70_000.0, 14_000.0),
        "credit of C": ("", "", 100_000.0, 130_000.0, 30_000.0),
    }  # fmt: skip
    assert list(table.index) == list(expected)
    for limit, (security, party, *amounts) in expected.items():
        assert tuple(table.loc[limit, ["security", "party"]]) == (security, party)
        assert table.loc[limit, ["allowed", "used", "excess"]].tolist() == pytest.approx(amounts)
    short = broken(problem, 0 * previous)
    assert short["limit"].tolist() == ["mandatory"]
    assert short["excess"].tolist() == [10.0]


def test_the_report_has_the_width_of_rounding():
    """A loan a billionth over its limit is rounding, one a millionth over is not."""
    problem = hundred(700.0)
    for over, rows in ((1e-10, 0), (1e-6, 1)):
        shares = np.zeros((1, 2, 1))
        shares[0, :, 0] = 500.0 * (1 + over), 400.0
        assert len(broken(problem, shares)) == rows


def test_separate_means_that_no_coupling_row_is_exceeded_by_one_per_cent():
    """The uncoupled optimum of 100,000 dollars against a limit that it exceeds by 1 %, and one that it just meets."""
    over = replace(hundred(601.0), credit=[100_000 / 1.01])
    solution = solve(over)
    assert solution.method != "separate"
    assert broken(over, solution.allocation).empty
    with pytest.raises(ValueError, match="where a coupling row binds; got 'credit of C'"):
        solve(over, "separate")
    assert solve(replace(over, credit=[100_000.0]), "separate").value == pytest.approx(solve(hundred(601.0)).value)


def test_the_rule_of_the_world_has_its_value():
    assert allocation.REHYPOTHECATION_LIMIT == 1.4
