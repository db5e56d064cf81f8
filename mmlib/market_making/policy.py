"""The stationary market-making problem by policy iteration (Howard 1960), and quotes that carry a constant limit.

Far from the horizon θ(t, q) = gain · (T − t) + θ(q), and with the F of `hjb_equation`

    gain + discount · θ_q = F(θ)_q,      θ_0 = 0 if the discount is 0, gain = 0 if it is not.

An iteration fixes quotes and taker trades and solves the tridiagonal system they make; for ξ = 0 these are the values
of ever better policies. It starts from an implicit march whose time steps grow, so that no first guess overflows.
"""

from dataclasses import dataclass

import numpy as np

from mmlib.checks import finite, nonnegative
from mmlib.market_making.hjb_equation import (
    after_taking,
    equation,
    exit_rates,
    flow_times,
    hamiltonian,
    implicit_step,
    settled,
    solve_linear,
)
from mmlib.market_making.hjb_kernels import howard_on_grid
from mmlib.market_making.quotes import Quotes, time_grid


@dataclass(frozen=True, eq=False)
class Stationary:
    """Value, gain and best quotes of the stationary problem over the m = 2Q + 1 inventories.

    Attributes
    ----------
    inventory : ndarray of int, shape (m,)
        −Q, …, Q orders of `size` units.
    bid, ask : ndarray, shape (m,)
        Best distances, price; NaN where not quoted, and where the taker trades.
    value : ndarray, shape (m,)
        θ, currency: relative to inventory 0, or the discounted value.
    gain : float
        Growth of the certainty equivalent, currency/time; 0 with a discount.
    taker : ndarray of bool, shape (m,)
        Where the taker trades.
    equation : Equation
        What was solved.
    """

    inventory: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    value: np.ndarray
    gain: float
    taker: np.ndarray
    equation: object

    def quotes(self, horizon, steps=1):
        """These quotes at all times to `horizon`, as `Quotes` of `steps` equal rows; with the taker's limit, if any.

        ValueError if the taker's limit is not the same on both sides.
        """
        times = time_grid(horizon, steps)
        bid, ask, taker = (np.tile(row, (len(times), 1)) for row in (self.bid, self.ask, self.taker))
        return constant_limit_quotes(self.equation, times, bid, ask, taker, horizon)


def policy_iteration(
    market,
    *,
    max_inventory,
    gamma=0.0,
    xi=None,
    running=None,
    size=1.0,
    taker=None,
    taker_cost=0.0,
    target=None,
    discount=0.0,
    distances=None,
):
    """Best quotes far from any horizon.

    Parameters
    ----------
    market, max_inventory, gamma, xi, running, size, taker, taker_cost, target
        As in `hjb.solve`.
    discount : float
        Rate of discount, 1/time, >= 0; 0 is the long-run average. Positive only with xi = 0: certainty equivalents of
        CARA utility are not discounted.
    distances : array_like, shape (p,), optional
        Quotes come from these, increasing, price; by default from all distances. Only with xi = 0 and no taker.

    Returns
    -------
    Stationary

    Raises
    ------
    ValueError
        If an argument is out of range; if the grid of `distances`, or the range of measured rates, is too small for the
        best quotes, or a rate overflows.
    """
    eq = equation(market, max_inventory, gamma, xi, running, size, taker, taker_cost, target)
    discount = nonnegative("discount", discount, "rate of discount, 1/time")
    if eq.xi > 0 and (discount > 0 or distances is not None):
        raise ValueError(f"xi must be 0 with a discount or a grid of distances (aversion to fills); got {eq.xi!r}")
    if distances is not None:
        return _on_grid(eq, market, distances, discount)
    theta, before, done = _start(eq, discount), np.inf, False
    gain = 0.0 if discount > 0 else hamiltonian(eq, theta).change[eq.zero]
    for _ in range(1000):
        h = hamiltonian(eq, theta)
        if done:
            break
        new, gain = _evaluate_policy(eq, h, theta, gain, discount)
        moved, theta = np.max(np.abs(new - theta)), new
        done, before = settled(eq, theta, moved, before), moved
    else:
        raise ArithmeticError("policy iteration did not converge in 1000 iterations")
    traded = _stops(eq, h, theta, gain, discount)
    bid, ask = (np.where(traded, np.nan, side) for side in (h.bid, h.ask))
    in_domain(eq, bid[None], ask[None])
    return Stationary(eq.q, bid, ask, theta, gain, traded, eq)


def constant_limit_quotes(eq, times, bid, ask, taker, horizon):
    """`Quotes` of tables (n, m), with the limit, cost and target that `taker` (n, m) amounts to; ValueError if none."""
    if eq.taker == "limit":
        limit = int(eq.q[-1])
        return Quotes(times, eq.q, bid, ask, horizon, eq.size, limit=limit, cost=eq.cost, target=eq.target)
    if not taker.any():
        return Quotes(times, eq.q, bid, ask, horizon, eq.size)
    held = eq.q[~taker[0]]
    limit = int(held[-1])
    if held[0] != -limit or np.any(taker != (np.abs(eq.q) > limit)):
        ends = sorted({(int(eq.q[~row][0]), int(eq.q[~row][-1])) for row in taker})
        shown = ", ".join(f"{low} ... {high}" for low, high in ends[:5]) + (", ..." if len(ends) > 5 else "")
        raise ValueError(
            "quotes need inventories without taker trades that are -limit ... limit at all times;"
            f" got {shown}; solve with taker='limit' for the best quotes under a constant limit"
        )
    if limit == 0:
        raise ValueError("quotes need a limit >= 1 (inventory held without taker trades); got 0, taking is too cheap")
    inside = np.abs(eq.q) <= limit
    target = 0 if eq.taker == "flatten" else limit
    return Quotes(
        times, eq.q[inside], bid[:, inside], ask[:, inside], horizon, eq.size, limit=limit, cost=eq.cost, target=target
    )


