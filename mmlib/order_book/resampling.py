"""How well a period of events determines its market: the whole calibration, on blocks of time drawn with replacement.

Hits come in bursts and volatility in spells, so what one hour says is less than independent observations of that number
would. Blocks that are longer than the bursts are nearly independent, whatever goes on inside them (Künsch 1989): a
sample of as many blocks as there are, drawn with replacement, is another hour that might have been. Volatility and
both sides' hits are drawn together, so that what varies together stays together.
"""

import numpy as np
import pandas as pd

from mmlib.checks import integer, positive
from mmlib.order_book import calibrate
from mmlib.order_book._pegged import binned, period

LEAST = 10  #: Blocks below which there is nothing to resample.


def markets(
    events: pd.DataFrame,
    *,
    low: float,
    high: float,
    step: float,
    start: float | None = None,
    end: float | None = None,
    draws: int = 500,
    block: float = 300.0,
    window: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """`calibrate.market` of resampled blocks of the period: σ by the kernel, one A and k for both sides.

    Parameters
    ----------
    events, low, high, step, start, end
        As for `calibrate.market`.
    draws : int
        Samples.
    block : float
        Length of a block, whole seconds; what the period has left over is left out.
    window : int
        H of the kernel, seconds.
    seed : int

    Returns
    -------
    DataFrame
        A row a draw: `sigma` (price/√s), `A` (1/s), `k` (1/price); NaN where the draw has no root or too few hits. Row
        0 is no draw but every block once.

    Raises
    ------
    ValueError
        If the period has fewer than 10 blocks, or an argument is out of range.
    """
    begin, finish = period(events, start, end)
    length = integer("block", positive("block", block, "seconds"), least=1, meaning="whole seconds")
    blocks = int((finish - begin) // length)
    if blocks < LEAST:
        raise ValueError(
            f"block must leave {LEAST} blocks at least of {finish - begin:g} s; {length} s leaves {blocks}"
        )
    drawn = np.random.default_rng(seed).integers(blocks, size=(integer("draws", draws, least=1), blocks))
    drawn = np.vstack([np.arange(blocks), drawn])

    variance = _kernel(events, begin, begin + blocks * length, window).reshape(blocks, length).sum(1)[drawn].sum(1)
    hits = calibrate.aggressors(events)
    j, bins = binned(hits["depth"].to_numpy(), low, high, step)
    at = (hits["time_ns"].to_numpy() - round(begin * 1e9)) // (length * 10**9)
    used = (j >= 0) & (at >= 0) & (at < blocks)
    count = [np.bincount(at[used], weight, minlength=blocks)[drawn].sum(1)
             for weight in (np.ones(used.sum()), (j[used] < bins).astype(float), j[used].astype(float))]  # fmt: skip
    n, u, S = count
    with np.errstate(divide="ignore", invalid="ignore"):
        k = np.where((u > 0) & (S > 0), np.log1p(u / S) / step, np.nan)
        sigma = np.sqrt(np.where(variance > 0, variance, np.nan) / (blocks * length))
        A = 0.5 * n / (blocks * length) * np.exp(k * low)
    return pd.DataFrame({"sigma": sigma, "A": A, "k": k})


def _kernel(events, start, end, window):
    """What each second adds to the kernel's variance: ΔY_i² + 2 Σ_h w_h ΔY_i ΔY_{i−h}, shape (seconds,)."""
    move = np.diff(calibrate.grid(events, start, end))
    x = np.arange(integer("window", window, least=2, meaning="seconds") + 1) / (window + 1)
    parzen = np.where(x <= 0.5, 1 - 6 * x**2 + 6 * x**3, 2 * (1 - x) ** 3)
    parzen[1:] *= 2
    return move * np.convolve(move, parzen)[: len(move)]
