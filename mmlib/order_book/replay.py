"""Quotes run through recorded events, with a place in the queue, latency, fees and the exchange's own rules.

    feed = replay.feed(events, tick=0.01, lot=100)
    state = replay.start(feed, order_size=100, step=100_000_000, latency=1_000_000, queue="back")
    replay.run(feed, state, policy, parameters)      # or replay.step(feed, state, wanted), decision by decision
    fills = replay.fills(state)

**Time.** Decisions are at t_k = first time + k·step, after everything that has arrived by then; there is none once
nothing is left. Of things at one time, in this order: data reach the strategy, responses reach it, data reach the
exchange, requests reach it. Buses keep their order.

**Orders** are post-only: one that would cross on arrival expires. An order fills, at its price, when the other side's
touch reaches it; when a trade goes beyond it; and when a trade at it reaches it in the queue. With `partial` it then
gets what of the trade is left for it, else all. A request for an order that is gone does nothing.

**Queue.** What is ahead of an order at its level, of `lot`s:

    back        all that was there on arrival; less by every trade, at most the level's size
    power n     also less by its share of what left without a trade, 1 − p, p = bⁿ/(bⁿ + frontⁿ), b what is behind
    front       nothing: the first trade at its price (a bound, not a model)

The orders are not in the market that was recorded, so nobody answers them: a replay overstates what a maker earns by
the impact of its quotes.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from mmlib.checks import integer, positive
from mmlib.order_book import events as book
from mmlib.order_book._kernels import replay as kernels
from mmlib.order_book.events import EventError

#: A row of market data: exchange and local time (ns), size, price in ticks, depth or trade, side of the resting order.
FEED = np.dtype([("ts", "i8"), ("local", "i8"), ("qty", "f8"), ("tick", "i4"), ("kind", "i1"), ("side", "i1"),
                 ("spare", "i2")])  # fmt: skip
QUEUES = {"back": kernels.BACK, "power": kernels.POWER, "front": kernels.FRONT}
_FAULTS = {
    kernels.TOO_MANY_ORDERS: "more orders are open at once than `orders`",
    kernels.TOO_MANY_FILLS: "there are more fills than `fills`",
    kernels.TOO_MANY_MESSAGES: "more messages are on their way at once than `messages`",
}


def feed(events: pd.DataFrame, tick: float, lot: float, *, ticks: tuple[int, int] | None = None) -> np.ndarray:
    """Market data of `events` in ticks, in the order of the exchange.

    LOBSTER's rows give the trade, then the levels that changed; Binance's snapshot, changes and trades (from the
    snapshot on, no earlier in time than it).

    Parameters
    ----------
    events : DataFrame
        As in `events`.
    tick, lot : float
        Smallest step of prices, currency, and of sizes.
    ticks : pair of int, optional
        Lowest and highest tick; rows beyond it are left out. By default all.

    Returns
    -------
    ndarray of `FEED`, shape (rows,)

    Raises
    ------
    ValueError
        If a price is not a whole number of ticks, or exchange times go back.
    """
    tick, lot = positive("tick", tick, "currency"), positive("lot", lot, "units")
    lobster = bool(np.all(events["kind"] <= book.HALT))
    rows = _lobster_rows(events, tick) if lobster else _binance_rows(events, tick)
    if ticks is not None:
        low, high = (integer("ticks", t, least=0, most=2**31 - 2) for t in ticks)
        rows = rows[(rows["tick"] >= low) & (rows["tick"] <= high)]
    if len(rows) == 0:
        raise EventError("events must have market data in the range of ticks; there are none")
    if np.any(np.diff(rows["ts"]) < 0):
        raise EventError("events must be in order of the exchange's time; it goes back")
    return rows


def _in_ticks(price, tick):
    found = np.rint(price / tick)
    off = np.flatnonzero(np.abs(found * tick - price) > 1e-6 * tick + 1e-9 * np.abs(price))
    if len(off):
        raise EventError(f"tick must divide every price ({tick:g}); got a price of {price[off[0]]!r}")
    return found.astype(np.int64)


def _rows(ts, local, qty, tick, kind, side):
    rows = np.zeros(len(ts), FEED)
    rows["ts"], rows["local"], rows["qty"] = ts, local, qty
    rows["tick"], rows["kind"], rows["side"] = tick, kind, side
    return rows


def _lobster_rows(events, tick):
    """Trades, then changed levels, bid before ask; a level that left the view is emptied if it would be in view."""
    depth = book.levels(events)
    time, local = events["time_ns"].to_numpy(), events["local_ns"].to_numpy()
    trade = np.flatnonzero((events["kind"] == book.EXECUTE).to_numpy())
    parts = [(trade, 0, _in_ticks(events["price"].to_numpy()[trade], tick), events["size"].to_numpy()[trade],
              kernels.DATA_TRADE, events["side"].to_numpy()[trade])]  # fmt: skip
    for side, name, order in ((book.BID, "bid", 1), (book.ASK, "ask", 2)):
        price = np.column_stack([events[f"{name}_price_{n}"].to_numpy() for n in range(1, depth + 1)])
        size = np.column_stack([events[f"{name}_size_{n}"].to_numpy() for n in range(1, depth + 1)])
        ladder = np.full(price.shape, -1, np.int64)
        there = ~np.isnan(price)
        ladder[there] = _in_ticks(price[there], tick)
        was, had = np.roll(ladder, 1, axis=0), np.roll(size, 1, axis=0)
        was[0], had[0] = -1, 0
        last = ladder[:, -1]  # what is worse than it is out of view; with an empty last level all is in view
        for n in range(depth):
            gone = (was[:, n] >= 0) & ~np.any(ladder == was[:, n, None], axis=1)
            gone &= (last < 0) | ((was[:, n] - last) * side > 0)
            at = np.flatnonzero(gone)
            parts.append((at, 2 * order, was[at, n], np.zeros(len(at)), kernels.DATA_DEPTH, side))
        for n in range(depth):
            same = (was == ladder[:, n, None]) & (had == size[:, n, None])
            at = np.flatnonzero((ladder[:, n] >= 0) & ~np.any(same, axis=1))
            parts.append((at, 2 * order + 1, ladder[at, n], size[at, n], kernels.DATA_DEPTH, side))
    row = np.concatenate([part[0] for part in parts])
    rank = np.concatenate([np.full(len(part[0]), part[1]) for part in parts])
    kind = np.concatenate([np.full(len(part[0]), part[4]) for part in parts])
    side = np.concatenate([np.broadcast_to(part[5], len(part[0])) for part in parts])
    level, qty = (np.concatenate([part[i] for part in parts]) for i in (2, 3))
    order = np.lexsort((rank, row))
    row = row[order]
    return _rows(time[row], local[row], qty[order], level[order], kind[order], side[order])


def _binance_rows(events, tick):
    """From the snapshot on, no earlier than it, in order of the exchange's time."""
    kind = events["kind"].to_numpy()
    snapshots = np.flatnonzero(kind == book.SNAPSHOT)
    if not len(snapshots):
        raise EventError("events must have a snapshot: without one there is no book to quote in")
    if len(np.unique(events["message"].to_numpy()[snapshots])) > 1:
        raise EventError("events must have one snapshot; after a gap replay the parts one by one")
    begin = int(snapshots[0])
    used = np.flatnonzero(np.isin(kind, (book.SNAPSHOT, book.DEPTH, book.TRADE)))
    part = events.iloc[used[used >= begin]]
    ts = np.maximum(part["time_ns"].to_numpy(), int(events["time_ns"].iloc[begin]))
    order = np.argsort(ts, kind="stable")
    data = np.where(part["kind"].to_numpy() == book.TRADE, kernels.DATA_TRADE, kernels.DATA_DEPTH)
    local, size, side = (part[name].to_numpy() for name in ("local_ns", "size", "side"))
    columns = (ts, local, size, _in_ticks(part["price"].to_numpy(), tick), data, side)
    return _rows(*(column[order] for column in columns))


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
    queue : {"back", "power", "front"}
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
    lot, order_size = positive("lot", lot, "units"), positive("order_size", order_size, "units")
    if abs(order_size / lot - round(order_size / lot)) > 1e-9 or round(order_size / lot) < 1:
        raise ValueError(f"order_size must be a whole number of lots ({lot:g}); got {order_size!r}")
    room = [integer(name, value, least=1) for name, value in
            (("orders", orders), ("fills", fills), ("messages", messages), ("books", books))]  # fmt: skip
    three = (latency,) * 3 if np.ndim(latency) == 0 else tuple(latency)
    if len(three) != 3:
        raise ValueError(f"latency must be one number or three (ns); got {latency!r}")
    waits = [-1 if i == 0 and wait is None else integer("latency", wait, least=0, meaning="ns")
             for i, wait in enumerate(three)]  # fmt: skip
    if waits[0] < 0 and (np.any(np.diff(feed["local"]) < 0) or np.any(feed["local"] < feed["ts"])):
        raise ValueError("latency must be given: the feed's local times go back, or are before the exchange's")
    low, high = int(feed["tick"].min()), int(feed["tick"].max())
    state = np.zeros(room[3], _state_dtype(*room[:3], high - low + 1))
    state["now"], state["step"] = feed["ts"][0], integer("step", step, least=1, meaning="ns")
    for name, value in dict(
        feed_latency=waits[0], entry_latency=waits[1], response_latency=waits[2], lot=lot, order_size=round(order_size / lot),
        queue=QUEUES[queue], power=positive("power", power), partial=bool(partial), lowest=low, bid=kernels.NO_BID,
        ask=kernels.NO_ASK, seen_bid=kernels.NO_BID, seen_ask=kernels.NO_ASK,
    ).items():  # fmt: skip
        state[name] = value
    leave = np.full((len(state), 2), kernels.NONE)
    step_(feed, state, leave)
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
    step_(feed, state, np.asarray(wanted, np.int64).reshape(len(state), 2))


