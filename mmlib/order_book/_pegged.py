"""Hits of an order pegged to the mid, and what fits them; `calibrate` has the definitions."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq, minimize_scalar

from mmlib.checks import choice, integer, number, positive
from mmlib.order_book import events as book
from mmlib.order_book.events import EventError, mid

SESSION = (34_200.0, 57_600.0)  #: NASDAQ's hours, seconds after midnight.
_SCALE = 1e8  # prices as whole numbers: of 1e-8 currency
_BLOCKS = 10  # least number that can be resampled
_LEAST = 5  # expected hits of a bin of the goodness of fit


@dataclass(frozen=True, eq=False)
class Intensity:
    """A e^{−k δ} fitted to the hits of a side.

    Attributes
    ----------
    A, k : float
        1/s and 1/price; NaN where no hit, or none short of `high`, is in the range.
    A_interval, k_interval : tuple of float
        95 % intervals of the profile likelihood.
    A_blocks, k_blocks : tuple of float
        95 % intervals from resampled blocks of five minutes; NaN where the period has fewer than 10.
    count : int
        Aggressors at least `low` deep.
    G, df, p_value : float, int, float
        Likelihood-ratio test of the exponential over the bins, those of fewer than 5 expected hits merged.
    distance, rate : ndarray
        The bins' lower ends (price) and how often an order pegged there was hit (1/s).
    """

    side: str
    A: float
    k: float
    A_interval: tuple[float, float]
    k_interval: tuple[float, float]
    A_blocks: tuple[float, float]
    k_blocks: tuple[float, float]
    count: int
    G: float
    df: int
    p_value: float
    distance: np.ndarray
    rate: np.ndarray


def period(events: pd.DataFrame, start: float | None, end: float | None) -> tuple[float, float]:
    """`start` and `end` in seconds of the file's clock; by default NASDAQ's session, else the seconds
    that every kind of row covers.

    Raises
    ------
    ValueError
        If the period is empty, or the events are.
    """
    if len(events) == 0:
        raise EventError("events must have a row at least; it is empty")
    if np.all(events["kind"] <= book.HALT):
        default = SESSION
    else:
        spans = events[events["kind"] != book.SNAPSHOT].groupby("kind")["time_ns"].agg(["min", "max"])
        default = (float(np.ceil(spans["min"].max() / 1e9)), float(np.floor(spans["max"].min() / 1e9)))
    begin = default[0] if start is None else number("start", start, "seconds of the file's clock")
    finish = default[1] if end is None else number("end", end, "seconds of the file's clock")
    if not begin < finish:
        raise ValueError(f"end must be > start = {begin:g} (seconds of the file's clock); got {finish:g}")
    return begin, finish


def quoted(events: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Times (ns) and mids (currency) by the exchange's clock: of the touches where there are any, else books."""
    touch = events[events["kind"] == book.TOUCH]
    if len(touch):
        bid, ask = (touch["price"].to_numpy()[(touch["side"] == side).to_numpy()] for side in (book.BID, book.ASK))
        time, value = touch["time_ns"].to_numpy()[(touch["side"] == book.BID).to_numpy()], 0.5 * (bid + ask)
    else:
        time, value = events["time_ns"].to_numpy(), mid(events)
        known = ~np.isnan(value)
        time, value = time[known], value[known]
    if not len(time):
        raise EventError("events must have a row with a bid and an ask at least")
    order = np.argsort(time, kind="stable")
    return time[order], value[order]


def grid(events: pd.DataFrame, start: float, end: float, every: float = 1.0) -> np.ndarray:
    """Mid at start, start + every, …, end: the last at or before; before the first row, that row's. Currency."""
    time, value = quoted(events)
    at = np.rint(np.arange(start, end + every / 2, every) * 1e9).astype(np.int64)
    return value[np.maximum(np.searchsorted(time, at, side="right") - 1, 0)]


