"""One path, one table of events: what a chapter or a command is given is looked at, and read by the right loader.

events = sources.open("my/AAPL_2024-03-01_34200000_57600000_message_5.csv")    # its …_orderbook_5.csv beside it
tick, lot = sources.steps(events)
start, end = sources.period(events)
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib.observe import observed
from mmlib.order_book import binance, lobster
from mmlib.order_book._pegged import period as covered
from mmlib.order_book.events import ASK, BID, HALT, TOUCH, EventError, book_columns, levels

_UNIT = 1e-8  # of prices and sizes, as Binance writes them


@observed
def open(data: str | Path, levels: int = 5) -> pd.DataFrame:
    """Events of the file or files at `data`; those of the synthetic sample where it is "".

    Parameters
    ----------
    data : str or Path
        A LOBSTER zip; a LOBSTER …_message_L.csv, whose …_orderbook_L.csv lies beside it; else a capture of Binance's
        streams, plain or .gz.
    levels : int
        Levels of the rebuilt book of a capture, >= 1.

    Raises
    ------
    EventError
        If there is no such file, it is an archive's CSV, which has no book, or its loader refuses it.
    """
    if data == "":
        return lobster.read(lobster.SAMPLE, cache=False)
    path = Path(data)
    if not os.path.isfile(path):  # False, too, for a name too long or with a NUL
        raise EventError(f"data must be a LOBSTER zip or message file, or a Binance capture; no file {str(data)!r}")
    if path.suffix.lower() == ".zip":
        return lobster.read(path)
    if "_message_" in path.name:
        return lobster.read(path, path.with_name(path.name.replace("_message_", "_orderbook_")))
    if path.name.removesuffix(".gz").endswith(".csv"):
        raise EventError(f"data must hold a book: a LOBSTER pair has _message_ in its name; got {path.name!r}")
    return binance.read_capture(path, levels)


def steps(events: pd.DataFrame) -> tuple[float, float]:
    """Tick and lot of `events`: the largest steps of which all prices and all sizes of the book are multiples.

    Returns
    -------
    tick, lot : float
        Currency, and units.

    Raises
    ------
    EventError
        If no level of the book is ever filled.
    """
    names = book_columns(levels(events))
    found = []
    for what in ("price", "size"):
        values = events[[name for name in names if what in name]].to_numpy(float).ravel()
        values = np.unique(values[values > 0])
        if not len(values):
            raise EventError("events must have a book: all its levels are empty")
        found.append(float(np.gcd.reduce(np.rint(values / _UNIT).astype(np.int64)) * _UNIT))
    return found[0], found[1]


def period(events: pd.DataFrame) -> tuple[float, float]:
    """Whole seconds of the file's clock that `events` cover: of LOBSTER's rows around them, else within them.

    Raises
    ------
    EventError
        If there are none.
    """
    if len(events) and np.all(events["kind"] <= HALT):
        time = events["time_ns"]
        return float(time.iloc[0] // 10**9), float(-(-time.iloc[-1] // 10**9))
    return covered(events, None, None)


def best(events: pd.DataFrame) -> pd.DataFrame:
    """Best prices and sizes by the exchange's clock: those sent, where any were (Binance's), else the books'.

    Returns
    -------
    DataFrame
        A row a message with both sides quoted: `time_ns`, `bid`, `bid_size`, `ask`, `ask_size`.
    """
    touch = (events["kind"] == TOUCH).to_numpy()
    if touch.any():
        side = events["side"].to_numpy()
        rows = {name: events[touch & (side == sign)] for name, sign in (("bid", BID), ("ask", ASK))}
        price, size = ({name: row[what].to_numpy() for name, row in rows.items()} for what in ("price", "size"))
        time = rows["bid"]["time_ns"].to_numpy()
    else:
        price, size = ({name: events[f"{name}_{what}_1"].to_numpy() for name in ("bid", "ask")}
                       for what in ("price", "size"))  # fmt: skip
        time = events["time_ns"].to_numpy()
    columns = {f"{name}{tail}": part[name] for name in ("bid", "ask") for tail, part in (("", price), ("_size", size))}
    return pd.DataFrame({"time_ns": time, **columns}).dropna().sort_values("time_ns", kind="stable", ignore_index=True)
