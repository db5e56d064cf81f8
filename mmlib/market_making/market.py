"""The market of Avellaneda & Stoikov (2008): a Brownian mid and exponential fill intensities.

    dS = mu dt + sigma dW,        Lambda(delta) = A exp(−k delta)  on each side

with two optional frictions: each fill moves the mid against the maker by `impact` (Guéant, Lehalle & Fernandez-Tapia
2013, section 5.2), and costs `fee` (negative: a rebate).

A market is what `evaluate`, `simulate` and the models need of it: `sigma`, `mu`, `impact`, `fee`, and the two functions
`bid_rate` and `ask_rate`. Anything that has these is a market.
"""

from dataclasses import dataclass

import numpy as np

from mmlib.checks import nonnegative, number, positive


@dataclass(frozen=True)
class Market:
    """A Brownian mid with exponential fill intensities on both sides.

    Parameters
    ----------
    sigma : float
        Arithmetic volatility of the mid, price/√time, >= 0.
    A : float
        Fill intensity of a side at distance 0, orders/time, > 0.
    k : float
        Decay of the intensity with distance, 1/price, > 0.
    mu : float
        Drift of the mid, price/time.
    impact : float
        Move of the mid after each fill, up after an ask fill and down after a bid fill, price, >= 0.
    fee : float
        Fee per unit of each fill, price; negative for a rebate.

    Raises
    ------
    ValueError
        If a value is not finite or outside its range; the message names it.
    """

    sigma: float
    A: float
    k: float
    mu: float = 0.0
    impact: float = 0.0
    fee: float = 0.0

    def __post_init__(self):
        nonnegative("sigma", self.sigma, "volatility, price/√time")
        positive("A", self.A, "fill intensity at distance 0, orders/time")
        positive("k", self.k, "decay of the intensity, 1/price")
        number("mu", self.mu, "drift, price/time")
        nonnegative("impact", self.impact, "move of the mid at each fill, price")
        number("fee", self.fee, "fee per unit filled, price")

    def bid_rate(self, distance):
        """Fill intensity A·exp(−k·distance) of a bid, orders/time; shape of `distance`."""
        return self.A * np.exp(-self.k * np.asarray(distance, float))

    ask_rate = bid_rate


def exponential(market):
    """`market` if it is a `Market`, as models that know exponential intensities alone need it; ValueError otherwise."""
    if not isinstance(market, Market):
        raise ValueError(f"market must be a Market (exponential intensities); got {market!r}")
    return market
