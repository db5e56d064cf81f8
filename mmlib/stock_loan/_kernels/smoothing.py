"""Compiled recursions of exponential smoothing and of the intermittent-demand methods, and the searches on them."""

import numpy as np
from numba import njit

GOLDEN = 0.3819660112501051
#: Limits of the damped trend: α in (0, 1), β/α in (0, 1), φ in (.8, .98), as statsmodels has them.
LOW, HIGH = np.array([1e-4, 1e-4, 0.8]), np.array([0.9999, 0.9999, 0.98])


@njit(cache=True)
def level_errors(y, alpha, start):
    """One-step errors of simple smoothing from the level `start`, and the last level."""
    errors, level = np.empty(y.size), start
    for t in range(y.size):
        errors[t] = y[t] - level
        level += alpha * errors[t]
    return errors, level


@njit(cache=True)
def level_sse(y, alpha, free):
    """Sum of squares of simple smoothing, and the start it is for: y₁, or if `free` the best one.

    With the start y₁ + s the errors are e_t − (1−α)^t s, so that the best s is a regression on (1−α)^t.
    """
    level, decay, ee, ec, cc = y[0], 1.0, 0.0, 0.0, 0.0
    for t in range(y.size):
        error = y[t] - level
        level += alpha * error
        ee += error * error
        ec += error * decay
        cc += decay * decay
        decay *= 1 - alpha
    shift = ec / cc if free else 0.0
    return ee - shift * ec, y[0] + shift


@njit(cache=True)
def best_level(y, free):
    """α in [1e-4, 1] with the least sum of squares: 33 values, then a golden section round the best."""
    count, best, at = 33, np.inf, 0
    grid = 1e-4 + (1 - 1e-4) * np.arange(count) / (count - 1)
    for i in range(count):
        sse = level_sse(y, grid[i], free)[0]
        if sse < best:
            best, at = sse, i
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, count - 1)]
    a, b = low + GOLDEN * (high - low), high - GOLDEN * (high - low)
    fa, fb = level_sse(y, a, free)[0], level_sse(y, b, free)[0]
    for _ in range(60):
        if fa < fb:
            high, b, fb = b, a, fa
            a = low + GOLDEN * (high - low)
            fa = level_sse(y, a, free)[0]
        else:
            low, a, fa = a, b, fb
            b = high - GOLDEN * (high - low)
            fb = level_sse(y, b, free)[0]
        if high - low < 1e-9:
            break
    alpha = a if fa < fb else b
    return alpha if min(fa, fb) < best else grid[at]


@njit(cache=True)
def trend_errors(y, alpha, beta, phi, level, slope):
    """One-step errors of the additive damped trend, and the last level and slope."""
    errors = np.empty(y.size)
    for t in range(y.size):
        forecast = level + phi * slope
        errors[t] = y[t] - forecast
        level = forecast + alpha * errors[t]
        slope = phi * slope + beta * errors[t]
    return errors, level, slope


@njit(cache=True)
def trend_start(y, alpha, beta, phi):
    """Least sum of squares over the starting level and slope, and these: the errors are linear in both."""
    level, slope = y[0], 0.0
    l1, b1, l2, b2 = 1.0, 0.0, 0.0, 1.0
    ee = e1 = e2 = s11 = s12 = s22 = 0.0
    for t in range(y.size):
        forecast = level + phi * slope
        error = y[t] - forecast
        level, slope = forecast + alpha * error, phi * slope + beta * error
        c1, c2 = l1 + phi * b1, l2 + phi * b2
        l1, b1 = c1 - alpha * c1, phi * b1 - beta * c1
        l2, b2 = c2 - alpha * c2, phi * b2 - beta * c2
        ee += error * error
        e1 += error * c1
        e2 += error * c2
        s11 += c1 * c1
        s12 += c1 * c2
        s22 += c2 * c2
    determinant = s11 * s22 - s12 * s12
    if determinant <= 1e-12 * s11 * s22:
        shift, slope = e1 / s11, 0.0
    else:
        shift, slope = (s22 * e1 - s12 * e2) / determinant, (s11 * e2 - s12 * e1) / determinant
    return ee - shift * e1 - slope * e2, y[0] + shift, slope


