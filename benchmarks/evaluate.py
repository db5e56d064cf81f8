"""The exact law of a profit with drift, and its third and fourth moments: processor time and ratio, in one run.

    python benchmarks/evaluate.py

**Law.** Five inventories, one row, a drift of .39 over a time of 2, tolerance 1e-6. At the frequency u the drift
turns the phase of inventory q at the speed u·q·mu. The plain route takes a step for each half a radian of it; mmlib
takes none for what has decayed before it turns. The two distribution functions must agree to the tolerance.

**Moments.** `evaluate.moments` computes four orders, for the table of 200 rows of the chapter on strategies. Beside it
stand the same calls with two orders, written out here: in continuous time the kernel stops at the second, in steps the
recursion has no more.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numba import njit

from mmlib.market_making import Market, evaluate, glft, strategies
from mmlib.market_making._fills import continuous_fills, rates_and_gains, step_gains, steps
from mmlib.market_making._kernels import chain
from mmlib.numerics.generator import jump_matrix, phi

MARKET = Market(sigma=0.1, A=3.0, k=1.0, mu=0.39)
QUOTES = strategies.constant_spread(0.3, horizon=2.0, max_inventory=2, steps=1)
TOLERANCE = 1e-6
AS = Market(sigma=2.0, A=140.0, k=1.5)
TABLE = glft.closed_form_quotes(AS, gamma=0.1, horizon=1.0, max_inventory=20, steps=200)
CENTRE = 20  # index of inventory 0


@njit(cache=True, nogil=True)
def turned(dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, s, weights, u):
    """E[exp(iu·profit)] from each inventory, and the steps: so many that nothing turns by more than ½ in one."""
    m, taken = len(carry), 0
    value = np.ones(m, np.complex128)
    for i in range(len(dt) - 1, -1, -1):
        up, down = bid_rate[i] * np.exp(1j * u * bid_gain[i]), ask_rate[i] * np.exp(1j * u * ask_gain[i])
        diagonal = 1j * u * carry - 0.5 * u * u * variance - bid_rate[i] - ask_rate[i]
        fills = np.max(np.abs(up.imag) + np.abs(down.imag))
        n = max(1, int(np.ceil(2 * dt[i] * (np.max(np.abs(u * carry)) + fills))))
        matrix = jump_matrix(up, bid_to, down, ask_to, diagonal)
        for _ in range(n):
            value = value + phi(
                dt[i] / n, matrix, diagonal * value + up * value[bid_to] + down * value[ask_to], s, weights
            )
        taken += n
    return value, taken


def law_by_turns(law, frequencies):
    """The same law from the plain route's characteristic function at its frequencies, and the steps taken."""
    rates, gains = rates_and_gains(MARKET, QUOTES, continuous_fills(MARKET, QUOTES))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(partial(turned, *rates, *gains, chain.NODES, chain.WEIGHTS), frequencies))
    values = np.array([value[QUOTES.inventory == 0][0] for value, _ in found])
    plain = evaluate.ProfitLaw(law.atom, law.low, law.high, frequencies, values - law.atom, law.tolerance)
    return plain, sum(n for _, n in found)


@njit(cache=True)
def two_backward(bid, ask, bid_gain, ask_gain, both_gain, bid_to, ask_to, variance):
    """Mean and variance from each inventory in the scheme of steps, as the library's kernel, without orders 3 and 4."""
    n, m = bid.shape
    mean, second = np.zeros(m), np.zeros(m)
    for i in range(n - 1, -1, -1):
        second += variance
        new = np.zeros((2, m))
        for q in range(m):
            b, a, up, down = bid[i, q], ask[i, q], bid_to[q], ask_to[q]
            outcomes = (
                ((1 - b) * (1 - a), mean[q], q),
                (b * (1 - a), bid_gain[i, q] + mean[up], up),
                ((1 - b) * a, ask_gain[i, q] + mean[down], down),
                (b * a, both_gain[i, q] + mean[q], q),
            )
            for p, value, _ in outcomes:
                new[0, q] += p * value
            for p, value, to in outcomes:
                new[1, q] += p * (second[to] + (value - new[0, q]) ** 2)
        mean, second = new
    return np.stack((mean, second))


