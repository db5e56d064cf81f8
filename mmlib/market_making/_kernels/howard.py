"""Howard's policy iteration on a grid of distances, compiled."""

import numpy as np
from numba import njit

from mmlib.numerics.tridiagonal import tridiagonal


@njit(cache=True)
def howard_on_grid(income, distances, bid_rates, ask_rates, bid_cost, ask_cost, size, discount, zero):
    """Policy iteration with quotes from a grid of distances: value (m,), gain, chosen indices of bid and ask (m,).

    Solves gain + discount·θ_q = income_q + Σ max_g rate_g (size (distance_g − cost_q) + θ_{q±1} − θ_q), with θ = 0
    at index `zero`. A quote is changed only for one better by
    more than rounding, so that ties end the iteration.
    """
    m = len(income)
    bid, ask = np.zeros(m, np.int64), np.zeros(m, np.int64)
    lower, diagonal, upper, rhs = np.empty(m), np.empty(m), np.empty(m), np.empty((m, 2))
    value = np.zeros(m)
    gain = 0.0
    bid_index, bid_from = _envelope(distances, bid_rates)
    ask_index, ask_from = _envelope(distances, ask_rates)
    bid_distances, bid_rates = distances[bid_index], bid_rates[bid_index]
    ask_distances, ask_rates = distances[ask_index], ask_rates[ask_index]
    first = True
    while True:
        changed = first
        for q in range(m):
            if q < m - 1:
                cost = bid_cost[q] + (value[q] - value[q + 1]) / size
                changed |= _improve(bid, q, cost, bid_distances, bid_rates, bid_from)
            if q > 0:
                cost = ask_cost[q] + (value[q] - value[q - 1]) / size
                changed |= _improve(ask, q, cost, ask_distances, ask_rates, ask_from)
        first = False
        if not changed:
            return value, gain, bid_index[bid], ask_index[ask]
        for q in range(m):
            up = bid_rates[bid[q]] if q < m - 1 else 0.0
            down = ask_rates[ask[q]] if q > 0 else 0.0
            earned = up * (bid_distances[bid[q]] - bid_cost[q]) + down * (ask_distances[ask[q]] - ask_cost[q])
            lower[q], diagonal[q], upper[q] = -down, discount + up + down, -up
            rhs[q, 0], rhs[q, 1] = income[q] + size * earned, -1.0
        up, down, reward = -upper[zero], -lower[zero], rhs[zero, 0]
        lower[zero], diagonal[zero], upper[zero] = 0.0, 1.0, 0.0
        rhs[zero, 0], rhs[zero, 1] = 0.0, 0.0
        x = tridiagonal(lower, diagonal, upper, rhs)
        gain = (reward + up * x[zero + 1, 0] + down * x[zero - 1, 0]) / (
            1.0 - up * x[zero + 1, 1] - down * x[zero - 1, 1]
        )
        value = x[:, 0] + gain * x[:, 1]


@njit(cache=True)
def _envelope(distances, rates):
    """Upper envelope of the lines rate_g (distance_g − cost) in cost: their g, and the cost from which each is highest.

    Distances increase; rates do not.
    """
    best, start, n = np.empty(len(distances), np.int64), np.empty(len(distances)), 0
    for g in range(len(distances)):
        if n > 0 and rates[g] == rates[best[n - 1]] == 0.0:  # quotes that are never filled are all one
            continue
        crossing = -np.inf
        while n > 0:
            h = best[n - 1]
            if rates[h] > rates[g]:
                crossing = (rates[h] * distances[h] - rates[g] * distances[g]) / (rates[h] - rates[g])
            if crossing > start[n - 1]:
                break
            crossing = -np.inf
            n -= 1
        best[n], start[n] = g, crossing
        n += 1
    return best[:n], start[:n]


@njit(cache=True)
def _improve(choice, q, cost, distances, rates, start):
    """Set choice[q] to the line on the envelope that is highest at `cost`; whether that changed it."""
    old = new = choice[q]
    while new + 1 < len(start) and start[new + 1] <= cost:
        new += 1
    while start[new] > cost:
        new -= 1
    had = rates[old] * (distances[old] - cost)
    if rates[new] * (distances[new] - cost) <= had + 1e-13 * (abs(had) + rates[old] * abs(cost)):
        return False
    choice[q] = new
    return True
