"""Order-book events: one table, whatever the source, and what it says of itself.

A row is a LOBSTER message, or a level changed or a trade of Binance (rows of one message share `message`). Columns:

    time_ns     int64    exchange clock: since midnight for LOBSTER, since 1970 for Binance
    local_ns    int64    receipt; equal to time_ns where it is not known
    kind        int8     LOBSTER's 1 … 7, or `DEPTH`, `TRADE`, `TOUCH`, `SNAPSHOT` of Binance
    order_id    int64    0 where there is none
    size        int64 for LOBSTER, float64 else: shares, or units of the coin
    price       float64  currency; of a halt (7) LOBSTER's flag −1, 0 or 1
    side        int8     of the resting order: +1 bid, −1 ask; so a trade with −1 was started by a buyer
    ask_price_1, ask_size_1, bid_price_1, bid_size_1, ask_price_2, …
                         the book after the message; an empty level is NaN, with size 0

`events.attrs["report"]` is what the reader noticed and did not change (see `lobster.read`, `binance`). The
columns that a reader gives cannot be written in place; those of `events.copy()` can.
"""

import numpy as np
import pandas as pd

from mmlib.order_book._kernels.book import disagreements

SUBMIT, CANCEL, DELETE, EXECUTE, HIDDEN, CROSS, HALT = range(1, 8)
DEPTH, TRADE, TOUCH, SNAPSHOT = range(11, 15)
#: Kinds by number, in words.
KINDS = {
    SUBMIT: "submit",
    CANCEL: "partial cancel",
    DELETE: "delete",
    EXECUTE: "visible execution",
    HIDDEN: "hidden execution",
    CROSS: "cross",
    HALT: "halt",
    DEPTH: "depth",
    TRADE: "trade",
    TOUCH: "touch",
    SNAPSHOT: "snapshot",
}
BID, ASK = 1, -1
COLUMNS = ["time_ns", "local_ns", "kind", "order_id", "size", "price", "side"]
#: Smallest unit of LOBSTER's prices, currency.
PRICE_UNIT = 1e-4


class EventError(ValueError):
    """A file or a table of events that is not what it should be; names file and line, or row and column."""


def book_columns(levels: int) -> list[str]:
    """Names of the columns of a book of `levels` levels, in the table's order."""
    return [f"{side}_{what}_{n}" for n in range(1, levels + 1) for side in ("ask", "bid") for what in ("price", "size")]


def levels(events: pd.DataFrame) -> int:
    """Number of levels of the book in `events`.

    Raises
    ------
    EventError
        If one of `COLUMNS` is missing, or the book's columns are not complete.
    """
    missing = [name for name in COLUMNS if name not in events]
    if missing:
        raise EventError(f"events must have the columns {', '.join(COLUMNS)}; {missing[0]!r} is missing")
    count = sum(str(name).startswith("ask_price_") for name in events)
    absent = [name for name in book_columns(max(count, 1)) if name not in events]
    if absent:
        raise EventError(f"events must have a whole book after each row; {absent[0]!r} is missing")
    return count


def mid(events: pd.DataFrame) -> np.ndarray:
    """Mid after each row, currency, shape (n,); NaN where a side is empty."""
    levels(events)
    return 0.5 * (events["ask_price_1"].to_numpy() + events["bid_price_1"].to_numpy())


def validate(events: pd.DataFrame) -> pd.DataFrame:
    """Apply each LOBSTER message to the book before it and compare with the book after it.

    The level that a deletion lets into view from below the last one shown cannot be known, so it is not compared; nor
    are books after a cross or a halt, which start anew.

    Returns
    -------
    DataFrame
        A row a disagreement: `row`, `what` ("book", "crossed", "time"), `column`, `expected`, `found`. Empty if the
        messages explain the whole book, no book is crossed or locked, and time never goes back.

    Raises
    ------
    EventError
        If `events` are not LOBSTER's, or not a table of events.
    """
    depth = levels(events)
    kind = events["kind"].to_numpy()
    if np.any((kind < SUBMIT) | (kind > HALT)):
        raise EventError("events must be LOBSTER's: validate replays kinds 1 to 7")
    names = book_columns(depth)
    table = events[names].to_numpy(float, copy=True)
    table[:, 0::2] = np.where(np.isnan(table[:, 0::2]), np.nan, np.rint(table[:, 0::2] / PRICE_UNIT))
    message = [events[name].to_numpy() for name in ("size", "side")]
    price = np.rint(events["price"].to_numpy() / PRICE_UNIT)
    row, column, expected, found = disagreements(kind, price, *message, table, depth)
    unit = np.where(column % 2 == 0, PRICE_UNIT, 1.0)
    wrong = pd.DataFrame(
        {
            "row": row,
            "what": "book",
            "column": np.array(names, object)[column],
            "expected": expected * unit,
            "found": found * unit,
        }
    )
    bid, ask = events["bid_price_1"].to_numpy(), events["ask_price_1"].to_numpy()
    crossed = np.flatnonzero(bid >= ask)
    back = 1 + np.flatnonzero(np.diff(events["time_ns"].to_numpy()) < 0)
    time = events["time_ns"].to_numpy(float)
    others = [
        pd.DataFrame({"row": crossed, "what": "crossed", "column": "bid_price_1", "expected": ask[crossed],
                      "found": bid[crossed]}),
        pd.DataFrame({"row": back, "what": "time", "column": "time_ns", "expected": time[back - 1],
                      "found": time[back]}),
    ]  # fmt: skip
    return pd.concat([wrong, *others], ignore_index=True).sort_values("row", kind="stable", ignore_index=True)
