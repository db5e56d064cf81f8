"""The stationary market-making problem by policy iteration (Howard 1960), and quotes that carry a constant limit.

Far from the horizon θ(t, q) = gain · (T − t) + θ(q), and with the F of `_hjb_equation`

    gain + discount · θ_q = F(θ)_q,      θ_0 = 0.

With a discount the value is θ_q + gain/discount; F depends on differences of θ alone, so the two parts are found apart
and a small discount loses no digits of the quotes.

An iteration fixes quotes and taker trades and solves the tridiagonal system they make; for ξ = 0 these are the values
of ever better policies. It starts from an implicit march whose time steps grow, so that no first guess overflows.
"""

from dataclasses import dataclass

import numpy as np

from mmlib.checks import finite, integer, nonnegative, positive
from mmlib.market_making._hjb_equation import (
    RateOverflow,
    after_taking,
    equation,
    exit_rates,
    flow_times,
    hamiltonian,
    implicit_step,
    settled,
    solve_linear,
)
from mmlib.market_making._kernels.howard import howard_on_grid
from mmlib.market_making.quotes import Quotes, time_grid

MOST_STARTS, MOST_ITERATIONS = 40, 1000  # growing time steps of the start; policies


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
    horizon, steps : float or None, int
        Of the table `quotes`.
    equation : Equation
        What was solved.
    """

    inventory: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    value: np.ndarray
    gain: float
    taker: np.ndarray
    horizon: float | None
    steps: int
    equation: object

    @property
    def quotes(self):
        """These quotes at all times to `horizon`, as `Quotes` of `steps` equal rows; with the taker's limit, if any.

        ValueError if no `horizon` was given, or if the taker's limit is not the same on both sides.
        """
        if self.horizon is None:
            raise ValueError("horizon must be given to policy_iteration for a table of quotes (time, > 0); got None")
        times = time_grid(self.horizon, self.steps)
        bid, ask, taker = (np.tile(row, (len(times), 1)) for row in (self.bid, self.ask, self.taker))
        return constant_limit_quotes(self.equation, times, bid, ask, taker, self.horizon)


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
    horizon=None,
    steps=1,
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
    horizon : float, optional
        End of the table that `Stationary.quotes` is, time, > 0; the solution does not depend on it.
    steps : int
        Equal rows of that table, >= 1.

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
    horizon = None if horizon is None else positive("horizon", horizon, "end of the table of quotes, time")
    steps = integer("steps", steps, least=1, meaning="rows of the table of quotes")
    if eq.xi > 0 and (discount > 0 or distances is not None):
        raise ValueError(f"xi must be 0 with a discount or a grid of distances (aversion to fills); got {eq.xi!r}")
    if distances is not None:
        return _on_grid(eq, market, distances, discount, horizon, steps)
    _refuse_hopeless(eq)
    theta, before, done = _start(eq, discount), np.inf, False
    gain = hamiltonian(eq, theta).change[eq.zero]
    for _ in range(MOST_ITERATIONS):
        h = hamiltonian(eq, theta)
        if done:
            break
        new, gain = _evaluate_policy(eq, h, theta, gain, discount)
        moved, theta = np.max(np.abs(new - theta)), new
        done, before = settled(eq, theta, moved, before), moved
    else:
        raise _no_stationary_solution(eq)
    traded = _stops(eq, h, theta, gain, discount)
    bid, ask = (np.where(traded, np.nan, side) for side in (h.bid, h.ask))
    in_domain(eq, bid[None], ask[None])
    return Stationary(eq.q, bid, ask, *_discounted(theta, gain, discount), traded, horizon, steps, eq)


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


def _discounted(theta, gain, discount):
    """Value (m,) and gain as `Stationary` has them, from θ with θ_0 = 0; ValueError if the value overflows."""
    if discount == 0:
        return theta, gain
    value = theta + float(gain) / discount if abs(gain) < 1e300 * discount else np.inf
    if not np.isfinite(value).all():
        raise ValueError(f"discount must leave a value that can be represented (1/time); got {discount!r}")
    return value, 0.0


def _refuse_hopeless(eq):
    """ValueError if no stationary solution can exist, because some inventory costs more than its fills can be worth.

    Under CARA utility a side of rate at most A adds at most A/ξ to F, and at least 0. So gain = F(θ)_q lies above every
    income_q, and below every income_q + Σ A/ξ.
    """
    if eq.xi == 0 or eq.taker in ("lot", "flatten"):
        return
    sides = ((side.intensity.highest, side.quoted) for side in (eq.bid, eq.ask))
    most = eq.income + sum(np.where(quoted, highest, 0.0) for highest, quoted in sides) / eq.xi
    if np.min(most) <= np.max(eq.income):
        raise _no_stationary_solution(eq)


def _no_stationary_solution(eq):
    if eq.xi == 0:
        return ArithmeticError("policy iteration did not converge")
    return ValueError(
        f"gamma, sigma, penalties or max_inventory must be smaller: there is no stationary solution, since the penalty"
        f" of inventory, with the gain, exceeds what fills of a bounded rate are worth to an aversion to their risk;"
        f" got gamma or xi {eq.xi!r}, penalties to {-np.min(eq.income):.4g} (currency/time)"
    )


def _start(eq, discount):
    """θ near the stationary one: implicit Euler from 0 in growing steps, until a step moves it by less than a unit.

    A step from which a fill rate overflows, or that does not converge, is cut; ValueError if that does not help.
    """
    theta, unit = np.zeros(len(eq.q)), eq.unit
    steepest = np.max(np.abs(np.diff(hamiltonian(eq, theta).change)))
    if steepest == 0:  # θ = 0 is stationary
        return theta
    dt = first = unit / steepest
    bounded = eq.xi > 0 and min(eq.bid.intensity.highest, eq.ask.intensity.highest) < np.inf
    for _ in range(MOST_STARTS if bounded else 5000):
        damped = 1 + dt * discount  # (1 + dt discount) θ' = θ + dt F(θ')
        try:
            new, _ = implicit_step(eq, theta / damped, dt / damped, theta, most=100 + 2 * len(theta))
            hamiltonian(eq, new)
        except (RateOverflow, ArithmeticError) as error:
            dt /= 16
            if dt < 1e-6 * first:
                raise error if isinstance(error, RateOverflow) else _no_stationary_solution(eq) from error
            continue
        new = new - new[eq.zero]
        moved, theta = np.max(np.abs(new - theta)), new
        if moved <= unit:
            return theta
        dt *= 4
    raise _no_stationary_solution(eq)


def _stops(eq, h, theta, gain, discount):
    """Where taking is better than quoting, (m,)."""
    if eq.taker not in ("lot", "flatten"):
        return np.zeros(len(eq.q), bool)
    # where the taker trades, θ equals its value to rounding and quoting falls short; elsewhere the other way round
    return after_taking(eq, theta) - theta > h.change - gain - discount * theta


def _evaluate_policy(eq, h, theta, gain, discount):
    """Value (m,), 0 at inventory 0, and gain of the policy that is best at `theta` and `gain`."""
    reward = h.change - flow_times(eq, h, theta)
    stop = None
    if eq.taker in ("lot", "flatten"):
        stop = _stops(eq, h, theta, gain, discount)
        traded = np.abs(eq.q) if eq.taker == "flatten" else 1
        reward = np.where(stop, -eq.cost * eq.size * traded, reward)
    left = exit_rates(eq, h) + (0 if stop is None else stop) + (eq.q == 0) + discount
    if not np.all(left > 0):
        raise ValueError(
            f"market must fill some order worth filling at every inventory; none at {eq.q[left <= 0][0]}, so that the"
            f" position is kept for ever and there is no one gain"
        )
    ones = np.ones(len(theta)) if stop is None else (~stop).astype(float)
    anchor = _anchor(eq, h, stop)
    rhs = np.column_stack([reward, -ones])
    rhs[anchor] = 0.0
    x, slope = solve_linear(eq, h, discount, 1.0, rhs, stop, anchor).T
    at_anchor = [flow_times(eq, h, column)[anchor] for column in (x, slope)]
    gain = (reward[anchor] + at_anchor[0]) / (1 - at_anchor[1])
    value = x + gain * slope
    return value - value[eq.zero], float(gain + discount * value[eq.zero])


def _anchor(eq, h, stop):
    """Index of an inventory that is often returned to: 0, unless fills carry the maker to another 1000 times as often.

    Values relative to an inventory that is hardly ever reached again are differences of huge numbers.
    """
    up, down = (np.log(np.maximum(flow, 1e-300)) for flow in (h.bid_flow, h.ask_flow))
    log_law = np.append(0.0, np.cumsum(up[:-1] - down[1:]))  # detailed balance of the fills between neighbours
    if stop is not None:
        log_law[stop] = -np.inf
    best = int(np.argmax(log_law))
    return best if log_law[best] > log_law[eq.zero] + np.log(1000) else eq.zero


def _on_grid(eq, market, distances, discount, horizon, steps):
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
    nowhere = np.zeros(len(eq.q), bool)
    return Stationary(eq.q, *tables, *_discounted(value, gain, discount), nowhere, horizon, steps, eq)
