"""Exact evaluation of any quotes in any market: moments, attribution, certainty equivalent and law of the profit.

While a row of the table holds, (profit, inventory) is a Markov process: a fill at rate λ_q(δ) earns g and moves q, and
between fills the profit is a Brownian motion with drift q·mu and volatility |q|·sigma (q in units). So for the time to
go τ the expectations of a function of the final profit solve linear equations in q alone:

    mean                 m1' = G m1 + Σ λ g + q mu                        G f(q) = Σ λ (f(q after the fill) − f(q))
    second moment        m2' = G m2 + 2 (Σ λ g m1(q after) + q mu m1) + Σ λ g² + q² sigma²
    E exp(z·profit)      w'  = Σ λ (e^(z g) w(q after) − w(q)) + (z q mu + ½ z² q² sigma²) w

with sums over the two sides. z = −gamma gives the certainty equivalent, z = iu the whole law. In the scheme of
Avellaneda & Stoikov (2008, section 3.3) time is a grid, and one-step probabilities take the place of rates.
"""

from typing import NamedTuple

import numpy as np

from mmlib.checks import choice, nonnegative
from mmlib.market_making import chain
from mmlib.market_making.fills import bernoulli_probabilities, fills, start_index


class Moments(NamedTuple):
    """Moments of the profit and of the final inventory.

    mean = spread + revaluation − costs.

    Attributes
    ----------
    mean, std : float
        Of the profit W_T − W_0, currency.
    spread : float
        Expected spread earned by fills against the mid, less fees, currency.
    revaluation : float
        Expected gain of the inventory from the drift of the mid, currency; its diffusion has mean 0.
    costs : float
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
    costs: float
    inventory_mean: float
    inventory_std: float
    inventory_law: np.ndarray


def moments(market, quotes, scheme="bernoulli", inventory=0, liquidation_cost=0.0):
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

    Returns
    -------
    Moments

    Raises
    ------
    ValueError
        If an argument is out of range, or the times or rates do not suit the scheme.
    """
    choice("scheme", scheme, ("bernoulli", "continuous"))
    start, final = _ends(quotes, inventory, liquidation_cost)
    f = _finite_fills(market, quotes)
    q = quotes.size * quotes.inventory
    if scheme == "bernoulli":
        bid, ask, dt = bernoulli_probabilities(market, quotes)
        mean, variance = _bernoulli_backward(f, bid, ask, q * market.mu * dt, (q * market.sigma) ** 2 * dt, final)
        law, bid_law, ask_law, after = _bernoulli_forward(f, bid, ask, start)
        spread = np.sum(after[0] * bid * f.bid_spread) + np.sum(after[0] * ask * f.ask_spread)
        toll = np.sum(bid_law * f.bid_toll) + np.sum(ask_law * f.ask_toll)
        revaluation = market.mu * dt * np.sum(after[1] * q)
    else:
        rates = (np.diff(quotes.times, append=quotes.horizon), f.bid_rate, f.ask_rate, f.bid_to, f.ask_to)
        mean, variance = chain.moments_backward(
            *rates, f.bid_spread - f.bid_toll, f.ask_spread - f.ask_toll,
            q * market.mu, (q * market.sigma) ** 2, final, chain.NODES, chain.WEIGHTS,
        )  # fmt: skip
        law, time = chain.occupancy_forward(*rates, start, chain.NODES, chain.WEIGHTS)
        spread = np.sum(time * (f.bid_rate * f.bid_spread + f.ask_rate * f.ask_spread))
        toll = np.sum(time * (f.bid_rate * f.bid_toll + f.ask_rate * f.ask_toll))
        revaluation = market.mu * np.sum(time * q)
    inventory_mean = law @ quotes.inventory
    return Moments(
        mean=float(mean[start]),
        std=float(np.sqrt(variance[start])),
        spread=float(spread),
        revaluation=float(revaluation),
        costs=float(toll - law @ final),
        inventory_mean=float(inventory_mean),
        inventory_std=float(np.sqrt(law @ (quotes.inventory - inventory_mean) ** 2)),
        inventory_law=law,
    )


