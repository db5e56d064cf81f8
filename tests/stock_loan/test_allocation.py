"""The allocation against brute force, merit order, re-solves, another solver, and its own certificate.

Small books are random but complete: every rule of the model is present in most of them. Values are in dollars a day,
of the order of 1; solvers stop at 1e-7 in the programme's own scale, so values agree to 1e-7. CBC reads and writes text
files of about 12 digits and works to 1e-7 in between, so it is held to 1e-5.
"""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.stock_loan import allocation, desk, duals, sources
from mmlib.stock_loan._allocation import decomposition, linear_program
from mmlib.stock_loan.allocation import BP_DAY, Problem, income, round_lots, solve

books = settings(max_examples=15, deadline=None, derandomize=True)
few = settings(max_examples=5, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)


def book(seed, S=4, K=3, C=3, whole=True, **changes):
    """A small complete book; `whole`: quantities in units of 100 shares, else generic numbers (no degeneracy)."""
    rng = np.random.default_rng(seed)

    def quantity(*shape):
        return 100.0 * rng.integers(0, 9, shape) if whole else rng.uniform(0, 900, shape)

    price, demand, supply = rng.uniform(5, 200, S), quantity(S, C), quantity(S, K)
    value = price @ demand.sum(1)
    terms = dict(
        securities=[f"S{i}" for i in range(S)],
        pools=[f"P{i}" for i in range(K)],
        clients=[f"C{i}" for i in range(C)],
        price=price,
        client_fee=rng.uniform(10, 500, (S, C)),
        source_cost=rng.uniform(0, 300, (S, K)),
        demand=demand,
        supply=supply,
        eligible=rng.random((S, K, C)) < 0.8,
        penalty=rng.uniform(0, 50, (S, C)),
        previous=quantity(S, K, C) * (rng.random((S, K, C)) < 0.4) / 2,
        turnover_cost=rng.uniform(0, 0.2, S),
        recall_probability=rng.uniform(0, 0.01, (S, K)),
        buy_in_cost=rng.uniform(0, 100, S),
        external_fee=np.where(rng.random((S, K)) < 0.5, rng.uniform(0, 200, (S, K)), 0),
        committed=supply * (rng.random((S, K)) < 0.3) / 2,
        concentration=np.where(rng.random(K) < 0.5, 0.6, 1.0),
        capital_weight=rng.uniform(0, 1, (K, C)),
        external_weight=rng.uniform(0, 0.5, K),
        capital=0.2 * value,
        credit=np.where(rng.random(C) < 0.6, 0.15 * value, np.inf),
        debit=np.where(rng.random(K) < 0.6, 0.1 * value, np.inf),
    )
    return Problem(**terms | changes)


def plus(problem, field, cell, step):
    """The problem with `step` added to one cell of a field."""
    values = np.array(getattr(problem, field), float)
    values[cell] += step
    return replace(problem, **{field: values})


UNCOUPLED = dict(capital=np.inf, credit=np.inf, debit=np.inf)


# ---------------------------------------- optimal, by other routes


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_all_whole_allocations_is_the_programmes(seed):
    """Brute force: every allocation of whole shares, judged by `income`, which shares no code with the programme.

    One security has rows of a transport network, whose vertices are whole, so the relaxation is exact.
    """
    rng = np.random.default_rng(seed)
    supply, demand = rng.integers(0, 3, (1, 2)), rng.integers(0, 4, (1, 2))
    problem = book(
        seed, S=1, K=2, C=2, supply=supply, demand=demand, committed=supply // 2, concentration=1.0,
        previous=rng.integers(0, 2, (1, 2, 2)), eligible=np.ones((2, 2), bool), **UNCOUPLED,
    )  # fmt: skip
    best = -np.inf
    for lanes in itertools.product(range(4), repeat=4):
        x = np.array(lanes, float).reshape(1, 2, 2)
        if np.any(x.sum(1) > demand) or np.any(x.sum(2) > supply):
            continue
        for street in itertools.product(range(3), repeat=2):
            z = np.array([street], float) * (problem.external_fee > 0)
            if np.all(x.sum(2) + z <= supply):
                best = max(best, income(problem, x, z).sum())
    assert solve(problem).value == pytest.approx(best, abs=1e-9)


@books
@given(seeds)
def test_merit_order_is_optimal_where_eligibility_is_nested(seed):
    """With fee minus cost as gain and all pools open to all, the best client takes from the cheapest pool."""
    problem = book(
        seed, eligible=np.ones((3, 3), bool), previous=None, turnover_cost=0.0, recall_probability=0.0,
        external_fee=0.0, committed=0.0, concentration=1.0, penalty=0.0, **UNCOUPLED,
    )  # fmt: skip
    earned = 0.0
    for s in range(4):
        left_k, left_c = problem.supply[s].copy(), problem.demand[s].copy()
        for c in np.argsort(-problem.client_fee[s], kind="stable"):
            for k in np.argsort(problem.source_cost[s], kind="stable"):
                if problem.client_fee[s, c] > problem.source_cost[s, k]:
                    taken = min(left_k[k], left_c[c])
                    left_k[k], left_c[c] = left_k[k] - taken, left_c[c] - taken
                    margin = problem.client_fee[s, c] - problem.source_cost[s, k]
                    earned += taken * problem.price[s] * margin * BP_DAY
    assert solve(problem).value == pytest.approx(earned, rel=1e-9, abs=1e-9)


