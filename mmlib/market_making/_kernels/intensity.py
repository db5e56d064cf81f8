"""Newton's iteration for the best distance of each shape of intensity; `intensity` explains the equation.

A shape is (kind, p, x, c): a number, its parameters, and for a table the breakpoints x and the coefficients c of the
piecewise cubic ln Λ (highest power first, as SciPy's PPoly). Other shapes have x and c empty.
"""

import math

import numpy as np
from numba import njit

POWER_LAW, LOGISTIC, LINEAR, MEASURED = range(4)


@njit(cache=True)
def best_distances(kind, p, x, c, reservations, a):
    """Root of δ = r + ln(1 + a m(δ))/a for each r, for the shapes where it is unique."""
    result = np.empty(len(reservations))
    for i in range(len(reservations)):
        lo = r = reservations[i]
        width = min(_premium(_markup(kind, p, x, c, r)[0], a), _premium(_markup(kind, p, x, c, max(r, 0.0))[0], a))
        while lo + width - r < _premium(_markup(kind, p, x, c, lo + width)[0], a):
            lo += width
            width *= 2
        result[i] = _root(kind, p, x, c, r, a, lo, lo + width)
    return result


@njit(cache=True)
def best_measured(x, c, reservations, a, fine, fine_rates):
    """argmax of Λ(δ) U(δ − r) for each r: the best of the points `fine`, improved, and of the two log-linear ends."""
    result = np.empty(len(reservations))
    for i in range(len(reservations)):
        r, found, most = reservations[i], 0, -1.0
        for g in range(len(fine)):
            value = fine_rates[g] * _utility(fine[g] - r, a) if fine[g] > r else -1.0
            if value > most:
                found, most = g, value
        ends = (r + _premium(-1 / c[2, 0], a) if c[2, 0] < 0 else np.inf, r + _premium(-1 / c[2, -1], a))
        candidates = (min(ends[0], fine[0]), max(ends[1], fine[-1]))
        if most > 0:
            lo, hi = max(r, fine[max(found - 1, 0)]), fine[min(found + 1, len(fine) - 1)]
            result[i] = _root(MEASURED, x[:0], x, c, r, a, lo, hi)
        else:
            result[i] = candidates[1]
        for candidate in candidates:
            if _log_objective(x, c, candidate, r, a) > _log_objective(x, c, result[i], r, a):
                result[i] = candidate
    return result


@njit(cache=True)
def _markup(kind, p, x, c, d):
    if kind == POWER_LAW:
        return (p[0] + max(d, 0.0)) / p[1], 1 / p[1] if d > 0 else 0.0
    if kind == LOGISTIC:
        tail = math.exp(p[0] * (p[1] - d))  # may be infinite: then the root is further up
        return (1 + tail) / p[0], -tail
    if kind == LINEAR:
        return max(p[0] - d, 0.0), -1.0 if d < p[0] else 0.0
    _, slope, curvature = _log_rate(x, c, d)
    return (-1 / slope, curvature / slope**2) if slope < 0 else (np.inf, 0.0)


@njit(cache=True)
def _log_rate(x, c, d):
    """ln Λ and its first two derivatives; the first and the last piece go on beyond the breakpoints."""
    i = min(max(np.searchsorted(x, d, side="right") - 1, 0), len(x) - 2)
    y = d - x[i]
    value = ((c[0, i] * y + c[1, i]) * y + c[2, i]) * y + c[3, i]
    return value, (3 * c[0, i] * y + 2 * c[1, i]) * y + c[2, i], 6 * c[0, i] * y + 2 * c[1, i]


@njit(cache=True)
def _log_objective(x, c, d, r, a):
    return _log_rate(x, c, d)[0] + math.log(_utility(d - r, a)) if d > r else -np.inf


@njit(cache=True)
def _premium(markup, a):
    return math.log1p(a * markup) / a if a > 0 else markup


@njit(cache=True)
def _utility(gain, a):
    return -math.expm1(-a * gain) / a if a > 0 else gain


@njit(cache=True)
def _root(kind, p, x, c, r, a, lo, hi):
    """Root of f(δ) = δ − r − ln(1 + a m(δ))/a in [lo, hi], f rising through it: Newton, else bisection."""
    d = (lo + hi) / 2
    while True:
        markup, slope = _markup(kind, p, x, c, d)
        f = d - r - _premium(markup, a)
        if f < 0:
            lo = d
        else:
            hi = d
        steepness = 1 - slope / (1 + a * markup)
        new = d - f / steepness if steepness > 0 and math.isfinite(f) else lo
        if not lo < new < hi:
            new = (lo + hi) / 2
        if abs(new - d) <= 4e-15 * (abs(d) + abs(r)):  # f itself is rounded
            return new
        d = new
