"""Two stages round the whole allocation: borrow on term tonight, allocate when demand is known, as one programme."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.stats import t as student

from mmlib import checks
from mmlib.stock_loan import allocation
from mmlib.stock_loan._allocation.linear_program import assemble, maximise
from mmlib.stock_loan.allocation import BP_DAY


@dataclass(frozen=True, eq=False)
class PreBorrow:
    """Shares to borrow on term, and what they earn over the scenarios they were chosen for.

    Attributes
    ----------
    quantity : ndarray, shape (S, K)
        Shares by security and pool; 0 in pools that are not borrowed from on term.
    value : float
        Mean income of the best allocations, the pre-borrow paid, dollars a day.
    worth : float
        What a dollar more of the budget earns, dollars a day.
    """

    quantity: np.ndarray
    value: float
    worth: float


class Worth(NamedTuple):
    """Means over fresh scenarios with their intervals, dollars a day: (mean, low, high) each."""

    vss: tuple[float, float, float]
    evpi: tuple[float, float, float]


def pre_borrow_for(
    problem: allocation.Problem, demands, *, term: Sequence[str], probability=None, budget: float = np.inf
) -> PreBorrow:
    """The pre-borrow with the highest mean income when every scenario is allocated at its best: one linear programme.

    With q_sk >= 0 the shares of security s borrowed on term from pool k, price p and cost g,

        max Σ_ω π_ω V(ω, q) − Σ p g q      subject to      q_sk <= S_sk,   Σ p q <= budget

    where V is the allocation of scenario ω (the programme of `allocation`) in which the pools in `term` supply q and
    cost nothing more. The sample average is this programme with equal π (Kleywegt, Shapiro & Homem-de-Mello 2002).

    Parameters
    ----------
    problem : allocation.Problem
        The day; in the pools of `term` its supply is the most that can be borrowed. No concentration limits, which
        hang on whether a pool has shares.
    demands : array_like, shape (n, S, C)
        Shares by scenario, security and client.
    term : sequence of str
        Names of the pools that are borrowed from before demand is known, and paid for whether used or not.
    probability : array_like, shape (n,), optional
        Equal ones by default.
    budget : float
        Dollars that the pre-borrow may tie up.

    Returns
    -------
    PreBorrow

    Raises
    ------
    ValueError
        Naming the argument; also if mandatory demand cannot be met in some scenario.
    """
    demands, mine = _checked(problem, demands, term)
    chance = np.full(len(demands), 1 / len(demands)) if probability is None else np.asarray(probability, float)
    if chance.shape != (len(demands),) or not (chance >= 0).all() or abs(chance.sum() - 1) > 1e-9:
        raise ValueError(f"probability must be {len(demands)} numbers >= 0 with sum 1; got {probability!r}")
    if budget != np.inf:
        checks.nonnegative("budget", budget, "dollars")
    s, k = np.nonzero(mine & (problem.supply > 0))
    column = np.full(problem.shape[:2], -1)
    column[s, k] = np.arange(len(s))
    unit = max(1.0, float(np.median(problem.price)) * 100)  # dollars, so that rows are near 1
    gains, uppers = [-problem.source_cost[s, k]], [problem.price[s] * problem.supply[s, k] / unit]
    blocks, first, rights, constant = [], [], [], 0.0
    for each, part in zip(demands, chance, strict=True):
        day = replace(problem, demand=each, committed=np.where(mine, 0.0, problem.committed))
        program = assemble(day)
        paid = mine[program.security, program.pool]
        gains.append(part * (program.gain + np.where(paid, problem.source_cost[program.security, program.pool], 0.0)))
        uppers.append(np.where(program.capped, program.price * program.upper / unit, np.inf))
        rows = np.flatnonzero(program.kind == "supply")
        rows = rows[mine[program.row_security[rows], program.row_index[rows]]]
        which = column[program.row_security[rows], program.row_index[rows]]
        height = len(program.b) + len(program.names)
        blocks.append(sparse.vstack([program.A, program.W]))
        first.append(sparse.coo_array((-np.ones(len(rows)), (rows, which)), shape=(height, len(s))))
        own = program.row_price * program.b / unit
        own[rows] = 0.0
        rights += [own, program.limit / unit]
        constant += part * day.constant()
    A = sparse.hstack([sparse.vstack(first), sparse.block_diag(blocks)])
    b = np.concatenate(rights)
    if budget != np.inf:
        row = sparse.coo_array((np.ones(len(s)), (np.zeros(len(s), int), np.arange(len(s)))), shape=(1, A.shape[1]))
        A, b = sparse.vstack([A, row]), np.append(b, budget / unit)
    x, y = maximise(np.concatenate(gains), sparse.csr_array(A), b, np.concatenate(uppers))
    if x is None:
        raise ValueError("mandatory demand must be within reach in every scenario; got one in which it is not")
    quantity = np.zeros(problem.shape[:2])
    quantity[s, k] = np.minimum(x[: len(s)] * unit / problem.price[s], problem.supply[s, k])  # rounding above the bound
    value = (np.concatenate(gains) @ x * unit + constant) * BP_DAY
    return PreBorrow(quantity, float(value), float(y[-1] * BP_DAY) if budget != np.inf else 0.0)


def allocated(problem: allocation.Problem, quantity, demands, *, term: Sequence[str]) -> np.ndarray:
    """What a pre-borrow earns when every scenario is allocated by `allocation.solve`, dollars a day, shape (n,).

    Parameters
    ----------
    quantity : array_like, shape (S, K)
        Shares borrowed on term, in the pools of `term` only: their supply, and paid for whether used or not.
    problem, demands, term :
        As in `pre_borrow_for`.
    """
    demands, mine = _checked(problem, demands, term)
    q = checks.nonnegative("quantity", quantity, "shares", array=True)
    if np.shape(q) != mine.shape or np.any(np.where(mine, 0.0, q)) or np.any(q > problem.supply * (1 + 1e-9)):
        raise ValueError(f"quantity must have shape {mine.shape}, be within supply and 0 but in {', '.join(term)}")
    supply, committed = np.where(mine, q, problem.supply), np.where(mine, q, problem.committed)
    day = replace(problem, supply=supply, committed=committed)
    return np.array([allocation.solve(replace(day, demand=each)).value for each in demands])


def worth(
    problem: allocation.Problem,
    demands,
    fresh,
    *,
    term: Sequence[str],
    budget: float = np.inf,
    confidence: float = 0.95,
) -> Worth:
    """VSS and EVPI out of sample: pre-borrows chosen on `demands`, judged on the same `fresh` scenarios.

    VSS is the income of the pre-borrow for all scenarios less that of the one for their mean; it can be below 0. EVPI
    is the income with each fresh scenario known before less that of the pre-borrow for all scenarios: on average not
    below the true one, since this pre-borrow is the best for its sample only (Mak, Morton & Wood 1999). Intervals are
    Student's, the scenarios being independent. Parameters as in `pre_borrow_for`.
    """
    confidence = checks.in_interval("confidence", confidence, 0, 1, open=True)
    demands, _ = _checked(problem, demands, term)
    test = _checked(problem, fresh, term, "fresh")[0]
    if len(test) < 2:
        raise ValueError(f"fresh must have at least 2 scenarios; got {len(test)}")
    chosen = pre_borrow_for(problem, demands, term=term, budget=budget).quantity
    plain = pre_borrow_for(problem, demands.mean(0)[None], term=term, budget=budget).quantity
    earned, without = (allocated(problem, q, test, term=term) for q in (chosen, plain))
    known = np.array([pre_borrow_for(problem, each[None], term=term, budget=budget).value for each in test])
    reach = student.ppf((1 + confidence) / 2, len(test) - 1) / np.sqrt(len(test))

    def interval(gain):
        half = reach * gain.std(ddof=1)
        return float(gain.mean()), float(gain.mean() - half), float(gain.mean() + half)

    return Worth(interval(earned - without), interval(known - earned))


def _checked(problem, demands, term, name="demands"):
    """Scenarios as an array (n, S, C), and which cells (S, K) are borrowed on term."""
    S, _, C = problem.shape
    found = checks.nonnegative(name, demands, "shares", array=True)
    if np.ndim(found) != 3 or np.shape(found)[1:] != (S, C) or not len(found):
        raise ValueError(f"{name} must have shape (scenarios, {S}, {C}); got {np.shape(found)}")
    for pool in term:
        checks.choice("term", pool, problem.pools)
    if np.any(problem.concentration < 1):
        raise ValueError("concentration must be 1 in two stages: its limits hang on which pools have shares")
    return found, np.broadcast_to(np.isin(problem.pools, list(term)), problem.shape[:2])