@books
@given(seeds)
def test_every_method_finds_the_same_value_and_proves_it(seed):
    """Decomposition and interior points share the assembly only; `income` does not even share that."""
    problem = book(seed)
    whole, parts = solve(problem, "monolithic"), solve(problem, "decomposition")
    for solution in (whole, parts, solve(problem)):
        assert solution.value == pytest.approx(whole.value, rel=1e-7, abs=1e-7)
        assert -1e-9 <= solution.gap <= 1e-7
        assert solution.violation <= 1e-7
        earned = income(problem, solution.allocation, solution.external)
        assert earned.sum() == pytest.approx(solution.value, rel=1e-9, abs=1e-9)


@books
@given(seeds)
def test_no_coupling_row_means_one_programme_a_security(seed):
    problem = book(seed, **UNCOUPLED)
    alone = solve(problem)
    assert alone.method == "separate"
    assert alone.value == pytest.approx(solve(problem, "monolithic").value, rel=1e-7, abs=1e-7)


def test_decomposition_from_a_sample_equals_the_whole(monkeypatch):
    """A sample of the names sets the first prices; the answer must not depend on it."""
    monkeypatch.setattr(decomposition, "SAMPLE", 15)
    problem = book(5, S=60, K=4, C=5)
    parts, whole = solve(problem, "decomposition"), solve(problem, "monolithic")
    assert parts.method == "decomposition"
    assert parts.value == pytest.approx(whole.value, rel=1e-8)
    assert parts.gap <= 1e-8


def test_a_binding_row_is_found_after_the_fact_when_merit_order_does_not_break_it():
    """`solve` guesses by merit order whether a row binds; if the guess is wrong it must fall through to decomposition.

    Merit order fills lane (P0, C0) of gain 100 and leaves P1 for nobody, using 10 dollars of risk weight; the optimum
    fills (P0, C1) and (P1, C0) and uses 20, which the limit of 15 forbids.
    """
    problem = Problem(
        securities=["S"], pools=["P0", "P1"], clients=["C0", "C1"], price=[1.0], client_fee=[[100.0, 99.0]],
        source_cost=[[0.0, 5.0]], demand=[[10.0, 10.0]], supply=[[10.0, 10.0]], eligible=[[True, True], [True, False]],
        capital=15.0,
    )  # fmt: skip
    solution = solve(problem)
    assert solution.method == "decomposition"
    assert solution.program.use(solution.x) == pytest.approx([15.0])
    with pytest.raises(ValueError, match="method must not be 'separate' where a coupling row binds; got 'capital'"):
        solve(problem, "separate")


def test_the_same_problem_gives_the_same_bits():
    first, second = (solve(book(3, S=30, K=4, C=5), "decomposition") for _ in range(2))
    assert np.array_equal(first.x, second.x)
    assert np.array_equal(first.pi, second.pi)


# ---------------------------------------- certificate


@books
@given(seeds)
def test_no_prices_bound_the_value_from_below(seed):
    """Weak duality holds for any nonnegative prices, not only for good ones."""
    rng = np.random.default_rng(seed)
    solution = solve(book(seed))
    program = solution.program
    y, pi = rng.exponential(100, len(program.b)), rng.exponential(100, len(program.names))
    assert program.bound(y, pi) >= program.value(solution.x)


@books
@given(seeds)
def test_complementary_slackness(seed):
    """A row with room has no price, a column in use has no reduced gain, an idle one no positive gain.

    Tolerances: both factors of each product are exact to about 1e-7 of their scale (shares ≤ 900, gains ≤ 600 bp).
    """
    solution = solve(book(seed))
    program, x, y, pi = solution.program, solution.x, solution.y, solution.pi
    reduced = program.reduced(y, pi)
    assert np.all(np.abs(y * (program.b - program.A @ x)) <= 1e-3)
    assert np.all(np.abs(pi * (program.limit - program.use(x))) <= 1e-7 * program.limit * (1 + pi))
    assert np.all(reduced[~program.capped] <= 1e-5)
    assert np.all(np.abs(reduced * x)[(x < program.upper) | ~program.capped] <= 1e-2)


@books
@given(seeds)
def test_guesses_are_feasible_and_cheap_duals_are_bounds(seed):
    """What the decomposition uses to spare programmes must be true without them."""
    rng = np.random.default_rng(seed)
    problem = book(seed, committed=0.0, concentration=1.0)
    program = linear_program.assemble(problem)
    pi = rng.exponential(50, len(program.names))
    gain = program.gain - program.W.T @ pi
    guess = decomposition.greedy(program, gain)
    assert np.all(program.A @ guess <= program.b + 1e-9)
    assert np.all((guess >= 0) & (guess <= program.upper))
    best, _ = decomposition.best_responses(program, pi)
    worth = np.bincount(program.security, gain * program.price * best, 4)
    _, bounds = decomposition.best_duals(program, rng.exponential(50, len(program.b)), pi)
    assert np.all(bounds >= worth - 1e-9 * (1 + np.abs(worth)))
    assert np.all(np.bincount(program.security, gain * program.price * guess, 4) <= worth + 1e-6 * (1 + worth))


