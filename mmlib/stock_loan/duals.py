"""What shares, demand and the balance sheet are worth: duals of an allocation, and what follows from them.

The objective is concave and piecewise linear in every right-hand side. Its duals are economic: ∂objective/∂rhs, per
share in dollars a day, per dollar of a coupling row in bp a year (a dollar of debit is worth 1.4 of the 140 % rule's).

The fee at which one more share lent to client c just pays is what it takes from elsewhere, through its cheapest pool:

    fee floor(s, c) = min_k [g_sk + 360 (ρ_sk β_s + τ_s) + λ_sk + π_capital w_kc + π_140(k) + π_credit(c)]   bp a year

with λ the supply dual (dollars a day per share times 360/p) and, where the rules exist, what the concentration and
committed rows add. Where the solution is degenerate the left and right derivatives differ and any dual in between is as
good as another: `interval` gives both ends.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from mmlib.checks import choice
from mmlib.stock_loan._allocation.linear_program import maximise
from mmlib.stock_loan._allocation.problem import BP_DAY

UNBOUNDED = 1e7  #: bp a year; a dual this large means that the right-hand side cannot fall


class Prices(NamedTuple):
    """Duals of a solution on the full grid of securities, pools and clients.

    Attributes
    ----------
    supply : ndarray, shape (S, K)
        Dollars a day for one more share of the pool: the most worth paying above its cost.
    demand : ndarray, shape (S, C)
        Dollars a day for one more share of demand; negative where it would stay unmet at a penalty.
    mandatory : ndarray, shape (S, C)
        Dollars a day for one more share that must be delivered, <= 0.
    committed : ndarray, shape (S, K)
        Dollars a day for one more share borrowed on term, <= 0.
    concentration : ndarray, shape (S, K)
        Dollars a day for one share by which a lender may exceed its part.
    """

    supply: np.ndarray
    demand: np.ndarray
    mandatory: np.ndarray
    committed: np.ndarray
    concentration: np.ndarray


def prices(solution):
    """The `Prices` of a `Solution`.

    Cells without a row (no supply, or no demand) carry the smallest dual that keeps every lane from gaining.
    """
    p, scale = solution.problem, (solution.problem.price * BP_DAY)[:, None]
    grid = _grid(solution)
    return Prices(
        supply=grid["supply"] * scale,
        demand=(grid["demand"] - p.penalty) * scale,
        mandatory=-grid["mandatory"] * scale,
        committed=-grid["committed"] * scale,
        concentration=grid["concentration"] * scale,
    )


def fee_floor(solution):
    """Lowest fee at which one more share lent anew to each client adds to the objective, bp a year, shape (S, C).

    The formula of the module's docstring; a penalty for unmet demand is not part of it. inf where no pool with shares
    may serve the client. A share of yesterday's loan stays down to 2·360 τ below: closing it costs τ as well.
    """
    p = solution.problem
    cost = p.source_cost + 360 * (p.recall_probability * p.buy_in_cost[:, None] + p.turnover_cost[:, None])
    pool, _, pair = _charges(p, _grid(solution), solution)
    floor = (cost + pool)[:, :, None] + pair
    return np.where(p.eligible & (p.supply > 0)[:, :, None], floor, np.inf).min(1)


def reduced_gain(solution):
    """What a dollar lent anew on each lane would gain beyond the prices of what it uses, bp a year, shape (S, K, C).

    <= 0 on lanes that are allowed, 0 where they hold more than yesterday: how far the fee of a closed lane is from
    opening it. Positive only on lanes that eligibility forbids: what the permission is worth per dollar.
    """
    p = solution.problem
    pool, client, pair = _charges(p, _grid(solution), solution)
    gain = p.lane_gain() - 360 * p.turnover_cost[:, None, None]
    return gain - pool[:, :, None] - client[:, None, :] - pair


def _charges(p, grid, solution):
    """Prices of what a dollar on a lane uses: by pool (S, K), by client (S, C), by coupling rows (K, C), bp a year."""
    concentration = grid["concentration"] - (p.concentration * grid["concentration"]).sum(1, keepdims=True)
    pool = grid["supply"] - grid["committed"] + concentration
    return pool, grid["demand"] - grid["mandatory"], _coupling_charge(solution)


def _coupling_charge(solution):
    p, pi = solution.problem, iter(solution.pi)
    charge = np.zeros(p.shape[1:])
    if np.isfinite(p.capital):
        charge += next(pi) * p.capital_weight
    charge[np.isfinite(p.debit)] += np.array([next(pi) for _ in range(np.isfinite(p.debit).sum())])[:, None]
    charge[:, np.isfinite(p.credit)] += np.array([next(pi) for _ in range(np.isfinite(p.credit).sum())])
    return charge


def _grid(solution):
    """Duals by kind on the full grid, bp a year, all >= 0; missing supply and demand cells filled (see `prices`)."""
    p, program = solution.problem, solution.program
    S, K, C = p.shape
    grid = {kind: np.zeros((S, K)) for kind in ("supply", "committed", "concentration")}
    grid |= {kind: np.zeros((S, C)) for kind in ("demand", "mandatory")}
    for kind, values in grid.items():
        rows = program.kind == kind
        values[program.row_security[rows], program.row_index[rows]] = solution.y[rows]
    missing = {"supply": p.supply == 0, "demand": p.demand == 0}
    gain = p.lane_gain() - 360 * p.turnover_cost[:, None, None]
    for kind, axis, wanted in (("supply", 2, (p.demand > 0)[:, None, :]), ("demand", 1, np.True_)):
        pool, client, pair = _charges(p, grid, solution)
        gained = np.where(p.eligible & wanted, gain - pool[:, :, None] - client[:, None, :] - pair, 0.0)
        grid[kind] = np.where(missing[kind], np.maximum(gained.max(axis), 0.0), grid[kind])
    return grid


def interval(solution, kind, *where):
    """Left and right derivative of the objective in one right-hand side: both ends of a degenerate dual.

    Every optimal dual y satisfies complementary slackness with the optimal x; the right derivative is the smallest y_i
    among them and the left one the largest (Rockafellar 1970, theorem 23.4).

    Parameters
    ----------
    solution : Solution
    kind : {"supply", "demand", "mandatory", "committed", "concentration", "coupling"}
    where : str
        Security and pool or client; for "coupling" the name of the row.

    Returns
    -------
    left, right : float
        What one unit less costs and what one more brings: dollars a day per share, bp a year per dollar of a coupling
        row. `left` is inf if the right-hand side cannot fall.

    Raises
    ------
    ValueError
        If there is no such row, or the solution is not an optimum of the linear programme.
    """
    choice("kind", kind, ("supply", "demand", "mandatory", "committed", "concentration", "coupling"))
    if not solution.gap <= 1e-6:
        raise ValueError(f"solution must be optimal (gap <= 1e-6) to have derivatives; got gap {solution.gap:.3g}")
    p, program = solution.problem, solution.program
    index = _row(p, program, kind, where)
    columns, rows = np.arange(len(program.gain)), np.arange(len(program.b))
    if len(program.names) == 0:  # securities do not meet: the others' duals do not matter
        s = program.row_security[index]
        columns, rows = np.arange(*program.columns[s : s + 2]), np.arange(*program.rows[s : s + 2])
    x, upper = solution.x[columns], np.where(program.capped, program.upper, np.inf)[columns]
    A = sparse.vstack([program.A[rows], program.W]).tocsr()[:, columns]
    b = np.concatenate([program.b[rows], program.limit])
    activity = np.concatenate([program.A[rows] @ solution.x, program.use(solution.x)])
    tight = activity >= b - 1e-7 * np.maximum(np.abs(b), 1)
    used, below = x > 1e-7 * np.maximum(program.upper[columns], 1), x < upper * (1 - 1e-7)
    T, gain = A.T.tocsr()[:, np.flatnonzero(tight)], program.gain[columns]
    face = sparse.vstack([-T[np.flatnonzero(below)], T[np.flatnonzero(used)]]).tocsr()
    slack = 1e-9 * np.abs(gain).max(initial=1.0)
    rhs = np.concatenate([-gain[below], gain[used]]) + slack
    names = np.concatenate([rows, len(program.b) + np.arange(len(program.names))])[tight]
    target = (names == index).astype(float)
    if not target.any():
        right = left = 0.0
    else:
        high, low = (maximise(sign * target, face, rhs, np.full(len(target), UNBOUNDED))[0] for sign in (1.0, -1.0))
        left, right = float(target @ high), float(target @ low)
        left = np.inf if left > 0.99 * UNBOUNDED else left
    unit = 1.0 if kind == "coupling" else float(program.row_price[index]) * BP_DAY
    if kind in ("mandatory", "committed"):  # rows of the form −Σx <= −rhs
        return -right * unit, -left * unit
    shift = 0.0
    if kind == "demand":
        shift = p.penalty[program.row_security[index], program.row_index[index]]
    return (left - shift) * unit, (right - shift) * unit


def _row(p, program, kind, where):
    """Number of the row (kind, where), counting coupling rows after the others."""
    if kind == "coupling":
        choice("row", where[0], program.names)
        return len(program.b) + program.names.index(where[0])
    security, other = where
    choice("security", security, p.securities)
    names = p.clients if kind in ("demand", "mandatory") else p.pools
    choice("client" if names is p.clients else "pool", other, names)
    found = np.flatnonzero(
        (program.kind == kind)
        & (program.row_security == p.securities.index(security))
        & (program.row_index == names.index(other))
    )
    if len(found) == 0:
        raise ValueError(f"there is no {kind} row for {security}, {other}: nothing could use it")
    return int(found[0])


def conflict(problem, program, solver="HiGHS"):
    """Rows that keep mandatory demand from being met, as text; empty if it can be met.

    The rows are relaxed at a price of one per dollar (an elastic programme); the rows with a dual at its optimum are a
    certificate of infeasibility in the sense of Farkas.
    """
    must = np.unique(program.row_security[program.kind == "mandatory"])
    part = program.part(must)
    mandatory = np.flatnonzero(part.kind == "mandatory")
    short = sparse.csr_array(
        (-np.ones(len(mandatory)), (mandatory, np.arange(len(mandatory)))), shape=(len(part.b), len(mandatory))
    )
    none = sparse.csr_array((len(part.names), len(mandatory)))
    n = len(part.gain)
    x, y = maximise(
        np.concatenate([np.zeros(n), -np.ones(len(mandatory))]),
        sparse.vstack([sparse.hstack([part.A, short]), sparse.hstack([part.W, none])]).tocsr(),
        np.concatenate([part.row_price * part.b, program.limit]),
        solver=solver,
    )
    missing = np.zeros(len(part.b))
    missing[mandatory] = x[n:] / part.row_price[mandatory]
    if missing.max() <= 1e-9 * np.abs(part.b[mandatory]).max():
        return []
    lines = []
    for i in np.flatnonzero(y[: len(part.b)] > 1e-9):
        security = problem.securities[must[part.row_security[i]]]
        names = problem.clients if part.kind[i] in ("demand", "mandatory") else problem.pools
        short = f" ({missing[i]:g} shares short)" if missing[i] > 1e-9 else ""
        lines.append(f"{part.kind[i]} of {security}, {names[part.row_index[i]]} = {abs(part.b[i]):g}{short}")
    return lines + [name for name, price in zip(part.names, y[len(part.b) :], strict=True) if price > 1e-9]
