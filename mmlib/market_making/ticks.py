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

All rules but monotone quotes look at one inventory at a time. Where policy iteration under these ends in monotone
quotes it has the answer, with its proof, and CP-SAT is not asked. Elsewhere it is asked to improve on, and to prove, a
table that dynamic programming over the inventories finds from the cuts with pi(d) in place of pi(d').
"""

from typing import NamedTuple

import numpy as np

from mmlib.checks import integer, nonnegative, positive
from mmlib.market_making._tick_program import load_cp_model, problem, propose, refuse_conflicts
from mmlib.market_making.quotes import Quotes

_MULTIPLIERS = 10.0 ** np.arange(-2, 4)
BUILDING = 5e-6  #: effort that a pair of offsets and a cut take to be written into CP-SAT's model


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
        Limit of CP-SAT's deterministic time and of that of writing its models (the same on every machine, of the order
        of a second), > 0.
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
    cp_model = load_cp_model()
    q, distance, choices, rules = problem(
        market, phi, tick, max_inventory, offsets, lot, mid, monotone, min_spread, max_spread, obligation, max_rate
    )
    horizon = positive("horizon", horizon, "end of trading, time")
    tolerance = nonnegative("tolerance", tolerance, "relative gap")
    effort = positive("effort", effort, "CP-SAT's deterministic time")
    seed = integer("seed", seed, least=0, most=2**31 - 1)
    forbidden = np.any([np.zeros_like(choices.allowed), *rules.values()], axis=0)
    kept = choices._replace(allowed=choices.allowed & ~forbidden)
    some = divmod(kept.allowed.reshape(len(q), -1).argmax(1), kept.allowed.shape[2])  # any pair at each inventory
    possible = bool(kept.allowed.any((1, 2)).all())
    free, value = _howard(kept, some) if possible else (None, None)
    if possible and (not monotone or _is_monotone(free)):
        best, bound = free, value + 1e-12 * abs(value)
    else:
        start = refuse_conflicts(cp_model, choices, rules, seed)
        best, value, bound = _branch(cp_model, kept, start, free, value, tolerance, effort, seed)
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
    from mmlib.market_making._fills import fills

    phi = nonnegative("phi", phi, "running penalty, currency/(units² time)")
    q = quotes.inventory
    back = np.where(q > 0, quotes.ask[0], quotes.bid[0])[q != 0]
    if len(quotes.times) != 1 or q[0] != -q[-1] or quotes.limit is not None or np.any(np.isnan(back)):
        raise ValueError("quotes must be one row over -Q, ..., Q, quoted on the side that brings inventory back to 0")
    f = fills(market, quotes)
    running = market.mu * quotes.size * q - phi * (quotes.size * q) ** 2
    values = f.bid_spread[0] - f.bid_toll, f.ask_spread[0] - f.ask_toll
    return _evaluate(f.bid_rate[0], f.ask_rate[0], *values, running)[0]


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


def _howard(choices, table, running=None, scale=1.0):
    """The best table when each level is free in its allowed pairs, by policy iteration from `table`; and its gain."""
    m, n, _ = choices.allowed.shape
    q = np.arange(m)
    while True:
        g, advantage = _of_table(choices, table, running, scale)
        flat = np.where(choices.allowed, advantage, -np.inf).reshape(m, -1)
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


def _best_monotone(choices, table):
    """The monotone table d with the largest sum_q pi_q (R_q(d, p) − g), pi, p and g being those of `table`.

    From inventory to inventory upwards; the best of all pairs before (b, a) is a running maximum over smaller b and
    larger a.
    """
    worth = _occupation(choices, table)[:, None, None] * _of_table(choices, table)[1]
    totals = [np.where(choices.allowed[0], worth[0], -np.inf)]
    for q in range(1, len(worth)):
        before = np.maximum.accumulate(totals[-1], axis=0)
        before = np.maximum.accumulate(before[:, ::-1], axis=1)[:, ::-1]
        totals.append(np.where(choices.allowed[q], worth[q] + before, -np.inf))
    b, a, pairs = len(worth[0]), 0, []
    for total in reversed(totals):
        part = total[: b + 1, a:]
        b, ahead = np.unravel_index(part.argmax(), part.shape)
        a += ahead
        pairs.append((b, a))
    return tuple(np.array(side) for side in zip(*reversed(pairs), strict=True))


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
                _, g = _howard(choices, table, reward, nu)
                end = sign * (g - nu * value)
                ends[q] = min(ends[q], end) if sign > 0 else max(ends[q], end)
    rounding = 1e-9
    return low * (1 - rounding), high * (1 + rounding)


def _cut(choices, table, low, high):
    """The cut of `table`: its gain and what each allowed pair adds, (m, n, n), currency/time; −inf where forbidden."""
    g, advantage = _of_table(choices, table)
    weight = np.where(advantage > 0, high[:, None, None], low[:, None, None])
    return g, np.where(choices.allowed, weight * advantage, -np.inf)


def _is_monotone(table):
    bid, ask = table
    return bool(np.all(np.diff(bid) >= 0) and np.all(np.diff(ask) <= 0))


def _branch(cp_model, choices, start, free, bound, tolerance, effort, seed):
    """The best table found, its gain and a bound on the gain of every table, by rounds of cuts and CP-SAT.

    `start` keeps all rules; `free`, of gain `bound`, is the best table when quotes need not be monotone.
    """
    best, value = start, _of_table(choices, start)[0]
    bound += 1e-12 * abs(bound)
    guess = _best_monotone(choices, free)
    while (gain_now := _of_table(choices, guess)[0]) > value + 1e-12 * abs(value):
        best, value = guess, gain_now
        guess = _best_monotone(choices, best)
    tables = [free]
    low = high = _occupation(choices, free)  # the first proposals only look for a good table
    proven = False
    while bound - value > tolerance * abs(bound) and effort > 0:
        cuts = [_cut(choices, table, low, high) for table in (tables if proven else tables[-1:])]
        hint = best if proven else tables[-1]
        proposal, limit, spent = propose(cp_model, choices, cuts, hint, value, bound, proven, effort, seed)
        effort -= max(spent, 0.01) + BUILDING * choices.allowed.sum() * len(cuts)
        if proven:
            bound = min(bound, limit)
        if proposal is None:
            break
        gain_now = _of_table(choices, proposal)[0]
        tables.append(proposal)
        if gain_now > value + 1e-12 * abs(value):
            best, value = proposal, gain_now
            low = high = _occupation(choices, best)
            proven = False
        elif not proven:
            low, high = _occupation_bounds(choices, best, value, bound)
            proven = True
    return best, float(value), float(max(bound, value))
