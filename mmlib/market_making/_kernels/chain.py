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
    factors,
    jump_matrix,
    largest_eigenvalue_bound,
    phi,
    real_phi,
    solve,
    transposed,
    width,
)

__all__ = [
    "NODES",
    "REAL_NODES",
    "REAL_WEIGHTS",
    "WEIGHTS",
    "bernoulli_backward",
    "bernoulli_exponential",
    "bernoulli_forward",
    "characteristic_function",
    "exponential_values",
    "moments_backward",
    "occupancy_forward",
    "terms_needed",
]


TRIES = 1_000_000  # steps after which an expectation is given up: some 10 s for 61 inventories


@njit(cache=True, nogil=True)
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
                change = real_phi(h, matrix, rate, s, weights)
                low = high = change[0]
                for q in range(m):
                    low, high = min(low, change[q]), max(high, change[q])
                tried = h
                h /= 8
            h = tried
            for q in range(m):
                d[q] += h * top + np.log1p(change[q])
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


def terms_needed(bound, tail, most=4096):
    """Smallest J <= most with (2/π) Σ_{j>J} b(j)/j <= tail, and the sum there, for b known at the octaves j = 2^k.

    b(j) = E exp(−j² X) is a log-convex function of j²: between octaves it lies below the chord. After the last octave
    it falls at least like 1/j, since X has a bounded density at 0. Rounding leaves b uncertain by 1e-13.
    """
    bound = np.maximum(bound, 1e-13)
    octaves = 2.0 ** np.arange(len(bound))
    j = np.arange(1, most + 1)
    terms = np.exp(np.interp(j**2, octaves**2, np.log(bound))) / j
    rest = np.log(2) * np.sum(bound[octaves >= most]) + bound[-1]
    sums = 2 / np.pi * (np.append(np.cumsum(terms[::-1])[::-1][1:], 0.0) + rest)
    enough = np.flatnonzero(sums <= tail)
    J = int(j[enough[0]]) if len(enough) else most
    return J, float(sums[J - 1])


@njit(cache=True)
def moments_backward(
    dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, final, start, highest, s, weights
):
    """Mean and central moments of order 2 … `highest` (2 or 4) of the profit from the inventory `start`, (highest,).

    In time to go M_p' = L M_p + Σ_{j=1..p} C(p, j) B_j M_{p−j} with M_0 = 1 and B_j f = Σ rate·gain^j f(to), to which
    the diffusion adds carry·f in B_1 and variance·f in B_2. After each row the profit is measured from its mean at
    `start`, so that no moment there is ever the small difference of two large numbers.
    """
    m, total = len(final), 0.0
    choose = np.array([[1, 1, 0, 0, 0], [1, 2, 1, 0, 0], [1, 3, 3, 1, 0], [1, 4, 6, 4, 1]])
    value, slope, change = np.ones((highest + 1, m)), np.zeros((highest, m)), np.zeros((highest, m))
    x = np.zeros((highest, m), np.complex128)
    bid_power, ask_power = np.empty((highest, m)), np.empty((highest, m))
    for q in range(m):
        for p in range(1, highest + 1):
            value[p, q] = (final[q] - final[start]) ** p
    total += final[start]
    for i in range(len(dt) - 1, -1, -1):
        h, matrix = dt[i], jump_matrix(bid_rate[i], bid_to, ask_rate[i], ask_to, -bid_rate[i] - ask_rate[i])
        for q in range(m):
            b, a = bid_rate[i, q], ask_rate[i, q]
            for p in range(highest):
                b, a = b * bid_gain[i, q], a * ask_gain[i, q]
                bid_power[p, q], ask_power[p, q] = b, a
                up, down = value[p + 1, bid_to[q]], value[p + 1, ask_to[q]]
                rise = bid_rate[i, q] * (up - value[p + 1, q]) + ask_rate[i, q] * (down - value[p + 1, q])
                for j in range(1, p + 2):
                    lower = bid_power[j - 1, q] * value[p + 1 - j, bid_to[q]]
                    lower += ask_power[j - 1, q] * value[p + 1 - j, ask_to[q]]
                    if j <= 2:
                        lower += (carry[q] if j == 1 else variance[q]) * value[p + 1 - j, q]
                    rise += choose[p, j] * lower
                slope[p, q], change[p, q] = h * rise, 0.0
        for node in range(len(s)):
            solver = factors(s[node], h, matrix)
            for p in range(highest):
                for q in range(m):
                    coupled = 0j
                    for j in range(1, p + 1):
                        lower = bid_power[j - 1, q] * x[p - j, bid_to[q]] + ask_power[j - 1, q] * x[p - j, ask_to[q]]
                        if j <= 2:
                            lower += (carry[q] if j == 1 else variance[q]) * x[p - j, q]
                        coupled += choose[p, j] * lower
                    x[p, q] = slope[p, q] + h * coupled
                solve(h, matrix, solver, x[p])
                for q in range(m):
                    change[p, q] += (weights[node] * x[p, q]).real
        centre = change[0, start]
        total += centre
        for q in range(m):
            for p in range(highest):
                moved, power = value[p + 1, q] + change[p, q], 1.0
                for j in range(1, p + 2):
                    power *= centre
                    moved -= choose[p, j] * power * value[p + 1 - j, q]
                value[p + 1, q] = moved
    moments = value[1:, start].copy()
    moments[0] = total
    return moments


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
        time[i] = real_phi(dt[i], transposed(matrix), law, s, weights)
        for q in range(m):
            for rate, to in ((bid_rate[i, q], bid_to[q]), (ask_rate[i, q], ask_to[q])):
                law[q] -= time[i, q] * rate
                law[to] += time[i, q] * rate
    return law, time


