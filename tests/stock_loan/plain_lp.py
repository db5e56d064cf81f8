"""The allocation straight from its definition, as one plain linear programme for SciPy: the tests' oracle.

Nothing of mmlib is used; constants (1.4, 360) are written out. Variables, in this order: x_skc shares to clients, z_sk
to the street, o_sk term borrow unused, t_skc >= |x − x⁰|. One dollar a day is 1; shares may be fractional.
"""

import numpy as np
from scipy.optimize import linprog


def value(problem, extra=None, supply=None, demand=None, debit=None, capital=None, credit=None, limits_from=None,
          lift=None, get=None):  # fmt: skip
    """Best income of a day, dollars; −inf if no allocation satisfies the rules.

    `get` = (s, c, shares): client c gets exactly so many shares of s, whatever its demand, and what goes beyond its
    demand pays its fee like the rest. The concentration limits are of `limits_from`, by default the demand; `lift`
    (S, K) is added to them.
    """
    p = problem
    S, K, C = len(p.securities), len(p.pools), len(p.clients)
    supply = p.supply if supply is None else supply
    demand = p.demand if demand is None else demand
    base = demand if limits_from is None else limits_from
    before = np.zeros((S, K, C)) if p.previous is None else p.previous
    n = S * K * C
    X = np.arange(n).reshape(S, K, C)
    Z = n + np.arange(S * K).reshape(S, K)
    O = Z + S * K  # noqa: E741
    T = n + 2 * S * K + X
    gain = np.zeros(2 * n + 2 * S * K)
    per_day = p.price / 3.6e6
    bounds = [[0.0, None] for _ in gain]
    for s in range(S):
        for k in range(K):
            for c in range(C):
                earned = p.client_fee[s, c] + p.penalty[s, c] - p.source_cost[s, k]
                gain[X[s, k, c]] = per_day[s] * earned
                gain[X[s, k, c]] -= p.price[s] * p.recall_probability[s, k] * p.buy_in_cost[s] / 1e4
                gain[T[s, k, c]] = -p.price[s] * p.turnover_cost[s] / 1e4
                if not p.eligible[s, k, c]:
                    bounds[X[s, k, c]][1] = 0.0
            gain[Z[s, k]] = per_day[s] * (p.external_fee[s, k] - p.source_cost[s, k])
            if p.external_fee[s, k] == 0:
                bounds[Z[s, k]][1] = 0.0
            gain[O[s, k]] = -per_day[s] * p.source_cost[s, k]
            bounds[O[s, k]][1] = float(p.committed[s, k])
    rows, rhs, same, equal = [], [], [], []

    def row(columns, values, right):
        line = np.zeros(len(gain))
        line[np.ravel(columns)] = np.ravel(np.broadcast_to(values, np.shape(columns)))
        rows.append(line)
        rhs.append(right)

    for s in range(S):
        for c in range(C):
            if get is not None and (s, c) == get[:2]:
                row(X[s, :, c], 1.0, get[2])
                same.append(rows.pop())
                equal.append(rhs.pop())
            else:
                row(X[s, :, c], 1.0, demand[s, c])
            if p.mandatory[s, c] > 0:
                row(X[s, :, c], -1.0, -p.mandatory[s, c])
        for k in range(K):
            drawn = [*X[s, k], Z[s, k]]
            row(drawn, 1.0, supply[s, k])
            if p.committed[s, k] > 0:
                row([*drawn, O[s, k]], -1.0, -p.committed[s, k])
            others = [supply[s, other] > 0 for other in range(K) if other != k]
            if p.concentration[k] < 1 and any(others):
                row(drawn, 1.0, p.concentration[k] * base[s].sum() + (0.0 if lift is None else lift[s, k]))
            for c in range(C):
                row([X[s, k, c], T[s, k, c]], [1.0, -1.0], before[s, k, c])
                row([X[s, k, c], T[s, k, c]], [-1.0, -1.0], -before[s, k, c])
    worth = np.broadcast_to(p.price[:, None, None], (S, K, C))
    capital = p.capital if capital is None else capital
    if np.isfinite(capital):
        line = np.concatenate([(worth * p.capital_weight).ravel(), np.outer(p.price, p.external_weight).ravel()])
        row(np.concatenate([X.ravel(), Z.ravel()]), line, capital)
    debit = p.debit if debit is None else debit
    for customer in set(p.customer):
        pools = [k for k in range(K) if p.customer[k] == customer and np.isfinite(debit[k])]
        if pools:
            columns = np.concatenate([X[:, pools].ravel(), Z[:, pools].ravel()])
            line = np.concatenate([worth[:, pools].ravel(), worth[:, pools, 0].ravel()])
            row(columns, line, 1.4 * debit[pools[0]])
    credit = p.credit if credit is None else credit
    for c in range(C):
        if np.isfinite(credit[c]):
            row(X[:, :, c], worth[:, :, c], credit[c])
    found = linprog(-gain, A_ub=np.array(rows), b_ub=rhs, A_eq=same or None, b_eq=equal or None, bounds=bounds)
    if found.status == 2:
        return -np.inf
    assert found.status == 0, found.message
    unmet = per_day @ (p.penalty * demand).sum(1)
    return -found.fun - unmet
