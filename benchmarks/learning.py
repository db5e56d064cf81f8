"""Learning where the optimum is known: the environment's speed, and what the learners without a sample lose.

    python benchmarks/learning.py                      # with PPO: .venv-deep/bin/python, `make .venv-deep/ok`

The market is Avellaneda and Stoikov's in 200 steps, Q 30. Times are CPU seconds, the least of several runs. Gymnasium's
SyncVectorEnv, and Stable-Baselines3's DummyVecEnv where it is installed, run the same single environment; figures that
are cited were measured elsewhere, on another machine, and stand beside as orders of magnitude only. PPO runs where
torch is installed, as for the policies of data/learning.
"""

import math
import time
from importlib.util import find_spec

import gymnasium
import numpy as np
from threadpoolctl import threadpool_limits

from mmlib.learning import environment, glass_box, policy_gradient
from mmlib.learning._kernels import steps as kernel
from mmlib.market_making import Market, evaluate

AS = Market(2.0, 140.0, 1.5)
CHAIN = dict(horizon=1.0, steps=200, max_inventory=30)
PENALTY = dict(phi=0.2)
MBT_GYM = {128: 607, 1024: 176}  # cited, ns a step of an environment
DUMMY, SYNC = 3450, 3730  # cited


def least(work, times=10):
    """Least CPU time of `times` runs, seconds: other work on the machine is not in it."""
    taken = []
    for _ in range(times):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


def kernel_step(n):
    """Seconds of a step of the kernel for one of n environments."""
    bid, ask = np.random.default_rng(0).uniform(0.4, 0.9, (2, n))
    inventory, reward, streams = np.zeros(n, np.int64), np.empty(n), kernel.states(1, n)
    carry, money = -(np.linspace(-1, 1, 61) ** 2), (AS.k / math.log(2), math.log2(AS.A / 200), 0.0, 0.14)

    def run():
        for _ in range(2000):
            kernel.step(inventory, bid, ask, streams, money, carry, True, reward)

    run()
    return least(run) / 2000 / n


def face_step(n):
    """Seconds of a step of the vector environment, box check, observations and resets included."""
    env = gymnasium.make_vec(
        "mmlib/MarketMaking-v0", num_envs=n, vectorization_mode="vector_entry_point", market=AS, **CHAIN, **PENALTY
    )
    env.reset(seed=0)
    actions = np.full((n, 2), 0.7, np.float32)

    def run():
        for _ in range(1000):
            env.step(actions)

    run()
    return least(run) / 1000 / n


def one():
    return environment.MarketMakingEnv(AS, **CHAIN, **PENALTY)


def sync_step(n, steps=40):
    """The same of Gymnasium's SyncVectorEnv of single environments."""
    envs = gymnasium.vector.SyncVectorEnv([one] * n)
    envs.reset(seed=0)
    actions = np.full((n, 2), 0.7, np.float32)
    return least(lambda: [envs.step(actions) for _ in range(steps)], 3) / steps / n


def dummy_step(n, steps=40):
    """The same of Stable-Baselines3's DummyVecEnv; None where it is not installed."""
    if find_spec("stable_baselines3") is None:
        return None
    from stable_baselines3.common.vec_env import DummyVecEnv

    envs = DummyVecEnv([one] * n)
    envs.reset()
    actions = np.full((n, 2), 0.7, np.float32)
    return least(lambda: [envs.step(actions) for _ in range(steps)], 3) / steps / n


def speed():
    print("ns a step of one environment")
    for n in (128, 1024, 8192):
        ours = 1e9 * kernel_step(n)
        cited = f", {MBT_GYM[n] / ours:.0f} times the speed of mbt_gym's cited {MBT_GYM[n]}" if n in MBT_GYM else ""
        print(f"  kernel, {n:,} environments: {ours:.1f}{cited}")
    for n in (64, 1024):
        ours, sync, dummy = 1e9 * face_step(n), 1e9 * sync_step(n), dummy_step(n)
        print(f"  VectorEnv, {n:,} environments: {ours:.0f}")
        print(f"    {sync / ours:.0f} times the speed of SyncVectorEnv, {sync:,.0f} here, {SYNC:,} cited")
        if dummy is None:
            print(
                f"    {DUMMY / ours:.0f} times DummyVecEnv's cited {DUMMY:,}: stable_baselines3 is not installed here"
            )
        else:
            print(f"    {1e9 * dummy / ours:.0f} times the speed of DummyVecEnv, {1e9 * dummy:,.0f} here")
        if n in MBT_GYM:
            print(f"    {MBT_GYM[n] / ours:.1f} times mbt_gym's cited {MBT_GYM[n]}, which is not installed here")
    print()


