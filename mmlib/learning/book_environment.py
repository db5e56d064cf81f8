"""Recorded order books as an environment: one step is from one decision of the replay to the next.

The engine is `order_book.replay`, with its queues, latencies and rules; nothing is played out here. Decisions are at
t_k = first time of the day + k·horizon/steps, k = 1 … steps − 1; at k = steps, the horizon, the episode is over.

    days = [replay.feed(events, tick=0.01, lot=1) for events in …]
    grid = dict(tick=0.01, lot=1, order_size=100, horizon=23_000, steps=230_000, max_inventory=5)
    env = BookEnv(days, **grid, phi=0.001, latency=1_000_000)
    table = quotes(env, policy)                              # a policy of time and inventory as Quotes
    episode(env, table, day=3), episode(env, table, day=3, queue="front")

**Seen** is only what has arrived by t_k, with the feed's and the answers' latency. `observations` is "inventory":
[t/T, q/scale], q the orders held as far as is known; or "book": these, the spread and the move of the mid since the
last decision, in ticks (while a side is empty, the last spread and mid).

`actions` is "mid" (distances of bid and ask from the mid that is seen, ticks), "touch" (the same from the own side's
best price), "spread_skew" (h, s: bid h + s, ask h − s from the mid, ticks), all in a box `low` … `high`, where NaN is
no order; or "levels" (whole numbers: n is `low` + n ticks from the touch, the last is no order). Prices are rounded to
ticks away from the mid and never cross the touch that is seen; at ±max_inventory only the side that leads back is
quoted.

`reward` is "realised", the change of cash + q·mid at the exchange less fees, or "damped", that less max(0, eta·q·Δm):
what the position gained from the mid's move counts 1 − eta, what it lost counts in full (Spooner, Fearnley, Savani &
Koukorinis 2018, asymmetrically dampened). The penalty is subtracted from both: phi q² dt a step, alpha q² at the
end. The realised rewards of an episode add up to its profit less the penalty.

Nobody answered the orders, since nobody saw them. How many were ahead no file says: `between` gives the front of the
queue and the back. And one day is one sample: `judge` learns on the first days, chooses on the next, tests once.

Importing this module registers "mmlib/Book-v0" for gymnasium.make and make_vec (extra ``rl``).
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from mmlib import optional
from mmlib.checks import choice, integer, positive
from mmlib.learning._books import ACTIONS, OBSERVATIONS, REWARDS
from mmlib.learning._evolution import climb
from mmlib.learning._protocol import Verdict, judge
from mmlib.market_making import Quotes
from mmlib.market_making.quotes import one_sided
from mmlib.market_making.strategies import linear_skew
from mmlib.order_book import replay

__all__ = ["ACTIONS", "OBSERVATIONS", "REWARDS", "BookEnv", "BookVectorEnv", "Episode", "Learned", "Verdict", "between",
           "episode", "judge", "learn", "parts", "quotes"]  # fmt: skip


def quotes(env, policy) -> Quotes:
    """The policy as `Quotes`: what it would quote at every time and inventory, currency from the mid.

    Parameters
    ----------
    env : BookEnv or BookVectorEnv
        With observations "inventory" and actions "mid" or "spread_skew".
    policy : callable
        Observations (N, 2), float32, to actions (N, 2).

    Raises
    ------
    ValueError
        If the environment's policies are no tables, or an action is outside the box.
    """
    rules = env.unwrapped.rules
    if rules.observations != "inventory" or rules.actions not in ("mid", "spread_skew"):
        raise ValueError(
            'env must have the observations "inventory" and the actions "mid" or "spread_skew" for its policies to be'
            f" tables of distances; got {rules.observations!r} and {rules.actions!r}"
        )
    bid, ask = np.empty((2, rules.steps, len(rules.inventory)))
    for k in range(rules.steps):
        bid[k], ask[k] = rules.offsets(policy(rules.observe(k, rules.inventory)), len(rules.inventory))
    bid, ask = one_sided(rules.inventory, rules.tick * bid, rules.tick * ask)
    return Quotes(rules.times, rules.inventory, bid, ask, float(rules.horizon), size=rules.order_size)


class Episode(NamedTuple):
    """What a day paid; money in currency.

    Attributes
    ----------
    profit : float
        Cash and the position at the mid of the horizon, less fees.
    at_touch : float
        The same with the position sold, or bought back, at the best price of the other side.
    penalty : float
        phi Σ q² dt + alpha q_T².
    position : float
        Orders held at the horizon.
    fills : int
        Their number.
    """

    profit: float
    at_touch: float
    penalty: float
    position: float
    fills: int

    @property
    def score(self):
        """Profit less penalty: the sum of the realised rewards."""
        return self.profit - self.penalty


def episode(env, table, day, queue=None) -> Episode:
    """A day of `table` in the replay's compiled loop: what stepping the environment by it would pay.

    Parameters
    ----------
    env : BookEnv or BookVectorEnv
    table : Quotes
        In currency; of any times, but the size of the environment's orders. Beyond its horizon nothing is quoted.
    day : int
    queue : str, optional
        Another queue than the environment's.

    Raises
    ------
    ValueError
        If the table has another size or inventories, a hard limit, or a longer horizon.
    """
    rules = env.unwrapped.rules
    day = integer("day", day, least=0, most=len(rules.days) - 1, meaning="number of a day")
    Q = rules.max_inventory
    if not isinstance(table, Quotes) or (table.inventory[0], table.inventory[-1]) != (-Q, Q) or table.limit is not None:
        raise ValueError(f"table must be Quotes from −{Q} to {Q} orders, without a hard limit; got {table!r}")
    if table.size != rules.order_size or table.horizon > rules.horizon:
        raise ValueError(
            f"table must have the size {rules.order_size:g} and a horizon of at most {rules.horizon:g} s;"
            f" got {table.size:g} and {table.horizon:g}"
        )
    feed = rules.days[day]
    state = rules.begin(day, 1, **({} if queue is None else {"queue": choice("queue", queue, tuple(replay.QUEUES))}))
    replay.run(feed, state, *replay.quoter(table, rules.tick))
    book, end = state[0], feed["ts"][0] + rules.step * rules.steps
    n = np.searchsorted(book["fill_time"][: book["fills"]], end, side="right")  # what comes after it does not count
    time, side, size, price = (book[f"fill_{name}"][:n] for name in ("time", "side", "size", "tick"))
    signed = side * size
    at = feed["ts"][0] + rules.step * np.arange(2, rules.steps + 1)
    held = np.append(0, np.cumsum(signed))[np.searchsorted(time, at, side="right")] / book["order_size"]
    bid, ask = rules.ends[day]
    lots, cash, unit = int(signed.sum()), -int(signed @ price), rules.tick * rules.lot
    fees = unit * rules.maker_fee * int(np.abs(signed) @ price)
    penalty = rules.phi * float(np.sum(held**2)) * rules.step / 1e9 + rules.alpha * float(held[-1]) ** 2
    mid, touch = 0.5 * (2 * cash + lots * int(bid + ask)), cash + lots * int(bid if lots > 0 else ask)
    return Episode(unit * mid - fees, unit * touch - fees, penalty, float(held[-1]), int(n))


def between(env, table, day) -> dict[str, Episode]:
    """The day at the back of the queue and at the front of it: what the file does not say lies between.

    Of fills, that is: an order is filled at the front no later than at the back. Profits need not keep that order.
    """
    return {queue: episode(env, table, day, queue) for queue in ("back", "front")}


@dataclass(frozen=True, eq=False)
class Learned:
    """What the evolution strategy found.

    Attributes
    ----------
    table : Quotes
        Of the last half-spread and skew.
    path : ndarray, shape (rounds + 1, 2)
        Half-spread and skew per order held, price, the first ones included.
    episodes : int
        Days replayed in all.
    """

    table: Quotes
    path: np.ndarray
    episodes: int


def learn(env, half_spread, skew, *, days=None, rounds=20, spread=0.3, seed=0, watch=None, start=None) -> Learned:
    """The half-spread and skew of `strategies.linear_skew` with the best mean score of the days, by evolution.

    Antithetic directions of the two logarithms on the same days, as in `glass_box.learn`.

    Parameters
    ----------
    env : BookEnv or BookVectorEnv
    half_spread, skew : float
        Where to begin, price, > 0.
    days : sequence of int, optional
        Numbers of the days to learn on; all by default.
    rounds : int
        Of eight policies each.
    spread : float
        Width of the search in the logarithms.
    seed : int
    watch, start
        As in `glass_box.learn`.
    """
    rules = env.unwrapped.rules
    days = range(len(rules.days)) if days is None else list(days)
    if not len(days):
        raise ValueError("days must name one day at least to learn on")
    first = np.log([positive("half_spread", half_spread, "price"), positive("skew", skew, "price per order")])

    def table(x):
        q = linear_skew(*np.exp(x), float(rules.horizon), rules.max_inventory, 1)
        return Quotes(q.times, q.inventory, q.bid, q.ask, q.horizon, size=rules.order_size)

    def estimate(x, _):
        return np.mean([episode(env, table(x), day).score for day in days])

    path = climb(estimate, first, rounds=rounds, spread=spread, seed=seed, watch=watch, start=start)
    return Learned(table(path[-1]), np.exp(path), 8 * len(days) * (len(path) - 1))


def parts(feed, seconds, *, lot) -> list[np.ndarray]:
    """A feed cut every `seconds`; each part begins with the book as it stands, and ends with the first row of the next.

    Parts of a day are not days: they share its news, and what is chosen on the morning is not tested by the afternoon.

    Raises
    ------
    ValueError
        If the feed is shorter than `seconds`.
    """
    span = round(positive("seconds", seconds) * 1e9)
    begin, end = int(feed["ts"][0]), int(feed["ts"][-1])
    if end - begin <= span:
        raise ValueError(f"seconds must be below the {(end - begin) / 1e9:.9g} s of the feed; got {seconds!r}")
    cuts = np.arange(begin, end - span + 1, span)
    state = replay.start(feed, lot=lot, order_size=lot, step=span)
    found: list[np.ndarray] = []
    for cut in cuts:
        rows = feed[np.searchsorted(feed["ts"], cut, "right") if len(found) else 0 :]
        rows = rows[: np.searchsorted(rows["ts"], cut + span, "right") + 1]
        if len(found):
            rows = np.concatenate([_snapshot(state[0], cut), rows])
            replay.step(feed, state, np.full((1, 2), -1))
        found.append(rows)
    return found


def _snapshot(book, time):
    """Rows of depth that set the levels of a book, bids first, at one time."""
    tick = book["lowest"] + np.arange(len(book["bids"]))
    kept = [(1, book["bids"], tick <= book["bid"]), (-1, book["asks"], tick >= book["ask"])]
    rows = []
    for side, sizes, there in kept:
        there = np.flatnonzero(there & (sizes > 0))
        part = np.zeros(len(there), replay.FEED)
        part["ts"] = part["local"] = time
        part["qty"], part["tick"], part["kind"], part["side"] = sizes[there], tick[there], 1, side
        rows.append(part)
    return np.concatenate(rows)


def __getattr__(name):
    if name in ("BookEnv", "BookVectorEnv"):  # only where the import below was not made
        optional.load("gymnasium", "rl", "the environments on recorded books")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if find_spec("gymnasium") is not None:  # registers the id
    from mmlib.learning._book_environments import BookEnv, BookVectorEnv
