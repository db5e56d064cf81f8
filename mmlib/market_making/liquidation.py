"""Fernandez-Tapia (2015, chapter 3): selling an inventory with limit orders.

A trader holds q > 0 orders and only asks. Under CARA utility with aversion gamma, and when what is left at T is sold at
the mid less `penalty` = b a unit, u = −exp(−gamma (x + q S + theta(t, q))) with theta = ln w/k and (his section 3.2;
Guéant, Lehalle & Fernandez-Tapia 2012)

    dw_q/dt = (alpha q² − beta q) w_q − eta w_{q−1},     w_q(T) = exp(−k q b),     w_0 = 1,
    alpha = ½ k gamma sigma²,     beta = k mu,     eta = A (1 + gamma/k)^−(1 + k/gamma) exp(−k fee),
    delta_a = c1 + fee + ln(w_q/w_{q−1})/k,        c1 = ln(1 + gamma/k)/gamma.

An own-fill impact xi adds ½ xi q² to theta and ½ xi to the distance, as in `glft`. The distance may be negative: with
much to sell the trader asks less than the mid. The equations are solved upwards in q for the log-ratios
u_q = ln(w_q/w_{q+1}), which neither overflow nor lose the far inventories.
"""

import numpy as np
from numba import njit

from mmlib.checks import in_interval, integer, nonnegative
from mmlib.market_making import glft
from mmlib.market_making.market import exponential
from mmlib.market_making.quotes import Quotes, time_grid

MOST_STEPS = 1e6  # of the solver; some seconds


def quotes(market, gamma, horizon, inventory, penalty, steps):
    """Optimal asks while selling `inventory` orders.

    Parameters
    ----------
    market : Market
        Exponential intensity of the ask; drift, impact and fee are part of the model.
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
        On inventories 0, …, `inventory`; the bid is never quoted, the ask not at 0.

    Raises
    ------
    ValueError
        If an argument is out of range, or the solver would need too many steps; the message names it.
    """
    times = time_grid(horizon, steps)
    ratios = _solve(market, gamma, horizon - times[::-1], inventory, penalty)
    mark = glft.constants(market, gamma)[0] + market.fee + 0.5 * market.impact
    nothing = np.full((len(times), 1), np.nan)
    ask = np.hstack([nothing, mark - ratios[::-1] / market.k])
    return Quotes(times, np.arange(ask.shape[1]), np.full_like(ask, np.nan), ask, horizon)


def value(market, gamma, horizon, inventory, penalty):
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
    ratios = _solve(market, gamma, horizon - time_grid(horizon, 1), inventory, penalty)
    log_w = -np.concatenate([[0.0], np.cumsum(ratios[0])])
    return log_w / market.k + 0.5 * market.impact * np.arange(len(log_w)) ** 2


def _solve(market, gamma, tau, inventory, penalty):
    """u_q = ln(w_q/w_{q+1}) for q = 0, …, inventory − 1, shape (n, inventory), at increasing times to go `tau`."""
    exponential(market)
    gamma = nonnegative("gamma", gamma, "risk aversion, 1/currency")
    inventory = integer("inventory", inventory, least=1, meaning="orders to sell")
    least = -300 / market.k
    penalty = in_interval("penalty", penalty, least, np.inf, meaning="price per unit lost at the horizon, from -300/k")
    q = np.arange(inventory + 1.0)
    eta = glft.eta(market, gamma)
    decay = market.k * (0.5 * gamma * market.sigma**2 * q**2 - market.mu * q)
    steps = tau[-1] * (np.max(decay) - np.min(decay))
    if steps > MOST_STEPS:
        raise ValueError(
            f"horizon must be shorter, or sigma, mu, gamma or inventory smaller, for the explicit steps of the solver"
            f" (horizon times the range of k (½ gamma sigma² q² − mu q) at most {MOST_STEPS:g}); got {steps:.3g}"
        )
    # Cut above only: a large w_q, which nothing drains to below q, is not forgotten.
    start = np.minimum(market.k * (penalty + 0.5 * market.impact * (2 * q[:-1] + 1)), glft.largest_start(eta))
    return _ratios(start, decay, eta, tau)


@njit(cache=True)
def _ratios(start, decay, eta, tau):
    """Log-ratios u (m,) from `start`, at the increasing times to go `tau` (n,), for w' = −decay w + eta w_{q−1}.

    Short steps h of exact exponentials: relative to its value at the step's start, w_q becomes the sum of the Taylor
    series of exp(h (N + c I))·1, with −decay on N's diagonal and eta exp(u_{q−1}) below it. c = max decay makes all its
    terms positive, so nothing cancels; the factor exp(−c h) drops out of the ratios.
    """
    m, n = len(start), len(tau)
    table = np.empty((n, m))
    u = start.copy()
    inflow, total, term = np.zeros(m + 1), np.empty(m + 1), np.empty(m + 1)
    shifted = np.max(decay) - decay
    t = 0.0
    for j in range(n):
        while t < tau[j]:
            inflow[1:] = eta * np.exp(u)
            h = min(tau[j] - t, 1.0 / np.max(shifted + inflow))
            total[:] = 1.0
            term[:] = 1.0
            k = 0
            while np.max(term) > 1e-18:
                k += 1
                for q in range(m, 0, -1):
                    term[q] = (shifted[q] * term[q] + inflow[q] * term[q - 1]) * h / k
                term[0] = shifted[0] * term[0] * h / k
                total += term
            growth = np.log(total)
            u += growth[:-1] - growth[1:]
            t = tau[j] if h == tau[j] - t else t + h
        table[j] = u
    return table
