"""Proximal policy optimisation (Schulman, Wolski, Dhariwal, Radford & Klimov 2017), by Stable-Baselines3.

    policy = ppo.train(environment.MarketMakingVectorEnv(1024, market, …), 4_000_000, seed=0)   # extra "deep" (torch)
    ppo.save(policy, "policy.npz")
    policy = ppo.load("policy.npz", env)                                                        # and without torch
    quotes = environment.quotes(env, policy)                                                    # to be judged exactly

A policy is a network of two hidden layers of tanh from what is seen to an action: its output in [−1, 1] spans the box
of actions. It is trained with Gaussian noise on that output, and used without.

Files are plain arrays and a text in JSON (which chain the policy was trained in, and how), read without executing
anything: Stable-Baselines3's own archives run code of their author's when they are loaded, and are not read here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmlib import optional
from mmlib.checks import integer, number, positive
from mmlib.learning import saved

#: The policies that the chapter judges, with their datasheet.
SHIPPED = Path(__file__).parents[2] / "data" / "learning"
#: Length of a rollout (steps of each environment), minibatches of it, passes over it.
ROLLOUT, BATCHES, EPOCHS = 25, 4, 4
#: First learning rate; λ of the advantages; first ln of the noise's deviation.
RATE, LAMBDA, LOG_STD = 3e-3, 0.9, -1.0
#: Told of steps done, steps to do, and the state as arrays by name.
Watch = Callable[[int, int, dict[str, np.ndarray]], None]
#: Units of the two hidden layers, of the policy and of the critic.
WIDTH = 32
#: Rollouts between two states from which training can be continued.
SEGMENT = 8


@dataclass(frozen=True, eq=False)
class Policy:
    """A trained policy: a function of observations (N, d) that returns actions (N, a).

    Attributes
    ----------
    weights, biases : sequence of ndarray
        Layer by layer: (inputs, outputs) and (outputs,).
    low, high : ndarray, shape (a,)
        Ends of the box of actions.
    about : dict
        What JSON can hold: the `environment` (as `describe` has it), how it was trained (`offset`, `rate`, `seed`,
        `steps`), `cpu_seconds` and `versions`.
    """

    weights: Sequence[np.ndarray]
    biases: Sequence[np.ndarray]
    low: np.ndarray
    high: np.ndarray
    about: dict[str, Any]

    def __call__(self, seen):
        """Actions (N, a) at the observations `seen` (N, d), without noise."""
        x = np.asarray(seen, float)
        for W, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.tanh(x @ W + b)
        x = np.clip(x @ self.weights[-1] + self.biases[-1], -1, 1)
        return self.low + (x + 1) / 2 * (self.high - self.low)


def describe(env) -> dict[str, Any]:
    """The rules of an environment: their numbers and names, the market's, and the box; no tables or data."""
    about: dict[str, Any] = {}
    for entry in (entry for entry in fields(env.unwrapped.rules) if entry.init):
        value = getattr(env.unwrapped.rules, entry.name)
        if entry.name == "market":
            about[entry.name] = asdict(value)
        elif entry.name in ("low", "high"):
            about[entry.name] = value.tolist()
        elif value is None or isinstance(value, bool | int | float | str):
            about[entry.name] = value
    return about