@njit(cache=True)
def bernoulli_backward(bid, ask, bid_gain, ask_gain, both_gain, bid_to, ask_to, drift, variance, final):
    """Mean and central moments of order 2, 3, 4 of the profit from each inventory (4, m), by the law of total moments.

    The mid's move adds ±√variance, whose fourth moment is variance².
    """
    n, m = bid.shape
    mean, second, third, fourth = final.copy(), np.zeros(m), np.zeros(m), np.zeros(m)
    for i in range(n - 1, -1, -1):
        for q in range(m):
            fourth[q] += 6 * second[q] * variance[q] + variance[q] ** 2
            second[q] += variance[q]
            mean[q] += drift[q]
        new = np.zeros((4, m))
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
                d = value - new[0, q]
                new[1, q] += p * (second[to] + d**2)
                new[2, q] += p * (third[to] + 3 * second[to] * d + d**3)
                new[3, q] += p * (fourth[to] + 4 * third[to] * d + 6 * second[to] * d**2 + d**4)
        mean, second, third, fourth = new
    return np.stack((mean, second, third, fourth))


@njit(cache=True)
def bernoulli_exponential(bid, ask, bid_log, ask_log, both_log, bid_to, ask_to, move, final):
    """ln E[exp(z·profit)] in the scheme of steps from each inventory, shape (m,); each log is z times its gain.

    `move` (m,) is ln E exp(z·gain of the position over a step).
    """
    n, m = bid.shape
    log, new = final.copy(), np.empty(m)
    for i in range(n - 1, -1, -1):
        log += move
        for q in range(m):
            b, a, up, down = bid[i, q], ask[i, q], bid_to[q], ask_to[q]
            outcomes = (
                ((1 - b) * (1 - a), 0.0),
                (b * (1 - a), bid_log[i, q] + log[up] - log[q]),
                ((1 - b) * a, ask_log[i, q] + log[down] - log[q]),
                (b * a, both_log[i, q]),
            )
            rest, top = 0.0, -np.inf
            for p, jump in outcomes:
                if p > 0:
                    rest += p * np.expm1(jump)
                    top = max(top, jump)
            if -0.5 < rest < 1:  # to full relative accuracy where little changes
                new[q] = log[q] + np.log1p(rest)
                continue
            rest = 0.0
            for p, jump in outcomes:
                if p > 0:
                    rest += p * np.exp(jump - top)
            new[q] = log[q] + top + np.log(rest)
        log, new = new, log
    return log


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
