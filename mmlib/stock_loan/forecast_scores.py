"""Scores of forecasts: absolute and quantile errors, scaled; and whether one model is better than another.

MASE and RMSSE divide by the mean absolute, or squared, change over a season of the training part alone (Hyndman &
Koehler 2006). The pinball loss of a quantile q at level τ is max(τ (y−q), (τ−1)(y−q)); its mean over many levels is
half the CRPS. `crps` is exact for the piecewise linear quantile function through the given points, flat outside them.
The buckets of Syntetos, Boylan & Croston (2005) part series by the mean interval between demands, ADI (1.32), and the
squared coefficient of variation of their sizes (0.49).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from mmlib import checks
from mmlib.stock_loan._forecast_models.intervals import adapt, conformal

__all__ = [
    "adapt", "adi_cv2", "bucket", "by_bucket", "conformal", "coverage_band", "crps", "diebold_mariano", "mase",
    "pinball", "rmsse", "scale",
]  # fmt: skip


def scale(training, season: int = 1, power: int = 1) -> float:
    """Mean absolute change over a season of `training`, shape (n,); with ``power=2`` the mean square."""
    training, season = _vector("training", training), checks.integer("season", season, least=1, meaning="rows")
    if len(training) <= season:
        raise ValueError(f"training must have more than {season} values; got {len(training)}")
    found = float(np.mean(np.abs(training[season:] - training[:-season]) ** power))
    if found == 0:
        raise ValueError(f"training must change over a season of {season}, or errors have no scale; got a constant")
    return found


def mase(actual, forecast, training, season: int = 1) -> float:
    """Mean absolute error over `scale`."""
    actual, forecast = _pair(actual, forecast)
    return float(np.mean(np.abs(actual - forecast)) / scale(training, season))


def rmsse(actual, forecast, training, season: int = 1) -> float:
    """Root of the mean squared error over the mean squared change."""
    actual, forecast = _pair(actual, forecast)
    return float(np.sqrt(np.mean((actual - forecast) ** 2) / scale(training, season, power=2)))


def pinball(actual, quantiles, levels) -> np.ndarray:
    """Pinball losses: `actual` (…), `quantiles` (…, n), `levels` (n,) → (…, n)."""
    levels = checks.in_interval("levels", levels, 0, 1, open=True, array=True)
    above = np.asarray(actual, float)[..., None] - np.asarray(quantiles, float)
    return np.maximum(levels * above, (levels - 1) * above)


def crps(actual, quantiles, levels) -> np.ndarray:
    """∫ 2 pinball dτ, exact, for quantiles joined by straight lines over the levels and flat outside.

    On a line the loss is a quadratic of τ on either side of the level at which the line meets `actual`.

    Parameters
    ----------
    actual : float or array_like, shape (…)
    quantiles : array_like, shape (…, n)
        Not falling as levels rise.
    levels : array_like, shape (n,)
        Rising, in (0, 1).

    Returns
    -------
    ndarray, shape (…), in the unit of `actual`
    """
    levels, found = _vector("levels", levels), checks.finite("quantiles", quantiles)
    if np.shape(found)[-1:] != levels.shape or (np.diff(levels) <= 0).any() or levels[0] <= 0 or levels[-1] >= 1:
        raise ValueError(f"levels must rise within (0, 1), one for each quantile; got {levels!r}")
    if (np.diff(found) < 0).any():
        raise ValueError(f"quantiles must not fall as levels rise; got {quantiles!r}")
    y = np.asarray(checks.finite("actual", actual))[..., None]
    ends = np.concatenate([[0.0], levels, [1.0]])
    q = np.concatenate([found[..., :1], found, found[..., -1:]], axis=-1)
    a, width, left, rise = ends[:-1], np.diff(ends), q[..., :-1], np.diff(q)
    part = np.divide(y - left, rise, out=(y >= left).astype(float), where=rise > 0)
    meet = a + width * np.clip(part, 0, 1)

    def piece(low, high, over):  # Simpson's rule is exact for a quadratic
        at = np.stack(np.broadcast_arrays(low, (low + high) / 2, high))
        loss = (at - over) * (y - left - rise * (at - a) / width)
        return (high - low) * np.tensordot([1, 4, 1], loss, 1) / 6

    return 2 * (piece(a, meet, 0) + piece(meet, a + width, 1)).sum(-1)


def by_bucket(tables: Mapping, buckets: Mapping) -> pd.DataFrame:
    """Scores of many names, bucket by bucket: medians, since one or two names can carry a mean.

    Parameters
    ----------
    tables : mapping of name to DataFrame
        Each from `forecasting.evaluate`, the same models.
    buckets : mapping of name to str
        "smooth", …, or "GC", "special", or any other parting of the names.

    Returns
    -------
    DataFrame
        Indexed by bucket and model: `names`, how many; `of_naive`, the median of mase over naive's, where naive is one
        of the models; `better`, the part of the names in which p < .05 and dm < 0; medians of the other scores.
    """
    missing = [name for name in tables if name not in buckets]
    if missing or not tables:
        raise ValueError(f"buckets must have every name of tables, at least one; got none for {missing[:3]}")
    scores: pd.DataFrame = pd.concat(dict(tables), names=["name"])
    name, model = (scores.index.get_level_values(level) for level in ("name", "model"))
    better = (scores["p"] < 0.05) & (scores["dm"] < 0)
    scores = scores.select_dtypes("number").drop(columns=["dm", "p"])
    if "naive" in model:
        naive = scores["mase"].xs("naive", level="model")
        scores.insert(0, "of_naive", scores["mase"] / naive.loc[name].to_numpy())
    groups = [pd.Index([buckets[each] for each in name], name="bucket"), model]
    found = scores.groupby(groups, sort=False).median()
    found.insert(0, "names", scores.groupby(groups, sort=False).size())
    return found.assign(better=better.groupby(groups, sort=False).mean()).sort_index(level=0, sort_remaining=False)


class Comparison(NamedTuple):
    """A Diebold–Mariano statistic and its two-sided p; both NaN where the variance is not positive."""

    statistic: float
    p: float


def diebold_mariano(differences, horizon: int = 1) -> Comparison:
    """Diebold–Mariano test with the correction of Harvey, Leybourne & Newbold (1997).

    Parameters
    ----------
    differences : array_like, shape (n,)
        Loss of one model less that of the other, in time order.
    horizon : int
        Days ahead h: the variance has h − 1 autocovariances, with equal weights.

    Returns
    -------
    Comparison
        mean/√(variance/n) × √((n + 1 − 2h + h(h−1)/n)/n), against Student's t with n − 1 degrees of freedom. With equal
        weights the variance can come out negative or zero: then NaN, not a number.
    """
    d, h = _vector("differences", differences), checks.integer("horizon", horizon, least=1)
    n = len(d)
    if n <= h:
        raise ValueError(f"differences must be more than horizon={h}; got {n}")
    centred = d - d.mean()
    variance = (centred @ centred + 2 * sum(centred[k:] @ centred[:-k] for k in range(1, h))) / n
    correction = (n + 1 - 2 * h + h * (h - 1) / n) / n
    if variance <= 1e-14 * (d @ d) / n:
        return Comparison(np.nan, np.nan)
    statistic = float(d.mean() / np.sqrt(variance / n) * np.sqrt(correction))
    return Comparison(statistic, float(2 * stats.t.sf(abs(statistic), n - 1)))


def coverage_band(
    n: int, level: float, calibration: int | None = None, confidence: float = 0.95
) -> tuple[float, float]:
    """Where the share covered of `n` days must lie if an interval's level is right: exact central band.

    Binomial; with `calibration` scores behind one split conformal interval beta-binomial, since the coverage given them
    is Beta(k, calibration + 1 − k), k = ⌈(calibration + 1) level⌉.
    """
    n = checks.integer("n", n, least=1)
    level = checks.in_interval("level", level, 0, 1, open=True)
    tail = (1 - checks.in_interval("confidence", confidence, 0, 1, open=True)) / 2
    if calibration is None:
        law = stats.binom(n, level)
    else:
        size = checks.integer("calibration", calibration, least=1)
        k = int(np.ceil(np.round((size + 1) * level, 9)))
        if k > size:
            return 1.0, 1.0
        law = stats.betabinom(n, k, size + 1 - k)
    return float(law.ppf(tail) / n), float(law.ppf(1 - tail) / n)


def adi_cv2(values) -> tuple[float, float]:
    """Mean interval between demands, n over days with demand, and CV² of the sizes (ddof 0); NaN without demand."""
    values = _vector("values", values)
    sizes = values[values != 0]
    if not len(sizes):
        return np.nan, np.nan
    return len(values) / len(sizes), float(sizes.var() / sizes.mean() ** 2)


def bucket(values) -> str:
    """ "smooth", "intermittent", "erratic", "lumpy", or "none" where there is no demand."""
    adi, cv2 = adi_cv2(values)
    if np.isnan(adi):
        return "none"
    if adi < 1.32:
        return "smooth" if cv2 < 0.49 else "erratic"
    return "intermittent" if cv2 < 0.49 else "lumpy"


def _vector(name, values) -> np.ndarray:
    found = np.atleast_1d(checks.finite(name, values))
    if found.ndim != 1 or not len(found):
        raise ValueError(f"{name} must be one row of at least one number; got shape {found.shape}")
    return found


def _pair(actual, forecast):
    actual, forecast = _vector("actual", actual), _vector("forecast", forecast)
    if len(forecast) not in (1, len(actual)):
        raise ValueError(f"forecast must have one value or {len(actual)}, as actual has; got {len(forecast)}")
    return actual, forecast
