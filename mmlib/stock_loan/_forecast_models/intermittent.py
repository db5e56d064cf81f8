"""Demand that is mostly zero: Croston (1972), Syntetos–Boylan (2005), Teunter–Syntetos–Babai (2011)."""

import numpy as np
from scipy.special import ndtri

from mmlib import checks
from mmlib.stock_loan._forecast_models.law import Law, need, rms
from mmlib.stock_loan._kernels import smoothing as kernel


def croston(y, calendar, horizon, kept, *, alpha=0.1, beta=None):
    """Smoothed size over smoothed interval, both updated on days with demand; start: the first demand, its position."""
    return _law("croston", y, horizon, alpha, beta, daily=False)


def sba(y, calendar, horizon, kept, *, alpha=0.1, beta=None):
    """Croston × (1 − β/2), β the interval's constant: most of the bias off."""
    return _law("sba", y, horizon, alpha, beta, daily=False)


def tsb(y, calendar, horizon, kept, *, alpha=0.1, beta=None):
    """Smoothed size times smoothed probability, the latter updated every day: it forgets a name that has died."""
    return _law("tsb", y, horizon, alpha, beta, daily=True)


def _law(name, y, horizon, alpha, beta, daily):
    alpha = checks.in_interval("alpha", alpha, 0, 1, open="left", meaning="smoothing constant of the size")
    beta = alpha if beta is None else beta
    beta = checks.in_interval("beta", beta, 0, 1, open="left", meaning="smoothing constant of the interval")
    need(name, y, 2)
    if not (y > 0).any():
        raise ValueError(f"history must have a demand above 0 for {name!r}; got none")
    forecasts = kernel.intermittent(y, alpha, beta, daily)[0] * (1 - beta / 2 if name == "sba" else 1)
    residuals = y - forecasts[:-1]
    residuals = residuals[np.isfinite(residuals)]
    spread = rms(residuals) if len(residuals) else np.nan  # one demand, on the last day: no error is known
    point = np.full(horizon, forecasts[-1])

    def at(levels):  # normal errors; what would be below 0 is no demand, whose quantile is 0
        return np.tile(np.maximum(point[0] + spread * ndtri(levels), 0), (horizon, 1))

    return Law(point, residuals, at=at)
