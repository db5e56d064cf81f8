"""Guéant, Lehalle & Fernandez-Tapia (2013): the optimal quotes, from a linear differential equation.

theta(t, q) is the certainty equivalent, in currency, of holding q orders of Delta = `size` units and quoting optimally
to the horizon, marked to the mid: under CARA utility u = −exp(−xi (x + q Delta S + theta)). A bid fill at distance
delta earns Delta (delta − fee), moves the mid by −impact against the q + 1 orders then held, and changes theta; so it
is worth Delta (delta − p_b) with p_b = fee + impact (q + 1) + (theta_q − theta_{q+1})/Delta. Selling fills of intensity
A exp(−k delta) at that cost is a monopolist's problem: the mark-up on p_b, and the gain per unit of time, are

    c1 = ln(1 + xi Delta/k)/(xi Delta),     A C (Delta/k) exp(−k p_b),     C = (1 + xi Delta/k)^−(1 + k/(xi Delta)),

with limits 1/k and 1/e as xi → 0. With gains on both sides, drift, and the running penalty ½ gamma sigma² (q Delta)²,

    0 = d theta_q/dt + mu Delta q − ½ gamma sigma² Delta² q² + A C (Delta/k) (exp(−k p_b) + exp(−k p_a)).

theta = (Delta/k) ln v + ½ impact Delta q² makes it linear (their eqs. 3.1–3.3, 5.1–5.6; Guéant 2017, section 3):

    dv_q/dt = (alpha q² − k mu q) v_q − eta (v_{q−1} + v_{q+1}),        v_q(T) = exp(−½ k impact q²),
    alpha = ½ k gamma sigma² Delta,        eta = A C exp(−k (fee + impact/2)),
    delta_b = c1 + fee + impact/2 + ln(v_q/v_{q+1})/k,      delta_a = c1 + fee + impact/2 + ln(v_q/v_{q−1})/k.

gamma is the running penalty and xi the aversion to the risk of the fills. xi = gamma is CARA utility (the default);
xi = 0 is expected profit less ½ gamma sigma² ∫ (q Delta)² dt; both 0 is risk neutral.

Computing v itself fails: it spans more than a double's range at large Q, and its tails are lost far earlier. So the
solver works with the log-ratios u_q = ln(v_q/v_{q+1}) that the quotes need; see `_kernels.log_ratios`.
"""

import numpy as np

from mmlib.checks import nonnegative, positive
from mmlib.market_making._exponential import constants, distances, eta, exponential, largest_start, log_values
from mmlib.market_making._kernels.log_ratios import integrate
from mmlib.market_making.quotes import Quotes, inventory_grid, one_sided, time_grid

__all__ = ["closed_form_quotes", "constants", "quotes", "tanh_quotes", "value"]


def quotes(market, *, gamma, horizon, max_inventory, steps, xi=None, size=1.0):
    """Optimal quotes at every time of the table, to within a few 1e-9/k of the exact ones.

    Parameters
    ----------
    market : Market, or TwoSidedMarket of equal Exponential sides
        Drift, impact and fee are part of the model.
    gamma : float
        Penalty of the inventory's risk, 1/currency, >= 0.
    horizon : float
        End of trading, time, > 0.
    max_inventory : int
        Q: largest |inventory|, orders, >= 1; there the side that would leave is not quoted.
    steps : int
        Number of equal time steps of the table, >= 1. The quotes at the table's times do not depend on it.
    xi : float, optional
        Aversion to the risk of fills, 1/currency, >= 0; `gamma` by default.
    size : float
        Units of an order, > 0.

    Returns
    -------
    Quotes
        Distances of shape (steps, 2Q + 1), price.

    Raises
    ------
    ValueError
        If an argument is out of range; the message names it.
    """
    market, gamma, xi, size, times, q = _checked(market, gamma, horizon, max_inventory, steps, xi, size)
    c1, _ = constants(market, xi, size)
    ratios, _ = _solve(market, gamma, xi, size, horizon - times[::-1], q)
    bid, ask = distances(q, c1 + market.fee + 0.5 * market.impact, ratios[::-1] / market.k)
    return Quotes(times, q, bid, ask, horizon, size)


