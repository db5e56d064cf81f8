"""Market data of `replay`: rows of depth and trades in ticks, in the order of the exchange."""

import numpy as np
import pandas as pd

from mmlib.checks import integer, positive
from mmlib.order_book import events as book
from mmlib.order_book._kernels import replay as kernels
from mmlib.order_book.events import EventError

#: A row of market data: exchange and local time (ns), size, price in ticks, depth or trade, side of the resting order.
#: Where orders are followed, also what leaves a queue without a trade; there `local` is when that order came, or −1.
FEED = np.dtype([("ts", "i8"), ("local", "i8"), ("qty", "f8"), ("tick", "i4"), ("kind", "i1"), ("side", "i1"),
                 ("spare", "i2")])  # fmt: skip


def feed(
    events: pd.DataFrame, tick: float, lot: float, *, ticks: tuple[int, int] | None = None, orders: bool = False
) -> np.ndarray:
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
    orders : bool
        Whether to follow LOBSTER's orders by their numbers, which the queue "orders" needs.

    Returns
    -------
    ndarray of `FEED`, shape (rows,)

    Raises
    ------
    ValueError
        If a price is not a whole number of ticks, exchange times go back, or orders have no numbers of their own.
    """
    tick, lot = positive("tick", tick, "currency"), positive("lot", lot, "units")
    lobster = bool(np.all(events["kind"] <= book.HALT))
    if orders and not lobster:
        raise EventError("orders must be False: only LOBSTER's events have orders' numbers")
    rows = _lobster_rows(events, tick, orders) if lobster else _binance_rows(events, tick)
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


def _lobster_rows(events, tick, orders):
    """Trades, then changed levels, bid before ask; a level that left the view is emptied if it would be in view.

    Before them, where `orders`, what leaves a queue without a trade.
    """
    depth = book.levels(events)
    time, local = events["time_ns"].to_numpy(), events["local_ns"].to_numpy()
    trade = np.flatnonzero((events["kind"] == book.EXECUTE).to_numpy())
    parts = [(trade, 0, _in_ticks(events["price"].to_numpy()[trade], tick), events["size"].to_numpy()[trade],
              kernels.DATA_TRADE, events["side"].to_numpy()[trade])]  # fmt: skip
    left = np.flatnonzero(events["kind"].isin((book.CANCEL, book.DELETE)).to_numpy() & orders)
    parts.append((left, 1, _in_ticks(events["price"].to_numpy()[left], tick), events["size"].to_numpy()[left],
                  kernels.DATA_LEAVE, events["side"].to_numpy()[left]))  # fmt: skip
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
    row, kind = row[order], kind[order]
    known = np.where(kind == kernels.DATA_LEAVE, _came(events)[row], local[row]) if orders else local[row]
    return _rows(time[row], known, qty[order], level[order], kind, side[order])


def _came(events):
    """Time at which each row's order was submitted, −1 where that was before the events or out of view."""
    submitted = events[events["kind"] == book.SUBMIT]
    if not submitted["order_id"].is_unique:
        twice = submitted["order_id"][submitted["order_id"].duplicated()].iloc[0]
        raise EventError(f"events must submit an order once for its queue to be known; {twice} comes twice")
    time = pd.Series(submitted["time_ns"].to_numpy(), submitted["order_id"].to_numpy())
    return events["order_id"].map(time).fillna(-1).to_numpy(np.int64)


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
