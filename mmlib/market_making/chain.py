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

import numpy as np
from numba import njit, prange


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
    """L as three diagonals, and one possible far entry in its first and in its last row: its column and its value."""
    m = len(diagonal)
    left, centre, over = np.zeros(m, up.dtype), diagonal.astype(up.dtype), np.zeros(m, up.dtype)
    far, far_value = np.array([0, m - 1]), np.zeros(2, up.dtype)
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
    return left, centre, over, far, far_value


@njit(cache=True)
def _resolvent(s, h, matrix, right, transposed):
    """Solve (s − hL) x = right, or its transpose, in place; the far entries come in by the Woodbury formula."""
    left, centre, over, far, far_value = matrix
    m = len(centre)
    ahead, pivot = np.empty(m, np.complex128), np.empty(m, np.complex128)
    for q in range(m):
        pivot[q] = 1 / (s - h * centre[q] + (h * left[q] * ahead[q - 1] if q > 0 else 0))
        ahead[q] = -h * over[q] * pivot[q]
    _sweep(h, left, ahead, pivot, right, transposed)
    if far_value[0] != 0 or far_value[1] != 0:
        ends = np.array([0, m - 1])
        put, read = (far, ends) if transposed else (ends, far)
        first, last = np.zeros(m, np.complex128), np.zeros(m, np.complex128)
        first[put[0]], last[put[1]] = h * far_value[0], h * far_value[1]
        _sweep(h, left, ahead, pivot, first, transposed)
        _sweep(h, left, ahead, pivot, last, transposed)
        a, b, c, d = 1 - first[read[0]], -last[read[0]], -first[read[1]], 1 - last[read[1]]
        y, z = right[read[0]], right[read[1]]
        right += ((d * y - b * z) * first + (a * z - c * y) * last) / (a * d - b * c)


@njit(cache=True)
def _sweep(h, left, ahead, pivot, right, transposed):
    """Substitute forward and back with the factors of the tridiagonal part, or of its transpose."""
    m = len(pivot)
    if transposed:
        for q in range(1, m):
            right[q] -= ahead[q - 1] * right[q - 1]
        right[m - 1] *= pivot[m - 1]
        for q in range(m - 2, -1, -1):
            right[q] = (right[q] + h * left[q + 1] * right[q + 1]) * pivot[q]
    else:
        right[0] *= pivot[0]
        for q in range(1, m):
            right[q] = (right[q] + h * left[q] * right[q - 1]) * pivot[q]
        for q in range(m - 2, -1, -1):
            right[q] -= ahead[q] * right[q + 1]


TRIES = 1_000_000  # substeps after which an expectation is given up: some 10 s for 61 inventories


@njit(cache=True)
def exponential_values(
    dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, final, z, s, weights
):
    """ln E[exp(z·profit)] at time 0 from each inventory, shape (m,), for a real z.

    With E = e^d, each step starts from the vector 1 and the matrix e^(−d) L e^d, shifted so that its spectrum is
    negative, and is cut to an eighth until no value changes by more than a factor 100 after the shift: so each keeps
    its relative accuracy to 1e-12, whatever its size. NaN if that takes more than TRIES steps.
    """
    m = len(final)
    d = z * final
    up, down, rate, change = np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m)
    right = np.zeros(m, np.complex128)
    own = z * carry + 0.5 * z * z * variance
    tries = 0
    for i in range(len(dt) - 1, -1, -1):
        left = dt[i]
        h = left
        while left > 0:
            if not np.any(bid_rate[i] + ask_rate[i] > 0):
                d += left * own
                break
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
            top = min(np.max(rate), _largest_eigenvalue_bound(_matrix(up, bid_to, down, ask_to, diagonal)))
            matrix = _matrix(up, bid_to, down, ask_to, diagonal - top)
            while True:
                tries += 1
                if tries > TRIES or not np.isfinite(top):
                    return np.full(m, np.nan)
                change[:] = 0.0
                for node in range(len(s)):
                    right[:] = h * (rate - top)
                    _resolvent(s[node], h, matrix, right, False)
                    change += (weights[node] * right).real
                if np.all(change > -0.99) and np.all(change < 99):
                    break
                h /= 8
            d += h * top + np.log1p(change)
            left -= h
            h = min(8 * h, left)
    return d


