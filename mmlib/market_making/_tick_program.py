"""The integer programme of `ticks`: what may be quoted, an exchange's rules, cuts, and the rules that conflict.

At each inventory q one Boolean x_q(b, a) per pair of alternatives, an offset in ticks or "not quoted" on either side,

    sum_{b,a} x_q(b, a) = 1,    x_q(b, a) = 0 for a pair that a rule forbids at q,

and monotone quotes are linear: sum b x_q <= sum b x_{q+1}, sum a x_q >= sum a x_{q+1}. A cut bounds the gain G by
G <= g + sum_q sum_{b,a} c_q(b, a) x_q(b, a). CP-SAT takes integers, so G is counted in units of 1e-9 of the largest
gain, and g and c are rounded up: the largest G is a bound for the real problem too.

If the rules exclude every table, each is made to depend on an assumption. CP-SAT returns assumptions that suffice for
infeasibility; dropping one after another whose absence changes nothing leaves a set that conflicts while no part of it
does (the deletion filter of Chinneck & Dravnieks 1991).
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mmlib.checks import choice, finite, integer, nonnegative, positive
from mmlib.market_making.quotes import inventory_grid

_UNITS = 10**9  # integer units of the largest gain in CP-SAT


class Choices(NamedTuple):
    """What may be chosen at each inventory: rates (n,), fill values (m, n), rewards (m,), allowed pairs (m, n, n)."""

    bid_rate: np.ndarray
    ask_rate: np.ndarray
    bid_value: np.ndarray
    ask_value: np.ndarray
    running: np.ndarray
    allowed: np.ndarray
    monotone: bool


def load_cp_model():
    """OR-Tools' module cp_model; ImportError naming the extra csp if it is not installed.

    OR-Tools cannot be loaded into a process that has loaded highspy: each brings its own HiGHS library.
    """
    try:
        from ortools.sat.python import cp_model
    except ModuleNotFoundError as error:
        raise ImportError('mmlib.market_making.ticks needs OR-Tools: pip install "mmlib[csp]"') from error
    return cp_model


def problem(
    market, phi, tick, max_inventory, offsets, lot, mid, monotone, min_spread, max_spread, obligation, max_rate
):
    """Inventories, distances, `Choices`, and which pairs each rule forbids: name -> (m, n, n) of bool."""
    phi = nonnegative("phi", phi, "running penalty, currency/(units² time)")
    tick = positive("tick", tick, "price step")
    lot = positive("lot", lot, "units of an order")
    q = inventory_grid(max_inventory)
    if not isinstance(monotone, bool):
        raise ValueError(f"monotone must be True or False; got {monotone!r}")
    half = choice("mid", mid, ("tick", "half")) == "half"
    first, last = _two("offsets", offsets, "smallest and largest distance, ticks")
    if last < first:
        raise ValueError(f"offsets must be (smallest, largest), ticks; got {offsets!r}")
    ticks = np.arange(first, last + 1)
    distance = tick * (ticks + 0.5 * half)
    rates = [np.append(finite("rate", rate(distance)), 0.0) for rate in (market.bid_rate, market.ask_rate)]
    for side, rate in zip(("bid", "ask"), rates, strict=True):
        if not rate[:-1].all():
            raise ValueError(
                f"offsets must be distances at which orders are filled (ticks); {distance[rate[:-1] == 0][0]:g} is too"
                f" far for the {side}: its rate is 0"
            )
    earned = np.append(distance - market.fee, 0.0)
    bid_value = lot * (earned - market.impact * (q[:, None] + 1))
    ask_value = lot * (earned + market.impact * (q[:, None] - 1))
    out = len(ticks)  # index of "not quoted"
    side = np.arange(out + 1)
    both = (side[:, None] < out) & (side[None, :] < out)
    spread = side[:, None] + side[None, :] + 2 * first + half
    allowed = np.ones((len(q), out + 1, out + 1), bool)
    allowed[q < 0, out, :] = False  # the side that brings inventory back to 0 is always quoted
    allowed[q > 0, :, out] = False
    allowed[-1, :out, :] = False
    allowed[0, :, :out] = False
    everywhere = np.ones(len(q), bool)[:, None, None]
    rules = {}
    if min_spread is not None:
        low = integer("min_spread", min_spread, meaning="ticks")
        rules["min_spread"] = everywhere & both & (spread < low)
    if max_spread is not None:
        high = integer("max_spread", max_spread, meaning="ticks")
        rules["max_spread"] = everywhere & both & (spread > high)
    if obligation is not None:
        level, widest = _two("obligation", obligation, "|inventory| obliged, orders, and spread, ticks")
        level = integer("obligation[0]", level, least=0, most=q[-1] - 1, meaning="|inventory| obliged, orders")
        rules["obligation"] = (np.abs(q) <= level)[:, None, None] & ~(both & (spread <= widest))
    if max_rate is not None:
        most = positive("max_rate", max_rate, "expected fills, orders/time")
        rules["max_rate"] = everywhere & (rates[0][:, None] + rates[1][None, :] > most)
    running = market.mu * lot * q - phi * (lot * q) ** 2
    return q, distance, Choices(*rates, bid_value, ask_value, running, allowed, monotone), rules


def _two(name, pair, meaning):
    if np.shape(pair) != (2,):
        raise ValueError(f"{name} must be two integers ({meaning}); got {pair!r}")
    return (integer(f"{name}[{i}]", number, meaning=meaning) for i, number in enumerate(pair))


def refuse_conflicts(cp_model, choices, rules, seed):
    """A table that keeps all `rules`; ValueError naming a smallest set of them that conflicts if there is none."""
    names = [*rules] + (["monotone"] if choices.monotone else [])

    def check(active):
        model = cp_model.CpModel()
        held = {name: model.new_bool_var(name) for name in active}
        picks = _picks(model, choices.allowed)
        for name in active:
            if name == "monotone":
                _add_monotone(cp_model, model, picks, held[name])
            else:
                for q, level in enumerate(picks):
                    broken = [x for pair, x in level.items() if rules[name][q][pair]]
                    model.add(cp_model.LinearExpr.sum(broken) == 0).only_enforce_if(held[name])
        model.add_assumptions(list(held.values()))
        solver = _solver(cp_model, seed)
        if solver.solve(model) == cp_model.INFEASIBLE:
            return None, [model.proto.variables[i].name for i in solver.sufficient_assumptions_for_infeasibility()]
        return _chosen(solver, picks), active

    table, conflict = check(names)
    if table is not None:
        return table
    for name in list(conflict):
        others = [other for other in conflict if other != name]
        if check(others)[0] is None:
            conflict = others
    if not conflict:
        conflict = ["offsets"]
    raise ValueError(f"{' and '.join(sorted(conflict))} must allow a table of quotes; no offsets keep them together")


def propose(cp_model, choices, cuts, start, value, bound, proven, effort, seed):
    """CP-SAT's best table under the cuts, its bound on the gain, and the deterministic time spent.

    `cuts` are pairs (g, c), c of shape (m, n, n); `start` is a hint. If `proven`, the cuts hold for every table that
    earns at least `value`, so pairs that cannot reach it are left out, and the gain lies between `value` and `bound`.
    """
    allowed = choices.allowed
    unit = _UNITS / max(abs(bound), abs(value), 1e-300)
    if proven:
        for g, limit in cuts:
            most = limit.max((1, 2))
            allowed = allowed & (g + limit + (most.sum() - most)[:, None, None] >= value - 1e-9 * abs(value))
    model = cp_model.CpModel()
    picks = _picks(model, allowed)
    if choices.monotone:
        _add_monotone(cp_model, model, picks)
    top = int(np.ceil(bound * unit)) + 1 if proven else 2**60
    gain_limit = model.new_int_var(int(np.floor(value * unit)) - 1 if proven else -(2**60), top, "gain")
    for g, limit in cuts:
        alternatives = [x for level in picks for x in level.values()]
        worth = [int(np.ceil(limit[q][pair] * unit)) for q, level in enumerate(picks) for pair in level]
        model.add(gain_limit <= int(np.ceil(g * unit)) + cp_model.LinearExpr.weighted_sum(alternatives, worth))
    model.maximize(gain_limit)
    for q, level in enumerate(picks):
        for pair, x in level.items():
            model.add_hint(x, pair == (start[0][q], start[1][q]))
    solver = _solver(cp_model, seed, effort)
    status = solver.solve(model)
    spent = solver.response_proto.deterministic_time
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None, value if status == cp_model.INFEASIBLE else bound, spent
    return _chosen(solver, picks), solver.best_objective_bound / unit, spent


def _picks(model, allowed):
    """One Boolean per allowed pair of sides, exactly one true at each inventory: [{(bid, ask): Boolean}]."""
    picks = []
    for level in allowed:
        picks.append({(int(b), int(a)): model.new_bool_var("") for b, a in np.argwhere(level)})
        model.add_exactly_one(picks[-1].values())
    return picks


def _add_monotone(cp_model, model, picks, held=None):
    for below, above in pairwise(picks):
        for side, sign in ((0, 1), (1, -1)):
            low, high = (
                cp_model.LinearExpr.weighted_sum(list(level.values()), [sign * pair[side] for pair in level])
                for level in (below, above)
            )
            rule = model.add(high >= low)
            if held is not None:
                rule.only_enforce_if(held)


def _chosen(solver, picks):
    chosen = [next(pair for pair, x in level.items() if solver.boolean_value(x)) for level in picks]
    return tuple(np.array(side) for side in zip(*chosen, strict=True))


def _solver(cp_model, seed, effort=None):
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.cp_model_probing_level = 0  # thousands of alternatives in a few constraints: nothing to discover
    solver.parameters.symmetry_level = 0
    if effort is not None:
        solver.parameters.max_deterministic_time = effort
    return solver
