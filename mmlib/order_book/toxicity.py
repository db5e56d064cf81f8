"""Who is on the other side: signed flow, VPIN, the chance that a trade is informed, and what the mid does after it.

**VPIN** (Easley, López de Prado & O'Hara 2012) with trades signed by the data: volume is cut into buckets of exactly V,
prints split where they straddle two, the rest dropped; the imbalance of a bucket is |buys − sells|/V, VPIN the mean of
the last n. It is not 0 for uninformed trades: with n equal trades a bucket the mean imbalance is
C(n−1, ⌊(n−1)/2⌋)/2^{n−1} (`uninformed_vpin`); only what exceeds it is news.

**Bayes** (Glosten & Milgrom 1985, with sizes): a trade of size x is informed with probability

    share·f(x) / (share·f(x) + (1 − share)·g(x)),

f and g the laws of the sizes of the informed and of the others, here geometric.
"""

from math import comb

import numpy as np
import pandas as pd

from mmlib.checks import in_interval, integer, positive
from mmlib.order_book import events as book
from mmlib.order_book.calibrate import aggressors, quoted


def prints(events: pd.DataFrame) -> pd.DataFrame:
    """Trades as the tape has them: `time_ns`, `sign` (+1 started by a buyer), `size`, `price` (currency)."""
    kind = events["kind"].to_numpy()
    chosen = events[(kind == book.EXECUTE) | (kind == book.TRADE)]
    sign = -chosen["side"].to_numpy().astype(np.int64)
    return pd.DataFrame(
        {
            "time_ns": chosen["time_ns"].to_numpy(),
            "sign": sign,
            "size": chosen["size"].to_numpy(),
            "price": chosen["price"].to_numpy(),
        }
    )


def sign_autocorrelation(events: pd.DataFrame, lags: tuple[int, ...] = (1, 10, 50)) -> pd.Series:
    """Autocorrelation of the signs of the prints at `lags`, NaN where there are not more prints than the lag."""
    x = prints(events)["sign"].to_numpy(float)
    found = {}
    for lag in lags:
        late, early = x[integer("lags", lag, least=1, meaning="prints") :], x[:-lag]
        varied = len(late) > 1 and np.ptp(late) > 0 and np.ptp(early) > 0
        found[lag] = float(np.corrcoef(late, early)[0, 1]) if varied else np.nan
    return pd.Series(found)


def imbalances(events: pd.DataFrame, volume: float) -> np.ndarray:
    """|buys − sells|/V of each bucket of V = `volume` units, shape (buckets,).

    Raises
    ------
    ValueError
        If `volume` is not positive, or there is less than a bucket.
    """
    V = positive("volume", volume, "units of a bucket")
    tape = prints(events)
    size, sign = tape["size"].to_numpy(float), tape["sign"].to_numpy()
    total = np.cumsum(size)
    buckets = int(np.floor(total[-1] / V * (1 + 1e-12))) if len(total) else 0
    if buckets < 1:
        raise ValueError(f"volume must be at most the volume traded ({size.sum():g} units); got {volume!r}")
    bought = np.interp(V * np.arange(buckets + 1), np.append(0.0, total), np.append(0.0, np.cumsum(size * (sign > 0))))
    return np.abs(2 * np.diff(bought) - V) / V


def vpin(events: pd.DataFrame, volume: float, buckets: int = 50) -> np.ndarray:
    """Mean imbalance of the last `buckets` buckets of `volume` units at each bucket, NaN before there are so many."""
    n = integer("buckets", buckets, least=1)
    total = np.append(0.0, np.cumsum(imbalances(events, volume)))
    out = np.full(len(total) - 1, np.nan)
    out[n - 1 :] = (total[n:] - total[:-n]) / n
    return out


def uninformed_vpin(trades: int) -> float:
    """Mean imbalance of a bucket of `trades` equal trades with signs of a fair coin."""
    n = integer("trades", trades, least=1)
    return comb(n - 1, (n - 1) // 2) / 2 ** (n - 1)


def informed(size: int, share: float, informed_mean: float, other_mean: float) -> float:
    """Probability that a trade of `size` lots is informed, by Bayes on geometric sizes 1, 2, … of the two means.

    Parameters
    ----------
    size : int
        Lots, >= 1.
    share : float
        Share of informed trades, 0 to 1.
    informed_mean, other_mean : float
        Mean sizes, lots, >= 1.
    """
    x = integer("size", size, least=1, meaning="lots")
    prior = in_interval("share", share, 0, 1)
    p, r = (1 / in_interval(name, mean, 1, np.inf, meaning="lots") for name, mean in
            (("informed_mean", informed_mean), ("other_mean", other_mean)))  # fmt: skip
    if prior in (0.0, 1.0):
        return prior
    with np.errstate(divide="ignore"):
        log_odds = np.log(prior) - np.log1p(-prior) + np.log(p) - np.log(r)
        log_odds += (x - 1) * (np.log1p(-p) - np.log1p(-r)) if x > 1 else 0.0
    return float(1 / (1 + np.exp(-log_odds)))


def markout(events: pd.DataFrame, seconds: tuple[float, ...] = (1, 10, 60)) -> pd.DataFrame:
    """What aggressors pay and what the mid then does, signed by them, a row an aggressor; currency.

    Columns: `time_ns`, `sign` (+1 a buyer), `size`, `depth` (worst price less the mid before), and for each of
    `seconds` the move of the mid from then on, NaN where the data end before. A maker at the touch earns `depth` and
    loses the move.
    """
    hits = aggressors(events)
    time, mid = quoted(events)
    sign = -hits["side"].to_numpy().astype(np.int64)
    out = pd.DataFrame({"time_ns": hits["time_ns"], "sign": sign, "size": hits["size"], "depth": hits["depth"]})
    for s in seconds:
        later = hits["time_ns"].to_numpy() + round(positive("seconds", s) * 1e9)
        move = sign * (mid[np.searchsorted(time, later, side="right") - 1] - hits["mid"].to_numpy())
        out[f"move_{s:g}s"] = np.where(later <= time[-1], move, np.nan)
    return out
