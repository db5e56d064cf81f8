"""Finite differences for the market-making equation −dθ/dt = F(θ), θ(T) = −g, with any intensity and any penalty.

The equation, F and its Jacobian J are those of `_hjb_equation`. Time runs backwards from the horizon in steps dt:

    explicit        θ ← θ + dt F(θ)                                 order 1, monotone only while dt·(flows) <= 1
    implicit        θ' = θ + dt F(θ'), policy iteration             order 1, monotone for every dt
    crank-nicolson  θ' = θ + ½ dt (F(θ) + F(θ'))                    order 2, not monotone
    extrapolated    linearly implicit Euler with 1, 2, 3 and 4      order 4 (Deuflhard's SEULEX; Hairer & Wanner
                    substeps, extrapolated to substep 0             1996, section IV.9)

Monotone schemes converge whatever the penalty (Barles & Souganidis 1991); the explicit step is refused beyond its
bound. Orders are those of a smooth F: quotes that cross a kink of the intensity (a power law's at the mid, a table's
points) leave the extrapolation with order 3. The taker option adds a free boundary; there Crank–Nicolson loses its
order and the extrapolation is not offered.

    >>> from mmlib.market_making import TwoSidedMarket, hjb
    >>> from mmlib.market_making.intensity import PowerLaw
    >>> market = TwoSidedMarket(sigma=2.0, bid=PowerLaw(A=140.0, delta0=1.0, n=3.0))
    >>> quotes = hjb.solve(market, gamma=0.1, horizon=1.0, max_inventory=30, steps=200).quotes
"""

import math
from dataclasses import dataclass

import numpy as np

from mmlib.checks import choice, finite
from mmlib.market_making._hjb_equation import (
    after_taking,
    equation,
    exercised,
    exit_rates,
    hamiltonian,
    implicit_step,
    penalty,
    solve_linear,
)
from mmlib.market_making._hjb_stationary import Stationary, constant_limit_quotes, in_domain, policy_iteration
from mmlib.market_making.quotes import time_grid

__all__ = ["Solution", "Stationary", "policy_iteration", "solve"]

SCHEMES = ("explicit", "implicit", "crank-nicolson", "extrapolated")
MOST_FLOW = 1e9  # fills per time step: beyond, θ is a difference of huge numbers
MOST_TRIED = 20_000  # steps of the explicit scheme, when it is asked how many it needs


@dataclass(frozen=True, eq=False)
class Solution:
    """Value and best quotes over (time, inventory), (n, m) = (steps, 2Q + 1).

    Attributes
    ----------
    times : ndarray, shape (n,)
        Left ends of the time steps.
    inventory : ndarray of int, shape (m,)
        −Q, …, Q orders of `size` units.
    bid, ask : ndarray, shape (n, m)
        Best distances at each time, price; NaN where not quoted, and where the taker trades.
    value : ndarray, shape (n + 1, m)
        θ at `times` and, in the last row, at the horizon; currency.
    taker : ndarray of bool, shape (n + 1, m)
        Where the taker trades.
    evaluations : int
        Hamiltonians evaluated by the scheme, its cost.
    horizon, size : float
        As given.
    equation : Equation
        What was solved.
    """

    times: np.ndarray
    inventory: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    value: np.ndarray
    taker: np.ndarray
    evaluations: int
    horizon: float
    size: float
    equation: object

    @property
    def quotes(self):
        """The solution as `Quotes`.

        Where the taker trades beyond a limit that is the same at all times and on both sides, the quotes carry it. If
        it is not the same, no `Quotes` can say so: ValueError. Solve with taker="limit" for the best under a limit.
        """
        return constant_limit_quotes(self.equation, self.times, self.bid, self.ask, self.taker[:-1], self.horizon)


