"""Risk of independent samples of a profit, each number with its standard error.

Every function takes independent, identically distributed samples and returns an `Estimate`. Losses are positive: with
L = −profit,

    VaR_p  = inf{x : P(L <= x) >= p},      CVaR_p = VaR_p + E[(L − VaR_p)⁺] / (1 − p)

(Rockafellar & Uryasev 2000, eq. 4). The standard errors are asymptotic, those of the delta method or of the influence
function, except VaR's, which is half the width of Woodruff's (1952) interval between two order statistics.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mmlib.checks import finite, in_interval


class Estimate(NamedTuple):
    """An estimate and its standard error (NaN where the samples are too few to tell)."""

    value: float
    standard_error: float


def mean(samples: ArrayLike) -> Estimate:
    """Mean of `samples` (n,), with standard error s/√n."""
    x = _samples(samples)
    return Estimate(float(x.mean()), _mean_error(x))


def std(samples: ArrayLike) -> Estimate:
    """Standard deviation s of `samples` (n,), divisor n − 1.

    Delta method on the variance: standard error √((m₄ − s⁴)/n) / (2s), m₄ the fourth central moment (Cramér 1946,
    section 27.4). For normal samples that is s/√(2n). A constant sample gives 0 ± 0.
    """
    x = _samples(samples)
    s = _std(x)
    if s == 0:
        return Estimate(0.0, 0.0)
    fourth = np.mean(((x - x.mean()) / s) ** 4)  # over s⁴, which may be beyond a double where s is not
    return Estimate(s, float(s * np.sqrt(max(fourth - 1, 0.0) / len(x)) / 2))


def sharpe(samples: ArrayLike) -> Estimate:
    """Sharpe ratio SR = mean/std of `samples` (n,), a profit a run; not annualised.

    Delta method: standard error √((1 − g₃·SR + (g₄ − 1)/4·SR²)/n) with skewness g₃ and kurtosis g₄ (Mertens 2002); for
    normal samples (g₃ = 0, g₄ = 3) it is Lo's (2002, eq. 9) √((1 + SR²/2)/n).

    Raises
    ------
    ValueError
        If the samples are fewer than two or all equal.
    """
    x = _samples(samples)
    s = _std(x)
    if not s > 0:
        raise ValueError(f"samples must be at least two and not all equal for a Sharpe ratio; got {len(x)} of std {s}")
    ratio = float(x.mean() / s)
    z = (x - x.mean()) / x.std()
    variance = 1 - np.mean(z**3) * ratio + (np.mean(z**4) - 1) / 4 * ratio**2
    return Estimate(ratio, float(np.sqrt(max(variance, 0.0) / len(x))))


def drawdowns(wealth: ArrayLike) -> np.ndarray:
    """Largest fall max over t of (max over s <= t of W_s) − W_t along the last axis of `wealth` (..., times)."""
    wealth = finite("wealth", wealth, "currency")
    return np.max(np.maximum.accumulate(wealth, axis=-1) - wealth, axis=-1)


def drawdown(wealth: ArrayLike) -> Estimate:
    """Mean over paths of the maximal drawdown of `wealth` (paths, times); currency."""
    return mean(np.atleast_1d(drawdowns(wealth)))


def var(samples: ArrayLike, level: float = 0.95) -> Estimate:
    """Value at risk of a profit from `samples` (n,): the order statistic ⌈n·level⌉ of the losses.

    Half of Woodruff's interval is the standard error: with r = √(n·level·(1 − level)), half the distance between the
    order statistics r below and r above; NaN if the samples do not reach that far.

    Raises
    ------
    ValueError
        If `level` is not in (0, 1).
    """
    losses, level = _losses(samples, level)
    n = len(losses)
    rank = _rank(n, level)
    reach = int(np.ceil(np.sqrt(n * level * (1 - level))))
    if rank - reach < 0 or rank + reach > n - 1:
        return Estimate(float(losses[rank]), np.nan)
    width = losses[rank + reach] - losses[rank - reach]
    return Estimate(float(losses[rank]), float(width / 2 * np.sqrt(n * level * (1 - level)) / reach))


def cvar(samples: ArrayLike, level: float = 0.95) -> Estimate:
    """Conditional value at risk (expected shortfall) of a profit from `samples` (n,).

    VaR + mean((L − VaR)⁺)/(1 − level). Its influence function is VaR − CVaR + (L − VaR)⁺/(1 − level), so that the
    standard error is std((L − VaR)⁺)/((1 − level)√n) (Trindade, Uryasev, Shapiro & Zrazhevsky 2007, section 2).

    Raises
    ------
    ValueError
        If `level` is not in (0, 1).
    """
    losses, level = _losses(samples, level)
    at_risk = losses[_rank(len(losses), level)]
    excess = np.maximum(losses - at_risk, 0.0) / (1 - level)
    return Estimate(float(at_risk + excess.mean()), _mean_error(excess))


def _samples(samples):
    x = np.atleast_1d(finite("samples", samples, "one number a run"))
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"samples must be one row of at least one number; got shape {x.shape}")
    return x


def _losses(samples, level):
    level = in_interval("level", level, 0, 1, open=True, meaning="probability that the loss is not exceeded")
    return np.sort(-_samples(samples)), level


def _rank(n, level):
    """Index of the smallest order statistic with at least a share `level` of the samples at or below it."""
    return int(np.ceil(n * level * (1 - 1e-12))) - 1  # 100·0.95 is 95, whatever its last bit says


def _std(x):
    return float(x.std(ddof=1)) if len(x) > 1 else np.nan


def _mean_error(x):
    return _std(x) / float(np.sqrt(len(x)))
