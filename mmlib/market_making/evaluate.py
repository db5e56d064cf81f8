"""Exact evaluation of any quotes in any market: moments, attribution, certainty equivalent and law of the profit.

While a row of the table holds, (profit, inventory) is a Markov process: a fill at rate λ_q(δ) earns g and moves q, and
between fills the profit is a Brownian motion with drift q·mu and volatility |q|·sigma (q in units). So for the time to
go τ the expectations of a function of the final profit solve linear equations in q alone:

    moment p             m_p' = G m_p + Σ_j C(p, j) B_j m_(p−j),  j = 1 … p          m_0 = 1
                         G f(q) = Σ λ (f(q after) − f(q)),   B_j f(q) = Σ λ g^j f(q after) + (q mu f if j = 1)
                                                                                         + (q² sigma² f if j = 2)
    E exp(z·profit)      w' = Σ λ (e^(z g) w(q after) − w(q)) + (z q mu + ½ z² q² sigma²) w

with sums over the two sides. z = −gamma gives the certainty equivalent, z = iu the whole law. In the scheme of
Avellaneda & Stoikov (2008, section 3.3) time is a grid, and one-step probabilities take the place of rates.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mmlib.checks import choice, finite, in_interval, nonnegative, positive
from mmlib.market_making._fills import (
    check_market_and_quotes,
    continuous_fills,
    from_time,
    rates_and_gains,
    start_index,
    step_gains,
    steps,
)
from mmlib.market_making._kernels import chain
from mmlib.market_making.quotes import Quotes

SCHEMES = ("bernoulli", "continuous")
REAL_CONTOUR = chain.REAL_NODES, chain.REAL_WEIGHTS
CONTOUR = chain.NODES, chain.WEIGHTS


class Moments(NamedTuple):
    """Moments of the profit and of the final inventory.

    mean = spread + revaluation − tolls.

    Attributes
    ----------
    mean, std : float
        Of the profit W_T − W_0, currency.
    skewness, kurtosis : float
        Third and fourth central moment of the profit over std³ and std⁴, 0 and 3 for a normal law; NaN if std is 0.
    spread : float
        Expected spread earned by fills against the mid, less fees, currency.
    revaluation : float
        Expected gain of the inventory from the drift of the mid, currency; its diffusion has mean 0.
    tolls : float
        Expected cost of impact on the position held, of cuts at a hard limit and of liquidation, currency.
    inventory_mean, inventory_std : float
        Of the final inventory, orders.
    inventory_law : ndarray, shape (m,)
        Probability of each final inventory of ``quotes.inventory``.
    """

    mean: float
    std: float
    spread: float
    revaluation: float
    tolls: float
    inventory_mean: float
    inventory_std: float
    inventory_law: np.ndarray
    skewness: float
    kurtosis: float


def moments(
    market: Any,
    quotes: Quotes,
    scheme: str = "bernoulli",
    inventory: int = 0,
    liquidation_cost: float = 0.0,
    *,
    start: float = 0.0,
) -> Moments:
    """Exact `Moments` of the profit of `quotes` in `market`.

    Parameters
    ----------
    market : Market
    quotes : Quotes, tables of shape (n, m)
    scheme : {"bernoulli", "continuous"}
        At most one fill per side and step, with probability min(1, rate·dt), mid ±sigma·√dt (Avellaneda & Stoikov 2008,
        section 3.3); or Poisson fills and a Brownian mid.
    inventory : int
        Orders held at the start.
    liquidation_cost : float
        Price per unit of |inventory| charged at the horizon, >= 0; 0 marks at the mid.
    start : float
        The time at which `inventory` is held and from which on profits count, 0 <= start < horizon; in the Bernoulli
        scheme a time of the table.

    Returns
    -------
    Moments

    Raises
    ------
    ValueError
        If an argument is out of range, or the times or rates do not suit the scheme (see `_fills.continuous_fills`).
    """
    quotes, at, final = _ends(market, quotes, scheme, inventory, liquidation_cost, start)
    q = quotes.size * quotes.inventory
    if scheme == "bernoulli":
        f, bid, ask, dt = steps(market, quotes)
        gains = step_gains(f)
        drift, variance = q * market.mu * dt, (q * market.sigma) ** 2 * dt
        mean, *central = chain.bernoulli_backward(bid, ask, *gains, f.bid_to, f.ask_to, drift, variance, final)[:, at]
        law, bid_law, ask_law, after = chain.bernoulli_forward(f, bid, ask, at)
        spread = np.sum(after[0] * bid * f.bid_spread) + np.sum(after[0] * ask * f.ask_spread)
        toll = np.sum(bid_law * f.bid_toll) + np.sum(ask_law * f.ask_toll)
        revaluation = market.mu * dt * np.sum(after[1] * q)
    else:
        f = continuous_fills(market, quotes)
        rates, gains = rates_and_gains(market, quotes, f)
        mean, *central = chain.moments_backward(*rates, *gains, final, at, 4, *REAL_CONTOUR)
        law, time = chain.occupancy_forward(*rates, at, *REAL_CONTOUR)
        spread = np.sum(time * (f.bid_rate * f.bid_spread + f.ask_rate * f.ask_spread))
        toll = np.sum(time * (f.bid_rate * f.bid_toll + f.ask_rate * f.ask_toll))
        revaluation = market.mu * np.sum(time * q)
    inventory_mean = law @ quotes.inventory
    inventory_variance = law @ (quotes.inventory - inventory_mean) ** 2
    std = np.sqrt(central[0])
    return Moments(
        mean=float(mean),
        std=float(std),
        spread=float(spread),
        revaluation=float(revaluation),
        tolls=float(toll - law @ final),
        inventory_mean=float(inventory_mean),
        inventory_std=float(np.sqrt(max(inventory_variance, 0.0))),  # below 0 by the rounding of a sure inventory only
        inventory_law=law,
        skewness=float(central[1] / std**3) if std > 0 else np.nan,
        kurtosis=float(central[2] / std**4) if std > 0 else np.nan,
    )


def penalised(
    market: Any,
    quotes: Quotes,
    phi: float,
    alpha: float = 0.0,
    scheme: str = "bernoulli",
    inventory: int = 0,
    *,
    start: float = 0.0,
) -> float:
    """Exact E[profit − phi ∫ q² dt − alpha q_T²], the objective of Cartea & Jaimungal; currency.

    In the Bernoulli scheme the integral is the sum over steps of q² dt, with q after the fills of the step.

    Parameters
    ----------
    market : Market
    quotes : Quotes, tables of shape (n, m)
    phi : float
        Running penalty, currency/(units² time), >= 0.
    alpha : float
        Final penalty, currency/units², >= 0.
    scheme, inventory, start
        As in `moments`.

    Raises
    ------
    ValueError
        As `moments`.
    """
    phi = nonnegative("phi", phi, "running penalty of inventory squared, currency/(units² time)")
    alpha = nonnegative("alpha", alpha, "final penalty of inventory squared, currency/units²")
    result = moments(market, quotes, scheme, inventory, start=start)
    quotes, at, _ = _ends(market, quotes, scheme, inventory, 0.0, start)
    square = (quotes.size * quotes.inventory) ** 2
    if scheme == "bernoulli":
        f, bid, ask, dt = steps(market, quotes)
        time = dt * chain.bernoulli_forward(f, bid, ask, at)[3][1]
    else:
        rates, _ = rates_and_gains(market, quotes, continuous_fills(market, quotes))
        time = chain.occupancy_forward(*rates, at, *REAL_CONTOUR)[1]
    return float(result.mean - phi * np.sum(time * square) - alpha * result.inventory_law @ square)


def certainty_equivalent(
    market: Any,
    quotes: Quotes,
    gamma: float,
    inventory: int = 0,
    liquidation_cost: float = 0.0,
    *,
    scheme: str = "continuous",
    start: float = 0.0,
) -> float:
    """Certainty equivalent −ln E[exp(−gamma·profit)]/gamma, currency; the mean if `gamma` is 0.

    Parameters
    ----------
    market : Market
    quotes : Quotes, tables of shape (n, m)
    gamma : float
        Risk aversion, 1/currency, >= 0.
    inventory, liquidation_cost, scheme, start
        As in `moments`.

    Raises
    ------
    ValueError
        If an argument is out of range or a fill rate is not finite.
    """
    gamma = nonnegative("gamma", gamma, "risk aversion, 1/currency")
    if gamma == 0:
        return moments(market, quotes, scheme, inventory, liquidation_cost, start=start).mean
    quotes, at, final = _ends(market, quotes, scheme, inventory, liquidation_cost, start)
    if scheme == "bernoulli":
        f, bid, ask, dt = steps(market, quotes)
        gains = [-gamma * gain for gain in step_gains(f)]
        q = gamma * quotes.size * np.abs(quotes.inventory)
        swing = q * market.sigma * np.sqrt(dt)
        move = -gamma * quotes.size * quotes.inventory * market.mu * dt + np.logaddexp(swing, -swing) - np.log(2)
        log = chain.bernoulli_exponential(bid, ask, *gains, f.bid_to, f.ask_to, move, -gamma * final)
    else:
        rates, gains = rates_and_gains(market, quotes, continuous_fills(market, quotes))
        log = _log_expectation(-gamma, rates, gains, final)
    if not np.isfinite(log[at]):
        raise ValueError(
            f"gamma must be smaller for these quotes (risk aversion, 1/currency): exp(-gamma·profit) grows too fast"
            f" when a fill or a cut loses money; got {gamma!r}"
        )
    return float(-log[at] / gamma)


@dataclass(frozen=True, eq=False)
class ProfitLaw:
    """Law of a profit: an atom at 0 and a density on an interval, as a Fourier series; see `profit_law`.

    Attributes
    ----------
    atom : float
        Probability that the profit is exactly 0, because nothing was held and nothing filled.
    low, high : float
        Ends of the interval, currency; outside it `cdf` is 0 and 1.
    frequencies, characteristic : ndarray, shape (J,)
        u_j = 2πj/(high − low) and E[exp(iu·profit)] − atom there.
    tolerance : float
        Bound of the error of `cdf`.
    """

    atom: float
    low: float
    high: float
    frequencies: np.ndarray
    characteristic: np.ndarray
    tolerance: float

    def pdf(self, x):
        """Density of the part without the atom at `x`, 1/currency, shape of `x`."""
        x, inside, phase = self._phases(x)
        density = (1 - self.atom + 2 * np.sum(self.characteristic * phase, -1).real) / (self.high - self.low)
        return np.where(inside, density, 0.0)[()]

    def cdf(self, x):
        """P(profit <= x), shape of `x`; error below `tolerance`."""
        x, inside, phase = self._phases(x)
        terms = self.characteristic * (phase - self._phase_low) / (-1j * self.frequencies)
        body = ((1 - self.atom) * (x - self.low) + 2 * np.sum(terms, -1).real) / (self.high - self.low)
        return (np.where(inside, body, (1 - self.atom) * (x > self.high)) + self.atom * (x >= 0))[()]

    def quantile(self, p):
        """Smallest x with cdf(x) >= p, currency; ValueError if `p` or 1 − p is below ten times `tolerance`."""
        from scipy.optimize import bisect  # here, as all of SciPy: much to load for those who do not call it

        p = in_interval("p", p, 10 * self.tolerance, 1 - 10 * self.tolerance, meaning="a probability that is resolved")
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        return bisect(lambda x: self.cdf(x) - p if x > low else -p, low, high, xtol=1e-12 * (high - low))

    def var(self, level):
        """Value at risk, currency: the `level` quantile of the loss, e.g. 0.95; a loss is positive."""
        resolved = 10 * self.tolerance
        return -self.quantile(1 - in_interval("level", level, resolved, 1 - resolved, meaning="confidence, resolved"))

    def cvar(self, level):
        """Conditional value at risk, currency: mean of the worst 1 − `level` of losses.

        var + E[(loss − var)^+]/(1 − level) (Rockafellar & Uryasev 2000, eq. 4), right with an atom as well.
        """
        x = -self.var(level)
        _, _, phase = self._phases(x)
        iu = 1j * self.frequencies
        terms = self.characteristic * (self._phase_low * (x - self.low) - (self._phase_low - phase) / iu) / iu
        body = (0.5 * (1 - self.atom) * (x - self.low) ** 2 + 2 * np.sum(terms).real) / (self.high - self.low)
        return float(-x + (body + self.atom * max(x, 0.0)) / (1 - level))

    @property
    def _phase_low(self):
        return np.exp(-1j * self.frequencies * self.low)

    def _phases(self, x):
        x = finite("x", x, "profit, currency")
        x = np.asarray(x)
        return x, (x >= self.low) & (x <= self.high), np.exp(-1j * self.frequencies * x[..., None])


def profit_law(
    market: Any,
    quotes: Quotes,
    inventory: int = 0,
    liquidation_cost: float = 0.0,
    tolerance: float = 1e-8,
    *,
    start: float = 0.0,
) -> "ProfitLaw":
    """Exact law of the profit in continuous time, by inversion of its characteristic function φ.

    φ solves the linear equations above at z = iu. On an interval of length W, with u_j = 2πj/W, the distribution
    function is the Fourier series of φ(u_j) (the trapezoidal rule for Gil-Pelaez 1951). Its error has two parts, each
    kept below half the tolerance. The mass outside the interval is wrapped into it: it is bounded by Chernoff's
    P(profit <= x) <= E[exp(−z (profit − x))]. And the series is cut at J: given the path of the inventory the profit
    is Gaussian, so |φ(u)| <= E[exp(−½ u² sigma² ∫q²)], which solves the same equations. Paths that never hold
    inventory have no density; they are the `atom`, known exactly.

    Parameters
    ----------
    market : Market
        `sigma` must be > 0.
    quotes : Quotes, tables of shape (n, m)
    inventory, liquidation_cost, start
        As in `moments`.
    tolerance : float
        Bound of the error of the distribution function, 1e-10 … 0.01.

    Returns
    -------
    ProfitLaw

    Raises
    ------
    ValueError
        If an argument is out of range, or if so many paths hold hardly any inventory that the law is nearly discrete
        and the series would need more than 4096 terms.
    """
    tolerance = in_interval("tolerance", tolerance, 1e-10, 0.01, meaning="error of the distribution function")
    quotes, at, final = _ends(market, quotes, "continuous", inventory, liquidation_cost, start)
    positive("sigma", market.sigma, "volatility; without it the law of the profit is discrete")
    rates, gains = rates_and_gains(market, quotes, continuous_fills(market, quotes))
    dt, bid_rate, ask_rate = rates[:3]
    atom = float(np.exp(-dt @ (bid_rate + ask_rate)[:, at])) if quotes.inventory[at] == 0 else 0.0

    std = np.sqrt(chain.moments_backward(*rates, *gains, final, at, 2, *REAL_CONTOUR)[1])
    if std == 0:
        raise ValueError("quotes must be such that inventory is held at times; the profit is 0 for certain")
    low, high = (_chernoff_bound(sign / std, tolerance / 4, rates, gains, final, at) for sign in (-1, 1))
    if not np.isfinite(high - low):
        raise ValueError("quotes must lose or gain less by a fill or a cut: the tails of the profit cannot be bounded")

    nothing = np.zeros_like(bid_rate)
    octaves = 2 * np.pi / (high - low) * 2.0 ** np.arange(17)
    variance_only = (*rates, nothing, nothing, 0 * final, gains[3], 0 * final, *CONTOUR)
    bound = chain.characteristic_function(octaves, *variance_only)[:, at].real - atom
    terms, reached = chain.terms_needed(bound, tolerance / 2)
    if reached > tolerance / 2:
        raise ValueError(
            f"tolerance must be >= {2 * reached:.2g} for this market and these quotes (error of the distribution"
            f" function): paths that hardly hold inventory make the law nearly discrete; got {tolerance:g}"
        )
    u = 2 * np.pi / (high - low) * np.arange(1, terms + 1)
    phi = chain.characteristic_function(u, *rates, *gains, final, *CONTOUR)[:, at]
    return ProfitLaw(atom, low, high, u, phi - atom, tolerance)


def _chernoff_bound(z0, tail, rates, gains, final, at):
    """A profit exceeded (z0 > 0) or fallen short of (z0 < 0) with probability below `tail`.

    P(profit >= x) <= tail at x = (ln E[exp(z·profit)] − ln tail)/z for every z > 0, and likewise below for z < 0. The
    best z is tried for a normal law of standard deviation 1/|z0|, then its half and its quarter.
    """
    bounds = []
    for z in z0 * np.sqrt(-2 * np.log(tail)) * np.array([1.0, 0.5, 0.25]):
        bounds.append((_log_expectation(z, rates, gains, final)[at] - np.log(tail)) / z)
    return np.min(bounds) if z0 > 0 else np.max(bounds)


def _log_expectation(z, rates, gains, final):
    """ln E[exp(z·profit)] from each inventory, shape (m,); NaN where it cannot be had."""
    bid_gain, ask_gain, carry, variance = gains
    own = z * carry + 0.5 * z * z * variance
    return chain.exponential_values(*rates, z * bid_gain, z * ask_gain, own, z * final, *REAL_CONTOUR)


def _ends(market, quotes, scheme, inventory, liquidation_cost, start):
    """The quotes from `start` on, the index of the inventory there and the profit of the liquidation from each one."""
    choice("scheme", scheme, SCHEMES)
    check_market_and_quotes(market, quotes)
    quotes = from_time(quotes, start, scheme)
    cost = nonnegative("liquidation_cost", liquidation_cost, "price per unit of |inventory| at the horizon")
    return quotes, start_index(quotes, inventory), -cost * quotes.size * np.abs(quotes.inventory)
