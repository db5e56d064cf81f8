"""Backward induction for `ticks` to a horizon: the best table of offsets at every time, exact between its changes.

The value theta_q(tau) of holding q orders with tau to go solves, over the pairs that the rules allow at q,

    dtheta_q/dtau = max_d R_q(d, theta),    theta(0) = 0,
    R_q = Lambda_b (v_b + theta_{q+1} − theta_q) + Lambda_a (v_a + theta_{q−1} − theta_q) + running_q.

There are finitely many tables, so the best one changes at finitely many times; between two changes the equation is
linear, dtheta/dtau = r + G theta, and theta is its Taylor series: sum_k c_k s^k with c_0 = theta, c_1 = r + G theta and
c_{k+1} = G c_k/(k + 1). In steps of one mean time between fills at most, thirty terms are exact to rounding. A change
is where another pair becomes better than the one in use by more than `rounding`; it is found by bisection.
"""

import numpy as np

TERMS = 30
LOOKS = 4  # times at which a step looks for a better pair
_ROUNDING = 1e-11  # of the largest reward
_AT_ONCE = 1e-9  # of the horizon: changes closer than this are one


def induction(choices, horizon):
    """Best tables backwards from the horizon.

    Parameters
    ----------
    choices : Choices
        With at least one allowed pair at every inventory.
    horizon : float

    Returns
    -------
    times : ndarray, shape (rows,)
        From 0: when each row begins to hold.
    tables : (ndarray, ndarray), shape (rows, m)
        Indices of the offsets.
    value : ndarray, shape (m,)
        theta at time 0, currency.
    error : float
        What the rounding of the changes can have cost at most, currency.
    """
    fastest = choices.bid_rate.max() + choices.ask_rate.max()
    scale = np.max(np.abs(choices.running)) + sum(
        np.max(np.abs(rate * value))
        for rate, value in ((choices.bid_rate, choices.bid_value), (choices.ask_rate, choices.ask_value))
    )
    rounding = _ROUNDING * scale
    theta, left = np.zeros(len(choices.running)), horizon
    table = _improved(choices, theta, None, 0.0)
    changes, tables, last = [], [table], 0.0
    while left > 0:
        step = min(left, 1 / fastest)
        series = _taylor(choices, table, theta)
        looks = step * np.arange(1, LOOKS + 1) / LOOKS
        late = next((s for s in looks if _gap(choices, table, _at(series, s)) > rounding), None)
        if late is None:
            theta, left = _at(series, step), left - step
            continue
        early = late - step / LOOKS
        while early < (middle := (early + late) / 2) < late:
            if _gap(choices, table, _at(series, middle)) > rounding:
                late = middle
            else:
                early = middle
        theta, left = _at(series, late), left - late
        table = _improved(choices, theta, table, rounding / 2)
        if horizon - left > _AT_ONCE * horizon + last:
            changes.append(left)
            tables.append(table)
            last = horizon - left
        else:
            tables[-1] = table
    sides = tuple(np.array([table[side] for table in reversed(tables)]) for side in (0, 1))
    return np.array([0.0, *reversed(changes)]), sides, theta, rounding * horizon


def _rates_of_change(choices, theta):
    """R_q(d, theta) of every pair, shape (m, n, n); −inf where forbidden."""
    up, down = np.diff(theta, append=theta[-1]), -np.diff(theta, prepend=theta[0])
    bids = choices.bid_rate * (choices.bid_value + up[:, None])
    asks = choices.ask_rate * (choices.ask_value + down[:, None])
    return np.where(choices.allowed, bids[:, :, None] + asks[:, None, :] + choices.running[:, None, None], -np.inf)


def _improved(choices, theta, table, rounding):
    """The best pair at each inventory, `table`'s where none is better by more than `rounding`."""
    m, n, _ = choices.allowed.shape
    flat = _rates_of_change(choices, theta).reshape(m, -1)
    pick = flat.argmax(1)
    if table is not None:
        q, here = np.arange(m), table[0] * n + table[1]
        pick = np.where(flat[q, pick] > flat[q, here] + rounding, pick, here)
    return divmod(pick, n)


def _gap(choices, table, theta):
    """By how much the best pair at any inventory beats that of `table`, currency/time."""
    change = _rates_of_change(choices, theta)
    return np.max(change.max((1, 2)) - change[np.arange(len(theta)), table[0], table[1]])


def _taylor(choices, table, theta):
    """Coefficients c_k of theta while `table` holds, shape (TERMS, m)."""
    bid, ask = table
    q = np.arange(len(theta))
    up, down = choices.bid_rate[bid], choices.ask_rate[ask]
    earned = up * choices.bid_value[q, bid] + down * choices.ask_value[q, ask] + choices.running
    series = np.zeros((TERMS, len(theta)))
    series[0] = theta
    for k in range(1, TERMS):
        x = series[k - 1]
        series[k] = up * np.diff(x, append=x[-1]) - down * np.diff(x, prepend=x[0])
        series[k] = (series[k] + earned) if k == 1 else series[k] / k
    return series


def _at(series, s):
    """The sum of series_k s^k."""
    return s ** np.arange(len(series)) @ series
