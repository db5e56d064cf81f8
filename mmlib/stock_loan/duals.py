"""What shares, demand and the balance sheet are worth: duals of an allocation, and what follows from them.

The objective is concave and piecewise linear in every right-hand side. Its duals are economic: ∂objective/∂rhs, per
share in dollars a day, per dollar of a coupling row in bp a year (a dollar of debit is worth 1.4 of the 140 % rule's).
Where the solution is degenerate (round numbers make most solutions so) the derivatives to the left and to the right
differ, and a solver's dual is any number between them. Everything here is therefore a one-sided derivative, solved for
where the dual is not unique: `prices` gives the right end (what one more unit brings) unless the left (what one unit
less costs) is asked for, `interval` both.

A new share for client c of name s takes from elsewhere what the cheapest way of getting it takes. Where duals are
unique that is

    fee floor(s, c) = min_k [g_sk + 360 (ρ_sk β_s + τ_s) + λ_sk + π_capital w_kc + π_140(k) + π_credit(c)]   bp a year

with λ the supply dual (dollars a day per share times 360/p) and, where the rules exist, what the concentration and
committed rows add; in general it is the derivative of the optimum in what the client gets.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmlib.checks import choice
from mmlib.stock_loan._allocation.derivatives import Change
from mmlib.stock_loan._allocation.linear_program import maximise
from mmlib.stock_loan._allocation.problem import BP_DAY

CLIENT_KINDS, POOL_KINDS = ("demand", "mandatory"), ("supply", "committed", "concentration")
LEAST = ("mandatory", "committed")  # rows of the form −Σx <= −rhs


@dataclass(frozen=True, eq=False)
class Prices:
    """Derivatives of a solution's value on the full grid of securities, pools and clients.

    Attributes
    ----------
    supply : ndarray, shape (S, K)
        Dollars a day for one more share of the pool: the most worth paying above its cost. Which pools are limited by
        concentration is held as it is.
    demand : ndarray, shape (S, C)
        Dollars a day for one more share of demand, with what it adds to the concentration limits of the name; negative
        where it would stay unmet at a penalty.
    mandatory : ndarray, shape (S, C)
        Dollars a day for one more share that must be delivered, <= 0; 0 where nothing must.
    committed : ndarray, shape (S, K)
        Dollars a day for one more share borrowed on term, <= 0; 0 where nothing is.
    concentration : ndarray, shape (S, K)
        Dollars a day for one share by which a lender may exceed its limit; 0 where it has none.
    end : str
        "right": what one more brings; "left": what one less costs. Of an empty pool, and of what can fall no further
        for other reasons, the left end is inf.
    """

    supply: np.ndarray
    demand: np.ndarray
    mandatory: np.ndarray
    committed: np.ndarray
    concentration: np.ndarray
    end: str


def prices(solution, end="right"):
    """The `Prices` of a `Solution`.

    Parameters
    ----------
    solution : Solution
    end : {"right", "left"}

    Raises
    ------
    ValueError
        If the solution is not an optimum of the linear programme.
    """
    choice("end", end, ("right", "left"))
    _optimal(solution)
    cells = {kind: np.argwhere(rows >= 0) for kind, rows in solution.derivatives.row.items()}
    where = [(kind, s, i) for kind, found in cells.items() for s, i in found]
    values = _derivatives(solution, where, 1.0 if end == "right" else -1.0)
    grids = {kind: np.zeros(rows.shape) for kind, rows in solution.derivatives.row.items()}
    for kind, amount in (("supply", solution.problem.supply), ("demand", solution.problem.demand)):
        if end == "left":
            grids[kind][amount == 0] = np.inf
    for (kind, s, i), value in zip(where, values, strict=True):
        grids[kind][s, i] = value
    grids["demand"] = grids["demand"] - solution.problem.penalty
    scale = (solution.problem.price * BP_DAY)[:, None]
    return Prices(**{kind: values * scale for kind, values in grids.items()}, end=end)


def _derivatives(solution, where, sign):
    """Derivatives to the right (`sign` 1) or left (−1) in the right-hand sides (kind, s, i), bp a year per dollar."""
    p, found = solution.problem, solution.derivatives
    changes, known = [], np.full(len(where), np.nan)
    for j, (kind, s, i) in enumerate(where):
        if sign < 0 and kind in ("supply", "demand") and getattr(p, kind)[s, i] == 0:
            known[j] = np.inf
            continue
        rows, amounts = [found.row[kind][s, i]], [-1.0 if kind in LEAST else 1.0]
        if kind == "demand":  # it is part of what the name's concentration limits are measured by
            limited = np.flatnonzero(found.row["concentration"][s] >= 0)
            rows += list(found.row["concentration"][s, limited])
            amounts += list(p.concentration[limited])
        changes.append(Change(int(s), tuple(rows), tuple(sign * amount for amount in amounts)))
    known[np.isnan(known)] = sign * found(changes)
    return known + 0.0


def fee_floor(solution):
    """Lowest fee at which each client's next share, beyond what it gets, pays; bp a year, shape (S, C).

    The client keeps what it gets; everybody else's shares may move. The day's demand is as it is, and with it the
    concentration limits, so that the floor of a name rises in steps: a pool's cost up to its limit, then the cost of
    the next one. In a name that nobody wants the first share is not limited. A penalty for unmet demand is not part of
    the floor. inf where no pool can give a share. A share of yesterday's loan that is to be closed has a floor 2·360 τ
    lower.

    Raises
    ------
    ValueError
        If the solution is not an optimum of the linear programme.
    """
    _optimal(solution)
    p = solution.problem
    return p.client_fee + p.penalty - solution.derivatives.receipts()


def reduced_gain(solution):
    """What a dollar lent anew on each lane would gain beyond the prices of what it uses, bp a year, shape (S, K, C).

    At the solver's duals: <= 0 on lanes that are allowed, 0 where they hold more than yesterday: how far the fee of a
    closed lane is from opening it. Positive only on lanes that eligibility forbids: what the permission is worth.
    """
    p, found = solution.problem, solution.derivatives
    y = {kind: np.where(rows >= 0, found.y[rows], 0.0) for kind, rows in found.row.items()}
    pool = y["supply"] - y["committed"] + y["concentration"]
    client = y["demand"] - y["mandatory"]
    gain = p.lane_gain() - 360 * p.turnover_cost[:, None, None]
    return gain - pool[:, :, None] - client[:, None, :] - _coupling_charge(solution)


def _coupling_charge(solution):
    """Prices of the coupling rows that a dollar on each lane uses, bp a year, shape (K, C)."""
    p, pi = solution.problem, iter(solution.pi)
    charge = np.zeros(p.shape[1:])
    if np.isfinite(p.capital):
        charge += next(pi) * p.capital_weight
    for _, mine in p.margin_customers().values():
        charge[mine] += next(pi)
    charge[:, np.isfinite(p.credit)] += np.array([next(pi) for _ in range(np.isfinite(p.credit).sum())])
    return charge


def interval(solution, kind, *where):
    """Left and right derivative of the value in one right-hand side: both ends of a degenerate dual.

    Parameters
    ----------
    solution : Solution
    kind : {"supply", "demand", "mandatory", "committed", "concentration", "coupling"}
    where : str
        Security and pool or client; for "coupling" the name of the row.

    Returns
    -------
    left, right : float
        What one unit less costs and what one more brings, as in `Prices`: dollars a day per share, bp a year per
        dollar of a coupling row. `left` is inf if the right-hand side cannot fall.

    Raises
    ------
    ValueError
        If there is no such rule, or the solution is not an optimum of the linear programme.
    """
    choice("kind", kind, (*POOL_KINDS, *CLIENT_KINDS, "coupling"))
    _optimal(solution)
    p, found = solution.problem, solution.derivatives
    if kind == "coupling":
        choice("row", where[0], solution.program.names)
        row = solution.program.names.index(where[0])
        return -found.coupling(row, -1.0) + 0.0, found.coupling(row, 1.0)
    choice("security", where[0], p.securities)
    names = p.clients if kind in CLIENT_KINDS else p.pools
    choice("client" if kind in CLIENT_KINDS else "pool", where[1], names)
    s, i = p.securities.index(where[0]), names.index(where[1])
    if found.row[kind][s, i] < 0:
        if kind not in ("supply", "demand"):
            raise ValueError(f"there is no {kind} rule for {where[0]}, {where[1]}")
        left, right = (np.inf if getattr(p, kind)[s, i] == 0 else 0.0), 0.0  # no lane can use it
    else:
        left, right = (float(_derivatives(solution, [(kind, s, i)], sign)[0]) for sign in (-1.0, 1.0))
    shift = p.penalty[s, i] if kind == "demand" else 0.0
    unit = float(p.price[s]) * BP_DAY
    return (left - shift) * unit, (right - shift) * unit


def _optimal(solution):
    if not solution.gap <= 1e-6:
        raise ValueError(f"solution must be optimal (gap <= 1e-6) to have derivatives; got gap {solution.gap:.3g}")


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
