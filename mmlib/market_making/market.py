"""Markets: a Brownian mid, and on each side fills whose intensity falls with the distance from the mid.

    dS = mu dt + sigma dW,        Lambda(delta) = A exp(−k delta)  on each side        (Avellaneda & Stoikov 2008)

with two optional frictions: each fill moves the mid against the maker by `impact` (Guéant, Lehalle & Fernandez-Tapia
2013, section 5.2), and costs `fee` (negative: a rebate). `Market` is that; a `TwoSidedMarket` has any intensity of
`mmlib.market_making.intensity` on each side.

Both have `sigma`, `mu`, `impact`, `fee`, the intensities `bid` and `ask`, and their rates `bid_rate` and `ask_rate`,
which is all that `evaluate`, `simulate` and `hjb` need.
"""

from dataclasses import dataclass

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

    @property
    def bid(self):
        """Intensity of fills of the maker's bids, an `Exponential`; `ask` is the same."""
        from mmlib.market_making.intensity import (
            Exponential,  # here, since a Market alone loads neither SciPy nor Numba
        )

        return Exponential(self.A, self.k)

    ask = bid

    def bid_rate(self, distance):
        """Fill intensity A·exp(−k·distance) of a bid, orders/time; shape of `distance`."""
        return self.bid.rate(distance)

    ask_rate = bid_rate


@dataclass(frozen=True)
class TwoSidedMarket:
    """A Brownian mid with any fill intensity on each side; as `hjb` solves it and `evaluate` judges it.

    Parameters
    ----------
    sigma : float
        Arithmetic volatility of the mid, price/√time, >= 0.
    bid, ask : Exponential, PowerLaw, Logistic, Linear or Measured
        Intensity of fills of the maker's bids and asks; `ask` is that of the bids by default.
    mu, impact, fee : float
        Drift (price/time), move of the mid at each fill (price, >= 0) and fee per unit filled (price, negative for a
        rebate), as in `Market`.

    Raises
    ------
    ValueError
        If a value is not finite or outside its range, or a side is not an intensity; the message names it.
    """

    sigma: float
    bid: object
    ask: object = None
    mu: float = 0.0
    impact: float = 0.0
    fee: float = 0.0

    def __post_init__(self):
        nonnegative("sigma", self.sigma, "volatility, price/√time")
        number("mu", self.mu, "drift, price/time")
        nonnegative("impact", self.impact, "move of the mid at each fill, price")
        number("fee", self.fee, "fee per unit filled, price")
        from mmlib.market_making.intensity import INTENSITIES

        if self.ask is None:
            object.__setattr__(self, "ask", self.bid)
        for name, side in (("bid", self.bid), ("ask", self.ask)):
            if not isinstance(side, INTENSITIES):
                known = ", ".join(shape.__name__ for shape in INTENSITIES)
                raise ValueError(f"{name} must be an intensity ({known}); got {side!r}")

    def bid_rate(self, distance):
        """Fill intensity of a bid at `distance`, orders/time; shape of `distance`."""
        return self.bid.rate(distance)

    def ask_rate(self, distance):
        """Fill intensity of an ask at `distance`, orders/time; shape of `distance`."""
        return self.ask.rate(distance)
