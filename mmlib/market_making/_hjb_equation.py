"""The market-making equation on a grid of inventories: Hamiltonians, their derivatives, and its linear systems.

θ(t, q) is the certainty equivalent, in currency, of holding q orders of Δ = `size` units, marked to the mid. A bid fill
at distance δ leads from q to q', at a toll (impact on the position, cost of a cut), and is worth Δ(δ − r) with
r = fee + (toll + θ_q − θ_q')/Δ; likewise an ask fill. So (Guéant, Lehalle & Fernandez-Tapia 2013; Guéant 2017)

    −dθ_q/dt = F(θ)_q,    F(θ)_q = Δ μ q − ½ γ σ² Δ² q² − φ(q) + Δ G_bid(r) + Δ G_ask(r),
    G(r) = max_δ Λ(δ) U(δ − r),    U(y) = (1 − exp(−ξΔ y))/(ξΔ), or y for ξ = 0.

By the envelope theorem dF_q/dθ_q' is the flow Λ(δ*) exp(−ξΔ(δ* − r)): the fill rate, tilted by risk aversion. The
Jacobian J is the generator of a birth-and-death chain with these rates, so I − dt·J is an M-matrix: tridiagonal but for
cuts back to an inner inventory, which add a column or two.

With a taker option the holder may at any time trade at `cost` per unit: the variational inequality
max(dθ/dt + F(θ), θ_q' − cost Δ |q − q'| − θ_q) = 0.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mmlib.checks import choice, finite, integer, nonnegative, positive
from mmlib.market_making.intensity import Measured, utility
from mmlib.market_making.market import Market, TwoSidedMarket
from mmlib.market_making.quotes import inventory_grid
from mmlib.numerics.tridiagonal import tridiagonal


class Side(NamedTuple):
    """One side of the equation: its intensity (extended, if measured) and the range quotes must lie in; for each
    inventory (m,) whether it is quoted, the index where a fill leads, and the toll of the fill, currency."""

    intensity: object
    domain: tuple
    quoted: np.ndarray
    to: np.ndarray
    toll: np.ndarray


class RateOverflow(ValueError):
    """The rate of a best quote, or what it earns, is not finite."""


class Hamiltonian(NamedTuple):
    """F(θ), currency/time; the best distances, price (NaN: not quoted); the flows dF/dθ', 1/time. All (m,)."""

    change: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    bid_flow: np.ndarray
    ask_flow: np.ndarray


@dataclass(frozen=True, eq=False)
class Equation:
    """The equation's data on the inventories q = −Q, …, Q; made by `equation`."""

    q: np.ndarray
    size: float
    xi: float
    fee: float
    income: np.ndarray  # Δ μ q − ½ γ σ² Δ² q² − φ(q), currency/time
    bid: Side
    ask: Side
    taker: str | None  # None, "limit", "lot" or "flatten"
    cost: float  # of taking, price per unit
    target: int | None  # |inventory| after a cut, orders

    @property
    def zero(self):
        """Index of inventory 0."""
        return len(self.q) // 2

    @property
    def unit(self):
        """A scale of θ, currency: what the best quote earns from a fill that costs nothing."""
        return self.size * float(
            min(side.intensity.best_distance(0.0, self.xi * self.size) for side in (self.bid, self.ask))
        )


