"""Which shares go to which client: the stock-loan desk's day as a linear programme, and what every share is worth.

Securities s, pools of supply k, clients c. x_skc shares go from pool k to client c, z_sk are lent to the street, u_sc
of the demand stay unmet, o_sk of the committed (term) borrow stay unused. With price p, client fee f, source cost g,
street fee e and penalty h in bp a year, act/360, the desk maximises a day's income

    Σ p_s/360 [Σ (f_sc − g_sk) x_skc + Σ (e_sk − g_sk) z_sk − Σ h_sc u_sc − Σ g_sk o_sk]
        − Σ p_s ρ_sk β_s x_skc − Σ p_s τ_s |x_skc − x⁰_skc|

(ρ probability of a recall, β cost of a buy-in, τ cost of moving a loan, one-off and per dollar) subject to

    demand          Σ_k x_skc + u_sc = d_sc,   mandatory_sc <= Σ_k x_skc
    supply          Σ_c x_skc + z_sk <= S_sk,  committed_sk <= Σ_c x_skc + z_sk + o_sk
    140 % rule      Σ_s p_s Σ_k∈a (Σ_c x_skc + z_sk) <= 1.4 debit_a   (SEC rule 15c3-3: a margin customer's pools)
    balance sheet   Σ p_s (w_kc x_skc + w'_k z_sk) <= capital         (w: risk weight of the pair)
    credit          Σ p_s x_skc <= credit_c
    concentration   Σ_c x_skc + z_sk <= α_k Σ_c d_sc                  (where another pool has shares of the name)
    eligibility     x_skc = 0 unless pool k may serve client c

Demand, supply and concentration stay within a security; the 140 % rule, balance sheet and credit couple securities
but are few. Unless merit order already breaks a coupling row, `solve` first solves each security alone: if the result
breaks none, it is optimal, since it solves a relaxation. Otherwise it prices the coupling rows by Dantzig–Wolfe
decomposition, and if that does not converge it solves everything at once by interior points. Every answer carries an
upper bound computed from its prices alone.

    solution = allocation.solve(allocation.problem(book, date))
    solution.value, solution.gap                    # dollars a day, distance to the bound
    solution.loans(), solution.coupling()           # who gets what from where; the coupling rows and their prices
    duals.fee_floor(solution)                       # the lowest fee at which each client's next share pays

A piece |x − x⁰| is linear on either side of x⁰, so a lane of yesterday has two columns: up to x⁰ it gains 360 τ, above
it loses 360 τ, and Σ p τ x⁰ is subtracted once. Recourse in a two-stage form is `committed`: borrow on term before
demand is known, and pay for what stays unused.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from mmlib.checks import choice, nonnegative, positive
from mmlib.observe import observed
from mmlib.stock_loan import duals
from mmlib.stock_loan._allocation.decomposition import best_responses, decompose, greedy
from mmlib.stock_loan._allocation.derivatives import Derivatives
from mmlib.stock_loan._allocation.from_book import IDLE_COST, problem
from mmlib.stock_loan._allocation.linear_program import EXTERNAL, OVER_BORROW, Program, assemble, maximise
from mmlib.stock_loan._allocation.lots import in_lots
from mmlib.stock_loan._allocation.problem import BP_DAY, REHYPOTHECATION_LIMIT, Problem

__all__ = ["BP_DAY", "IDLE_COST", "REHYPOTHECATION_LIMIT", "Problem", "Solution", "broken", "income", "problem",
           "round_lots", "solve"]  # fmt: skip

METHODS = ("separate", "decomposition", "monolithic")


@dataclass(frozen=True, eq=False)
class Solution:
    """An allocation, its prices, and the certificate that it is best.

    Attributes
    ----------
    problem : Problem
    program : Program
        The arrays behind it.
    x, y, pi : ndarray, shapes (n,), (m,), (R,)
        Columns in shares; duals of the rows and of the coupling rows, bp a year (use `duals` to read them).
    method : str
        How it was found: "separate", "decomposition" or "monolithic".
    """

    problem: Problem
    program: Program
    x: np.ndarray
    y: np.ndarray
    pi: np.ndarray
    method: str

    @property
    def value(self):
        """The objective, dollars a day."""
        return (self.program.value(self.x) + self.problem.constant()) * BP_DAY

    @property
    def bound(self):
        """What no allocation can exceed, computed from the prices alone, dollars a day."""
        return (self.program.bound(self.y, self.pi) + self.problem.constant()) * BP_DAY

    @property
    def gap(self):
        """(bound − value), relative to the larger of 1 dollar and the bound."""
        return (self.bound - self.value) / max(1.0, abs(self.bound))

    @property
    def violation(self):
        """Largest violation of a row or bound, relative to its right-hand side."""
        return self.program.violation(self.x)

    @cached_property
    def allocation(self):
        """Shares from pool to client, shape (S, K, C)."""
        return self._spread(self.program.client >= 0, self.problem.shape, client=True)

    @property
    def external(self):
        """Shares lent to the street, shape (S, K)."""
        return self._spread(self.program.client == EXTERNAL, self.problem.shape[:2])

    @property
    def over_borrow(self):
        """Shares borrowed on term and not used, shape (S, K)."""
        return self._spread(self.program.client == OVER_BORROW, self.problem.shape[:2])

    @property
    def unmet(self):
        """Demand not met, shares, shape (S, C)."""
        return self.problem.demand - self.allocation.sum(1)

    def _spread(self, mask, shape, client=False):
        p, total = self.program, np.zeros(shape)
        index = (p.security[mask], p.pool[mask]) + ((p.client[mask],) if client else ())
        np.add.at(total, index, self.x[mask])
        return total

    @cached_property
    def derivatives(self):
        """How the value changes with right-hand sides: what `duals` reads."""
        return Derivatives(self)

    def loans(self):
        """The allocation as a table: security, pool, client, shares, value (dollars), margin (dollars a day).

        Rows in the order of securities, pools and clients; the street is client "street". What is below a millionth of
        a share is the solver's rounding and not a loan.
        """
        p, shares = self.problem, np.concatenate([self.allocation, self.external[:, :, None]], axis=2)
        fee = np.concatenate([np.broadcast_to(p.client_fee[:, None, :], p.shape), p.external_fee[:, :, None]], axis=2)
        s, k, c = np.nonzero(shares > 1e-6)
        value = p.price[s] * shares[s, k, c]
        return pd.DataFrame(
            {
                "security": np.array(p.securities, object)[s],
                "pool": np.array(p.pools, object)[k],
                "client": np.array([*p.clients, "street"], object)[c],
                "shares": shares[s, k, c],
                "value": value,
                "margin": value * (fee[s, k, c] - p.source_cost[s, k]) * BP_DAY,
            }
        )

    def coupling(self):
        """The coupling rows: limit and use (dollars), price (bp a year per dollar of limit: the hurdle rate)."""
        used = self.program.use(self.x)
        return pd.DataFrame(
            {"limit": self.program.limit, "used": used, "price": self.pi},
            index=pd.Index(self.program.names, name="row"),
        )


@observed
def solve(problem, method=None, solver="HiGHS"):
    """The best allocation of a `Problem`.

    Parameters
    ----------
    problem : Problem
    method : {"separate", "decomposition", "monolithic"}, optional
        By default the first that gives an optimum, in this order.
    solver : {"HiGHS", "CBC"}

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If mandatory demand cannot be met: the message names the rows in conflict. If `method` is "separate" and a
        coupling row binds.
    """
    choice("method", method or METHODS[0], METHODS)
    choice("solver", solver, ("HiGHS", "CBC"))
    program = assemble(problem)
    if np.any(problem.mandatory > 0):
        conflict = duals.conflict(problem, program, solver)
        if conflict:
            raise ValueError("mandatory demand cannot be met; rows in conflict: " + "; ".join(conflict))
    if len(program.gain) == 0:
        return Solution(problem, program, np.zeros(0), np.zeros(0), np.zeros(len(program.names)), "separate")
    if method == "separate" or (method is None and not _likely_to_bind(program)):
        x, y = best_responses(program, np.zeros(len(program.names)), solver=solver)
        if np.all(program.use(x) <= program.limit):
            return Solution(problem, program, x, y, np.zeros(len(program.names)), "separate")
        if method == "separate":
            over = np.argmax(program.use(x) - program.limit)
            raise ValueError(f"method must not be 'separate' where a coupling row binds; got {program.names[over]!r}")
    found = decompose(program, solver) if method in (None, "decomposition") else None
    if found is not None:
        return Solution(problem, program, *found, "decomposition")
    if method == "decomposition":
        raise RuntimeError("the decomposition did not converge; use method 'monolithic'")
    return Solution(problem, program, *_monolithic(program, solver), "monolithic")


def _likely_to_bind(program):
    """Whether merit order, blind to the coupling rows, breaks one: a guess that decides only what is tried first."""
    return bool(np.any(program.use(greedy(program, program.gain)) > program.limit))


def _monolithic(program, solver):
    """x, y, pi of the whole programme at once, in dollars; interior points with HiGHS."""
    options = {"solver": "ipm"} if solver == "HiGHS" else {}
    unit = max(1.0, float(np.median(program.row_price * program.b)))
    x, dual = maximise(
        program.gain,
        sparse.vstack([program.A, program.W]).tocsr(),
        np.concatenate([program.row_price * program.b, program.limit]) / unit,
        np.where(program.capped, program.price * program.upper / unit, np.inf),
        solver=solver,
        options=options,
    )
    return x * unit / program.price, dual[: len(program.b)], dual[len(program.b) :]


def broken(problem, allocation, external=None, tolerance=1e-9):
    """The limits of a problem that an allocation breaks, with amounts; no row if it is feasible.

    Straight from the definition, no programme involved. What of yesterday's book cannot stand today, and why:

        allocation.broken(problem, problem.previous)

    Parameters
    ----------
    problem : Problem
    allocation : ndarray, shape (S, K, C)
        Shares.
    external : ndarray, shape (S, K), optional
        Shares lent to the street.
    tolerance : float
        Excess that is still rounding, relative to the larger of 1 and the limit.

    Returns
    -------
    DataFrame
        Columns limit ("demand", "supply", "mandatory", "concentration", "eligibility", "street", or the name of a
        coupling row), security, party (pool, client or, where eligibility is broken, "pool to client"; both "" for
        coupling rows), allowed, used and excess; shares, or dollars of a coupling row. Mandatory shares are a least
        amount: there `excess` is what is missing.
    """
    p, x = problem, np.asarray(allocation, float)
    z = np.zeros(p.shape[:2]) if external is None else np.asarray(external, float)
    drawn, given, lines = x.sum(2) + z, x.sum(1), []

    def compare(limit, allowed, used, parties, sign=1):
        excess = sign * (used - allowed)
        for s, i in np.argwhere(excess > tolerance * np.maximum(1, np.where(np.isinf(allowed), 1, allowed))):
            lines.append((limit, p.securities[s], parties[i], allowed[s, i], used[s, i], excess[s, i]))

    def couple(limit, allowed, used):
        if used - allowed > tolerance * max(1, allowed):
            lines.append((limit, "", "", allowed, used, used - allowed))

    compare("demand", p.demand, given, p.clients)
    compare("mandatory", p.mandatory, given, p.clients, -1)
    compare("supply", p.supply, drawn, p.pools)
    compare("concentration", p.concentration_limit(), drawn, p.pools)
    compare("street", np.where(p.external_fee > 0, np.inf, 0.0), z, p.pools)
    pairs = [f"{pool} to {client}" for pool in p.pools for client in p.clients]
    forbidden = np.where(p.eligible, 0.0, x).reshape(len(x), -1)
    compare("eligibility", np.zeros_like(forbidden), forbidden, pairs)
    dollars, street = p.price[:, None, None] * x, p.price @ z
    if np.isfinite(p.capital):
        couple("capital", float(p.capital), (p.capital_weight * dollars).sum() + p.external_weight @ street)
    for customer, (most, mine) in p.margin_customers().items():
        couple(f"140 % of the debit behind {customer}", most, dollars[:, mine].sum() + street[mine].sum())
    for c in np.flatnonzero(np.isfinite(p.credit)):
        couple(f"credit of {p.clients[c]}", p.credit[c], dollars[:, :, c].sum())
    return pd.DataFrame(lines, columns=["limit", "security", "party", "allowed", "used", "excess"])


def income(problem, allocation, external=None):
    """What an allocation earns in a day, item by item, straight from the definition: no programme involved.

    Parameters
    ----------
    problem : Problem
    allocation : ndarray, shape (S, K, C)
        Shares.
    external : ndarray, shape (S, K), optional
        Shares lent to the street.

    Returns
    -------
    pandas.Series
        Dollars a day: "client fees", "street fees", "source costs", "over-borrow", "unmet demand", "recall risk",
        "turnover"; costs are negative and the sum is the objective.
    """
    p, external = problem, np.zeros(problem.shape[:2]) if external is None else external
    price, drawn = p.price[:, None], allocation.sum(2) + external
    moved = np.abs(allocation - (0.0 if p.previous is None else p.previous))
    items = {
        "client fees": (price * p.client_fee * allocation.sum(1)).sum() * BP_DAY,
        "street fees": (price * p.external_fee * external).sum() * BP_DAY,
        "source costs": -(price * p.source_cost * drawn).sum() * BP_DAY,
        "over-borrow": -(price * p.source_cost * np.maximum(p.committed - drawn, 0)).sum() * BP_DAY,
        "unmet demand": -(price * p.penalty * (p.demand - allocation.sum(1))).sum() * BP_DAY,
        "recall risk": -(p.price * p.buy_in_cost * (p.recall_probability * allocation.sum(2)).sum(1)).sum() * 1e-4,
        "turnover": -(p.price * p.turnover_cost * moved.sum((1, 2))).sum() * 1e-4,
    }
    return pd.Series(items, name="dollars a day")


def round_lots(solution, lot=None, ticket=0):
    """The allocation in whole lots and no loan below a ticket.

    Each name with a loan that is not so becomes a mixed-integer programme of its own, that may use of the coupling rows
    what it used before and what nobody uses; the other names stay as they are.

    Parameters
    ----------
    solution : Solution
    lot : float or array_like, shape (S,), optional
        Shares, > 0; by default the `round_lot` of the problem.
    ticket : float
        Smallest loan, shares, >= 0.

    Returns
    -------
    Solution
        With the bound of the linear programme, so that `gap` is the price of the rounding at most.

    Raises
    ------
    ValueError
        If mandatory demand of a name cannot be met in whole lots.
    """
    given = solution.problem.round_lot if lot is None else lot
    lot = positive("lot", given, "round lot, shares", array=True)
    ticket = nonnegative("ticket", ticket, "smallest loan, shares")
    lots = np.broadcast_to(lot, len(solution.problem.securities))
    x = in_lots(solution.problem, solution.program, solution.x, lots, ticket)
    return replace(solution, x=x, method=f"{solution.method}, in lots")
