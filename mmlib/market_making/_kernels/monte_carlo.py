"""Compiled kernels of `simulate`: the two schemes. Path i of a seed has streams of its own (`numerics.streams`).

**Bernoulli.** One 64-bit word a step holds the three draws: bit 63 the direction of the mid, bits 32–62 the bid's
uniform, bits 0–30 the ask's. A side fills if its uniform u, an integer below 2³¹, is below the threshold T =
round(p·2³¹), so that the probability is p to within 2⁻³². Both comparisons are one subtraction: in (2³¹ + u) − T bit 31
stays 1 exactly if u >= T, and nothing is borrowed from the other half of the word. Paths go in lockstep, `LANES` at a
time, in loops without branches that the compiler turns into vector instructions; looking up tables has loops of its
own, since gathering is not vector work everywhere. The revaluation is drift·Σq + σ√dt·Σ±q over the steps; both
sums are whole numbers.

**Continuous.** The fills of a side are a unit Poisson process run at the side's cumulated rate (random time change): a
clock holds the hazard left until the next fill, and runs down at the rate of the row and inventory. The mid's increment
over a row comes from a stream that no quote touches; inside the row the mid is the Brownian bridge to that increment,
drawn at the fills. So mid, inventory and wealth are exact in law at every fill and time of the table. Between two of
them, a to b with variance v = (size·q·sigma)²·wait, the wealth is a Brownian bridge too, and

    max = (a + b + √((b − a)² + 2 v E))/2,      min = (a + b − √((b − a)² + 2 v E'))/2,       E, E' exponential,

have its exact laws (E >= 2 (peak − a)(peak − b)/v if and only if a peak is passed: mostly nothing need be drawn).
"""

import math

import numpy as np
from numba import njit, prange

from mmlib.numerics.streams import first_state, next_state, word

LANES = 128
MID, BID, ASK, BRIDGE, EXTREMES = 0, 1, 2, 3, 4  # streams of a path; the Bernoulli scheme takes its words from MID
_OTHER_SEEDS = np.uint64(2**63)  # seeds end below it: the fifth stream is the MID of a seed that nobody can ask for
_LONGEST = 53 * math.log(2.0)  # no draw of `_exponential` is above it
_GUARDS = np.uint64(0x8000000080000000)


