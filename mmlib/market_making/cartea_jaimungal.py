"""Cartea, Jaimungal & Penalva (2015, chapter 10): expected profit less a running and a final penalty of inventory.

The maker values at time t the wealth expected at T less alpha q_T² (selling q_T in one go costs alpha a unit and unit
held) and less phi ∫ q² ds; the value is x + q S + theta(t, q). A fill at distance delta earns delta − fee, and is
worth delta − fee + theta_{q∓1} − theta_q: so the best distances, and the equation that is left, are

    delta_a = 1/k + fee + theta_q − theta_{q−1},       delta_b = 1/k + fee + theta_q − theta_{q+1},
    0 = d theta_q/dt + mu q − phi q² + (eta/k) (exp(−k (theta_q − theta_{q−1})) + exp(−k (theta_q − theta_{q+1}))),
    eta = (A/e) exp(−k fee).

theta = ln v/k makes it linear (their section 10.2): v(t) = exp(K (T − t)) v(T), v_q(T) = exp(−alpha k q²),

    K_qq = k (mu q − phi q²),        K_{q,q±1} = eta.

`market.A`, `market.k`, theta and v are their lambda, kappa, h and omega. As T − t → ∞, theta/(T − t) tends to the
largest eigenvalue of K over k: the gain per unit of time that good quotes earn for ever. An own-fill impact iota adds
½ iota q² to theta and ½ iota to the distances, divides K's sides by exp(½ k iota) and v_q(T) by exp(½ k iota q²), as in
`glft`. There too is the same problem with final penalty 0: phi = ½ gamma sigma² and xi = 0.
"""

import numpy as np

from mmlib.checks import nonnegative
from mmlib.market_making._exponential import distances, eta, exponential, largest_start, log_values
from mmlib.market_making._kernels.log_ratios import integrate
from mmlib.market_making.quotes import Quotes, inventory_grid, time_grid


def quotes(market, *, phi, alpha, horizon, max_inventory, steps):
    """Optimal quotes.

    Parameters
    ----------
    market : Market, or TwoSidedMarket of equal Exponential sides
        Drift, impact and fee are part of the model, sigma is not (it changes no mean).
    phi : float
        Running penalty of inventory squared, currency/(units² time), >= 0.
    alpha : float
        Final penalty of inventory squared, currency/units², >= 0.
    horizon : float
        End of trading, time, > 0.
    max_inventory : int
        Q: largest |inventory|, >= 1; there the side that would leave is not quoted.
    steps : int
        Number of equal time steps of the table, >= 1. The quotes at the table's times do not depend on it.

    Returns
    -------
    Quotes
        Distances of shape (steps, 2Q + 1), price, exact to a few 1e-9/k.

    Raises
    ------
    ValueError
        If an argument is out of range; the message names it.
    """
    market, times, q = exponential(market), time_grid(horizon, steps), inventory_grid(max_inventory)
    ratios, _ = _solve(market, phi, alpha, horizon - times[::-1], q)
    bid, ask = distances(q, 1 / market.k + market.fee + 0.5 * market.impact, ratios[::-1] / market.k)
    return Quotes(times, q, bid, ask, horizon)


def value(market, *, phi, alpha, horizon, max_inventory):
    """theta(0, q): expected profit less the penalties from each inventory, marked to the mid.

    Parameters
    ----------
    market, phi, alpha, horizon, max_inventory
        As in `quotes`.

    Returns
    -------
    ndarray, shape (2Q + 1,)
        Currency, at inventories −Q, …, Q.

    Raises
    ------
    ValueError
        As `quotes`.
    """
    market, times, q = exponential(market), time_grid(horizon, 1), inventory_grid(max_inventory)
    ratios, log_centre = _solve(market, phi, alpha, horizon - times, q)
    return log_values(ratios[0], log_centre[0]) / market.k + 0.5 * market.impact * q.astype(float) ** 2


def gain(market, *, phi, max_inventory):
    """Long-run gain per unit of time, less the running penalty: the largest eigenvalue of K over k.

    With x = (lambda − K_cc)/side from the largest entry K_cc, and gaps g_q = (K_cc − K_qq)/side, elimination from both
    ends of the grid leaves one equation, a continued fraction in which nothing cancels however large the penalty:

        x = 1/(x + g_{c+1} − 1/(x + g_{c+2} − …)) + 1/(x + g_{c−1} − 1/(x + g_{c−2} − …)),      0 < x <= 2.

    Parameters
    ----------
    market, phi, max_inventory
        As in `quotes`.

    Returns
    -------
    float
        Currency/time.

    Raises
    ------
    ValueError
        As `quotes`.
    """
    market = exponential(market)
    phi = nonnegative("phi", phi, "running penalty, currency/(units² time)")
    q, side = inventory_grid(max_inventory).astype(float), eta(market, 0.0)
    with np.errstate(over="ignore"):
        diagonal = market.k * q * (market.mu - phi * q)
    if not np.isfinite(diagonal).all():
        raise ValueError(f"phi and mu must leave penalties that can be represented (currency/time); got {phi!r}")
    centre = min(np.flatnonzero(diagonal == diagonal.max()), key=lambda i: abs(q[i]))
    gap = market.k * (q - q[centre]) * (phi * (q + q[centre]) - market.mu) / side  # (K_cc − K_qq)/side, no cancellation
    tails = [gap[:centre], gap[:centre:-1]]  # from the ends of the grid to the neighbours of the centre

    def excess(x):
        """x less what both tails give, for the eigenvalue K_cc + side x; below the largest, perhaps only a sign."""
        given = 0.0
        for tail in tails:
            ratio = 0.0
            for g in tail:
                room = x + g - ratio
                if room <= 0:  # an eigenvalue of the tail alone is above
                    return -2.0
                ratio = 1 / room
            given += ratio
        return x - given

    from scipy.optimize import brentq

    nearest = min(tail[-1] for tail in tails if len(tail))
    x = brentq(excess, 0.5 / (nearest + 2), 2.0, xtol=1e-14 / (nearest + 2), rtol=1e-14)
    return float(diagonal[centre] + side * x) / market.k


def _solve(market, phi, alpha, tau, q):
    """ln(v_q/v_{q+1}), shape (n, 2Q), and ln v_0, shape (n,), at increasing times to go `tau`."""
    phi = nonnegative("phi", phi, "running penalty, currency/(units² time)")
    alpha = nonnegative("alpha", alpha, "final penalty, currency/units²")
    odd = 2 * q[:-1] + 1.0
    side = eta(market, 0.0)
    most = largest_start(side)
    start = np.clip(market.k * (alpha + 0.5 * market.impact) * odd, -most, most)
    return integrate(start, market.k * (phi * odd - market.mu), side, side, tau, False)
