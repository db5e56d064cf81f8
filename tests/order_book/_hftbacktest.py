"""Another engine, hftbacktest 2.4.4, with the same strategy on the same feed; run by the Python of its environment.

    .venv-hftbacktest/bin/python tests/order_book/_hftbacktest.py FOLDER

FOLDER has the rows of `replay.FEED` in feed.npy and runs.json, a list of settings. For the i-th it gets i.npz: the
strategy's position at each decision (lots), the number of trades, the cash (ticks × lots), the seconds of processor.
"""

import json
import math
import sys
import time
from pathlib import Path

import hftbacktest as h
import numpy as np
from hftbacktest.types import event_dtype
from numba import njit


@njit
def run(hbt, step, half, skew, most, size, lots, positions):
    """The test strategy, in half ticks: quotes around the mid, shifted by the position."""
    number, decision = 1, 0
    while hbt.elapse(step) == 0:
        hbt.clear_inactive_orders(0)
        position = round(hbt.position(0) / size)
        positions[decision] = position * lots
        decision += 1
        depth = hbt.depth(0)
        best_bid, best_ask = depth.best_bid_tick, depth.best_ask_tick
        m = best_bid + best_ask
        bid = min(math.floor((m - max(half + skew * position, 0)) / 2), best_bid) if position < most else -1
        ask = max(math.ceil((m + max(half - skew * position, 0)) / 2), best_ask) if position > -most else -1
        have_bid, have_ask = bid < 0, ask < 0
        orders = hbt.orders(0)
        values = orders.values()
        while values.has_next():
            order = values.get()
            wanted = bid if order.side == h.BUY else ask
            if order.price_tick == wanted:
                if order.side == h.BUY:
                    have_bid = True
                else:
                    have_ask = True
            elif order.cancellable:
                hbt.cancel(0, order.order_id, False)
        if not have_bid:
            hbt.submit_buy_order(0, number, bid * 1.0, size, h.GTX, h.LIMIT, False)
            number += 1
        if not have_ask:
            hbt.submit_sell_order(0, number, ask * 1.0, size, h.GTX, h.LIMIT, False)
            number += 1
    return decision


def events(feed, latency):
    """The feed in hftbacktest's columns, prices in ticks."""
    out = np.zeros(len(feed), event_dtype)
    kind = np.where(feed["kind"] == 1, h.DEPTH_EVENT, h.TRADE_EVENT)
    bid = feed["side"] == 1  # the resting side; a trade is named by who started it
    side = np.where(bid == (feed["kind"] == 1), h.BUY_EVENT, h.SELL_EVENT)
    out["ev"] = kind | side | h.EXCH_EVENT | h.LOCAL_EVENT
    out["exch_ts"], out["local_ts"] = feed["ts"], feed["ts"] + latency
    out["px"], out["qty"] = feed["tick"], feed["qty"]
    return out


def main(folder):
    feed = np.load(Path(folder, "feed.npy"))
    for i, run_ in enumerate(json.loads(Path(folder, "runs.json").read_text())):
        wait, entry, response = run_["latency"]
        lot, lots, step = run_["lot"], run_["lots"], run_["step"]
        data = events(feed, wait)  # kept: the engine has only its address
        asset = h.BacktestAsset().data([data]).linear_asset(1.0).constant_order_latency(entry, response)
        asset = asset.power_prob_queue_model(3.0) if run_["queue"] == "power" else asset.risk_adverse_queue_model()
        asset = asset.no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0).tick_size(1.0).lot_size(lot)
        asset = asset.roi_lb(float(feed["tick"].min())).roi_ub(float(feed["tick"].max()))
        hbt = h.ROIVectorMarketDepthBacktest([asset])
        positions = np.zeros(int(feed["ts"][-1] - feed["ts"][0] + wait + entry + response) // step + 10, np.int64)
        begin = time.process_time()
        n = run(hbt, step, run_["half"], run_["skew"], run_["most"], lot * lots, lots, positions)
        seconds = time.process_time() - begin
        values = hbt.state_values(0)
        np.savez(Path(folder, f"{i}.npz"), positions=positions[:n], cash=values.balance / lot,
                 trades=values.num_trades, seconds=seconds)  # fmt: skip
        hbt.close()


if __name__ == "__main__":
    main(sys.argv[1])
