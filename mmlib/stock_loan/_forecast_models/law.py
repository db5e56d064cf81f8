"""What a model says of the next days: a point and a spread for each, or quantiles; and the errors it made so far."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri


@dataclass(frozen=True, eq=False)
class Law:
    """The next days as a model sees them, in the scale the model works in.

    Attributes
    ----------
    point : ndarray, shape (h,)
        The forecast: mean and median where the law is normal.
    residuals : ndarray
        One-step errors in the sample, oldest first, without start values.
    sd : ndarray, shape (h,), optional
        Standard deviations of a normal law.
    at : callable, optional
        Quantiles (h, n) for n levels, where the law is not normal.
    kept : object
        What the model keeps when a day is added, instead of estimating again.
    fallback : str, optional
        What stood in for what the history does not tell, by name.
    """

    point: np.ndarray
    residuals: np.ndarray
    sd: np.ndarray | None = None
    at: Callable[[np.ndarray], np.ndarray] | None = None
    kept: Any = None
    fallback: str | None = None

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles, shape (h, n)."""
        if self.at is not None:
            return self.at(levels)
        assert self.sd is not None
        return self.point[:, None] + self.sd[:, None] * ndtri(levels)


def rms(errors: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(errors))))


def need(model: str, values: np.ndarray, least: int, why: str = "") -> None:
    """ValueError if there are fewer than `least` values."""
    if len(values) < least:
        raise ValueError(
            f"history must have at least {least} values for {model!r}{f' ({why})' if why else ''}; got {len(values)}"
        )
