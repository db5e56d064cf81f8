"""The exchange and the way to it, compiled; `replay` has the rules. Own orders are counted in lots, whole numbers.

A book of the state is one record. Its exchange runs from decision to decision: market data and requests in order of
time, data first at a tie. What the strategy knows at a decision are the responses and the touches that have reached it
by then; touches on their way stand in a ring with the times of their arrival.
"""

import numpy as np
from numba import njit

DATA_DEPTH, DATA_TRADE, DATA_LEAVE = 1, 2, 3
BACK, POWER, FRONT, ORDERS = 0, 1, 2, 3  # queue models
FREE, SENT, RESTING, GONE = 0, 1, 2, 3  # an order at the exchange
KNOWN_SENT, KNOWN_OPEN, KNOWN_CANCEL = 1, 2, 3  # an order as the strategy knows it
NEW, CANCEL, TAKE = 1, 2, 3  # requests
ACCEPTED, FILLED, ENDED = 1, 2, 3  # responses; ENDED: cancelled, or expired since it would have crossed
NONE, LEAVE = -1, -2  # ticks wanted
NO_BID, NO_ASK = -1, 2**62
OK, TOO_MANY_ORDERS, TOO_MANY_FILLS, TOO_MANY_MESSAGES = 0, 1, 2, 3
NEVER = 2**62
FAR = 2.0**31  # ticks from the mid beyond which an order would never fill: none is sent; NaN is none too


@njit(cache=True)
def _touch_changed(s, now, local):
    """Put the new touch on its way; touches that have been overtaken by another that has arrived go."""
    _see(s, now)
    size = len(s.touch_time)
    if s.touches == size:
        s.fault = TOO_MANY_MESSAGES
        return
    at = (s.touch_first + s.touches) % size
    s.touch_time[at], s.touch_bid[at], s.touch_ask[at] = local, s.bid, s.ask
    s.touches += 1


@njit(cache=True)
def _see(s, now):
    """Take the touches that have arrived by `now`."""
    size = len(s.touch_time)
    while s.touches > 0 and s.touch_time[s.touch_first] <= now:
        s.seen_bid, s.seen_ask = s.touch_bid[s.touch_first], s.touch_ask[s.touch_first]
        s.touch_first = (s.touch_first + 1) % size
        s.touches -= 1


@njit(cache=True)
def _respond(s, now, what, order, size):
    n = len(s.answer_time)
    if s.answers == n:
        s.fault = TOO_MANY_MESSAGES
        return
    at = (s.answer_first + s.answers) % n
    s.answer_time[at], s.answer_what[at] = now + s.response_latency, what
    s.answer_order[at], s.answer_size[at] = order, size
    s.answers += 1


@njit(inline="always")
def _hear(s, now):
    """Take the responses that have arrived by `now`."""
    n = len(s.answer_time)
    while s.answers > 0 and s.answer_time[s.answer_first] <= now:
        at = s.answer_first
        order = s.answer_order[at]
        if s.answer_what[at] == ACCEPTED:
            if s.known[order] == KNOWN_SENT:
                s.known[order] = KNOWN_OPEN
        else:
            if s.answer_what[at] == FILLED:
                s.known_position += s.side[order] * s.answer_size[at]
                s.known_left[order] -= s.answer_size[at]
            if s.answer_what[at] == ENDED or s.known_left[order] == 0:
                s.known[order] = 0
                s.at_exchange[order] = FREE
        s.answer_first = (s.answer_first + 1) % n
        s.answers -= 1
        s.news = True


@njit(cache=True)
def _fill(s, now, order, size, tick, mid, taker):
    """Book a fill of the order; `mid` in half ticks, before what filled it."""
    n = s.fills
    if n == len(s.fill_time):
        s.fault = TOO_MANY_FILLS
        return
    s.fill_time[n], s.fill_side[n], s.fill_tick[n], s.fill_size[n] = now, s.side[order], tick, size
    s.fill_mid[n], s.fill_waited[n], s.fill_taker[n] = mid, now - s.arrived[order], taker
    s.fills = n + 1
    s.position += s.side[order] * size
    s.cash -= s.side[order] * size * tick
    s.left[order] -= size
    if s.left[order] == 0 and not taker:
        s.at_exchange[order] = GONE
        s.resting -= 1
    _respond(s, now, FILLED, order, size)


