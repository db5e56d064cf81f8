"""The inventory as a Markov chain: actions of exp(h L) on vectors, for the generator L of one row of a quote table.

While a row of quotes holds, the inventory q jumps to `bid_to[q]` at rate `bid_rate[q]` and to `ask_to[q]` at rate
`ask_rate[q]`; the matrices L below have these jumps off the diagonal, so they are tridiagonal except in the row of a
hard limit that cuts back past its neighbour. Rates span many orders of magnitude (a quote far through the mid fills at
once), which rules out Taylor series and explicit steps. With nodes s and weights w of a quadrature of Cauchy's integral
on a contour around the spectrum (Talbot's cotangent contour, constants of Trefethen, Weideman & Schmelzer 2006),

    exp(hL) y − y = h φ(hL) Ly,        φ(z) = (e^z − 1)/z ≈ Σ (w/s) / (s − z)

costs one tridiagonal solve per node, whatever the rates, and is exact to rounding on the negative real axis, where the
spectrum of a birth-and-death chain lies. In this form an error is relative to the change over the row, not to y.
"""

import numpy as np
from numba import njit

_N = 28  # error of φ on the negative real axis 1e-14; more nodes amplify rounding


def _contour(n):
    """Nodes s above the real axis and weights w/s, doubled for their conjugates, of `n` points."""
    theta = np.arange(1, n, 2) * np.pi / n
    s = n * (0.5017 * theta / np.tan(0.6407 * theta) - 0.6122 + 0.2645j * theta)
    slope = n * (0.5017 / np.tan(0.6407 * theta) - 0.5017 * 0.6407 * theta / np.sin(0.6407 * theta) ** 2 + 0.2645j)
    return s, 2 * np.exp(s) * slope / (1j * n) / s


NODES, WEIGHTS = _contour(_N)


@njit(cache=True)
def _resolvent(s, h, up, up_to, down, down_to, diagonal, right, transposed):
    """Solve (s − hL) x = right, or its transpose, in place.

    L has `up` at column up_to and `down` at column down_to of each row. A column that is neither the row's own nor its
    neighbour's, at most one in the first and one in the last row, is put back by the Woodbury formula.
    """
    m = len(diagonal)
    below, ahead, pivot = np.zeros(m, np.complex128), np.zeros(m, np.complex128), np.zeros(m, np.complex128)
    far, far_value = np.array([0, m - 1]), np.zeros(2)
    for q in range(m):
        centre, left, over = s - h * diagonal[q], 0.0, 0.0
        for value, to in ((up[q], up_to[q]), (down[q], down_to[q])):
            if to == q:
                centre -= h * value
            elif to == q + 1:
                over -= h * value
            elif to == q - 1:
                left -= h * value
            else:
                end = 0 if q == 0 else 1
                far[end], far_value[end] = to, h * value
        below[q] = left
        pivot[q] = 1 / (centre - left * ahead[q - 1]) if q > 0 else 1 / centre
        ahead[q] = over * pivot[q]
    _sweep(below, ahead, pivot, right, transposed)
    if np.any(far_value != 0):
        ends = np.array([0, m - 1])
        put, read = (far, ends) if transposed else (ends, far)
        first, last = np.zeros(m, np.complex128), np.zeros(m, np.complex128)
        first[put[0]], last[put[1]] = far_value[0], far_value[1]
        _sweep(below, ahead, pivot, first, transposed)
        _sweep(below, ahead, pivot, last, transposed)
        a, b, c, d = 1 - first[read[0]], -last[read[0]], -first[read[1]], 1 - last[read[1]]
        y, z = right[read[0]], right[read[1]]
        right += ((d * y - b * z) * first + (a * z - c * y) * last) / (a * d - b * c)


@njit(cache=True)
def _sweep(below, ahead, pivot, right, transposed):
    """Substitute forward and back with the factors of a tridiagonal matrix, or of its transpose."""
    m = len(pivot)
    if transposed:
        for q in range(1, m):
            right[q] -= ahead[q - 1] * right[q - 1]
        right[m - 1] *= pivot[m - 1]
        for q in range(m - 2, -1, -1):
            right[q] = (right[q] - below[q + 1] * right[q + 1]) * pivot[q]
    else:
        right[0] *= pivot[0]
        for q in range(1, m):
            right[q] = (right[q] - below[q] * right[q - 1]) * pivot[q]
        for q in range(m - 2, -1, -1):
            right[q] -= ahead[q] * right[q + 1]


