"""Binance: a raw capture of the websocket's streams, and the files of the public archive.

    events = binance.read_capture("usdm_btcusdt.gz")                   # lines of `<local ns> <json>`
    events = binance.read_archive("BTCUSDT-aggTrades-2026-09-15.zip")  # also trades, bookTicker

**Captures.** Depth messages carry changes of levels by update id; alone they are no book. A snapshot starts one: older
messages (u < its lastUpdateId) are dropped and counted, the first that is applied must reach over it (U ≤ lastUpdateId
≤ u), and each next must continue the last (pu = u before; spot, without pu: U = u before + 1). A gap is an error that
names the ids, since the touch looks right for thousands of messages after one; with `resync` the book is unknown
(NaN) until the next snapshot. Rows stand in the order of arrival, in which exchange times may go back.

Rows: one a level changed (`DEPTH`, `SNAPSHOT`), two a best bid and ask (`TOUCH`), one a trade (`TRADE`); `order_id` is
the update id or the trade's. Size 0 says that a level is gone. The columns of the book are the rebuilt one's, after the
whole message.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib import textfiles
from mmlib.checks import integer
from mmlib.order_book import _cache
from mmlib.order_book._archive import table
from mmlib.order_book.events import ASK, BID, COLUMNS, DEPTH, SNAPSHOT, TOUCH, TRADE, EventError, book_columns

#: A capture of the first half of the synthetic hour; `synthetic.SAMPLE` has its truth.
SAMPLE = str(Path(__file__).parents[2] / "data/order_book/synth_20260105.gz")
MOST = 4_000_000_000  #: bytes that a file may unpack to
_KINDS = {"depthUpdate": DEPTH, "bookTicker": TOUCH, "trade": TRADE}
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,18})?").fullmatch
_LATEST = 2**63 // 10**6 - 1  # ms that are still whole nanoseconds of 64 bits


def read_capture(path: str | Path, levels: int = 5, *, resync: bool = False, cache: bool = True) -> pd.DataFrame:
    """Events of a capture of one symbol, in the order of arrival.

    Parameters
    ----------
    path : str or Path
        Text or gzip; a line is the local time in nanoseconds, a blank, and the message as received.
    levels : int
        Levels of the rebuilt book, >= 1.
    resync : bool
        After a gap go on without a book until the next snapshot, instead of refusing the file.
    cache : bool
        As in `lobster.read`.

    Returns
    -------
    DataFrame
        The columns of `events` and `message`, the line's number. `attrs["report"]` has the numbers of messages by
        kind, `dropped` (older than the snapshot), `before_snapshot` (rows without a book), `gaps` (pairs of ids),
        `other_trades` (not of the market: insurance fund, liquidation by agreement; left out), `crossed_books`,
        `clock_ms` (local less exchange: least, median, most) and `times_back` (rows whose exchange time goes back).

    Raises
    ------
    EventError
        If the file cannot be unpacked to its end, a line is not a message of a known stream, a number is not one, two
        symbols are mixed, or ids have a gap; names the line.
    """
    integer("levels", levels, least=1)
    path = Path(path)

    def events(source):
        return _capture(path.name, _text(path.name, source[1]), levels, resync)

    label = f"{path.name}:{levels}:{'resync' if resync else 'strict'}"
    return _cache.through([(path, label, lambda: _unpacked(path))], events, cache)


def read_archive(path: str | Path, *, cache: bool = True) -> pd.DataFrame:
    """Events of an archive's CSV: aggTrades, trades or bookTicker, told by their columns; CSV, .gz or .zip of one.

    Files with a header and without, times in milliseconds or microseconds are read; a mix of units is refused. Trades
    have no book: then the table has no columns of one.

    Returns
    -------
    DataFrame
        The columns of `events` and `message`, the line's number. `attrs["report"]` has `kind`, `header`, `time_unit`
        and, for trades in coins, `base_qty_wrong`: rows whose base_qty is not the quantity in coins (not used here).

    Raises
    ------
    EventError
        If the file cannot be unpacked to its end, its columns are of no known kind, or a field is not what it should
        be; names the line.
    """
    path = Path(path)
    return _cache.through([(path, path.name, lambda: _unpacked(path))], lambda source: table(*source), cache)


def _unpacked(path):
    return textfiles.content(path, largest=MOST, error=EventError)


def _text(name, data):
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise EventError(f"{name}, line {line}: must be UTF-8; got byte 0x{data[problem.start]:02x}") from None


class _Ladder:
    """One side of a book: prices from the best outward, as text's numbers, and their sizes."""

    def __init__(self, sign):
        self.sign, self.keys, self.sizes = sign, [], {}

    def set(self, price, size):
        key = -self.sign * price
        if size > 0:
            if key not in self.sizes:
                self.keys.insert(bisect_left(self.keys, key), key)
            self.sizes[key] = size
        elif self.sizes.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def best(self, levels):
        keys = self.keys[:levels]
        prices = [-self.sign * key for key in keys] + [np.nan] * (levels - len(keys))
        return prices, [self.sizes[key] for key in keys] + [0.0] * (levels - len(keys))


