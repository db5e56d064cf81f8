"""Fill intensities Λ(δ), exponential and beyond: a `TwoSidedMarket` has any of them on each side.

A maker whose order is as good as filled at cost r (the "reservation" distance) and who has constant risk aversion a
earns U(δ − r) when filled at distance δ, U(y) = (1 − exp(−a y))/a, or y for a = 0. The best quote

    δ*(r) = argmax Λ(δ) U(δ − r)    solves    δ = r + ln(1 + a m(δ))/a,    m(δ) = −Λ(δ)/Λ'(δ)

(Guéant 2017, section 3): the cost plus a mark-up, that of a monopolist when a = 0. So an intensity is here a small
frozen object with `rate` Λ and `best_distance` δ*. The root is unique for all shapes below
but the measured one, which is searched over its whole range.

    Exponential(A, k)           A exp(−kδ)                  Avellaneda & Stoikov 2008, eq. 2.11
    PowerLaw(A, delta0, n)      A (1 + δ/δ0)^−n for δ >= 0, continued below the mid by A exp(−nδ/δ0), which has the
                                same value and slope at 0: a power law alone would be infinite at δ = −δ0
    Logistic(A, k, delta0)      A / (1 + exp(k(δ − δ0)))    Bergault & Guéant 2021 (their α = −k δ0, β = k)
    Linear(A, k)                max(A − kδ, 0)
    Measured(distances, rates)  monotone cubic (PCHIP, Fritsch & Carlson 1980) through the logarithm of measured rates
"""

import itertools
from dataclasses import dataclass

import numpy as np

from mmlib.checks import finite, number, positive
from mmlib.market_making._kernels import intensity as kernels

EVERYWHERE = (-np.inf, np.inf)
NO_TABLE = (np.empty(0), np.empty((4, 0)))


def premium(markup, risk_aversion):
    """ln(1 + a m)/a, what a maker of risk aversion a adds to the cost; m for a = 0. Price, shape of `markup`."""
    return np.log1p(risk_aversion * markup) / risk_aversion if risk_aversion > 0 else markup


def utility(gain, risk_aversion):
    """U(y) = (1 − exp(−a y))/a of a gain y; y for a = 0. Price, shape of `gain`."""
    return -np.expm1(-risk_aversion * gain) / risk_aversion if risk_aversion > 0 else gain


@dataclass(frozen=True)
class Exponential:
    """Λ = A exp(−kδ): A > 0 orders/time at the mid, decay k > 0, 1/price. ValueError for other values."""

    A: float
    k: float
    domain = EVERYWHERE
    highest = np.inf  # the rate's least upper bound, orders/time

    def __post_init__(self):
        positive("A", self.A, "fill intensity at distance 0, orders/time")
        positive("k", self.k, "decay of the intensity, 1/price")

    def rate(self, distance):
        """Orders/time, shape of `distance`."""
        return self.A * np.exp(-self.k * np.asarray(distance, float))

    def best_distance(self, reservation, risk_aversion=0.0):
        """argmax Λ(δ) U(δ − reservation) = reservation + ln(1 + a/k)/a; price, shape of `reservation`."""
        return np.asarray(reservation, float) + premium(1 / self.k, risk_aversion)


@dataclass(frozen=True)
class PowerLaw:
    """Λ = A (1 + δ/δ0)^−n for δ >= 0 and A exp(−nδ/δ0) below: A > 0 orders/time, δ0 > 0 price, n > 0.

    A maker without risk aversion needs n > 1: for n <= 1 it pays to quote at an infinite distance (ValueError).
    """

    A: float
    delta0: float
    n: float
    domain = EVERYWHERE
    highest = np.inf

    def __post_init__(self):
        positive("A", self.A, "fill intensity at distance 0, orders/time")
        positive("delta0", self.delta0, "scale of the distance, price")
        positive("n", self.n, "exponent of the power law")

    def rate(self, distance):
        """Orders/time, shape of `distance`."""
        x = np.asarray(distance, float) / self.delta0
        return self.A * np.exp(-self.n * np.where(x > 0, np.log1p(np.maximum(x, 0)), x))

    def best_distance(self, reservation, risk_aversion=0.0):
        """argmax Λ(δ) U(δ − reservation), price, shape of `reservation`; closed form for risk aversion 0."""
        if risk_aversion > 0:
            return _newton(kernels.POWER_LAW, (self.delta0, self.n), reservation, risk_aversion)
        if self.n <= 1:
            raise ValueError(f"n must be > 1 (exponent of the power law, without risk aversion); got {self.n!r}")
        r = np.asarray(reservation, float)
        below = r + self.delta0 / self.n
        return np.where(below > 0, (self.n * r + self.delta0) / (self.n - 1), below)


@dataclass(frozen=True)
class Logistic:
    """Λ = A/(1 + exp(k(δ − δ0))): at most A > 0 orders/time, half of it at δ0 (price), steepness k > 0, 1/price."""

    A: float
    k: float
    delta0: float
    domain = EVERYWHERE
    highest = property(lambda self: self.A)

    def __post_init__(self):
        positive("A", self.A, "largest fill intensity, orders/time")
        positive("k", self.k, "steepness of the intensity, 1/price")
        number("delta0", self.delta0, "distance of half the largest intensity, price")

    def rate(self, distance):
        """Orders/time, shape of `distance`."""
        from scipy.special import expit  # here, as all of SciPy: much to load for those who do not call it

        return self.A * expit(-self.k * (np.asarray(distance, float) - self.delta0))

    def best_distance(self, reservation, risk_aversion=0.0):
        """argmax Λ(δ) U(δ − reservation), price, shape of `reservation`; for risk aversion 0 by Lambert's function.

        δ = r + (1 + W(exp(k(δ0 − r) − 1)))/k; Wright's ω(x) = W(eˣ) does not overflow.
        """
        if risk_aversion > 0:
            return _newton(kernels.LOGISTIC, (self.k, self.delta0), reservation, risk_aversion)
        from scipy.special import wrightomega

        r = np.asarray(reservation, float)
        return r + (1 + wrightomega(self.k * (self.delta0 - r) - 1)) / self.k


