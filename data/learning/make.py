"""Trains the policies of this folder and writes how their exact regret fell, `curves.csv`.

    .venv-deep/bin/python data/learning/make.py [NAME ...]      # all, or some; one core, about 40 s each

Needs torch and Stable-Baselines3 (`make .venv-deep/ok`); the last policy of each run is kept, whatever it is worth.
Another processor or version trains other policies, of about the same worth.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from mmlib.learning import environment, ppo
from mmlib.market_making import Market, evaluate, glft

HERE = Path(__file__).parent
STEPS = 4_096_000
PHI = 0.2
MARKET = Market(sigma=2.0, A=140.0, k=1.5)
CHAIN = dict(horizon=1.0, steps=200, max_inventory=30)
INCOME = 2 * MARKET.A * CHAIN["horizon"] / CHAIN["steps"] / (np.e * MARKET.k)  # of a step, without risk aversion

#: Options of the environment and of the training by the name of the run; the seed is the name's last digit.
RUNS = {
    **{f"expected_{seed}": (dict(reward="centred"), {}) for seed in range(3)},
    **{f"realised_{seed}": (dict(reward="realised"), dict(offset=INCOME)) for seed in range(3)},
    "expected_uncentred_0": (dict(reward="expected"), {}),
    "realised_uncentred_0": (dict(reward="realised"), {}),
    "residual_expected_0": (dict(reward="centred", actions="residual"), dict(rate=3e-4)),
    "residual_realised_0": (dict(reward="realised", actions="residual"), dict(rate=3e-4, offset=INCOME)),
}


def world(options):
    """The 1,024 environments of a run."""
    box = dict(low=0.0, high=1.5)
    if options.get("actions") == "residual":
        box = dict(low=-0.1, high=0.1, base=glft.quotes(MARKET, gamma=2 * PHI / MARKET.sigma**2, **CHAIN))
    return environment.MarketMakingVectorEnv(1024, MARKET, phi=PHI, scale=3.0, **CHAIN, **box, **options)


def run(name):
    """Train one policy, keep it, and return the rows of its curve: steps, CPU seconds, regret in %."""
    options, training = RUNS[name]
    env, rows = world(options), []
    top = evaluate.penalised(MARKET, environment.optimum(MARKET, phi=PHI, **CHAIN), PHI)

    def watch(done, total, state):
        value = evaluate.penalised(MARKET, environment.quotes(env, ppo.of_state(env, state)), PHI)
        rows.append([name, done, f"{state['cpu_seconds']:.1f}", f"{100 * (1 - value / top):.4f}"])
        print(*rows[-1], flush=True)

    ppo.save(ppo.train(env, STEPS, int(name[-1]), watch=watch, **training), HERE / f"{name}.npz")
    return rows


if __name__ == "__main__":
    path, names = HERE / "curves.csv", sys.argv[1:] or list(RUNS)
    old = list(csv.reader(path.open(encoding="utf-8")))[1:] if path.exists() else []
    for name in names:
        old = [row for row in old if row[0] != name] + run(name)
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["run", "steps", "cpu_seconds", "regret_percent"])
            writer.writerows(sorted(old, key=lambda row: (list(RUNS).index(row[0]), int(row[1]))))
