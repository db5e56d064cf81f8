"""Time, memory and certificate of the stock-loan allocation at the size of a large desk: 5,000 × 6 × 20.

    python benchmarks/allocation.py                 # separate, decomposition, interior points: about a minute
    python benchmarks/allocation.py --simplex       # also the default simplex of HiGHS on the coupled model: minutes

Each case runs in a process of its own, one after another; ratios are within this run, of processor seconds, which other
work on the machine disturbs less than the clock. Memory is the peak resident set.
"""

import argparse
import multiprocessing
import resource
import time

import numpy as np

from mmlib.stock_loan import allocation
from mmlib.stock_loan._allocation import linear_program

SECURITIES, POOLS, CLIENTS = 5_000, 6, 20


def book(coupled, seed=7):
    """A random book of GC, warm and special names; with `coupled`, a balance sheet and 20 credit limits that bind."""
    rng = np.random.default_rng(seed)
    S, K, C = SECURITIES, POOLS, CLIENTS
    kind = rng.choice(3, S, p=[0.85, 0.10, 0.05])
    fee = np.array([30.0, 200.0, 1500.0])[kind] * rng.lognormal(0, 0.5, S)
    price = np.exp(rng.normal(3.4, 0.9, S)) + 0.5
    wanted = rng.random((S, C)) < 0.35
    demand = np.where(wanted, 100 * np.ceil(rng.lognormal(3, 1, (S, C))), 0)
    ease = np.array([2.0, 0.8, 0.4])[kind][:, None] * demand.sum(1, keepdims=True) / K
    has = rng.random((S, K)) < 0.85
    value = price @ demand
    limits = {"capital": 0.3 * value.sum(), "credit": 0.6 * value * rng.uniform(0.7, 1.3, C)} if coupled else {}
    return allocation.Problem(
        securities=[f"S{s:04d}" for s in range(S)],
        pools=[f"P{k}" for k in range(K)],
        clients=[f"C{c:02d}" for c in range(C)],
        price=price,
        client_fee=fee[:, None] * rng.uniform(0.85, 1.25, (S, C)),
        source_cost=fee[:, None] * np.linspace(0.1, 0.8, K) * rng.uniform(0.9, 1.1, (S, K)),
        demand=demand,
        supply=np.where(has, 100 * np.ceil(ease * rng.lognormal(0, 0.6, (S, K)) / 100), 0),
        eligible=rng.random((K, C)) < 0.95,
        penalty=5.0,
        capital_weight=np.where(rng.random((K, C)) < 0.5, 1.0, 0.2),
        **limits,
    )


def run(coupled, method, simplex):
    """Solve once; seconds by the clock and of the processor, peak megabytes, dollars a day, gap, violation, columns."""
    problem = book(coupled)
    if simplex:
        best = linear_program.maximise
        allocation.maximise = lambda *args, options, **terms: best(*args, options={"solver": "choose"}, **terms)
    start, busy = time.perf_counter(), time.process_time()
    solution = allocation.solve(problem, method)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds, busy, peak, solution.value, solution.gap, solution.violation, len(solution.x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simplex", action="store_true", help="also HiGHS's default simplex (minutes)")
    simplex = parser.parse_args().simplex
    cases = {
        "uncoupled, eight securities a model": (False, "separate", False),
        "uncoupled, one model in all": (False, "monolithic", False),
        "21 coupling rows, decomposition": (True, "decomposition", False),
        "21 coupling rows, interior points": (True, "monolithic", False),
    }
    if simplex:
        cases["21 coupling rows, default simplex"] = (True, "monolithic", True)
    context, seconds = multiprocessing.get_context("spawn"), {}
    print(
        f"{'case':36}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}{'$ a day':>14}{'gap':>10}{'violation':>11}{'columns':>9}"
    )
    for name, case in cases.items():
        with context.Pool(1) as pool:
            wall, seconds[name], peak, value, gap, violation, columns = pool.apply(run, case)
        print(
            f"{name:36}{wall:9.1f}{seconds[name]:8.1f}{peak:9.0f}{value:14,.0f}{gap:10.1e}{violation:11.1e}{columns:9,}",
            flush=True,
        )
    alone, at_once, parts, points, *rest = seconds.values()
    print(f"\none model in all / eight a model      {at_once / alone:6.2f}")
    print(f"interior points / decomposition     {points / parts:6.2f}")
    for slow in rest:
        print(f"default simplex / decomposition     {slow / parts:6.2f}")
        print(f"default simplex / interior points   {slow / points:6.2f}")


if __name__ == "__main__":
    main()
