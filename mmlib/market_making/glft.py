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
solver works with the log-ratios u_q = ln(v_q/v_{q+1}) that the quotes need; see `_integrate`.
"""

import numpy as np
from numba import njit

from mmlib.checks import nonnegative, positive
from mmlib.market_making.quotes import Quotes, inventory_grid, one_sided, time_grid


def quotes(market, gamma, horizon, max_inventory, steps, xi=None, size=1.0):
    """Optimal quotes, exact to about 1e-10/k.

    Parameters
    ----------
    market : Market
        Exponential intensities; drift, impact and fee are part of the model.
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
    gamma, xi, size, times, q = _checked(market, gamma, horizon, max_inventory, steps, xi, size)
    c1, _ = constants(market, xi, size)
    ratios, _ = _solve(market, gamma, xi, size, (horizon - times)[::-1], q)
    u = ratios[::-1] / market.k
    edge = np.zeros((len(times), 1))
    mark = c1 + market.fee + 0.5 * market.impact
    bid, ask = one_sided(q, mark + np.hstack([u, edge]), mark - np.hstack([edge, u]))
    return Quotes(times, q, bid, ask, horizon, size)


def value(market, gamma, horizon, max_inventory, xi=None, size=1.0):
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
    gamma, xi, size, times, q = _checked(market, gamma, horizon, max_inventory, 1, xi, size)
    ratios, log_v0 = _solve(market, gamma, xi, size, horizon - times, q)
    fall = np.concatenate([[0.0], np.cumsum(ratios[-1])])
    log_v = log_v0[-1] + fall[max_inventory] - fall
    return size / market.k * log_v + 0.5 * market.impact * size * q.astype(float) ** 2


def closed_form_quotes(market, gamma, horizon, max_inventory, steps, xi=None, size=1.0):
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
    gamma, xi, size, times, q = _checked(market, gamma, horizon, max_inventory, steps, xi, size)
    risk = gamma * market.sigma**2 * size
    if risk == 0 and market.mu != 0:
        raise ValueError(
            f"mu must be 0 for stationary quotes without inventory risk (gamma sigma² = 0); got {market.mu!r}"
        )
    s = np.sqrt(risk / (2 * market.k * np.exp(_log_eta(market, xi, size))))
    b = market.mu * s / risk if risk > 0 else 0.0
    return _linear_quotes(market, xi, size, times, q, horizon, np.full(len(times), s), np.full(len(times), b))


def tanh_quotes(market, gamma, horizon, max_inventory, steps, xi=None, size=1.0):
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
    gamma, xi, size, times, q = _checked(market, gamma, horizon, max_inventory, steps, xi, size)
    tau = horizon - times
    risk = gamma * market.sigma**2 * size
    eta = np.exp(_log_eta(market, xi, size))
    omega = np.sqrt(2 * market.k * eta * risk)
    g = 2 * market.k * eta * market.impact

    def t(tau):
        return np.tanh(omega * tau) / omega if omega > 0 else tau

    a = (market.impact + risk * t(tau)) / (1 + g * t(tau))
    b = market.mu * t(tau) * (1 + g * t(tau / 2)) / (1 + g * t(tau))
    return _linear_quotes(market, xi, size, times, q, horizon, a, b)


def constants(market, xi, size=1.0):
    """Mark-up and thinning of the fills' utility, for aversion `xi` and orders of `size` = Delta units.

    Returns
    -------
    c1 : float
        ln(1 + xi Delta/k)/(xi Delta), price; 1/k at xi = 0.
    C : float
        (1 + xi Delta/k)^−(1 + k/(xi Delta)); 1/e at xi = 0.
    """
    xi = nonnegative("xi", xi, "aversion to the risk of fills, 1/currency")
    x = xi * positive("size", size, "units of an order") / market.k
    c1_k = np.log1p(x) / x if x > 0 else 1.0
    return c1_k / market.k, np.exp(-(c1_k + np.log1p(x)))


def _checked(market, gamma, horizon, max_inventory, steps, xi, size):
    gamma = nonnegative("gamma", gamma, "penalty of inventory risk, 1/currency")
    xi = gamma if xi is None else nonnegative("xi", xi, "aversion to the risk of fills, 1/currency")
    size = positive("size", size, "units of an order")
    return gamma, xi, size, time_grid(horizon, steps), inventory_grid(max_inventory)


def _log_eta(market, xi, size):
    return np.log(market.A * constants(market, xi, size)[1]) - market.k * (market.fee + 0.5 * market.impact)


