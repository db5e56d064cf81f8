"""A capture of Binance's streams written by hand: every row and every count worked out by the documented rules."""

import json

import numpy as np
import pytest

from mmlib.order_book import binance, events
from mmlib.order_book.events import ASK, BID, DEPTH, SNAPSHOT, TOUCH, TRADE, EventError

MS = 10**6


def depth(first, last, bids=(), asks=(), time=1000, **more):
    return {"e": "depthUpdate", "s": "S", "E": time, "U": first, "u": last, "b": list(bids), "a": list(asks), **more}


def touch(number, bid="10.0", bid_size="3", ask="10.1", ask_size="4"):
    return {"e": "bookTicker", "s": "S", "u": number, "b": bid, "B": bid_size, "a": ask, "A": ask_size}


def trade(number, time=1050, price="10.1", size="0.5", maker=False, **more):
    return {"e": "trade", "s": "S", "T": time, "t": number, "p": price, "q": size, "m": maker, **more}


def snapshot(number, bids=(["10.0", "2"], ["9.8", "5"]), asks=(["10.1", "4"], ["10.2", "6"])):
    return {"lastUpdateId": number, "bids": list(bids), "asks": list(asks)}


def read(path, *lines, levels=2, **options):
    path.write_text("".join(f"{local} {json.dumps(message)}\n" for local, message in lines))
    return binance.read_capture(path, levels=levels, cache=False, **options)


DAY = [
    (1005 * MS, depth(5, 7, [["10.0", "1"]])),  # older than the snapshot: dropped
    (1010 * MS, depth(8, 12, [["10.0", "3"], ["9.9", "2"]], [["10.2", "0"]], time=1004)),  # reaches over it
    (1020 * MS, touch(12)),  # before there is a book
    (1030 * MS + 499, snapshot(10)),
    (1041 * MS, depth(13, 13, [["10.0", "0"]], time=1040)),
    (1053 * MS, trade(77)),
    (1054 * MS, trade(78, X="INSURANCE_FUND")),
    (1059 * MS, depth(20, 20, [["9.7", "1"]])),  # 14 to 19 have not come
    (1060 * MS, touch(20)),
    (1061 * MS, depth(21, 21, [["9.6", "1"]])),  # waits for a snapshot that does not come
]


def test_a_capture_by_hand(tmp_path):
    found = read(tmp_path / "c.txt", *DAY, resync=True)
    rows = [
        (3, 1020, 1020 * MS, TOUCH, 12, 3.0, 10.0, BID),
        (3, 1020, 1020 * MS, TOUCH, 12, 4.0, 10.1, ASK),
        *((4, 1030, 1030 * MS + 499, SNAPSHOT, 10, size, price, side)
          for price, size, side in ((10.0, 2, BID), (9.8, 5, BID), (10.1, 4, ASK), (10.2, 6, ASK))),
        *((2, 1004, 1010 * MS, DEPTH, 12, size, price, side)
          for price, size, side in ((10.0, 3, BID), (9.9, 2, BID), (10.2, 0, ASK))),
        (5, 1040, 1041 * MS, DEPTH, 13, 0.0, 10.0, BID),
        (6, 1050, 1053 * MS, TRADE, 77, 0.5, 10.1, ASK),
        (9, 1060, 1060 * MS, TOUCH, 20, 3.0, 10.0, BID),
        (9, 1060, 1060 * MS, TOUCH, 20, 4.0, 10.1, ASK),
    ]  # fmt: skip
    names = ["message", "time_ns", "local_ns", "kind", "order_id", "size", "price", "side"]
    wanted = [(line, time * MS, *rest) for line, time, *rest in rows]
    assert [tuple(row) for row in found[names].itertuples(index=False)] == wanted
    none, nan = [np.nan, 0.0, np.nan, 0.0] * 2, np.nan
    books = [none, none, *[[10.1, 4, 10.0, 2, 10.2, 6, 9.8, 5]] * 4, *[[10.1, 4, 10.0, 3, nan, 0, 9.9, 2]] * 3,
             *[[10.1, 4, 9.9, 2, nan, 0, 9.8, 5]] * 2, none, none]  # fmt: skip
    assert np.array_equal(found[events.book_columns(2)].to_numpy(), books, equal_nan=True)
    report = found.attrs["report"]
    assert report.pop("clock_ms") == pytest.approx([0, 0.000499, 6], abs=1e-12)
    assert report == {
        "depth": 5, "touch": 2, "trade": 1, "snapshot": 1, "dropped": 2, "other_trades": 1, "gaps": [[13, 19]],
        "before_snapshot": 4, "crossed_books": 0, "times_back": 1,
    }  # fmt: skip