# ---------------------------------------- prices


@few
@given(seeds)
def test_prices_lie_between_what_one_share_less_costs_and_one_more_brings(seed):
    """Re-solved from either side; the objective is concave, so right slope <= dual <= left slope.

    A slope is a difference of two values of about 1 dollar, each exact to about 1e-8.
    """
    problem = book(seed)
    solution = solve(problem)
    grid, program = duals.prices(solution), solution.program
    todo = []
    for field, prices, least in (("supply", grid.supply, problem.committed), ("demand", grid.demand, 0.0)):
        cells = np.argwhere(getattr(problem, field) >= least + 1)[:3]
        todo += [(field, tuple(cell), prices[tuple(cell)]) for cell in cells]
    for name, price in zip(program.names, solution.pi * BP_DAY, strict=True):
        field, cell, price = ("debit", (int(name[-1]),), 1.4 * price) if name[0] == "1" else (None, None, price)
        field, cell = (field, cell) if field else ("capital", ()) if name == "capital" else ("credit", (int(name[-1]),))
        todo.append((field, cell, price))
    for field, cell, price in todo:
        more = solve(plus(problem, field, cell, 1.0), "monolithic").value - solution.value
        less = solution.value - solve(plus(problem, field, cell, -1.0), "monolithic").value
        assert more - 1e-7 <= price <= less + 1e-7, (field, cell)


@few
@given(seeds)
def test_a_degenerate_price_is_an_interval_whose_ends_are_the_slopes(seed):
    """Right-hand sides in whole hundreds make most prices degenerate.

    Without coupling rows all breakpoints are whole multiples of 50 shares over the concentration's 0.4, so a re-solve
    with one share more or less is the derivative; rounding of 1e-9 dollars in its value.
    """
    problem = book(seed, concentration=1.0, **UNCOUPLED)
    solution = solve(problem)
    for kind in ("supply", "demand"):
        others = problem.pools if kind == "supply" else problem.clients
        rows = np.flatnonzero(solution.program.kind == kind)[:4]
        cells = zip(solution.program.row_security[rows], solution.program.row_index[rows], strict=True)
        for s, i in cells:
            if kind == "supply" and problem.supply[s, i] < problem.committed[s, i] + 1:
                continue
            left, right = duals.interval(solution, kind, problem.securities[s], others[i])
            more = solve(plus(problem, kind, (s, i), 1.0)).value - solution.value
            less = solution.value - solve(plus(problem, kind, (s, i), -1.0)).value
            assert (left, right) == pytest.approx((less, more), abs=1e-7)


def test_an_interval_of_the_balance_sheet_holds_the_hurdle_rate():
    """1,000 dollars at a margin of 60 bp, then as many at 20: at a limit of 1,000 any price between is right."""
    problem = Problem(
        securities=["A", "B"], pools=["P"], clients=["C"], price=[10.0, 10.0], client_fee=[[70.0], [30.0]],
        source_cost=10.0, demand=100.0, supply=100.0, eligible=[[True]], capital=1000.0,
    )  # fmt: skip
    left, right = duals.interval(solve(problem), "coupling", "capital")
    assert (left, right) == pytest.approx((60.0, 20.0), abs=1e-6)


def test_demand_that_must_be_met_has_no_finite_left_price():
    """All supply is spoken for: one share less of supply is not a loss but impossible."""
    problem = Problem(
        securities=["A"], pools=["P"], clients=["C"], price=[10.0], client_fee=[[5.0]], source_cost=10.0,
        demand=100.0, supply=100.0, eligible=[[True]], mandatory=100.0,
    )  # fmt: skip
    solution = solve(problem)
    assert solution.allocation.sum() == pytest.approx(100.0)
    assert solution.value == pytest.approx(-100 * 10 * 5 * BP_DAY)
    assert duals.interval(solution, "supply", "A", "P") == (np.inf, 0.0)
    left, _ = duals.interval(solution, "mandatory", "A", "C")
    assert left == pytest.approx(-5 * 10 * BP_DAY, abs=1e-9)


@books
@given(seeds)
def test_both_solvers_price_alike_after_normalisation(seed):
    """Generic right-hand sides have one optimal dual, so CBC and HiGHS must find the same, sign included.

    Concentration rows have right-hand side 0 and are left out: they stay degenerate.
    """
    if not linear_program.cbc().available():
        pytest.skip("the CBC binary that PuLP ships does not run on this machine")
    problem = book(seed, whole=False, concentration=1.0)
    high, cbc = solve(problem, "monolithic"), solve(problem, "monolithic", solver="CBC")
    assert cbc.value == pytest.approx(high.value, rel=1e-5, abs=1e-5)
    assert cbc.pi == pytest.approx(high.pi, rel=1e-5, abs=1e-4)
    assert cbc.y == pytest.approx(high.y, rel=1e-5, abs=1e-4)