@njit(cache=True)
def _largest_eigenvalue_bound(matrix):
    """Gershgorin's bound for L made symmetric, sqrt(L_qr L_rq); a far entry counts as it stands."""
    left, centre, over, _, far_value = matrix
    bound = centre.copy()
    coupling = np.sqrt(over[:-1]) * np.sqrt(left[1:])
    bound[:-1] += coupling
    bound[1:] += coupling
    bound[0] += far_value[0]
    bound[-1] += far_value[1]
    return np.max(bound)


@njit(parallel=True, cache=True)
def characteristic_function(
    u, dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, final, start, s, weights
):
    """E[exp(iu·profit)] from inventory index `start`, shape of `u`."""
    out = np.empty(len(u), np.complex128)
    for j in prange(len(u)):
        value = _fourier(
            u[j], dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, final, s, weights
        )
        out[j] = value[start]
    return out


@njit(cache=True)
def _fourier(u, dt, bid_rate, ask_rate, bid_to, ask_to, bid_gain, ask_gain, carry, variance, final, s, weights):
    """E[exp(iu·profit)] from each inventory, shape (m,).

    The gains turn the phases of the entries of L, and its spectrum leaves the real axis: a row is split so that it
    stays within ½.
    """
    m = len(final)
    value = np.exp(1j * u * final)
    own = 1j * u * carry - 0.5 * u * u * variance
    x = np.empty(m, np.complex128)
    for i in range(len(dt) - 1, -1, -1):
        up, down = bid_rate[i] * np.exp(1j * u * bid_gain[i]), ask_rate[i] * np.exp(1j * u * ask_gain[i])
        diagonal = own - bid_rate[i] - ask_rate[i]
        matrix = _matrix(up, bid_to, down, ask_to, diagonal)
        steps = max(1, int(np.ceil(2 * dt[i] * _width(matrix))))
        h = dt[i] / steps
        for _ in range(steps):
            slope = h * (diagonal * value + up * value[bid_to] + down * value[ask_to])
            for node in range(len(s)):
                x[:] = slope
                _resolvent(s[node], h, matrix, x, False)
                value += weights[node] * x
    return value


@njit(cache=True)
def _width(matrix):
    """Bound of the distance of the spectrum from the real axis, by Gershgorin as in `_largest_eigenvalue_bound`."""
    left, centre, over, _, far_value = matrix
    bound = np.abs(centre.imag)
    coupling = np.abs((np.sqrt(over[:-1]) * np.sqrt(left[1:])).imag)
    bound[:-1] += coupling
    bound[1:] += coupling
    bound[0] += np.abs(far_value[0])
    bound[-1] += np.abs(far_value[1])
    return np.max(bound)


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
        h, matrix = dt[i], _matrix(bid_rate[i], bid_to, ask_rate[i], ask_to, -bid_rate[i] - ask_rate[i])
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
            _resolvent(s[node], h, matrix, x, False)
            y = slope2 + 2 * carry * x
            for q in range(m):
                y[q] += 2 * bid_rate[i, q] * bid_gain[i, q] * x[bid_to[q]]
                y[q] += 2 * ask_rate[i, q] * ask_gain[i, q] * x[ask_to[q]]
            y *= h
            _resolvent(s[node], h, matrix, y, False)
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
        matrix = _matrix(bid_rate[i], bid_to, ask_rate[i], ask_to, -bid_rate[i] - ask_rate[i])
        for node in range(len(s)):
            x = law + 0j
            _resolvent(s[node], dt[i], matrix, x, True)
            time[i] += dt[i] * (weights[node] * x).real
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