def two_in_steps():
    """What `evaluate.moments` does in the Bernoulli scheme, but for orders 3 and 4."""
    f, bid, ask, dt = steps(AS, TABLE)
    variance = (TABLE.inventory * AS.sigma) ** 2 * dt
    mean, second = two_backward(bid, ask, *step_gains(f), f.bid_to, f.ask_to, variance)[:, CENTRE]
    law, bid_law, ask_law, (before, _) = chain.bernoulli_forward(f, bid, ask, CENTRE)
    spread = np.sum(before * bid * f.bid_spread) + np.sum(before * ask * f.ask_spread)
    toll = np.sum(bid_law * f.bid_toll) + np.sum(ask_law * f.ask_toll)
    return mean, np.sqrt(second), spread, toll, law


def two_in_continuous_time():
    """The same for continuous time: the library's kernel stopped at the second order."""
    f = continuous_fills(AS, TABLE)
    rates, gains = rates_and_gains(AS, TABLE, f)
    final = np.zeros(len(TABLE.inventory))
    mean, second = chain.moments_backward(*rates, *gains, final, CENTRE, 2, *evaluate.REAL_CONTOUR)
    law, held = chain.occupancy_forward(*rates, CENTRE, *evaluate.REAL_CONTOUR)
    spread = np.sum(held * (f.bid_rate * f.bid_spread + f.ask_rate * f.ask_spread))
    toll = np.sum(held * (f.bid_rate * f.bid_toll + f.ask_rate * f.ask_toll))
    return mean, np.sqrt(second), spread, toll, law


def timed_in_turn(*functions, rounds=15):
    """Milliseconds of processor of each, best of `rounds` in which each has its turn, and what they return."""
    best = np.full(len(functions), np.inf)
    for turn in range(rounds + 1):  # the first compiles
        found = []
        for i, function in enumerate(functions):
            start = time.process_time()
            found.append(function())
            if turn:
                best[i] = min(best[i], time.process_time() - start)
    return 1e3 * best, found


def main():
    for scheme, two in (("continuous", two_in_continuous_time), ("bernoulli", two_in_steps)):
        (four_ms, two_ms), (four, (mean, std, *_)) = timed_in_turn(partial(evaluate.moments, AS, TABLE, scheme), two)
        if not np.allclose((four.mean, four.std), (mean, std), rtol=1e-12, atol=0):
            raise SystemExit(f"{scheme}: other moments: {four.mean}, {four.std} and {mean}, {std}")
        print(f"moments, {scheme:10}  four {four_ms:6.2f} ms, two {two_ms:6.2f} ms, ratio {four_ms / two_ms:.2f}")

    (ms,), (law,) = timed_in_turn(partial(evaluate.profit_law, MARKET, QUOTES, tolerance=TOLERANCE), rounds=3)
    law_by_turns(law, law.frequencies[:1])  # compile
    start = time.process_time()
    plain, taken = law_by_turns(law, law.frequencies)
    plain_ms = 1e3 * (time.process_time() - start)
    x = np.linspace(law.low, law.high, 1001)
    apart = np.max(np.abs(law.cdf(x) - plain.cdf(x)))
    if apart > TOLERANCE:
        raise SystemExit(f"two laws: distribution functions are {apart:.1e} apart")
    print(f"law, {len(law.frequencies)} frequencies: mmlib {ms:.0f} ms; a step for each half radian ({taken} of them)")
    print(f"  {plain_ms:.0f} ms, ratio {plain_ms / ms:.1f}; distribution functions {apart:.0e} apart")


if __name__ == "__main__":
    main()
