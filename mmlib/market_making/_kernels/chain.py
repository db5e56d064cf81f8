"""The inventory as a Markov chain: actions of exp(hL) on vectors, for the generator L of one row of a quote table.

While a row of quotes holds, the inventory q jumps to `bid_to[q]` at rate `bid_rate[q]` and to `ask_to[q]` at rate
`ask_rate[q]`. The matrices L below have these jumps off the diagonal, so they are tridiagonal but for the ends of a
hard limit that cuts back past its neighbour. Rates span many orders of magnitude, since a quote far through the mid
fills at once; that rules out Taylor series and explicit steps. Cauchy's integral over Talbot's cotangent contour
around the spectrum (constants of Trefethen, Weideman & Schmelzer 2006), with nodes s and weights w, gives

    exp(hL) y = y + h φ(hL) Ly,        φ(z) = (e^z − 1)/z ≈ Σ (w/s) / (s − z),

one tridiagonal solve per node whatever the rates. With 30 nodes φ is exact to 7e-15 on the negative real axis, where
the spectrum of a birth-and-death chain lies, and to 7e-14 within ½ of it (more nodes amplify rounding). In this form
an error is relative to the change over the row, not to y.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numba import njit


def _contour(n):
    """The `n` nodes s and weights w/s, those above the real axis first; the others are their conjugates."""
    theta = np.arange(1, n, 2) * np.pi / n
    s = n * (0.5017 * theta / np.tan(0.6407 * theta) - 0.6122 + 0.2645j * theta)
    slope = n * (0.5017 / np.tan(0.6407 * theta) - 0.5017 * 0.6407 * theta / np.sin(0.6407 * theta) ** 2 + 0.2645j)
    weights = np.exp(s) * slope / (1j * n) / s
    return np.append(s, s.conj()), np.append(weights, weights.conj())


NODES, WEIGHTS = _contour(30)
#: For real L and y half the nodes do: the others add the conjugate, so twice the real part is the sum.
REAL_NODES, REAL_WEIGHTS = NODES[:15], 2 * WEIGHTS[:15]


@njit(cache=True)
def _matrix(up, up_to, down, down_to, diagonal):
    """L as three diagonals, and one possible far entry in its first and in its last row: rows, columns and values."""
    m = len(diagonal)
    left, centre, over = np.zeros(m, up.dtype), diagonal.astype(up.dtype), np.zeros(m, up.dtype)
    ends, far, far_value = np.array([0, m - 1]), np.array([0, m - 1]), np.zeros(2, up.dtype)
    for q in range(m):
        for value, to in ((up[q], up_to[q]), (down[q], down_to[q])):
            if to == q:
                centre[q] += value
            elif to == q + 1:
                over[q] += value
            elif to == q - 1:
                left[q] += value
            else:
                end = 0 if q == 0 else 1
                far[end], far_value[end] = to, value
    return left, centre, over, ends, far, far_value


@njit(cache=True)
def _transposed(matrix):
    left, centre, over, rows, columns, value = matrix
    below, above = np.zeros_like(left), np.zeros_like(over)
    below[1:], above[:-1] = over[:-1], left[1:]
    return below, centre, above, columns, rows, value


@njit(cache=True)
def _resolvent(s, h, matrix, right):
    """Solve (s − hL) x = right in place, by elimination; the far entries come in by the Woodbury formula."""
    left, centre, over, rows, columns, value = matrix
    m = len(centre)
    ahead, pivot = np.empty(m, np.complex128), np.empty(m, np.complex128)
    for q in range(m):
        pivot[q] = 1 / (s - h * centre[q] + (h * left[q] * ahead[q - 1] if q > 0 else 0))
        ahead[q] = -h * over[q] * pivot[q]
    _sweep(h, left, ahead, pivot, right)
    if value[0] != 0 or value[1] != 0:
        first, last = np.zeros(m, np.complex128), np.zeros(m, np.complex128)
        first[rows[0]], last[rows[1]] = h * value[0], h * value[1]
        _sweep(h, left, ahead, pivot, first)
        _sweep(h, left, ahead, pivot, last)
        i, j = columns
        a, b, c, d = 1 - first[i], -last[i], -first[j], 1 - last[j]
        y, z, det = right[i], right[j], a * d - b * c
        for q in range(m):
            right[q] += ((d * y - b * z) * first[q] + (a * z - c * y) * last[q]) / det


@njit(cache=True)
def _sweep(h, left, ahead, pivot, right):
    """Substitute forward and back with the factors of the tridiagonal part."""
    m = len(pivot)
    right[0] *= pivot[0]
    for q in range(1, m):
        right[q] = (right[q] + h * left[q] * right[q - 1]) * pivot[q]
    for q in range(m - 2, -1, -1):
        right[q] -= ahead[q] * right[q + 1]


@njit(cache=True)
def _phi(h, matrix, y, s, weights):
    """h φ(hL) y, complex, shape (m,)."""
    m = len(y)
    out, x = np.zeros(m, np.complex128), np.empty(m, np.complex128)
    for node in range(len(s)):
        for q in range(m):
            x[q] = h * y[q]
        _resolvent(s[node], h, matrix, x)
        for q in range(m):
            out[q] += weights[node] * x[q]
    return out


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
            top = min(top, _largest_eigenvalue_bound(_matrix(up, bid_to, down, ask_to, diagonal)))
            for q in range(m):
                diagonal[q] -= top
                rate[q] -= top
            matrix = _matrix(up, bid_to, down, ask_to, diagonal)
            low = high = -1.0
            while low < -0.99 or high > 99:
                tries += 1
                if tries > TRIES or not np.isfinite(top):
                    return np.full(m, np.nan)
                change = _phi(h, matrix, rate, s, weights)
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


@njit(cache=True)
def _largest_eigenvalue_bound(matrix):
    """Gershgorin's bound for L made symmetric, sqrt(L_qr L_rq); a far entry counts as it stands."""
    left, centre, over, _, _, far_value = matrix
    m, coupling, bound = len(centre), 0.0, -np.inf
    for q in range(m):
        row = centre[q] + coupling
        coupling = np.sqrt(over[q]) * np.sqrt(left[q + 1]) if q < m - 1 else 0.0
        row += coupling + (far_value[0] if q == 0 else 0.0) + (far_value[1] if q == m - 1 else 0.0)
        bound = max(bound, row)
    return bound


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
        matrix = _matrix(up, bid_to, down, ask_to, diagonal)
        steps = max(1, int(np.ceil(2 * dt[i] * _width(matrix))))
        for _ in range(steps):
            for q in range(m):
                slope[q] = diagonal[q] * value[q] + up[q] * value[bid_to[q]] + down[q] * value[ask_to[q]]
            change = _phi(dt[i] / steps, matrix, slope, s, weights)
            for q in range(m):
                value[q] += change[q]
    return value


