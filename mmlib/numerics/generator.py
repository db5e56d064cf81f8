"""Generators of Markov chains on a line: the action of exp(hL) on vectors, whatever the rates, compiled.

From state q the chain jumps to `up_to[q]` at rate `up[q]` and to `down_to[q]` at rate `down[q]`; L has these jumps off
the diagonal. It is tridiagonal but for its first and last rows, which may each jump to any state. The entries may be
tilted, L_qr → L_qr e^(z g), with real or imaginary z, and so may be complex.

Rates that span many orders of magnitude rule out Taylor series and explicit steps. Cauchy's integral over Talbot's
cotangent contour around the spectrum (constants of Trefethen, Weideman & Schmelzer 2006), with nodes s and weights w,
gives

    exp(hL) y = y + h φ(hL) Ly,        φ(z) = (e^z − 1)/z ≈ Σ (w/s) / (s − z),

one tridiagonal solve per node whatever the rates. With 30 nodes φ is exact to 7e-15 on the negative real axis, where
the spectrum of a birth-and-death chain lies, and to 7e-14 within ½ of it (more nodes amplify rounding). In this form
an error is relative to the change over h, not to y.
"""

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
LARGE = 1e100  # of a rate times a step: its square is a number


@njit(cache=True)
def jump_matrix(up, up_to, down, down_to, diagonal):
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
def transposed(matrix):
    left, centre, over, rows, columns, value = matrix
    below, above = np.zeros_like(left), np.zeros_like(over)
    below[1:], above[:-1] = over[:-1], left[1:]
    return below, centre, above, columns, rows, value


@njit(cache=True)
def resolvent(s, h, matrix, right):
    """Solve (s − hL) x = right in place, by elimination; the far entries come in by the Woodbury formula."""
    solve(h, matrix, factors(s, h, matrix), right)


@njit(cache=True)
def factors(s, h, matrix):
    """What `solve` needs of s − hL: elimination of its tridiagonal part, and the columns of the far entries."""
    left, centre, over, rows, _, value = matrix
    m = len(centre)
    ahead, pivot = np.empty(m, np.complex128), np.empty(m, np.complex128)
    for q in range(m):
        pivot[q] = 1 / (s - h * centre[q] + (h * left[q] * ahead[q - 1] if q > 0 else 0))
        ahead[q] = -h * over[q] * pivot[q]
    far = np.zeros((2, m if value[0] != 0 or value[1] != 0 else 0), np.complex128)
    if far.size:
        for end in range(2):
            far[end, rows[end]] = h * value[end]
            _sweep(h, left, ahead, pivot, far[end])
    return ahead, pivot, far


@njit(cache=True)
def solve(h, matrix, factors, right):
    """Solve (s − hL) x = right in place, with the `factors` of that matrix."""
    ahead, pivot, far = factors
    first, last = far[0], far[1]
    _sweep(h, matrix[0], ahead, pivot, right)
    if len(first) > 0:
        i, j = matrix[4]
        a, b, c, d = 1 - first[i], -last[i], -first[j], 1 - last[j]
        y, z, det = right[i], right[j], a * d - b * c
        for q in range(len(right)):
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
def phi(h, matrix, y, s, weights):
    """h φ(hL) y, complex, shape (m,)."""
    m = len(y)
    out, x = np.zeros(m, np.complex128), np.empty(m, np.complex128)
    for node in range(len(s)):
        for q in range(m):
            x[q] = h * y[q]
        resolvent(s[node], h, matrix, x)
        for q in range(m):
            out[q] += weights[node] * x[q]
    return out


@njit(cache=True, error_model="numpy")
def real_phi(h, matrix, y, s, weights):
    """h φ(hL) y, real, shape (m,), of real L and y, by the nodes above the real axis.

    As `phi`, but with all nodes side by side in the innermost loop and in real arithmetic, which a processor does four
    or eight at a time: several times as fast. Far entries, and rates whose squares would overflow, go by `phi`.
    """
    left, centre, over, _, _, far_value = matrix
    m, n = len(y), len(s)
    if far_value[0] != 0 or far_value[1] != 0 or not h * np.max(np.abs(centre)) < LARGE:
        return phi(h, matrix, y, s, weights).real
    ahead, ahead_i, x, x_i = np.empty((m, n)), np.empty((m, n)), np.empty((m, n)), np.empty((m, n))
    shift, shift_i, weight, weight_i = s.real.copy(), s.imag.copy(), weights.real.copy(), weights.imag.copy()
    out = np.zeros(m)
    for q in range(m):  # (s − hL) x = h y, by elimination: a = re + i im of each node
        below, diagonal, above, right = h * left[q] if q > 0 else 0.0, h * centre[q], -h * over[q], h * y[q]
        before = q - 1 if q > 0 else 0
        for j in range(n):
            a = shift[j] - diagonal
            a_i, b, b_i = shift_i[j], right, 0.0
            if q > 0:
                a += below * ahead[before, j]
                a_i += below * ahead_i[before, j]
                b += below * x[before, j]
                b_i = below * x_i[before, j]
            size = 1.0 / (a * a + a_i * a_i)
            a *= size
            a_i *= -size
            ahead[q, j] = above * a
            ahead_i[q, j] = above * a_i
            x[q, j] = b * a - b_i * a_i
            x_i[q, j] = b * a_i + b_i * a
    for q in range(m - 1, -1, -1):
        for j in range(n):
            if q < m - 1:
                x[q, j] -= ahead[q, j] * x[q + 1, j] - ahead_i[q, j] * x_i[q + 1, j]
                x_i[q, j] -= ahead[q, j] * x_i[q + 1, j] + ahead_i[q, j] * x[q + 1, j]
        for j in range(n):
            out[q] += weight[j] * x[q, j] - weight_i[j] * x_i[q, j]
    return out


@njit(cache=True)
def largest_eigenvalue_bound(matrix):
    """Gershgorin's bound for L made symmetric, sqrt(L_qr L_rq); a far entry counts as it stands."""
    left, centre, over, _, _, far_value = matrix
    m, coupling, bound = len(centre), 0.0, -np.inf
    for q in range(m):
        row = centre[q] + coupling
        coupling = np.sqrt(over[q]) * np.sqrt(left[q + 1]) if q < m - 1 else 0.0
        row += coupling + (far_value[0] if q == 0 else 0.0) + (far_value[1] if q == m - 1 else 0.0)
        bound = max(bound, row)
    return bound


@njit(cache=True)
def width(matrix):
    """Bound of how far the spectrum lies from where φ is exact, by Gershgorin as in `largest_eigenvalue_bound`.

    That is the distance from the real axis less a quarter of the distance to the left of 0: along −x ± 0.3x i the
    contour's error is no larger than on the axis itself, so that a mode may turn if it decays fast enough.
    """
    left, centre, over, _, _, far_value = matrix
    m, before, bound = len(centre), 0.0j, 0.0
    for q in range(m):
        after = np.sqrt(over[q] + 0j) * np.sqrt(left[q + 1] + 0j) if q < m - 1 else 0.0j
        far = (abs(far_value[0]) if q == 0 else 0.0) + (abs(far_value[1]) if q == m - 1 else 0.0)
        decay = max(0.0, -centre[q].real - abs(before) - abs(after) - far)
        bound = max(bound, abs(centre[q].imag) + abs(before.imag) + abs(after.imag) + far - decay / 4)
        before = after
    return bound