def aggressors(events: pd.DataFrame) -> pd.DataFrame:
    """Trades grouped by who started them: `time_ns`, `side` (that was hit), `depth`, `size`, `price` (worst), `mid`.

    Fills of one (time, side) that follow each other among the trades are one aggressor's; the mid is that of the row
    before the first, for Binance the last one of an earlier time. The depth is that of the price from the mid.
    """
    lobster = bool(np.all(events["kind"] <= book.HALT))
    trades = np.flatnonzero((events["kind"] == (book.EXECUTE if lobster else book.TRADE)).to_numpy())
    time, hit = events["time_ns"].to_numpy(), events["side"].to_numpy()
    new = np.ones(len(trades), bool)
    new[1:] = (np.diff(time[trades]) != 0) | (np.diff(hit[trades]) != 0)
    first = np.flatnonzero(new)
    price = events["price"].to_numpy()[trades]
    frame = pd.DataFrame(
        {
            "time_ns": time[trades][first],
            "side": hit[trades][first],
            "size": np.add.reduceat(events["size"].to_numpy()[trades], first) if len(first) else [],
            "lowest": np.minimum.reduceat(price, first) if len(first) else [],
            "highest": np.maximum.reduceat(price, first) if len(first) else [],
        }
    )
    if lobster:
        value, at = mid(events), trades[first] - 1
    else:
        times, value = quoted(events)
        at = np.searchsorted(times, frame["time_ns"].to_numpy(), side="left") - 1
    reference = np.where(at >= 0, value[at], np.nan)
    frame["price"] = np.where(frame["side"] == book.ASK, frame["highest"], frame["lowest"])
    frame["depth"] = -frame["side"] * (_whole(frame["price"]) * 2 - _whole(2 * reference)) / (2 * _SCALE)
    frame["mid"] = reference
    return frame.loc[frame["depth"].notna(), ["time_ns", "side", "depth", "size", "price", "mid"]].reset_index(
        drop=True
    )


