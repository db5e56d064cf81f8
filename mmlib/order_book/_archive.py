"""The CSV files of Binance's archive: kinds told by their columns, every field checked."""

import re

import numpy as np
import pandas as pd

from mmlib import optional
from mmlib.order_book.events import ASK, BID, COLUMNS, TOUCH, TRADE, EventError, book_columns

#: Columns of the kinds, as futures' headers name them; "best_match" is spot's.
KINDS = {
    "aggTrades": ["agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time",
                  "is_buyer_maker"],
    "aggTrades (spot)": ["agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time",
                         "is_buyer_maker", "best_match"],
    "trades": ["id", "price", "qty", "quote_qty", "time", "is_buyer_maker"],
    "trades (coin)": ["id", "price", "qty", "base_qty", "time", "is_buyer_maker"],
    "trades (spot)": ["id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "best_match"],
    "bookTicker": ["update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "transaction_time",
                   "event_time"],
}  # fmt: skip
_WHOLE = {"agg_trade_id", "first_trade_id", "last_trade_id", "transact_time", "id", "time", "update_id",
          "transaction_time", "event_time"}  # fmt: skip
_TRUTH = {"is_buyer_maker", "best_match"}
_MAY_BE_WRONG = {"quote_qty", "base_qty"}  # written with lost exponents by the archive; checked apart


def table(name: str, data: bytes) -> tuple[pd.DataFrame, dict]:
    """Events and report of the file `name` with bytes `data`."""
    polars = optional.load("polars", "order-book", "Binance archives")
    if not data.endswith(b"\n"):
        raise EventError(f"{name}, line {data.count(10) + 1}: is cut short: the file does not end with its line")
    stray = re.search(rb"\r(?!\n)", data)  # polars takes it away wherever a cell ends
    if stray:
        line = data.count(b"\n", 0, stray.start()) + 1
        raise EventError(f"{name}, line {line}: a carriage return must be before the line's end; one is not")
    first = data[: data.index(b"\n")].decode("utf-8", "replace").rstrip("\r").split(",")
    header = not first[0].isdigit()
    kind = _kind(name, first, header)
    columns = KINDS[kind]
    try:
        frame = polars.read_csv(
            data, has_header=False, skip_rows=int(header), infer_schema=False, quote_char=None, new_columns=columns,
        )  # fmt: skip
    except polars.exceptions.NoDataError:
        raise EventError(f"{name}: must have a row at least; it has none") from None
    except (polars.exceptions.PolarsError, ValueError) as error:
        raise EventError(f"{name}: is not the CSV of {kind}: {str(error).splitlines()[0]}") from None
    values = {column: _column(polars, name, frame[column], column, 1 + header) for column in columns}
    return _events(name, kind, values, header)


def _kind(name, first, header):
    if header:
        matches = [kind for kind, columns in KINDS.items() if first == columns]
    else:
        matches = [kind for kind, columns in KINDS.items() if len(first) == len(columns)]
        truth = [first[i].lower() in ("true", "false") for i in range(len(first))]
        matches = [k for k in matches if [c in _TRUTH for c in KINDS[k]] == truth and k != "trades (coin)"]
    if not matches:
        raise EventError(f"{name}, line 1: must be of aggTrades, trades or bookTicker; got {','.join(first)[:80]!r}")
    return matches[0]


def _column(polars, name, series, column, line):
    """The text of a column as numbers or truth values; EventError with the first line that is not one."""
    if column in _TRUTH:
        good, rule = series.str.contains(r"\A(?i:true|false)\z"), "true or false"
    elif column in _WHOLE:
        good, rule = series.str.contains(r"\A[0-9]{1,18}\z"), "a whole number"
    else:
        good, rule = series.str.contains(r"\A[0-9]{1,15}(\.[0-9]{1,18})?([eE]-?[0-9]{1,2})?\z"), "a number >= 0"
    bad = (~good.fill_null(False)).arg_true()
    if len(bad):
        row = bad[0]
        raise EventError(f"{name}, line {row + line}: {column} must be {rule}; got {series[row]!r}")
    if column in _TRUTH:
        return (series.str.to_lowercase() == "true").to_numpy()
    return series.cast(polars.Int64 if column in _WHOLE else polars.Float64).to_numpy()


def _nanoseconds(name, time, line):
    micro = time >= 10**15
    if len(time) and micro.any() != micro.all():
        row = int(np.argmax(micro != micro[0]))
        raise EventError(f"{name}, line {row + line}: times must be all in ms or all in µs; got {time[row]}")
    scale = 1000 if micro.all() else 10**6
    wrong = (time < 10**12) | (time > (2**63 - 1) // scale)  # beyond it nanoseconds do not fit into 64 bits
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise EventError(f"{name}, line {row + line}: times must be ms or µs from 2001 to 2262; got {time[row]}")
    return time * scale, "us" if scale == 1000 else "ms"


def _events(name, kind, values, header):
    line = 1 + header
    numbers = np.arange(line, line + len(next(iter(values.values()))))
    report = {"kind": kind, "header": bool(header)}
    if kind == "bookTicker":
        time, report["time_unit"] = _nanoseconds(name, values["transaction_time"], line)
        bid, ask = values["best_bid_price"], values["best_ask_price"]
        bid_size, ask_size = values["best_bid_qty"], values["best_ask_qty"]

        def both(a, b):
            return np.column_stack([a, b]).ravel()

        same = [both(x, x) for x in (time, values["update_id"], numbers)]
        columns = [same[0], same[0], TOUCH, same[1], both(bid_size, ask_size), both(bid, ask),
                   np.tile(np.array([BID, ASK], np.int8), len(bid))]  # fmt: skip
        frame = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
        empty_bid, empty_ask = bid <= 0, ask <= 0
        book = [np.where(empty_ask, np.nan, ask), ask_size, np.where(empty_bid, np.nan, bid), bid_size]
        for column, value in zip(book_columns(1), book, strict=True):
            frame[column] = both(value, value)
        frame["message"] = same[2]
        report["crossed_books"] = int(np.sum(bid >= ask))
        report["times_back"] = int(np.sum(np.diff(time) < 0))
    else:
        agg = kind.startswith("agg")
        time, report["time_unit"] = _nanoseconds(name, values["transact_time" if agg else "time"], line)
        size = values["quantity" if agg else "qty"]
        for value, column in ((values["price"], "price"), (size, "quantity")):
            if np.any(value <= 0):
                row = int(np.argmax(value <= 0))
                raise EventError(f"{name}, line {row + line}: {column} must be > 0; got {value[row]}")
        side = np.where(values["is_buyer_maker"], BID, ASK).astype(np.int8)
        number = values["agg_trade_id" if agg else "id"]
        frame = pd.DataFrame(dict(zip(COLUMNS, [time, time, TRADE, number, size, values["price"], side], strict=True)))
        frame["message"] = numbers
        report["times_back"] = int(np.sum(np.diff(time) < 0))
        if kind == "trades (coin)":
            coins = size / values["price"]
            unit = np.median(values["base_qty"] / coins)
            report["base_qty_wrong"] = int(np.sum(np.abs(values["base_qty"] - unit * coins) > 1e-3 * unit * coins))
    frame["kind"] = frame["kind"].astype(np.int8)
    return frame, report
