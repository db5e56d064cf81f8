"""Which margin shares to lend and which to lock up: the 140 % rule, decided together with the loan book.

A broker may use a margin customer's securities only up to 140 % of the customer's net debit; the rest is *excess
margin* and must be kept in possession or control (SEC rules 15c3-3(a)(5) and 8c-1). The limit is of the customer, over
all accounts together. With longs L_as of customer a at prices p and debit D_a, the shares r_as that are not declared
excess satisfy

    0 <= r_as <= L_as,      Σ_s p_s r_as <= 1.4 D_a

Which shares to declare is the broker's choice, and it decides what can be lent. Two rules of the back office look at
positions alone: `pro_rata` releases the same part of every position, `value_ranked` the largest positions first. The
loan book cares about neither: a dollar of debit should release the share that earns most. `allocation` with a debit row
per margin customer chooses jointly; its price of the row, times 1.4, is what a dollar of debit is worth.

    solution = allocation.solve(problem)                 # the 140 % rule is among its rows
    rehypothecation.declare(solution)                    # what to release, what to lock up
    rehypothecation.compare(problem)                     # dollars a day against the two rules

In a `Problem`, pool k belongs to a margin customer if its `debit` is finite; its `supply` is then longs of that
customer, `Problem.customer` says whose, and pools of one customer share one debit.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from mmlib.stock_loan import allocation


def pro_rata(problem):
    """Release the same part of every position: r_as = L_as min(1, 1.4 D_a / Σ p L), over all pools of the customer.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    ndarray, shape (S, K)
        Supply with the margin clients' longs cut to what is released, shares.
    """
    value, part = problem.price @ problem.supply, np.ones(len(problem.pools))
    for limit, mine in problem.margin_customers().values():
        part[mine] = min(1.0, limit / value[mine].sum()) if value[mine].sum() > 0 else 1.0
    return problem.supply * part


def value_ranked(problem):
    """Release the positions of largest value first, the last one in part, until 1.4 D_a is used.

    Parameters and result as in `pro_rata`.
    """
    return _filled(problem, np.zeros_like(problem.supply), problem.price[:, None] * problem.supply)


def released(solution):
    """Release what the joint optimum lends, then the largest positions left until 1.4 D_a is used.

    Parameters
    ----------
    solution : Solution

    Returns
    -------
    ndarray, shape (S, K)
        As in `pro_rata`.
    """
    lent = solution.allocation.sum(2) + solution.external
    left = solution.problem.price[:, None] * (solution.problem.supply - lent)
    return _filled(solution.problem, lent, left)


def _filled(problem, start, rank):
    """Longs released from `start` on in falling order of `rank` (S, K), until each customer's limit is reached."""
    supply = problem.supply.copy()
    for limit, mine in problem.margin_customers().values():
        longs, used = problem.supply[:, mine], start[:, mine]
        price = np.broadcast_to(problem.price[:, None], longs.shape).ravel()
        order = np.argsort(-rank[:, mine].ravel(), kind="stable")
        room = (price * (longs - used).ravel())[order]
        free = limit - price @ used.ravel() - (np.cumsum(room) - room)
        filled = used.ravel().copy()
        filled[order] += np.clip(free, 0, room) / price[order]
        supply[:, mine] = filled.reshape(longs.shape)
    return supply


def declare(solution):
    """What to declare for each margin customer and name, under the joint optimum.

    Parameters
    ----------
    solution : Solution
        Of a problem with debits.

    Returns
    -------
    DataFrame
        Columns customer, pool, security, long, lent, released, excess (shares) and excess_value (dollars); a row for
        every long.
    """
    problem, free = solution.problem, released(solution)
    lent = solution.allocation.sum(2) + solution.external
    k, s = np.nonzero(((problem.supply > 0) & np.isfinite(problem.debit)).T)
    excess = (problem.supply - free)[s, k]
    return pd.DataFrame(
        {
            "customer": np.array(problem.customer, object)[k],
            "pool": np.array(problem.pools, object)[k],
            "security": np.array(problem.securities, object)[s],
            "long": problem.supply[s, k],
            "lent": lent[s, k],
            "released": free[s, k],
            "excess": excess,
            "excess_value": problem.price[s] * excess,
        }
    )


def compare(problem):
    """Income of the best loan book after each rule, and after none.

    Each rule fixes what is released; the loan book is then optimised on it, so the differences are the rules' alone.
    "no rule" drops the 140 % limit: what the regulation costs.

    Parameters
    ----------
    problem : Problem
        With at least one debit.

    Returns
    -------
    DataFrame
        Rows "pro rata", "value ranked", "joint", "no rule"; columns income and lent_from_margin (dollars a day,
        dollars) and gap (of the certificate).

    Raises
    ------
    ValueError
        If no pool has a debit, or one that has is borrowed on term (`committed`).
    """
    margin = np.isfinite(problem.debit)
    if np.any(problem.committed[:, margin] > 0):
        k = np.flatnonzero(margin & (problem.committed > 0).any(0))[0]
        raise ValueError(
            f"committed must be 0 in pool {problem.pools[k]}: nobody borrows a margin client's longs on term"
        )
    if not margin.any():
        raise ValueError("debit must be finite for at least one pool: there is no margin client")
    cases = {
        "pro rata": replace(problem, supply=pro_rata(problem), debit=np.inf),
        "value ranked": replace(problem, supply=value_ranked(problem), debit=np.inf),
        "joint": problem,
        "no rule": replace(problem, debit=np.inf),
    }
    rows = {}
    for name, case in cases.items():
        solution = allocation.solve(case)
        drawn = (solution.allocation.sum(2) + solution.external)[:, margin].sum(1)
        rows[name] = {"income": solution.value, "lent_from_margin": problem.price @ drawn, "gap": solution.gap}
    return pd.DataFrame.from_dict(rows, orient="index")