@njit(cache=True)
def _trade(s, now, side, tick, size):
    """A trade against resting orders of `side` (+1: against bids) at `tick`."""
    mid = s.bid + s.ask
    for order in range(s.used):
        if s.at_exchange[order] != RESTING or s.side[order] != side:
            continue
        beyond = (s.tick[order] - tick) * side
        if beyond > 0:
            _fill(s, now, order, s.left[order], s.tick[order], mid, False)
        elif beyond == 0:
            if s.queue == FRONT:
                s.ahead[order] = 0.0
            s.ahead[order] -= size
            s.traded[order] += size
            reached = np.int64(np.floor(-s.ahead[order] / s.lot + 0.5))
            if reached > 0:
                s.ahead[order] = 0.0
                part = min(s.left[order], reached) if s.partial else s.left[order]
                _fill(s, now, order, part, s.tick[order], mid, False)


@njit(cache=True)
def _leave(s, side, tick, size, came):
    """An order that came at time `came` takes `size` out of the queue: it was ahead of those that came later."""
    for order in range(s.used):
        here = s.at_exchange[order] == RESTING and s.side[order] == side and s.tick[order] == tick
        if here and came <= s.arrived[order]:
            s.ahead[order] = max(s.ahead[order] - size, 0.0)


@njit(cache=True)
def _queue(s, order, before, after):
    """What is ahead of an order when its level goes from `before` to `after`."""
    ahead = s.ahead[order]
    if s.queue != POWER:
        s.ahead[order] = min(ahead, after)
        return
    change = before - after - s.traded[order]
    s.traded[order] = 0.0
    if change < 0:
        s.ahead[order] = min(ahead, after)
        return
    behind = before - ahead
    weight_behind, weight_ahead = max(behind, 0.0) ** s.power, max(ahead, 0.0) ** s.power
    if weight_behind + weight_ahead == 0:
        s.ahead[order] = after
        return
    p = weight_behind / (weight_behind + weight_ahead)
    s.ahead[order] = min(ahead - (1 - p) * change + min(behind - p * change, 0.0), after)


@njit(cache=True)
def _depth(s, now, local, side, tick, size):
    """Set a level; fill what the touch of the other side has reached."""
    at = tick - s.lowest
    bid, ask = s.bid, s.ask
    sizes = s.bids if side == 1 else s.asks
    before = sizes[at]
    empty = size < 0.5 * s.lot
    after = 0.0 if empty else size
    sizes[at] = after
    if side == 1:
        if empty:
            if tick == bid:
                s.bid = _next(s.bids, at - 1, -1, s.lowest, NO_BID)
        elif tick > bid:
            s.bid = tick
            if tick >= ask:
                s.ask = _next(s.asks, at + 1, 1, s.lowest, NO_ASK)
    elif empty:
        if tick == ask:
            s.ask = _next(s.asks, at + 1, 1, s.lowest, NO_ASK)
    elif tick < ask:
        s.ask = tick
        if tick <= bid:
            s.bid = _next(s.bids, at - 1, -1, s.lowest, NO_BID)
    if s.resting > 0:
        for order in range(s.used):
            if s.at_exchange[order] == RESTING:
                if s.side[order] == side:
                    if s.tick[order] == tick:
                        _queue(s, order, before, after)
                elif (side == 1 and s.bid > bid and s.tick[order] <= s.bid) or (
                    side == -1 and s.ask < ask and s.tick[order] >= s.ask
                ):
                    _fill(s, now, order, s.left[order], s.tick[order], bid + ask, False)
    if s.bid != bid or s.ask != ask:
        _touch_changed(s, now, local)


@njit(cache=True)
def _next(sizes, at, step, lowest, none):
    """Tick of the next level that is not empty."""
    while 0 <= at < len(sizes):
        if sizes[at] > 0:
            return at + lowest
        at += step
    return none


