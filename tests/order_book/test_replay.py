"""The rules of replay on tapes of a few lines, worked on paper; and what must hold whatever the tape."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.market_making import Quotes
from mmlib.order_book import replay, synthetic
from mmlib.order_book.replay import FEED

DEPTH, TRADE, GONE = 1, 2, 3
BID, ASK = 1, -1
NONE, LEAVE = -1, -2


def tape(*rows):
    """Rows (time, kind, side, tick, size), and of an order that is gone without a trade when it came."""
    feed = np.zeros(len(rows), FEED)
    for i, (time, kind, side, tick, size, *came) in enumerate(rows):
        feed[i] = (time, *(came or [time]), size, tick, kind, side, 0)
    return feed


BOOK = [(0, DEPTH, BID, 100, 5), (0, DEPTH, BID, 99, 7), (0, DEPTH, ASK, 102, 4), (0, DEPTH, ASK, 103, 6)]


def play(rows, wanted, *, latency=0, queue="back", size=2, step=10, power=3.0, partial=False):
    """Quote `wanted` at each decision (the last one on); the state at the end."""
    feed = tape(*rows)
    state = replay.start(feed, lot=1, order_size=size, step=step, latency=latency, queue=queue, power=power,
                         partial=partial, fills=64, messages=64)  # fmt: skip
    wanted = iter(wanted)
    last = (NONE, NONE)
    while not state["done"][0]:
        last = next(wanted, last)
        replay.step(feed, state, [last])
    return feed, state


def filled(state):
    return replay.fills(state)[["time_ns", "side", "tick", "size"]].to_numpy().tolist()


END = (1000, DEPTH, BID, 50, 1)


def test_an_order_waits_behind_all_that_was_there():
    """Bid at 100 behind 5: trades of 5 leave it untouched; half a lot beyond them fills it whole, at its price."""
    rows = [*BOOK, (25, TRADE, BID, 100, 5), (35, TRADE, BID, 100, 0.4), (45, TRADE, BID, 100, 0.1), END]
    _, state = play(rows, [(100, NONE), (LEAVE, LEAVE)])
    assert filled(state) == [[45, 1, 100, 2]]
    assert (state["cash"][0], state["position"][0]) == (-200, 2)


def test_front_is_the_first_trade_at_the_price():
    rows = [*BOOK, (25, TRADE, BID, 100, 1), END]
    _, state = play(rows, [(100, NONE), (LEAVE, LEAVE)], queue="front")
    assert filled(state) == [[25, 1, 100, 2]]


def test_depth_caps_what_is_ahead():
    """The level falls to 2 without a trade: at most 2 are ahead, so a trade of 3 fills."""
    rows = [*BOOK, (25, DEPTH, BID, 100, 2), (35, TRADE, BID, 100, 3), END]
    _, state = play(rows, [(100, NONE), (LEAVE, LEAVE)])
    assert filled(state) == [[35, 1, 100, 2]]


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_the_power_queue_shares_cancellations(power):
    """5 ahead on arrival; the level grows to 8 (3 behind), then 4 leave without a trade.

    b = 3, p = 3ⁿ/(3ⁿ + 5ⁿ); ahead = min(5 − (1 − p)4 + min(3 − 4p, 0), 4).
    """
    p = 3**power / (3**power + 5**power)
    ahead = min(5 - (1 - p) * 4 + min(3 - 4 * p, 0), 4)
    rows = [*BOOK, (15, DEPTH, BID, 100, 8), (25, DEPTH, BID, 100, 4), END]
    _, state = play(rows, [(100, NONE), (LEAVE, LEAVE)], queue="power", power=power)
    # after the run the order is still there
    order = int(np.flatnonzero(state["known"][0])[0])
    assert state["ahead"][0, order] == pytest.approx(ahead, abs=1e-12)


def test_only_who_came_before_is_ahead():
    """Behind 5 at 10; 4 come at 20; of the 5, 2 go at 22: 3 are ahead. Trades of 3 and of 1."""
    rows = [*BOOK, (20, DEPTH, BID, 100, 9), (22, GONE, BID, 100, 2, -1), (22, DEPTH, BID, 100, 7),
            (25, TRADE, BID, 100, 3), (25, DEPTH, BID, 100, 4), (35, TRADE, BID, 100, 1), END]  # fmt: skip
    _, state = play(rows, [(100, NONE), (LEAVE, LEAVE)], queue="orders")
    assert filled(state) == [[35, 1, 100, 2]]
    assert filled(play(rows, [(100, NONE), (LEAVE, LEAVE)])[1]) == []  # told nothing of who left, 1 is still ahead
    late = [*BOOK, (20, DEPTH, BID, 100, 9), (24, GONE, BID, 100, 4, 20), (24, DEPTH, BID, 100, 5),
            (25, TRADE, BID, 100, 4), (25, DEPTH, BID, 100, 1), (35, TRADE, BID, 100, 1), END]  # fmt: skip
    assert filled(play(late, [(100, NONE), (LEAVE, LEAVE)], queue="orders")[1]) == []


def by_hand(events, side, price, arrival):
    """Time at which an order at `price` that came at `arrival` (ns) is reached, from a list of who is before it."""
    ahead, name = {}, "ask" if side == BID else "bid"
    for row in events.itertuples():
        here = row.side == side and abs(row.price - price) < 1e-9
        if row.time_ns > arrival:
            worse = row.kind == 4 and row.side == side and side * (price - row.price) > 1e-9
            through = side * (getattr(row, f"{name}_price_1") - price) < 1e-9
            if worse or through or (here and row.kind == 4 and row.order_id not in ahead):
                return row.time_ns
        elif here and row.kind == 1:
            ahead[row.order_id] = row.size
        if here and row.kind in (2, 3, 4) and row.order_id in ahead:
            ahead[row.order_id] -= row.size
    return None


@pytest.mark.parametrize("side", [BID, ASK])
def test_the_queue_of_orders_is_the_list_of_their_numbers(side):
    """One order at a time, at every fifth second and up to four ticks from the touch."""
    feed = replay.feed(CHURNED, 0.01, 1, orders=True)
    name = "bid" if side == BID else "ask"
    found = []
    for k in range(2, 50, 5):
        state = replay.start(feed, lot=1, order_size=1, step=10**9, queue="orders")
        while not state["done"][0]:
            here = state["decision"][0] == k
            touch = int(state[f"seen_{name}"][0])
            if here:
                tick, arrival = touch - side * (k % 4), int(state["now"][0])
            want = tick if here else LEAVE
            replay.step(feed, state, [(want, LEAVE) if side == BID else (LEAVE, want)])
        done = replay.fills(state)["time_ns"].tolist()
        expected = by_hand(CHURNED, side, 0.01 * tick, arrival)
        assert done == ([] if expected is None else [expected]), (k, tick)
        found += done
    assert len(found) > 5


def test_orders_without_numbers_have_no_queue():
    feed = replay.feed(EVENTS, 0.01, 1)
    with pytest.raises(ValueError, match='queue "orders" must have a feed made with orders=True'):
        replay.start(feed, lot=1, order_size=1, queue="orders")
    twice = EVENTS.copy()
    twice.loc[3, "order_id"] = twice.loc[2, "order_id"]
    with pytest.raises(ValueError, match="events must submit an order once"):
        replay.feed(twice, 0.01, 1, orders=True)


def test_a_trade_beyond_the_price_and_a_touch_that_reaches_it_fill():
    rows = [*BOOK, (25, TRADE, ASK, 103, 1), END]
    _, state = play(rows, [(NONE, 102), (LEAVE, LEAVE)])
    assert filled(state) == [[25, -1, 102, 2]]
    rows = [*BOOK, (25, DEPTH, BID, 102, 1), END]
    _, state = play(rows, [(NONE, 102), (LEAVE, LEAVE)])
    assert filled(state) == [[25, -1, 102, 2]]


def test_an_order_that_would_cross_on_arrival_expires():
    """Sent at 0 to rest at 101; by its arrival at 5 the ask is 101."""
    rows = [*BOOK, (3, DEPTH, ASK, 101, 1), (25, TRADE, BID, 90, 9), END]
    _, state = play(rows, [(101, NONE), (LEAVE, LEAVE)], latency=5, step=4)
    assert filled(state) == []


def test_data_come_before_a_request_at_one_time():
    """The order arrives at 5 with the trade of 5 behind the data: it cannot be hit by it."""
    rows = [*BOOK, (15, TRADE, BID, 99, 9), (25, TRADE, BID, 99, 9), END]
    _, state = play(rows, [(100, NONE), (LEAVE, LEAVE)], latency=5)  # decided at 10, there at 15
    assert filled(state) == [[25, 1, 100, 2]]


def test_what_is_known_is_what_has_arrived():
    """A fill at 25 with 30 for the answer is known at 60, not at 50; the touch of 25 is seen from 55 on."""
    rows = [*BOOK, (25, DEPTH, BID, 102, 1), END]
    feed = tape(*rows)
    state = replay.start(feed, lot=1, order_size=2, step=10, latency=(30, 0, 30), fills=8, messages=64)
    replay.step(feed, state, [(NONE, 102)])
    seen = []
    while not state["done"][0]:
        seen.append((int(state["now"][0]), int(state["known_position"][0]), int(state["seen_bid"][0])))
        replay.step(feed, state, [(LEAVE, LEAVE)])
    assert (50, 0, 100) in seen
    assert (60, -2, 102) in seen


def test_decisions_end_when_nothing_is_left():
    rows = [*BOOK, (95, DEPTH, BID, 100, 6)]
    assert play(rows, [])[1]["decision"][0] == 9
    assert play(rows, [], latency=(6, 0, 0))[1]["decision"][0] == 10  # the last row is seen at 101


def test_partial_fills_take_what_is_left_of_the_trade():
    """2 ahead of 5 lots wanted: trades of 4 and 1 give 2 and 1; all is conserved."""
    rows = [*BOOK, (15, DEPTH, BID, 100, 2), (25, TRADE, BID, 100, 4), (35, TRADE, BID, 100, 1), END]
    _, state = play(rows, [(100, NONE), (LEAVE, LEAVE)], size=5, partial=True)
    assert filled(state) == [[25, 1, 100, 2], [35, 1, 100, 1]]
    assert state["left"][0].sum() == 2


def test_a_crossing_bid_moves_the_ask_to_the_next_above_it():
    rows = [*BOOK, (5, DEPTH, BID, 102, 3), END]
    _, state = play(rows, [])
    assert (state["bid"][0], state["ask"][0]) == (102, 103)


def table(distance, *, limit=None, target=None, size=1.0, horizon=1e9):
    q = np.arange(-3, 4)
    bid, ask = (np.full((1, 7), distance) for _ in range(2))
    if limit is None:
        bid[:, -1], ask[:, 0] = np.nan, np.nan
    return Quotes([0.0], q, bid, ask, horizon, size=size, limit=limit, target=target)


def test_a_table_is_quoted_on_ticks_away_from_the_mid():
    """Mid 101: a distance of 1.2 ticks is a bid of 99 and an ask of 103."""
    feed = tape(*BOOK, (25, TRADE, BID, 98, 1), (35, TRADE, ASK, 104, 1), END)
    state = replay.start(feed, lot=1, order_size=1, step=10, fills=16, messages=64)
    replay.run(feed, state, *replay.quoter(table(1.2), 1.0))
    assert filled(state)[:2] == [[25, 1, 99, 1], [35, -1, 103, 1]]


def test_a_table_in_currency_is_divided_by_the_tick_a_side_at_a_time():
    """Ticks of .5, mid 50.5: a bid .6 away is at 49.9, down to 49.5 (99); an ask .9 away at 51.4, up to 51.5 (103)."""
    quotes = table(0.6)
    quotes = replace(quotes, ask=np.where(np.isnan(quotes.ask), np.nan, 0.9))
    feed = tape(*BOOK, (25, TRADE, BID, 98, 1), (35, TRADE, ASK, 104, 1), END)
    state = replay.start(feed, lot=1, order_size=1, step=10, fills=16, messages=64)
    replay.run(feed, state, *replay.quoter(quotes, 0.5))
    assert filled(state)[:2] == [[25, 1, 99, 1], [35, -1, 103, 1]]


def test_the_three_latencies_are_of_data_requests_and_answers():
    """A bid asked for at 10 stands from 13: the trade at 12 misses it, that at 14 fills it, known at 39, seen at 40."""
    trades = [(12, TRADE, BID, 100, 9), (14, TRADE, BID, 100, 9)]
    feed = tape(*BOOK, *trades, END)
    state = replay.start(feed, lot=1, order_size=2, step=10, latency=(0, 3, 25), queue="front", fills=16, messages=64)
    known = {}
    while not state["done"][0]:
        known[int(state["now"][0])] = int(state["known_position"][0])
        replay.step(feed, state, [(100 if state["now"][0] == 10 else LEAVE, NONE)])
    assert filled(state) == [[14, 1, 100, 2]]
    assert {time: known[time] for time in (10, 20, 30, 40, 50)} == {10: 0, 20: 0, 30: 0, 40: 2, 50: 2}


def test_decisions_are_counted_from_the_first_row():
    feed = tape((5, DEPTH, BID, 100, 5), (9, DEPTH, ASK, 102, 5), (50, TRADE, BID, 98, 1))
    state, times = replay.start(feed, lot=1, order_size=1, step=10, fills=4, messages=8), []
    while not state["done"][0]:
        times.append(int(state["now"][0]))
        replay.step(feed, state, [(NONE, NONE)])
    assert times == [15, 25, 35, 45]


def test_sizes_are_counted_in_lots():
    """300 units in lots of 50 are six lots: a taker of 200 units fills four of them."""
    feed = tape(*BOOK, (25, TRADE, BID, 100, 200), END)
    state = replay.start(feed, lot=50, order_size=300, step=10, queue="front", partial=True, fills=16, messages=64)
    while not state["done"][0]:
        replay.step(feed, state, [(100, NONE)])
    assert filled(state) == [[25, 1, 100, 4]]


@pytest.mark.parametrize("size", [1.0 + 2e-9, 1.5, 0.4, 2.0**53])
def test_an_order_is_a_whole_number_of_lots_that_a_float_can_count(size):
    with pytest.raises(ValueError, match="order_size must be a whole number of lots"):
        replay.start(tape(*BOOK), lot=1, order_size=size)
    replay.start(tape(*BOOK), lot=1, order_size=round(size) or 1) if size < 2**53 else None


def test_local_times_are_used_only_where_they_are_times_of_arrival():
    """Later than the exchange's and in order, or the latency of data must be given as a number."""
    good = [(5, 7), (6, 9), (8, 9), (20, 20)]
    for row, changed in ((1, (6, 5)), (2, (8, 8))):
        rows = [*good[:row], changed, *good[row + 1 :]]
        feeds = [tape(*((ts, DEPTH, BID, 100 + i, 5, local) for i, (ts, local) in enumerate(r))) for r in (good, rows)]
        replay.start(feeds[0], lot=1, order_size=1, latency=(None, 0, 0))
        replay.start(feeds[1], lot=1, order_size=1, latency=(0, 0, 0))
        with pytest.raises(ValueError, match="latency must be given: the feed's local times go back, or are before"):
            replay.start(feeds[1], lot=1, order_size=1, latency=(None, 0, 0))