@books
@given(seeds)
def test_the_fee_floor_is_the_fee_at_which_a_new_share_begins_to_pay(seed):
    """Give a client without demand a tenth of a share of it at a fee 5 bp above the floor: the objective gains 5 bp of
    its value, and at a fee below nothing. Generic numbers keep the duals constant over so small a step. The gain is
    about 1e-5 dollars, and values are exact to about 1e-8.
    """
    rng = np.random.default_rng(seed)
    empty = (int(rng.integers(4)), int(rng.integers(3)))
    problem = book(seed, whole=False, penalty=0.0, concentration=1.0)
    demand, previous = problem.demand.copy(), problem.previous.copy()
    demand[empty], previous[empty[0], :, empty[1]] = 0.0, 0.0
    problem = replace(problem, demand=demand, previous=previous)
    solution = solve(problem, "monolithic")
    floor = duals.fee_floor(solution)[empty]
    if not np.isfinite(floor):
        assert not np.any(problem.eligible[empty[0], :, empty[1]] & (problem.supply[empty[0]] > 0))
        return
    for above in (-5.0, 5.0):
        if floor + above < 0:
            continue
        fees, one = problem.client_fee.copy(), demand.copy()
        fees[empty], one[empty] = floor + above, 0.1
        gained = solve(replace(problem, client_fee=fees, demand=one), "monolithic").value - solution.value
        expected = max(above, 0.0) * 0.1 * problem.price[empty[0]] * BP_DAY
        assert gained == pytest.approx(expected, abs=5e-8)


@books
@given(seeds)
def test_no_allowed_lane_would_gain_at_the_prices(seed):
    """Dual feasibility on the full grid, closed lanes and empty cells included, without the programme's rows."""
    problem = book(seed)
    solution = solve(problem)
    gain = duals.reduced_gain(solution)
    assert np.all(gain[problem.eligible] <= 1e-5)
    new = (solution.allocation > problem.previous + 1e-6) | ((solution.allocation > 1e-6) & (problem.previous == 0))
    assert np.all(np.abs(gain[new]) <= 1e-5)


def test_a_forbidden_lane_shows_what_permission_is_worth():
    problem = book(2, S=1, K=1, C=1, eligible=np.zeros((1, 1, 1), bool), supply=[[100.0]], demand=[[100.0]],
                   external_fee=1.0, previous=None, turnover_cost=0.0, committed=0.0, **UNCOUPLED)  # fmt: skip
    solution = solve(problem)
    idle = max(1.0 - problem.source_cost[0, 0], 0.0)
    assert duals.reduced_gain(solution)[0, 0, 0] == pytest.approx(problem.lane_gain()[0, 0, 0] - idle)
    assert duals.fee_floor(solution)[0, 0] == np.inf


@few
@given(seeds)
def test_money_in_another_currency_moves_no_share(seed):
    """Prices and limits times 7: the same allocation value times 7, the same hurdle rates in bp."""
    problem = book(seed, whole=False)
    other = replace(problem, price=7 * problem.price, capital=7 * problem.capital, credit=7 * problem.credit,
                    debit=7 * problem.debit)  # fmt: skip
    one, seven = solve(problem, "monolithic"), solve(other, "monolithic")
    assert seven.value == pytest.approx(7 * one.value, rel=1e-7, abs=1e-7)
    assert seven.pi == pytest.approx(one.pi, rel=1e-5, abs=1e-5)


# ---------------------------------------- results


def test_unmet_demand_and_over_borrow_are_results():
    """Term borrow of 80 where 50 are wanted in one name; 30 to give where 100 are wanted in the other."""
    problem = Problem(
        securities=["A", "B"], pools=["P"], clients=["C"], price=[10.0, 20.0], client_fee=[[50.0], [50.0]],
        source_cost=30.0, demand=[[50.0], [100.0]], supply=[[90.0], [30.0]], committed=[[80.0], [0.0]],
        eligible=[[True]], penalty=5.0,
    )  # fmt: skip
    solution = solve(problem)
    assert solution.unmet == pytest.approx(np.array([[0.0], [70.0]]))
    assert solution.over_borrow == pytest.approx(np.array([[30.0], [0.0]]))
    items = income(problem, solution.allocation)
    assert items["over-borrow"] == pytest.approx(-30 * 10 * 30 * BP_DAY)
    assert items["unmet demand"] == pytest.approx(-70 * 20 * 5 * BP_DAY)
    loans = solution.loans()
    assert list(loans["shares"]) == pytest.approx([50.0, 30.0])
    assert list(loans["margin"]) == pytest.approx([50 * 10 * 20 * BP_DAY, 30 * 20 * 20 * BP_DAY])


def test_a_recalled_loan_is_closed_and_its_cost_counted():
    """Yesterday's 40 shares came from a pool that has none today: they move, and both legs cost turnover."""
    previous = np.zeros((1, 2, 1))
    previous[0, 0, 0] = 40.0
    problem = Problem(
        securities=["A"], pools=["P", "Q"], clients=["C"], price=[10.0], client_fee=[[50.0]], source_cost=0.0,
        demand=40.0, supply=[[0.0, 100.0]], eligible=[[True], [True]], previous=previous, turnover_cost=0.05,
    )  # fmt: skip
    solution = solve(problem)
    assert solution.allocation[0, :, 0] == pytest.approx([0.0, 40.0])
    assert solution.value == pytest.approx(40 * 10 * (50 * BP_DAY - 2 * 0.05e-4))


