"""LOBSTER's files: messages of NASDAQ's feed and the book after each, without headers, prices in $×10000.

    events = lobster.read("AMZN_…_message_5.csv", "AMZN_…_orderbook_5.csv")
    events = lobster.read("LOBSTER_SampleFile_AMZN_2012-06-21_5.zip")        # both files from the sample's zip

Times are nanoseconds after midnight, exact: further decimals are cut off. A header is passed over, CRLF is read as
well as LF; both are reported. What is not six whole numbers a line, runs back in time, has an unknown type, or is cut
off in mid-line is refused with its line. (Huang & Polak 2011 describe the format; lobsterdata.com has samples.)
"""

import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib import textfiles
from mmlib.order_book import _cache
from mmlib.order_book._kernels.digits import WHY, parse
from mmlib.order_book._kernels.lobster import NONE, book_prices, message_fault
from mmlib.order_book.events import CROSS, HALT, PRICE_UNIT, EventError, book_columns, levels

#: A synthetic hour, a zip of one message and one order-book file; `synthetic.SAMPLE` has its truth.
SAMPLE = str(Path(__file__).parents[2] / "data/order_book/SYNTH_2026-01-05_34200000_37800000_3.zip")
EMPTY = 9_999_999_999  #: LOBSTER's price of a level that is not there; −EMPTY on the bid side.
FIELDS = ("time", "type", "order id", "size", "price", "direction")
MOST = 16_000_000_000  #: bytes that a file may have
NS = 9  # decimals of a second that are kept
#: What a message must be, in the order of `message_fault`, and the field that is told.
RULES = (
    ("time must not go back", 0),
    ("time must be >= 0", 0),
    ("type must be 1 … 7", 1),
    ("order id must be >= 0", 2),
    ("size must be >= 0", 3),
    ("direction must be 1 or -1", 5),
    ("price must be > 0", 4),
    ("price of a halt must be -1, 0 or 1", 4),
)
PART = 2**20  # bytes of text that a thread reads at a time
THREADS = min(4, os.cpu_count() or 1)


def read(message_path: str | Path, orderbook_path: str | Path | None = None, *, cache: bool = True) -> pd.DataFrame:
    """Events of a pair of LOBSTER files, with any number of levels.

    Parameters
    ----------
    message_path, orderbook_path : str or Path
        The two files; or one zip that holds one of each, given as `message_path`.
    cache : bool
        Keep the events as Parquet beside the message file (in the user's cache folder where that cannot be written),
        keyed by the hash of both files, and read them from there the next time.

    Returns
    -------
    DataFrame
        The columns of `events`; `attrs["report"]` has `header` and `crlf` (files in which they were found),
        `time_decimals` (most seen: fewer than 9 say that times were rounded), `times_cut` (rows with more than 9),
        `crosses`, `halts`, `empty_levels`, `crossed_books` (rows). Five million rows of five levels are a table of
        1.1 GB; reading them takes 2 GB at most, 1.4 from the cache (benchmarks/order_book.py).

    Raises
    ------
    EventError
        If a file is missing or cut, a line is not what it should be, the files have different numbers of rows, a type
        is not 1 … 7, a direction not ±1, a size or an order id negative, or time goes back; names file and line.
    """
    sources = _sources(Path(message_path), None if orderbook_path is None else Path(orderbook_path))
    return _cache.through(sources, _events, cache)


def write(events: pd.DataFrame, message_path: str | Path, orderbook_path: str | Path) -> None:
    """Write `events` in LOBSTER's form; `read` gives them back exactly.

    Raises
    ------
    EventError
        If `events` are not a table of LOBSTER's events, or a price is not a multiple of $0.0001.
    """
    depth = levels(events)
    flag = events["kind"].to_numpy() == HALT
    price = np.where(flag, events["price"], _units("price", events["price"].to_numpy()))
    ns = events["time_ns"].to_numpy()
    seconds = [f"{t // 10**NS}.{t % 10**NS:0{NS}d}" for t in ns.tolist()]
    messages = [events[name] for name in ("kind", "order_id", "size")]
    columns = dict(zip(FIELDS, [seconds, *messages, price.astype(np.int64), events["side"]], strict=True))
    book = {}
    for name in book_columns(depth):
        values = events[name].to_numpy()
        if "price" in name:
            empty = EMPTY if name.startswith("ask") else -EMPTY
            values = np.where(np.isnan(values), empty, _units(name, np.nan_to_num(values)))
        book[name] = values.astype(np.int64)
    for table, path in ((columns, message_path), (book, orderbook_path)):
        pd.DataFrame(table).to_csv(path, header=False, index=False, lineterminator="\n")


def _units(name, price):
    units = np.rint(price / PRICE_UNIT)
    off = np.flatnonzero(~(np.abs(units * PRICE_UNIT - price) <= 1e-9 * np.maximum(np.abs(price), 1)))
    if len(off):
        raise EventError(f"row {off[0]}: {name} must be a multiple of $0.0001; got {price[off[0]]!r}")
    return units


