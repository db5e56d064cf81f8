"""LOBSTER's files: messages of NASDAQ's feed and the book after each, without headers, prices in $×10000.

    events = lobster.read("AMZN_…_message_5.csv", "AMZN_…_orderbook_5.csv")
    events = lobster.read("LOBSTER_SampleFile_AMZN_2012-06-21_5.zip")        # both files from the sample's zip

Times are nanoseconds after midnight, exact: further decimals are cut off. A header is passed over, CRLF is read as
well as LF; both are reported. What is not six whole numbers a line, runs back in time, has an unknown type, or is cut
off in mid-line is refused with its line. (Huang & Polak 2011 describe the format; lobsterdata.com has samples.)
"""

import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib import textfiles
from mmlib.order_book import _cache
from mmlib.order_book._kernels.digits import WHY, count_lines, parse
from mmlib.order_book.events import COLUMNS, CROSS, HALT, PRICE_UNIT, EventError, book_columns, levels

#: A synthetic hour, a zip of one message and one order-book file; `synthetic.SAMPLE` has its truth.
SAMPLE = str(Path(__file__).parents[2] / "data/order_book/SYNTH_2026-01-05_34200000_37800000_3.zip")
EMPTY = 9_999_999_999  #: LOBSTER's price of a level that is not there; −EMPTY on the bid side.
FIELDS = ("time", "type", "order id", "size", "price", "direction")
MOST = 16_000_000_000  #: bytes that a file may have
NS = 9  # decimals of a second that are kept


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
        `crosses`, `halts`, `empty_levels`, `crossed_books` (rows).

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
    time, kind, order, size, price, side = table
    for wrong, what, column in (
        (np.r_[False, np.diff(time) < 0], "time must not go back", time),
        (time < 0, "time must be >= 0", time),
        ((kind < 1) | (kind > 7), "type must be 1 … 7", kind),
        (order < 0, "order id must be >= 0", order),
        (size < 0, "size must be >= 0", size),
        (np.abs(side) != 1, "direction must be 1 or -1", side),
        ((price <= 0) & (kind != HALT), "price must be > 0", price),
        ((np.abs(price) > 1) & (kind == HALT), "price of a halt must be -1, 0 or 1", price),
    ):
        at = np.flatnonzero(wrong)
        if len(at):
            raise EventError(f"{name}, line {at[0] + line}: {what}; got {column[at[0]]}")
    width = orderbook[1][: orderbook[1].find(b"\n")].count(b",") + 1
    if width % 4:
        raise EventError(f"{orderbook[0]}, line 1: must have 4 numbers a level; got {width}")
    book, book_seen = _numbers(*orderbook, width, 0, book_columns(width // 4))
    if book.shape[1] != len(time):
        raise EventError(f"{orderbook[0]} must have a line for each of the {len(time)} of {name}; got {book.shape[1]}")
    prices = _book_prices(orderbook[0], book, 2 if book_seen["header"] else 1)
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
        columns[column] = book[j] if j % 2 else prices[j // 2]
    report = {
        "header": [n for n, s in ((name, seen), (orderbook[0], book_seen)) if s["header"]],
        "crlf": [n for n, s in ((name, seen), (orderbook[0], book_seen)) if s["crlf"]],
        "time_decimals": seen["decimals"],
        "times_cut": seen["cut"],
        "crosses": int(np.sum(kind == CROSS)),
        "halts": int(np.sum(kind == HALT)),
        "empty_levels": int(np.sum(np.isnan(prices))),
        "crossed_books": int(np.sum(prices[1] >= prices[0])),
    }
    return pd.DataFrame(columns, copy=False)[COLUMNS + book_columns(width // 4)], report


def _book_prices(name, book, line):
    """Prices of the levels, shape (2·levels, rows), NaN where empty; EventError where a level is not one."""
    prices = np.empty((len(book) // 2, book.shape[1]))
    for j in range(len(prices)):
        raw, size = book[2 * j], book[2 * j + 1]
        empty = np.abs(raw) == EMPTY
        wrong = np.flatnonzero(np.where(empty, (size != 0) | ((raw > 0) != (j % 2 == 0)), (raw <= 0) | (size <= 0)))
        if len(wrong):
            row = wrong[0]
            what = book_columns(len(prices) // 2)[2 * j]
            raise EventError(
                f"{name}, line {row + line}: {what} must be > 0 with a size > 0, or the price of an empty level with"
                f" size 0; got {raw[row]} and {size[row]}"
            )
        prices[j] = np.where(empty, np.nan, raw / 1e4)
    for side, better in ((0, 1), (1, -1)):
        ladder = prices[side::2] * better
        wrong = np.argwhere(~((ladder[1:] > ladder[:-1]) | np.isnan(ladder[1:])))
        if len(wrong):
            row = wrong[:, 1].min()
            raise EventError(f"{name}, line {row + line}: levels must go from the best price outward")
    return prices


def _numbers(name, data, fields, places, names):
    data = np.frombuffer(data, np.uint8)
    if len(data) == 0:
        raise EventError(f"{name}: is empty")
    header = not (48 <= data[0] <= 57 or data[0] == 45)
    start = 0
    if header:
        ends = np.flatnonzero(data[:10_000] == 10)
        if not len(ends):
            raise EventError(f"{name}, line 1: must begin with a number; got {bytes(data[:40])!r}")
        start = int(ends[0]) + 1
    rows, whole = count_lines(data, start)
    table, (why, row, field), (decimals, cut, returns) = parse(data, start, rows + (not whole), fields, places)
    if why:
        raise EventError(f"{name}, line {row + 1 + header}: {names[field]} {WHY[why]}")
    return table, {"header": header, "crlf": returns > 0, "decimals": max(decimals, 0), "cut": cut}
