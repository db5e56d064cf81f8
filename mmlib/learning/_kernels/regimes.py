"""Episodes of the chain with regimes: profits of many makers, each with its own risk aversions."""

import math

import numpy as np
from numba import njit, prange

from mmlib.numerics.streams import first_state, next_state, word

_UNIT = 2.0**-53


@njit(cache=True)
def _uniform(x, y):
    return np.float64(word(x, y) >> np.uint64(11)) * _UNIT


@njit(cache=True, parallel=True)
def episodes(seed, first, count, mark, slope, market, held, switch, start, realised):
    """Profit of episodes `first` … `first` + `count` − 1 of a seed, shape (count,).

    Parameters
    ----------
    mark, slope : ndarray, shape (n, R)
        δb = mark + q·slope and δa = mark − q·slope.
    market : tuple of float
        A dt, k, fee.
    held : ndarray, shape (R, m)
        What holding an inventory over a step adds to the profit, the mid integrated out; with `realised` it holds
        sigma_r √dt q, which a coin turns.
    switch, start : ndarray, shape (R, R) and (R,)
        Cumulated probabilities of the next and of the first regime.
    """
    rate, k, fee = market
    n, R = mark.shape
    most = (held.shape[1] - 1) // 2
    profits = np.empty(count)
    for j in prange(count):
        x, y = first_state(seed, first + j, 0)
        u = _uniform(x, y)
        x, y = next_state(x, y)
        r = 0
        while r < R - 1 and u >= start[r]:
            r += 1
        q, profit = 0, 0.0
        for i in range(n):
            bid, ask = mark[i, r] + q * slope[i, r], mark[i, r] - q * slope[i, r]
            u = _uniform(x, y)
            x, y = next_state(x, y)
            v = _uniform(x, y)
            x, y = next_state(x, y)
            got_bid = q < most and u < rate * math.exp(-k * bid)
            got_ask = q > -most and v < rate * math.exp(-k * ask)
            if got_bid:
                q += 1
                profit += bid - fee
            if got_ask:
                q -= 1
                profit += ask - fee
            u = _uniform(x, y)
            x, y = next_state(x, y)
            if realised:
                coin = word(x, y) >> np.uint64(63)
                x, y = next_state(x, y)
                profit += held[r, q + most] if coin else -held[r, q + most]
            else:
                profit += held[r, q + most]
            s = 0
            while s < R - 1 and u >= switch[r, s]:
                s += 1
            r = s
        profits[j] = profit
    return profits
