"""Quotes on the tick grid: CP-SAT against brute force, dynamic programming and policy iteration."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise, product
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from mmlib.market_making import (
    Market,
    Quotes,
    TwoSidedMarket,
    _cp_sat,
    _tick_gain,
    _tick_program,
    cartea_jaimungal,
    hjb,
    ticks,
)
from mmlib.market_making.intensity import Exponential

with_cp_sat = pytest.mark.skipif(
    importlib.util.find_spec("ortools") is None, reason="OR-Tools is not installed (extra csp)"
)
MARKET = Market(sigma=2.0, A=140.0, k=1.5)
#: A problem in which monotone quotes cost money, so that CP-SAT is asked
TIED = dict(phi=0.2, tick=0.25, horizon=1.0, max_inventory=2, offsets=(0, 3), obligation=(1, 1), monotone=True)
SMALL = dict(phi=0.2, tick=0.5, horizon=1.0, max_inventory=1, offsets=(0, 3))


def stationary_law(market, bid, ask):
    """The null vector of the generator, by least squares; NaN is not quoted."""
    m = len(bid)
    up, down = (np.nan_to_num(rate(d)) for rate, d in ((market.bid_rate, bid), (market.ask_rate, ask)))
    generator = np.diag(up[:-1], 1) + np.diag(down[1:], -1)
    generator -= np.diag(generator.sum(1))
    return np.linalg.lstsq(np.vstack([generator.T, np.ones(m)]), np.append(np.zeros(m), 1.0), rcond=None)[0]


def stationary_gain(market, q, bid, ask, phi, lot=1.0):
    """Gain by the stationary law; NaN is not quoted."""
    up, down = (np.nan_to_num(rate(d)) for rate, d in ((market.bid_rate, bid), (market.ask_rate, ask)))
    law = stationary_law(market, bid, ask)
    bought = np.nan_to_num(bid) - market.fee - market.impact * (q + 1)
    sold = np.nan_to_num(ask) - market.fee + market.impact * (q - 1)
    return law @ (lot * (up * bought + down * sold) + market.mu * lot * q - phi * (lot * q) ** 2)


def keeps(
    bid, ask, q, half, monotone=False, min_spread=None, max_spread=None, obligation=None, max_rate=None, rate=None
):
    """The rules, from their words; `bid` and `ask` are offsets in ticks with None for "not quoted"."""
    far = [[10**6 if x is None else x for x in side] for side in (bid, ask)]
    if monotone and not (all(a <= b for a, b in pairwise(far[0])) and all(a >= b for a, b in pairwise(far[1]))):
        return False
    for level, b, a in zip(q, bid, ask, strict=True):
        spread = None if b is None or a is None else b + a + half
        if spread is not None and min_spread is not None and spread < min_spread:
            return False
        if spread is not None and max_spread is not None and spread > max_spread:
            return False
        if obligation is not None and abs(level) <= obligation[0] and (spread is None or spread > obligation[1]):
            return False
        if max_rate is not None and sum(rate(x) for x in (b, a) if x is not None) > max_rate:
            return False
    return True


def brute_force(market, phi, tick, offsets, mid="tick", lot=1.0, **rules):
    """Every table for Q = 1, one by one."""
    q, half = np.array([-1, 0, 1]), int(mid == "half")
    options = list(range(offsets[0], offsets[1] + 1))
    free = [*options, None]

    def distance(x):
        return np.nan if x is None else tick * (x + 0.5 * half)

    best = -np.inf
    for b0, b1, a1, a2 in product(options, free, free, options):
        bid, ask = (b0, b1, None), (None, a1, a2)
        if keeps(bid, ask, q, half, rate=lambda x: float(market.bid_rate(distance(x))), **rules):
            found = stationary_gain(
                market, q, np.array([*map(distance, bid)]), np.array([*map(distance, ask)]), phi, lot
            )
            best = max(best, found)
    return best


def label_setting(market, phi, tick, Q, last, obligation):
    """The largest gain with monotone offsets and an obligation, by bisection in g with labels along the inventories.

    Independent of policy evaluation, cuts and CP-SAT: a gain g is possible if marginal values p exist with R_q >= g at
    every level. Going up in q, the largest p_q for each last pair of offsets is a label; larger is always better."""
    offsets = np.arange(last + 1)
    rate, value = market.bid_rate(offsets * tick), offsets * tick
    far = last + 1

    def possible(g):
        labels = {(b, far): value[b] - (g + phi * Q**2) / rate[b] for b in offsets}
        for q in range(-Q + 1, Q + 1):
            new = {}
            for (b0, a0), p in labels.items():
                for b in [*range(b0, far), far] if q < Q else [far]:
                    for a in range(min(a0, last) + 1):
                        if abs(q) <= obligation[0] and (b == far or b + a > obligation[1]):
                            continue
                        rest = g + phi * q**2 - rate[a] * (value[a] + p)
                        # Without a bid p_q may be anything, if the ask alone earns g.
                        bidless = np.inf if rest <= 0 else -np.inf
                        reached = bidless if b == far else value[b] - rest / rate[b]
                        if reached > new.get((b, a), -np.inf):
                            new[b, a] = reached
            labels = new
        return np.inf in labels.values()

    low, high = 0.0, 200.0
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if possible(middle) else (low, middle)
    return low


RULES = [
    {},
    pytest.param(dict(monotone=True), marks=with_cp_sat),
    pytest.param(dict(monotone=True, obligation=(0, 1)), marks=with_cp_sat),
    dict(min_spread=4),
    dict(max_spread=2),
    dict(obligation=(0, 1)),
    dict(max_rate=100.0),
    dict(min_spread=2, max_rate=140.0, obligation=(0, 3)),
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    ("market", "mid"),
    [(MARKET, "tick"), (Market(2.0, 140.0, 1.5, mu=3.0, impact=0.1, fee=0.05), "half")],
    ids=["plain", "frictions, half tick"],
)
def test_it_is_the_best_of_all_tables_on_a_small_grid(market, mid, rules):
    """Brute force over all tables, each valued by the null vector of its generator. The bound must not be below."""
    found = ticks.solve(market, **SMALL, mid=mid, lot=1.0, **rules)
    best = brute_force(market, 0.2, 0.5, (0, 3), mid, **rules)
    assert found.value == pytest.approx(best, rel=1e-6)
    assert found.bound >= best - 1e-9
    assert found.status == "optimal"
    q = found.quotes.inventory
    assert stationary_gain(market, q, found.quotes.bid[0], found.quotes.ask[0], 0.2) == pytest.approx(found.value)


@pytest.mark.parametrize("offsets", [(0, 1), (5, 7)], ids=["largest", "smallest"])
def test_an_end_of_the_offsets_that_binds_is_not_passed(offsets):
    """Free quotes lie between 1 and 5 ticks: brute force within the range, and no distance outside it."""
    found = ticks.solve(MARKET, phi=0.2, tick=0.25, horizon=1.0, max_inventory=1, offsets=offsets)
    assert found.value == pytest.approx(brute_force(MARKET, 0.2, 0.25, offsets), rel=1e-12)
    shown = np.concatenate([side[~np.isnan(side)] for side in (found.quotes.bid, found.quotes.ask)])
    assert 0.25 * offsets[0] <= shown.min() and shown.max() <= 0.25 * offsets[1]


@pytest.mark.parametrize("tick", [0.1, 0.25])
def test_when_only_the_grid_binds_it_is_policy_iteration(tick):
    """Howard's iteration of `hjb` over the same distances, with xi = 0 and phi = gamma sigma²/2: its own kernel."""
    distances = tick * np.arange(13)
    theirs = hjb.policy_iteration(MARKET, max_inventory=4, gamma=0.1, xi=0.0, distances=distances)
    ours = ticks.solve(MARKET, phi=0.2, tick=tick, horizon=1.0, max_inventory=4, offsets=(0, 12))
    assert ours.value == pytest.approx(theirs.gain, rel=1e-10)
    np.testing.assert_allclose(ours.quotes.bid[0], theirs.bid, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.quotes.ask[0], theirs.ask, rtol=0, atol=1e-12)


