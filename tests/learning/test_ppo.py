"""PPO: the shipped policies judged exactly; with torch, that training reaches what it must and can be continued."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mmlib.learning import environment, ppo
from mmlib.market_making import Market, evaluate, glft

AS = Market(2.0, 140.0, 1.5)
CHAIN = dict(horizon=1.0, steps=200, max_inventory=30)
SMALL = dict(horizon=0.1, steps=20, max_inventory=3)
SHIPPED = Path(__file__).parents[2] / "data" / "learning"
OPTIMUM = 66.87495904  # of the reference
INCOME = 2 * 140 / 200 / np.e / 1.5


def deep(test):
    """Run by `make deep`, and there only with Stable-Baselines3."""
    absent = importlib.util.find_spec("stable_baselines3") is None
    test = pytest.mark.filterwarnings("ignore")(test)  # of torch's own imports
    return pytest.mark.deep(pytest.mark.skipif(absent, reason="Stable-Baselines3 is not installed (extra deep)")(test))


def world(name):
    """The environment of a shipped run, written out again."""
    how = dict(low=0.0, high=1.5)
    if name.startswith("residual"):
        how = dict(actions="residual", low=-0.1, high=0.1, base=glft.quotes(AS, gamma=0.1, **CHAIN))
    return environment.MarketMakingEnv(AS, phi=0.2, scale=3.0, **CHAIN, **how)


def regret(env, policy):
    """In % of the optimum, by the evaluator."""
    return 100 * (1 - evaluate.penalised(AS, environment.quotes(env, policy), 0.2) / OPTIMUM)


def curves():
    with (SHIPPED / "curves.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("name", "most"),
    [*((f"expected_{seed}", 0.2) for seed in range(3)), *((f"realised_{seed}", 0.7) for seed in range(3))],
)
def test_the_last_policy_of_each_seed_is_within_the_goal_in_a_minute(name, most):
    """0.2 % with the expected reward and 0.7 % with the realised one; the seconds are those that the run counted."""
    env = world(name)
    policy = ppo.load(SHIPPED / f"{name}.npz", env)
    assert 0 < regret(env, policy) <= most
    assert policy.about["cpu_seconds"] <= 60 and policy.about["seed"] == int(name[-1])


def test_the_curves_end_in_the_shipped_policies():
    """Exact regrets again, from the files, to the printed digits (and a unit for another processor's tanh)."""
    last = {row["run"]: float(row["regret_percent"]) for row in curves()}
    assert {f"{name}.npz" for name in last} == {path.name for path in SHIPPED.glob("*.npz")}
    for name, value in last.items():
        env = world(name)
        assert regret(env, ppo.load(SHIPPED / f"{name}.npz", env)) == pytest.approx(value, abs=1.5e-4)


def test_a_reward_that_is_not_centred_and_a_classical_start_are_worse_off():
    """The chapter's three claims, of the shipped files."""
    found = {row["run"]: float(row["regret_percent"]) for row in curves()}
    assert found["expected_uncentred_0"] > 5 * max(found[f"expected_{seed}"] for seed in range(3))
    base = 100 * (1 - evaluate.penalised(AS, glft.quotes(AS, gamma=0.1, **CHAIN), 0.2) / OPTIMUM)
    assert found["residual_realised_0"] > base
    assert min(found[f"realised_{seed}"] for seed in range(3)) > max(found[f"expected_{seed}"] for seed in range(3))


def test_without_the_extra_the_message_names_it():
    if importlib.util.find_spec("stable_baselines3") is not None:
        pytest.skip("Stable-Baselines3 is installed")
    env = environment.MarketMakingVectorEnv(4, AS, phi=0.2, **SMALL)
    with pytest.raises(ImportError, match=r"PPO's training need (torch|stable_baselines3): pip install .mmlib\[deep\]"):
        ppo.train(env, 100, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(steps=0), "steps must be an integer and >= 1"),
        (dict(steps=1.5), "steps must be an integer"),
        (dict(seed=-1), "seed must be an integer and >= 0"),
        (dict(seed=2**32), "seed must be an integer and >= 0 and <= 4294967295"),
        (dict(offset=np.nan), "offset must be finite"),
        (dict(rate=0.0), "rate must be > 0"),
    ],
)
def test_bad_settings_are_refused_before_torch_is_asked_for(change, message):
    env = environment.MarketMakingVectorEnv(4, AS, phi=0.2, **SMALL)
    with pytest.raises(ValueError, match=message):
        ppo.train(env, **{"steps": 100, "seed": 0} | change)


@deep
def test_one_seed_of_two_fifths_of_the_budget_comes_within_three_quarters_of_a_percent():
    """The reference has 0.56 to 0.75 % after 6 s of 130,000 steps; here are twice as many, and the last policy."""
    env = environment.MarketMakingVectorEnv(1024, AS, phi=0.2, low=0.0, high=1.5, scale=3.0, **CHAIN)
    assert 0 < regret(env, ppo.train(env, 1_560_000, seed=5)) < 0.75