def step_(feed, state, wanted):
    kernels.step(feed, state, wanted)
    if state["fault"].any():
        raise RuntimeError(f"start must be given more room: {_FAULTS[int(state['fault'].max())]}")


def run(feed: np.ndarray, state: np.ndarray, policy: Callable, *parameters: float) -> None:
    """Run every book to the end with a compiled policy: `policy(book, *parameters)` gives ticks of bid and ask.

    `book` is a record of the state: what a policy may use are `now`, `seen_bid`, `seen_ask`, `known_position`,
    `order_size` and `decision`.

    Raises
    ------
    RuntimeError
        If the room given to `start` is not enough.
    """
    kernels.run(feed, state, policy, parameters)
    if state["fault"].any():
        raise RuntimeError(f"start must be given more room: {_FAULTS[int(state['fault'].max())]}")


def fills(state: np.ndarray, which: int = 0) -> pd.DataFrame:
    """Fills of a book: time_ns, side (+1 bought), tick, size, mid (half ticks, before the fill), waited_ns."""
    s = state[which]
    n = int(s["fills"])
    return pd.DataFrame(
        {
            "time_ns": s["fill_time"][:n],
            "side": s["fill_side"][:n],
            "tick": s["fill_tick"][:n],
            "size": s["fill_size"][:n],
            "mid": s["fill_mid"][:n],
            "waited_ns": s["fill_waited"][:n],
        }
    )