def gradients():
    best = evaluate.penalised(AS, environment.optimum(AS, **CHAIN, **PENALTY), **PENALTY, scheme="bernoulli")
    print(f"exact gradient, penalty, optimum {best:.8f}")
    for learn, more in ((policy_gradient.law, {}), (policy_gradient.network, dict(rounds=40))):
        with threadpool_limits(1):  # a second thread of matrix products this small only waits
            learned = learn(AS, **CHAIN, **PENALTY, **more)
            taken = least(lambda learn=learn, more=more: learn(AS, **CHAIN, **PENALTY, **more), 3)
        value = evaluate.penalised(AS, learned.quotes, **PENALTY, scheme="bernoulli")
        print(f"  {learn.__name__}: {100 * (1 - value / best):.5f} % below it after {taken:.2f} CPU seconds")
    print()


def brackets():
    print("bracket of the optimum's own table")
    for objective in (PENALTY, dict(phi=1.0), dict(gamma=0.1), dict(gamma=1.0)):
        found = environment.bracket(AS, environment.optimum(AS, **CHAIN, **objective), **objective)
        print(f"  {objective}: {found.value:.8f}, width {found.bound - found.value:.1e}")
    print()


def regimes():
    market, gamma = Market(2.0, 140.0, 1.5), 0.1
    switching = glass_box.Regimes([1.0, 6.0], [[-2.0, 2.0], [8.0, -8.0]])
    best = glass_box.optimum(market, switching, gamma=gamma, **CHAIN)
    top = glass_box.certainty_equivalent(market, switching, best, gamma)
    print(f"glass box, volatility 1 and 6, optimum {top:.8f}; learned from simulated episodes, seeds 0, 1, 2")
    for realised in (False, True):
        begin, lost = time.process_time(), []
        for seed in range(3):
            learned = glass_box.learn(market, switching, gamma, seed=seed, realised=realised, **CHAIN)
            quotes = glass_box.formula(market, switching.mean_sigma, learned.gammas, **CHAIN)
            lost.append(100 * (1 - glass_box.certainty_equivalent(market, switching, quotes, gamma) / top))
        name = "mid drawn" if realised else "mid integrated out"
        print(
            f"  {name}: {', '.join(f'{x:.3f}' for x in lost)} % below it after {learned.episodes:,} episodes,"
            f" {(time.process_time() - begin) / 3:.1f} CPU seconds"
        )


def ppo_runs():
    if not all(map(find_spec, ("torch", "stable_baselines3"))):
        print("PPO: torch and stable_baselines3 are not installed here; data/learning/curves.csv has what they learned")
        return
    from mmlib.learning import ppo

    best = evaluate.penalised(AS, environment.optimum(AS, **CHAIN, **PENALTY), **PENALTY, scheme="bernoulli")
    income = 2 * AS.A * CHAIN["horizon"] / CHAIN["steps"] / (math.e * AS.k)  # of a step, without risk aversion
    for reward, offset in (("centred", 0.0), ("realised", income)):
        begin, lost = time.process_time(), []
        for seed in range(3):
            env = environment.MarketMakingVectorEnv(
                1024, AS, **CHAIN, **PENALTY, reward=reward, low=0.0, high=1.5, scale=3.0
            )
            quotes = environment.quotes(env, ppo.train(env, 4_096_000, seed, offset=offset))
            lost.append(100 * (1 - evaluate.penalised(AS, quotes, **PENALTY, scheme="bernoulli") / best))
        print(
            f"PPO, reward {reward}, last policies of seeds 0, 1, 2: {', '.join(f'{x:.3f}' for x in lost)} % below the"
            f" optimum after 4,096,000 steps, {(time.process_time() - begin) / 3:.0f} CPU seconds"
        )


if __name__ == "__main__":
    speed()
    gradients()
    brackets()
    regimes()
    ppo_runs()
