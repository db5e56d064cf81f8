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

from mmlib.checks import in_interval, nonnegative, positive
from mmlib.market_making.quotes import Quotes, inventory_grid, one_sided, time_grid


def quotes(market, gamma, horizon, max_inventory, steps, xi=None, size=1.0):
    """Optimal quotes at every time of the table, to within a few 1e-9/k of the exact ones.

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
    ratios, _ = _solve(market, gamma, xi, size, horizon - times[::-1], q)
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
    log_v = log_v0[-1] + fall[len(q) // 2] - fall
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
    s = np.sqrt(risk / (2 * market.k * _eta(market, xi, size)))
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
    eta = _eta(market, xi, size)
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


def _eta(market, xi, size):
    _, C = constants(market, xi, size)
    limit = 300 / market.k  # eta = A C exp(±300): the solver has room for its powers
    toll = in_interval("fee + impact/2", market.fee + 0.5 * market.impact, -limit, limit, meaning="price, up to 300/k")
    return market.A * C * np.exp(-market.k * toll)


def _linear_quotes(market, xi, size, times, q, horizon, a, b):
    """Quotes of theta = Delta (−½ a q² + b q) + ½ impact Delta q², for a and b of shape (n,)."""
    a, b = a[:, None], b[:, None]
    mark = constants(market, xi, size)[0] + market.fee + 0.5 * market.impact
    bid, ask = one_sided(q, mark + 0.5 * (2 * q + 1) * a - b, mark - 0.5 * (2 * q - 1) * a + b)
    return Quotes(times, q, bid, ask, horizon, size)


def _solve(market, gamma, xi, size, tau, q):
    """Log-ratios u_q = ln(v_q/v_{q+1}), q = −Q … Q − 1, shape (n, 2Q), and ln v_0, (n,), at times to go `tau` (n,)."""
    eta = _eta(market, xi, size)
    symmetric = market.mu == 0  # then v_q = v_{−q}: u_0 … u_{Q−1} are enough
    lower = q[len(q) // 2 : -1] if symmetric else q[:-1]
    odd = 2.0 * lower + 1.0
    drive = 0.5 * market.k * gamma * market.sigma**2 * size * odd - market.k * market.mu
    # A |u| beyond 600 is forgotten at once, in a time exp(−600)/eta: this start gives the same u, and never overflows.
    start = np.clip(0.5 * market.k * market.impact * odd, -600.0, 600.0)
    u, log_v0 = _integrate(start, drive, eta, tau, symmetric)
    return np.hstack([-u[:, ::-1], u]) if symmetric else u, log_v0


TOLERANCE = 1e-9  # of a step, in u; the quotes are then within a few 1e-9/k
ROWS = 9  # of the extrapolation table


@njit(cache=True, error_model="numpy")
def _integrate(start, drive, eta, tau, symmetric):
    """Log-ratios u (m,) and ln v_0 from `start` and 0, at the increasing times to go `tau` (n,).

    With the inflow g_q = eta (exp(−u_q) + exp(u_{q−1})) of level q from its neighbours in the equation of v,

        du_q/dtau = drive_q + g_q − g_{q+1},        d ln v_0/dtau = g_0,

    a stiff system whose Jacobian J is, up to sign, a tridiagonal M-matrix. Extrapolated linearly implicit Euler
    ("Seulex": Hairer & Wanner 1996, Solving Ordinary Differential Equations II, section IV.9): a step H is done with 1,
    2, 3, … Euler steps, and the results are extrapolated to infinitely many until the last two extrapolations agree to
    TOLERANCE; the next step is the one for which ROWS rows should be enough. If `symmetric`, the u are those of q >= 0,
    and u_{−1} = −u_0.
    """
    m, n = len(start), len(tau)
    ratios, log_v0 = np.empty((n, m)), np.empty(n)
    y = np.append(start, 0.0)  # u, and ln v_0 at the end
    T = np.empty((ROWS, m + 1))  # the last diagonal of the extrapolation table, the best first
    flows, work = np.empty((3, m + 1)), np.empty((7, m + 1))
    t = 0.0
    _flows(y, eta, symmetric, flows)
    step = 0.01 / (np.max(np.abs(drive)) + np.max(flows[2]))
    for j in range(n):
        while t < tau[j]:
            H = min(step, tau[j] - t)
            _flows(y, eta, symmetric, flows)
            error = 0.0
            for rows in range(1, ROWS + 1):
                T[rows - 1] = y
                _euler(T[rows - 1], H / rows, rows, flows, drive, eta, symmetric, work)
                # A row gains about one digit; when it seems to gain more than 1.5, the difference happened to vanish.
                error = max(error / 30.0, _extrapolate(T, rows, y))
                if rows > 1 and not TOLERANCE < error < np.inf:
                    break
            growth = 0.9 * (TOLERANCE / max(error, 1e-300)) ** (1.0 / rows) * ROWS / rows
            growth = min(max(growth, 0.1), 10.0)
            if error <= TOLERANCE:
                y[:] = T[0]
                t = tau[j] if tau[j] - t == H else t + H
                step = max(growth * H, step) if step > H else growth * H
            else:
                step = growth * H
                if t + step == t and t > 0:
                    raise RuntimeError("the log-ratios could not be integrated to the tolerance")
        ratios[j] = y[:m]
        log_v0[j] = y[m]
    return ratios, log_v0


@njit(cache=True, error_model="numpy")
def _flows(y, eta, symmetric, flows):
    """Into the rows of `flows`: up_q = eta exp(−u_q), down_q = eta exp(u_q) and the inflows g_q, one more of these."""
    up, down, g = flows[0], flows[1], flows[2]
    m = len(y) - 1
    for i in range(m):
        g[i] = np.exp(y[i])
    for i in range(m):
        up[i] = eta / g[i]
        down[i] = eta * g[i]
    g[0] = 2.0 * up[0] if symmetric else up[0]
    for i in range(1, m):
        g[i] = up[i] + down[i - 1]
    g[m] = down[m - 1]


@njit(cache=True, error_model="numpy")
def _euler(y, h, steps, flows, drive, eta, symmetric, work):
    """`steps` linearly implicit Euler steps (1 − h J) dy = h f(y), in place; J from `flows`, those of the first y."""
    up, down, g = flows[0], flows[1], flows[2]
    lower, inverse, upper, dy = work[3], work[4], work[5], work[6]
    m = len(drive)
    pivot = 1.0 + h * (g[0] + down[0])
    lower[0] = 0.0
    for i in range(1, m):  # 1 − h J = L U
        inverse[i - 1] = 1.0 / pivot
        upper[i - 1] = h * up[i] * inverse[i - 1]
        lower[i] = h * down[i - 1] * inverse[i - 1]
        pivot = 1.0 + h * (up[i] + down[i]) - lower[i] * h * up[i]
    inverse[m - 1] = 1.0 / pivot
    upper[m - 1] = 0.0
    for s in range(steps):
        if s > 0:
            _flows(y, eta, symmetric, work)
            g = work[2]
        x = 0.0
        for i in range(m):
            x = h * (drive[i] + g[i] - g[i + 1]) + lower[i] * x
            dy[i] = x
        x = 0.0
        for i in range(m - 1, -1, -1):
            x = inverse[i] * dy[i] + upper[i] * x
            dy[i] = x
            y[i] += x
        if symmetric:
            y[m] += h * (g[0] - 2.0 * up[0] * dy[0])
        else:
            c = m // 2
            y[m] += h * (g[c] - up[c] * dy[c] + down[c - 1] * dy[c - 1])


@njit(cache=True, error_model="numpy")
def _extrapolate(T, rows, y):
    """Aitken–Neville: from the diagonal in T[:rows − 1] and the new T[rows − 1] to the next diagonal, best first.

    Returns how far its two best differ, at most, in TOLERANCE's unit: absolute, but relative beyond |y| = 1000.
    """
    error = 0.0
    for r in range(rows - 2, -1, -1):
        weight = (r + 1.0) / (rows - r - 1.0)
        for i in range(T.shape[1]):
            change = (T[r + 1, i] - T[r, i]) * weight
            T[r, i] = T[r + 1, i] + change
            if r == 0 and not abs(change) <= error * max(1.0, 1e-3 * abs(y[i])):
                error = abs(change) / max(1.0, 1e-3 * abs(y[i]))
                if not np.isfinite(error):
                    return np.inf
    return error
