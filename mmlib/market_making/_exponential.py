"""What the models of exponential fill intensities share: mark-up, coupling of inventories, quotes from log-ratios.

Selling fills of intensity A exp(−k delta) at a cost p is a monopolist's problem; under aversion xi and for orders of
Delta = `size` units (Guéant 2017, section 3) the mark-up and the gain per unit of time are

    c1 = ln(1 + xi Delta/k)/(xi Delta),     A C (Delta/k) exp(−k p),     C = (1 + xi Delta/k)^−(1 + k/(xi Delta)),

with limits 1/k and 1/e as xi → 0. So the value theta = (Delta/k) ln v makes each of these models a linear equation of
v, in which eta = A C exp(−k (fee + impact/2)) couples neighbours, and its quotes need the log-ratios ln(v_q/v_{q+1}).
"""

import numpy as np

from mmlib.checks import in_interval, nonnegative, positive
from mmlib.market_making.intensity import Exponential
from mmlib.market_making.market import Market, TwoSidedMarket
from mmlib.market_making.quotes import one_sided


def exponential(market):
    """`market` as a `Market`: itself, or a `TwoSidedMarket` of two equal exponentials; else ValueError."""
    if isinstance(market, Market):
        return market
    if isinstance(market, TwoSidedMarket) and isinstance(market.bid, Exponential) and market.bid == market.ask:
        return _with(market, market.bid)
    raise ValueError(f"market must be a Market, or a TwoSidedMarket of equal Exponential sides; got {market!r}")


def exponential_ask(market):
    """As `exponential`, for a model that only asks: any bid will do."""
    if isinstance(market, TwoSidedMarket) and isinstance(market.ask, Exponential):
        return _with(market, market.ask)
    return exponential(market)


def _with(market, side):
    return Market(market.sigma, side.A, side.k, market.mu, market.impact, market.fee)


def constants(market, xi, size=1.0):
    """Mark-up and thinning of the fills' utility, for aversion `xi` and orders of `size` = Delta units.

    Returns
    -------
    c1 : float
        ln(1 + xi Delta/k)/(xi Delta), price; 1/k at xi = 0.
    C : float
        (1 + xi Delta/k)^−(1 + k/(xi Delta)); 1/e at xi = 0.
    """
    xi = nonnegative("xi", xi, "aversion to the risk of fills, 1/currency")
    k = exponential(market).k
    x = xi * positive("size", size, "units of an order") / k
    c1_k = np.log1p(x) / x if x > 0 else 1.0
    return c1_k / k, np.exp(-(c1_k + np.log1p(x)))


def eta(market, xi, size=1.0):
    """A C exp(−k (fee + impact/2)), 1/time: the coupling of neighbouring inventories, for `xi` and `size` as above.

    Raises
    ------
    ValueError
        If |fee + impact/2| exceeds 300/k: the solvers need room for the powers of eta.
    """
    market = exponential(market)
    _, C = constants(market, xi, size)
    limit = 300 / market.k
    toll = in_interval("fee + impact/2", market.fee + 0.5 * market.impact, -limit, limit, meaning="price, up to 300/k")
    return market.A * C * np.exp(-market.k * toll)


def largest_start(coupling):
    """Where to cut the log-ratios |u| at the horizon, so that the flows eta exp(±u) are finite; eta = `coupling`.

    |u| beyond 600 − max(ln eta, 0) is forgotten at once, in a time below exp(−600) max(1, 1/eta): the same u follow.
    """
    return 600.0 - max(float(np.log(coupling)), 0.0)


def distances(q, mark, fall):
    """Bids mark + fall_q and asks mark − fall_{q−1}, shape (n, m), NaN at the ends, of the inventories `q` (m,).

    `fall` (n, m − 1) is what the value falls from q to q + 1, price.
    """
    edge = np.zeros((len(fall), 1))
    return one_sided(q, mark + np.hstack([fall, edge]), mark - np.hstack([edge, fall]))


def log_values(ratios, log_centre):
    """ln v_q, shape (2Q + 1,), from the `ratios` ln(v_q/v_{q+1}), shape (2Q,), and ln v_0."""
    fall = np.concatenate([[0.0], np.cumsum(ratios)])
    return log_centre + fall[len(ratios) // 2] - fall