@njit(cache=True)
def _width(matrix):
    """Bound of the distance of the spectrum from the real axis, by Gershgorin as in `_largest_eigenvalue_bound`."""
    left, centre, over, _, _, far_value = matrix
    m, coupling, bound = len(centre), 0.0, 0.0
    for q in range(m):
        row = abs(centre[q].imag) + coupling
        coupling = abs((np.sqrt(over[q]) * np.sqrt(left[q + 1])).imag) if q < m - 1 else 0.0
        row += coupling + (abs(far_value[0]) if q == 0 else 0.0) + (abs(far_value[1]) if q == m - 1 else 0.0)
        bound = max(bound, row)
    return bound


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
        h, matrix = dt[i], _matrix(bid_rate[i], bid_to, ask_rate[i], ask_to, -bid_rate[i] - ask_rate[i])
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
            _resolvent(s[node], h, matrix, x)
            for q in range(m):
                coupled = carry[q] * x[q] + bid_rate[i, q] * bid_gain[i, q] * x[bid_to[q]]
                y[q] = h * (slope2[q] + 2 * (coupled + ask_rate[i, q] * ask_gain[i, q] * x[ask_to[q]]))
            _resolvent(s[node], h, matrix, y)
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
        matrix = _matrix(bid_rate[i], bid_to, ask_rate[i], ask_to, -bid_rate[i] - ask_rate[i])
        time[i] = _phi(dt[i], _transposed(matrix), law, s, weights).real
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
