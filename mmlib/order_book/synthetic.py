"""An order book whose truth is known: flow with a given A, k and σ, in LOBSTER's events.

The mid moves by whole ticks, up and down at rate σ²/(2 tick²) each, so that its variance is σ² a second. Around it each
side has orders at half a spread and every tick beyond. Aggressors of a side come at rate A e^{−k·half spread}, by a
Poisson or a Hawkes process, and go as deep as δ with probability e^{−k(δ − half spread)}, on the grid of ticks: so an
order pegged at δ on the grid is hit at rate A e^{−kδ}, and `calibrate.intensity` has a truth to find. What they took is
put back at once. Between them orders are added and cancelled, first in first out at a price.

A Hawkes process (Hawkes 1971) has intensity μ + Σ branching·decay·e^{−decay (t − t_i)} over its own earlier points;
with μ = (1 − branching)·rate its mean rate is the Poisson one's, and counts over long times have the Fano factor
1/(1 − branching)². Only the clustering differs.

Takers may know more: after a share `informed` of the aggressors the mid goes a tick their way, an exponential time of
mean `lag` later, so that the mean move h seconds after one is informed·tick·(1 − e^{−h/lag}). The mid's other moves
come the less often: its variance stays σ² a second where aggressors are Poisson.
"""

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib.checks import choice, in_interval, integer, nonnegative, positive
from mmlib.order_book.events import ASK, BID, CANCEL, COLUMNS, DELETE, EXECUTE, SUBMIT, book_columns, levels

#: Arguments of `lobster_events` that made the files in data/order_book.
SAMPLE = {"sigma": 0.008, "A": 0.25, "k": 30.0, "seconds": 3600.0, "levels": 3, "depth": 12, "churn": 0.2, "seed": 2026}
_AFTER = 1_000  # ns between an aggressor and what is put back


def arrivals(
    rate: float, seconds: float, rng: np.random.Generator, branching: float = 0.0, decay: float = 1.0
) -> np.ndarray:
    """Times of a Hawkes process of mean `rate` (1/s) on [0, `seconds`), from its clusters; Poisson without `branching`.

    Each immigrant has Poisson(branching) children after exponential delays of mean 1/decay, these their own, and so on
    (Hawkes & Oakes 1974). It starts empty: the first seconds have less.
    """
    branching = in_interval("branching", branching, 0, 1, open="right", meaning="children of a point")
    points = rng.uniform(0, seconds, rng.poisson((1 - branching) * rate * seconds))
    found = [points]
    while branching > 0 and len(points):
        points = np.repeat(points, rng.poisson(branching, len(points)))
        points = points + rng.exponential(1 / decay, len(points))
        points = points[points < seconds]
        found.append(points)
    return np.sort(np.concatenate(found))


@dataclass
class _Book:
    """Orders by side and tick, and the messages so far."""

    shown: int
    tick: float
    rng: np.random.Generator
    orders: dict = field(default_factory=dict)  # (side, tick) -> [[id, size], …], first in first out
    rows: list = field(default_factory=list)
    last: int = 0
    now: int = 0

    def note(self, time, kind, number, size, tick, side):
        self.now = max(self.now, time)  # what was put back may be later than what comes next
        row = [self.now, self.now, kind, number, size, tick * self.tick, side]
        ladders = {s: sorted((t for at, t in self.orders if at == s), reverse=s == BID) for s in (ASK, BID)}
        for n in range(self.shown):
            for s in (ASK, BID):
                there = n < len(ladders[s])
                row.append(ladders[s][n] * self.tick if there else np.nan)
                row.append(sum(size for _, size in self.orders[s, ladders[s][n]]) if there else 0)
        self.rows.append(row)

    def submit(self, time, side, tick, size):
        self.last += 1
        self.orders.setdefault((side, tick), []).append([self.last, size])
        self.note(time, SUBMIT, self.last, size, tick, side)

    def take(self, time, side, tick, place, size, whole, part):
        """Take `size` from an order; the message is of kind `whole` if nothing is left of it, else `part`."""
        queue = self.orders[side, tick]
        number, there = queue[place]
        if there > size:
            queue[place][1] -= size
        else:
            queue.pop(place)
            if not queue:
                del self.orders[side, tick]
        self.note(time, whole if there == size else part, number, size, tick, side)

    def clear(self, time, side, tick):
        while (side, tick) in self.orders:
            self.take(time, side, tick, 0, self.orders[side, tick][0][1], DELETE, CANCEL)