def value(market, *, gamma, horizon, max_inventory, xi=None, size=1.0):
    """Certainty equivalent theta(0, q) of the profit from each inventory, marked to the mid.

    Parameters
    ----------
    market, gamma, horizon, max_inventory, xi, size
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
    market, gamma, xi, size, times, q = _checked(market, gamma, horizon, max_inventory, 1, xi, size)
    ratios, log_v0 = _solve(market, gamma, xi, size, horizon - times, q)
    return size / market.k * log_values(ratios[0], log_v0[0]) + 0.5 * market.impact * size * q.astype(float) ** 2


def closed_form_quotes(market, *, gamma, horizon, max_inventory, steps, xi=None, size=1.0):
    """Stationary approximation of Guéant (2017), eqs. 4.6–4.7, with fee and impact, at all times of the table.

    With inventory q in orders and s = sqrt(gamma sigma² Delta/(2 k eta)), eta as in the module's text,

        delta_b = c1 + fee + impact/2 + ½ (2q + 1) s − b,    delta_a = c1 + fee + impact/2 − ½ (2q − 1) s + b,

    with b = mu s/(gamma sigma² Delta). It is the limit of `tanh_quotes` far from the horizon.

    Parameters, Returns
    -------------------
    As `quotes`.

    Raises
    ------
    ValueError
        As `quotes`, and if there is drift without risk penalty (gamma sigma² = 0): then the inventory that pays has no
        stationary limit.
    """
    market, gamma, xi, size, times, q = _checked(market, gamma, horizon, max_inventory, steps, xi, size)
    risk = gamma * market.sigma**2 * size
    if risk == 0 and market.mu != 0:
        raise ValueError(
            f"mu must be 0 for stationary quotes without inventory risk (gamma sigma² = 0); got {market.mu!r}"
        )
    s = np.sqrt(risk / (2 * market.k * eta(market, xi, size)))
    b = market.mu * s / risk if risk > 0 else 0.0
    return _linear_quotes(market, xi, size, times, q, horizon, np.full(len(times), s), np.full(len(times), b))


def tanh_quotes(market, *, gamma, horizon, max_inventory, steps, xi=None, size=1.0):
    """Time-dependent approximation: the scalar Riccati equation of Bergault, Evangelista, Guéant & Vieira (2021).

    exp(k p) + exp(−k p) ≈ 2 + k² p² in the equation of theta leaves theta = Delta (−½ a q² + b q) + ½ impact Delta q²
    up to a constant, with tau = T − t and

        da/dtau = gamma sigma² Delta − 2 k eta a²,  a(0) = impact;      db/dtau = mu − 2 k eta a b,  b(0) = 0.

    With omega = sqrt(2 k eta gamma sigma² Delta), t(tau) = tanh(omega tau)/omega and g = 2 k eta impact,

        a = (impact + gamma sigma² Delta t(tau))/(1 + g t(tau)),    b = mu t(tau) (1 + g t(tau/2))/(1 + g t(tau)),

    and delta_b = c1 + fee + impact/2 + ½ (2q + 1) a − b, delta_a = c1 + fee + impact/2 − ½ (2q − 1) a + b. Without
    impact a = s tanh(omega tau): it tends to Avellaneda & Stoikov as tau → 0, to `closed_form_quotes` as tau → ∞.

    Parameters, Returns, Raises
    ---------------------------
    As `quotes`.
    """
    market, gamma, xi, size, times, q = _checked(market, gamma, horizon, max_inventory, steps, xi, size)
    tau = horizon - times
    risk = gamma * market.sigma**2 * size
    curvature = 2 * market.k * eta(market, xi, size)
    omega = np.sqrt(curvature * risk)
    g = curvature * market.impact

    def t(tau):
        return np.tanh(omega * tau) / omega if omega > 0 else tau

    a = (market.impact + risk * t(tau)) / (1 + g * t(tau))
    b = market.mu * t(tau) * (1 + g * t(tau / 2)) / (1 + g * t(tau))
    return _linear_quotes(market, xi, size, times, q, horizon, a, b)


def _checked(market, gamma, horizon, max_inventory, steps, xi, size):
    market = exponential(market)
    gamma = nonnegative("gamma", gamma, "penalty of inventory risk, 1/currency")
    xi = gamma if xi is None else nonnegative("xi", xi, "aversion to the risk of fills, 1/currency")
    size = positive("size", size, "units of an order")
    return market, gamma, xi, size, time_grid(horizon, steps), inventory_grid(max_inventory)


def _linear_quotes(market, xi, size, times, q, horizon, a, b):
    """Quotes of theta = Delta (−½ a q² + b q) + ½ impact Delta q², for a and b of shape (n,)."""
    a, b = a[:, None], b[:, None]
    mark = constants(market, xi, size)[0] + market.fee + 0.5 * market.impact
    bid, ask = one_sided(q, mark + 0.5 * (2 * q + 1) * a - b, mark - 0.5 * (2 * q - 1) * a + b)
    return Quotes(times, q, bid, ask, horizon, size)


def _solve(market, gamma, xi, size, tau, q):
    """Log-ratios u_q = ln(v_q/v_{q+1}), q = −Q … Q − 1, shape (n, 2Q), and ln v_0, (n,), at times to go `tau` (n,)."""
    symmetric = market.mu == 0  # then v_q = v_{−q}: u_0 … u_{Q−1} are enough
    lower = q[len(q) // 2 : -1] if symmetric else q[:-1]
    odd = 2.0 * lower + 1.0
    drive = 0.5 * market.k * gamma * market.sigma**2 * size * odd - market.k * market.mu
    coupling = eta(market, xi, size)
    most = largest_start(coupling)
    start = np.clip(0.5 * market.k * market.impact * odd, -most, most)
    u, log_v0 = integrate(start, drive, coupling, coupling, tau, symmetric)
    return np.hstack([-u[:, ::-1], u]) if symmetric else u, log_v0