@njit(cache=True)
def _request(s, what, order, now):
    n = len(s.request_time)
    if s.requests == n:
        s.fault = TOO_MANY_MESSAGES
        return
    at = (s.request_first + s.requests) % n
    s.request_time[at], s.request_what[at] = now + s.entry_latency, what
    s.request_order[at], s.request_number[at] = order, s.number[order]
    s.requests += 1


@njit(cache=True)
def _arrive(s):
    """The exchange takes its next request."""
    at = s.request_first
    order, now = s.request_order[at], s.request_time[at]
    s.request_first = (at + 1) % len(s.request_time)
    s.requests -= 1
    if s.number[order] != s.request_number[at]:
        return
    if s.request_what[at] == NEW:
        side, tick = s.side[order], s.tick[order]
        if (side == 1 and tick >= s.ask) or (side == -1 and tick <= s.bid):
            s.at_exchange[order] = GONE
            _respond(s, now, ENDED, order, 0)
            return
        s.at_exchange[order] = RESTING
        s.resting += 1
        s.arrived[order], s.traded[order] = now, 0.0
        level = tick - s.lowest
        s.ahead[order] = (s.bids if side == 1 else s.asks)[level] if 0 <= level < len(s.bids) else 0.0
        _respond(s, now, ACCEPTED, order, 0)
    elif s.request_what[at] == TAKE:
        _take(s, now, order)
    elif s.at_exchange[order] == RESTING:
        s.at_exchange[order] = GONE
        s.resting -= 1
        _respond(s, now, ENDED, order, 0)


@njit(cache=True)
def _take(s, now, order):
    """Fill an order at the other side's levels, from the best on; what they cannot fill ends."""
    side, mid = s.side[order], s.bid + s.ask
    sizes, tick = (s.asks, s.ask) if side == 1 else (s.bids, s.bid)
    s.arrived[order] = now
    while s.left[order] > 0 and tick != NO_BID and tick != NO_ASK:
        there = np.int64(np.floor(sizes[tick - s.lowest] / s.lot + 0.5))
        if there > 0:
            _fill(s, now, order, min(s.left[order], there), tick, mid, True)
        tick = _next(sizes, tick - s.lowest + side, side, s.lowest, NO_ASK if side == 1 else NO_BID)
    s.at_exchange[order] = GONE
    _respond(s, now, ENDED, order, 0)


@njit(cache=True)
def _send(s, what, side, tick, size):
    """Send a new order, to rest or to take, in the first free place."""
    for order in range(len(s.side)):
        if s.known[order] == 0 and s.at_exchange[order] == FREE:
            s.known[order], s.at_exchange[order], s.taking[order] = KNOWN_SENT, SENT, what == TAKE
            s.side[order], s.tick[order], s.left[order], s.known_left[order] = side, tick, size, size
            s.sent += 1
            s.used = max(s.used, order + 1)
            s.number[order] = s.sent
            _request(s, what, order, s.now)
            return
    s.fault = TOO_MANY_ORDERS


@njit(inline="always")
def want(s, side, tick, size):
    """Keep an order at `tick`, cancel others of the side, send what is missing."""
    if tick == LEAVE:
        return
    missing = tick >= 0
    for order in range(s.used):
        if s.known[order] != 0 and s.side[order] == side and not s.taking[order]:
            if s.tick[order] == tick and tick >= 0:
                missing = False
            elif s.known[order] == KNOWN_OPEN:
                s.known[order] = KNOWN_CANCEL
                _request(s, CANCEL, order, s.now)
    if missing:
        _send(s, NEW, side, tick, size)


@njit(cache=True)
def cut(s, target):
    """Send a taker's order that brings the known position back to ±`target` lots; quotes of both sides are pulled."""
    for order in range(s.used):
        if s.known[order] != 0 and s.taking[order]:
            return
    _send(s, TAKE, -1 if s.known_position > 0 else 1, NONE, abs(s.known_position) - target)