def lobster_events(
    sigma: float = 0.02,
    A: float = 0.5,
    k: float = 30.0,
    *,
    seconds: float = 1800.0,
    tick: float = 0.01,
    start_price: float = 100.0,
    half_spread: int = 1,
    depth: int = 15,
    levels: int = 5,
    order: int = 100,
    churn: float = 1.0,
    flow: str = "poisson",
    branching: float = 0.6,
    decay: float = 0.5,
    informed: float = 0.0,
    lag: float = 1.0,
    start: float = 34_200.0,
    seed: int = 0,
) -> pd.DataFrame:
    """A day, or less, of events.

    Parameters
    ----------
    sigma : float
        Volatility of the mid, price/√s, >= 0.
    A, k : float
        Hits of an order pegged at δ, A e^{−kδ} a second and side.
    seconds, start : float
        Length, and seconds after midnight of its beginning.
    tick, start_price : float
        Currency; `start_price` is a whole number of ticks.
    half_spread, depth : int
        Distance of the best prices from the mid, and number of levels of the whole book of a side, ticks. Aggressors
        that would go beyond the book stop at its end.
    levels : int
        Levels that the table shows.
    order : int
        Mean size of an order, shares.
    churn : float
        Orders added or cancelled, 1/s.
    flow : {"poisson", "hawkes"}
    branching, decay : float
        Of the Hawkes process.
    informed, lag : float
        Share of the aggressors whom the mid follows, 0 to 1, and mean time until it does, seconds.
    seed : int

    Returns
    -------
    DataFrame
        The columns of `events`, as `lobster.read` gives them; `lobster.write` writes them.

    Raises
    ------
    ValueError
        If an argument is out of range, or `informed` takers alone would move the mid by more than σ.
    """
    sigma, A, k = nonnegative("sigma", sigma), positive("A", A, "1/s"), positive("k", k, "1/price")
    tick, seconds = positive("tick", tick, "currency"), positive("seconds", seconds)
    choice("flow", flow, ("poisson", "hawkes"))
    half, deep = integer("half_spread", half_spread, least=1), integer("depth", depth, least=2)
    integer("levels", levels, least=1, most=deep)
    middle = round(positive("start_price", start_price) / tick)
    rng = np.random.default_rng(integer("seed", seed, least=0))
    rate = A * np.exp(-k * half * tick)
    moves = sigma**2 / tick**2
    most = min(1.0, moves / (2 * rate))  # aggressors of both sides who move the mid as much as sigma does
    informed, lag = in_interval("informed", informed, 0, most), positive("lag", lag, "seconds")
    times, kinds = [], []
    for side in (ASK, BID):
        own = arrivals(rate, seconds, rng, branching if flow == "hawkes" else 0.0, positive("decay", decay, "1/s"))
        times.append(own)
        kinds.append(np.full(len(own), side))
        if informed > 0:
            after = own[rng.random(len(own)) < informed]
            after = after + rng.exponential(lag, len(after))
            after = after[after < seconds]
            times.append(after)
            kinds.append(np.full(len(after), 4 * side))
    for kind, speed in ((2, moves - 2 * informed * rate), (3, nonnegative("churn", churn, "1/s"))):
        own = arrivals(speed, seconds, rng)
        times.append(own)
        kinds.append(np.full(len(own), kind))
    at, what_comes = np.concatenate(times), np.concatenate(kinds)
    sorting = np.argsort(at, kind="stable")
    stamps = np.rint((start + at[sorting]) * 1e9).astype(np.int64)
    book = _Book(levels, tick, rng)

    def size():
        return int(rng.geometric(1 / order))

    for n in range(deep):
        for side in (ASK, BID):
            book.submit(round(start * 1e9), side, middle - side * (half + n), size())
    for time, what in zip(stamps.tolist(), what_comes[sorting].tolist(), strict=True):
        if abs(what) in (2, 4):
            up = rng.random() < 0.5 if what == 2 else what == 4 * ASK
            move = 1 if up else -1  # the side it goes to loses its best level, the other gains one
            side = ASK if move == 1 else BID
            book.clear(time, side, middle - side * half)
            middle += move
            book.clear(time, -side, middle + side * (half + deep))
            book.submit(time, -side, middle + side * half, size())
            book.submit(time, side, middle - side * (half + deep - 1), size())
        elif what == 3:
            side, n = (ASK, BID)[int(rng.integers(2))], int(rng.integers(deep))
            level = middle - side * (half + n)
            queue = book.orders[side, level]
            if len(queue) > 1 and rng.random() < 0.5:
                place = int(rng.integers(len(queue)))
                book.take(time, side, level, place, queue[place][1], DELETE, CANCEL)
            else:
                book.submit(time, side, level, size())
        else:
            reach = min(int(rng.geometric(-np.expm1(-k * tick))), deep)
            for n in range(reach):
                level = middle - what * (half + n)
                while (what, level) in book.orders:
                    book.take(time, what, level, 0, book.orders[what, level][0][1], EXECUTE, EXECUTE)
            for n in reversed(range(reach)):
                book.submit(time + _AFTER, what, middle - what * (half + n), size())
    frame = pd.DataFrame(book.rows, columns=COLUMNS + book_columns(levels))
    frame["price"] = np.rint(frame["price"] * 1e4) / 1e4
    for name in book_columns(levels):
        frame[name] = np.rint(frame[name] * 1e4) / 1e4 if "price" in name else frame[name].astype(np.int64)
    frame = frame.astype({"time_ns": "int64", "local_ns": "int64", "order_id": "int64", "size": "int64"})
    frame = frame.astype({"kind": "int8", "side": "int8"})
    frame.attrs["report"] = {"truth": {"sigma": sigma, "A": A, "k": k, "flow": flow, "informed": informed}}
    return frame


