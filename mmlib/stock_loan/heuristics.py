"""Rules of thumb for handing out shares, to measure an optimum against.

Each rule is an order of lanes (security, pool, client); shares are then handed out lane by lane, as far as supply,
demand and the coupling rows last. No lane loses money, the cost of moving loans aside. A lender with a largest share α
of a name gives at most α of what could be lent of it, and what still exceeds its share is taken back from its last
lanes. The results are feasible in the `Problem` they come from, mandatory and committed shares aside.

    merit_order   best margin first, over the whole desk
    first_come    requests in the order they came, each from its cheapest pool
    pro_rata      every client gets the same part of what it wants of a name, from the cheapest pools
"""

import numpy as np

from mmlib.checks import integer


def merit_order(problem):
    """Shares (S, K, C) handed out in the order of each lane's margin, best first."""
    gain = problem.lane_gain()
    s, k, c = np.nonzero(_usable(problem, gain))
    return _hand_out(problem, np.stack([s, k, c], 1)[np.argsort(-gain[s, k, c], kind="stable")], problem.demand)


def first_come(problem, seed=0):
    """Shares (S, K, C) handed out to requests (security, client) in a random order, each from its cheapest pools."""
    S, _, C = problem.shape
    turn = np.random.default_rng(integer("seed", seed, least=0, meaning="seed of the order")).permutation(S * C)
    return _by_request(problem, turn.reshape(S, C), problem.demand)


def pro_rata(problem):
    """Shares (S, K, C) such that each client gets the same part of its demand of a name, from its cheapest pools.

    The part is min(1, supply of the pools open to anyone / demand of the name).
    """
    S, _, C = problem.shape
    supply = (problem.supply * problem.eligible.any(2)).sum(1)
    demand = problem.demand.sum(1)
    part = np.minimum(1.0, np.divide(supply, demand, where=demand > 0, out=np.zeros(S)))
    return _by_request(problem, np.arange(S * C).reshape(S, C), problem.demand * part[:, None])


def _usable(problem, gain):
    return problem.eligible & (gain > 0) & (problem.supply > 0)[:, :, None] & (problem.demand > 0)[:, None, :]


def _by_request(problem, turn, most):
    """Lanes in the order of the requests' `turn` (S, C), and for one request the cheapest pool first."""
    gain = problem.lane_gain()
    s, k, c = np.nonzero(_usable(problem, gain))
    return _hand_out(problem, np.stack([s, k, c], 1)[np.lexsort((-gain[s, k, c], turn[s, c]))], most)


def _hand_out(problem, lanes, most):
    """Shares (S, K, C) given lane by lane, `lanes` (n, 3), up to `most` (S, C) for each client."""
    x = np.zeros(problem.shape)
    lendable = np.minimum(most.sum(1), problem.supply.sum(1))
    supply, demand = np.minimum(problem.supply, np.outer(lendable, problem.concentration)), most.copy()
    capital, debit, credit = float(problem.capital), 1.4 * problem.debit, problem.credit.copy()
    for s, k, c in lanes:
        weight, dollars = problem.capital_weight[k, c], min(debit[k], credit[c])
        dollars = min(dollars, capital / weight) if weight > 0 else dollars
        taken = max(0.0, min(supply[s, k], demand[s, c], dollars / problem.price[s]))  # a limit may be spent to -1e-16
        spent = taken * problem.price[s]
        x[s, k, c] = taken
        supply[s, k] -= taken
        demand[s, c] -= taken
        debit[k], credit[c], capital = debit[k] - spent, credit[c] - spent, capital - weight * spent
    rank = np.zeros(problem.shape, int)
    rank[tuple(lanes.T)] = np.arange(len(lanes))
    for s in range(len(x)):
        _take_back(x[s], rank[s], problem.concentration)
    return x


def _take_back(x, rank, part):
    """Cut, in place, what pools exceed of their largest `part` of a name (K, C), their last lanes first."""
    limited = part < 1
    ratio = np.divide(part, 1 - part, where=limited, out=np.zeros(len(part)))
    while True:
        drawn = x.sum(1)
        excess = np.where(limited, drawn - ratio * (drawn.sum() - drawn), 0.0)
        k = np.argmax(excess)
        if excess[k] <= 1e-9:
            return
        for c in np.argsort(-rank[k], kind="stable"):
            cut = min(x[k, c], excess[k])
            x[k, c] -= cut
            excess[k] -= cut