def test_the_gap_is_refused_by_its_ids(tmp_path):
    with pytest.raises(EventError, match=r"line 8: updates 13 to 19 are missing \(a gap\)"):
        read(tmp_path / "c.txt", *DAY)


def test_a_book_may_be_crossed_and_is_counted(tmp_path):
    found = read(tmp_path / "c.txt", (0, snapshot(10, [["10.2", "1"]], [["10.1", "1"], ["10.2", "1"]])), levels=1)
    assert found.attrs["report"]["crossed_books"] == 3
    locked = read(tmp_path / "c.txt", (0, snapshot(10, [["10.1", "1"]], [["10.1", "1"]])), levels=1)
    assert locked.attrs["report"]["crossed_books"] == 2


@pytest.mark.parametrize(
    ("update", "rows"),
    [
        (depth(8, 9, [["9.9", "1"]]), 0),  # u before lastUpdateId
        (depth(9, 10, [["9.9", "1"]]), 1),
        (depth(10, 12, [["9.9", "1"]]), 1),
        (depth(11, 12, [["9.9", "1"]]), 1),  # U is the next
        (depth(12, 12, [["9.9", "1"]]), None),
        (depth(12, 12, [["9.9", "1"]], pu=10), 1),
        (depth(11, 12, [["9.9", "1"]], pu=9), None),
        (depth(10, 12, [["9.9", "1"]], pu=7), 1),
    ],
)
def test_the_first_update_after_a_snapshot(tmp_path, update, rows):
    """U ≤ lastUpdateId ≤ u, or the very next; what is older is dropped, what is later is a gap."""
    lines = (0, snapshot(10)), (1, update)
    if rows is None:
        with pytest.raises(EventError, match=f"line 2: updates 10 to {update['U']} are missing"):
            read(tmp_path / "c.txt", *lines)
        return
    found = read(tmp_path / "c.txt", *lines)
    assert (found["kind"] == DEPTH).sum() == rows
    assert found.attrs["report"]["dropped"] == 1 - rows


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (trade(1, maker=1), "m must be true or false; got 1"),
        (trade(1, price="0"), "price must be > 0 and size > 0; got 0.0 and 0.5"),
        (trade(1, size="0"), "price must be > 0 and size > 0; got 10.1 and 0.0"),
        (touch(1, bid_size="0"), "size > 0; got 10.0 and 0.0"),
        (touch(1, ask="0"), "price must be > 0"),
        (snapshot(10, [["0", "1"]]), "price must be > 0 and size >= 0; got 0.0 and 1.0"),
        (touch(2**63), "whole numbers from 0 to 9223372036854775807; got 9223372036854775808"),
        (touch(-1), "whole numbers from 0"),
        (trade(1, time=9223372036855), "whole numbers from 0 to 9223372036853"),
        ({**trade(1), "s": "R"}, "must be of one symbol, S; got 'R'"),
        ({"e": "kline", "s": "S"}, "must be depthUpdate, bookTicker, trade or a snapshot"),
        ({"e": ["trade"], "s": "S"}, "must be depthUpdate, bookTicker, trade or a snapshot"),
        ({"data": ["trade"]}, "'list' object has no attribute 'get'"),
        ({"e": "trade", "s": "S"}, "has no 'm'"),
        ({**touch(3), "T": 5}, "must have the exchange's time T in all messages of a kind, or in none"),
    ],
)
def test_a_message_that_cannot_be_is_refused_by_its_line(tmp_path, message, words):
    with pytest.raises(EventError) as refusal:
        read(tmp_path / "c.txt", (0, touch(1)), (1, message))
    assert f"c.txt, line 2: {words}" in str(refusal.value) or words in str(refusal.value).split("line 2: ")[1]


def test_the_largest_numbers_are_read_exactly(tmp_path):
    found = read(tmp_path / "c.txt", (2**63 - 1, {**touch(2**63 - 1), "T": 9223372036853}))
    assert found["order_id"].tolist() == [2**63 - 1] * 2
    assert found["local_ns"].tolist() == [2**63 - 1] * 2
    assert found["time_ns"].tolist() == [9223372036853 * MS] * 2