def certainty_equivalent(market, quotes, gamma, inventory=0, liquidation_cost=0.0):
    """Certainty equivalent −ln E[exp(−gamma·profit)]/gamma in continuous time, currency; the mean if `gamma` is 0.

    Parameters
    ----------
    market : Market
    quotes : Quotes, tables of shape (n, m)
    gamma : float
        Risk aversion, 1/currency, >= 0.
    inventory, liquidation_cost
        As in `moments`.

    Raises
    ------
    ValueError
        If an argument is out of range or a fill rate is not finite.
    """
    gamma = nonnegative("gamma", gamma, "risk aversion, 1/currency")
    start, final = _ends(quotes, inventory, liquidation_cost)
    if gamma == 0:
        return moments(market, quotes, "continuous", inventory, liquidation_cost).mean
    return float(-_log_exponential(market, quotes, final, -gamma)[start] / gamma)


def _log_exponential(market, quotes, final, z):
    """ln E[exp(z·profit)] from each inventory, shape (m,), for a real z."""
    f = _finite_fills(market, quotes)
    q = quotes.size * quotes.inventory
    return chain.exponential_values(
        np.diff(quotes.times, append=quotes.horizon), f.bid_rate, f.ask_rate, f.bid_to, f.ask_to,
        f.bid_spread - f.bid_toll, f.ask_spread - f.ask_toll,
        q * market.mu, (q * market.sigma) ** 2, final, z, chain.NODES, chain.WEIGHTS,
    )  # fmt: skip


def _ends(quotes, inventory, liquidation_cost):
    """Index of the start and profit of the liquidation from each inventory."""
    cost = nonnegative("liquidation_cost", liquidation_cost, "price per unit of |inventory| at the horizon")
    return start_index(quotes, inventory), -cost * quotes.size * np.abs(quotes.inventory)


def _finite_fills(market, quotes):
    f = fills(market, quotes)
    for side, rate in (("bid", f.bid_rate), ("ask", f.ask_rate)):
        if not np.all(np.isfinite(rate)):
            raise ValueError(f"{side} must give finite fill rates; got {rate[~np.isfinite(rate)][0]!r} orders/time")
    return f


def _bernoulli_backward(f, bid, ask, drift, variance, final):
    """Mean and variance of the profit from each inventory (m,), by the laws of total expectation and variance."""
    stay = np.arange(len(final))
    mean, var = final, np.zeros(len(final))
    for i in reversed(range(len(bid))):
        value, risk = mean + drift, var + variance
        outcomes = [
            ((1 - bid[i]) * (1 - ask[i]), 0.0, stay),
            (bid[i] * (1 - ask[i]), f.bid_spread[i] - f.bid_toll, f.bid_to),
            ((1 - bid[i]) * ask[i], f.ask_spread[i] - f.ask_toll, f.ask_to),
            (bid[i] * ask[i], f.bid_spread[i] + f.ask_spread[i], stay),
        ]
        mean = sum(p * (gain + value[to]) for p, gain, to in outcomes)
        var = sum(p * ((gain + value[to] - mean) ** 2 + risk[to]) for p, gain, to in outcomes)
    return mean, var


def _bernoulli_forward(f, bid, ask, start):
    """Law of the final inventory (m,); over (n, m): expected lone fills of each side, laws before and after fills."""
    n, m = bid.shape
    law = np.zeros(m)
    law[start] = 1.0
    before, after, lone_bid, lone_ask = np.zeros((4, n, m))
    for i in range(n):
        before[i], lone_bid[i], lone_ask[i] = law, law * bid[i] * (1 - ask[i]), law * ask[i] * (1 - bid[i])
        law = law - lone_bid[i] - lone_ask[i]
        law = law + np.bincount(f.bid_to, lone_bid[i], m) + np.bincount(f.ask_to, lone_ask[i], m)
        after[i] = law
    return law, lone_bid, lone_ask, (before, after)