def test_a_borrow_that_is_used_beyond_its_term_part_is_no_over_borrow():
    """30 shares lent, 10 of them borrowed on term: nothing unused, and nothing earned by having less than needed."""
    problem = Problem(
        securities=["A"], pools=["P"], clients=["C"], price=[10.0], client_fee=50.0, source_cost=30.0, demand=30.0,
        supply=40.0, committed=10.0, eligible=[[True]],
    )  # fmt: skip
    solution = solve(problem)
    assert solution.over_borrow.sum() == 0
    assert income(problem, solution.allocation)["over-borrow"] == 0
    assert solution.value == pytest.approx(30 * 10 * 20 * BP_DAY)
    assert income(problem, 0 * solution.allocation)["over-borrow"] == pytest.approx(-10 * 10 * 30 * BP_DAY)


# ---------------------------------------- whole lots


@pytest.mark.parametrize(("lot", "ticket"), [(2, 0), (3, 0), (2, 4), (1, 3)])
def test_lots_and_tickets_equal_enumeration(lot, ticket):
    """Two pools, two clients, one scarce name: every allocation in lots with no loan below the ticket."""
    problem = Problem(
        securities=["A"], pools=["P", "Q"], clients=["C", "D"], price=[10.0], client_fee=[[90.0, 70.0]],
        source_cost=[[10.0, 30.0]], demand=[[7.0, 8.0]], supply=[[5.0, 6.0]], eligible=np.ones((2, 2), bool),
        capital=85.0,
    )  # fmt: skip
    best = 0.0
    sizes = [q for q in range(0, 9) if q % lot == 0 and (q == 0 or q >= ticket)]
    for lanes in itertools.product(sizes, repeat=4):
        x = np.array(lanes, float).reshape(1, 2, 2)
        if np.all(x.sum(1) <= problem.demand) and np.all(x.sum(2) <= problem.supply) and 10 * x.sum() <= 85:
            best = max(best, income(problem, x).sum())
    rounded = round_lots(solve(problem), lot=lot, ticket=ticket)
    assert rounded.value == pytest.approx(best, abs=1e-9)
    assert rounded.gap >= -1e-12
    assert rounded.violation <= 1e-9


def test_every_loan_is_in_the_lots_of_its_name_scarce_or_not():
    """Seven wanted of each: 6 in lots of 2 where shares abound, 4 where there are 5, 6 in lots of 3, 7 in lots of 1."""
    problem = Problem(
        securities=["A", "B", "C", "D"], pools=["P"], clients=["C"], price=10.0, client_fee=90.0, source_cost=10.0,
        demand=7.0, supply=[[100.0], [5.0], [100.0], [100.0]], eligible=[[True]], round_lot=[2, 2, 3, 1],
    )  # fmt: skip
    solution = solve(problem)
    assert round_lots(solution).allocation[:, 0, 0].tolist() == [6.0, 4.0, 6.0, 7.0]
    assert round_lots(solution, lot=5).allocation[:, 0, 0].tolist() == [5.0, 5.0, 5.0, 5.0]
    assert round_lots(solution, ticket=6).allocation[:, 0, 0].tolist() == [6.0, 0.0, 6.0, 7.0]


@pytest.mark.parametrize("capital", [85.0, 115.0, 140.0])
def test_names_in_lots_share_what_the_balance_sheet_leaves(capital):
    """Two names, one after the other, use one limit: never more than it, and what one frees the next may take.

    Every pair of whole lots enumerated; taken name by name from the linear optimum the result is a best reply, so it is
    at least as good as any pair that changes one name only.
    """
    problem = Problem(
        securities=["A", "B"], pools=["P"], clients=["C"], price=10.0, client_fee=[[90.0], [80.0]], source_cost=10.0,
        demand=[[7.0], [9.0]], supply=100.0, eligible=[[True]], capital=capital, round_lot=[2, 3],
    )  # fmt: skip
    rounded = round_lots(solve(problem))
    a, b = rounded.allocation[:, 0, 0]
    assert (a % 2, b % 3) == (0, 0)
    assert 10 * (a + b) <= capital
    assert rounded.violation == 0
    assert b == max(lots for lots in (0, 3, 6, 9) if 10 * (a + lots) <= capital)
    assert rounded.value == pytest.approx(income(problem, rounded.allocation).sum(), abs=1e-12)
    assert 0 <= rounded.gap <= (10 * 2 * 80 + 10 * 3 * 70) * BP_DAY / 1.0  # less than a lot of each name


@books
@given(seeds)
def test_rounded_books_keep_every_rule_and_cost_what_they_say(seed):
    """Lots, tickets and limits checked on the shares themselves; value from the definition, against the bound."""
    problem = book(seed, previous=None) if seed % 2 else book(seed)
    solution = solve(problem)
    rounded = round_lots(solution, lot=70, ticket=200)
    for shares in (rounded.allocation, rounded.external):
        assert np.all(shares % 70 == 0)
        assert np.all((shares == 0) | (shares >= 200))
    assert allocation.broken(problem, rounded.allocation, rounded.external).empty
    earned = income(problem, rounded.allocation, rounded.external).sum()
    assert rounded.value == pytest.approx(earned, rel=1e-9, abs=1e-9)
    assert rounded.value <= solution.value + 1e-7
    assert rounded.bound == solution.bound


