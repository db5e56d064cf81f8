"""Time of a path-step of the Bernoulli scheme: gym-style environment, NumPy over paths, SIMD C, mmlib.

    python benchmarks/monte_carlo.py [--paths 200000] [--repeats 7]

All four run the quotes of Avellaneda & Stoikov (2008, Table 1: gamma 0.1, 200 steps) in one process; the best of the
repeats counts, taken in turns so that a busy moment hits all alike. The first two are NumPy on one thread and run a
tenth of the paths. The C program shares mmlib's streams and tables: its profits must be the same bits; the means of
the others must agree within 4 standard errors.
"""

import argparse
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numba
import numpy as np

from mmlib.market_making import Market, avellaneda_stoikov, simulate
from mmlib.market_making._fills import bernoulli_probabilities, fills

MARKET = Market(sigma=2.0, A=140.0, k=1.5)
GAMMA, HORIZON, STEPS, Q = 0.1, 1.0, 200, 30
QUOTES = avellaneda_stoikov.quotes(MARKET, gamma=GAMMA, horizon=HORIZON, max_inventory=Q, steps=STEPS)


class Environment:
    """A vectorised environment: many paths a step, a fresh observation and reward each time."""

    def __init__(self, paths, seed):
        self.paths, self.dt, self.random = paths, HORIZON / STEPS, np.random.default_rng(seed)

    def reset(self):
        self.state = np.zeros((self.paths, 4))  # cash, inventory, time, mid
        return self.state.copy()

    def step(self, action):
        before = self.state[:, 0] + self.state[:, 1] * self.state[:, 3]
        probability = np.minimum(1.0, MARKET.A * np.exp(-MARKET.k * action) * self.dt)
        allowed = np.stack([self.state[:, 1] < Q, self.state[:, 1] > -Q], axis=1)
        filled = (self.random.random((self.paths, 2)) < probability) & allowed
        sign = np.array([1, -1])
        prices = self.state[:, 3:4] - sign * action
        state = self.state.copy()
        state[:, 0] -= np.sum(sign * prices * filled, axis=1)
        state[:, 1] += np.sum(sign * filled, axis=1)
        state[:, 2] += self.dt
        up = self.random.random(self.paths) < 0.5
        state[:, 3] += MARKET.sigma * np.sqrt(self.dt) * np.where(up, 1.0, -1.0)
        self.state = state
        reward = state[:, 0] + state[:, 1] * state[:, 3] - before
        done = np.full(self.paths, state[0, 2] >= HORIZON - self.dt / 2)
        return state.copy(), reward, done, {}


def gym_style(paths, seed):
    environment = Environment(paths, seed)
    observation, profit = environment.reset(), np.zeros(paths)
    done = np.zeros(paths, bool)
    while not done[0]:
        q, variance = observation[:, 1], GAMMA * MARKET.sigma**2 * (HORIZON - observation[:, 2])
        middle = np.log(1 + GAMMA / MARKET.k) / GAMMA + variance / 2
        observation, reward, done, _ = environment.step(
            np.stack([middle + q * variance, middle - q * variance], axis=1)
        )
        profit += reward
    return profit


def numpy_over_paths(paths, seed):
    random = np.random.default_rng(seed)
    dt = HORIZON / STEPS
    q, cash, mid = np.zeros(paths), np.zeros(paths), np.zeros(paths)
    for i in range(STEPS):
        variance = GAMMA * MARKET.sigma**2 * (HORIZON - i * dt)
        middle = np.log(1 + GAMMA / MARKET.k) / GAMMA + variance / 2
        bid, ask = middle + q * variance, middle - q * variance
        bought = (random.random(paths) < MARKET.A * dt * np.exp(-MARKET.k * bid)) & (q < Q)
        sold = (random.random(paths) < MARKET.A * dt * np.exp(-MARKET.k * ask)) & (q > -Q)
        cash += sold * (mid + ask) - bought * (mid - bid)
        q += bought.astype(float) - sold
        mid += MARKET.sigma * np.sqrt(dt) * np.where(random.random(paths) < 0.5, 1.0, -1.0)
    return cash + q * mid


def mmlib(paths, seed):
    return simulate.run(MARKET, QUOTES, paths=paths, seed=seed, drawdown=False).profit