def test_only_the_latency_of_data_may_be_left_to_the_feed():
    with pytest.raises(ValueError, match="latency must be an integer and >= 0"):
        replay.start(tape(*BOOK), lot=1, order_size=1, latency=(0, None, 0))


def test_beyond_a_hard_limit_a_taker_brings_the_position_to_the_target():
    """Four bids fill at limit 3; the cut sells 4 at the bids of the book, walking down: 5 are there."""
    trades = [(25 + 10 * i, TRADE, BID, 98, 1) for i in range(4)]
    feed = tape(*BOOK, *trades, END)
    state = replay.start(feed, lot=1, order_size=1, step=10, fills=64, messages=64)
    replay.run(feed, state, *replay.quoter(table(1.2, limit=3, target=0), 1.0))
    done = replay.fills(state)
    cut = done[done["taker"]]
    assert (cut["side"] == -1).all()
    assert cut["tick"].tolist() == [100]
    assert cut["size"].sum() == 4
    assert done[done["time_ns"] == cut["time_ns"].iloc[0]]["size"].sum() == 4


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    queue=st.sampled_from(sorted(replay.QUEUES)),
    latency=st.sampled_from([0, 1_000_000, 300_000_000]),
    partial=st.booleans(),
    half=st.integers(1, 4),
)
def test_cash_position_and_profit_are_conserved(seed, queue, latency, partial, half):
    """Whatever the book: Σ of the fills is the position and the cash, the parts are the profit."""
    rng = np.random.default_rng(seed)
    feed = replay.feed(EVENTS, 0.01, 1, orders=queue == "orders")
    size = int(rng.integers(1, 300))
    state = replay.start(feed, lot=1, order_size=size, latency=latency, queue=queue, partial=partial, orders=32)
    replay.run(feed, state, *replay.quoter(table(half * 0.01), 0.01))
    report = replay.pay(feed, state, tick=0.01, maker_fee=1e-4, taker_fee=3e-4)
    done = report.fills
    signed = done["side"] * done["size"]
    assert signed.sum() == state["position"][0]
    assert -(signed * done["tick"]).sum() == state["cash"][0]
    end = state["bid"][0] + state["ask"][0]
    before_fees = 0.005 * (2 * int(state["cash"][0]) + int(state["position"][0]) * int(end))
    assert report.profit + report.fees == pytest.approx(before_fees, abs=1e-9 * max(1.0, abs(before_fees)))
    assert report.fees == pytest.approx(1e-4 * 0.01 * (done["tick"] * done["size"]).sum(), rel=1e-12)
    assert report.spread + report.markout + report.holding == pytest.approx(before_fees, abs=1e-6)