def test_lots_that_cannot_deliver_what_they_must_are_an_error():
    problem = Problem(
        securities=["A"], pools=["P"], clients=["C"], price=10.0, client_fee=90.0, source_cost=10.0, demand=5.0,
        supply=5.0, mandatory=5.0, eligible=[[True]],
    )  # fmt: skip
    solution = replace(solve(problem), y=np.ones(3))
    with pytest.raises(ValueError, match="mandatory demand of A cannot be met in lots of 2"):
        round_lots(solution, lot=2)


# ---------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(securities=["S0", "S1", "S1", "S3"]), "securities must be unique names"),
        (dict(price=[1.0, -1.0, 1.0, 1.0]), r"price of S1 must be > 0 and finite \(price, currency\); got -1.0"),
        (dict(price=[1.0, np.nan, 1.0, 1.0]), "price of S1 must be > 0 and finite"),
        (dict(demand=np.full((4, 3), -5.0)), r"demand of S0, C0 must be >= 0 and finite \(shares wanted\); got -5.0"),
        (dict(supply=np.full((4, 3), np.nan)), "supply of S0, P0 must be >= 0 and finite"),
        (dict(supply=np.ones((3, 4))), r"supply must have shape \(4, 3\)"),
        (dict(client_fee="high"), "client_fee must be numbers"),
        (dict(concentration=[0.5, 1.2, 1.0]), "concentration of P1 must be > 0 and <= 1"),
        (dict(recall_probability=2.0), "recall_probability of S0, P0 must be >= 0 and <= 1"),
        (dict(capital=-1.0), "capital must be >= 0 and finite"),
        (dict(credit=[1.0, np.nan, 1.0]), "credit of C1 must be >= 0 and finite"),
        (dict(eligible=np.ones((3, 2), bool)), "eligible must be booleans of shape"),
        (dict(eligible=np.ones((3, 3))), "eligible must be booleans of shape"),
        (dict(mandatory=1e9), "mandatory of S0, C0 must be <= demand"),
        (dict(committed=1e9), "committed of S0, P0 must be <= supply"),
        (dict(supply=1.0, committed=0.0, external_fee=0.0, eligible=np.array([[1, 1, 1], [0, 0, 0], [1, 1, 1]], bool)),
         "eligible must let pool P1 serve a client"),
    ],
)  # fmt: skip
def test_bad_input_names_the_cell_the_rule_and_the_value(changes, message):
    with pytest.raises(ValueError, match=message):
        book(1, **changes)


def test_mandatory_demand_in_conflict_names_the_rows():
    """80 shares for 60 + 40 that must be delivered: the supply row and both mandatory rows, and nothing of name B."""
    problem = Problem(
        securities=["A", "B"], pools=["P"], clients=["C", "D"], price=10.0, client_fee=50.0, source_cost=1.0,
        demand=[[60.0, 40.0], [10.0, 10.0]], supply=[[80.0], [100.0]], mandatory=[[60.0, 40.0], [10.0, 0.0]],
        eligible=[[True, True]],
    )  # fmt: skip
    with pytest.raises(ValueError, match="mandatory demand cannot be met; rows in conflict") as error:
        solve(problem)
    text = str(error.value)
    assert "supply of A, P = 80" in text
    assert "mandatory of A, C = 60" in text
    assert "20 shares short" in text
    assert "B" not in text


def test_a_conflict_with_the_balance_sheet_names_it():
    problem = Problem(
        securities=["A"], pools=["P"], clients=["C"], price=10.0, client_fee=50.0, source_cost=1.0, demand=60.0,
        supply=80.0, mandatory=60.0, eligible=[[True]], capital=500.0,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"mandatory of A, C = 60 \(10 shares short\); capital"):
        solve(problem)


def test_what_must_be_delivered_but_cannot_be_sourced_is_a_conflict():
    problem = Problem(
        securities=["A"], pools=["P"], clients=["C", "D"], price=10.0, client_fee=50.0, source_cost=1.0, demand=60.0,
        supply=80.0, mandatory=[[0.0, 30.0]], eligible=[[True, False]],
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"mandatory of A, D = 30 \(30 shares short\)"):
        solve(problem)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: duals.interval(s, "supply", "S9", "P0"), "security must be one of"),
        (lambda s: duals.interval(s, "demand", "S0", "C9"), "client must be one of"),
        (lambda s: duals.interval(s, "coupling", "rent"), "row must be one of"),
        (lambda s: duals.interval(s, "stock", "S0", "P0"), "kind must be one of"),
        (lambda s: duals.interval(replace(s, x=0 * s.x), "supply", "S0", "P0"), "solution must be optimal"),
        (lambda s: round_lots(s, lot=0), "lot must be > 0"),
        (lambda s: solve(s.problem, method="simplex"), "method must be one of"),
        (lambda s: solve(s.problem, solver="GLPK"), "solver must be one of"),
    ],
)
def test_unknown_names_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(solve(book(1, supply=500.0, demand=400.0, committed=0.0, previous=None)))


