"""Compiled kernels of `simulate`: the two schemes. Path i of a seed has streams of its own (`numerics.streams`).

**Bernoulli.** One 64-bit word a step holds the three draws: bit 63 the direction of the mid, bits 32–62 the bid's
uniform, bits 0–30 the ask's. A side fills if its uniform u, an integer below 2³¹, is below the threshold T =
round(p·2³¹), so that the probability is p to within 2⁻³². Both comparisons are one subtraction: in (2³¹ + u) − T bit 31
stays 1 exactly if u >= T, and nothing is borrowed from the other half of the word. Paths go in lockstep, `LANES` at a
time, in loops without branches that the compiler turns into vector instructions; looking up tables has loops of its
own, since gathering is not vector work everywhere. The revaluation is drift·Σq + σ√dt·Σ±q over the steps; both
sums are whole numbers.

**Continuous.** The fills of a side are a unit Poisson process run at the side's cumulated rate (random time change): a
clock holds the hazard left until the next fill, and runs down at the rate of the row and inventory. Row by row, with
d = q − (q at the row's start) the mid's increment ΔW and ∫d dW are jointly normal given the fills:

    ∫d dW = ΔW·D/h + √(∫d² ds − D²/h)·Z,      D = ∫d ds,  h the row's length,

so two normals a row, from a stream that no quote touches, give mid and wealth on the table's times exactly in law.
"""

import math

import numpy as np
from numba import njit, prange

from mmlib.numerics.streams import first_state, next_state, word

LANES = 128
MID, BID, ASK = 0, 1, 2  # streams of a path; the Bernoulli scheme takes all its words from the first
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


@njit(parallel=True, cache=True)
def continuous(seed, paths, start, lowest, lengths, rates, spreads, tolls, landings, market, units, samples):
    """Simulate the continuous-time scheme.

    Parameters
    ----------
    seed, paths, start, lowest, samples : int
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
        Spread, revaluation, tolls, drawdown on the table's times.
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
    money, counts = np.empty((4, paths)), np.empty((3, paths), np.int64)
    sample_wealth, sample_mid = np.zeros((samples, steps + 1)), np.zeros((samples, steps + 1))
    sample_inventory = np.full((samples, steps + 1), start)
    for path in prange(paths):
        state = np.empty((3, 2), np.uint64)
        for stream in range(3):
            state[stream, 0], state[stream, 1] = first_state(seed, path, stream)
        k = start - lowest
        bids, asks = 0, 0
        spread, revaluation, toll, mid, peak, fall = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        bid_clock, ask_clock = _exponential(state, BID), _exponential(state, ASK)
        for i in range(steps):
            h = lengths[i]
            entered, left, area, square = k, h, 0.0, 0.0
            while True:
                bid_rate, ask_rate = bid_rates[i, k], ask_rates[i, k]
                next_bid = bid_clock / bid_rate if bid_rate > 0 else math.inf
                next_ask = ask_clock / ask_rate if ask_rate > 0 else math.inf
                wait = min(left, next_bid, next_ask)
                d = k - entered
                area += d * wait
                square += d * d * wait
                bid_clock -= bid_rate * wait
                ask_clock -= ask_rate * wait
                if wait == left:
                    break
                left -= wait
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
            radius = math.sqrt(2 * h * _exponential(state, MID))
            angle = 2 * math.pi * float(_draw(state, MID) >> np.uint64(11)) * 2.0**-53
            move = mu * h + sigma * radius * math.cos(angle)
            residual = max(square / h - (area / h) ** 2, 0.0)  # a variance; below 0 by rounding only
            held = entered + lowest
            revaluation += size * ((held + area / h) * move + sigma * math.sqrt(residual) * radius * math.sin(angle))
            mid += move
            if i == steps - 1:
                toll += liquidation * abs(k + lowest)
            wealth = spread + revaluation - toll
            peak = max(peak, wealth)
            fall = max(fall, peak - wealth)
            if path < samples:
                sample_wealth[path, i + 1] = wealth
                sample_mid[path, i + 1] = mid
                sample_inventory[path, i + 1] = k + lowest
        money[0, path], money[1, path], money[2, path], money[3, path] = spread, revaluation, toll, fall
        counts[0, path], counts[1, path], counts[2, path] = k + lowest, bids, asks
    return money, counts, sample_wealth, sample_inventory, sample_mid
