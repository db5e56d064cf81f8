"""From events to a market: volatility, and the intensity of fills by distance, with what the data can say of them.

**Volatility.** The mid Y on a grid of a second (the last at or before; before the first row: that row's), n returns:

    rv5          Σ (five-minute ΔY)²                               biased little by noise, and noisy itself
    1s           Σ (ΔY)²                                           counts the bounce of the mid as risk
    tsrv         (Σ(Y_i − Y_{i−K})²/K − (n̄/n) Σ(ΔY)²)/(1 − n̄/n),   n̄ = (n−K+1)/K   (Zhang, Mykland & Aït-Sahalia 2005)
    kernel       γ_0 + 2 Σ_{h≤H} w(h/(H + 1)) γ_h, Parzen's w        (Barndorff-Nielsen, Hansen, Lunde & Shephard 2008)
    preaveraged  (n/N) Σ Ȳ²/(k ψ2) − ψ1 Σ(ΔY)²/(2 k² ψ2)             (Jacod, Li, Mykland, Podolskij & Vetter 2009)

each over T and under the root: price/√s. The last two see through the noise with a third of rv5's error.

**Intensity, pegged.** An order kept at distance δ from the mid is hit by every aggressor who goes that deep; the depth
of one is the distance from the mid just before it to the worst price it paid. With λ(δ) = A e^{−kδ} depths beyond `low`
are exponential; counted in bins of `step`, those beyond `high` in one, with n hits, u of them short of `high`, and S
the sum of their bins' numbers,

    k̂ = ln(1 + u/S)/step,        Â = (n/T) e^{k̂ low},

is maximum likelihood. Intervals are of the profile likelihood, right if hits are Poisson; as real ones come in bursts,
those of resampled five-minute blocks stand beside them. Distances are compared as whole numbers.
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from mmlib.checks import choice, integer, positive
from mmlib.market_making import Market, TwoSidedMarket
from mmlib.market_making.intensity import Exponential, Measured
from mmlib.order_book import events as book
from mmlib.order_book._pegged import Intensity, aggressors, grid, intensity, ols, period, pooled, quoted

__all__ = ["METHODS", "Intensity", "aggressors", "by_time", "fixed", "grid", "intensity", "market", "measured", "ols",
           "quoted", "two_sided", "volatility"]  # fmt: skip
METHODS = ("rv5", "1s", "tsrv", "kernel", "preaveraged", "rows")


def volatility(
    events: pd.DataFrame,
    method: str = "kernel",
    *,
    start: float | None = None,
    end: float | None = None,
    window: int | None = None,
) -> float:
    """Volatility of the mid, price/√s; the methods are those of the module's text, and "rows": every change, as it is.

    Parameters
    ----------
    events : DataFrame
        As in `events`.
    method : {"rv5", "1s", "tsrv", "kernel", "preaveraged", "rows"}
    start, end : float, optional
        Seconds of the file's clock; NASDAQ's session for LOBSTER's events, else the whole seconds covered.
    window : int, optional
        K, H or k, seconds; 300 for tsrv and 60 for the others by default.

    Raises
    ------
    ValueError
        If the method is unknown, or the period is shorter than two windows.
    """
    choice("method", method, METHODS)
    begin, finish = period(events, start, end)
    span = finish - begin
    if method == "rows":
        time, value = quoted(events)
        inside = (time >= round(begin * 1e9)) & (time <= round(finish * 1e9))
        return float(np.sqrt(np.sum(np.diff(value[inside]) ** 2) / span))
    window = 300 if window is None and method in ("rv5", "tsrv") else 60 if window is None else window
    window = integer("window", window, least=2, meaning="seconds")
    if method != "1s" and span < 2 * window:
        raise ValueError(f"end - start must be >= two windows, {2 * window} seconds; got {span:g}")
    y = grid(events, begin, finish, window if method == "rv5" else 1.0)
    step = np.diff(y)
    n, total = len(step), np.sum(step**2)
    if method == "tsrv":
        share = (n - window + 1) / window / n
        total = (np.sum((y[window:] - y[:-window]) ** 2) / window - share * total) / (1 - share)
    elif method == "kernel":
        x = np.arange(1, window + 1) / (window + 1)
        parzen = np.where(x <= 0.5, 1 - 6 * x**2 + 6 * x**3, 2 * (1 - x) ** 3)
        total += 2 * sum(w * step[h:] @ step[:-h] for h, w in enumerate(parzen, start=1))
    elif method == "preaveraged":
        j = np.arange(window + 1) / window
        g = np.minimum(j, 1 - j)
        psi1, psi2 = window * np.sum(np.diff(g) ** 2), np.mean(g[1:] ** 2)
        averaged = np.convolve(step, g[1:-1][::-1], "valid")
        total = n / len(averaged) * np.sum(averaged**2) / (window * psi2) - psi1 * total / (2 * window**2 * psi2)
    if not total > 0:
        raise ValueError(f"events must move: the variance that {method} finds is {total:.3g}, which has no root")
    return float(np.sqrt(total / span))


def market(
    events: pd.DataFrame,
    *,
    low: float,
    high: float,
    step: float,
    start: float | None = None,
    end: float | None = None,
    method: str = "kernel",
    window: int | None = None,
) -> Market:
    """The market of `events`: volatility by `method`, and one A and k for both sides by maximum likelihood.

    The hits of both sides are those of two equal sides, so A is of each side: half of all hits. Time in seconds.

    Parameters
    ----------
    events, low, high, step, start, end
        As for `intensity`.
    method, window
        As for `volatility`.

    Raises
    ------
    ValueError
        As `intensity` and `volatility`; and if there are too few hits for an A and a k.
    """
    A, k = pooled(events, low, high, step, start, end)
    if not np.isfinite(k):
        raise ValueError(f"low … high must hold hits at more than one distance; {low:g} … {high:g} does not")
    return Market(sigma=volatility(events, method, start=start, end=end, window=window), A=A, k=k)


def two_sided(
    events: pd.DataFrame,
    *,
    low: float,
    high: float,
    step: float,
    start: float | None = None,
    end: float | None = None,
    method: str = "kernel",
    window: int | None = None,
) -> TwoSidedMarket:
    """As `market`, with an A and a k for each side."""
    sides = {}
    for side in ("bid", "ask"):
        found = intensity(events, side, low=low, high=high, step=step, start=start, end=end, resamples=0)
        if not np.isfinite(found.k):
            raise ValueError(f"low … high must hold hits of the {side} at more than one distance")
        sides[side] = Exponential(found.A, found.k)
    return TwoSidedMarket(volatility(events, method, start=start, end=end, window=window), sides["bid"], sides["ask"])


def measured(fit: Intensity, least: int = 20) -> Measured:
    """The rates measured by `fit` as an intensity that `hjb` takes: no formula, at the distances hit often enough.

    Parameters
    ----------
    fit : Intensity
    least : int
        Distances hit less often are left out; of the farthest that are hit equally often only the nearest stays.

    Returns
    -------
    Measured
        Of `market_making.intensity`; extended beyond the measured range with the slopes at its ends.

    Raises
    ------
    ValueError
        If fewer than two different rates are left.
    """
    integer("least", least, least=1, meaning="hits")
    hits = np.rint(fit.rate / fit.rate[0] * fit.count) if fit.count else np.zeros(len(fit.rate))
    kept = int(np.sum(hits >= least))
    falls = np.flatnonzero(np.diff(fit.rate[:kept]) < 0)
    if not len(falls):
        raise ValueError(f"least must leave two different rates at least; {least} hits leave {min(kept, 1)}")
    return Measured(fit.distance[: falls[-1] + 2], fit.rate[: falls[-1] + 2], extend=True)


def by_time(
    events: pd.DataFrame,
    side: str,
    *,
    low: float,
    high: float,
    step: float,
    every: float = 1800.0,
    start: float | None = None,
    end: float | None = None,
) -> pd.DataFrame:
    """`intensity` of each period of `every` seconds: start, count, A, k and the ends of their 95 % intervals."""
    begin, finish = period(events, start, end)
    rows = []
    for left in np.arange(begin, finish, positive("every", every, "seconds")):
        right = min(left + every, finish)
        fit = intensity(events, side, low=low, high=high, step=step, start=left, end=right, resamples=0)
        rows.append((left, fit.count, fit.A, *fit.A_interval, fit.k, *fit.k_interval))
    return pd.DataFrame(rows, columns=["start", "count", "A", "A_low", "A_high", "k", "k_low", "k_high"])


def fixed(
    events: pd.DataFrame,
    side: str,
    *,
    distances: np.ndarray,
    block: float,
    start: float | None = None,
    end: float | None = None,
) -> tuple[float, float]:
    """A and k by the usual recipe, orders fixed in price for a block: not the intensity of a pegged order.

    At the start of each block of `block` seconds an order is placed at each of `distances` from the mid and left until
    it is hit or the block ends. Hits are Poisson with mean A e^{−kδ} times the time exposed. In a block the mid moves
    to the order: what is measured is the volatility as well.

    Returns
    -------
    A, k : float
        1/s and 1/price; NaN where fewer than two distances were hit.
    """
    begin, finish = period(events, start, end)
    seconds = positive("block", block, "seconds")
    x = np.sort(positive("distances", distances, "price", array=True).ravel())
    sign = {"ask": book.ASK, "bid": book.BID}[choice("side", side, ("ask", "bid"))]
    hits = aggressors(events)
    hits = hits[hits["side"] == sign]
    time, price = hits["time_ns"].to_numpy() / 1e9, hits["price"].to_numpy()
    starts = np.arange(begin, finish - seconds / 2, seconds)
    centres = grid(events, begin, finish, seconds)[: len(starts)]
    count, exposed = np.zeros(len(x)), np.zeros(len(x))
    for left, centre in zip(starts, centres, strict=True):
        inside = slice(*np.searchsorted(time, [left, left + seconds]))
        depth = np.maximum.accumulate(-sign * (price[inside] - centre)) if inside.start < inside.stop else np.empty(0)
        first = np.searchsorted(depth, x - 1e-9 * max(1.0, abs(centre)))  # the first that goes so deep
        count += first < len(depth)
        exposed += np.append(time[inside], left + seconds)[first] - left
    if np.sum(count > 0) < 2:
        return np.nan, np.nan

    def slope(k):
        weight = exposed * np.exp(-k * (x - x[0]))
        return np.sum(weight * x) / weight.sum() - np.sum(count * x) / count.sum()

    reach = 50 / (x[-1] - x[0])
    k = brentq(slope, -reach, reach, xtol=1e-12)
    return float(count.sum() / np.sum(exposed * np.exp(-k * x))), float(k)