@njit(inline="always")
def _advance(feed, s, decisions, policy, parameters):
    """Run one book through `decisions` decisions, or to its end (sets `done`): ask for ticks, then to the next."""
    n = len(feed)
    last = feed[n - 1].ts + s.feed_latency if s.feed_latency >= 0 else feed[n - 1].local
    cursor = s.cursor
    while decisions > 0 and not s.done and s.fault == OK:
        bid, ask = policy(s, *parameters)
        if s.news or bid != s.asked_bid or ask != s.asked_ask:  # else it would ask for what it has asked for
            want(s, 1, bid, s.order_size)
            want(s, -1, ask, s.order_size)
            s.asked_bid, s.asked_ask, s.news = bid, ask, False
        now = s.now + s.step
        while s.fault == OK:
            request = s.request_time[s.request_first] if s.requests > 0 else NEVER
            until = min(now, request)
            while cursor < n and feed[cursor].ts <= until and s.fault == OK:
                row = feed[cursor]
                kind, ts, local, side, tick, qty = row.kind, row.ts, row.local, row.side, row.tick, row.qty
                cursor += 1
                if kind == DATA_DEPTH:
                    _depth(s, ts, ts + s.feed_latency if s.feed_latency >= 0 else local, side, tick, qty)
                elif s.resting > 0:
                    if kind == DATA_TRADE:
                        _trade(s, ts, side, tick, qty)
                    elif s.queue == ORDERS:
                        _leave(s, side, tick, qty, local)
            if request > now or s.fault != OK:
                break
            _arrive(s)
        _see(s, now)
        _hear(s, now)
        if cursor == n and s.requests == 0 and s.answers == 0 and last <= now:
            s.done = True
        else:
            s.now = now
            s.decision += 1
            decisions -= 1
    s.cursor = cursor


@njit(cache=True)
def _given(s, bid, ask):
    return bid, ask


@njit(cache=True, nogil=True)
def step(feed, state, wanted):
    """Each book: ask for `wanted` (B, 2) ticks of bid and ask, then on to the next decision."""
    for b in range(len(state)):
        _advance(feed, state[b], 1, _given, (wanted[b, 0], wanted[b, 1]))


@njit(nogil=True)
def run(feed, state, policy, parameters):
    """Each book to its end with a compiled policy."""
    for b in range(len(state)):
        _advance(feed, state[b], NEVER, policy, parameters)


@njit(cache=True, nogil=True)
def touches(feed, s):
    """Bid and ask after each row of the feed, in ticks, from a state that has not begun."""
    bid, ask = np.empty(len(feed), np.int64), np.empty(len(feed), np.int64)
    for i in range(len(feed)):
        row = feed[i]
        if row.kind == DATA_DEPTH:
            s.touches = 0
            _depth(s, row.ts, row.ts, row.side, row.tick, row.qty)
        bid[i], ask[i] = s.bid, s.ask
    return bid, ask


@njit(cache=True)
def tabled(s, times, lowest, bid, ask, slack, limit, target):
    """The policy of a table of quotes (n, m) in ticks: bid and ask distances from the mid, rounded away from it."""
    elapsed = s.now - s.begun
    if elapsed >= times[-1]:
        return NONE, NONE
    row = np.searchsorted(times, elapsed, side="right") - 1
    q = np.int64(np.rint(s.known_position / s.order_size))
    if limit >= 0 and abs(q) >= limit + 1:
        cut(s, target * s.order_size)
        return NONE, NONE
    if s.seen_bid == NO_BID or s.seen_ask == NO_ASK or row < 0:
        return NONE, NONE
    column = min(max(q - lowest, 0), bid.shape[1] - 1)
    mid = 0.5 * (s.seen_bid + s.seen_ask)
    below, above = bid[row, column], ask[row, column]
    wanted_bid, wanted_ask = NONE, NONE
    if abs(below) < FAR and q <= lowest + column:
        wanted_bid = max(min(np.int64(np.floor(mid - below + slack)), s.seen_ask - 1), NONE)
    if abs(above) < FAR and q >= lowest + column:
        wanted_ask = max(np.int64(np.ceil(mid + above - slack)), s.seen_bid + 1)
    return wanted_bid, wanted_ask


@njit(cache=True, nogil=True)
def run_table(feed, state, *parameters):
    """`run` with the policy `tabled`, kept compiled from one process to the next."""
    for b in range(len(state)):
        _advance(feed, state[b], NEVER, tabled, parameters)