def mmlib_with_drawdown(paths, seed):
    return simulate.run(MARKET, QUOTES, paths=paths, seed=seed).profit


def c_program(compiler, folder):
    """The compiled C program as a function of (paths, seed), and of threads."""
    library = Path(folder) / "monte_carlo.so"
    source = Path(__file__).with_suffix(".c")
    flags = ["-O3", "-march=native", "-ffp-contract=off", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, source, "-o", library], check=True)
    program = ctypes.CDLL(library)

    def pointer(array):
        return array.ctypes.data_as(ctypes.c_void_p)

    def run(paths, seed):
        bid, ask, dt = bernoulli_probabilities(MARKET, QUOTES)
        table = fills(MARKET, QUOTES)
        thresholds = np.rint(bid * 2**31).astype(np.uint64) << 32 | np.rint(ask * 2**31).astype(np.uint64)
        spreads = [table.bid_spread + table.ask_spread, table.bid_spread, table.ask_spread, 0 * table.bid_spread]
        gains = np.stack(spreads, axis=-1).reshape(STEPS, -1)
        profit, counts = np.empty(paths), np.empty((3, paths), np.int64)
        sizes = [ctypes.c_int64(number) for number in (paths, 0, -Q, STEPS, 2 * Q + 1)]
        swing = ctypes.c_double(MARKET.sigma * np.sqrt(dt))
        arrays = map(pointer, (thresholds, gains, profit, *counts))
        program.simulate(ctypes.c_uint64(seed), *sizes, swing, *arrays)
        return profit

    return run, program.omp_set_num_threads


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paths", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    all_threads = numba.config.NUMBA_NUM_THREADS
    runs = {
        "gym-style environment": (gym_style, arguments.paths // 10, 1),
        "NumPy over paths": (numpy_over_paths, arguments.paths // 10, 1),
    }
    compiler = shutil.which(os.environ.get("CC", "cc"))
    with tempfile.TemporaryDirectory() as folder:
        set_threads = [numba.set_num_threads]
        if compiler is None:
            print("no C compiler found (CC, else cc): the C program is left out")
        else:
            c, set_c_threads = c_program(compiler, folder)
            set_threads.append(set_c_threads)
        for threads in sorted({1, all_threads}):
            if compiler is not None:
                runs[f"SIMD C, threads: {threads}"] = (c, arguments.paths, threads)
            runs[f"mmlib, threads: {threads}"] = (mmlib, arguments.paths, threads)
            runs[f"mmlib with drawdown, threads: {threads}"] = (mmlib_with_drawdown, arguments.paths, threads)
        best, profits = dict.fromkeys(runs, np.inf), {}
        for repeat in range(arguments.repeats + 1):  # the first one compiles and warms up
            for name, (run, paths, threads) in runs.items():
                for set_number in set_threads:
                    set_number(threads)
                start = time.perf_counter()
                profits[name] = run(paths, 7)
                if repeat:
                    best[name] = min(best[name], (time.perf_counter() - start) / (paths * STEPS) * 1e9)
    report(best, profits, all_threads)


def report(best, profits, threads):
    reference = profits[f"mmlib, threads: {threads}"]
    for name, profit in profits.items():
        error = np.hypot(profit.std() / np.sqrt(len(profit)), reference.std() / np.sqrt(len(reference)))
        if abs(profit.mean() - reference.mean()) > 4 * error:
            raise SystemExit(f"{name}: mean profit {profit.mean():.4f}, mmlib {reference.mean():.4f} ± {error:.4f}")
        if name.startswith(("SIMD", "mmlib")) and not np.array_equal(profit, reference):
            raise SystemExit(f"{name}: other profits than mmlib on all threads")
    print(f"{'':34s}ns a path-step   gym-style / this      this / C")
    for name, nanoseconds in best.items():
        c = best.get("SIMD C, " + name.partition(", ")[2], np.nan)
        print(
            f"{name:34s}{nanoseconds:14.2f}{best['gym-style environment'] / nanoseconds:19.1f}{nanoseconds / c:14.2f}"
        )
    print("means of the profit agree within 4 standard errors; C and mmlib are equal to the last bit")


if __name__ == "__main__":
    main()