def equation(market, max_inventory, gamma, xi, running, size, taker, taker_cost, target):
    """The `Equation` of checked arguments, as `hjb.solve` documents them; ValueError names the one that is wrong."""
    if not isinstance(market, (Market, TwoSidedMarket)):
        raise ValueError(f"market must be a Market or a TwoSidedMarket; got {market!r}")
    gamma = nonnegative("gamma", gamma, "risk aversion, 1/currency")
    xi = gamma if xi is None else nonnegative("xi", xi, "aversion to the risk of fills, 1/currency")
    size = positive("size", size, "units traded by one fill")
    q = inventory_grid(max_inventory)
    risk = 0.5 * gamma * (market.sigma * size * q) ** 2
    income = size * market.mu * q - risk - penalty("running", running, q, "currency/time")
    Q = int(q[-1])
    taker_cost = nonnegative("taker_cost", taker_cost, "cost of taking, price per unit")
    if taker is not None:
        choice("taker", taker, ("limit", "lot", "flatten"))
    elif taker_cost != 0:
        raise ValueError(f"taker_cost must be 0 without a taker option (price per unit); got {taker_cost!r}")
    if target is not None and taker != "limit":
        raise ValueError(f"target must be None unless taker is 'limit' (|inventory| after a cut); got {target!r}")
    if taker == "limit":
        target = Q if target is None else integer("target", target, least=0, most=Q, meaning="|inventory| after a cut")
    sides = []
    for intensity, step in zip((market.bid, market.ask), (1, -1), strict=True):
        after = q + step
        toll = size * step * market.impact * after
        if taker == "limit":
            landed = np.where(np.abs(after) > Q, np.sign(after) * target, after)
            toll += size * taker_cost * np.abs(after - landed)
            quoted = np.ones(len(q), bool)
        else:
            landed = after.clip(-Q, Q)
            quoted = landed == after
            toll[~quoted] = 0.0
        extended = replace(intensity, extend=True) if isinstance(intensity, Measured) else intensity
        sides.append(Side(extended, intensity.domain, quoted, landed + Q, toll))
    return Equation(q, size, xi, market.fee, income, *sides, taker, taker_cost, target)


def penalty(name, given, q, unit):
    """A penalty, 0 if None, an array (m,) or a function of the inventories `q`, as an array (m,); ValueError."""
    if given is None:
        return np.zeros(len(q))
    values = np.asarray(finite(name, given(q) if callable(given) else given, f"penalty of the inventory, {unit}"))
    if values.shape not in ((), q.shape):
        raise ValueError(f"{name} must have one value for each of the {len(q)} inventories; got shape {values.shape}")
    return np.broadcast_to(values, q.shape)


def hamiltonian(eq, theta):
    """The `Hamiltonian` at `theta` (m,); RateOverflow if fill rates overflow."""
    change, parts = eq.income.copy(), []
    a = eq.xi * eq.size
    for side in (eq.bid, eq.ask):
        r = eq.fee + (side.toll + theta - theta[side.to]) / eq.size
        with np.errstate(over="ignore", invalid="ignore"):
            distance = side.intensity.best_distance(r, a)
            rate = np.where(side.quoted, side.intensity.rate(distance), 0.0)
            gain = distance - r
            change += eq.size * rate * utility(gain, a)
            flow = rate * np.exp(-a * gain) if a > 0 else rate
        parts.append((np.where(side.quoted, distance, np.nan), flow))
    if not np.isfinite(change).all():
        worst = eq.q[~np.isfinite(change)][0]
        raise RateOverflow(
            f"penalties, mu, impact, fee and gamma must leave fill rates that can be represented; at inventory {worst}"
            f" fills are worth so much that the best quote's rate, or what it earns, is not finite; got fee {eq.fee!r},"
            f" income less running penalties {eq.income[0]:.4g} ... {eq.income[-1]:.4g} (currency/time)"
        )
    (bid, bid_flow), (ask, ask_flow) = parts
    return Hamiltonian(change, bid, ask, bid_flow, ask_flow)


def flow_times(eq, h, theta):
    """J θ: Σ over sides of flow (θ_q' − θ_q), shape (m,)."""
    return h.bid_flow * (theta[eq.bid.to] - theta) + h.ask_flow * (theta[eq.ask.to] - theta)


def exit_rates(eq, h):
    """−dF_q/dθ_q: the flows that lead from q to another inventory, 1/time, shape (m,)."""
    here = np.arange(len(eq.q))
    return h.bid_flow * (eq.bid.to != here) + h.ask_flow * (eq.ask.to != here)


def after_taking(eq, theta):
    """Best value, at each inventory, of one taker trade towards 0 (−inf where there is none), shape (m,)."""
    to = np.full(len(eq.q), eq.zero) if eq.taker == "flatten" else eq.zero + eq.q - np.sign(eq.q)
    traded = np.abs(eq.q) if eq.taker == "flatten" else 1
    return np.where(eq.q == 0, -np.inf, theta[to] - eq.cost * eq.size * traded)