@njit(cache=True)
def _trend_sse(y, x):
    return trend_start(y, x[0], x[0] * x[1], x[2])[0]


@njit(cache=True)
def best_trend(y):
    """(α, β/α, φ) with the least sum of squares: Nelder–Mead from the two best of 24 points."""
    best = np.full(2, np.inf)
    starts = np.zeros((2, 3))
    x = np.empty(3)
    for alpha in (0.02, 0.1, 0.3, 0.5, 0.7, 0.95):
        for share in (0.01, 0.3):
            for phi in (0.82, 0.96):
                x[:] = alpha, share, phi
                sse = _trend_sse(y, x)
                if sse < best[0]:
                    best[1], starts[1] = best[0], starts[0]
                    best[0], starts[0] = sse, x
                elif sse < best[1]:
                    best[1], starts[1] = sse, x
    first, sse = _nelder_mead(y, starts[0])
    second, other = _nelder_mead(y, starts[1])
    return first if sse <= other else second


@njit(cache=True)
def _nelder_mead(y, start):
    """Nelder–Mead in the box LOW..HIGH (points outside are moved to its side), at most 250 evaluations."""
    points, values = np.empty((4, 3)), np.empty(4)
    for i in range(4):
        points[i] = start
        if i:
            width = HIGH[i - 1] - LOW[i - 1]
            step = 0.15 * width
            points[i, i - 1] += step if start[i - 1] + step < HIGH[i - 1] else -step
        values[i] = _trend_sse(y, points[i])
    evaluations = 4
    while evaluations < 250:
        order = np.argsort(values)
        points, values = points[order], values[order]
        if values[3] - values[0] <= 1e-10 * abs(values[0]):
            break
        centre = (points[0] + points[1] + points[2]) / 3
        reflected = np.minimum(np.maximum(2 * centre - points[3], LOW), HIGH)
        value = _trend_sse(y, reflected)
        evaluations += 1
        if value < values[0]:
            further = np.minimum(np.maximum(3 * centre - 2 * points[3], LOW), HIGH)
            beyond = _trend_sse(y, further)
            evaluations += 1
            if beyond < value:
                reflected, value = further, beyond
        elif value >= values[2]:
            worse = points[3] if value >= values[3] else reflected
            inside = 0.5 * (centre + worse)
            within = _trend_sse(y, inside)
            evaluations += 1
            if within < min(value, values[3]):
                reflected, value = inside, within
            else:
                for i in range(1, 4):
                    points[i] = 0.5 * (points[0] + points[i])
                    values[i] = _trend_sse(y, points[i])
                evaluations += 3
                continue
        points[3], values[3] = reflected, value
    at = np.argmin(values)
    return points[at], values[at]


@njit(cache=True)
def intermittent(y, alpha, beta, daily):
    """One-step forecasts of Croston (size over interval) or, if `daily`, of TSB (size times probability), and the next.

    Forecasts before the first demand are NaN. Returns forecasts, size, interval or probability.
    """
    forecasts = np.full(y.size + 1, np.nan)
    size, second, since, begun = 0.0, 0.0, 0, False
    for t in range(y.size):
        since += 1
        if not begun:
            if t == 0 and daily:
                second = 1.0 if y[0] > 0 else 0.0
            elif daily:
                second += beta * ((1.0 if y[t] > 0 else 0.0) - second)
            if y[t] > 0:
                begun, size = True, y[t]
                if not daily:
                    second = float(since)
                since = 0
        else:
            if daily:
                second += beta * ((1.0 if y[t] > 0 else 0.0) - second)
            if y[t] > 0:
                size += alpha * (y[t] - size)
                if not daily:
                    second += beta * (since - second)
                since = 0
        if begun:
            forecasts[t + 1] = size * second if daily else size / second
    return forecasts, size, second


@njit(cache=True)
def scaled_changes(changes, decay, variance):
    """Changes over the scale known before each: s² ← λs² + (1−λ)r² from `variance`; and the last s²."""
    scaled = np.empty(changes.size)
    for t in range(changes.size):
        scaled[t] = changes[t] / np.sqrt(variance)
        variance = decay * variance + (1 - decay) * changes[t] ** 2
    return scaled, variance