@with_cp_sat
@pytest.mark.parametrize("obligation", [(1, 2), (2, 1)])
def test_where_monotone_quotes_cost_money_it_is_dynamic_programming(obligation):
    """Tight obligations inside and freedom outside set the two rules against each other; labels solve it exactly."""
    problem = dict(phi=0.2, tick=0.25, horizon=1.0, max_inventory=3, offsets=(0, 5), obligation=obligation)
    found = ticks.solve(MARKET, **problem, monotone=True)
    exact = label_setting(MARKET, 0.2, 0.25, 3, 5, obligation)
    assert found.status == "optimal"
    assert found.value <= exact + 2e-7
    assert found.value + found.gap >= exact - 1e-9
    assert found.value == pytest.approx(exact, rel=1e-6)
    assert found.method == "CP-SAT"
    assert ticks.solve(MARKET, **problem).value > found.value + 1e-3


def test_a_finer_grid_tends_to_the_continuous_optimum_from_below():
    """The gain is flat at its maximum, so a tick costs O(tick²): halving it divides the loss by about 4. The loss of
    the nearest multiple is the mean of a square over phases, so the ratio of two ticks is only between 2 and 8."""
    best = cartea_jaimungal.gain(MARKET, phi=0.2, max_inventory=2)
    losses = []
    for tick in (0.4, 0.2, 0.1):
        offsets = (0, round(1.6 / tick))
        found = ticks.solve(MARKET, phi=0.2, tick=tick, horizon=1.0, max_inventory=2, offsets=offsets)
        losses.append(best - found.value)
    assert min(losses) > 0
    assert losses[0] / losses[2] > 4


def test_rounding_the_continuous_optimum_is_never_better_and_is_bounded_by_the_same_bound():
    tick = 0.25
    q = np.arange(-3, 4)
    optimum = hjb.policy_iteration(MARKET, max_inventory=3, gamma=0.1, xi=0.0)
    found = ticks.solve(MARKET, phi=0.2, tick=tick, horizon=1.0, max_inventory=3, offsets=(0, 8))
    bid, ask = (tick * np.round(side / tick) for side in (optimum.bid, optimum.ask))
    rounded = stationary_gain(MARKET, q, bid, ask, 0.2)
    assert rounded <= found.bound
    assert rounded <= found.value + 1e-9