def write_capture(
    events: pd.DataFrame, path: str | Path, *, epoch: int = 1_700_000_000, delay: int = 2_000_000
) -> None:
    """Write LOBSTER's `events` as a capture of Binance's streams, which `binance.read_capture` reads.

    Levels that changed go out as depth updates with the ids U, u, pu, a new touch as bookTicker, executions as trades;
    the first row is the snapshot. Times are those of the events after `epoch` seconds, in ms; a line is received
    `delay` ns later.
    """
    depth = levels(events)
    names = book_columns(depth)
    book, time = events[names].to_numpy(), events["time_ns"].to_numpy() // 10**6 + epoch * 1000
    kind, side, price, size = (events[name].to_numpy() for name in ("kind", "side", "price", "size"))
    ladders = {}
    for row in range(len(events)):
        for n, key in enumerate(("a", "b")):
            there = [j for j in range(2 * n, 4 * depth, 4) if not np.isnan(book[row, j])]
            ladders[row, key] = {f"{book[row, j]:.4f}": f"{book[row, j + 1]:.0f}" for j in there}
        ladders.pop((row - 2, "a"), None), ladders.pop((row - 2, "b"), None)
        if row == 0:
            lines, last = [], 1
            sides = {name: list(ladders[0, key].items()) for name, key in (("bids", "b"), ("asks", "a"))}
            lines.append((time[0], {"lastUpdateId": last, "E": int(time[0]), "T": int(time[0]), **sides}))
            continue
        stamp = {"E": int(time[row]), "T": int(time[row]), "s": "SYNTH"}
        if kind[row] == EXECUTE:
            trade = {"e": "trade", **stamp, "t": row, "p": f"{price[row]:.4f}", "q": f"{size[row]}", "X": "MARKET"}
            lines.append((time[row], {"stream": "synth@trade", "data": {**trade, "m": bool(side[row] == BID)}}))
        changes = {key: _changed(ladders[row - 1, key], ladders[row, key]) for key in ("b", "a")}
        if changes["b"] or changes["a"]:
            update = {"e": "depthUpdate", **stamp, "U": last + 1, "u": last + 1, "pu": last, **changes}
            lines.append((time[row], {"stream": "synth@depth@0ms", "data": update}))
            last += 1
        if not np.array_equal(book[row, :4], book[row - 1, :4]) and not np.isnan(book[row, :4]).any():
            touch = dict(zip("aAbB", (f"{x:.4f}" for x in book[row, :4]), strict=True))
            lines.append(
                (time[row], {"stream": "synth@bookTicker", "data": {"e": "bookTicker", "u": last, **stamp, **touch}})
            )
    text = "".join(f"{t * 10**6 + delay} {json.dumps(line, separators=(',', ':'))}\n" for t, line in lines)
    Path(path).write_bytes(gzip.compress(text.encode(), mtime=0) if str(path).endswith(".gz") else text.encode())


def _changed(before, after):
    """Levels that differ; one that left the view is emptied, so that the capture's book is the shown one."""
    gone = [[price, "0"] for price in before if price not in after]
    return gone + [[price, size] for price, size in after.items() if before.get(price) != size]
