"""Stationary quotes on a price grid: QuantEcon's DiscreteDP against mmlib's policy iteration, in one run.

The continuous-time problem with discount rate rho is uniformised at a rate R no policy exceeds: a step of a Markov
decision process with discount factor R/(R + rho), reward per step (income rate)/(R + rho) and transition probabilities
(fill rate)/R. States are inventories; an action is a pair (bid distance, ask distance) from the grid.

DiscreteDP.solve gets its matrices ready made. It is compared with the same share of our work, the iteration on ready
made tables ("kernel"), and with the whole of a call that starts from the market ("call").

    python benchmarks/hjb.py
"""

import timeit

import numpy as np
import scipy.sparse as sparse
from quantecon.markov import DiscreteDP

from mmlib.market_making import Market, hjb
from mmlib.market_making._hjb_equation import equation
from mmlib.market_making._kernels.howard import howard_on_grid

RHO = 0.5  # rate of discount, 1/time
MARKETS = {
    30: (Market(sigma=2.0, A=140.0, k=1.5), 0.1, np.linspace(-3.0, 4.0, 51)),
    300: (Market(sigma=2.0, A=140.0, k=1.5), 0.001, np.linspace(-4.0, 5.0, 51)),
}


def decision_process(market, gamma, Q, distances, rho):
    """DiscreteDP of the market-making problem as a list of state-action pairs; state i is inventory i − Q."""
    m, n = 2 * Q + 1, len(distances)
    rate = market.bid_rate(distances)
    uniform = 2 * rate.max()
    state, bid, ask = (x.ravel() for x in np.meshgrid(np.arange(m), np.arange(n), np.arange(n), indexing="ij"))
    allowed = ~((state == m - 1) & (bid > 0)) & ~((state == 0) & (ask > 0))  # one action stands for "not quoted"
    state, bid, ask = state[allowed], bid[allowed], ask[allowed]
    up, down = np.where(state < m - 1, rate[bid], 0.0), np.where(state > 0, rate[ask], 0.0)
    q = state - Q
    income = up * distances[bid] + down * distances[ask] - 0.5 * gamma * market.sigma**2 * q**2
    pair = np.arange(len(state))
    moves = sparse.csr_matrix(
        (
            np.concatenate([1 - (up + down) / uniform, up / uniform, down / uniform]),
            (np.tile(pair, 3), np.concatenate([state, np.minimum(state + 1, m - 1), np.maximum(state - 1, 0)])),
        ),
        shape=(len(state), m),
    )
    reward, factor = income / (uniform + rho), uniform / (uniform + rho)
    return DiscreteDP(reward, moves, factor, s_indices=state, a_indices=bid * n + ask)


def kernel_arguments(market, gamma, Q, distances, rho):
    """What `hjb.policy_iteration` hands to its kernel, for a market without fee or impact."""
    income = equation(market, Q, gamma, 0.0, None, 1.0, None, 0.0, None).income
    rates, cost = market.bid_rate(distances), np.zeros(2 * Q + 1)
    return income, distances, rates, rates, cost, cost, 1.0, rho, Q


def best_time(run, *arguments, repeat, **options):
    """Fastest of `repeat` calls, after one that compiles, ms."""
    run(*arguments, **options)
    return 1e3 * min(timeit.repeat(lambda: run(*arguments, **options), number=1, repeat=repeat))


def main():
    """Print one row for each size."""
    print("                            milliseconds             DiscreteDP over   largest   value gained by")
    print("   Q  DiscreteDP   kernel   call  all distances     kernel   call   difference  all distances")
    for Q, (market, gamma, distances) in MARKETS.items():
        process = decision_process(market, gamma, Q, distances, RHO)
        options = dict(max_inventory=Q, gamma=gamma, xi=0.0, discount=RHO)
        oracle = process.solve(method="policy_iteration").v
        ours = hjb.policy_iteration(market, distances=distances, **options)
        free = hjb.policy_iteration(market, **options)
        peer = best_time(process.solve, method="policy_iteration", repeat=7)
        kernel = best_time(howard_on_grid, *kernel_arguments(market, gamma, Q, distances, RHO), repeat=200)
        call = best_time(hjb.policy_iteration, market, distances=distances, repeat=200, **options)
        every = best_time(hjb.policy_iteration, market, repeat=20, **options)
        difference = np.max(np.abs(ours.value - oracle)) / np.max(np.abs(oracle))
        gained = free.value[Q] / ours.value[Q] - 1
        print(
            f"{Q:4d}  {peer:10.2f}  {kernel:7.3f}{call:7.3f}  {every:13.2f}  {peer / kernel:9.0f} {peer / call:6.0f}"
            f"  {difference:11.1e}  {100 * gained:11.2f} %"
        )


if __name__ == "__main__":
    main()
