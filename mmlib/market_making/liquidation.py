"""Fernandez-Tapia (2015, chapter 3): selling an inventory with limit orders.

A trader holds q > 0 orders and only asks. Under CARA utility with aversion gamma, and when what is left at T is sold at
the mid less `penalty` = b a unit, u = −exp(−gamma (x + q S + theta(t, q))) with theta = ln w/k and (his section 3.2;
Guéant, Lehalle & Fernandez-Tapia 2012)

    dw_q/dt = (alpha q² − beta q) w_q − eta w_{q−1},     w_q(T) = exp(−k q b),     w_0 = 1,
    alpha = ½ k gamma sigma²,     beta = k mu,     eta = A (1 + gamma/k)^−(1 + k/gamma) exp(−k fee),
    delta_a = c1 + fee + ln(w_q/w_{q−1})/k,        c1 = ln(1 + gamma/k)/gamma.

An own-fill impact xi adds ½ xi q² to theta and ½ xi to the distance, as in `glft`. The distance may be negative: with
much to sell the trader asks less than the mid. The equations are solved for the log-ratios
u_q = ln(w_q/w_{q+1}), which neither overflow nor lose the far inventories, by the integrator of `glft` with no bids.
"""

import numpy as np

from mmlib.checks import in_interval, integer, nonnegative
from mmlib.market_making._exponential import constants, eta, exponential_ask, largest_start
from mmlib.market_making._kernels.log_ratios import integrate
from mmlib.market_making.quotes import Quotes, time_grid


def quotes(market, *, gamma, horizon, inventory, penalty, steps):
    """Optimal asks while selling `inventory` orders.

    Parameters
    ----------
    market : Market or TwoSidedMarket
        Exponential intensity of the ask, any of the bid; drift, impact and fee are part of the model.
    gamma : float
        Risk aversion, 1/currency, >= 0.
    horizon : float
        T: end of trading, time, > 0.
    inventory : int
        Orders to sell at the start, >= 1.
    penalty : float
        b: price per unit lost on what is left at the horizon, >= −300/k.
    steps : int
        Number of equal time steps of the table, >= 1. The asks at the table's times do not depend on it.

    Returns
    -------
    Quotes
        On inventories 0, …, `inventory`, to a few 1e-9/k; the bid is never quoted, the ask not at 0.

    Raises
    ------
    ValueError
        If an argument is out of range; the message names it.
    """
    market, times = exponential_ask(market), time_grid(horizon, steps)
    ratios = _solve(market, gamma, horizon - times[::-1], inventory, penalty)
    mark = constants(market, gamma)[0] + market.fee + 0.5 * market.impact
    nothing = np.full((len(times), 1), np.nan)
    ask = np.hstack([nothing, mark - ratios[::-1] / market.k])
    return Quotes(times, np.arange(ask.shape[1]), np.full_like(ask, np.nan), ask, horizon)


def value(market, *, gamma, horizon, inventory, penalty):
    """Certainty equivalent theta(0, q) of the profit from selling q orders, against their worth at the mid.

    Parameters
    ----------
    market, gamma, horizon, inventory, penalty
        As in `quotes`.

    Returns
    -------
    ndarray, shape (inventory + 1,)
        Currency, for q = 0, …, `inventory`.

    Raises
    ------
    ValueError
        As `quotes`.
    """
    market = exponential_ask(market)
    ratios = _solve(market, gamma, horizon - time_grid(horizon, 1), inventory, penalty)
    log_w = -np.concatenate([[0.0], np.cumsum(ratios[0])])
    return log_w / market.k + 0.5 * market.impact * np.arange(len(log_w)) ** 2


def _solve(market, gamma, tau, inventory, penalty):
    """u_q = ln(w_q/w_{q+1}) for q = 0, …, inventory − 1, shape (n, inventory), at increasing times to go `tau`."""
    gamma = nonnegative("gamma", gamma, "risk aversion, 1/currency")
    inventory = integer("inventory", inventory, least=1, meaning="orders to sell")
    least = -300 / market.k
    penalty = in_interval("penalty", penalty, least, np.inf, meaning="price per unit lost at the horizon, from -300/k")
    odd = 2 * np.arange(inventory) + 1.0
    coupling = eta(market, gamma)
    # Cut above only: a large w_q, which nothing drains to below q, is not forgotten.
    start = np.minimum(market.k * (penalty + 0.5 * market.impact * odd), largest_start(coupling))
    drive = market.k * (0.5 * gamma * market.sigma**2 * odd - market.mu)
    return integrate(start, drive, 0.0, coupling, tau, False)[0]
