"""Gymnasium's faces of recorded books: one maker, and many side by side on one day."""

import gymnasium
import numpy as np

from mmlib.checks import integer
from mmlib.learning._books import BookRules, Books


def _spaces(rules):
    ends = [[0, -np.inf], [1, np.inf]]
    if rules.observations == "book":
        ends = [[*ends[0], 0, -np.inf], [*ends[1], np.inf, np.inf]]
    seen = gymnasium.spaces.Box(*(np.array(end, np.float32) for end in ends))
    if rules.actions == "levels":
        return seen, gymnasium.spaces.MultiDiscrete(np.full(2, int(rules.high[0] - rules.low[0]) + 2))
    return seen, gymnasium.spaces.Box(rules.low.astype(np.float32), rules.high.astype(np.float32))


class BookEnv(gymnasium.Env):
    """One maker on days of recorded books; see `book_environment` for what it sees, does and is paid.

    Parameters
    ----------
    days : list of ndarray
        Feeds, one a day, as `replay.feed` makes them, each longer than `horizon`.
    tick, lot, order_size : float
        As given to `replay.feed` and `replay.start`.
    horizon : float
        Seconds from the first row of a day to the end of its episode.
    steps : int
        Decisions in that time, the last one at the horizon, >= 2; horizon/steps is a whole number of ns.
    max_inventory : int
        Orders, known to be held, from which on only the side that leads back is quoted.
    reward : {"realised", "damped"}
    actions : {"mid", "touch", "spread_skew", "levels"}
    observations : {"inventory", "book"}
    phi, alpha : float
        Running (currency/(orders² s)) and final (currency/orders²) penalty, >= 0.
    eta : float
        Damping, > 0 with "damped".
    low, high : float
        Ends of the offsets, ticks (of the half-spread for "spread_skew", whose skew is in ±high).
    scale : float, optional
        Inventory that is seen as 1; `max_inventory` by default.
    maker_fee : float
        Share of the value of a fill.
    **options
        As for `replay.start`: latency, queue, power, partial, orders, fills, messages.

    Raises
    ------
    ValueError
        If an argument is out of range or not one of those listed, or a day is no feed, too short or without a book at
        the horizon; in `step` if the action is outside the box.
    """

    def __init__(self, days, **options):
        self.rules = _rules(days, options)
        self.observation_space, self.action_space = _spaces(self.rules)
        self.books = None

    def reset(self, *, seed=None, options=None):
        """To the first decision of the day ``options["day"]``, else of one drawn; observation and {"day": number}."""
        super().reset(seed=seed)
        day = _day(self.rules, self.np_random, options)
        self.books = Books(self.rules, day, 1)
        return self.books.observe()[0], {"day": day}

    def step(self, action):
        """Quote until the next decision; the infos are position (orders), profit and at_touch (currency).

        They are what the exchange knows, not what was seen: the profit so far with the position at the mid, and sold
        or bought at the best price of the other side.
        """
        if self.books is None or self.books.done:
            raise ValueError("reset must be called before the first step and after the last one")
        (reward,) = self.books.step(np.asarray(action)[None])
        info = {name: float(value[0]) for name, value in self.books.account().items()}
        return self.books.observe()[0], float(reward), self.books.done, False, info


class BookVectorEnv(gymnasium.vector.VectorEnv):
    """`num_envs` makers who do not see each other, side by side on one day in one call of the replay's kernel.

    The step that ends the episodes returns the first observations of the next ones, all on another day that is drawn,
    and the last observations as ``info["final_obs"]``. Each book keeps its fills and messages, a megabyte and more: for
    many books give less room (`fills`, `messages`).

    Parameters
    ----------
    num_envs : int
    days, **options
        As in `BookEnv`.
    """

    render_mode = None

    def __init__(self, num_envs=1, days=None, **options):
        self.num_envs = integer("num_envs", num_envs, least=1, meaning="number of environments")
        self.rules = _rules(days, options)
        self.metadata = {"render_modes": [], "autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = _spaces(self.rules)
        batched = gymnasium.vector.utils.batch_space
        self.observation_space = batched(self.single_observation_space, self.num_envs)
        self.action_space = batched(self.single_action_space, self.num_envs)
        self.books = None

    def reset(self, *, seed=None, options=None):
        """As `BookEnv.reset`; observations (num_envs, d)."""
        super().reset(seed=seed)
        day = _day(self.rules, self.np_random, options)
        self.books = Books(self.rules, day, self.num_envs)
        return self.books.observe(), {"day": np.full(self.num_envs, day)}

    def step(self, actions):
        """As `BookEnv.step`; arrays over the environments."""
        if self.books is None:
            raise ValueError("reset must be called before the first step")
        reward, never = self.books.step(actions), np.zeros(self.num_envs, bool)
        seen, info = self.books.observe(), self.books.account()
        if not self.books.done:
            return seen, reward, never, never.copy(), info
        first, begun = self.reset()
        return first, reward, ~never, never.copy(), info | begun | {"final_obs": seen, "_final_obs": ~never}


def _rules(days, options):
    names = {name for name, entry in BookRules.__dataclass_fields__.items() if entry.init}
    own = {name: value for name, value in options.items() if name in names}
    missing = sorted({"horizon", "steps", "max_inventory", "tick", "lot", "order_size"} - own.keys())
    if missing:
        raise ValueError(f"{missing[0]} must be given")
    return BookRules(days, **own, options={name: value for name, value in options.items() if name not in names})


def _day(rules, rng, options):
    last = len(rules.days) - 1
    strangers = set(options or {}) - {"day"}
    if strangers:
        raise ValueError(f'options must be {{"day": number}}; got {sorted(strangers)[0]!r}')
    drawn = int(rng.integers(last + 1))
    return integer("day", (options or {}).get("day", drawn), least=0, most=last, meaning="number of a day")


gymnasium.register(
    "mmlib/Book-v0",
    entry_point="mmlib.learning._book_environments:BookEnv",
    vector_entry_point="mmlib.learning._book_environments:BookVectorEnv",
)