def train(
    env,
    steps,
    seed,
    *,
    offset=0.0,
    rate=RATE,
    watch: Callable[[int, int, dict[str, np.ndarray]], None] | None = None,
    start=None,
):
    """Train a policy; the last one is returned, whatever it is worth.

    Parameters
    ----------
    env : MarketMakingVectorEnv
        Or another `gymnasium.vector.VectorEnv` with autoreset in the same step.
    steps : int
        Steps of all environments together, rounded up to whole rollouts of 25 steps of each.
    seed : int
        Of the first weights, the noise and the episodes. The same seed on the same processor and the same versions
        gives the same policy, interrupted or not.
    offset : float
        Taken off the reward of each step: changes no optimum where episodes are of one length, but the critic need not
        learn how much is still to come (`environment` centres the expected reward by itself, the realised one not).
    rate : float
        First learning rate; it falls linearly to a tenth.
    watch : callable, optional
        Called after every eight rollouts with the steps done, those to do, and the state as arrays by name.
    start : dict of ndarray, optional
        A state to continue from, as `watch` was given it, by the same environment, steps and seed.

    Returns
    -------
    Policy

    Raises
    ------
    ImportError
        Without Stable-Baselines3 and torch.
    ValueError
        If an argument is out of range, or `start` is no state of such a training.
    """
    steps = integer("steps", steps, least=1, meaning="steps of all environments together")
    seed = integer("seed", seed, least=0, most=2**32 - 1, meaning="seed of the training")
    offset = number("offset", offset, "taken off the reward of each step, currency")
    rate = positive("rate", rate, "learning rate")
    torch = optional.load("torch", "deep", "PPO's training")
    sb3 = optional.load("stable_baselines3", "deep", "PPO's training")
    per_rollout = ROLLOUT * env.num_envs
    rollouts = -(-steps // per_rollout)
    done, begun, threads = 0, time.process_time(), torch.get_num_threads()
    torch.set_num_threads(1)  # the layers are small, and sums have one order
    try:
        model = sb3.PPO(
            "MlpPolicy",
            _adapter(env, offset),
            n_steps=ROLLOUT,
            batch_size=per_rollout // BATCHES,
            n_epochs=EPOCHS,
            learning_rate=lambda _: rate * (1 - 0.9 * done / rollouts),
            gamma=1.0,
            gae_lambda=LAMBDA,
            policy_kwargs=dict(net_arch=dict(pi=[WIDTH] * 2, vf=[WIDTH] * 2), log_std_init=LOG_STD),
            seed=seed,
            device="cpu",
        )
        spent = 0.0
        if start is not None:
            done, spent = _restored(model, start, per_rollout, rollouts), float(start["cpu_seconds"])
        while done < rollouts:
            # a segment has a seed of its own: nothing but weights and Adam's moments is carried over
            model.set_random_seed(int(np.random.SeedSequence([seed, done]).generate_state(1)[0]))
            model.set_env(model.get_env(), force_reset=True)
            todo = min(SEGMENT, rollouts - done)
            model.learn(todo * per_rollout, reset_num_timesteps=False)
            done += todo
            if watch is not None:
                elapsed = np.array(spent + time.process_time() - begun)
                watch(done * per_rollout, rollouts * per_rollout, _state(model) | {"cpu_seconds": elapsed})
    finally:
        torch.set_num_threads(threads)
    about = {
        "environment": describe(env), "offset": offset, "rate": rate, "seed": seed, "steps": rollouts * per_rollout,
        "cpu_seconds": round(spent + time.process_time() - begun, 1),
        "versions": {name: version(name) for name in ("numpy", "torch", "stable-baselines3")},
    }  # fmt: skip
    return of_state(env, _state(model), about)


def _adapter(env, offset):
    """Stable-Baselines3's face of a Gymnasium `VectorEnv`; actions in [−1, 1] span its box."""
    from gymnasium.spaces import Box
    from stable_baselines3.common.vec_env import VecEnv

    box = env.single_action_space
    if not isinstance(box, Box) or not np.all(np.isfinite([box.low, box.high])):
        raise ValueError(f"env must have a box of actions with finite ends; got {box}")

    class Adapter(VecEnv):
        def __init__(self):
            super().__init__(env.num_envs, env.single_observation_space, Box(-1, 1, box.shape, np.float32))

        def reset(self):
            seen, _ = env.reset(seed=self._seeds[0])
            self._reset_seeds()
            return seen

        def step_async(self, actions):
            self._actions = box.low + (np.clip(actions, -1, 1) + 1) / 2 * (box.high - box.low)

        def step_wait(self):
            seen, reward, ended, truncated, info = env.step(self._actions)
            done = ended | truncated
            infos = [{} for _ in range(self.num_envs)]
            for j in np.flatnonzero(done):
                infos[j] = {"terminal_observation": info["final_obs"][j], "TimeLimit.truncated": bool(truncated[j])}
            return seen, reward - offset, done, infos

        def close(self):
            env.close()

        def get_attr(self, attr_name, indices=None):
            return [getattr(env, attr_name, None)] * len(list(self._get_indices(indices)))

        def set_attr(self, attr_name, value, indices=None):
            raise NotImplementedError

        def env_method(self, method_name, *args, indices=None, **kwargs):
            raise NotImplementedError

        def env_is_wrapped(self, wrapper_class, indices=None):
            return [False] * len(list(self._get_indices(indices)))

    return Adapter()


def _moments(model):
    """Names and tensors of the weights, and Adam's averages of each."""
    for name, weights in model.policy.named_parameters():
        yield name, weights, model.policy.optimizer.state[weights]


def _state(model):
    state = {"steps_done": np.array(model.num_timesteps)}
    for name, weights, adam in _moments(model):
        state[name] = weights.detach().numpy().copy()
        state |= {f"{name}:{part}": value.detach().numpy().copy() for part, value in adam.items()}
    return state


def _restored(model, state, per_rollout, rollouts):
    """Rollouts done; the model is given the state."""
    import torch

    shapes = {name: tuple(weights.shape) for name, weights, _ in _moments(model)}
    shapes |= {f"{name}:{part}": shape for name, shape in shapes.items() for part in ("exp_avg", "exp_avg_sq")}
    shapes |= {f"{name}:step": () for name in shapes if ":" not in name}
    saved.check("start", state, shapes | {"steps_done": (), "cpu_seconds": ()})
    done, rest = divmod(int(state["steps_done"]), per_rollout)
    if rest or done > rollouts or (done % SEGMENT and done < rollouts):
        raise ValueError(f"start must be a state of this training; it has {int(state['steps_done'])} steps done")
    for name, weights, adam in _moments(model):
        weights.data = torch.tensor(state[name])
        adam |= {part: torch.tensor(state[f"{name}:{part}"]) for part in ("step", "exp_avg", "exp_avg_sq")}
    model.num_timesteps = int(state["steps_done"])
    return done


def of_state(env, state: dict[str, np.ndarray], about: dict[str, Any] | None = None) -> Policy:
    """The policy of a state of the training in `env`, as `train` gives it to `watch`."""
    layers = ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net")
    weights, biases = ([state[f"{layer}.{kind}"].T for layer in layers] for kind in ("weight", "bias"))
    box = env.single_action_space
    return Policy(weights, biases, box.low.astype(float), box.high.astype(float), about or {})


def save(policy, path) -> None:
    """Write a policy to a file, policy.npz."""
    saved.write(path, pack(policy))


def pack(policy) -> bytes:
    """The bytes of the file of a policy."""
    arrays = {f"weights_{n}": W for n, W in enumerate(policy.weights)}
    arrays |= {f"biases_{n}": b for n, b in enumerate(policy.biases)}
    return saved.pack("policy", arrays | {"low": policy.low, "high": policy.high}, policy.about)


def load(path, env=None) -> Policy:
    """Read a policy from a file.

    Parameters
    ----------
    path : str or path
    env : MarketMakingEnv or MarketMakingVectorEnv, optional
        Where it is to be used: the chain, the objective, the actions and their box, and the scale of what is seen must
        be those that the policy was trained with. The reward need not; and the table that residual actions are added
        to is not in the file.

    Returns
    -------
    Policy

    Raises
    ------
    ValueError
        If the file is no policy's: arrays of objects, wrong names, shapes that do not fit, numbers that are not finite;
        or is that of another environment.
    OSError
        If it cannot be read.
    """
    arrays, about = saved.unpack(path, "policy")
    layers = sum(name.startswith("weights_") for name in arrays)
    widths = [np.shape(arrays.get(f"biases_{n}", ())) for n in range(layers)]
    if not layers or any(len(width) != 1 for width in widths):
        raise ValueError(f"{path} must have arrays weights_0, biases_0, …, low, high; got {', '.join(arrays)}")
    inputs = np.shape(arrays.get("weights_0", ()))[:1]
    shapes = {f"biases_{n}": width for n, width in enumerate(widths)}
    shapes |= {f"weights_{n}": (*before, *width) for n, (before, width) in enumerate(pairwise([inputs, *widths]))}
    saved.check(path, arrays, shapes | {"low": widths[-1], "high": widths[-1]})
    if not np.all(arrays["low"] < arrays["high"]):
        raise ValueError(f"{path}: low must be below high; got {arrays['low']} and {arrays['high']}")
    if env is not None:
        trained, wanted = about.get("environment"), describe(env)
        for name, value in wanted.items():
            got = trained.get(name) if isinstance(trained, dict) else None
            if name != "reward" and got != value:
                raise ValueError(f"{path} must be a policy of an environment with {name} = {value}; its is {got}")
    weights, biases = ([arrays[f"{kind}_{n}"] for n in range(layers)] for kind in ("weights", "biases"))
    return Policy(weights, biases, arrays["low"], arrays["high"], about)
