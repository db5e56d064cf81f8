"""Quotes run through recorded events, with a place in the queue, latency, fees and the exchange's own rules.

    feed = replay.feed(events, tick=0.01, lot=1)
    state = replay.start(feed, lot=1, order_size=100, step=100_000_000, latency=1_000_000, queue="back")
    replay.run(feed, state, policy, parameters)      # or replay.step(feed, state, wanted), decision by decision
    fills = replay.fills(state)

**Time.** Decisions are at t_k = first time + k·step, after everything that has arrived by then; there is none once
nothing is left. Of things at one time, in this order: data reach the strategy, responses reach it, data reach the
exchange, requests reach it. Buses keep their order.

**Orders** are post-only: one that would cross on arrival expires. An order fills, at its price, when the other side's
touch reaches it; when a trade goes beyond it; and when a trade at it reaches it in the queue. With `partial` it then
gets what is left of the trade, else all. A request for an order that is gone does nothing.

**Queue.** What is ahead of an order at its level:

    back        all that was there on arrival; less by every trade, at most the level's size
    power n     also less by its share of what left without a trade, 1 − p, p = bⁿ/(bⁿ + frontⁿ), b what is behind
    front       nothing: the first trade at its price (a bound, not a model)
    orders      exactly the orders that came before it, by number: less by every trade and each cancellation of them

"orders" needs a feed of LOBSTER's with orders=True; what came before the file began is ahead.

The orders are not in the market that was recorded, so nobody answers them: a replay overstates what a maker earns by
the impact of its quotes.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from mmlib.checks import integer, positive
from mmlib.market_making import Quotes
from mmlib.order_book._feed import FEED, feed
from mmlib.order_book._kernels import replay as kernels
from mmlib.order_book._pay import Report, fills, pay

QUEUES = {"back": kernels.BACK, "power": kernels.POWER, "front": kernels.FRONT, "orders": kernels.ORDERS}
_FAULTS = {
    kernels.TOO_MANY_ORDERS: "more orders are open at once than `orders`",
    kernels.TOO_MANY_FILLS: "there are more fills than `fills`",
    kernels.TOO_MANY_MESSAGES: "more messages are on their way at once than `messages`",
}


__all__ = ["FEED", "Report", "backtest", "feed", "fills", "pay", "quoter", "run", "start", "step"]


def start(
    feed: np.ndarray,
    *,
    lot: float,
    order_size: float,
    step: int = 100_000_000,
    latency: int | tuple[int, int, int] = 0,
    queue: str = "back",
    power: float = 3.0,
    partial: bool = False,
    books: int = 1,
    orders: int = 8,
    fills: int = 20_000,
    messages: int = 4096,
) -> np.ndarray:
    """The state before the first decision.

    Parameters
    ----------
    feed : ndarray of `FEED`
    lot, order_size : float
        Smallest step of sizes; size of an order, a whole number of lots.
    step : int
        Nanoseconds between decisions, >= 1.
    latency : int or triple of int
        Nanoseconds that data, requests and responses take (one number: each). None in place of the first: the local
        times of the feed, which must not go back.
    queue : {"back", "power", "front", "orders"}
    power : float
        n of the power queue.
    partial : bool
        Whether orders can be filled in part.
    books, orders, fills, messages : int
        Books that run side by side, and for how much in each there is room.

    Returns
    -------
    ndarray, shape (books,)
        One record a book: `now`, `decision`, `done`; what is known, `seen_bid`, `seen_ask`, `known_position`; what is,
        `bid`, `ask`, `position` (lots), `cash` (ticks × lots), `fills`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    if queue not in QUEUES:
        raise ValueError(f"queue must be one of {', '.join(map(repr, QUEUES))}; got {queue!r}")
    follows = feed["kind"] == kernels.DATA_LEAVE
    if queue == "orders" and not follows.any():
        raise ValueError('queue "orders" must have a feed made with orders=True, in which orders leave; it has none')
    lot, order_size = positive("lot", lot, "units"), positive("order_size", order_size, "units")
    if not order_size / lot < 2**53 or abs(order_size / lot - round(order_size / lot)) > 1e-9 or order_size < lot / 2:
        raise ValueError(f"order_size must be a whole number of lots ({lot:g}); got {order_size!r}")
    orders, fills, messages, books = (
        integer(name, value, least=1)
        for name, value in (("orders", orders), ("fills", fills), ("messages", messages), ("books", books))
    )
    three = latency if isinstance(latency, tuple | list) else (latency,) * 3
    if len(three) != 3:
        raise ValueError(f"latency must be one number or three (ns); got {latency!r}")
    waits = [-1 if i == 0 and wait is None else integer("latency", wait, least=0, meaning="ns")
             for i, wait in enumerate(three)]  # fmt: skip
    data = feed[~follows]
    if waits[0] < 0 and (np.any(np.diff(data["local"]) < 0) or np.any(data["local"] < data["ts"])):
        raise ValueError("latency must be given: the feed's local times go back, or are before the exchange's")
    low, high = int(feed["tick"].min()), int(feed["tick"].max())
    width = 1 << max(high - low, 1023).bit_length()  # a power of two: few sizes to compile for
    state: np.ndarray = np.zeros(books, _state_dtype(orders, fills, messages, width))
    state["now"] = state["begun"] = feed["ts"][0]
    state["step"] = integer("step", step, least=1, meaning="ns")
    for name, value in dict(
        feed_latency=waits[0], entry_latency=waits[1], response_latency=waits[2], lot=lot,
        order_size=round(order_size / lot),
        queue=QUEUES[queue], power=positive("power", power), partial=bool(partial), lowest=low, bid=kernels.NO_BID,
        ask=kernels.NO_ASK, seen_bid=kernels.NO_BID, seen_ask=kernels.NO_ASK, news=True,
    ).items():  # fmt: skip
        state[name] = value
    kernels.step(feed, state, np.full((len(state), 2), kernels.NONE))
    return state


