"""What the environments on recorded books share: the days, the rules, and books side by side on one of the days."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmlib.checks import choice, integer, nonnegative, number, positive
from mmlib.market_making.quotes import inventory_grid, time_grid
from mmlib.order_book import replay

REWARDS = ("realised", "damped")
ACTIONS = ("mid", "touch", "spread_skew", "levels")
OBSERVATIONS = ("inventory", "book")
NO_ORDER = -1  # the replay's tick for none
_SLACK = 1e-9  # ticks: a distance meant to end on a tick does, as in replay.quoter


@dataclass(frozen=True, eq=False)
class BookRules:
    """Days, what is seen, what may be done, what it pays; arguments as `book_environment.BookEnv` describes them."""

    days: Sequence[np.ndarray]
    horizon: float
    steps: int
    max_inventory: int
    tick: float
    lot: float
    order_size: float
    reward: str = "realised"
    actions: str = "mid"
    observations: str = "inventory"
    phi: float = 0.0
    alpha: float = 0.0
    eta: float = 0.0
    low: float = 0.0
    high: float = 20.0
    scale: float | None = None
    maker_fee: float = 0.0
    options: dict = field(default_factory=dict)
    times: np.ndarray = field(init=False)
    inventory: np.ndarray = field(init=False)
    step: int = field(init=False)
    ends: np.ndarray = field(init=False)

    def __post_init__(self):
        choice("reward", self.reward, REWARDS)
        choice("actions", self.actions, ACTIONS)
        choice("observations", self.observations, OBSERVATIONS)
        times, q = time_grid(self.horizon, self.steps), inventory_grid(self.max_inventory)
        integer("steps", self.steps, least=2, meaning="decisions, the last one at the horizon")
        step = round(self.horizon * 1e9 / len(times))
        if step < 1 or abs(step * len(times) - self.horizon * 1e9) > 0.5:
            raise ValueError(f"horizon / steps must be whole nanoseconds; got {self.horizon!r} / {self.steps!r}")
        for name, meaning in (("phi", "currency/(orders² s)"), ("alpha", "currency/orders²"), ("eta", "share")):
            nonnegative(name, getattr(self, name), meaning)
        if (self.reward == "damped") != (self.eta > 0):
            raise ValueError(f'eta must be > 0 with the reward "damped", and 0 without; got {self.eta!r}')
        low, high = number("low", self.low, "least offset, ticks"), number("high", self.high, "largest offset, ticks")
        if self.actions == "levels":
            low, high = integer("low", low, meaning="ticks"), integer("high", high, meaning="ticks")
        if not low < high:
            raise ValueError(f"low must be below high (offsets, ticks); got {low!r} and {high!r}")
        ends = (np.array([low, -high if self.actions == "spread_skew" else low]), np.full(2, high))
        scale = float(self.max_inventory) if self.scale is None else self.scale
        reserved = {"step", "books", "lot", "order_size"} & set(self.options)
        if reserved:
            raise ValueError(f"options must be replay.start's, without {sorted(reserved)[0]!r}, which the rules set")
        for name, value in dict(
            low=ends[0],
            high=ends[1],
            scale=positive("scale", scale, "inventory that is seen as 1, orders"),
            tick=positive("tick", self.tick, "currency"),
            maker_fee=number("maker_fee", self.maker_fee, "share of the value"),
            times=times,
            inventory=q,
            step=step,
            days=_checked(self.days),
        ).items():
            object.__setattr__(self, name, value)
        touches = [self._touch_at_the_horizon(day) for day in range(len(self.days))]
        object.__setattr__(self, "ends", np.array(touches))

    def _touch_at_the_horizon(self, day):
        """Bid and ask of the exchange at the horizon of a day, ticks; ValueError where there are none."""
        feed, span = self.days[day], self.step * self.steps
        if not feed["ts"][-1] - feed["ts"][0] > span:
            covered = (feed["ts"][-1] - feed["ts"][0]) / 1e9
            raise ValueError(f"horizon must be below the {covered:.9g} s of day {day}; got {self.horizon!r}")
        state = self.begin(day, 1, step=span)
        bid, ask = int(state["bid"][0]), int(state["ask"][0])
        if not 0 <= bid < ask < 2**31:
            raise ValueError(f"days must have a bid and an ask at the horizon; day {day} has not")
        return bid, ask

    def begin(self, day, books, **options):
        """State of `books` books at the first decision of a day."""
        common = dict(lot=self.lot, order_size=self.order_size, step=self.step, books=books)
        return replay.start(self.days[day], **(common | self.options | options))

    def offsets(self, actions, books):
        """Bid and ask offsets in ticks, NaN for no order, each (books,); ValueError outside the box."""
        actions = np.asarray(actions, float)
        if actions.shape != (books, 2):
            raise ValueError(f"action must have shape {(books, 2)}, (books, sides); got {actions.shape}")
        if self.actions == "levels":
            last = self.high[0] - self.low[0] + 1
            if not np.all((actions >= 0) & (actions <= last) & (actions == np.floor(actions))):
                raise ValueError(f"action must be whole numbers from 0 to {last:g}; got {actions!r}")
            actions = np.where(actions == last, np.nan, actions + self.low[0])
            return actions[:, 0], actions[:, 1]
        near = 1e-6 * (self.high - self.low)  # the box of float32
        inside = np.isnan(actions) | ((actions >= self.low - near) & (actions <= self.high + near))
        if not np.all(inside):
            raise ValueError(f"action must be in the box {self.low} … {self.high} or NaN; got {actions[~inside][0]}")
        if self.actions == "spread_skew":
            return actions[:, 0] + actions[:, 1], actions[:, 0] - actions[:, 1]
        return actions[:, 0], actions[:, 1]

    def observe(self, decision, inventory, *more):
        """[t/T, q/scale, …] of each inventory at a decision, float32."""
        seen = np.empty((len(inventory), 2 + len(more)), np.float32)
        seen[:, 0], seen[:, 1] = decision / self.steps, inventory / self.scale
        for n, column in enumerate(more):
            seen[:, 2 + n] = column
        return seen


def _checked(days):
    if isinstance(days, np.ndarray) or not isinstance(days, Sequence) or len(days) == 0:
        raise ValueError(f"days must be a list of feeds, as replay.feed makes them; got {type(days).__name__}")
    for n, feed in enumerate(days):
        if not isinstance(feed, np.ndarray) or feed.dtype != replay.FEED or feed.ndim != 1 or len(feed) == 0:
            raise ValueError(f"days must be feeds, as replay.feed makes them; day {n} is {type(feed).__name__}")
        if np.any(np.diff(feed["ts"]) < 0):
            raise ValueError(f"days must be in order of the exchange's time; in day {n} it goes back")
    return tuple(days)


class Books:
    """Books side by side on one day, from decision to decision; money in half ticks × lots until it is paid out."""

    def __init__(self, rules, day, books):
        self.rules, self.feed = rules, rules.days[day]
        self.state = rules.begin(day, books)
        self.decision = 1
        self._toll = np.zeros(books, np.int64)
        self._booked = self.state["fills"].copy()
        self._held = np.zeros(books, np.int64)
        self._mid = self._last_mid(np.zeros(books, np.int64))
        self._seen = self._move = np.full(books, np.nan)
        self._look()
        if rules.observations == "book" and np.isnan(self._seen).any():
            raise ValueError(f"days must show a bid and an ask by the first decision; by {rules.step} ns none arrived")

    def _last_mid(self, before):
        """Bid plus ask of the exchange; while a side is empty, what it was."""
        bid, ask = self.state["bid"], self.state["ask"]
        return np.where((bid >= 0) & (ask < 2**31), bid + ask, before)

    def _look(self):
        """Take what has arrived: where both sides are shown, the mid and how far it went since the last decision."""
        bid, ask = self.state["seen_bid"], self.state["seen_ask"]
        self._quoted = (bid >= 0) & (ask < 2**31)
        now = np.where(self._quoted, 0.5 * (bid + ask), self._seen)
        self._move = np.where(np.isnan(self._seen), 0.0, now - self._seen)
        self._spread = np.where(self._quoted, ask - bid, self._spread if self.decision > 1 else np.nan)
        self._seen = now

    @property
    def inventory(self):
        """Orders held, as far as is known."""
        return self.state["known_position"] / self.state["order_size"]

    def observe(self):
        more = (self._spread, self._move) if self.rules.observations == "book" else ()
        return self.rules.observe(self.decision, self.inventory, *more)

    def _wanted(self, actions):
        """Ticks of bid and ask, rounded away from the mid and never across the touch that is seen; as replay.quoter."""
        rules, s = self.rules, self.state
        below, above = rules.offsets(actions, len(s))
        touch = rules.actions in ("touch", "levels")
        bid, ask = np.where(self._quoted, s["seen_bid"], 0), np.where(self._quoted, s["seen_ask"], 0)
        q = np.rint(self.inventory)
        wanted = np.full((len(s), 2), NO_ORDER)
        use = self._quoted & ~np.isnan(below) & (q < rules.max_inventory)
        price = np.floor((bid if touch else 0.5 * (bid + ask)) - np.where(use, below, 0) + _SLACK)
        wanted[use, 0] = np.maximum(np.minimum(price, ask - 1), NO_ORDER)[use]
        use = self._quoted & ~np.isnan(above) & (q > -rules.max_inventory)
        price = np.ceil((ask if touch else 0.5 * (bid + ask)) + np.where(use, above, 0) - _SLACK)
        wanted[use, 1] = np.maximum(price, bid + 1)[use]
        return wanted

    def step(self, actions):
        """Quote until the next decision; rewards, shape (books,)."""
        rules, s = self.rules, self.state
        before, held, mid, toll = self._worth(), self._held, self._mid, self._toll.copy()
        replay.step(self.feed, s, self._wanted(actions))
        self.decision += 1
        for b in np.flatnonzero(s["fills"] > self._booked):
            new = slice(self._booked[b], s["fills"][b])
            self._toll[b] += np.sum(s["fill_tick"][b, new] * s["fill_size"][b, new])
        self._booked, self._held, self._mid = s["fills"].copy(), s["position"].copy(), self._last_mid(self._mid)
        self._look()
        unit, orders = rules.tick * rules.lot, self._held / s["order_size"]
        reward = unit * (0.5 * (self._worth() - before) - rules.maker_fee * (self._toll - toll))
        reward -= rules.phi * orders**2 * (rules.step / 1e9)
        if rules.eta > 0:
            reward -= np.maximum(0.0, rules.eta * 0.5 * unit * held * (self._mid - mid))
        return reward - rules.alpha * orders**2 if self.done else reward

    def _worth(self):
        return 2 * self.state["cash"] + self._held * self._mid

    @property
    def done(self):
        return self.decision == self.rules.steps

    def account(self):
        """What the exchange knows: orders held, profit after fees with the position at the mid, and at the touch."""
        s, unit = self.state, self.rules.tick * self.rules.lot
        fees = unit * self.rules.maker_fee * self._toll
        touch = np.where(self._held > 0, s["bid"], s["ask"])
        known = np.where((touch >= 0) & (touch < 2**31), touch, np.nan)
        sold = np.where(self._held == 0, 0.0, self._held * known)
        return {
            "position": self._held / s["order_size"],
            "profit": 0.5 * unit * self._worth() - fees,
            "at_touch": unit * (s["cash"] + sold) - fees,
        }
