"""Certainty equivalents of many parameter sets: processor seconds, in one run, and how much two threads gain.

    python benchmarks/maps.py [SETS]        # 10,000 by default; a bound of 30 orders, tables of 200 rows

**Threads.** The same grid on one thread and on two must give the same numbers. The gain is the ratio of elapsed
times: on a machine that does other work too it says less than the processor's time.

**The kernel.** The action of exp(hL) on a vector of 61 states with all nodes of the contour side by side, against one
node after the other in complex arithmetic, as for complex L: the same to rounding.
"""

import sys
import time

import numpy as np

from mmlib.market_making import glft, maps
from mmlib.numerics.generator import REAL_NODES, REAL_WEIGHTS, jump_matrix, phi, real_phi


def per_call(function, *arguments, calls=2000, rounds=5):
    function(*arguments)  # compile
    best = np.inf
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(calls):
            function(*arguments)
        best = min(best, time.process_time() - start)
    return 1e6 * best / calls


def kernel():
    rng, m = np.random.default_rng(1), 61
    up, down = np.exp(rng.normal(0, 2, (2, m)))
    up[-1] = down[0] = 0
    q = np.arange(m)
    matrix = jump_matrix(up, np.minimum(q + 1, m - 1), down, np.maximum(q - 1, 0), -up - down)
    given = (0.1, matrix, rng.normal(size=m), REAL_NODES, REAL_WEIGHTS)
    together, one_by_one = real_phi(*given), phi(*given).real
    if not np.allclose(together, one_by_one, rtol=0, atol=1e-13 * np.max(np.abs(one_by_one))):
        raise SystemExit(f"the kernels differ by {np.max(np.abs(together - one_by_one)):.1e}")
    a, b = per_call(real_phi, *given), per_call(phi, *given)
    print(f"exp(hL), 61 states: nodes together {a:.1f} µs, one by one {b:.1f} µs, ratio {b / a:.1f}")


def main():
    side = round(np.sqrt(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
    fixed = dict(k=1.5, gamma=0.1, horizon=1.0, max_inventory=30, steps=200)
    maps.certainty_equivalents(glft.closed_form_quotes, sigma=2.0, A=140.0, **fixed)  # compile
    found, elapsed = [], []
    for workers in (1, 2):
        start, cpu = time.perf_counter(), time.process_time()
        grid = dict(sigma=np.geomspace(0.5, 8, side)[:, None], A=np.geomspace(10, 1000, side))
        found.append(maps.certainty_equivalents(glft.closed_form_quotes, **grid, **fixed, workers=workers))
        cpu = time.process_time() - cpu
        elapsed.append(time.perf_counter() - start)
        each = f"{1e3 * cpu / side**2:.2f} ms a set"
        print(f"{side**2:,} sets, {workers} threads: {cpu:.1f} s of processor, {each}; {elapsed[-1]:.1f} s elapsed")
    if not np.array_equal(*found):
        raise SystemExit("two threads give other numbers than one")
    print(f"two threads: {elapsed[0] / elapsed[1]:.2f} times as fast")
    kernel()


if __name__ == "__main__":
    main()