EVENTS = synthetic.lobster_events(seconds=60, seed=2, sigma=0.01)
CHURNED = synthetic.lobster_events(seconds=60, seed=4, sigma=0.005, churn=40.0, levels=15)


def test_no_orders_no_profit():
    feed = replay.feed(EVENTS, 0.01, 1)
    state = replay.start(feed, lot=1, order_size=1)
    replay.run(feed, state, *replay.quoter(table(1e6), 0.01))
    assert replay.pay(feed, state, tick=0.01).profit == 0


def test_books_side_by_side_are_books_alone():
    feed = replay.feed(EVENTS, 0.01, 1)
    states = [replay.start(feed, lot=1, order_size=100, books=n) for n in (1, 3)]
    for state in states:
        replay.run(feed, state, *replay.quoter(table(0.02), 0.01))
    assert (states[1]["cash"] == states[0]["cash"][0]).all()
    assert states[0]["fills"][0] > 0


def test_later_events_change_nothing_before_them():
    """No look-ahead: another future, the same decisions and fills until then."""
    feed = replay.feed(EVENTS, 0.01, 1)
    half = len(feed) // 2
    other = feed.copy()
    other["qty"][half:] = 1 + other["qty"][half:] // 2
    outcome = []
    for tape_ in (feed, other):
        state = replay.start(tape_, lot=1, order_size=100)
        while state["now"][0] + state["step"][0] < feed["ts"][half]:
            replay.step(tape_, state, [(state["seen_bid"][0], state["seen_ask"][0])])
        outcome.append((state["cash"][0], state["position"][0], state["seen_bid"][0], int(state["fills"][0])))
    assert outcome[0] == outcome[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": "middle"}, "queue must be one of"),
        ({"order_size": 0.5}, "order_size must be a whole number of lots"),
        ({"latency": -1}, "latency must be an integer and >= 0"),
        ({"latency": (1, 2)}, "latency must be one number or three"),
        ({"step": 0}, "step must be an integer and >= 1"),
        ({"books": 0}, "books must be an integer and >= 1"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        replay.start(tape(*BOOK), **{"lot": 1, "order_size": 1} | options)


def test_too_little_room_is_said():
    feed = replay.feed(EVENTS, 0.01, 1)
    state = replay.start(feed, lot=1, order_size=1, fills=1)
    with pytest.raises(RuntimeError, match="more fills than `fills`"):
        replay.run(feed, state, *replay.quoter(table(0.0), 0.01))
    rows = tape(*BOOK, (25, TRADE, BID, 98, 9), (35, TRADE, BID, 98, 9), END)
    state = replay.start(rows, lot=1, order_size=1, step=10, fills=1)
    with pytest.raises(RuntimeError, match="more fills than `fills`"):
        for _ in range(10):
            replay.step(rows, state, [(100, NONE)])


def test_the_curve_is_the_account_every_second():
    """Position and cash from the fills, the mid from the table of events, second by second."""
    feed = replay.feed(EVENTS, 0.01, 1)
    state = replay.start(feed, lot=1, order_size=100)
    replay.run(feed, state, *replay.quoter(table(0.02), 0.01))
    report = replay.pay(feed, state, tick=0.01, maker_fee=1e-4)
    seconds = int((feed["ts"][-1] - feed["ts"][0]) // 10**9)
    assert report.curve["time_ns"].tolist() == [feed["ts"][0] + n * 10**9 for n in range(seconds + 1)]
    done, mid = report.fills, 0.5 * (EVENTS["ask_price_1"] + EVENTS["bid_price_1"])
    for row in report.curve.itertuples():
        past = done[done["time_ns"] <= row.time_ns]
        signed, value = past["side"] * past["size"], 0.01 * past["tick"]
        assert row.position == signed.sum()
        now = mid[EVENTS["time_ns"] <= row.time_ns].iloc[-1]
        account = signed.sum() * now - (signed * value).sum() - 1e-4 * (past["size"] * value).sum()
        assert (row.mid, row.profit) == pytest.approx((now, account), abs=1e-7)
    assert report.curve["position"].abs().max() > 0
