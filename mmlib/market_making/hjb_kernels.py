"""What NumPy cannot do at once for the HJB solvers: a tridiagonal solve, and Howard's iteration on a grid."""

import numpy as np
from numba import njit


@njit(cache=True)
def tridiagonal(lower, diagonal, upper, rhs):
    """x with lower_i x_{i−1} + diagonal_i x_i + upper_i x_{i+1} = rhs_i, for each column of `rhs` (m, r).

    Elimination without pivoting (Thomas), which is stable here: every matrix of the solvers is diagonally dominant.
    """
    m, columns = rhs.shape
    ratio, x = np.empty(m), np.empty((m, columns))
    previous = 0.0
    for i in range(m):
        pivot = diagonal[i] - (lower[i] * previous if i > 0 else 0.0)
        previous = ratio[i] = upper[i] / pivot
        for j in range(columns):
            x[i, j] = (rhs[i, j] - (lower[i] * x[i - 1, j] if i > 0 else 0.0)) / pivot
    for i in range(m - 2, -1, -1):
        for j in range(columns):
            x[i, j] -= ratio[i] * x[i + 1, j]
    return x


@njit(cache=True)
def howard_on_grid(income, distances, bid_rates, ask_rates, bid_cost, ask_cost, size, discount, zero):
    """Policy iteration with quotes from a grid of distances: value (m,), gain, chosen indices of bid and ask (m,).

    Solves gain + discount·θ_q = income_q + Σ max_g rate_g (size (distance_g − cost_q) + θ_{q±1} − θ_q), with gain 0 for
    a positive discount and θ = 0 at index `zero` otherwise. A quote is changed only for one better by
    more than rounding, so that ties end the iteration.
    """
    m = len(income)
    bid, ask = np.zeros(m, np.int64), np.zeros(m, np.int64)
    lower, diagonal, upper, rhs = np.empty(m), np.empty(m), np.empty(m), np.empty((m, 2))
    value = np.zeros(m)
    gain = 0.0
    first = True
    while True:
        changed = first
        for q in range(m):
            if q < m - 1:
                cost = bid_cost[q] + (value[q] - value[q + 1]) / size
                changed |= _improve(bid, q, cost, distances, bid_rates, first)
            if q > 0:
                cost = ask_cost[q] + (value[q] - value[q - 1]) / size
                changed |= _improve(ask, q, cost, distances, ask_rates, first)
        first = False
        if not changed:
            return value, gain, bid, ask
        for q in range(m):
            up = bid_rates[bid[q]] if q < m - 1 else 0.0
            down = ask_rates[ask[q]] if q > 0 else 0.0
            reward = income[q]
            reward += up * size * (distances[bid[q]] - bid_cost[q]) + down * size * (distances[ask[q]] - ask_cost[q])
            lower[q], diagonal[q], upper[q] = -down, discount + up + down, -up
            rhs[q, 0], rhs[q, 1] = reward, -1.0
        if discount > 0:
            value = tridiagonal(lower, diagonal, upper, rhs)[:, 0].copy()
        else:
            up, down, reward = -upper[zero], -lower[zero], rhs[zero, 0]
            lower[zero], diagonal[zero], upper[zero] = 0.0, 1.0, 0.0
            rhs[zero, 0], rhs[zero, 1] = 0.0, 0.0
            x = tridiagonal(lower, diagonal, upper, rhs)
            gain = (reward + up * x[zero + 1, 0] + down * x[zero - 1, 0]) / (
                1.0 - up * x[zero + 1, 1] - down * x[zero - 1, 1]
            )
            value = x[:, 0] + gain * x[:, 1]


@njit(cache=True)
def _improve(choice, q, cost, distances, rates, first):
    """Set choice[q] to the g that maximises rates[g] (distances[g] − cost); whether that changed it."""
    best, most = choice[q], rates[choice[q]] * (distances[choice[q]] - cost)
    threshold = most if first else most + 1e-13 * (abs(most) + rates[choice[q]] * abs(cost))
    for g in range(len(distances)):
        gain = rates[g] * (distances[g] - cost)
        if gain > threshold:
            best, threshold = g, gain
    changed = best != choice[q]
    choice[q] = best
    return changed
