"""Derivatives of the exact GLFT quotes by their parameters, from the tangent of the linear equation.

In time to go, v' = M v with M_qq = k mu q − alpha q² and M_{q,q±1} = eta (`glft`). Differentiating by a parameter p,

    (v_p)' = M v_p + M_p v,        delta_b = c1 + fee + impact/2 + (ln v_q − ln v_{q+1})/k,

so the quotes' derivatives need s_q = ∂ ln v_q/∂p = v_p/v besides v; both follow from one exponential of the block
matrix [[M, M_p], [0, M]] (Van Loan 1978). As v spans more than a double's range, each short step starts from the
ratios u_q = ln(v_q/v_{q+1}): divided by its value at the step's start, v starts as 1 and its tangent as s.
"""

import numpy as np

from mmlib.checks import nonnegative
from mmlib.market_making._exponential import distances, eta, exponential, largest_start
from mmlib.market_making._kernels.tangents import tangents
from mmlib.market_making.quotes import inventory_grid, time_grid

PARAMETERS = ("sigma", "A", "k", "gamma", "mu")
MOST_WORK = 1e7  # steps times inventories; some 10 s


def derivatives(market, *, gamma, horizon, max_inventory, steps, xi=None):
    """∂delta/∂p of the quotes of `glft.quotes`, for each p in `PARAMETERS`.

    Parameters
    ----------
    market : Market, or TwoSidedMarket of equal Exponential sides
        Drift, impact and fee are part of the model.
    gamma : float
        Penalty of inventory risk, 1/currency, >= 0.
    horizon : float
        End of trading, time, > 0.
    max_inventory : int
        Q: largest |inventory|, orders, >= 1.
    steps : int
        Number of equal time steps of the table, >= 1.
    xi : float, optional
        Aversion to the risk of fills, 1/currency, >= 0, held fixed when gamma moves; by default xi is gamma and moves
        with it.

    Returns
    -------
    dict of str to (ndarray, ndarray)
        For each parameter the derivatives of bid and ask, shape (steps, 2Q + 1), price per unit of the parameter; NaN
        where the side is not quoted.

    Raises
    ------
    ValueError
        If an argument is out of range, or the solver would need too many steps; the message names it.
    """
    market = exponential(market)
    gamma = nonnegative("gamma", gamma, "penalty of inventory risk, 1/currency")
    aversion = gamma if xi is None else nonnegative("xi", xi, "aversion to the risk of fills, 1/currency")
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory).astype(float)
    sigma, k, mu = market.sigma, market.k, market.mu
    toll, coupling = market.fee + 0.5 * market.impact, eta(market, aversion)
    f, f_x, log_c_x = _mark_up(aversion / k)
    x_k, x_gamma = -aversion / k**2, 1 / k if xi is None else 0.0
    diagonal = k * (mu * q - 0.5 * gamma * sigma**2 * q**2)
    zero = np.zeros_like(q)
    diagonal_p = np.array(  # in the order of PARAMETERS
        [-k * gamma * sigma * q**2, zero, diagonal / k, -0.5 * k * sigma**2 * q**2, k * q]
    )
    log_eta_p = np.array([0.0, 1 / market.A, log_c_x * x_k - toll, log_c_x * x_gamma, 0.0])
    c1_p = [0.0, 0.0, (f_x * x_k - f / k) / k, f_x * x_gamma / k, 0.0]
    work = horizon * (np.max(diagonal) - np.min(diagonal) + 2 * coupling) * len(q)
    if work > MOST_WORK:
        raise ValueError(
            f"horizon must be shorter, or sigma, mu, gamma, A, max_inventory or a rebate smaller, for the explicit"
            f" steps of the solver (their number times that of inventories at most {MOST_WORK:g}); got {work:.3g}"
        )
    most = largest_start(coupling)
    start = np.clip(0.5 * k * market.impact * (2 * q[:-1] + 1), -most, most)
    tangent = np.array([zero, zero, -0.5 * market.impact * q**2, zero, zero])
    u, s = tangents(start, tangent, diagonal, coupling, diagonal_p, log_eta_p, horizon - times[::-1])
    out = {}
    for i, name in enumerate(PARAMETERS):
        fall = (s[::-1, i, :-1] - s[::-1, i, 1:]) / k - (u[::-1] / k**2 if name == "k" else 0.0)
        out[name] = distances(q, c1_p[i], fall)
    return out


def _mark_up(x):
    """f = ln(1 + x)/x = k c1, its derivative, and that of ln C = −(f + ln(1 + x)), at x = xi/k."""
    f = np.log1p(x) / x if x > 0 else 1.0
    if x < 1e-2:  # f' = (1/(1 + x) − f)/x cancels: its series sum (−1)^n n/(n + 1) x^(n−1), to x^9
        n = np.arange(1, 11)
        f_x = float(np.sum((-1.0) ** n * n / (n + 1) * x ** (n - 1.0)))
    else:
        f_x = (1 / (1 + x) - f) / x
    return f, f_x, -(f_x + 1 / (1 + x))