def _linear_quotes(market, xi, size, times, q, horizon, a, b):
    """Quotes of theta = Delta (−½ a q² + b q) + ½ impact Delta q², for a and b of shape (n,)."""
    a, b = a[:, None], b[:, None]
    mark = constants(market, xi, size)[0] + market.fee + 0.5 * market.impact
    bid, ask = one_sided(q, mark + 0.5 * (2 * q + 1) * a - b, mark - 0.5 * (2 * q - 1) * a + b)
    return Quotes(times, q, bid, ask, horizon, size)


def _solve(market, gamma, xi, size, tau, q):
    """Log-ratios u_q = ln(v_q/v_{q+1}), shape (n, 2Q), and ln v_0, shape (n,), at increasing times to go `tau`."""
    below = q[:-1].astype(float)
    alpha = 0.5 * market.k * gamma * market.sigma**2 * size
    log_eta = _log_eta(market, xi, size)
    start = 0.5 * market.k * market.impact * (2 * below + 1)
    return _integrate(start, alpha * (2 * below + 1) - market.k * market.mu, log_eta, tau, _TOLERANCE)


_TOLERANCE = 1e-11
_ROWS = 6


@njit(cache=True)
def _integrate(start, drive, log_eta, tau, tolerance):
    """Integrate the log-ratios u (m,) over the times to go `tau` (n,).

    du_q/dtau = drive_q + up_q + down_{q−1} − up_{q+1} − down_q,  up_q = eta exp(−u_q) and down_q = eta exp(u_q) being
    the flows of v between q and q + 1; and d ln v_0/dtau = up_0 + down_{−1}. Extrapolated linearly implicit Euler.
    """
    m = len(start)
    centre = m // 2
    n = len(tau)
    table = np.empty((n, m))
    log_v0 = np.empty(n)
    y = np.empty(m + 1)
    y[:m] = start
    y[m] = 0.0
    T = np.empty((_ROWS, m + 1))
    up, down, up0, down0, pivot, rhs = np.empty(m), np.empty(m), np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    t = 0.0
    step = np.inf
    for j in range(n):
        while t < tau[j]:
            for i in range(m):
                up0[i] = np.exp(log_eta - y[i])
                down0[i] = np.exp(log_eta + y[i])
            if step == np.inf:
                step = 1e-2 / (np.max(np.abs(drive)) + np.max(up0) + np.max(down0))
            H = min(step, tau[j] - t)
            for row in range(_ROWS):
                h = H / (row + 1)
                x = T[row]
                x[:] = y
                pivot[0] = 1 + h * (up0[0] + down0[0])
                for i in range(1, m):
                    pivot[i] = 1 + h * (up0[i] + down0[i]) - h * down0[i - 1] * (h * up0[i]) / pivot[i - 1]
                for sub in range(row + 1):
                    for i in range(m):
                        up[i] = np.exp(log_eta - x[i])
                        down[i] = np.exp(log_eta + x[i])
                    for i in range(m):
                        f = drive[i] + up[i] - down[i]
                        if i > 0:
                            f += down[i - 1]
                        if i < m - 1:
                            f -= up[i + 1]
                        rhs[i] = h * f
                        if i > 0:
                            rhs[i] += h * down0[i - 1] / pivot[i - 1] * rhs[i - 1]
                    rhs[m - 1] /= pivot[m - 1]
                    for i in range(m - 2, -1, -1):
                        rhs[i] = (rhs[i] + h * up0[i + 1] * rhs[i + 1]) / pivot[i]
                    x[m] += h * (up[centre] + down[centre - 1])
                    x[m] += h * (down0[centre - 1] * rhs[centre - 1] - up0[centre] * rhs[centre])
                    for i in range(m):
                        x[i] += rhs[i]
                # T[r] holds T_{row, row - r}... extrapolate the row in place
                error = 0.0
                for r in range(row - 1, -1, -1):
                    # T[r] is T_{row-1, row-1-r}; T[r+1] is T_{row, row-1-r}
                    w = 1.0 / ((row + 1) / (r + 1) - 1)
                    error = 0.0
                    for i in range(m + 1):
                        change = (T[r + 1, i] - T[r, i]) * w
                        T[r, i] = T[r + 1, i] + change
                        change = abs(change) / max(1.0, abs(y[i]))
                        if not change <= error:
                            error = change
            if error <= tolerance:
                t = tau[j] if H == tau[j] - t else t + H
                y[:] = T[0]
            if np.isfinite(error):
                factor = 0.9 * (tolerance / max(error, 1e-300)) ** (1.0 / _ROWS)
                grown = H * min(max(factor, 0.1), 8.0)
                if error > tolerance or H == step or grown < step:
                    step = grown
            else:
                step = 0.1 * H
        table[j] = y[:m]
        log_v0[j] = y[m]
    return table, log_v0