def step(feed: np.ndarray, state: np.ndarray, wanted: np.ndarray) -> None:
    """Ask for quotes, then run each book to its next decision.

    Parameters
    ----------
    feed, state
        As from `feed` and `start`; the state is changed.
    wanted : ndarray of int, shape (books, 2)
        Ticks of bid and ask; −1 no order, −2 leave what is there. An order at that tick is kept, others are cancelled.

    Raises
    ------
    RuntimeError
        If the room given to `start` is not enough.
    """
    kernels.step(feed, state, np.asarray(wanted, np.int64).reshape(len(state), 2))
    _check_room(state)


def run(feed: np.ndarray, state: np.ndarray, policy: Callable, *parameters: float) -> None:
    """Run every book to the end with a compiled policy: `policy(book, *parameters)` gives ticks of bid and ask.

    `book` is a record of the state: what a policy may use are `now`, `seen_bid`, `seen_ask`, `known_position`,
    `order_size` and `decision`.

    Raises
    ------
    RuntimeError
        If the room given to `start` is not enough.
    """
    if policy is kernels.tabled:
        kernels.run_table(feed, state, *parameters)
    else:
        kernels.run(feed, state, policy, parameters)
    _check_room(state)


def _check_room(state):
    if state["fault"].any():
        raise RuntimeError(f"start must be given more room: {_FAULTS[int(state['fault'].max())]}")


def quoter(quotes: Quotes, tick: float) -> tuple:
    """The compiled policy of a table of quotes, and its parameters: `run(feed, state, *quoter(quotes, tick))`.

    Inventory in orders is the known position over the order's size, to the nearest whole one; the row is that of the
    time since the first row of the feed, with a unit of time of one second; from the horizon on there are no quotes.
    The prices are rounded to ticks away from the mid, and never cross the touch that is seen. Beyond a hard limit
    a taker's order brings the position back to the quotes' target, when the strategy has learned of it.
    """
    tick = positive("tick", tick, "currency")
    times = np.append(np.rint(quotes.times * 1e9), np.rint(quotes.horizon * 1e9)).astype(np.int64)
    limit, target = (-1, 0) if quotes.limit is None else (quotes.limit, quotes.target)
    ends = (times, int(quotes.inventory[0]), quotes.bid / tick, quotes.ask / tick)
    return kernels.tabled, *ends, 1e-9, limit, target


def backtest(
    events: pd.DataFrame,
    quotes: Quotes,
    *,
    tick: float,
    lot: float,
    maker_fee: float = 0.0,
    taker_fee: float = 0.0,
    horizon: int = 1_000_000_000,
    ticks: tuple[int, int] | None = None,
    **options,
) -> Report:
    """Run `quotes` through `events` and report: `feed`, `start`, `run` and `pay` in one call.

    Parameters
    ----------
    events, tick, lot, ticks
        As for `feed`.
    quotes : Quotes
        In currency; an order is `quotes.size` units, a whole number of lots. Times are seconds.
    maker_fee, taker_fee, horizon
        As for `pay`.
    **options
        As for `start`: step, latency, queue, power, partial …
    """
    rows = feed(events, tick, lot, ticks=ticks, orders=options.get("queue") == "orders")
    state = start(rows, lot=lot, order_size=quotes.size, **options)
    run(rows, state, *quoter(quotes, tick))
    return pay(rows, state, tick=tick, horizon=horizon, maker_fee=maker_fee, taker_fee=taker_fee)


def _state_dtype(orders, fills, messages, ticks):
    """A book: scalars, its orders, messages on their way in rings, its fills, the exchange's levels by tick."""

    def fields(names, kind, *shape):
        return [(name, kind, *shape) for name in names.split()]

    return np.dtype(
        [
            *fields("now begun step cursor decision fault", "i8"),
            *fields("feed_latency entry_latency response_latency queue lowest bid ask seen_bid seen_ask", "i8"),
            *fields("asked_bid asked_ask order_size position cash known_position resting sent used fills", "i8"),
            *fields("touches touch_first answers answer_first requests request_first", "i8"),
            *fields("lot power", "f8"),
            *fields("done partial news", "?"),
            *fields("side tick left known_left at_exchange known arrived number taking", "i8", orders),
            *fields("ahead traded", "f8", orders),
            *fields("touch_time touch_bid touch_ask", "i8", messages),
            *fields("answer_time answer_what answer_order answer_size", "i8", 4 * orders),
            *fields("request_time request_what request_order request_number", "i8", 4 * orders),
            *fields("fill_time fill_side fill_tick fill_size fill_mid fill_waited fill_taker", "i8", fills),
            *fields("bids asks", "f8", ticks),
        ],
        align=True,
    )