def test_lots_scale_the_gain_as_money():
    """A lot of 100 with phi/100 is the same problem in another unit of money."""
    one = ticks.solve(MARKET, **SMALL)
    lots = ticks.solve(MARKET, **{**SMALL, "phi": 0.2 / 100}, lot=100.0)
    assert lots.value == pytest.approx(100 * one.value, rel=1e-9)
    assert lots.quotes.size == 100.0
    np.testing.assert_array_equal(lots.quotes.bid, one.quotes.bid)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    A=st.floats(1, 200), k=st.floats(0.3, 3), phi=st.floats(0, 2), spread=st.integers(0, 6), level=st.integers(0, 1),
    mid=st.sampled_from(["tick", "half"]),
)  # fmt: skip
def test_quotes_keep_the_rules_and_a_rule_never_pays(A, k, phi, spread, level, mid):
    market = Market(sigma=1.0, A=A, k=k)
    problem = dict(phi=phi, tick=0.5, horizon=1.0, max_inventory=2, offsets=(0, 6), mid=mid)
    half = int(mid == "half")
    obligation = (level, max(spread, half))
    free, bound_by = ticks.solve(market, **problem), ticks.solve(market, **problem, obligation=obligation)
    assert bound_by.value <= free.bound
    quotes = bound_by.quotes
    bid, ask = (
        [None if np.isnan(x) else round(x / 0.5 - 0.5 * half) for x in side[0]] for side in (quotes.bid, quotes.ask)
    )
    assert keeps(bid, ask, quotes.inventory, half, obligation=obligation)


def test_the_gain_of_a_table_is_that_of_its_stationary_law():
    market = Market(2.0, 140.0, 1.5, mu=30.0, impact=0.05, fee=-0.02)
    found = ticks.solve(market, phi=0.2, tick=0.25, horizon=1.0, max_inventory=2, offsets=(0, 6), lot=3.0)
    quotes = found.quotes
    assert not np.array_equal(quotes.bid[0], quotes.ask[0, ::-1], equal_nan=True)  # else the drift earns nothing
    by_law = stationary_gain(market, quotes.inventory, quotes.bid[0], quotes.ask[0], 0.2, lot=3.0)
    assert ticks.gain(market, quotes, 0.2) == pytest.approx(by_law, rel=1e-10)
    assert found.value == pytest.approx(by_law, rel=1e-10)


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        (dict(min_spread=5, max_spread=4, obligation=(0, 6)), "max_spread and min_spread and obligation"),
        (dict(min_spread=5, obligation=(0, 4), max_rate=500.0), "min_spread and obligation"),
        (dict(max_rate=60.0, obligation=(0, 2)), "max_rate and obligation"),
        (dict(max_rate=0.1), "max_rate"),
    ],
)
def test_rules_that_conflict_are_named_and_no_others(rules, names):
    with pytest.raises(ValueError, match=f"^{names} must allow a table"):
        ticks.solve(MARKET, **SMALL, **rules)


@with_cp_sat
def test_an_ended_effort_returns_the_best_table_so_far_and_says_so():
    """The same table on every machine: the limit is deterministic. Its value is honest, and so is its bound."""
    problem = dict(phi=0.2, tick=0.25, horizon=1.0, max_inventory=3, offsets=(0, 5), obligation=(2, 1), monotone=True)
    early, again, full = (ticks.solve(MARKET, **problem, effort=e) for e in (1e-4, 1e-4, 30.0))
    assert early.status == "feasible"
    assert 0 < early.gap < early.bound
    assert early.value <= full.value <= early.bound
    assert early.bound <= ticks.solve(MARKET, **{**problem, "monotone": False}).value * (1 + 1e-9)
    np.testing.assert_array_equal(early.quotes.bid, again.quotes.bid)
    assert (early.value, early.bound) == (again.value, again.bound)


def test_without_or_tools_the_error_names_the_extra(tmp_path, monkeypatch):
    """Only the rule that needs it asks for it: a package `ortools` without a solver comes first on the path. What it
    prints is no answer."""
    (tmp_path / "ortools").mkdir()
    (tmp_path / "ortools" / "__init__.py").write_text("print('loaded', flush=True)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"mmlib\[csp\]"):
        ticks.solve(MARKET, **TIED)
    assert ticks.solve(MARKET, **{**TIED, "monotone": False}).status == "optimal"


def test_the_search_has_one_worker_in_a_process_group_of_its_own(monkeypatch):
    """More workers would not find the same table twice; and a terminal's Ctrl-C goes to a whole group."""
    model = MagicMock(OPTIMAL=1, FEASIBLE=2, INFEASIBLE=3)
    asked = dict(allowed=np.ones((1, 1, 1), bool), monotone=False, cuts=[], start=([0], [0]), floor=0, ceiling=5)
    assert _cp_sat.maximize(model, **asked, effort=0.25, seed=9)[:3] == ("unknown", None, 5.0)
    said = model.CpSolver().parameters
    assert (said.num_workers, said.random_seed, said.max_deterministic_time) == (1, 9, 0.25)

    groups, right = [], subprocess.Popen

    def started(*arguments, **options):
        child = right(*arguments, **options)
        groups.append(os.getpgid(child.pid) == child.pid)
        child.kill()
        return child

    monkeypatch.setattr(subprocess, "Popen", started)
    with _cp_sat.Solver() as solver, pytest.raises(RuntimeError, match="ended before it answered"):
        solver.maximize()
    assert groups == [True]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (dict(phi=-1.0), "phi"),
        (dict(tick=0.0), "tick"),
        (dict(offsets=(3, 2)), "offsets"),
        (dict(offsets=(0, 2.5)), "offsets"),
        (dict(lot=-1.0), "lot"),
        (dict(mid="quarter"), "mid"),
        (dict(monotone=1), "monotone"),
        (dict(objective="long"), "objective"),
        (dict(obligation=(1, 3)), "obligation"),
        (dict(obligation=(-1, 3)), "obligation"),
        (dict(seed=-1), "seed"),
        (dict(seed=2**31), "seed"),
        (dict(max_rate=0.0), "max_rate"),
        (dict(effort=0.0), "effort"),
        (dict(tolerance=-1.0), "tolerance"),
        (dict(horizon=0.0), "horizon"),
        (dict(max_inventory=0), "max_inventory"),
    ],
)
def test_a_bad_argument_is_named(change, name):
    with pytest.raises(ValueError, match=rf"^{name}(\[\d\])? must be"):
        ticks.solve(MARKET, **{**SMALL, **change})


