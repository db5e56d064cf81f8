"""Stationary gain of tables of ticks: policy evaluation, policy iteration, and cuts with CP-SAT where choices are tied.

The equations are those of `ticks`. A cut bounds the gain G of every table by G <= g + sum_q c_q(x_q), x_q being the
pair chosen at q. CP-SAT takes integers, so G is counted in units of 1e-9 of the largest gain, and g and c are rounded
up: the largest G is a bound for the real problem too. Where monotone quotes cost money, CP-SAT is asked to improve on,
and to prove, a table that dynamic programming over the inventories finds from the cuts with pi(d) in place of pi(d').
"""

import numpy as np

from mmlib.market_making._cp_sat import Solver
from mmlib.market_making._tick_program import best_monotone

_MULTIPLIERS = 10.0 ** np.arange(-2, 4)
_UNITS = 10**9  # integer units of the largest gain in CP-SAT
_MOST_ITERATIONS = 1000  # of policy iteration, which takes some ten
BUILDING = 5e-6  #: effort that a pair of offsets and a cut take to be written into CP-SAT's model


def evaluated(bid_rate, ask_rate, bid_value, ask_value, running):
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


def of_table(choices, table, running=None, scale=1.0):
    """Gain of `table` = (bid, ask) offsets' indices, and R_q(d', p) − g of every pair, shape (m, n, n)."""
    bid, ask = table
    q = np.arange(len(bid))
    running = choices.running if running is None else running
    bid_value, ask_value = scale * choices.bid_value, scale * choices.ask_value
    bid_rate, ask_rate = choices.bid_rate, choices.ask_rate
    g, p = evaluated(bid_rate[bid], ask_rate[ask], bid_value[q, bid], ask_value[q, ask], running)
    bids = bid_rate * (bid_value - np.append(p, 0.0)[:, None])
    asks = ask_rate * (ask_value + np.append(0.0, p)[:, None])
    return g, bids[:, :, None] + asks[:, None, :] + (running - g)[:, None, None]


def howard(choices, table, running=None, scale=1.0):
    """The best table when each level is free in its allowed pairs, by policy iteration from `table`; and its gain."""
    m, n, _ = choices.allowed.shape
    q = np.arange(m)
    for _ in range(_MOST_ITERATIONS):
        g, advantage = of_table(choices, table, running, scale)
        flat = np.where(choices.allowed, advantage, -np.inf).reshape(m, -1)
        here = flat[q, table[0] * n + table[1]]
        pick = flat.argmax(1)
        rounding = 1e-13 * (np.max(np.abs(flat[choices.allowed.reshape(m, -1)])) + abs(g))
        better = flat[q, pick] > here + rounding
        if not better.any():
            return table, g
        table = tuple(np.where(better, new, old) for new, old in zip(divmod(pick, n), table, strict=True))
    raise ArithmeticError(f"policy iteration did not end in {_MOST_ITERATIONS} iterations")


def occupation(choices, table):
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
    here = occupation(choices, table)
    slack = bound - value + 1e-9 * abs(bound)
    for q in range(m):
        for nu in _MULTIPLIERS * (here[q] + 1e-12) / slack:
            for sign, ends in ((1.0, high), (-1.0, low)):
                reward = nu * choices.running
                reward[q] += sign
                _, g = howard(choices, table, reward, nu)
                end = sign * (g - nu * value)
                ends[q] = min(ends[q], end) if sign > 0 else max(ends[q], end)
    rounding = 1e-9
    return low * (1 - rounding), high * (1 + rounding)


def _cut(choices, table, low, high):
    """The cut of `table`: its gain and what each allowed pair adds, (m, n, n), currency/time; −inf where forbidden."""
    g, advantage = of_table(choices, table)
    weight = np.where(advantage > 0, high[:, None, None], low[:, None, None])
    return g, np.where(choices.allowed, weight * advantage, -np.inf)


def is_monotone(table):
    """Whether the bid's index never falls and the ask's never rises with inventory."""
    bid, ask = table
    return bool(np.all(np.diff(bid) >= 0) and np.all(np.diff(ask) <= 0))


def branch(choices, free, bound, tolerance, effort, seed):
    """The best monotone table found, its gain and a bound on the gain of every monotone one, by cuts and CP-SAT.

    `free`, of gain `bound`, is the best table when quotes need not be monotone.
    """
    bound += 1e-12 * abs(bound)
    best = _guess(choices, free)
    value = of_table(choices, best)[0]
    while (gain_now := of_table(choices, guess := _guess(choices, best))[0]) > value + 1e-12 * abs(value):
        best, value = guess, gain_now
    tables = [free]
    low = high = occupation(choices, free)  # the first proposals only look for a good table
    proven = False
    with Solver() as solver:
        while bound - value > tolerance * abs(bound) and effort > 0:
            cuts = [_cut(choices, table, low, high) for table in (tables if proven else tables[-1:])]
            hint = best if proven else tables[-1]
            proposal, limit, spent = _propose(solver, choices, cuts, hint, value, bound, proven, effort, seed)
            effort -= max(spent, 0.01) + BUILDING * choices.allowed.sum() * len(cuts)
            if proven:
                bound = min(bound, limit)
            if proposal is None:
                break
            gain_now = of_table(choices, proposal)[0]
            tables.append(proposal)
            if gain_now > value + 1e-12 * abs(value):
                best, value = proposal, gain_now
                low = high = occupation(choices, best)
                proven = False
            elif not proven:
                low, high = _occupation_bounds(choices, best, value, bound)
                proven = True
    return best, float(value), float(max(bound, value))


def _guess(choices, table):
    """The monotone table d with the largest sum_q pi_q (R_q(d, p) − g), pi, p and g being those of `table`."""
    worth = occupation(choices, table)[:, None, None] * of_table(choices, table)[1]
    return best_monotone(choices.allowed, worth)


def _propose(solver, choices, cuts, start, value, bound, proven, effort, seed):
    """CP-SAT's best table under the cuts, its bound on the gain, and the deterministic time spent.

    `cuts` are pairs (g, c), c of shape (m, n, n); `start` is a hint. If `proven`, the cuts hold for every table that
    earns at least `value`, so pairs that cannot reach it are left out, and the gain lies between `value` and `bound`.
    """
    allowed = choices.allowed
    unit = _UNITS / max(abs(bound), abs(value))
    if proven:
        for g, limit in cuts:
            most = limit.max((1, 2))
            allowed = allowed & (g + limit + (most.sum() - most)[:, None, None] >= value - 1e-9 * abs(value))
    status, table, limit, spent = solver.maximize(
        allowed=allowed,
        monotone=True,
        cuts=[(np.ceil(g * unit), np.ceil(limit * unit)) for g, limit in cuts],
        start=start,
        floor=int(np.floor(value * unit)) - 1 if proven else -(2**60),
        ceiling=int(np.ceil(bound * unit)) + 1 if proven else 2**60,
        effort=effort,
        seed=seed,
    )
    if table is None:
        return None, value if status == "infeasible" else bound, spent
    return tuple(np.array(side) for side in table), limit / unit, spent