def solve(
    market,
    *,
    horizon,
    max_inventory,
    steps,
    gamma=0.0,
    xi=None,
    scheme="implicit",
    running=None,
    terminal=None,
    size=1.0,
    taker=None,
    taker_cost=0.0,
    target=None,
    source=None,
):
    """Best quotes to a horizon, by finite differences in time on the grid of inventories.

    Parameters
    ----------
    market : Market or TwoSidedMarket
        Volatility, drift, impact, fee (negative: a rebate) and the intensities of the two sides.
    horizon : float
        End of trading, time, > 0.
    max_inventory : int
        Q: largest |inventory|, orders, >= 1; there the side that would leave is not quoted, unless `taker` is "limit".
    steps : int
        Number of equal time steps, >= 1.
    gamma : float
        Risk aversion, 1/currency, >= 0: a penalty ½ gamma sigma² (q size)² per unit of time.
    xi : float, optional
        Aversion to the risk of fills, 1/currency, >= 0; `gamma` (CARA utility) by default, 0 for expected profit.
    scheme : {"explicit", "implicit", "crank-nicolson", "extrapolated"}
        See the module's text.
    running : array_like, shape (m,), or function of the inventories, optional
        Further penalty φ(q), currency/time.
    terminal : array_like, shape (m,), or function of the inventories, optional
        Penalty g(q) at the horizon, currency.
    size : float
        Units of an order, > 0.
    taker : {"limit", "lot", "flatten"}, optional
        What can be done at `taker_cost`. "limit": both sides are quoted at ±Q, and a fill beyond is cut back at once to
        |inventory| = `target`. "lot", "flatten": at any time trade one lot towards 0, or all the inventory.
    taker_cost : float
        Price per unit, >= 0.
    target : int, optional
        |inventory| after a cut, 0 … Q; Q by default.
    source : function of (time, inventories), optional
        Known income added to F(θ), currency/time, array (m,); continuous in time.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If an argument is out of range; if an explicit step is beyond its bound (the message gives the smallest number
        of steps that works); if a step of another scheme cannot resolve the fills, or its equation cannot be solved; if
        a quote leaves the range of measured rates, or its rate overflows.
    """
    times = time_grid(horizon, steps)
    choice("scheme", scheme, SCHEMES)
    eq = equation(market, max_inventory, gamma, xi, running, size, taker, taker_cost, target)
    end = exercised(eq, -penalty("terminal", terminal, eq.q, "currency"))
    if taker in ("lot", "flatten") and scheme == "extrapolated":
        raise ValueError(
            f"scheme must not be 'extrapolated' with a taker option (θ is not smooth in time); got taker={taker!r}"
        )
    income = _income(source, eq.q)
    if scheme == "explicit":
        value, evaluations = _explicit(eq, end, horizon, len(times), income), len(times)
    else:
        try:
            value, evaluations = _march(_STEPS[scheme], eq, end, horizon, len(times), income)
        except (ArithmeticError, np.linalg.LinAlgError) as error:
            raise _too_fast(eq, horizon, steps) from error
    bid, ask = np.empty((2, len(times), len(eq.q)))
    for i in range(len(times)):
        h = hamiltonian(eq, value[i])
        bid[i], ask[i] = h.bid, h.ask
        if not horizon / steps * np.max(exit_rates(eq, h)) <= MOST_FLOW:
            raise _too_fast(eq, horizon, steps)
    traded = np.zeros(value.shape, bool)
    if taker in ("lot", "flatten"):
        tolerance = 1e-10 * eq.unit + 64 * np.finfo(float).eps * np.max(np.abs(value))
        traded = np.array([row <= after_taking(eq, row) + tolerance for row in value])
        bid[traded[:-1]] = ask[traded[:-1]] = np.nan
    in_domain(eq, bid, ask)
    return Solution(times, eq.q, bid, ask, value, traded, evaluations, float(horizon), eq.size, eq)


def _too_fast(eq, horizon, steps):
    return ValueError(
        f"fee, penalties and gamma must leave fills that a time step can resolve, or steps be more: where fills earn"
        f" so much, {MOST_FLOW:.0e} and more are wanted in a step; got fee {eq.fee!r}, a step of {horizon / steps:.4g}"
        f" and income less running penalties {np.min(eq.income):.4g} ... {np.max(eq.income):.4g} (currency/time)"
    )