def _sources(message, orderbook):
    """Names and bytes of the two files, as functions that read them: [(path, name, read)] of message and book."""
    if orderbook is not None and orderbook != message:
        return [
            (path, path.name, partial(textfiles.content, path, largest=MOST, error=EventError))
            for path in (message, orderbook)
        ]
    if not zipfile.is_zipfile(message):
        raise EventError(f"{message.name}: orderbook_path must be given, unless message_path is a zip with both files")
    try:
        with zipfile.ZipFile(message) as archive:
            names = archive.namelist()
    except Exception as problem:  # zipfile lets a dozen types of exception out of a broken archive
        raise EventError(f"{message.name}: cannot be unpacked: {problem}") from None
    found = []
    for part in ("_message_", "_orderbook_"):
        matches = [name for name in names if part in name and name.endswith(".csv")]
        if len(matches) != 1:
            raise EventError(f"{message.name}: a zip must hold one …{part}….csv; it has {len(matches)}")
        found.append((message, f"{message.name}:{matches[0]}", _member_of(message, matches[0])))
    return found


def _member_of(path, member):
    def read():
        try:
            with zipfile.ZipFile(path) as archive:
                info = archive.getinfo(member)
                if info.file_size > 200 * max(info.compress_size, 1) or info.flag_bits & 1:
                    raise EventError(f"{path.name}:{member} is encrypted, or unpacks to more than 200 times its size")
                return archive.read(member)
        except EventError:
            raise
        except Exception as problem:  # as above
            raise EventError(f"{path.name}:{member}: cannot be unpacked: {problem}") from None

    return read


def _events(message, orderbook):
    """Events and report from (name, bytes) of both files."""
    table, seen = _numbers(*message, len(FIELDS), NS, FIELDS)
    line = 2 if seen["header"] else 1
    name = message[0]
    rule, row = message_fault(table)
    if rule != NONE:
        what, field = RULES[rule]
        raise EventError(f"{name}, line {row + line}: {what}; got {table[field, row]}")
    time, kind, order, size, price, side = table
    width = orderbook[1][: orderbook[1].find(b"\n")].count(b",") + 1
    if width % 4:
        raise EventError(f"{orderbook[0]}, line 1: must have 4 numbers a level; got {width}")
    book, book_seen = _numbers(*orderbook, width, 0, book_columns(width // 4))
    if book.shape[1] != len(time):
        raise EventError(f"{orderbook[0]} must have a line for each of the {len(time)} of {name}; got {book.shape[1]}")
    prices, empties, crossed = _book_prices(orderbook[0], book, 2 if book_seen["header"] else 1)
    columns = {
        "time_ns": time,
        "local_ns": time,
        "kind": kind.astype(np.int8),
        "order_id": order,
        "size": size,
        "price": np.where(kind == HALT, price, price / 1e4),
        "side": side.astype(np.int8),
    }
    for j, column in enumerate(book_columns(width // 4)):
        columns[column] = (book if j % 2 else prices)[j]
    report = {
        "header": [n for n, s in ((name, seen), (orderbook[0], book_seen)) if s["header"]],
        "crlf": [n for n, s in ((name, seen), (orderbook[0], book_seen)) if s["crlf"]],
        "time_decimals": seen["decimals"],
        "times_cut": seen["cut"],
        "crosses": int(np.sum(kind == CROSS)),
        "halts": int(np.sum(kind == HALT)),
        "empty_levels": empties,
        "crossed_books": crossed,
    }
    return pd.DataFrame(columns, copy=False), report


def _book_prices(name, book, line):
    """The book with prices in currency in its even rows, NaN where empty; how many are, and how many books are crossed.

    They replace the whole numbers of `book`. EventError where a level is not one.
    """
    prices, columns, rows = book.view(np.float64), len(book) // 2, book.shape[1]
    step = max(-(-rows // THREADS), 1)
    with ThreadPoolExecutor(THREADS) as pool:
        parts = [
            pool.submit(book_prices, book, prices, row, min(row + step, rows), EMPTY) for row in range(0, rows, step)
        ]
        found = [part.result() for part in parts]
    rule, row = min((part[:2] for part in found), default=(NONE, 0))
    if rule < columns:
        what = book_columns(columns // 2)[2 * rule]
        raise EventError(
            f"{name}, line {row + line}: {what} must be > 0 with a size > 0, or the price of an empty level with"
            f" size 0; got {book[2 * rule, row]} and {book[2 * rule + 1, row]}"
        )
    if rule != NONE:
        raise EventError(f"{name}, line {row + line}: levels must go from the best price outward")
    return prices, sum(part[2] for part in found), sum(part[3] for part in found)


def _numbers(name, text, fields, places, names):
    data = np.frombuffer(text, np.uint8)
    if len(data) == 0:
        raise EventError(f"{name}: is empty")
    header = not (48 <= data[0] <= 57 or data[0] == 45)
    start = 0
    if header:
        start = text.find(b"\n", 0, 10_000) + 1
        if not start:
            raise EventError(f"{name}, line 1: must begin with a number; got {bytes(data[:40])!r}")
    parts, row = [], 0
    while start < len(text):
        end = text.find(b"\n", start + PART) + 1 or len(text)
        lines = np.count_nonzero(data[start:end] == 10) + (text[end - 1] != 10)
        parts.append((start, end, row, row + lines))
        start, row = end, row + lines
    table = np.empty((fields, row), np.int64)
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda p: parse(data, *p[:2], table, *p[2:], places), parts))
    for (why, row, field), _ in found:
        if why:
            raise EventError(f"{name}, line {row + 1 + header}: {names[field]} {WHY[why]}")
    decimals, cut, returns = np.array([seen for _, seen in found]).reshape(-1, 3).T
    return table, {
        "header": header,
        "crlf": bool(returns.any()),
        "decimals": int(decimals.max(initial=0)),
        "cut": int(cut.sum()),
    }
