"""What the environments of the chain share: actions to distances, observations, and what each step pays."""

from dataclasses import dataclass, field

import numpy as np

from mmlib.checks import choice, integer, number, positive
from mmlib.learning import _bellman
from mmlib.learning._kernels import steps as kernel
from mmlib.market_making import Market, Quotes
from mmlib.market_making.quotes import inventory_grid, time_grid

REWARDS = ("realised", "expected", "centred")
ACTIONS = ("distances", "spread_skew", "residual", "gamma")


@dataclass(frozen=True, eq=False)
class Rules:
    """The chain, what is seen of it, what may be done and what it pays; arguments as `environment` describes them."""

    market: Market
    horizon: float
    steps: int
    max_inventory: int
    reward: str = "centred"
    actions: str = "distances"
    gamma: float | None = None
    phi: float | None = None
    alpha: float = 0.0
    low: float | None = None
    high: float | None = None
    base: Quotes | None = None
    scale: float | None = None
    floor: np.ndarray = field(init=False)
    ceiling: np.ndarray = field(init=False)
    times: np.ndarray = field(init=False)
    inventory: np.ndarray = field(init=False)
    dt: float = field(init=False)
    carry: np.ndarray = field(init=False)
    final: np.ndarray = field(init=False)
    swing: float = field(init=False)

    def __post_init__(self):
        choice("reward", self.reward, REWARDS)
        choice("actions", self.actions, ACTIONS)
        times, q = time_grid(self.horizon, self.steps), inventory_grid(self.max_inventory)
        market, dt = self.market, _bellman.step_length(self.market, self.horizon, integer("steps", self.steps))
        rule = _bellman.objective(market, self.gamma, self.phi, self.alpha)
        held = np.asarray(q, float)
        if self.reward == "realised":
            carry = market.mu * held * dt - (0.0 if self.phi is None else self.phi * held**2 * dt)
        else:
            carry = rule.currency(rule.held(held, dt))
        if self.reward == "centred":
            carry = carry - 2 * market.A * dt * np.exp(-market.k * market.fee) / (np.e * market.k)
        low, high = self._box()
        scale = float(self.max_inventory) if self.scale is None else self.scale
        values = dict(
            low=low,
            high=high,
            floor=low - 1e-6 * (high - low),  # the box of float32
            ceiling=high + 1e-6 * (high - low),
            scale=positive("scale", scale, "inventory that is seen as 1, orders"),
            times=times,
            inventory=q,
            dt=dt,
            carry=carry,
            final=-self.alpha * held**2,
            swing=market.sigma * np.sqrt(dt) if self.reward == "realised" else 0.0,
        )
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def fills_expected(self):
        """Whether fills are paid by their probability: not under CARA, whose objective sees their risk."""
        return self.reward != "realised" and self.gamma is None

    def _box(self):
        """The box of an action, two arrays; by default half-spreads and distances to 3/k, γ from k/1000 to 3k."""
        k = self.market.k
        spans = {
            "distances": (0.0, 3 / k),
            "spread_skew": (0.0, 3 / k),
            "residual": (-1 / k, 1 / k),
            "gamma": (k / 1000, 3 * k),
        }
        low, high = spans[self.actions]
        low = number("low", low if self.low is None else self.low, "least action")
        high = number("high", high if self.high is None else self.high, "largest action")
        if not low < high or (self.actions == "gamma" and low <= 0):
            raise ValueError(
                f"low must be below high{' and > 0' * (self.actions == 'gamma')}; got {low!r} and {high!r}"
            )
        if (self.base is None) == (self.actions == "residual"):
            raise ValueError("base must be given for residual actions, and for no others: the Quotes they are added to")
        if self.base is not None:
            chain = (self.steps, 2 * self.max_inventory + 1)
            if not isinstance(self.base, Quotes) or self.base.bid.shape != chain or self.base.horizon != self.horizon:
                raise ValueError(
                    f"base must be Quotes of this chain, (steps, inventories) = {chain}; got {self.base!r}"
                )
        if self.actions == "spread_skew":
            return np.array([low, -high]), np.array([high, high])
        return (np.full(1 if self.actions == "gamma" else 2, end) for end in (low, high))

    def observe(self, i, inventory):
        """[t/T, q/scale] of each inventory before step `i`, shape (N, 2), float32."""
        seen = np.empty((len(inventory), 2), np.float32)
        kernel.observe(i / self.steps, inventory, self.scale, seen)
        return seen

    def distances(self, i, inventory, actions):
        """Bid and ask distances, each (N,), of the `actions` (N, d) at `inventory` (N,); ValueError outside the box."""
        actions = np.ascontiguousarray(actions, float)
        shape = (len(inventory), len(self.low))
        if actions.shape != shape:
            raise ValueError(f"action must have shape {shape}, (environments, entries); got {actions.shape}")
        column = np.empty(shape[::-1])
        if not kernel.columns(actions, self.floor, self.ceiling, column):
            wrong = ~((actions >= self.floor) & (actions <= self.ceiling)).all(1)
            raise ValueError(f"action must be in the box {self.low} … {self.high}; got {actions[wrong][0]}")
        if self.actions == "distances":
            return column[0], column[1]
        if self.actions == "spread_skew":
            return column[0] + column[1], column[0] - column[1]
        if self.actions == "gamma":
            return tanh_law(self.market, column[0], self.horizon - self.times[i], inventory)
        at = inventory + self.max_inventory
        bid, ask = (_bellman.quoted(side[i, at]) for side in (self.base.bid, self.base.ask))
        return bid + column[0], ask + column[1]


def tanh_law(market, gamma, tau, q):
    """Bid and ask of `glft.tanh_quotes` at time to go `tau` for a risk aversion a row of its own, shape of `gamma`."""
    x = gamma / market.k
    mark = np.log1p(x) / gamma
    eta = market.A * np.exp(-(1 + 1 / x) * np.log1p(x) - market.k * market.fee)
    risk = gamma * market.sigma**2
    omega = np.sqrt(2 * market.k * eta * risk)
    slope = np.tanh(omega * tau) / omega
    lean = 0.5 * risk * slope * (2 * q) - market.mu * slope
    width = mark + market.fee + 0.5 * risk * slope
    return width + lean, width - lean