def test_a_wide_grid_whose_best_quotes_are_monotone_is_solved_at_once():
    """61 offsets and 15 inventories: the gain of policy iteration, another code, on the same grid."""
    found = ticks.solve(MARKET, phi=0.2, tick=0.25, horizon=1.0, max_inventory=7, offsets=(-8, 52), effort=0.1)
    free = hjb.policy_iteration(MARKET, max_inventory=7, gamma=0.1, xi=0.0, distances=0.25 * np.arange(-8, 53))
    assert found.status == "optimal"
    assert found.value == pytest.approx(free.gain, rel=1e-9)


@with_cp_sat
def test_the_first_table_under_rules_that_bind_is_within_one_per_cent_of_the_best():
    """What dynamic programming finds before CP-SAT has any effort to spend; the best is proven with more."""
    rules = dict(phi=0.2, tick=0.25, horizon=1.0, max_inventory=5, offsets=(0, 8), obligation=(2, 3), monotone=True)
    first, best = (ticks.solve(MARKET, **rules, effort=effort) for effort in (1e-6, 30.0))
    assert best.status == "optimal"
    assert best.value * 0.99 <= first.value <= best.value <= first.bound


@pytest.mark.parametrize(
    "quotes",
    [
        Quotes([0.0, 0.5], [-1, 0, 1], [[0.5, 0.5, np.nan]] * 2, [[np.nan, 0.5, 0.5]] * 2, 1.0),
        Quotes([0.0], [0, 1], [[0.5, np.nan]], [[np.nan, 0.5]], 1.0),
        Quotes([0.0], [-1, 0, 1], 0.5, 0.5, 1.0, limit=1),
        Quotes([0.0], [-1, 0, 1], [[np.nan, 0.5, np.nan]], [[np.nan, 0.5, 0.5]], 1.0),
        Quotes([0.0], [-1, 0, 1], [[0.5, 0.5, np.nan]], [[np.nan, 0.5, np.nan]], 1.0),
    ],
    ids=["two rows", "one side of 0", "a hard limit", "no way up", "no way down"],
)
def test_a_table_without_one_gain_is_refused(quotes):
    with pytest.raises(ValueError, match=r"quotes must be one row over -Q, \.\.\., Q, quoted on the side that"):
        ticks.gain(MARKET, quotes, 0.2)


def test_flat_the_maker_need_not_quote():
    """Nothing is quoted at 0: inventory only comes back, and in the long run nothing is earned."""
    quotes = Quotes([0.0], [-1, 0, 1], [[0.5, np.nan, np.nan]], [[np.nan, np.nan, 0.5]], 1.0)
    assert ticks.gain(MARKET, quotes, 0.2) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(offsets=(0,)), "offsets must be two integers"),
        (dict(offsets=5), "offsets must be two integers"),
        (dict(obligation=2), "obligation must be two integers"),
        (dict(offsets=(2000, 2005)), "offsets must be distances at which orders are filled"),
    ],
)
def test_pairs_that_are_none_and_offsets_out_of_reach_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ticks.solve(MARKET, **SMALL | changes)


def by_loop(market, phi, offsets, tick, Q, horizon, steps, allowed=lambda q, b, a: True):
    """Value from inventory 0 to a horizon: Euler's scheme with the maximum written as loops; None is not quoted."""
    options, dt = list(range(offsets[0], offsets[1] + 1)), horizon / steps
    levels = range(-Q, Q + 1)

    def side(rate, x):
        return (0.0, 0.0) if x is None else (float(rate(x * tick)), x * tick)

    pairs = {
        q: [
            (*side(market.bid_rate, b), *side(market.ask_rate, a))
            for b in ([None] if q == Q else options if q < 0 else [*options, None])
            for a in ([None] if q == -Q else options if q > 0 else [*options, None])
            if allowed(q, b, a)
        ]
        for q in levels
    }
    value = dict.fromkeys(levels, 0.0)
    for _ in range(steps):
        ahead = value | {Q + 1: 0.0, -Q - 1: 0.0}
        value = {
            q: ahead[q]
            + dt
            * max(
                up * (bid + ahead[q + 1] - ahead[q])
                + down * (ask + ahead[q - 1] - ahead[q])
                + market.mu * q
                - phi * q**2
                for up, bid, down, ask in pairs[q]
            )
            for q in levels
        }
    return value[0]


