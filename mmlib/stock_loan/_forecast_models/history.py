"""A history is checked once, where it comes in."""

import numpy as np
import pandas as pd


def checked(history, transform=None) -> pd.Series:
    """`history` if it is a Series of finite numbers ≥ 0 on days that rise without a hole; ValueError otherwise.

    A hole is a step of more than five days that is also more than three usual ones: the exchange was never shut for
    longer since 2001.
    """
    if not isinstance(history, pd.Series) or not isinstance(history.index, pd.DatetimeIndex):
        raise ValueError(f"history must be a Series on a DatetimeIndex; got {_kind(history)}")
    if not len(history):
        raise ValueError("history must have at least one value; got none")
    values, dates = history, history.index
    if history.dtype.kind not in "iuf":
        raise ValueError(f"history must be numbers; got dtype {history.dtype}")
    numbers = values.to_numpy(float)
    if dates.hasnans:
        raise ValueError(f"history must have a date in every row; got NaT in row {int(np.argmax(dates.isna()))}")
    steps = np.diff(dates.to_numpy().astype("datetime64[ns]").astype(np.int64)) / 86_400e9
    if (steps == 0).any():
        raise ValueError(f"history must have each date once; got {dates[1:][steps == 0][0]:%Y-%m-%d} twice")
    if (steps < 0).any():
        raise ValueError(f"history must have rising dates; got {dates[1:][steps < 0][0]:%Y-%m-%d} after a later one")
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise ValueError(f"history must be finite; got {numbers[bad][0]} on {dates[bad][0]:%Y-%m-%d}")
    below = numbers <= 0 if transform == "log" else numbers < 0
    if below.any():
        rule = "> 0 for a transform by log" if transform == "log" else ">= 0 (demand)"
        raise ValueError(f"history must be {rule}; got {numbers[below][0]:g} on {dates[below][0]:%Y-%m-%d}")
    hole = (steps > 5) & (steps > 3 * np.median(steps)) if len(steps) else np.zeros(0, bool)
    if hole.any():
        day = dates[:-1][hole][0]
        raise ValueError(f"history must have no gaps; got {steps[hole][0]:g} days without a value after {day:%Y-%m-%d}")
    return history


def _kind(history) -> str:
    if isinstance(history, pd.Series):
        return f"a Series on a {type(history.index).__name__}"
    return f"a {type(history).__name__}"