def _capture(name, text, levels, resync):
    rows, messages = [], []  # rows: price, size, side; messages: their rows, line, local, time in ms, kind, id, book
    report = {"depth": 0, "touch": 0, "trade": 0, "snapshot": 0, "dropped": 0, "other_trades": 0, "gaps": []}
    ladders, last, snapshot, waiting = None, None, None, []
    nothing = [np.nan, 0.0, np.nan, 0.0] * levels
    book, symbol = nothing, None
    dated = {}  # whether messages of a kind have the exchange's time
    for line, local, message in _messages(name, text):
        try:
            if "lastUpdateId" in message:
                message_kind, data = SNAPSHOT, message
            else:
                data = message.get("data", message)
                message_kind = _KINDS.get(str(data.get("e")))
                if symbol not in (None, data.get("s")):
                    raise ValueError(f"must be of one symbol, {symbol}; got {data.get('s')!r}")
                symbol = data.get("s")
            if dated.setdefault(message_kind, "T" in data) != ("T" in data):
                raise ValueError("must have the exchange's time T in all messages of a kind, or in none")
            if message_kind == SNAPSHOT:
                report["snapshot"] += 1
                ladders, snapshot, last = {BID: _Ladder(BID), ASK: _Ladder(ASK)}, _whole(data["lastUpdateId"]), None
                changes = _changes(data, "bids", "asks")
                _apply(ladders, changes)
                book = _book(ladders, levels)
                time = _whole(data["T"], _LATEST) if "T" in data else local // 10**6
                _add(rows, messages, book, (line, local, time), SNAPSHOT, snapshot, changes)
                pending, waiting = waiting, []
                for earlier in pending:
                    last, book = _depth(name, earlier, ladders, snapshot, last, report, resync, levels, rows, messages)
            elif message_kind == DEPTH:
                report["depth"] += 1
                if ladders is None:
                    waiting.append((line, local, data))
                    continue
                last, book = _depth(
                    name, (line, local, data), ladders, snapshot, last, report, resync, levels, rows, messages
                )
                if last == -1:
                    ladders, book = None, nothing
            elif message_kind == TOUCH:
                report["touch"] += 1
                touch = [(_number(data["b"]), _number(data["B"]), BID), (_number(data["a"]), _number(data["A"]), ASK)]
                _check(touch)
                time = _whole(data["T"], _LATEST) if "T" in data else local // 10**6
                _add(rows, messages, book, (line, local, time), TOUCH, _whole(data["u"]), touch)
            elif message_kind == TRADE:
                if data.get("X", "MARKET") != "MARKET":
                    report["other_trades"] += 1
                    continue
                report["trade"] += 1
                if not isinstance(data["m"], bool):
                    raise ValueError(f"m must be true or false; got {data['m']!r}")
                trade = [(_number(data["p"]), _number(data["q"]), BID if data["m"] else ASK)]
                _check(trade)
                _add(rows, messages, book, (line, local, _whole(data["T"], _LATEST)), TRADE, _whole(data["t"]), trade)
            else:
                raise ValueError(f"must be depthUpdate, bookTicker, trade or a snapshot; got {str(data)[:60]}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, EventError):
                raise
            what = f"has no {error}" if isinstance(error, KeyError) else str(error)
            raise EventError(f"{name}, line {line}: {what}") from None
    report["dropped"] += len(waiting)
    if not rows:
        raise EventError(f"{name}: must have a message at least; it has none")
    return _frame(rows, messages, levels, report)


def _messages(name: str, text: str) -> Iterator[tuple[int, int, dict]]:
    if text and not text.endswith("\n"):
        raise EventError(f"{name}, line {text.count(chr(10)) + 1}: is cut short: the file does not end with its line")
    for line, raw in enumerate(text.split("\n")[:-1], start=1):
        local, _, message = raw.partition(" ")
        try:
            if not (local.isascii() and local.isdigit() and len(local) <= 19 and int(local) < 2**63):
                raise ValueError(f"must begin with the local time in ns; got {raw[:30]!r}")
            message = _DECODER.decode(message)
            if not isinstance(message, dict):
                raise ValueError("must hold a JSON object")
        except (ValueError, RecursionError) as error:
            raise EventError(f"{name}, line {line}: {error}") from None
        yield line, int(local), message


def _no_constant(text):
    raise ValueError(f"must hold finite numbers; got {text}")


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"must have each name once in an object; got {[name for name, _ in pairs]}")
    return found


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_once)  # `json.loads` makes one a line


