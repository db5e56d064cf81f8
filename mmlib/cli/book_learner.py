"""`train book_environment`: an agent on recorded order books, tested once on what came after it had learned."""

from typing import Any

import numpy as np
from pandas import DataFrame

from mmlib.chapter import table
from mmlib.checks import integer, positive
from mmlib.cli import league, models
from mmlib.cli.learners import Judged, Training, drawn
from mmlib.learning import book_environment, ppo, saved
from mmlib.market_making import Quotes, strategies
from mmlib.order_book import binance, lobster, replay, sources, toxicity

BOOKS = 32  # side by side, for PPO
SECOND = 1_000_000_000  # ns


def in_books(
    algorithm: str, given: dict[str, Any], timesteps: int, seed: int, data: Any, how: league.Rules
) -> Training:
    """The evolution strategy (half-spread and skew) or PPO on all parts of the data but the last, the test."""
    if how.queue == "orders":
        raise ValueError("queue must be back, power or front: the parts of a day do not know the orders before them")
    count = integer("parts", given["parts"], least=2, most=1000, meaning="of the data, the last one is the test")
    decide = positive("decide", given["decide"], "seconds between decisions")
    events = lobster.read(*data) if isinstance(data, tuple) else binance.read_capture(data)
    tick, lot = (own or fits for own, fits in zip((how.tick, how.lot), sources.steps(events), strict=True))
    feed = replay.feed(events, tick, lot)
    length = float(feed["ts"][-1] - feed["ts"][0]) / SECOND / count * (1 - 1e-9)
    days = book_environment.parts(feed, length, lot=lot)[:count]
    steps = int(length / decide) - 1
    if steps < 2:
        raise ValueError(f"decide must be at most a third of a part's {length:.4g} s; got {decide:g}")
    known = events[events["time_ns"] < days[-1]["ts"][0]]
    sizes = toxicity.prints(known)["size"].to_numpy(float)
    if not len(sizes):
        raise ValueError("events must have a trade at least before the last part; they have none")
    size = positive("size", given.get("size", max(round(float(np.median(sizes)) / lot), 1) * lot), "units of an order")
    start, end = sources.period(known)
    market = league.calibrated(known, given, tick, start, end)
    reach = given.get("high", max(10.0, 4 / market.k / tick))
    world = dict(
        tick=tick, lot=lot, order_size=size, horizon=steps * decide, steps=steps, max_inventory=given["max_inventory"],
        phi=given["phi"], low=0.0, high=reach, scale=max(1.0, given["max_inventory"] / 3), maker_fee=how.maker_fee,
        latency=how.latency, queue=how.queue, **league.room(feed, how.latency),
    )  # fmt: skip
    env = book_environment.BookEnv(days, **world)

    def learn(watch, start):
        if algorithm == "es":
            rounds = -(-timesteps // (8 * steps * (count - 1)))
            found = book_environment.learn(
                env, 1 / market.k, 0.1 / market.k, days=range(count - 1), rounds=rounds, seed=seed, watch=watch,
                start=start,
            )  # fmt: skip
            return found.table, saved.pack_quotes(found.table, market)
        many = book_environment.BookVectorEnv(BOOKS, days[:-1], **world)
        policy = ppo.train(many, timesteps, seed, watch=watch, start=start)
        return book_environment.quotes(many, policy), ppo.pack(policy)

    def judge(found):
        learned, content = found
        rows = {
            "learned": learned,
            "best constant spread of the learning parts": _constant(env, count - 1),
            "Guéant–Lehalle–Fernandez-Tapia, calibrated there": _sized(
                models.quotes("glft", market, {"max_inventory": given["max_inventory"]} | given, steps * decide), size
            ),
        }
        title = f"{count} parts of {length:.4g} s, the last one is the test; tick {tick:g}, orders of {size:g}"
        notes = [
            "score is profit at the mid less the penalty; no optimum is known on data, and one part is one sample",
            f"calibrated before the test: sigma {market.sigma:.4g}, A {market.A:.4g}, k {market.k:.4g}",
        ]
        others = list(rows.values())
        shown = {"half-way": [_at(t, 0.5 * steps * decide) for t in (others[0], others[2])]}
        return Judged(title, _table(env, rows, count), notes, content, drawn(shown, "GLFT"))

    return Training("steps" if algorithm == "ppo" else "rounds", learn, judge)


def _sized(quotes: Quotes, size: float) -> Quotes:
    return Quotes(quotes.times, quotes.inventory, quotes.bid, quotes.ask, quotes.horizon, size=size)


def _at(quotes, time):
    """Inventory, bids and asks of the row that holds at a time."""
    i = int(np.searchsorted(quotes.times, time, side="right")) - 1
    return quotes.inventory, quotes.bid[i], quotes.ask[i]


def _constant(env, learning: int) -> Quotes:
    """The constant spread with the best mean score of the parts to learn on."""
    rules = env.rules

    def table(ticks):
        quotes = strategies.constant_spread(ticks * rules.tick, rules.horizon, rules.max_inventory, 1)
        return _sized(quotes, rules.order_size)

    def loss(ticks):
        return -np.mean([book_environment.episode(env, table(ticks), day).score for day in range(learning)])

    # prices are rounded to ticks, so the score has steps: a grid of half ticks, then nothing finer
    tries = np.arange(0.5, min(rules.high[0], 30) + 0.5, 0.5)
    return table(min(tries, key=loss))


def _table(env, rows: dict[str, Quotes], count: int) -> DataFrame:
    test = {name: book_environment.between(env, quotes, count - 1) for name, quotes in rows.items()}
    before = [
        float(np.mean([book_environment.episode(env, quotes, day).score for day in range(count - 1)]))
        for quotes in rows.values()
    ]
    return table(
        {
            "": rows,
            "test, back of the queue": [ends["back"].score for ends in test.values()],
            "front": [ends["front"].score for ends in test.values()],
            "learning parts": before,
            "fills, back": [ends["back"].fills for ends in test.values()],
        }
    )