def _state_dtype(orders, fills, messages, ticks):
    whole = ["now", "step", "cursor", "decision", "feed_latency", "entry_latency", "response_latency", "lowest", "bid",
             "ask", "seen_bid", "seen_ask", "queue", "resting", "sent", "fills", "fault", "touches", "touch_first",
             "answers", "answer_first", "requests", "request_first"]  # fmt: skip
    whole += ["order_size", "position", "cash", "known_position"]
    real = ["lot", "power"]
    fields = [(name, "i8") for name in whole] + [(name, "f8") for name in real] + [("done", "?"), ("partial", "?")]
    fields += [(name, "i8", orders) for name in ("side", "tick", "at_exchange", "known", "arrived", "number", "left",
                                                 "known_left")]  # fmt: skip
    fields += [(name, "f8", orders) for name in ("ahead", "traded")]
    fields += [(name, "i8", messages) for name in ("touch_time", "touch_bid", "touch_ask")]
    fields += [(name, "i8", 4 * orders) for name in ("answer_time", "answer_what", "answer_order", "request_time",
                                                     "request_what", "request_order", "request_number")]  # fmt: skip
    fields += [("answer_size", "i8", 4 * orders), ("fill_size", "i8", fills)]
    fields += [(name, "i8", fills) for name in ("fill_time", "fill_side", "fill_tick", "fill_mid", "fill_waited")]
    return np.dtype([*fields, ("bids", "f8", ticks), ("asks", "f8", ticks)], align=True)
