"""Derivatives of the exact GLFT quotes by their parameters, from the tangent of the linear equation.

In time to go, v' = M v with M_qq = k mu q − alpha q² and M_{q,q±1} = eta (`glft`). Differentiating by a parameter p,

    (v_p)' = M v_p + M_p v,        delta_b = c1 + fee + impact/2 + (ln v_q − ln v_{q+1})/k,

so the quotes' derivatives need s_q = ∂ ln v_q/∂p = v_p/v besides v; both follow from one exponential of the block
matrix [[M, M_p], [0, M]] (Van Loan 1978). As v spans more than a double's range, each short step starts from the ratios
u_q = ln(v_q/v_{q+1}): divided by its value at the step's start, v starts as 1 and its tangent as s. See `_tangents`.
"""

import numpy as np
from numba import njit

from mmlib.checks import nonnegative
from mmlib.market_making import glft
from mmlib.market_making.market import exponential
from mmlib.market_making.quotes import inventory_grid, time_grid

PARAMETERS = ("sigma", "A", "k", "gamma", "mu")
MOST_WORK = 1e7  # steps times inventories; some 10 s


def derivatives(market, gamma, horizon, max_inventory, steps, xi=None):
    """∂delta/∂p of the quotes of `glft.quotes`, for each p in `PARAMETERS`.

    Parameters
    ----------
    market : Market
        Exponential intensities; drift, impact and fee are part of the model.
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
    exponential(market)
    gamma = nonnegative("gamma", gamma, "penalty of inventory risk, 1/currency")
    aversion = gamma if xi is None else nonnegative("xi", xi, "aversion to the risk of fills, 1/currency")
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory).astype(float)
    sigma, k, mu = market.sigma, market.k, market.mu
    toll, eta = market.fee + 0.5 * market.impact, glft.eta(market, aversion)
    f, f_x, log_c_x = _mark_up(aversion / k)
    x_k, x_gamma = -aversion / k**2, 1 / k if xi is None else 0.0
    diagonal = k * (mu * q - 0.5 * gamma * sigma**2 * q**2)
    zero = np.zeros_like(q)
    diagonal_p = np.array(  # in the order of PARAMETERS
        [-k * gamma * sigma * q**2, zero, diagonal / k, -0.5 * k * sigma**2 * q**2, k * q]
    )
    log_eta_p = np.array([0.0, 1 / market.A, log_c_x * x_k - toll, log_c_x * x_gamma, 0.0])
    c1_p = [0.0, 0.0, (f_x * x_k - f / k) / k, f_x * x_gamma / k, 0.0]
    work = horizon * (np.max(diagonal) - np.min(diagonal) + 2 * eta) * len(q)
    if work > MOST_WORK:
        raise ValueError(
            f"horizon must be shorter, or sigma, mu, gamma, A, max_inventory or a rebate smaller, for the explicit"
            f" steps of the solver (their number times that of inventories at most {MOST_WORK:g}); got {work:.3g}"
        )
    most = glft.largest_start(eta)
    start = np.clip(0.5 * k * market.impact * (2 * q[:-1] + 1), -most, most)
    tangent = np.array([zero, zero, -0.5 * market.impact * q**2, zero, zero])
    u, s = _tangents(start, tangent, diagonal, eta, diagonal_p, log_eta_p, horizon - times[::-1])
    out = {}
    for i, name in enumerate(PARAMETERS):
        fall = (s[::-1, i, :-1] - s[::-1, i, 1:]) / k - (u[::-1] / k**2 if name == "k" else 0.0)
        out[name] = glft.distances(q, c1_p[i], fall)
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


@njit(cache=True)
def _tangents(start, tangent, diagonal, eta, diagonal_p, log_eta_p, tau):
    """u (n, m − 1) and s (n, p, m) at the increasing times to go `tau` (n,), from `start` and `tangent`.

    Steps of length h, at most one over the norm of N = D⁻¹ M D, D = diag(v): exp(h N)·1 and its tangent by Taylor
    series. With c = −min diagonal added to the diagonal, the terms of v are positive, so that v keeps its relative
    accuracy; the factor exp(c h) drops out of u and s.
    """
    m, n, p = len(diagonal), len(tau), len(log_eta_p)
    ratios, slopes = np.empty((n, m - 1)), np.empty((n, p, m))
    u, s = start.copy(), tangent.copy()
    shifted = diagonal - np.min(diagonal)
    below, above = np.zeros(m), np.zeros(m)  # flows into q from q − 1 and from q + 1
    v, flow = np.empty(m), np.empty(m)
    term, s_term, x = np.zeros(m + 2), np.zeros((p, m + 2)), np.zeros(m + 2)  # padded by 0 beyond the ends
    t = 0.0
    for j in range(n):
        while t < tau[j]:
            norm = 0.0
            for q in range(m - 1):
                below[q + 1] = eta * np.exp(u[q])
                above[q] = eta * np.exp(-u[q])
            for q in range(m):
                norm = max(norm, shifted[q] + below[q] + above[q])
                v[q] = 1.0
                term[q + 1] = 1.0
                for a in range(p):
                    s_term[a, q + 1] = s[a, q]
            h = min(tau[j] - t, 1.0 / norm)
            i = 0
            largest = 1.0
            while largest > 1e-20:
                i += 1
                for q in range(m):
                    flow[q] = below[q] * term[q] + above[q] * term[q + 2]
                for a in range(p):
                    for q in range(m):
                        x[q + 1] = shifted[q] * s_term[a, q + 1] + below[q] * s_term[a, q] + above[q] * s_term[a, q + 2]
                        x[q + 1] += diagonal_p[a, q] * term[q + 1] + log_eta_p[a] * flow[q]
                    for q in range(m):
                        s_term[a, q + 1] = x[q + 1] * h / i
                        s[a, q] += s_term[a, q + 1]
                largest = 0.0
                for q in range(m):
                    term[q + 1] = (shifted[q] * term[q + 1] + flow[q]) * h / i
                    v[q] += term[q + 1]
                    largest = max(largest, term[q + 1])
            for q in range(m):
                for a in range(p):
                    s[a, q] /= v[q]
            for q in range(m - 1):
                u[q] += np.log(v[q] / v[q + 1])
            t = tau[j] if h == tau[j] - t else t + h
        ratios[j] = u
        slopes[j] = s
    return ratios, slopes
