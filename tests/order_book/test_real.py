"""The facts of the real files, each found by another program than this one (see the reference of the numbers)."""

import gzip
import math

import numpy as np
import pytest
from numba import njit

from mmlib.order_book import binance, calibrate, events, lobster, replay, toxicity

MS = 1_000_000


@pytest.mark.parametrize(
    ("name", "rows", "ends", "kinds", "visible", "hidden", "vwap", "mids"),
    [
        ("AMZN_2012-06-21_1", 57_515, (34200017459617, 57599959359650), (27845, 16, 18235, 8974, 2445),
         (296974, 316274), 197507, 222.640138, (220.52, 226.025)),
        ("AMZN_2012-06-21_5", 155_935, (34200017459617, 57599959359650), (77381, 450, 66685, 8974, 2445),
         (296974, 316274), 197507, 222.640138, (220.52, 226.025)),
        ("GOOG_2012-06-21_1", 49_482, (34200015105074, 57599320718269), (24368, 7, 13429, 7765, 3913),
         (250020, 242489), 213616, 569.271693, (563.73, 579.815)),
    ],
)  # fmt: skip
def test_the_samples_have_their_known_counts(real, name, rows, ends, kinds, visible, hidden, vwap, mids):
    table = lobster.read(real / "lobster" / f"LOBSTER_SampleFile_{name}.zip")
    assert len(table) == rows
    assert (table["time_ns"].iloc[0], table["time_ns"].iloc[-1]) == ends
    assert tuple(int((table["kind"] == k).sum()) for k in range(1, 6)) == kinds
    trades, dark = table[table["kind"] == 4], table[table["kind"] == 5]
    assert tuple(int(trades.loc[trades["side"] == s, "size"].sum()) for s in (-1, 1)) == visible
    assert dark["size"].sum() == hidden
    assert (trades["size"] * trades["price"]).sum() / trades["size"].sum() == pytest.approx(vwap, abs=5e-7)
    mid = events.mid(table)
    assert (mid.min(), mid.max()) == pytest.approx(mids, abs=1e-9)
    assert events.validate(table).empty
    assert table.attrs["report"]["time_decimals"] == (12 if name.endswith("5") else 9)
    assert table.attrs["report"]["times_cut"] == (1 if name.endswith("5") else 0)


def test_a_time_of_twelve_decimals_is_cut_not_padded(real):
    table = lobster.read(real / "lobster" / "LOBSTER_SampleFile_AMZN_2012-06-21_5.zip")
    assert table["time_ns"].iloc[67_822] == 43002_632812672


def test_a_dirty_copy_is_read_and_what_is_odd_reported(real, amzn, tmp_path):
    dirty = next((real / "lobster").glob("*ALTERED*"))
    lines = len(dirty.read_bytes().splitlines()) - 1
    head = tmp_path / "orderbook.csv"
    lobster.write(amzn.head(lines), tmp_path / "unused.csv", head)
    found = lobster.read(dirty, head)
    report = found.attrs["report"]
    assert report["header"] == [dirty.name]
    assert report["crlf"] == [dirty.name]
    assert report["time_decimals"] == 5
    late = found["time_ns"].to_numpy() - amzn["time_ns"].to_numpy()[:lines]
    assert np.abs(late).max() <= 5_000
    assert found.drop(columns=["time_ns", "local_ns"]).equals(amzn.head(lines).drop(columns=["time_ns", "local_ns"]))


def test_written_and_read_again_is_the_same(amzn, tmp_path):
    paths = tmp_path / "message.csv", tmp_path / "orderbook.csv"
    lobster.write(amzn, *paths)
    assert lobster.read(*paths, cache=False).equals(amzn)


def test_the_capture_has_its_known_counts(capture):
    report = capture.attrs["report"]
    assert (report["depth"], report["touch"], report["trade"]) == (6551, 66089, 21313)
    assert (report["dropped"], report["gaps"], report["crossed_books"]) == (4, [], 0)
    trades = capture[capture["kind"] == events.TRADE]
    assert trades["size"].sum() == pytest.approx(2429.366, abs=1e-9)
    assert trades.loc[trades["side"] == 1, "size"].sum() == pytest.approx(1177.790, abs=1e-9)
    assert (trades["price"].min(), trades["price"].max()) == (61590.3, 61839.9)