def _income(source, q):
    """The source as a function of time that is checked, 0 if there is none."""
    if source is None:
        return lambda t: 0.0
    if not callable(source):
        raise ValueError(f"source must be a function of time and inventories (currency/time), or None; got {source!r}")

    def income(t):
        values = np.asarray(finite("source", source(t, q), "income of each inventory, currency/time"))
        if values.shape not in ((), q.shape):
            raise ValueError(f"source must give one value for each of the {len(q)} inventories; got {values.shape}")
        return values

    return income


def _march(step, eq, theta, horizon, steps, income):
    """Values (steps + 1, m) at all times by an implicit scheme, and the Hamiltonians it evaluated."""
    dt, evaluations = horizon / steps, 0
    value = np.empty((steps + 1, len(eq.q)))
    value[steps] = theta
    for i in range(steps - 1, -1, -1):
        value[i], used = step(eq, value[i + 1], i * dt, dt, income)
        evaluations += used
    return value, evaluations


def _implicit(eq, theta, t, dt, income):
    """Euler's step to `t` from t + dt."""
    return implicit_step(eq, theta + dt * income(t), dt, theta)


def _crank_nicolson(eq, theta, t, dt, income):
    """The trapezoidal step to `t` from t + dt."""
    known = theta + 0.5 * dt * (hamiltonian(eq, theta).change + income(t) + income(t + dt))
    theta, iterations = implicit_step(eq, known, 0.5 * dt, theta)
    return theta, iterations + 1


def _extrapolated(eq, theta, t, dt, income):
    """The SEULEX step to `t` from t + dt: Aitken & Neville on 1, 2, 3, 4 linearly implicit substeps."""
    first, row, evaluations = hamiltonian(eq, theta), [], 1
    for substeps in range(1, 5):
        x, tau = theta, dt / substeps
        for i in range(substeps):
            h = first if i == 0 else hamiltonian(eq, x)
            rhs = tau * (h.change + income(t + dt - (i + 1) * tau))
            x = x + solve_linear(eq, h, 1.0, tau, rhs[:, None])[:, 0]
        evaluations += substeps - 1
        previous, row = row, [x]
        for k, lower in enumerate(previous, start=1):
            row.append(row[-1] + (row[-1] - lower) / (substeps / (substeps - k) - 1))
    return row[-1], evaluations


_STEPS = {"implicit": _implicit, "crank-nicolson": _crank_nicolson, "extrapolated": _extrapolated}


def _explicit(eq, end, horizon, steps, income):
    """Values (steps + 1, m) by the explicit scheme; ValueError with the smallest `steps` that works."""
    value, flow = _explicit_march(eq, end, horizon, steps, income)
    if value is not None:
        return value
    enough, too_few = max(steps + 1, math.ceil(horizon * flow)), steps
    while enough <= MOST_TRIED:
        value, flow = _explicit_march(eq, end, horizon, enough, income)
        if value is not None:
            break
        enough, too_few = max(enough + 1, math.ceil(horizon * flow)), enough
    while value is not None and enough - too_few > 1:
        middle = (enough + too_few) // 2
        fits = _explicit_march(eq, end, horizon, middle, income)[0] is not None
        enough, too_few = (middle, too_few) if fits else (enough, middle)
    about = "" if value is not None else "about "
    raise ValueError(
        f"steps must be >= {about}{enough} for scheme 'explicit' (a time step <= {about}{horizon / enough:.4g}, so that"
        f" it times the rate of all fills stays <= 1); got {steps}"
    )


def _explicit_march(eq, theta, horizon, steps, income):
    """Values (steps + 1, m) and None; or None and the rate of fills that first broke the bound."""
    dt = horizon / steps
    value = np.empty((steps + 1, len(eq.q)))
    value[steps] = theta
    for i in range(steps - 1, -1, -1):
        h = hamiltonian(eq, value[i + 1])
        flow = np.max(exit_rates(eq, h))
        if dt * flow > 1:
            return None, flow
        value[i] = exercised(eq, value[i + 1] + dt * (h.change + income((i + 1) * dt)))
    return value, None