def intensity(
    events: pd.DataFrame,
    side: str,
    *,
    low: float,
    high: float,
    step: float,
    start: float | None = None,
    end: float | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Intensity:
    """A and k of a side by maximum likelihood in the pegged form, over distances from `low` to `high`.

    Parameters
    ----------
    events : DataFrame
        As in `events`.
    side : {"ask", "bid"}
        The side that is hit.
    low, high, step : float
        Range of distances and width of a bin, price; `high` − `low` is a whole number of steps.
    start, end : float, optional
        Seconds of the file's clock, as in `volatility`.
    resamples, seed : int
        Of the block bootstrap; 0 resamples leave its intervals NaN.

    Raises
    ------
    ValueError
        If an argument is out of range; the message names it.
    """
    begin, finish = period(events, start, end)
    span = finish - begin
    sign = {"ask": book.ASK, "bid": book.BID}[choice("side", side, ("ask", "bid"))]
    hits = aggressors(events)
    hits = hits[
        (hits["side"] == sign) & (hits["time_ns"] >= round(begin * 1e9)) & (hits["time_ns"] < round(finish * 1e9))
    ]
    number_of, bins = binned(hits["depth"].to_numpy(), low, high, step)
    inside = number_of >= 0
    j = number_of[inside]
    rate = np.bincount(j, minlength=bins + 1)[::-1].cumsum()[::-1] / span
    A, k = _fit(j, bins, low, step, span)
    A_interval, k_interval = _profile(j, bins, low, step, span)
    G, df = goodness(np.bincount(j, minlength=bins + 1), k * step)
    block = (hits["time_ns"].to_numpy()[inside] // 10**9 - int(begin)) // 300
    blocks = _resampled(j, block, int(np.ceil(span / 300)), bins, low, step, span, resamples, seed)
    return Intensity(
        side=side, A=A, k=k, A_interval=A_interval, k_interval=k_interval, A_blocks=blocks[0], k_blocks=blocks[1],
        count=len(j), G=G, df=df, p_value=float(stats.chi2.sf(G, df)) if df > 0 else np.nan,
        distance=low + step * np.arange(bins + 1), rate=rate,
    )  # fmt: skip


def pooled(
    events: pd.DataFrame, low: float, high: float, step: float, start: float | None, end: float | None
) -> tuple[float, float]:
    """One A (of a side) and k for the hits of both sides."""
    begin, finish = period(events, start, end)
    hits = aggressors(events)
    hits = hits[(hits["time_ns"] >= round(begin * 1e9)) & (hits["time_ns"] < round(finish * 1e9))]
    j, bins = binned(hits["depth"].to_numpy(), low, high, step)
    A, k = _fit(j[j >= 0], bins, low, step, finish - begin)
    return 0.5 * A, k


def ols(fit: Intensity) -> tuple[float, float]:
    """A and k by an unweighted line through the logarithms of the measured rates: the folk recipe."""
    hit = fit.rate > 0
    if hit.sum() < 2:
        return np.nan, np.nan
    slope, level = np.polyfit(fit.distance[hit], np.log(fit.rate[hit]), 1)
    return float(np.exp(level)), float(-slope)


def _whole(price):
    return np.rint(np.asarray(price, float) * _SCALE)


def binned(depth, low, high, step):
    """Number of each depth's bin (−1 below `low`, `bins` from `high` on), and how many bins there are."""
    low_, high_, step_ = (_whole(2 * positive(name, value, "price")) for name, value in
                          (("low", low), ("high", high), ("step", step)))  # fmt: skip
    bins = (high_ - low_) / step_ if step_ > 0 else 0
    if bins < 1 or bins != round(bins):
        raise ValueError(f"high must be low + a whole number of steps (price); got {low!r}, {high!r}, {step!r}")
    j = np.floor((_whole(2 * depth) - low_) / step_)
    return np.clip(j, -1, bins).astype(int), int(bins)


def _fit(j, bins, low, step, span):
    u, S = int(np.sum(j < bins)), int(np.sum(j))
    if u == 0 or S == 0:
        return np.nan, np.nan
    k = np.log1p(u / S) / step
    return float(len(j) / span * np.exp(k * low)), float(k)


def _profile(j, bins, low, step, span):
    """95 % intervals of A and k where the profile of the likelihood has fallen by half of chi²'s 95 % point."""
    A, k = _fit(j, bins, low, step, span)
    if not np.isfinite(k):
        return (np.nan, np.nan), (np.nan, np.nan)
    n, u, S = len(j), int(np.sum(j < bins)), int(np.sum(j))
    drop = stats.chi2.ppf(0.95, 1) / 2

    def shape(k):
        return u * np.log(-np.expm1(-k * step)) - k * step * S

    def of_A(log_A):
        def loss(k):
            return -(n * (log_A - k * low) - np.exp(log_A - k * low) * span + shape(k))

        best = minimize_scalar(loss, bracket=(k, 1.1 * k), options={"xtol": 1e-12})
        return -best.fun

    def ends(curve, top, centre, width):
        low_end, high_end = centre - width, centre + width
        while curve(low_end) > top - drop:
            low_end -= width
        while curve(high_end) > top - drop:
            high_end += width
        return tuple(brentq(lambda x: curve(x) - top + drop, a, b, xtol=1e-12)
                     for a, b in ((low_end, centre), (centre, high_end)))  # fmt: skip

    log_k = ends(lambda x: shape(np.exp(x)), shape(k), np.log(k), 3 / np.sqrt(u))
    log_A = ends(of_A, of_A(np.log(A)), np.log(A), 3 * np.sqrt((1 + (k * low) ** 2) / n))
    return tuple(map(float, np.exp(log_A))), tuple(map(float, np.exp(log_k)))


def goodness(counts: np.ndarray, x: float) -> tuple[float, int]:
    """G = 2 Σ O ln(O/E) and its degrees of freedom, for `counts` of geometric bins with ratio e^{−x}, the last open.

    Bins of fewer than 5 expected hits are merged from the far end.
    """
    n, last = counts.sum(), len(counts) - 1
    if not (n > 0 and np.isfinite(x)):
        return np.nan, 0
    expected = n * np.append(np.exp(-x * np.arange(last)) * -np.expm1(-x), np.exp(-x * last))
    observed: list[float] = []
    merged: list[float] = []
    o = e = 0.0
    for count, mean in zip(counts[::-1], expected[::-1], strict=True):
        o, e = o + count, e + mean
        if e >= _LEAST:
            observed.append(o)
            merged.append(e)
            o = e = 0.0
    if merged:
        observed[-1] += o
        merged[-1] += e
    found, model = np.array(observed), np.array(merged)
    with np.errstate(divide="ignore", invalid="ignore"):
        G = 2 * np.sum(np.where(found > 0, found * np.log(found / model), 0.0))
    return float(G), max(len(found) - 2, 0)


def _resampled(j, block, blocks, bins, low, step, span, resamples, seed):
    if resamples == 0 or blocks < _BLOCKS:
        return (np.nan, np.nan), (np.nan, np.nan)
    n = np.bincount(block, minlength=blocks)[:blocks].astype(float)
    u = np.bincount(block, j < bins, minlength=blocks)[:blocks]
    S = np.bincount(block, j, minlength=blocks)[:blocks]
    drawn = np.random.default_rng(seed).integers(blocks, size=(integer("resamples", resamples, least=0), blocks))
    n, u, S = n[drawn].sum(1), u[drawn].sum(1), S[drawn].sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        k = np.log1p(u / S) / step
        A = n / span * np.exp(k * low)
    return tuple(tuple(float(x) for x in np.nanquantile(v, [0.025, 0.975])) for v in (A, k))