@deep
def test_an_interrupted_training_ends_in_the_same_bits():
    """20 rollouts in one go, and continued from the state after the first eight and after the next eight."""
    envs = [environment.MarketMakingVectorEnv(16, AS, phi=0.2, scale=3.0, **SMALL) for _ in range(3)]
    states = []
    whole = ppo.train(envs[0], 20 * 400, seed=7, watch=lambda done, todo, state: states.append((done, todo, state)))
    assert [s[:2] for s in states] == [(3200, 8000), (6400, 8000), (8000, 8000)]
    for (_, _, state), env in zip(states, envs, strict=True):
        again = ppo.train(env, 20 * 400, seed=7, start=state)
        assert all(map(np.array_equal, again.weights, whole.weights))
        assert all(map(np.array_equal, again.biases, whole.biases))
        assert again.about["cpu_seconds"] >= float(state["cpu_seconds"]) - 0.05
    other = ppo.train(envs[0], 20 * 400, seed=8)
    assert not np.array_equal(other.weights[0], whole.weights[0])
    with pytest.raises(ValueError, match="start must be a state of this training"):
        ppo.train(envs[0], 100, seed=7, start=states[0][2])
    with pytest.raises(ValueError, match="start must have the arrays"):
        ppo.train(envs[0], 8000, seed=7, start={"steps_done": np.array(0)})
    broken = states[0][2] | {"action_net.bias": np.full(2, np.nan)}
    with pytest.raises(ValueError, match=r"action_net.bias must be finite"):
        ppo.train(envs[0], 8000, seed=7, start=broken)


@deep
def test_the_forward_pass_in_numpy_is_torchs():
    """torch's own layers with the shipped weights, in double precision: to 4e-9, the reference's figure."""
    import torch

    policy = ppo.load(SHIPPED / "expected_0.npz")
    layers = []
    for W, b in zip(policy.weights, policy.biases, strict=True):
        layer = torch.nn.Linear(*W.shape, dtype=torch.float64)
        layer.load_state_dict({"weight": torch.tensor(W.T).double(), "bias": torch.tensor(b).double()})
        layers += [layer, torch.nn.Tanh()]
    seen = np.random.default_rng(0).uniform([0, -10], [1, 10], (5000, 2)).astype(np.float32)
    out = torch.nn.Sequential(*layers[:-1])(torch.tensor(seen).double()).detach().numpy().clip(-1, 1)
    assert np.abs(policy(seen) - 0.75 * (1 + out)).max() < 4e-9


@deep
def test_a_state_is_what_stable_baselines_would_do():
    """Its own policy with the state's weights, without noise: to float32, 66 terms a sum and three layers."""
    from gymnasium.spaces import Box
    from stable_baselines3.common.policies import ActorCriticPolicy

    env = environment.MarketMakingVectorEnv(16, AS, phi=0.2, scale=3.0, **SMALL)
    states = []
    ours = ppo.train(env, 3200, seed=1, watch=lambda done, todo, state: states.append(state))
    box = Box(-1, 1, (2,), np.float32)
    theirs = ActorCriticPolicy(
        env.single_observation_space, box, lambda _: 1e-3, net_arch=dict(pi=[32, 32], vf=[32, 32])
    )
    import torch

    names = theirs.state_dict()
    theirs.load_state_dict({name: torch.tensor(states[0][name]) for name in names})
    seen = np.stack([env.single_observation_space.sample() for _ in range(200)])
    action, _ = theirs.predict(seen, deterministic=True)
    assert np.abs(ours(seen) - (1 + action.clip(-1, 1))).max() < 3 * 66 * 2**-23 * 2  # the box 0 … 2


@deep
def test_stable_baselines_accepts_the_environment_and_the_adapter_its_episodes():
    """Its own checker; and a finished episode hands over its last observation, not the next one's first."""
    from stable_baselines3.common.env_checker import check_env

    check_env(environment.MarketMakingEnv(AS, phi=0.2, **CHAIN))
    env = ppo._adapter(environment.MarketMakingVectorEnv(3, AS, phi=0.2, reward="realised", **SMALL), INCOME)
    other = environment.MarketMakingVectorEnv(3, AS, phi=0.2, reward="realised", **SMALL)
    env.seed(4)
    assert np.array_equal(env.reset(), other.reset(seed=4)[0])
    for step in range(20):
        seen, reward, done, infos = env.step(np.full((3, 2), -0.5))  # of the box 0 … 2: 0.5
        expected = other.step(np.full((3, 2), 0.5))
        assert np.array_equal(seen, expected[0]) and np.allclose(reward, expected[1] - INCOME, rtol=0, atol=1e-12)
        assert done.all() == (step == 19) and all(("terminal_observation" in info) == (step == 19) for info in infos)
    for j, info in enumerate(infos):
        assert np.array_equal(info["terminal_observation"], expected[4]["final_obs"][j])
        assert not info["TimeLimit.truncated"] and info["terminal_observation"][0] == 1 and seen[j, 0] == 0