def _number(text):
    if not (isinstance(text, str) and _NUMBER(text)):
        raise ValueError(f"must hold prices and sizes as texts of decimal numbers; got {text!r}")
    return float(text)


def _whole(value, most=2**63 - 1):
    if not (type(value) is int and 0 <= value <= most):
        raise ValueError(f"must hold times and ids as whole numbers from 0 to {most}; got {value!r}")
    return value


def _changes(data, bids, asks):
    changes = [
        (_number(price), _number(size), side) for side, key in ((BID, bids), (ASK, asks)) for price, size in data[key]
    ]
    _check(changes, gone=True)
    return changes


def _check(changes, gone=False):
    for price, size, _ in changes:
        if not (price > 0 and (size >= 0 if gone else size > 0)):
            raise ValueError(f"price must be > 0 and size {'>=' if gone else '>'} 0; got {price!r} and {size!r}")


def _apply(ladders, changes):
    for price, size, side in changes:
        ladders[side].set(price, size)


def _depth(name, message, ladders, snapshot, last, report, resync, levels, rows, messages):
    """Apply a depth message: the id that the next must continue (−1: none can, a snapshot is needed), and the book."""
    line, local, data = message
    first, final = _whole(data["U"]), _whole(data["u"])
    before = _whole(data["pu"]) if "pu" in data else first - 1
    if last is None and final < snapshot:
        report["dropped"] += 1
        return None, _book(ladders, levels)
    continues = before == last if last is not None else first <= snapshot or before == snapshot
    if not continues:
        expected = snapshot if last is None else last
        if not resync:
            raise EventError(
                f"{name}, line {line}: updates {expected} to {before if last is not None else first} are missing"
                " (a gap); resync=True goes on at the next snapshot"
            )
        report["gaps"].append([expected, before if last is not None else first])
        return -1, None
    changes = _changes(data, "b", "a")
    _apply(ladders, changes)
    book = _book(ladders, levels)
    time = _whole(data["T" if "T" in data else "E"], _LATEST)
    _add(rows, messages, book, (line, local, time), DEPTH, final, changes)
    return final, book


def _book(ladders, levels):
    (bids, bid_sizes), (asks, ask_sizes) = ladders[BID].best(levels), ladders[ASK].best(levels)
    return [x for level in zip(asks, ask_sizes, bids, bid_sizes, strict=True) for x in level]


def _add(rows, messages, book, stamp, kind, number, changes):
    messages.append((len(changes), *stamp, kind, number, book))
    rows.extend(changes)


def _frame(rows, messages, levels, report):
    count, *columns = (np.array(column) for column in zip(*messages, strict=True))
    line, local, time, kind, number, table = (np.repeat(column, count, axis=0) for column in columns)
    price, size, side = (np.array(column) for column in zip(*rows, strict=True))
    time *= 10**6
    columns = [time, local, kind.astype(np.int8), number, size, price, side.astype(np.int8), *table.T, line]
    frame = pd.DataFrame(dict(zip((*COLUMNS, *book_columns(levels), "message"), columns, strict=True)))
    lag = (local - time) / 1e6
    report |= {
        "before_snapshot": int(np.sum(np.isnan(table[:, 0]) & np.isnan(table[:, 2]))),
        "crossed_books": int(np.sum(table[:, 2] >= table[:, 0])),
        "clock_ms": [float(f(lag)) for f in (np.min, np.median, np.max)],
        "times_back": int(np.sum(np.diff(time) < 0)),
    }
    return frame, report