@dataclass(frozen=True)
class Linear:
    """Λ = max(A − kδ, 0): A > 0 orders/time at the mid, k > 0 orders/time per price; nobody trades beyond A/k."""

    A: float
    k: float
    domain = EVERYWHERE
    highest = np.inf

    def __post_init__(self):
        positive("A", self.A, "fill intensity at distance 0, orders/time")
        positive("k", self.k, "fall of the intensity with distance, orders/time/price")

    def rate(self, distance):
        """Orders/time, shape of `distance`."""
        return np.maximum(self.A - self.k * np.asarray(distance, float), 0.0)

    def best_distance(self, reservation, risk_aversion=0.0):
        """argmax Λ(δ) U(δ − reservation), price, shape of `reservation`; the reservation itself where it is >= A/k."""
        if risk_aversion > 0:
            return _newton(kernels.LINEAR, (self.A / self.k,), reservation, risk_aversion)
        r = np.asarray(reservation, float)
        return np.maximum(r, (r + self.A / self.k) / 2)


@dataclass(frozen=True, eq=False)
class Measured:
    """Rates measured at a few distances: PCHIP through ln(rates), so positive and never increasing.

    Parameters
    ----------
    distances : array_like, shape (p,), p >= 2
        Increasing, price.
    rates : array_like, shape (p,)
        Positive, never increasing, the last two decreasing; orders/time.
    extend : bool
        False: a distance outside the measured range is refused. True: ln Λ goes on linearly, at each end with the slope
        of the last measured interval.

    Raises
    ------
    ValueError
        If the table is too short, unsorted, not finite, not positive or increasing; by `rate`, for a distance outside.
    """

    distances: np.ndarray
    rates: np.ndarray
    extend: bool = False

    def __post_init__(self):
        x = finite("distances", self.distances, "distances of the measured rates, price")
        rates = positive("rates", self.rates, "measured intensities, orders/time; leave out those of 0", array=True)
        if np.ndim(x) != 1 or np.shape(rates) != np.shape(x) or len(x) < 2:
            raise ValueError(
                f"distances and rates must be two rows of the same length >= 2; got {np.shape(x)} and {np.shape(rates)}"
            )
        if np.any(np.diff(x) <= 0):
            raise ValueError(f"distances must increase (price); got {x!r}")
        if np.any(np.diff(rates) > 0) or rates[-1] == rates[-2]:
            raise ValueError(f"rates must not increase with distance, and fall at the last one; got {rates!r}")
        from scipy.interpolate import PchipInterpolator, PPoly

        pchip = PchipInterpolator(x, np.log(rates))
        slopes = np.diff(pchip(x)) / np.diff(x)
        line = [[0.0] * 2, [0.0] * 2, [slopes[0], slopes[-1]], [np.log(rates[0]) - slopes[0], np.log(rates[-1])]]
        pieces = np.insert(pchip.c, [0, len(x) - 1], line, axis=1)  # a straight piece at each end, which goes on
        breaks = np.concatenate([[x[0] - 1], x, [x[-1] + 1]])
        fine = np.concatenate([np.linspace(a, b, 8, endpoint=False) for a, b in itertools.pairwise(x)] + [x[-1:]])
        for name, value in dict(
            distances=x,
            rates=rates,
            domain=EVERYWHERE if self.extend else (x[0], x[-1]),
            highest=np.inf if slopes[0] < 0 else rates[0],  # of the table extended
            _log_rate=PPoly(pieces, breaks),
            _fine=(fine, np.exp(pchip(fine))),
        ).items():
            object.__setattr__(self, name, value)

    def rate(self, distance):
        """Orders/time, shape of `distance`; NaN stays NaN. ValueError outside the measured range, unless `extend`."""
        distance = np.asarray(distance, float)
        outside = (distance < self.domain[0]) | (distance > self.domain[1])
        if np.any(outside):
            raise ValueError(
                f"distance must be in the measured range {self.domain[0]:g} ... {self.domain[1]:g} (price), or the"
                f" table be extended; got {distance[outside].flat[0]!r}"
            )
        return np.exp(self._log_rate(distance))

    def best_distance(self, reservation, risk_aversion=0.0):
        """argmax Λ(δ) U(δ − reservation), price, shape of `reservation`, over all distances.

        A measured rate may have several local best quotes: the global one is taken among the two log-linear ends, in
        closed form, and eight points in each measured interval, the best of which starts the Newton iteration.
        """
        r = np.asarray(reservation, float)
        table = self._log_rate.x, self._log_rate.c
        return kernels.best_measured(*table, r.ravel(), float(risk_aversion), *self._fine).reshape(r.shape)


#: What `TwoSidedMarket` takes as a side.
INTENSITIES = (Exponential, PowerLaw, Logistic, Linear, Measured)


def _newton(kind, parameters, reservation, risk_aversion):
    """Best distances by Newton's iteration, shape of `reservation`."""
    r = np.asarray(reservation, float)
    found = kernels.best_distances(kind, np.array(parameters, float), *NO_TABLE, r.ravel(), float(risk_aversion))
    return found.reshape(r.shape)