@njit(parallel=True, cache=True)
def bernoulli(seed, paths, start, lowest, thresholds, gains, cut, units, follow, samples):
    """Simulate the Bernoulli scheme.

    Parameters
    ----------
    seed, paths, start, lowest : int
        `start` is the inventory at time 0, `lowest` the grid's first inventory.
    thresholds : ndarray of uint64, shape (n, m)
        round(p·2³¹) of the bid in the upper and of the ask in the lower half of each word.
    gains : ndarray, shape (n, 4m)
        Spread earned at 4·(inventory index) + 2·(bid not filled) + (ask not filled).
    cut : tuple of int
        Limit and target: beyond ±limit the inventory is brought to ±target.
    units : tuple of float
        Currency an order and step of drift, an order and step of the mid's move, a cut, an order held at the horizon.
    follow : bool
        Whether to follow the drawdown; it is NaN otherwise.
    samples : int
        Number of first paths of which to record wealth and inventory at the n + 1 times.

    Returns
    -------
    money : ndarray, shape (4, paths)
        Spread, revaluation, tolls, drawdown on the steps.
    counts : ndarray of int64, shape (3, paths)
        Inventory at the horizon, bid fills, ask fills.
    wealth, inventory : ndarray, shape (samples, n + 1)
    """
    steps = thresholds.shape[0]
    limit, target = cut
    drift, swing, toll, liquidation = units
    money, counts = np.full((4, paths), np.nan), np.empty((3, paths), np.int64)
    sample_wealth, sample_inventory = np.zeros((samples, steps + 1)), np.full((samples, steps + 1), start)
    for block in prange((paths + LANES - 1) // LANES):
        first = block * LANES
        used = min(LANES, paths - first)
        recorded = min(max(samples - first, 0), used)
        state, threshold, outcome = (
            np.empty((2, LANES), np.uint64),
            np.empty(LANES, np.uint64),
            np.empty(LANES, np.uint64),
        )
        inventory, count = np.full(LANES, start), np.zeros((2, LANES), np.int64)
        spread, held, swung, tolls = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
        wealth, peak, fall = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
        for j in range(LANES):
            state[0, j], state[1, j] = first_state(seed, first + j, MID)
        for i in range(steps):
            for j in range(LANES):
                threshold[j] = thresholds[i, np.uint64(inventory[j] - lowest)]
            for j in range(LANES):
                bits = word(state[0, j], state[1, j])
                state[0, j], state[1, j] = next_state(state[0, j], state[1, j])
                q = inventory[j]
                unfilled = (bits | _GUARDS) - threshold[j]
                no_bid, no_ask = unfilled >> np.uint64(63), (unfilled >> np.uint64(31)) & np.uint64(1)
                outcome[j] = (np.uint64(q - lowest) << np.uint64(2)) + no_bid + no_bid + no_ask
                count[0, j] += np.int64(no_bid)
                count[1, j] += np.int64(no_ask)
                q += np.int64(no_ask) - np.int64(no_bid)
                over = abs(q) > limit
                tolls[j] += toll if over else 0.0
                if over:
                    q = target if q > 0 else -target
                inventory[j] = q
                carried = np.float64(np.int32(q))  # through 32 bits, for which every processor has the instruction
                held[j] += carried
                swung[j] += carried if bits >> np.uint64(63) else -carried
            for j in range(LANES):
                spread[j] += gains[i, outcome[j]]
            if i == steps - 1:
                for j in range(LANES):
                    tolls[j] += liquidation * abs(inventory[j])
            if follow or recorded > 0:
                for j in range(LANES):
                    now = spread[j] + (drift * held[j] + swing * swung[j]) - tolls[j]
                    wealth[j] = now
                    peak[j] += max(now - peak[j], 0.0)
                    fall[j] += max(peak[j] - now - fall[j], 0.0)
                for j in range(recorded):
                    sample_wealth[first + j, i + 1] = wealth[j]
                    sample_inventory[first + j, i + 1] = inventory[j]
        for j in range(used):
            path = first + j
            money[0, path] = spread[j]
            money[1, path] = drift * held[j] + swing * swung[j]
            money[2, path] = tolls[j]
            if follow:
                money[3, path] = fall[j]
            counts[0, path], counts[1, path], counts[2, path] = inventory[j], steps - count[0, j], steps - count[1, j]
    return money, counts, sample_wealth, sample_inventory


@njit(cache=True, inline="always")
def _draw(state, stream):
    x, y = state[stream, 0], state[stream, 1]
    state[stream, 0], state[stream, 1] = next_state(x, y)
    return word(x, y)


@njit(cache=True, inline="always")
def _exponential(state, stream):
    """−ln u, u uniform on (0, 1]."""
    return -math.log(float((_draw(state, stream) >> np.uint64(11)) + np.uint64(1)) * 2.0**-53)


@njit(cache=True, inline="always")
def _normal(state, stream):
    radius = math.sqrt(2 * _exponential(state, stream))
    return radius * math.cos(2 * math.pi * float(_draw(state, stream) >> np.uint64(11)) * 2.0**-53)


@njit(cache=True, inline="always")
def _beyond(state, level, a, b, variance):
    """How far a Brownian bridge from a to b, of `variance` over its time, passes `level` upwards; 0 if it does not."""
    from_a, from_b = level - a, level - b
    if from_a > 0 and from_b > 0 and 2 * from_a * from_b > _LONGEST * variance:
        return 0.0
    rise = (b - a) ** 2 + 2 * variance * _exponential(state, EXTREMES)
    return max((math.sqrt(rise) - from_a - from_b) / 2, 0.0)


@njit(parallel=True, cache=True)
def continuous(seed, paths, start, lowest, lengths, rates, spreads, tolls, landings, market, units, follow, samples):
    """Simulate the continuous-time scheme.

    Parameters
    ----------
    seed, paths, start, lowest, follow, samples
        As for `bernoulli`.
    lengths : ndarray, shape (n,)
        Length of the rows, time.
    rates, spreads, tolls, landings : pairs of ndarray
        Of bid and ask, as in `fills.Fills`: the first two of shape (n, m), the others (m,).
    market : tuple of float
        mu, sigma and impact.
    units : tuple of float
        Units an order, and currency charged a |q| at the horizon.

    Returns
    -------
    money : ndarray, shape (4, paths)
        Spread, revaluation, tolls, drawdown.
    counts : ndarray of int64, shape (3, paths)
        Inventory at the horizon, bid fills, ask fills.
    wealth, inventory, mid : ndarray, shape (samples, n + 1)
        On the table's times and the horizon; the mid less its start.
    """
    steps = len(lengths)
    (bid_rates, ask_rates), (bid_spreads, ask_spreads) = rates, spreads
    (bid_tolls, ask_tolls), (bid_to, ask_to) = tolls, landings
    mu, sigma, impact = market
    size, liquidation = units
    money, counts = np.full((4, paths), np.nan), np.empty((3, paths), np.int64)
    sample_wealth, sample_mid = np.zeros((samples, steps + 1)), np.zeros((samples, steps + 1))
    sample_inventory = np.full((samples, steps + 1), start)
    for path in prange(paths):
        state = np.empty((5, 2), np.uint64)
        for stream in range(4):
            state[stream, 0], state[stream, 1] = first_state(seed, path, stream)
        state[EXTREMES, 0], state[EXTREMES, 1] = first_state(np.uint64(seed) + _OTHER_SEEDS, path, MID)
        k = start - lowest
        bids, asks = 0, 0
        spread, revaluation, toll, mid, peak, fall = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        bid_clock, ask_clock = _exponential(state, BID), _exponential(state, ASK)
        for i in range(steps):
            left, first = lengths[i], True
            radius = math.sqrt(2 * _exponential(state, MID))
            angle = 2 * math.pi * float(_draw(state, MID) >> np.uint64(11)) * 2.0**-53
            ahead = mu * left + sigma * math.sqrt(left) * radius * math.cos(angle)
            mid += ahead
            while True:
                bid_rate, ask_rate = bid_rates[i, k], ask_rates[i, k]
                next_bid = bid_clock / bid_rate if bid_rate > 0 else math.inf
                next_ask = ask_clock / ask_rate if ask_rate > 0 else math.inf
                wait = min(left, next_bid, next_ask)
                bid_clock -= bid_rate * wait
                ask_clock -= ask_rate * wait
                move = ahead
                if wait < left:
                    normal = radius * math.sin(angle) if first else _normal(state, BRIDGE)
                    move = ahead * (wait / left) + sigma * math.sqrt(wait * (1 - wait / left)) * normal
                    first = False
                held = size * (k + lowest)
                before = spread + revaluation - toll
                revaluation += held * move
                if follow:
                    wealth, variance = spread + revaluation - toll, (held * sigma) ** 2 * wait
                    if variance > 0:
                        fall += _beyond(state, fall - peak, -before, -wealth, variance)
                        peak += _beyond(state, peak, before, wealth, variance)
                    peak = max(peak, wealth)
                    fall = max(fall, peak - wealth)
                if wait == left:
                    break
                left -= wait
                ahead -= move
                if next_bid <= next_ask:
                    bids += 1
                    spread += bid_spreads[i, k]
                    toll += bid_tolls[k]
                    k = bid_to[k]
                    mid -= impact
                    bid_clock = _exponential(state, BID)
                else:
                    asks += 1
                    spread += ask_spreads[i, k]
                    toll += ask_tolls[k]
                    k = ask_to[k]
                    mid += impact
                    ask_clock = _exponential(state, ASK)
                if follow:
                    wealth = spread + revaluation - toll
                    peak = max(peak, wealth)
                    fall = max(fall, peak - wealth)
            if i == steps - 1:
                toll += liquidation * abs(k + lowest)
            if path < samples:
                sample_wealth[path, i + 1] = spread + revaluation - toll
                sample_mid[path, i + 1] = mid
                sample_inventory[path, i + 1] = k + lowest
        money[0, path], money[1, path], money[2, path] = spread, revaluation, toll
        if follow:
            money[3, path] = max(fall, peak - (spread + revaluation - toll))
        counts[0, path], counts[1, path], counts[2, path] = k + lowest, bids, asks
    return money, counts, sample_wealth, sample_inventory, sample_mid
