"""Quotes on a tick and lot grid, chosen by CP-SAT under an exchange's rules, with a proof of how good they are.

At every inventory q (orders of `lot` units) the maker picks a whole number of ticks for each side, or leaves out the
side that would add to the position; the distance is (offset + ½)·tick when the mid lies between two ticks. With rates
Lambda_b, Lambda_a of the offsets chosen, inventory is a birth–death chain, and a table d of offsets earns per unit time

    g(d) = sum_q pi_q (Lambda_b v_b + Lambda_a v_a + mu lot q − phi (lot q)²),
    pi_q Lambda_b(q) = pi_{q+1} Lambda_a(q+1),

v being a fill's gain (`fills`). g is a ratio of products of the choices, so no integer programme holds it. Policy
evaluation (Howard 1960) does: g and the marginal values p_q = h(q) − h(q+1) of d solve at every q

    g = R_q(d, p),     R_q(d, p) = Lambda_b (v_b − p_q) + Lambda_a (v_a + p_{q−1}) + mu lot q − phi (lot q)²,

and for *any* table d' the gain differs by (sum the equations with the weights pi(d'): the p cancel)

    g(d') = g(d) + sum_q pi_q(d') (R_q(d', p) − g).

With bounds low_q <= pi_q(d') <= high_q that hold for every table at least as good as the best one known, this is a cut

    g(d') <= g(d) + sum_q [ high_q (R_q − g)⁺ − low_q (R_q − g)⁻ ],

linear in the choices at each level and exact at d (Hooker & Ottosson 2003: logic-based Benders decomposition). CP-SAT
holds the rules and the cuts, and proposes the table with the largest bound; it is evaluated exactly in floats and
gives the next cut. Coefficients are rounded up to integers, so CP-SAT's bound holds for the real problem. The bounds on
pi are Lagrangian: pi_q(d') <= max over tables of pi_q + nu (g − g_best), for any nu >= 0, by policy iteration.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mmlib.checks import choice, finite, integer, nonnegative, positive
from mmlib.market_making.quotes import Quotes, inventory_grid

_UNITS = 10**9  # integer units of the largest gain in CP-SAT
_MULTIPLIERS = 10.0 ** np.arange(-2, 4)


class TickQuotes(NamedTuple):
    """A table on the grid and what is proven of it.

    Attributes
    ----------
    quotes : Quotes
        One row of distances, multiples of the tick (plus half a tick).
    value : float
        Its stationary gain, currency/time, evaluated in floats.
    bound : float
        No table that keeps the rules earns more, rounding included.
    status : str
        "optimal" if bound − value <= tolerance·|bound|, else "feasible": the effort ended first.
    """

    quotes: Quotes
    value: float
    bound: float
    status: str

    @property
    def gap(self):
        """bound − value, currency/time."""
        return self.bound - self.value


class _Choices(NamedTuple):
    """What may be chosen at each inventory: rates (n,), fill values (m, n), rewards (m,), allowed pairs (m, n, n)."""

    bid_rate: np.ndarray
    ask_rate: np.ndarray
    bid_value: np.ndarray
    ask_value: np.ndarray
    running: np.ndarray
    allowed: np.ndarray
    monotone: bool


def solve(
    market, phi, tick, horizon, max_inventory, offsets, lot=1.0, mid="tick", monotone=True, min_spread=None,
    max_spread=None, obligation=None, max_rate=None, tolerance=1e-6, effort=30.0, seed=0,
):  # fmt: skip
    """Tick offsets with the largest stationary gain among those that keep the rules.

    Parameters
    ----------
    market : Market
        Any object with sigma, mu, impact, fee, bid_rate and ask_rate.
    phi : float
        Running penalty phi (lot q)², currency/(units² time), >= 0.
    tick : float
        Price step, > 0.
    horizon : float
        Horizon of the table returned, time, > 0; the gain does not depend on it.
    max_inventory : int
        Q, orders, >= 1; there the side that would leave is not quoted.
    offsets : (int, int)
        Smallest and largest offset from the mid, ticks.
    lot : float
        Units of an order, > 0.
    mid : {"tick", "half"}
        Whether the mid lies on a tick or half-way between two.
    monotone : bool
        The bid's offset never falls and the ask's never rises with inventory; a side left out counts as the farthest.
    min_spread, max_spread : int, optional
        Ticks between bid and ask wherever both are quoted.
    obligation : (int, int), optional
        (level, spread): both sides present, at most `spread` ticks apart, at every |q| <= level < Q.
    max_rate : float, optional
        Largest expected number of fills per unit time, both sides together, at each inventory.
    tolerance : float
        Gap at which the table counts as optimal, relative to the bound, >= 0.
    effort : float
        Limit of CP-SAT's deterministic time (the same on every machine, of the order of a second), > 0.
    seed : int
        Random seed of CP-SAT.

    Returns
    -------
    TickQuotes

    Raises
    ------
    ValueError
        If an argument is out of range, or if no table keeps the rules; then the message names rules that conflict.
    ImportError
        If OR-Tools is not installed.
    """
    cp_model = _cp_model()
    q, distance, choices, rules = _tables(
        market, phi, tick, max_inventory, offsets, lot, mid, monotone, min_spread, max_spread, obligation, max_rate
    )
    horizon = positive("horizon", horizon, "end of trading, time")
    tolerance = nonnegative("tolerance", tolerance, "relative gap")
    effort = positive("effort", effort, "CP-SAT's deterministic time")
    seed = integer("seed", seed, least=0, most=2**31 - 1)
    start = _refuse_conflicts(cp_model, choices, rules, seed)
    forbidden = np.any([np.zeros_like(choices.allowed), *rules.values()], axis=0)
    choices = choices._replace(allowed=choices.allowed & ~forbidden)
    best, value, bound = _branch(cp_model, choices, start, tolerance, effort, seed)
    bid, ask = (np.append(distance, np.nan)[side][None, :] for side in best)
    status = "optimal" if bound - value <= tolerance * abs(bound) else "feasible"
    return TickQuotes(Quotes([0.0], q, bid, ask, horizon, lot), value, bound, status)


def gain(market, quotes, phi):
    """Stationary gain of a table of one row, currency/time.

    Parameters
    ----------
    market : Market
    quotes : Quotes
        One row, inventory −Q … Q, the side that brings inventory back to 0 quoted everywhere, no hard limit.
    phi : float
        Running penalty phi (size q)², currency/(units² time), >= 0.

    Raises
    ------
    ValueError
        If the table is not of that form.
    """
    from mmlib.market_making.fills import fills

    phi = nonnegative("phi", phi, "running penalty, currency/(units² time)")
    q = quotes.inventory
    back = np.where(q > 0, quotes.ask[0], quotes.bid[0])[q != 0]
    if len(quotes.times) != 1 or q[0] != -q[-1] or quotes.limit is not None or np.any(np.isnan(back)):
        raise ValueError("quotes must be one row over -Q, ..., Q, quoted on the side that brings inventory back to 0")
    f = fills(market, quotes)
    running = market.mu * quotes.size * q - phi * (quotes.size * q) ** 2
    return _evaluate(f.bid_rate[0], f.ask_rate[0], f.bid_spread[0] - f.bid_toll, f.ask_spread[0] - f.ask_toll, running)[
        0
    ]


def _cp_model():
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise ImportError('mmlib.market_making.ticks needs OR-Tools: pip install "mmlib[csp]"') from error
    return cp_model


def _tables(
    market, phi, tick, max_inventory, offsets, lot, mid, monotone, min_spread, max_spread, obligation, max_rate
):
    """Inventories, distances, `_Choices`, and which pairs each rule forbids: name -> (m, n, n) of bool."""
    phi = nonnegative("phi", phi, "running penalty, currency/(units² time)")
    tick = positive("tick", tick, "price step")
    lot = positive("lot", lot, "units of an order")
    q = inventory_grid(max_inventory)
    if not isinstance(monotone, bool):
        raise ValueError(f"monotone must be True or False; got {monotone!r}")
    half = choice("mid", mid, ("tick", "half")) == "half"
    first, last = (integer(f"offsets[{i}]", offsets[i], meaning="distance in ticks") for i in (0, 1))
    if last < first:
        raise ValueError(f"offsets must be (smallest, largest), ticks; got {offsets!r}")
    ticks = np.arange(first, last + 1)
    distance = tick * (ticks + 0.5 * half)
    rates = [np.append(finite("rate", rate(distance)), 0.0) for rate in (market.bid_rate, market.ask_rate)]
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
        level = integer("obligation[0]", obligation[0], least=0, most=q[-1] - 1, meaning="|inventory| obliged, orders")
        widest = integer("obligation[1]", obligation[1], meaning="spread, ticks")
        rules["obligation"] = (np.abs(q) <= level)[:, None, None] & ~(both & (spread <= widest))
    if max_rate is not None:
        most = positive("max_rate", max_rate, "expected fills, orders/time")
        rules["max_rate"] = everywhere & (rates[0][:, None] + rates[1][None, :] > most)
    running = market.mu * lot * q - phi * (lot * q) ** 2
    return q, distance, _Choices(*rates, bid_value, ask_value, running, allowed, monotone), rules


def _evaluate(bid_rate, ask_rate, bid_value, ask_value, running):
    """Gain g and marginal values p (m − 1,) of a table, from the ends of the grid inwards to inventory 0.

    Level q gives p_{q−1} from p_q for q > 0, and p_q from p_{q−1} for q < 0, each affine in g: p = slope·g + level.
    """
    m = len(running)
    centre = m // 2
    slope, level = np.zeros(m), np.zeros(m)  # the last entry pads: no edge beyond the ends
    own = running + bid_rate * bid_value + ask_rate * ask_value
    for q in range(m - 1, centre, -1):
        slope[q - 1] = (1 + bid_rate[q] * slope[q]) / ask_rate[q]
        level[q - 1] = (bid_rate[q] * level[q] - own[q]) / ask_rate[q]
    for q in range(centre):
        slope[q] = (ask_rate[q] * slope[q - 1] - 1) / bid_rate[q]
        level[q] = (ask_rate[q] * level[q - 1] + own[q]) / bid_rate[q]
    b, a = bid_rate[centre], ask_rate[centre]
    g = (own[centre] - b * level[centre] + a * level[centre - 1]) / (1 + b * slope[centre] - a * slope[centre - 1])
    return g, (slope * g + level)[:-1]


def _of_table(choices, table, running=None, scale=1.0):
    """Gain of `table` = (bid, ask) offsets' indices, and R_q(d', p) − g of every pair, shape (m, n, n)."""
    bid, ask = table
    q = np.arange(len(bid))
    running = choices.running if running is None else running
    bid_value, ask_value = scale * choices.bid_value, scale * choices.ask_value
    bid_rate, ask_rate = choices.bid_rate, choices.ask_rate
    g, p = _evaluate(bid_rate[bid], ask_rate[ask], bid_value[q, bid], ask_value[q, ask], running)
    bids = bid_rate * (bid_value - np.append(p, 0.0)[:, None])
    asks = ask_rate * (ask_value + np.append(0.0, p)[:, None])
    return g, bids[:, :, None] + asks[:, None, :] + (running - g)[:, None, None]


def _howard(choices, allowed, table, running=None, scale=1.0):
    """The best table when each level is free in `allowed`, by policy iteration from `table`; and its gain."""
    m, n, _ = allowed.shape
    q = np.arange(m)
    while True:
        g, advantage = _of_table(choices, table, running, scale)
        flat = np.where(allowed, advantage, -np.inf).reshape(m, -1)
        here = flat[q, table[0] * n + table[1]]
        pick = flat.argmax(1)
        better = flat[q, pick] > here + 1e-12 * (1 + np.abs(flat[q, pick]))
        if not better.any():
            return table, g
        table = tuple(np.where(better, new, old) for new, old in zip(divmod(pick, n), table, strict=True))


def _occupation(choices, table):
    """Stationary law pi (m,) of a table, by detailed balance outwards from inventory 0."""
    up, down = choices.bid_rate[table[0]], choices.ask_rate[table[1]]
    centre = len(up) // 2
    right = np.cumprod(up[centre:-1] / down[centre + 1 :])
    left = np.cumprod(down[centre:0:-1] / up[centre - 1 :: -1])
    weights = np.concatenate([left[::-1], [1.0], right])
    return weights / weights.sum()


def _occupation_bounds(choices, table, value, bound):
    """low, high (m,): pi_q of every allowed table whose gain is at least `value`, that of `table`."""
    m = len(choices.running)
    low, high = np.zeros(m), np.ones(m)
    here = _occupation(choices, table)
    slack = bound - value + 1e-9 * abs(bound)
    for q in range(m):
        for nu in _MULTIPLIERS * (here[q] + 1e-12) / slack:
            for sign, ends in ((1.0, high), (-1.0, low)):
                reward = nu * choices.running
                reward[q] += sign
                _, g = _howard(choices, choices.allowed, table, reward, nu)
                end = sign * (g - nu * value)
                ends[q] = min(ends[q], end) if sign > 0 else max(ends[q], end)
    rounding = 1e-9
    return low * (1 - rounding), high * (1 + rounding)


def _refuse_conflicts(cp_model, choices, rules, seed):
    """A table that keeps all `rules`; ValueError naming a smallest set of them that conflicts if there is none."""
    names = [*rules] + (["monotone"] if choices.monotone else [])

    def check(active):
        model = cp_model.CpModel()
        held = {name: model.new_bool_var(name) for name in active}
        picks = _picks(model, choices.allowed)
        for name in active:
            if name == "monotone":
                _add_monotone(model, picks, held[name])
            else:
                for q, level in enumerate(picks):
                    model.add(sum(x for pair, x in level.items() if rules[name][q][pair]) == 0).only_enforce_if(
                        held[name]
                    )
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


def _branch(cp_model, choices, start, tolerance, effort, seed):
    """The best table found, its gain and a bound on the gain of every table, by rounds of cuts and CP-SAT."""
    free, bound = _howard(choices, choices.allowed, start)
    best, value = start, _of_table(choices, start)[0]
    bound += 1e-12 * abs(bound)
    cuts = [free]
    low = high = _occupation(choices, free)  # the first proposals only look for a good table
    proven = False
    while bound - value > tolerance * abs(bound) and effort > 0:
        seen = cuts if proven else cuts[-1:]
        proposal, limit, spent = _propose(cp_model, choices, seen, low, high, best, value, bound, proven, effort, seed)
        effort -= max(spent, 0.01)
        if proven:
            bound = min(bound, limit)
        if proposal is None:
            break
        gain_now = _of_table(choices, proposal)[0]
        cuts.append(proposal)
        if gain_now > value + 1e-12 * abs(value):
            best, value = proposal, gain_now
            low = high = _occupation(choices, best)
            proven = False
        elif not proven:
            low, high = _occupation_bounds(choices, best, value, bound)
            proven = True
    return best, float(value), float(max(bound, value))


def _propose(cp_model, choices, cuts, low, high, best, value, bound, proven, effort, seed):
    """CP-SAT's best table under the cuts, its bound on the gain, and the deterministic time spent."""
    allowed = choices.allowed
    unit = _UNITS / max(abs(bound), abs(value), 1e-300)
    limits = []
    for table in cuts:
        g, advantage = _of_table(choices, table)
        weight = np.where(advantage > 0, high[:, None, None], low[:, None, None])
        limits.append((g, np.where(allowed, weight * advantage, -np.inf)))
    if proven:
        for g, limit in limits:
            most = limit.max((1, 2))
            allowed = allowed & (g + limit + (most.sum() - most)[:, None, None] >= value - 1e-9 * abs(value))
    model = cp_model.CpModel()
    picks = _picks(model, allowed)
    if choices.monotone:
        _add_monotone(model, picks)
    top = int(np.ceil(bound * unit)) + 1 if proven else 2**60
    gain_limit = model.new_int_var(int(np.floor(value * unit)) - 1 if proven else -(2**60), top, "gain")
    for g, limit in limits:
        terms = [int(np.ceil(limit[q][pair] * unit)) * x for q, level in enumerate(picks) for pair, x in level.items()]
        model.add(gain_limit <= int(np.ceil(g * unit)) + sum(terms))
    model.maximize(gain_limit)
    start = best if proven else cuts[-1]
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


def _add_monotone(model, picks, held=None):
    for below, above in pairwise(picks):
        for side, sign in ((0, 1), (1, -1)):
            rise = sum(sign * pair[side] * x for pair, x in above.items())
            rule = model.add(rise >= sum(sign * pair[side] * x for pair, x in below.items()))
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