@pytest.mark.parametrize("obligation", [None, (0, 2)])
@pytest.mark.parametrize("mu", [0.0, 4.0])
def test_to_a_horizon_it_is_a_plain_loop_in_the_limit(obligation, mu):
    """Euler is of order 1: with n and 2n steps, extrapolated, its error is of order dt², 1e-4 here."""
    market = Market(2.0, 140.0, 1.5, mu=mu)
    rules = {} if obligation is None else dict(obligation=obligation)
    problem = dict(phi=0.2, tick=0.5, horizon=0.2, max_inventory=2, offsets=(0, 4))

    def allowed(q, b, a):
        return obligation is None or abs(q) > obligation[0] or (None not in (b, a) and b + a <= obligation[1])

    coarse, fine = (by_loop(market, 0.2, (0, 4), 0.5, 2, 0.2, n, allowed) for n in (400, 800))
    found = ticks.solve(market, **problem, **rules, objective="finite")
    assert found.value == pytest.approx(2 * fine - coarse, abs=2e-3 * abs(fine - coarse) + 2e-4)
    assert (found.status, found.method) == ("optimal", "backward induction")
    assert 0 < found.gap <= 1e-8 * abs(found.bound)


def penalised(market, quotes, phi):
    """Expected profit less phi ∫ q² of any table from inventory 0, by SciPy's exponential of an augmented generator."""
    q, m = quotes.inventory, len(quotes.inventory)
    w = np.zeros(m + 1)
    w[m] = 1.0
    for i in reversed(range(len(quotes.times))):
        up, down = (np.nan_to_num(market.bid_rate(quotes.bid[i])), np.nan_to_num(market.ask_rate(quotes.ask[i])))
        G = np.zeros((m + 1, m + 1))
        G[:m, :m] = np.diag(up[:-1], 1) + np.diag(down[1:], -1) - np.diag(up + down)
        bought, sold = (up * np.nan_to_num(quotes.bid[i]), down * np.nan_to_num(quotes.ask[i]))
        G[:m, m] = quotes.size * (bought + sold) + market.mu * q * quotes.size - phi * (quotes.size * q) ** 2
        w = expm(G * (np.append(quotes.times, quotes.horizon)[i + 1] - quotes.times[i])) @ w
    return w[m // 2]


@settings(max_examples=10, deadline=None, derandomize=True)
@given(phi=st.floats(0, 1), horizon=st.floats(0.01, 0.5), spread=st.integers(2, 6), lot=st.sampled_from([1.0, 10.0]))
def test_the_tables_in_turn_are_worth_the_value_and_no_stationary_table_more(phi, horizon, spread, lot):
    """Each row by a dense exponential: the value is that of the quotes returned. The best stationary table is one of
    those that the horizon allows, so it is worth less."""
    problem = dict(phi=phi / lot, tick=0.4, horizon=horizon, max_inventory=3, offsets=(-1, 5), lot=lot)
    found = ticks.solve(MARKET, **problem, obligation=(1, spread), objective="finite")
    assert penalised(MARKET, found.quotes, phi / lot) == pytest.approx(found.value, rel=1e-9)
    steady = ticks.solve(MARKET, **problem, obligation=(1, spread)).quotes
    assert penalised(MARKET, steady, phi / lot) <= found.bound + 1e-12
    assert np.all(np.diff(found.quotes.times) > 1e-10 * horizon)


@pytest.mark.parametrize(("mu", "horizon"), [(0.0, 0.2), (1e-8, 0.2), (0.0, 0.0194)])
def test_to_a_horizon_the_tables_change_when_they_should(mu, horizon):
    """Q = 1 and both sides alike: u = theta_0 − theta_1 solves du/dtau = 2 L(d)(d − u) − L(e)(e + u) + phi with the
    distances d at 0 and e at ±1, so u = a/b + (u_0 − a/b) exp(−b tau) between the u at which d or e should change. The
    drift parts the changes of the two sides by 1e-10 at most, still one row; it moves none by more. The
    last change comes 0.01955 before the end: a day of 0.0194 is over just before."""
    phi, tick = 10.0, 0.1
    found = ticks.solve(
        Market(2.0, 140.0, 1.5, mu=mu), phi=phi, tick=tick, horizon=horizon, max_inventory=1, offsets=(0, 40),
        objective="finite",
    )  # fmt: skip
    d = tick * np.arange(41)
    rate = 140.0 * np.exp(-1.5 * d)

    def threshold(i, j, sign):
        """u at which the distances i and j earn the same, L_i (d_i − sign u) = L_j (d_j − sign u)."""
        return sign * (rate[i] * d[i] - rate[j] * d[j]) / (rate[i] - rate[j])

    flat = held = int(np.argmax(rate * d))
    u = tau = 0.0
    times, pairs = [], [(flat, held)]
    while True:
        a, b = 2 * rate[flat] * d[flat] - rate[held] * d[held] + phi, 2 * rate[flat] + rate[held]
        wider = threshold(flat, flat + 1, 1.0)
        narrower = threshold(held, held - 1, -1.0) if held else np.inf
        u_next = min(wider, narrower)
        if u_next >= a / b:
            break
        tau += np.log((a / b - u) / (a / b - u_next)) / b
        if tau >= horizon:
            break
        u = u_next
        flat, held = flat + (wider == u), held - (narrower == u)
        times.append(horizon - tau)
        pairs.append((flat, held))
    assert len(times) == (6 if horizon == 0.2 else 5)
    np.testing.assert_allclose(found.quotes.times, [0.0, *times[::-1]], rtol=0, atol=2e-10)
    for side, back in ((found.quotes.bid, 0), (found.quotes.ask, 2)):
        np.testing.assert_allclose(side[:, [1, back]], tick * np.array(pairs[::-1]), rtol=1e-12)


def test_a_long_horizon_earns_the_gain_and_begins_with_the_stationary_table():
    problem = dict(phi=0.2, tick=0.25, max_inventory=4, offsets=(0, 8))
    short, long = (ticks.solve(MARKET, **problem, horizon=T, objective="finite") for T in (1.0, 2.0))
    steady = ticks.solve(MARKET, **problem, horizon=1.0)
    assert long.value - short.value == pytest.approx(steady.value, rel=1e-9)
    np.testing.assert_array_equal(long.quotes.bid[0], steady.quotes.bid[0])
    np.testing.assert_array_equal(long.quotes.ask[0], steady.quotes.ask[0])


@pytest.mark.parametrize("objective", ["stationary", "finite"])
def test_cents_or_dollars_and_days_or_hours_change_nothing_but_units(objective):
    problem = dict(phi=0.2, tick=0.25, horizon=1.0, max_inventory=4, offsets=(0, 8), objective=objective)
    for price, clock in ((100.0, 1.0), (1e-9, 1.0), (1.0, 24.0)):
        other = Market(sigma=2.0 * price / clock**0.5, A=140.0 / clock, k=1.5 / price)
        scaled = problem | dict(phi=0.2 * price / clock, tick=0.25 * price, horizon=clock)
        one, two = ticks.solve(MARKET, **problem), ticks.solve(other, **scaled)
        unit = price if objective == "finite" else price / clock
        assert two.value == pytest.approx(unit * one.value, rel=1e-9)
        assert two.gap == pytest.approx(unit * one.gap, rel=0.01)
        assert one.status == two.status == "optimal"
        np.testing.assert_allclose(two.quotes.bid, price * one.quotes.bid, rtol=1e-12)
        np.testing.assert_allclose(two.quotes.times, clock * one.quotes.times, rtol=1e-6)


@pytest.mark.parametrize(
    ("obligation", "cost"), [((0, 3), 2.14), ((1, 3), 6.05), ((2, 3), 10.55), ((3, 3), 14.73), ((0, 4), 0.66)]
)
def test_obligations_cost_what_they_cost_alone(obligation, cost):
    """Prices of the clause without any other, by enumeration elsewhere; per cent, to the digits given."""
    problem = dict(phi=0.2, tick=0.25, horizon=1.0, max_inventory=5, offsets=(0, 8))
    free, found = ticks.solve(MARKET, **problem), ticks.solve(MARKET, **problem, obligation=obligation)
    assert 100 * (1 - found.value / free.value) == pytest.approx(cost, abs=0.005)
    assert found.method == "policy iteration"


def test_the_best_table_under_a_tight_obligation_leans_out_of_the_zone():
    problem = dict(phi=0.2, tick=0.25, horizon=1.0, max_inventory=5, offsets=(0, 8), obligation=(2, 3))
    found = ticks.solve(MARKET, **problem)
    assert found.value == pytest.approx(58.197, abs=5e-4)
    long_by_one = 6
    assert (found.quotes.bid[0, long_by_one], found.quotes.ask[0, long_by_one]) == (0.25, 0.5)


def test_a_seed_has_31_bits():
    assert ticks.solve(MARKET, **SMALL, seed=2**31 - 1).status == "optimal"
    with pytest.raises(ValueError, match=r"seed must be .* <= 2147483647"):
        ticks.solve(MARKET, **SMALL, seed=2**31)


def test_monotone_quotes_have_no_horizon():
    with pytest.raises(ValueError, match="monotone must be False for objective 'finite'"):
        ticks.solve(MARKET, **SMALL, monotone=True, objective="finite")


HIGHS = """
from mmlib.stock_loan import allocation
one = allocation.Problem(
    securities=["S"], pools=["P"], clients=["C"], price=[10.0], client_fee=[[100.0]], source_cost=[[10.0]],
    demand=[[100.0]], supply=[[200.0]], eligible=[[[True]]], penalty=[[0.0]],
)
assert allocation.solve(one).gap < 1e-6
"""
CP_SAT = f"""
from mmlib.market_making import Market, ticks
assert ticks.solve(Market(2.0, 140.0, 1.5), **{TIED!r}).method == "CP-SAT"
"""


@with_cp_sat
@pytest.mark.skipif(importlib.util.find_spec("highspy") is None, reason="highspy is not installed (extra loan)")
@pytest.mark.parametrize("order", [HIGHS + CP_SAT, CP_SAT + HIGHS], ids=["HiGHS first", "CP-SAT first"])
def test_an_allocation_and_cp_sat_work_in_one_process(order):
    """OR-Tools and highspy each bring a HiGHS library; a process that loads both ends with a linker's error."""
    done = subprocess.run([sys.executable, "-c", order], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def state_and_parent(pid):
    """From /proc: the state letter and the parent's id of a process; (None, None) when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
    except OSError:
        return None, None
    return state, int(parent)


def until(condition, seconds=60):
    """The condition's first true value, or its last."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


@with_cp_sat
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_search_ends_with_the_process_that_asked_for_it(blow):
    """However the parent ends, while OR-Tools is being loaded or in the middle of a long search, its child goes too."""
    long = TIED | dict(max_inventory=7, offsets=(-4, 12), obligation=(5, 3), effort=1e4)
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)" + CP_SAT.replace(
        repr(TIED), repr(long)
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    try:
        child = until(lambda: [p for p in os.listdir("/proc") if p.isdigit() and state_and_parent(p)[1] == parent.pid])
        assert len(child) == 1
        time.sleep(0.3)
        parent.send_signal(blow)
        parent.communicate(timeout=60)
    finally:
        parent.kill()
    assert parent.returncode == -blow
    assert until(lambda: state_and_parent(child[0])[0] in (None, "Z"))


@with_cp_sat
def test_a_search_that_dies_is_reported():
    with _cp_sat.Solver() as solver, pytest.raises(RuntimeError, match="ended before it answered"):
        solver.maximize(no_such_argument=1)


class Asked:
    """In the place of the solver: keeps what it is asked, and answers as it is told."""

    def __init__(self, *answer):
        self.answer = answer

    def maximize(self, **request):
        self.request = request
        return self.answer


@pytest.mark.parametrize(("value", "bound"), [(3.0, 5.0), (-2.0, 1.0), (-7.0, -4.0)])
def test_pairs_of_no_table_that_the_cuts_let_reach_the_best_known_are_left_out(value, bound):
    """By writing out all tables: a pair stays if under each cut alone some table with it reaches `value`. Gains below 0
    count too. The integers that are asked for hold every gain from `value` to `bound`, and each cut, rounded up."""
    rng = np.random.default_rng(5)
    dropped = 0
    for _ in range(20):
        allowed = rng.random((3, 2, 2)) < 0.8
        allowed[:, 0, 1] = True
        cuts = [
            (value - float(rng.integers(0, 9)), np.where(allowed, rng.integers(-5, 6, allowed.shape), -np.inf))
            for _ in range(2)
        ]
        solver = Asked("optimal", ([0, 0, 0], [1, 1, 1]), 5e8, 0.25)
        choices = SimpleNamespace(allowed=allowed)
        table, limit, spent = _tick_gain._propose(solver, choices, cuts, None, value, bound, True, 1.0, 0)
        tables = [[*map(tuple, t)] for t in product(*(np.argwhere(level) for level in allowed))]
        kept = np.zeros(allowed.shape, bool)
        for q, b, a in np.argwhere(allowed):
            reach = [max(g + sum(c[i][t[i]] for i in range(3)) for t in tables if t[q] == (b, a)) for g, c in cuts]
            kept[q, b, a] = min(reach) >= value
        np.testing.assert_array_equal(solver.request["allowed"], kept)
        dropped += (allowed & ~kept).sum()
        unit = 1e9 / max(abs(value), abs(bound))
        assert value * unit - 3 <= solver.request["floor"] <= value * unit
        assert bound * unit <= solver.request["ceiling"] <= bound * unit + 3
        for (g, c), (whole, worth) in zip(cuts, solver.request["cuts"], strict=True):
            for ours, theirs in ((g, whole), (c[allowed], worth[allowed])):
                assert np.all((theirs >= ours * unit) & (theirs < ours * unit + 1) & (theirs == np.floor(theirs)))
        assert limit == pytest.approx(5e8 / unit)
        assert spent == 0.25
        assert [side.tolist() for side in table] == [[0, 0, 0], [1, 1, 1]]
        # proposals that only look for a good table leave every pair in, and any gain
        _tick_gain._propose(solver, choices, cuts, None, value, bound, False, 1.0, 0)
        np.testing.assert_array_equal(solver.request["allowed"], allowed)
        assert solver.request["floor"] < -1e15 and solver.request["ceiling"] > 1e15
        # none is left: the best known is the best; not known: nothing new
        for status, end in (("infeasible", value), ("unknown", bound)):
            solver.answer = (status, None, 0.0, 0.5)
            assert _tick_gain._propose(solver, choices, cuts, None, value, bound, True, 1.0, 0) == (None, end, 0.5)
    assert dropped > 40


@pytest.mark.parametrize("fast", ["bid", "ask"])
def test_to_a_horizon_one_side_may_be_a_thousand_times_faster(fast):
    """One distance, or none: by SciPy's exponential of the tables returned, each another than the one before. In steps
    of the slow side's time a series would not converge: the noise would cost 2e-9, and look like changes."""
    slow, quick = Exponential(0.7, 1.5), Exponential(700.0, 1.5)
    market = TwoSidedMarket(2.0, *((quick, slow) if fast == "bid" else (slow, quick)))
    problem = dict(phi=0.2, tick=0.4, horizon=0.3, max_inventory=3, offsets=(2, 2))
    found = ticks.solve(market, **problem, objective="finite")
    assert penalised(market, found.quotes, 0.2) == pytest.approx(found.value, rel=1e-12)
    rows = np.nan_to_num(np.hstack([found.quotes.bid, found.quotes.ask]), nan=-1.0)
    assert np.all(np.any(np.diff(rows, axis=0) != 0, axis=1))


def test_to_a_horizon_the_gap_is_a_hundredth_of_a_billionth_of_the_largest_reward():
    """Penalty 1000·3² a unit of time; each side earns most half a price unit away, 70 exp(−0.75), or one, 140 exp(−1.5)
    (less). The gap is a difference of numbers below 100, so known to 2e-14; it is 1.8e-8."""
    found = ticks.solve(MARKET, phi=1000.0, tick=0.5, horizon=0.2, max_inventory=3, offsets=(0, 3), objective="finite")
    assert found.gap == pytest.approx(0.2 * 1e-11 * (9000 + 2 * 70 * np.exp(-0.75)), rel=1e-5)


def test_bounds_leave_one_part_in_a_trillion_for_rounding(monkeypatch):
    """By policy iteration, and where CP-SAT is asked and finds nothing. A double at 1 is known to 2e-16."""
    monkeypatch.setattr(_cp_sat.Solver, "maximize", lambda self, **request: ("unknown", None, 0.0, 1.0))
    free, asked = (ticks.solve(MARKET, **TIED | {"monotone": monotone}) for monotone in (False, True))
    assert asked.status == "feasible"
    for found in (free, asked):
        assert found.bound / free.value - 1 == pytest.approx(1e-12, abs=1e-15)


def test_the_seed_is_nought_unless_it_is_said(monkeypatch):
    """What CP-SAT is asked with and without it."""
    seeds = []

    def asked(self, **request):
        seeds.append(request["seed"])
        return "unknown", None, 0.0, 1.0

    monkeypatch.setattr(_cp_sat.Solver, "maximize", asked)
    ticks.solve(MARKET, **TIED)
    ticks.solve(MARKET, **TIED, seed=7)
    assert seeds == [0, 7]


def test_bounds_of_the_stationary_law_and_cuts_hold_for_every_table_as_good():
    """All 400 tables of three inventories, each with the null vector of its generator. The law of every table that
    earns a gain lies within the bounds for that gain, and no cut is below what such a table earns. Of the best table's
    gain less 1e-4 that table alone is as good: the second best earns 0.3 less. A price x on the gain bounds its law by
    x·1e-4 on either side, once x is dear enough; the least price is 0.01 pi/1e-4, to 1e-9 of the gain, and is."""
    q, distance, choices, _ = _tick_program.problem(MARKET, 0.2, 0.1, 1, (5, 8), 1.0, "tick", None, None, None, None)
    distance = np.append(distance, np.nan)
    tables = [((b0, b1, 4), (4, a1, a2)) for b0, b1, a1, a2 in product(range(4), range(5), range(5), range(4))]
    quoted = [(distance[[*bid]], distance[[*ask]]) for bid, ask in tables]
    laws = np.array([stationary_law(MARKET, *sides) for sides in quoted])
    gains = np.array([stationary_gain(MARKET, q, *sides, 0.2) for sides in quoted])
    table, best = _tick_gain.howard(choices, tuple(map(np.array, tables[0])))
    ordered = np.sort(gains)[::-1]
    assert best == pytest.approx(ordered[0], rel=1e-12) and ordered[0] - ordered[1] > 0.3
    for less, number in ((1e-4, 1), (best - ordered[19] + 1e-9, 20), (best - ordered[199] + 1e-9, 200)):
        low, high = _tick_gain._occupation_bounds(choices, table, best - less, best)
        good = gains >= best - less
        assert good.sum() >= number
        assert np.all(low <= laws[good].min(0)) and np.all(laws[good].max(0) <= high)
        if number == 1:
            assert good.sum() == 1
            np.testing.assert_allclose([low, high], np.outer([0.99, 1.01], laws[good][0]), rtol=1e-5)
        for i in np.flatnonzero(good)[:: 1 + number // 10]:
            gain, worth = _tick_gain._cut(choices, tuple(map(np.array, tables[i])), low, high)
            assert gain == pytest.approx(gains[i], rel=1e-12)
            assert np.all(worth[~choices.allowed] == -np.inf)
            tops = np.array([gain + sum(worth[k, bid[k], ask[k]] for k in range(3)) for bid, ask in tables])
            assert tops[i] == pytest.approx(gain, rel=1e-12)
            assert np.all(tops[good] >= gains[good] - 1e-9)


def test_monotone_is_what_the_rule_says():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        bid, ask = rng.integers(0, 3, (2, 3))
        found.append(_tick_gain.is_monotone((bid, ask)))
        assert found[-1] == keeps(bid.tolist(), ask.tolist(), range(3), 0, monotone=True)
    assert 10 < sum(found) < 290
