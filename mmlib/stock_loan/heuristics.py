"""Rules of thumb for handing out shares, to measure an optimum against.

Each rule is an order of lanes (security, pool, client); shares are then handed out lane by lane, as far as supply,
demand, concentration and the coupling rows last. No lane loses money, the cost of moving loans aside. The results are
feasible in the `Problem` they come from, mandatory and committed shares aside.

    merit_order   best margin first, over the whole desk
    first_come    requests in the order they came, each from its cheapest pool
    pro_rata      every client gets the same part of what it wants of a name, from the cheapest pools
    trimmed       yesterday's loans as far as limits allow, best margin per risk weight first; then new loans likewise
"""

import numpy as np

from mmlib.checks import integer


def merit_order(problem):
    """Shares (S, K, C) handed out in the order of each lane's margin, best first."""
    gain = problem.lane_gain()
    lanes = np.argwhere(_usable(problem, gain))
    return _hand_out(problem, lanes[np.argsort(-gain[tuple(lanes.T)], kind="stable")])


def first_come(problem, seed=0):
    """Shares (S, K, C) handed out to requests (security, client) in a random order, each from its cheapest pools."""
    S, _, C = problem.shape
    turn = np.random.default_rng(integer("seed", seed, least=0, meaning="seed of the order")).permutation(S * C)
    return _by_request(problem, turn.reshape(S, C))


def pro_rata(problem):
    """Shares (S, K, C) such that each client gets the same part of its demand of a name, from its cheapest pools.

    The part is min(1, supply of the pools open to anyone / demand of the name).
    """
    S, _, C = problem.shape
    supply = (problem.supply * problem.eligible.any(2)).sum(1)
    demand = problem.demand.sum(1)
    part = np.minimum(1.0, np.divide(supply, demand, where=demand > 0, out=np.zeros(S)))
    return _by_request(problem, np.arange(S * C).reshape(S, C), problem.demand * part[:, None])


def trimmed(problem):
    """Shares (S, K, C): yesterday's loans, trimmed to today's limits, and what room they leave given to new loans.

    Both in the order of margin per dollar of risk weight, the greedy rule of a knapsack; a loan of yesterday is kept
    while its margin exceeds the cost of closing it, a new one made while it exceeds the cost of opening it.
    """
    gain, move = problem.lane_gain(), 360 * problem.turnover_cost[:, None, None]
    weight = problem.capital_weight if np.isfinite(problem.capital) else np.ones(problem.shape[1:])
    kept = np.zeros(problem.shape) if problem.previous is None else problem.previous
    lanes, most = [], []
    for net, quantity in ((gain + move, kept), (gain - move, problem.demand[:, None, :])):
        part = np.argwhere(_usable(problem, net) & (quantity > 0))
        dense = np.divide(net, weight, where=weight > 0, out=np.full(problem.shape, np.inf))
        part = part[np.argsort(-dense[tuple(part.T)], kind="stable")]
        lanes.append(part)
        most.append(np.broadcast_to(quantity, problem.shape)[tuple(part.T)])
    return _hand_out(problem, np.concatenate(lanes), most=np.concatenate(most))


def _usable(problem, gain):
    return problem.eligible & (gain > 0) & (problem.supply > 0)[:, :, None] & (problem.demand > 0)[:, None, :]


def _by_request(problem, turn, wanted=None):
    """Lanes in the order of the requests' `turn` (S, C), and for one request the cheapest pool first."""
    gain = problem.lane_gain()
    s, k, c = np.nonzero(_usable(problem, gain))
    return _hand_out(problem, np.stack([s, k, c], 1)[np.lexsort((-gain[s, k, c], turn[s, c]))], wanted)


def _hand_out(problem, lanes, wanted=None, most=None):
    """Shares (S, K, C) given lane by lane, `lanes` (n, 3), up to `most` (n,) and, a client, up to `wanted` (S, C)."""
    x, most = np.zeros(problem.shape), np.full(len(lanes), np.inf) if most is None else most
    demand = (problem.demand if wanted is None else wanted).copy()
    supply = np.minimum(problem.supply, problem.concentration_limit())
    capital, credit = float(problem.capital), problem.credit.copy()
    debit, customer = _debits(problem)
    for (s, k, c), quantity in zip(lanes, most, strict=True):
        weight, dollars = problem.capital_weight[k, c], min(debit[customer[k]], credit[c])
        dollars = min(dollars, capital / weight) if weight > 0 else dollars
        wanted = min(supply[s, k], demand[s, c], quantity, dollars / problem.price[s])
        taken = max(0.0, wanted)  # a limit may be spent to -1e-16
        spent = taken * problem.price[s]
        x[s, k, c] += taken
        supply[s, k] -= taken
        demand[s, c] -= taken
        debit[customer[k]] -= spent
        credit[c] -= spent
        capital -= weight * spent if weight > 0 else 0.0
    return x


def _debits(problem):
    """Dollars that each customer's pools may lend together, the last one without a limit; the customer of each pool."""
    limits = problem.margin_customers().values()
    customer = np.full(len(problem.pools), len(limits))
    for i, (_, mine) in enumerate(limits):
        customer[mine] = i
    return np.array([limit for limit, _ in limits] + [np.inf]), customer