def test_what_must_be_delivered_without_any_lane_is_a_conflict():
    problem = Problem(
        securities=["A"], pools=["P"], clients=["C"], price=10.0, client_fee=50.0, source_cost=1.0, demand=10.0,
        supply=0.0, mandatory=5.0, eligible=[[True]],
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"mandatory of A, C = 5 \(5 shares short\)"):
        solve(problem)
    empty = solve(replace(problem, mandatory=0.0, capital=100.0))
    assert duals.interval(empty, "coupling", "capital") == (0.0, 0.0)


def test_decomposition_without_coupling_rows_is_each_security_alone():
    problem = book(3, capital=np.inf, credit=np.inf, debit=np.inf)
    assert solve(problem, "decomposition").value == pytest.approx(solve(problem, "separate").value, rel=1e-9)


def test_a_solver_that_gives_up_on_the_master_hands_over_to_interior_points(monkeypatch):
    """As CBC does on some masters: it calls a feasible programme infeasible."""
    problem = book(5, capital=500.0)
    best = solve(problem)
    assert best.method == "decomposition"
    monkeypatch.setattr(decomposition._Master, "solve", lambda *_: None)
    assert solve(problem).method == "monolithic"
    assert solve(problem).value == pytest.approx(best.value, rel=1e-7)


def test_an_empty_day_is_a_solution():
    problem = book(1, demand=0.0, committed=0.0, external_fee=0.0, previous=None)
    solution = solve(problem)
    assert solution.value == 0.0
    assert solution.loans().empty


# ---------------------------------------- from a desk's book


@pytest.fixture(scope="module")
def desk_book():
    return desk.book(securities=30, days=20, clients=6, seed=11)


def test_a_day_of_the_desk_becomes_its_problem(desk_book):
    """Balances recomputed by walking the events loan by loan, in plain Python."""
    date = desk_book.dates[12]
    problem = allocation.problem(desk_book, date)
    held = {}
    for event in desk_book.loans[desk_book.loans["trade_date"] <= date].itertuples():
        loan = held.setdefault(event.loan_id, {"quantity": 0, "recalled": 0})
        sign = {"new": 1, "partial return": -1, "return": -1, "buy-in": -1}.get(event.event, 0)
        loan["quantity"] += sign * event.quantity
        noticed = event.quantity if event.event == "recall" else min(sign, 0) * event.quantity
        loan["recalled"] = max(0, loan["recalled"] + noticed)
        loan |= {"cell": (event.security_id, event.pool_id, event.client_id), "fee": event.loan_fee}
    on_loan, supply = {}, {}
    for loan in held.values():
        security, pool, client = loan["cell"]
        if loan["fee"] > 0:
            on_loan[loan["cell"]] = on_loan.get(loan["cell"], 0) + loan["quantity"]
        kept = loan["quantity"] - min(loan["recalled"], loan["quantity"])
        supply[security, pool] = supply.get((security, pool), 0) + kept
    free = desk_book.inventory[desk_book.inventory["trade_date"] <= date]
    for row in free.groupby(["security_id", "pool_id"]).tail(1).itertuples():
        supply[row.security_id, row.pool_id] = supply.get((row.security_id, row.pool_id), 0) + row.quantity_available
    for (security, pool, client), quantity in on_loan.items():
        s, k, c = problem.securities.index(security), problem.pools.index(pool), problem.clients.index(client)
        assert problem.previous[s, k, c] == quantity
    assert problem.previous.sum() == sum(on_loan.values())
    for (security, pool), quantity in supply.items():
        assert problem.supply[problem.securities.index(security), problem.pools.index(pool)] == quantity
    assert problem.supply.sum() == sum(supply.values())
    shorted = desk_book.locates.loc[desk_book.locates["trade_date"] == date, "quantity_shorted"].sum()
    assert problem.demand.sum() == sum(on_loan.values()) + shorted


def test_the_desk_earns_no_more_than_the_programme(desk_book):
    """The desk's own loans, less what is under recall or over a limit, are one feasible allocation among all."""
    problem = allocation.problem(desk_book, desk_book.dates[12], penalty=10.0)
    solution = solve(problem)
    kept = problem.previous * np.minimum(1, problem.supply / np.maximum(problem.previous.sum(2), 1))[:, :, None]
    dollars = problem.price[:, None, None] * kept
    kept = kept * np.minimum(1, 1.4 * problem.debit / dollars.sum((0, 2)))[:, None]
    kept = kept * np.minimum(1, problem.credit / dollars.sum((0, 1)))
    free = replace(problem, concentration=1.0)
    assert solve(free).value >= income(free, kept).sum() > 0
    assert solution.gap <= 1e-9


def test_an_unknown_credit_limit_is_none_and_an_unknown_debit_is_an_error(desk_book):
    clients = desk_book.clients.assign(credit_limit=desk_book.clients["credit_limit"].where(lambda x: x.index > 0))
    date = desk_book.dates[3]
    problem = allocation.problem(replace(desk_book, clients=clients), date)
    assert problem.credit[0] == np.inf
    assert np.all(np.isfinite(problem.credit[1:]))
    with pytest.raises(
        ValueError, match="debits must have a row of C01 on or before 2025-08-21: its shares are in pool"
    ):
        allocation.problem(replace(desk_book, debits=desk_book.debits.iloc[:0]), date)


def test_terms_replace_what_the_tables_hold(desk_book):
    problem = allocation.problem(desk_book, desk_book.dates[3], credit=1e6, capital=5e6)
    assert np.all(problem.credit == 1e6)
    assert problem.capital == 5e6


