"""Cartea, Jaimungal & Penalva (2015, chapter 10): expected profit less a running and a final penalty of inventory.

The maker values at time t the wealth expected at T less alpha q_T² (selling q_T in one go costs alpha a unit and unit
held) and less phi ∫ q² ds; the value is x + q S + h(t, q). A fill at distance delta earns delta − fee, and is worth
delta − fee + h(q ∓ 1) − h(q): so the best distances, and the equation that is left, are

    delta_a = 1/kappa + fee + h(q) − h(q − 1),       delta_b = 1/kappa + fee + h(q) − h(q + 1),
    0 = dh_q/dt + mu q − phi q² + L (exp(−kappa (h_q − h_{q−1})) + exp(−kappa (h_q − h_{q+1}))),
    L = (A/(e kappa)) exp(−kappa fee).

h = ln omega/kappa makes it linear (their section 10.2): omega(t) = exp(K (T − t)) z, z_q = exp(−alpha kappa q²),

    K_qq = kappa (mu q − phi q²),        K_{q,q±1} = (A/e) exp(−kappa fee).

Their lambda and kappa are `market.A` and `market.k`. As T − t → ∞, h/(T − t) tends to the largest eigenvalue of K over
kappa: the gain per unit of time that good quotes earn for ever. An own-fill impact xi adds ½ xi q² to h and ½ xi to the
distances, divides K's sides by exp(½ kappa xi) and z by exp(½ kappa xi q²), as in `glft`. There too is the same problem
with final penalty 0: phi = ½ gamma sigma² and xi = 0.
"""

import numpy as np
from scipy.linalg import eigvalsh_tridiagonal

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
        Distances of shape (steps, 2Q + 1), price, exact to a few 1e-9/kappa.

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
    """h(0, q): expected profit less the penalties from each inventory, marked to the mid.

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
    """Long-run gain per unit of time, less the running penalty: the largest eigenvalue of K over kappa.

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
    diagonal = market.k * (market.mu * q - phi * q**2)
    diagonal = diagonal[_reached(diagonal, side)]
    sides, top = np.full(len(diagonal) - 1, side), len(diagonal) - 1
    return float(eigvalsh_tridiagonal(diagonal, sides, select="i", select_range=(top, top))[0] / market.k)


def _reached(diagonal, side):
    """Mask (m,) of the inventories without which K's largest eigenvalue is the same to 1e-19·side.

    Rounding grows with the largest entry of K, so the far inventories, where kappa phi q² is large, must go. Let x > 0
    be the top eigenvector, max x = 1, and lambda >= max K_qq the eigenvalue: with g_q = (max K_qq − K_qq)/side,

        g_q x_q <= (lambda − K_qq) x_q/side = x_{q−1} + x_{q+1}.

    K_qq is concave in q, so on each tail where g >= 4 x has no maximum: it falls outwards, x_q <= x_{q−1}/(g_q − 1).
    Cutting the grid between b and b + 1 leaves x an approximate eigenvector, with residual side·x_{b+1} at b alone; by
    Rayleigh's quotient and Cauchy's interlacing, lambda falls by at most side·x_b·x_{b+1} for each end that is cut.
    """
    gap = (diagonal.max() - diagonal) / side
    fall = np.where(gap >= 4, 1 / np.maximum(gap - 1, 1.0), 1.0)
    centre, keep = int(np.argmax(diagonal)), np.ones(len(diagonal), bool)
    for tail in (slice(centre, None), slice(centre, None, -1)):
        x = np.cumprod(fall[tail])
        keep[tail][1:] = x[:-1] * x[1:] > 1e-20
    return keep


def _solve(market, phi, alpha, tau, q):
    """ln(omega_q/omega_{q+1}), shape (n, 2Q), and ln omega_0, shape (n,), at increasing times to go `tau`."""
    phi = nonnegative("phi", phi, "running penalty, currency/(units² time)")
    alpha = nonnegative("alpha", alpha, "final penalty, currency/units²")
    odd = 2 * q[:-1] + 1.0
    side = eta(market, 0.0)
    most = largest_start(side)
    start = np.clip(market.k * (alpha + 0.5 * market.impact) * odd, -most, most)
    return integrate(start, market.k * (phi * odd - market.mu), side, side, tau, False)
