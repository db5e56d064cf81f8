"""Intervals round a point: the model's own law, quantiles of its errors, split and adaptive conformal."""

import numpy as np

from mmlib import checks
from mmlib.stock_loan._forecast_models.law import Law

#: Options that every named model takes, with their defaults.
INTERVALS = {"interval": "model", "calibration": 120, "gamma": 0.01}


class Interval:
    """How quantiles are made of a law; for "adaptive" with the level α of every pair, as it has moved so far."""

    def __init__(self, interval: str, calibration: int, gamma: float):
        self.kind = checks.choice("interval", interval, ("model", "residual", "conformal", "adaptive"))
        self.calibration = checks.integer("calibration", calibration, least=1, meaning="errors")
        self.gamma = checks.positive("gamma", gamma, "step of the adaptive level")
        self.alpha: dict[float, float] = {}

    def quantiles(self, law: Law, levels: np.ndarray) -> np.ndarray:
        """Quantiles of `law`, shape (h, n)."""
        if self.kind == "model":
            return law.quantiles(levels)
        scores = self._scores(law)
        if self.kind == "residual":
            return law.point[:, None] + np.quantile(scores, levels)
        if self.kind == "adaptive":
            for level in levels:
                self.alpha.setdefault(_pair(level), _pair(level))
        reach = [np.sign(p - 0.5) * self._reach(scores, _pair(p)) if p != 0.5 else 0.0 for p in levels]
        return law.point[:, None] + np.array(reach)

    def learn(self, law: Law, value: float) -> None:
        """Move each α by γ (α* − error): error 1 if `value` was outside."""
        if self.kind == "adaptive":
            scores, miss = self._scores(law), abs(value - law.point[0])
            for target, alpha in self.alpha.items():
                outside = miss > self._reach(scores, target)
                self.alpha[target] = adapt(alpha, target, self.gamma, outside)

    def _scores(self, law: Law) -> np.ndarray:
        if len(law.residuals) < self.calibration:
            raise ValueError(
                f"history must leave {self.calibration} one-step errors (calibration) for interval {self.kind!r}; "
                f"got {len(law.residuals)}"
            )
        return law.residuals[-self.calibration :]

    def _reach(self, scores, alpha):
        return conformal(np.abs(scores), self.alpha.get(alpha, alpha))


def _pair(level) -> float:
    """α of the central interval that ends at a level, rounded so that both ends find the same one."""
    return round(float(2 * min(level, 1 - level)), 12)


def conformal(scores, alpha: float) -> float:
    """The k-th smallest score, k = ⌈(n+1)(1−α)⌉; infinite if k > n, so for α <= 0; and 0 for α >= 1 (an empty set)."""
    n = len(scores)
    k = int(np.ceil(np.round((n + 1) * (1 - alpha), 9)))
    if k > n:
        return np.inf
    return float(np.sort(scores)[k - 1]) if k >= 1 else 0.0


def adapt(alpha: float, target: float, gamma: float, outside: bool) -> float:
    """The level after a day: α + γ (α* − error)."""
    return alpha + gamma * (target - float(outside))