def test_the_rebuilt_book_is_the_exchanges_own_touch_at_every_state(capture):
    """bookTicker comes from the exchange's own book: after each depth update the last touch of its id or before."""
    touch = capture[capture["kind"] == events.TOUCH]
    ids = touch.loc[touch["side"] == 1, "order_id"].to_numpy()
    best = {s: touch.loc[touch["side"] == s, ["price", "size"]].to_numpy() for s in (1, -1)}
    depth = capture[capture["kind"] == events.DEPTH].groupby("message").last()
    at = np.searchsorted(ids, depth["order_id"].to_numpy(), side="right") - 1
    for side, name in ((1, "bid"), (-1, "ask")):
        assert np.array_equal(best[side][at], depth[[f"{name}_price_1", f"{name}_size_1"]].to_numpy())
    assert len(depth) == 6547


def test_a_gap_that_the_touch_hides_is_named(real, tmp_path):
    lines = gzip.decompress((real / "binance" / "usdm_btcusdt_20240808.gz").read_bytes()).split(b"\n")
    depth = [i for i, line in enumerate(lines) if b"depthUpdate" in line]
    gone = depth[5000]
    cut = tmp_path / "cut.txt"
    cut.write_bytes(b"\n".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(binance.EventError, match=rf"line {depth[5001]}: updates \d+ to \d+ are missing"):
        binance.read_capture(cut, cache=False)
    found = binance.read_capture(cut, resync=True, cache=False)
    assert len(found.attrs["report"]["gaps"]) == 1
    after = found[(found["kind"] == events.TOUCH) & (found["message"] > depth[5001])]
    assert after["ask_price_1"].isna().all()


def test_volatilities(amzn, goog, capture):
    """The reference's two routes, to the digits it gives."""
    for table, known in (
        (amzn, (0.020464322, 0.019817813, 0.020081803, 0.021872816, 0.021461253, 0.024915884)),
        (goog, (0.036046845, 0.040278266, 0.032126382, 0.037261955, 0.036024400, 0.061816528)),
    ):
        assert [calibrate.volatility(table, m) for m in calibrate.METHODS] == pytest.approx(known, abs=6e-10)
    windows = {"1s": None, "tsrv": 5, "kernel": 10, "preaveraged": 10}
    found = [calibrate.volatility(capture, method, window=w) for method, w in windows.items()]
    assert found == pytest.approx((7.4859293, 6.8223718, 6.8815164, 6.6999184), abs=6e-8)
    mid = calibrate.quoted(capture)[1]
    everything = np.sqrt(np.sum(np.diff(mid) ** 2) / 342)
    assert everything == pytest.approx(7.8565483, abs=6e-8)  # the reference's: with moves before the 342 s, too
    assert calibrate.volatility(capture, "rows") == pytest.approx(7.8565455, abs=6e-8)


@pytest.mark.parametrize(
    ("book", "side", "low", "high", "step", "count", "A", "k", "G", "df"),
    [
        (
            "amzn",
            "ask",
            0.05,
            0.40,
            0.005,
            1656,
            (0.33672377, 0.30818, 0.36846),
            (31.196772, 29.717, 32.725),
            86.37,
            28,
        ),
        (
            "amzn",
            "bid",
            0.05,
            0.40,
            0.005,
            1219,
            (0.35771330, 0.31709, 0.40475),
            (38.533634, 36.408, 40.741),
            81.03,
            22,
        ),
        (
            "goog",
            "ask",
            0.10,
            0.60,
            0.005,
            1280,
            (0.42204921, 0.37315, 0.47884),
            (20.432426, 19.333, 21.573),
            102.34,
            37,
        ),
        (
            "capture",
            "ask",
            0.55,
            3.05,
            0.10,
            363,
            (1.3590231, 1.2185, 1.5112),
            (0.44940731, 0.39459, 0.50908),
            45.19,
            24,
        ),
    ],
)
def test_intensities(request, book, side, low, high, step, count, A, k, G, df):
    found = calibrate.intensity(request.getfixturevalue(book), side, low=low, high=high, step=step)
    assert found.count == count
    assert (found.A, found.k) == pytest.approx((A[0], k[0]), rel=2e-8)
    assert (*found.A_interval, *found.k_interval) == pytest.approx((*A[1:], *k[1:]), rel=3e-5)
    assert (found.G, found.df) == (pytest.approx(G, abs=6e-3), df)
    if book == "capture":  # six minutes: too few blocks to resample
        assert np.isnan(found.k_blocks).all()
    else:
        assert found.k_blocks[0] < found.k_interval[0] < found.k_interval[1] < found.k_blocks[1]


@njit
def skewed(book, half, skew, most):
    """The reference's test strategy, in half ticks."""
    q = book.known_position // book.order_size
    m = book.seen_bid + book.seen_ask
    bid = min(math.floor((m - max(half + skew * q, 0)) / 2), book.seen_bid) if q < most else -1
    ask = max(math.ceil((m + max(half - skew * q, 0)) / 2), book.seen_ask) if q > -most else -1
    return bid, ask


SLOW = (50 * MS, 150 * MS, 100 * MS)


@pytest.mark.parametrize(
    ("half", "skew", "latency", "queue", "decisions", "fills", "q", "cash"),
    [
        (47, 7, MS, "back", 3445, 253, -3, 1834481),
        (1, 4, MS, "back", 3445, 396, 0, -22584),
        (1, 4, MS, "power", 3445, 419, 1, -639799),
        (1, 4, MS, "front", 3445, 1952, 0, -20888),
        (1, 4, SLOW, "back", 3446, 217, -1, 602280),
    ],
)
def test_replay_of_bitcoin_equals_another_engine(capture, half, skew, latency, queue, decisions, fills, q, cash):
    """hftbacktest 2.4.4's positions and cash (front: no such engine, another program of the same rule)."""
    feed = replay.feed(capture, 0.1, 0.001, ticks=(600_000, 630_000))
    assert len(feed) == 443_893
    state = replay.start(feed, lot=0.001, order_size=0.01, latency=latency, queue=queue, orders=32)
    replay.run(feed, state, skewed, half, skew, 5)
    book = state[0]
    assert (book["decision"] - 1, book["fills"]) == (decisions - 1, fills)
    assert (book["position"], book["cash"]) == (10 * q, 10 * cash)


def test_replay_of_amazon_equals_another_engine(amzn):
    feed = replay.feed(amzn, 0.01, 1)
    assert len(feed) == 77_999
    state = replay.start(feed, lot=1, order_size=100, latency=MS)
    replay.run(feed, state, skewed, 1, 2, 5)
    book = state[0]
    assert (book["decision"], book["fills"], book["position"], book["cash"]) == (233_999, 1741, 300, -7_292_200)
    assert book["bid"] + book["ask"] == 2 * 22057.5


def test_the_parts_of_the_profit(capture):
    feed = replay.feed(capture, 0.1, 0.001, ticks=(600_000, 630_000))
    state = replay.start(feed, lot=0.001, order_size=0.01, latency=MS, orders=32)
    replay.run(feed, state, skewed, 1, 4, 5)
    paid = replay.pay(feed, state, tick=0.1, maker_fee=2e-4)
    unit = 0.1 * 0.01  # a tick of an order
    assert np.array([paid.spread, paid.markout, paid.holding]) / unit == pytest.approx([42.5, -22216, -410.5], abs=1e-9)
    assert paid.fees == pytest.approx(48.8753896, abs=5e-8)
    assert paid.profit == pytest.approx(paid.spread + paid.markout + paid.holding - paid.fees, abs=1e-9)


def test_toxicity(amzn, goog):
    for table, signs, vpin, paid in (
        (
            amzn,
            (0.71994, 0.20479, 0.08590),
            (306, 0.46236825, 0.39082),
            (0.04815973, 0.03917401, 0.05401363, 0.06422581),
        ),
        (
            goog,
            (0.72035, 0.14093, 0.00485),
            (246, 0.42642995, 0.38066),
            (0.09805888, 0.07167370, 0.09153500, 0.07923469),
        ),
    ):
        assert toxicity.sign_autocorrelation(table).to_numpy() == pytest.approx(signs, abs=6e-5)
        found = toxicity.vpin(table, 2000)
        assert (len(found), np.nanmean(found), found[-1]) == pytest.approx(vpin, abs=6e-6)
        after = toxicity.markout(table)
        known = after["move_1s"].notna()
        means = [after.loc[known, "depth"].mean(), *(after[f"move_{s}s"].mean() for s in (1, 10, 60))]
        assert means == pytest.approx(paid, abs=6e-9)