def test_a_day_without_trading_is_refused(desk_book):
    with pytest.raises(
        ValueError, match=r"date must be a trade date of the book, 2025-08-18 to .*; got '2024-01-06 00:00:00'"
    ):
        allocation.problem(desk_book, pd.Timestamp("2024-01-06"))
    with pytest.raises(ValueError, match=r"date must be a trade date of the book, .*; got 'foo'"):
        allocation.problem(desk_book, "foo")


# ---------------------------------------- what feeds do not say


def test_costs_that_nobody_quotes_come_from_the_last_rate_then_the_market(desk_book):
    """Without quotes of pools: the loans in force, else the cell's latest loan, else the day's fee; walked by hand."""
    date = desk_book.dates[12]
    silent = replace(desk_book, inventory=desk_book.inventory.assign(borrow_fee=np.nan))
    problem = allocation.problem(silent, date)
    table = problem.assumed[problem.assumed["field"] == "source_cost"].set_index(["security", "party"])
    past = desk_book.loans[desk_book.loans["trade_date"] <= date]
    market = desk_book.closes[desk_book.closes["trade_date"] == date].set_index("security_id")["indicative_fee"]
    balance = {}
    for event in past.itertuples():
        sign = {"new": 1, "partial return": -1, "return": -1, "buy-in": -1}.get(event.event, 0)
        cell = (event.security_id, event.pool_id)
        balance[cell] = balance.get(cell, 0) + sign * event.quantity
    last = past.groupby(["security_id", "pool_id"])["borrow_fee"].last()
    seen = set()
    for s, k in np.argwhere(problem.supply > 0):
        cell = (problem.securities[s], problem.pools[k])
        if balance.get(cell, 0) > 0:
            assert cell not in table.index
            continue
        origin, value = ("last rate", last[cell]) if cell in last.index else ("market fee", market[cell[0]])
        assert (table.loc[cell, "from"], table.loc[cell, "value"]) == (origin, value)
        assert problem.source_cost[s, k] == value
        seen.add(origin)
    assert seen == {"last rate", "market fee"}
    assert solve(problem).gap <= 1e-9


def test_two_exported_files_are_enough_for_every_day(tmp_path):
    """A is on loan, B was returned on the second day, C was never lent: its cost is a parameter, and reported so."""
    days = ["2025-03-03", "2025-03-04", "2025-03-05"]
    lines = [f"{day},{name},1000,{price}" for day in days for name, price in (("A", 10), ("B", 20), ("C", 30))]
    (tmp_path / "inventory.csv").write_text(
        "\n".join(["tradeDate,securityId,quantityAvailable,marketPrice", *lines, ""])
    )
    (tmp_path / "loans.csv").write_text(
        "tradeDate,securityId,counterPartyId,quantityReturned,quantityBorrowed,loanFee,borrowFee,rebateRate\n"
        f"{days[0]},A,X,0,300,50,30,350\n{days[0]},B,X,0,200,90,60,310\n{days[1]},B,X,200,0,90,60,310\n"
    )
    exported = sources.open(tmp_path)
    for day in exported.dates:
        solution = solve(allocation.problem(exported, day))
        assert solution.value >= income(solution.problem, solution.problem.previous).sum() - 1e-9
        assert allocation.broken(solution.problem, solution.problem.previous).empty
    problem = allocation.problem(exported, days[2], idle_cost=40.0)
    assert problem.source_cost[:, 0].tolist() == [30.0, 60.0, 40.0]
    assert problem.assumed[["security", "party", "value", "from"]].to_numpy().tolist() == [
        ["B", "POOL", 60.0, "last rate"], ["C", "POOL", 40.0, "idle cost"],
    ]  # fmt: skip
    assert allocation.problem(exported, days[2]).source_cost[2, 0] == allocation.IDLE_COST
    with pytest.raises(ValueError, match="idle_cost must be >= 0"):
        allocation.problem(exported, days[2], idle_cost=-1.0)


def test_a_fee_that_is_wanted_and_nowhere_known_is_an_error(desk_book):
    date = desk_book.dates[12]
    blind = replace(desk_book, closes=desk_book.closes.assign(indicative_fee=np.nan), loans=desk_book.loans.iloc[:0])
    with pytest.raises(ValueError, match=r"client_fee of .* must be known on .* \(it wants"):
        allocation.problem(blind, date)


def test_risk_weights_are_needed_only_where_capital_is_limited():
    problem = book(1, capital=np.inf, capital_weight=np.nan)
    assert solve(problem).gap <= 1e-9
    with pytest.raises(ValueError, match="capital_weight of P0, C0 must be >= 0 and finite"):
        replace(problem, capital=1e6)


def test_pools_of_a_client_are_its_customers_and_lots_are_the_securities(desk_book):
    problem = allocation.problem(desk_book, desk_book.dates[3])
    owners = desk_book.pools.set_index("pool_id")["client_id"]
    assert list(problem.customer) == [owners[pool] or pool for pool in problem.pools]
    lots = desk_book.securities.set_index("security_id")["round_lot"]
    assert problem.round_lot.tolist() == [lots[name] for name in problem.securities]