def exercised(eq, theta):
    """θ raised to what taker trades at once give, any number of them; shape (m,)."""
    if eq.taker == "flatten":
        return np.maximum(theta, after_taking(eq, theta))
    if eq.taker == "lot":
        paid = eq.cost * eq.size * np.abs(eq.q)
        high, zero = theta + paid, eq.zero
        high[zero:] = np.maximum.accumulate(high[zero:])
        high[: zero + 1] = np.maximum.accumulate(high[zero::-1])[::-1]
        return high - paid
    return theta


def solve_linear(eq, h, shift, dt, rhs, stop=None, anchor=None):
    """X with (shift − dt J) X = rhs, for each column of `rhs` (m, r).

    Where `stop` (m,) is True the row is X_q − X_q' = rhs instead, q' being where the taker trade leads; the row of
    index `anchor`, if any, is X = rhs.
    """
    m, zero = len(eq.q), eq.zero
    up, down = dt * h.bid_flow, dt * h.ask_flow
    diagonal = shift + dt * exit_rates(eq, h)
    upper, lower = -up, -down  # the kernel reads neither upper[-1] nor lower[0], the fills at the ends of the grid
    columns = np.array([], int)
    if eq.taker == "limit" and eq.target < eq.q[-1]:
        columns = np.unique([zero - eq.target, zero + eq.target])
    elif eq.taker == "flatten":
        columns = np.array([zero])
    weights = np.zeros((m, len(columns)))
    if eq.taker == "limit" and len(columns):
        weights[0, 0], weights[-1, -1] = down[0], up[-1]
    if stop is not None:
        diagonal[stop], upper[stop], lower[stop] = 1.0, 0.0, 0.0
        if eq.taker == "flatten":
            weights[stop] = 1.0
        else:
            lower[stop & (eq.q > 0)], upper[stop & (eq.q < 0)] = -1.0, -1.0
    if anchor is not None:
        diagonal[anchor], upper[anchor], lower[anchor] = 1.0, 0.0, 0.0
        weights[anchor] = 0.0
    X = tridiagonal(lower, diagonal, upper, np.hstack([rhs, weights]))
    X, jumps = X[:, : rhs.shape[1]], X[:, rhs.shape[1] :]
    if len(columns):
        X = X + jumps @ np.linalg.solve(np.eye(len(columns)) - jumps[columns], X[columns])
    return X


def settled(eq, theta, moved, before):
    """Whether an iteration that moved θ by `moved`, and by `before` the time before, has converged.

    Near the solution the moves fall quadratically; one that is small and does not fall is rounding.
    """
    rounding = 64 * np.finfo(float).eps * np.max(np.abs(theta))
    return moved <= 1e-11 * eq.unit or (moved <= 1e-6 * eq.unit + rounding and moved >= before)


def implicit_step(eq, known, dt, start, most=2_000):
    """θ with θ = known + dt F(θ), or the taker's value where that is higher, by policy iteration from `start`.

    Each iteration fixes quotes and taker trades, and solves the linear system that they make (Newton's method on a
    piecewise smooth, for ξ = 0 convex, equation: Howard's policy iteration); ArithmeticError after `most` of them.

    Returns
    -------
    theta : ndarray, shape (m,)
    iterations : int
        Number of Hamiltonians evaluated, each with one tridiagonal solve.
    """
    theta, before = start, np.inf
    for iterations in range(1, most + 1):
        h = hamiltonian(eq, theta)
        rhs, stop = known + dt * (h.change - flow_times(eq, h, theta)), None
        if eq.taker in ("lot", "flatten"):
            stop = after_taking(eq, theta) > known + dt * h.change
            traded = np.abs(eq.q) if eq.taker == "flatten" else 1
            rhs = np.where(stop, -eq.cost * eq.size * traded, rhs)
        new = solve_linear(eq, h, 1.0, dt, rhs[:, None], stop)[:, 0]
        moved, theta = np.max(np.abs(new - theta)), new
        if settled(eq, theta, moved, before):
            return theta, iterations
        before = moved
    raise ArithmeticError("policy iteration did not converge; a smaller time step (more steps) helps")
