"""Rules without estimates: the last value, the same day last week, a mean, quantiles of past changes."""

import numpy as np

from mmlib import checks
from mmlib.stock_loan._forecast_models.law import Law, need, rms
from mmlib.stock_loan._kernels.smoothing import scaled_changes


def naive(y, calendar, horizon, kept):
    """The last value; the spread of a random walk, σ√h."""
    need("naive", y, 2)
    residuals = np.diff(y)
    steps = np.arange(1, horizon + 1)
    return Law(np.full(horizon, y[-1]), residuals, rms(residuals) * np.sqrt(steps))


def seasonal_naive(y, calendar, horizon, kept, *, season=5):
    """The value `season` rows before; the spread grows with every season passed."""
    season = checks.integer("season", season, least=1, meaning="rows")
    need("seasonal_naive", y, season + 1, "a season and a day")
    residuals = y[season:] - y[:-season]
    steps = np.arange(horizon)
    return Law(y[len(y) - season + steps % season], residuals, rms(residuals) * np.sqrt(1 + steps // season))


def moving_average(y, calendar, horizon, kept, *, window=5):
    """The mean of the last `window` values."""
    window = checks.integer("window", window, least=1, meaning="rows")
    need("moving_average", y, window + 1)
    means = np.lib.stride_tricks.sliding_window_view(y, window).mean(1)
    residuals = y[window:] - means[:-1]
    return Law(np.full(horizon, means[-1]), residuals, np.full(horizon, rms(residuals)))


def rolling_quantile(y, calendar, horizon, kept, *, window=120):
    """Linear quantiles of the last `window` changes over as many days, around the last value."""
    window = checks.integer("window", window, least=2, meaning="changes")
    need("rolling_quantile", y, window + horizon, f"{window} changes over {horizon} days")
    changes = [(y[h:] - y[:-h])[-window:] for h in range(1, horizon + 1)]
    return _around_last(y, changes, np.ones(horizon))


def ewma_quantile(y, calendar, horizon, kept, *, window=120, decay=0.94, variance=None):
    """As `rolling_quantile`, but of changes over the scale known before each, times the scale now.

    s² ← λs² + (1−λ)r² with λ = `decay`, from `variance` or, if None, that of the first 20 changes (ddof 0); where these
    do not vary, as before a name's first demand, that of all known changes (fallback "variance of all changes").
    """
    window = checks.integer("window", window, least=2, meaning="changes")
    decay = checks.in_interval("decay", decay, 0, 1, open=True)
    if variance is not None:
        variance = checks.positive("variance", variance, "square of the scale before the first change")
    start = 20 if variance is None else 0
    need("ewma_quantile", y, max(window, start) + horizon, f"{window} changes over {horizon} days")
    scaled, scale, fallback = [], np.empty(horizon), None
    for h in range(1, horizon + 1):
        changes = y[h:] - y[:-h]
        first = float(np.var(changes[:20])) if variance is None else variance
        if first == 0:
            first, fallback = float(np.var(changes)), "variance of all changes"
        z, last = scaled_changes(changes, decay, first)
        scaled.append(z[-window:])
        scale[h - 1] = np.sqrt(last)
    return _around_last(y, scaled, scale, fallback)


def _around_last(y, changes, scale, fallback=None):
    def at(levels):
        return np.array([y[-1] + s * np.quantile(c, levels) for c, s in zip(changes, scale, strict=True)])

    return Law(at(np.array([0.5]))[:, 0], np.diff(y), at=at, fallback=fallback)