@njit(cache=True)
def exponential_values(
    dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, final, z, s, weights
):
    """ln E[exp(z·profit)] at time 0 from each inventory, shape (m,), for a real z.

    With E = e^d, each step starts from the vector 1 and the matrix e^(−d) L e^d, shifted so that its spectrum is
    negative, and is cut to an eighth until no value changes by more than a factor 100 after the shift: so each keeps
    its relative accuracy to 1e-12, whatever its size.
    """
    m = len(final)
    d = z * final
    up, down, rate, change = np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m)
    right = np.zeros(m, np.complex128)
    own = z * carry + 0.5 * z * z * variance
    for i in range(len(dt) - 1, -1, -1):
        left = dt[i]
        h = left
        while left > 0:
            rate[:] = own
            up[:], down[:] = 0.0, 0.0
            for q in range(m):
                if bid_rate[i, q] > 0:
                    jump = z * bid_gain[i, q] + d[bid_to[q]] - d[q]
                    up[q] = bid_rate[i, q] * np.exp(jump)
                    rate[q] += bid_rate[i, q] * np.expm1(jump)
                if ask_rate[i, q] > 0:
                    jump = z * ask_gain[i, q] + d[ask_to[q]] - d[q]
                    down[q] = ask_rate[i, q] * np.exp(jump)
                    rate[q] += ask_rate[i, q] * np.expm1(jump)
            diagonal = own - bid_rate[i] - ask_rate[i]
            top = _largest_eigenvalue_bound(up, bid_to, down, ask_to, diagonal)
            while True:
                change[:] = 0.0
                for node in range(len(s)):
                    right[:] = h * (rate - top)
                    _resolvent(s[node], h, up, bid_to, down, ask_to, diagonal - top, right, False)
                    change += (weights[node] * right).real
                if np.all(change > -0.99) and np.all(change < 99):
                    break
                h /= 8
            d += h * top + np.log1p(change)
            left -= h
            h = min(8 * h, left)
    return d


@njit(cache=True)
def _largest_eigenvalue_bound(up, up_to, down, down_to, diagonal):
    """Gershgorin's bound for L made symmetric, sqrt(L_qr L_rq); a jump past the neighbour counts as it stands."""
    m = len(diagonal)
    top = -np.inf
    for q in range(m):
        bound = diagonal[q]
        for value, to in ((up[q], up_to[q]), (down[q], down_to[q])):
            if to == q + 1:
                bound += np.sqrt(value) * np.sqrt(down[to])
            elif to == q - 1:
                bound += np.sqrt(value) * np.sqrt(up[to])
            else:
                bound += value
        top = max(top, bound)
    return top


@njit(cache=True)
def moments_backward(dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, final, s, weights):
    """Mean and variance of the profit from each inventory, shape (2, m).

    M1' = L M1 + r1 and M2' = L M2 + 2 B M1 + r2 in time to go, with B M1 = Σ rate·gain·M1(to) + carry·M1,
    r1 = Σ rate·gain + carry and r2 = Σ rate·gain² + variance. After each row the profit is measured from its mean at
    the middle of the grid, so that the variance is never the small difference of two large numbers.
    """
    m = len(final)
    first, second, total = final.copy(), final**2, 0.0
    for i in range(len(dt) - 1, -1, -1):
        h, diagonal = dt[i], -bid_rate[i] - ask_rate[i]
        slope1, slope2 = carry.copy(), variance + 2 * carry * first
        for q in range(m):
            for rate, gain, to in (
                (bid_rate[i, q], bid_gain[i, q], bid_to[q]),
                (ask_rate[i, q], ask_gain[i, q], ask_to[q]),
            ):
                slope1[q] += rate * (gain + first[to] - first[q])
                slope2[q] += rate * (gain * gain + 2 * gain * first[to] + second[to] - second[q])
        first_change, second_change = np.zeros(m), np.zeros(m)
        for node in range(len(s)):
            x = h * slope1 + 0j
            _resolvent(s[node], h, bid_rate[i], bid_to, ask_rate[i], ask_to, diagonal, x, False)
            y = slope2 + 2 * carry * x
            for q in range(m):
                y[q] += 2 * bid_rate[i, q] * bid_gain[i, q] * x[bid_to[q]]
                y[q] += 2 * ask_rate[i, q] * ask_gain[i, q] * x[ask_to[q]]
            y *= h
            _resolvent(s[node], h, bid_rate[i], bid_to, ask_rate[i], ask_to, diagonal, y, False)
            first_change += (weights[node] * x).real
            second_change += (weights[node] * y).real
        first += first_change
        second += second_change
        centre = first[m // 2]
        second += centre * centre - 2 * centre * first
        first -= centre
        total += centre
    return total + first, second - first * first


@njit(cache=True)
def occupancy_forward(dt, bid_rate, ask_rate, bid_to, ask_to, start, s, weights):
    """Law of the final inventory, shape (m,), and expected time in each (row, inventory), shape (n, m).

    p' = pL: the time spent over a row is h p φ(hL), and p gains the net flow of that time.
    """
    m = bid_rate.shape[1]
    law = np.zeros(m)
    law[start] = 1.0
    time = np.zeros((len(dt), m))
    for i in range(len(dt)):
        diagonal = -bid_rate[i] - ask_rate[i]
        for node in range(len(s)):
            x = law + 0j
            _resolvent(s[node], dt[i], bid_rate[i], bid_to, ask_rate[i], ask_to, diagonal, x, True)
            time[i] += dt[i] * (weights[node] * x).real
        for q in range(m):
            for rate, to in ((bid_rate[i, q], bid_to[q]), (ask_rate[i, q], ask_to[q])):
                law[q] -= time[i, q] * rate
                law[to] += time[i, q] * rate
    return law, time
