"""Exponential smoothing: simple, Theta, and ETS with an additive damped trend, each at its least sum of squares."""

import numpy as np

from mmlib import checks
from mmlib.stock_loan._forecast_models.law import Law, need, rms
from mmlib.stock_loan._kernels import smoothing as kernel


def ses(y, calendar, horizon, kept, *, alpha=None):
    """Simple exponential smoothing from ℓ₀ = y₁; α by least squares where it is not given."""
    need("ses", y, 3)
    alpha = _alpha(y, alpha)
    errors, level = kernel.level_errors(y, alpha, y[0])
    return Law(np.full(horizon, level), errors[1:], _spread(errors[1:], np.full(horizon - 1, alpha)))


def theta(y, calendar, horizon, kept, *, alpha=None):
    """Simple smoothing plus half the slope b of the least-squares line (Hyndman & Billah 2003):

    f_h = ℓ + ½b [h − 1 + (1 − (1−α)ⁿ)/α]
    """
    need("theta", y, 3)
    alpha, n = _alpha(y, alpha), len(y)
    errors, level = kernel.level_errors(y, alpha, y[0])
    time = np.arange(n) - (n - 1) / 2
    half = 0.5 * (time @ y) / (time @ time)
    drift = half * (1 - (1 - alpha) ** np.arange(n + 1)) / alpha
    point = level + half * np.arange(horizon) + drift[n]
    residuals = (errors - drift[:-1])[1:]
    return Law(point, residuals, _spread(residuals, np.full(horizon - 1, alpha)))


def ets(y, calendar, horizon, kept, *, form=None):
    """ETS with additive errors: "ANN" (level), "AAdN" (damped trend), or, if None, the one with the lower AIC.

    The starting level and slope enter the errors linearly and are solved for, so that the search is over one or three
    parameters only.
    """
    if form is not None:
        checks.choice("form", form, ("ANN", "AAdN"))
    need("ets", y, 10)
    fits = [estimate(y, name) for name in ((form,) if form else ("ANN", "AAdN"))]
    best = min(fits, key=lambda fit: fit["aic"])
    point, gains = extrapolate(best, horizon)
    residuals = best["errors"]
    return Law(point, residuals, _spread(residuals, gains), kept=None)


def estimate(y, form):
    """Least squares of one form: parameters, errors, last state, `sse` and `aic`."""
    n = len(y)
    if form == "ANN":
        alpha = kernel.best_level(y, True)
        errors, level = kernel.level_errors(y, alpha, kernel.level_sse(y, alpha, True)[1])
        fit, count = dict(alpha=alpha, beta=0.0, phi=0.0, level=level, slope=0.0), 3
    else:
        alpha, share, phi = kernel.best_trend(y)
        _, start, slope = kernel.trend_start(y, alpha, alpha * share, phi)
        errors, level, slope = kernel.trend_errors(y, alpha, alpha * share, phi, start, slope)
        fit, count = dict(alpha=alpha, beta=alpha * share, phi=phi, level=level, slope=slope), 6
    sse = float(errors @ errors)
    return fit | dict(form=form, errors=errors, sse=sse, aic=n * np.log(max(sse, 1e-300) / n) + 2 * count)


def extrapolate(fit, horizon):
    """Points ℓ + (φ + … + φ^h) b and the gains α + β (φ + … + φ^j) of the days between."""
    damped = np.cumsum(fit["phi"] ** np.arange(1, horizon + 1))
    return fit["level"] + damped * fit["slope"], fit["alpha"] + fit["beta"] * damped[:-1]


def _alpha(y, alpha):
    if alpha is None:
        return float(kernel.best_level(y, False))
    return checks.in_interval("alpha", alpha, 0, 1, open="left", meaning="smoothing constant")


def _spread(residuals, gains):
    return rms(residuals) * np.sqrt(1 + np.concatenate([[0.0], np.cumsum(np.square(gains))]))