def in_domain(eq, bid, ask):
    """ValueError if a quote (n, m) is outside the range where its intensity was measured; the message names it."""
    for name, side, table in (("bid", eq.bid, bid), ("ask", eq.ask, ask)):
        low, high = side.domain
        outside = (table < low) | (table > high)  # NaN is not
        if np.any(outside):
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"distances must reach the best quotes (price); at inventory {eq.q[column]} the best {name} is"
                f" {table[row, column]:.4g}, measured are {low:.4g} ... {high:.4g}: extend the table or lower"
                f" max_inventory"
            )


def _start(eq, discount):
    """θ near the stationary one: implicit Euler from 0 in growing steps, until a step moves it by less than a unit."""
    theta, unit = np.zeros(len(eq.q)), eq.unit
    steepest = np.max(np.abs(np.diff(hamiltonian(eq, theta).change)))
    if steepest == 0:  # θ = 0 is stationary
        return theta
    dt = unit / steepest
    while True:
        if discount > 0:  # (1 + dt discount) θ' = θ + dt F(θ')
            new, _ = implicit_step(eq, theta / (1 + dt * discount), dt / (1 + dt * discount), theta)
        else:
            new, _ = implicit_step(eq, theta, dt, theta)
            new = new - new[eq.zero]
        moved, theta = np.max(np.abs(new - theta)), new
        if moved <= unit:
            return theta
        dt *= 4


def _stops(eq, h, theta, gain, discount):
    """Where taking is better than quoting, (m,)."""
    if eq.taker not in ("lot", "flatten"):
        return np.zeros(len(eq.q), bool)
    # where the taker trades, θ equals its value to rounding and quoting falls short; elsewhere the other way round
    return after_taking(eq, theta) - theta > h.change - gain - discount * theta


def _evaluate_policy(eq, h, theta, gain, discount):
    """Value (m,) and gain of the policy that is best at `theta` and `gain`."""
    zero = eq.zero
    reward = h.change - flow_times(eq, h, theta)
    stop = None
    if eq.taker in ("lot", "flatten"):
        stop = _stops(eq, h, theta, gain, discount)
        traded = np.abs(eq.q) if eq.taker == "flatten" else 1
        reward = np.where(stop, -eq.cost * eq.size * traded, reward)
    if discount > 0:
        return solve_linear(eq, h, discount, 1.0, reward[:, None], stop)[:, 0], 0.0
    left = exit_rates(eq, h) + (0 if stop is None else stop) + (eq.q == 0)
    if not np.all(left > 0):
        raise ValueError(
            f"market must fill some order worth filling at every inventory; none at {eq.q[left <= 0][0]}, so that the"
            f" position is kept for ever and there is no one gain"
        )
    ones = np.ones(len(theta)) if stop is None else (~stop).astype(float)
    rhs = np.column_stack([reward, -ones])
    rhs[zero] = 0.0
    x, slope = solve_linear(eq, h, 0.0, 1.0, rhs, stop, anchored=True).T
    at_zero = [flow_times(eq, h, column)[zero] for column in (x, slope)]
    gain = (reward[zero] + at_zero[0]) / (1 - at_zero[1])
    return x + gain * slope, float(gain)


def _on_grid(eq, market, distances, discount):
    """`policy_iteration` with quotes from a grid, all in one kernel."""
    if eq.taker is not None:
        raise ValueError(f"taker must be None with a grid of distances; got {eq.taker!r}")
    distances = np.atleast_1d(finite("distances", distances, "quotes to choose from, price"))
    if distances.ndim != 1 or len(distances) < 3 or np.any(distances[1:] <= distances[:-1]):
        raise ValueError(f"distances must be one increasing row of at least 3 (price); got {distances!r}")
    rates = [np.asarray(rate(distances), float) for rate in (market.bid_rate, market.ask_rate)]
    costs = [eq.fee + side.toll / eq.size for side in (eq.bid, eq.ask)]
    value, gain, *chosen = howard_on_grid(eq.income, distances, *rates, *costs, eq.size, discount, eq.zero)
    tables = []
    for name, index, side in (("bid", chosen[0], eq.bid), ("ask", chosen[1], eq.ask)):
        end = side.quoted & ((index == 0) | (index == len(distances) - 1))
        if end.any():
            raise ValueError(
                f"distances must reach beyond the best quotes (price); at inventory {eq.q[end][0]} the best {name} is"
                f" {distances[index[end][0]]:g}, an end of the grid"
            )
        tables.append(np.where(side.quoted, distances[index], np.nan))
    return Stationary(eq.q, *tables, value, gain, np.zeros(len(eq.q), bool), eq)
