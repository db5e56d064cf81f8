"""The stiff equation of the log-ratios u_q = ln(v_q/v_{q+1}): extrapolated linearly implicit Euler."""

import numpy as np
from numba import njit

TOLERANCE = 1e-9  # of a step, in u; the quotes are then within a few 1e-9/k
ROWS = 9  # of the extrapolation table


@njit(cache=True, error_model="numpy", nogil=True)
def integrate(start, drive, bid_eta, ask_eta, tau, symmetric):
    """Log-ratios u (m,) and ln v_0 from `start` and 0, at the increasing times to go `tau` (n,).

    With the inflow g_q = bid_eta exp(−u_q) + ask_eta exp(u_{q−1}) of level q from its neighbours in the equation of v,

        du_q/dtau = drive_q + g_q − g_{q+1},        d ln v_0/dtau = g_0,

    a stiff system whose Jacobian J is, up to sign, a tridiagonal M-matrix. Extrapolated linearly implicit Euler
    ("Seulex": Hairer & Wanner 1996, Solving Ordinary Differential Equations II, section IV.9): a step H is done with 1,
    2, 3, … Euler steps, and the results are extrapolated to infinitely many until the last two extrapolations agree to
    TOLERANCE; the next step is the one for which ROWS rows should be enough. If `symmetric`, the u are those of q >= 0,
    and u_{−1} = −u_0. A side that never trades has eta = 0.
    """
    m, n = len(start), len(tau)
    ratios, log_v0 = np.empty((n, m)), np.empty(n)
    y = np.append(start, 0.0)  # u, and ln v_0 at the end
    T = np.empty((ROWS, m + 1))  # the last diagonal of the extrapolation table, the best first
    flows, work = np.empty((3, m + 1)), np.empty((7, m + 1))
    t = 0.0
    _flows(y, bid_eta, ask_eta, symmetric, flows)
    step = 0.01 / (np.max(np.abs(drive)) + np.max(flows[2]))
    for j in range(n):
        while t < tau[j]:
            H = min(step, tau[j] - t)
            _flows(y, bid_eta, ask_eta, symmetric, flows)
            error = 0.0
            for rows in range(1, ROWS + 1):
                T[rows - 1] = y
                _euler(T[rows - 1], H / rows, rows, flows, drive, bid_eta, ask_eta, symmetric, work)
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
def _flows(y, bid_eta, ask_eta, symmetric, flows):
    """Into the rows of `flows`: bid_eta exp(−u_q), ask_eta exp(u_q) and the inflows g_q, one more of these."""
    up, down, g = flows[0], flows[1], flows[2]
    m = len(y) - 1
    for i in range(m):
        g[i] = np.exp(y[i])
    for i in range(m):
        up[i] = bid_eta / g[i] if bid_eta > 0.0 else 0.0  # g may underflow
        down[i] = ask_eta * g[i]
    g[0] = 2.0 * up[0] if symmetric else up[0]
    for i in range(1, m):
        g[i] = up[i] + down[i - 1]
    g[m] = down[m - 1]


@njit(cache=True, error_model="numpy")
def _euler(y, h, steps, flows, drive, bid_eta, ask_eta, symmetric, work):
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
            _flows(y, bid_eta, ask_eta, symmetric, work)
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
