"""The inventory as a Markov chain: expectations over one row of a quote table after the other.

While a row of quotes holds, the inventory q jumps to `bid_to[q]` at rate `bid_rate[q]` and to `ask_to[q]` at rate
`ask_rate[q]`: a generator L of `mmlib.numerics.generator`, tridiagonal but for the ends of a hard limit that cuts back
past its neighbour. Quotes far through the mid fill at once, so rates span many orders of magnitude; exp(hL) is applied
by that module's contour, with nodes `s` and `weights`.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numba import njit

from mmlib.numerics.generator import (
    NODES,
    REAL_NODES,
    REAL_WEIGHTS,
    WEIGHTS,
    jump_matrix,
    largest_eigenvalue_bound,
    phi,
    resolvent,
    transposed,
    width,
)

__all__ = [
    "NODES",
    "REAL_NODES",
    "REAL_WEIGHTS",
    "WEIGHTS",
    "bernoulli_backward",
    "bernoulli_forward",
    "characteristic_function",
    "exponential_values",
    "moments_backward",
    "occupancy_forward",
]


TRIES = 1_000_000  # steps after which an expectation is given up: some 10 s for 61 inventories


@njit(cache=True)
def exponential_values(dt, bid_rate, ask_rate, bid_to, ask_to, bid_log, ask_log, own, final, s, weights):
    """ln E[exp(z·profit)] at time 0 from each inventory, shape (m,), for a real z.

    `bid_log`, `ask_log` (n, m) are z·gain, `own` (m,) is z·carry + ½ z²·variance and `final` (m,) the log at the end.
    With E = e^d, each step starts from the vector 1 and the matrix e^(−d) L e^d, shifted so that its spectrum is
    negative, and is cut to an eighth until no value changes by more than a factor 100 after the shift: so each keeps
    its relative accuracy to 1e-12, whatever its size. NaN if that takes more than TRIES steps.
    """
    m, tries = len(final), 0
    d, up, down, rate, diagonal = final.copy(), np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m)
    for i in range(len(dt) - 1, -1, -1):
        left = h = dt[i]
        while left > 0:
            top = quoted = 0.0
            for q in range(m):
                up[q], down[q] = 0.0, 0.0
                rate[q] = own[q]
                if bid_rate[i, q] > 0:
                    jump = bid_log[i, q] + d[bid_to[q]] - d[q]
                    up[q] = bid_rate[i, q] * np.exp(jump)
                    rate[q] += bid_rate[i, q] * np.expm1(jump)
                if ask_rate[i, q] > 0:
                    jump = ask_log[i, q] + d[ask_to[q]] - d[q]
                    down[q] = ask_rate[i, q] * np.exp(jump)
                    rate[q] += ask_rate[i, q] * np.expm1(jump)
                diagonal[q] = own[q] - bid_rate[i, q] - ask_rate[i, q]
                quoted = max(quoted, bid_rate[i, q], ask_rate[i, q])
                top = rate[q] if q == 0 else max(top, rate[q])
            if quoted == 0:
                for q in range(m):
                    d[q] += left * own[q]
                break
            top = min(top, largest_eigenvalue_bound(jump_matrix(up, bid_to, down, ask_to, diagonal)))
            for q in range(m):
                diagonal[q] -= top
                rate[q] -= top
            matrix = jump_matrix(up, bid_to, down, ask_to, diagonal)
            low = high = -1.0
            while low < -0.99 or high > 99:
                tries += 1
                if tries > TRIES or not np.isfinite(top):
                    return np.full(m, np.nan)
                change = phi(h, matrix, rate, s, weights)
                low = high = change[0].real
                for q in range(m):
                    low, high = min(low, change[q].real), max(high, change[q].real)
                tried = h
                h /= 8
            h = tried
            for q in range(m):
                d[q] += h * top + np.log1p(change[q].real)
            left -= h
            h = min(8 * h, left)
    return d


def characteristic_function(u, *chain):
    """E[exp(iu·profit)] for each of `u`, from each inventory, shape (len(u), m); `chain` as in `_fourier`.

    One frequency is one task of a pool of threads: the numbers do not depend on how many there are.
    """
    with ThreadPoolExecutor() as pool:
        return np.array(list(pool.map(partial(_fourier, *chain), u)))


@njit(cache=True, nogil=True)
def _fourier(dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, final, s, weights, u):
    """E[exp(iu·profit)] from each inventory, shape (m,).

    The gains turn the phases of the entries of L, and its spectrum leaves the real axis: a row is split so that it
    stays within ½.
    """
    m = len(final)
    value, slope = np.exp(1j * u * final), np.empty(m, np.complex128)
    up, down, diagonal = np.empty(m, np.complex128), np.empty(m, np.complex128), np.empty(m, np.complex128)
    for i in range(len(dt) - 1, -1, -1):
        for q in range(m):
            up[q] = bid_rate[i, q] * np.exp(1j * u * bid_gain[i, q])
            down[q] = ask_rate[i, q] * np.exp(1j * u * ask_gain[i, q])
            diagonal[q] = 1j * u * carry[q] - 0.5 * u * u * variance[q] - bid_rate[i, q] - ask_rate[i, q]
        matrix = jump_matrix(up, bid_to, down, ask_to, diagonal)
        steps = max(1, int(np.ceil(2 * dt[i] * width(matrix))))
        for _ in range(steps):
            for q in range(m):
                slope[q] = diagonal[q] * value[q] + up[q] * value[bid_to[q]] + down[q] * value[ask_to[q]]
            change = phi(dt[i] / steps, matrix, slope, s, weights)
            for q in range(m):
                value[q] += change[q]
    return value


@njit(cache=True)
def moments_backward(dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, final, s, weights):
    """Mean and variance of the profit from each inventory, shape (2, m).

    M1' = L M1 + r1 and M2' = L M2 + 2 B M1 + r2 in time to go, with B M1 = Σ rate·gain·M1(to) + carry·M1,
    r1 = Σ rate·gain + carry and r2 = Σ rate·gain² + variance. After each row the profit is measured from its mean at
    the middle of the grid, so that the variance is never the small difference of two large numbers.
    """
    m, total = len(final), 0.0
    first, second = final.copy(), final**2
    slope1, slope2, change1, change2 = np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m)
    x, y = np.zeros(m, np.complex128), np.zeros(m, np.complex128)
    for i in range(len(dt) - 1, -1, -1):
        h, matrix = dt[i], jump_matrix(bid_rate[i], bid_to, ask_rate[i], ask_to, -bid_rate[i] - ask_rate[i])
        for q in range(m):
            change1[q], change2[q] = 0.0, 0.0
            slope1[q], slope2[q] = carry[q], variance[q] + 2 * carry[q] * first[q]
            for rate, gain, to in (
                (bid_rate[i, q], bid_gain[i, q], bid_to[q]),
                (ask_rate[i, q], ask_gain[i, q], ask_to[q]),
            ):
                slope1[q] += rate * (gain + first[to] - first[q])
                slope2[q] += rate * (gain * gain + 2 * gain * first[to] + second[to] - second[q])
        for node in range(len(s)):
            for q in range(m):
                x[q] = h * slope1[q]
            resolvent(s[node], h, matrix, x)
            for q in range(m):
                coupled = carry[q] * x[q] + bid_rate[i, q] * bid_gain[i, q] * x[bid_to[q]]
                y[q] = h * (slope2[q] + 2 * (coupled + ask_rate[i, q] * ask_gain[i, q] * x[ask_to[q]]))
            resolvent(s[node], h, matrix, y)
            for q in range(m):
                change1[q] += (weights[node] * x[q]).real
                change2[q] += (weights[node] * y[q]).real
        centre = first[m // 2] + change1[m // 2]
        total += centre
        for q in range(m):
            first[q] += change1[q] - centre
            second[q] += change2[q] - centre * (centre + 2 * first[q])
    return total + first, second - first * first


@njit(cache=True)
def occupancy_forward(dt, bid_rate, ask_rate, bid_to, ask_to, start, s, weights):
    """Law of the final inventory, shape (m,), and expected time in each (row, inventory), shape (n, m).

    p' = pL: the time spent over a row is p h φ(hL), and p gains the net flow of that time.
    """
    m = bid_rate.shape[1]
    law = np.zeros(m)
    law[start] = 1.0
    time = np.zeros((len(dt), m))
    for i in range(len(dt)):
        matrix = jump_matrix(bid_rate[i], bid_to, ask_rate[i], ask_to, -bid_rate[i] - ask_rate[i])
        time[i] = phi(dt[i], transposed(matrix), law, s, weights).real
        for q in range(m):
            for rate, to in ((bid_rate[i, q], bid_to[q]), (ask_rate[i, q], ask_to[q])):
                law[q] -= time[i, q] * rate
                law[to] += time[i, q] * rate
    return law, time


def bernoulli_backward(f, bid, ask, drift, variance, final):
    """Mean and variance of the profit from each inventory (m,), by the laws of total expectation and variance."""
    stay = np.arange(len(final))
    mean, var = final, np.zeros(len(final))
    for i in reversed(range(len(bid))):
        value, risk = mean + drift, var + variance
        outcomes = [
            ((1 - bid[i]) * (1 - ask[i]), 0.0, stay),
            (bid[i] * (1 - ask[i]), f.bid_spread[i] - f.bid_toll, f.bid_to),
            ((1 - bid[i]) * ask[i], f.ask_spread[i] - f.ask_toll, f.ask_to),
            (bid[i] * ask[i], f.bid_spread[i] + f.ask_spread[i], stay),
        ]
        mean = sum(p * (gain + value[to]) for p, gain, to in outcomes)
        var = sum(p * ((gain + value[to] - mean) ** 2 + risk[to]) for p, gain, to in outcomes)
    return mean, var


def bernoulli_forward(f, bid, ask, start):
    """Law of the final inventory (m,); over (n, m): expected lone fills of each side, laws before and after fills."""
    n, m = bid.shape
    law = np.zeros(m)
    law[start] = 1.0
    before, after, lone_bid, lone_ask = np.zeros((4, n, m))
    for i in range(n):
        before[i], lone_bid[i], lone_ask[i] = law, law * bid[i] * (1 - ask[i]), law * ask[i] * (1 - bid[i])
        law = law - lone_bid[i] - lone_ask[i]
        law = law + np.bincount(f.bid_to, lone_bid[i], m) + np.bincount(f.ask_to, lone_ask[i], m)
        after[i] = law
    return law, lone_bid, lone_ask, (before, after)
