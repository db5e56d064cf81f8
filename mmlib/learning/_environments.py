"""Gymnasium's faces of the chain: one environment, and many on one compiled kernel."""

import math

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mmlib.checks import choice, integer
from mmlib.learning._kernels import steps as kernel
from mmlib.learning._rules import Rules


def _spaces(rules):
    most = rules.max_inventory / rules.scale
    seen = Box(np.array([0, -most], np.float32), np.array([1, most], np.float32))
    return seen, Box(rules.low.astype(np.float32), rules.high.astype(np.float32))


class MarketMakingEnv(gymnasium.Env):
    """One maker in the chain; see `mmlib.learning.environment` for what it sees, does and is paid.

    Parameters
    ----------
    market : Market
        Without impact.
    horizon, steps, max_inventory
        As in `environment.optimum`.
    reward : {"centred", "expected", "realised"}
    actions : {"distances", "spread_skew", "residual", "gamma"}
    gamma, phi, alpha
        The objective, as in `environment.optimum`.
    low, high : float, optional
        Ends of the action box (of the half-spread for "spread_skew", whose skew is in ±high), price; by default
        0 … 3/k, for residuals ±1/k, for "gamma" k/1000 … 3k.
    base : Quotes, optional
        What residual actions are added to.
    scale : float, optional
        Inventory that is seen as 1; `max_inventory` by default.

    Raises
    ------
    ValueError
        If an argument is out of range or not one of those listed, or A·dt > 1; in `step` if the action is outside the
        box.
    """

    def __init__(self, market, *, horizon, steps, max_inventory, **options):
        self.rules = Rules(market, horizon, steps, max_inventory, **options)
        self.observation_space, self.action_space = _spaces(self.rules)
        self._step, self._inventory = self.rules.steps, 0

    def reset(self, *, seed=None, options=None):
        """To time 0 without inventory; returns the observation (2,) and {}."""
        super().reset(seed=seed)
        self._step, self._inventory = 0, 0
        return self._observed(), {}

    def step(self, action):
        """Quote for one step; returns observation, reward, terminated (at the horizon), False, {"inventory": q}."""
        rules, market = self.rules, self.rules.market
        if self._step >= rules.steps:
            raise ValueError("reset must be called before the first step and after the last one")
        q, most = self._inventory, rules.max_inventory
        bid, ask = map(float, np.ravel(rules.distances(self._step, np.array([q]), np.asarray(action)[None])))
        log_rate = math.log(market.A * rules.dt)
        by_bid = math.exp(min(log_rate - market.k * bid, 0.0)) if q < most else 0.0
        by_ask = math.exp(min(log_rate - market.k * ask, 0.0)) if q > -most else 0.0
        got_bid, got_ask = (u < p for u, p in zip(self.np_random.random(2).tolist(), (by_bid, by_ask), strict=True))
        self._inventory = q = q + got_bid - got_ask
        sign = 1.0 if self.np_random.random() < 0.5 else -1.0
        b, a = (by_bid, by_ask) if rules.fills_expected else (got_bid, got_ask)
        reward = b * (bid - market.fee) + a * (ask - market.fee) + sign * rules.swing * q + float(rules.carry[q + most])
        self._step += 1
        done = self._step == rules.steps
        return (
            self._observed(),
            reward + float(rules.final[q + most]) * done,
            done,
            False,
            {"inventory": self._inventory},
        )

    def _observed(self):
        return self.rules.observe(self._step, np.array([self._inventory]))[0]


class MarketMakingVectorEnv(VectorEnv):
    """`num_envs` independent makers on one compiled kernel, all at the same time of their episodes.

    Parameters
    ----------
    num_envs : int
    market, horizon, steps, max_inventory, reward, actions, gamma, phi, alpha, low, high, base, scale
        As in `MarketMakingEnv`.
    autoreset_mode : {"SameStep", "NextStep", "Disabled"} or AutoresetMode
        "SameStep", the default: the step that ends the episodes returns the first observations of the next ones, and
        the last observations as ``info["final_obs"]``.

    Environment j of a seed draws the same numbers whatever `num_envs`.
    """

    render_mode = None

    def __init__(self, num_envs=1, market=None, *, horizon, steps, max_inventory, autoreset_mode="SameStep", **options):
        self.num_envs = integer("num_envs", num_envs, least=1, meaning="number of environments")
        self.rules = Rules(market, horizon, steps, max_inventory, **options)
        mode = autoreset_mode.value if isinstance(autoreset_mode, AutoresetMode) else autoreset_mode
        self._mode = AutoresetMode(choice("autoreset_mode", mode, [one.value for one in AutoresetMode]))
        self.metadata = {"render_modes": [], "autoreset_mode": self._mode}
        self.single_observation_space, self.single_action_space = _spaces(self.rules)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        market = self.rules.market
        self._money = (
            market.k / np.log(2),
            np.log2(market.A * self.rules.dt),
            market.fee,
            self.rules.swing,
        )
        self._streams, self._step = None, self.rules.steps

    def reset(self, *, seed=None, options=None):
        """To time 0 without inventory; returns observations (num_envs, 2) and {}."""
        super().reset(seed=seed)
        if seed is not None or self._streams is None:
            first = int(self.np_random.integers(2**63)) if seed is None else integer("seed", seed, least=0)
            self._streams = kernel.states(first, self.num_envs)
        self._step, self._inventory = 0, np.zeros(self.num_envs, np.int64)
        return self.rules.observe(0, self._inventory), {}

    def step(self, actions):
        """Quote for one step in every environment; arrays over the environments, and infos."""
        rules, never = self.rules, np.zeros(self.num_envs, bool)
        if self._step >= rules.steps:
            if self._mode is not AutoresetMode.NEXT_STEP or self._streams is None:
                raise ValueError("reset must be called before the first step and after the last one")
            return self.reset()[0], np.zeros(self.num_envs), never, never.copy(), {}
        bid, ask = rules.distances(self._step, self._inventory, actions)
        reward = np.empty(self.num_envs)
        kernel.step(self._inventory, bid, ask, self._streams, self._money, rules.carry, rules.fills_expected, reward)
        self._step += 1
        seen, done = rules.observe(self._step, self._inventory), self._step == rules.steps
        if not done:
            return seen, reward, never, never.copy(), {}
        reward += rules.final[self._inventory + rules.max_inventory]
        info = {"inventory": self._inventory.copy()}
        if self._mode is AutoresetMode.SAME_STEP:
            info |= {"final_obs": seen, "_final_obs": ~never}
            seen, _ = self.reset()
        return seen, reward, ~never, never.copy(), info


gymnasium.register(
    "mmlib/MarketMaking-v0",
    entry_point="mmlib.learning._environments:MarketMakingEnv",
    vector_entry_point="mmlib.learning._environments:MarketMakingVectorEnv",
)
