"""Estimators against their definitions, written as loops over single seconds, shares and orders in plain Python."""

from bisect import bisect_right
from itertools import pairwise, product
from math import exp, log, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from mmlib.order_book import calibrate, resampling, sources, synthetic, toxicity
from mmlib.order_book.events import CANCEL, EXECUTE, HALT, TRADE

START, END = 34_200, 34_500


@pytest.fixture(scope="module")
def flow():
    return synthetic.lobster_events(sigma=0.008, A=0.25, seconds=3600, levels=1, depth=12, churn=0.0, seed=4)


def mids(table):
    """(seconds, mid) of the rows that have both sides."""
    found = zip(table["time_ns"].tolist(), table["bid_price_1"].tolist(), table["ask_price_1"].tolist(), strict=True)
    return [(t / 1e9, (bid + ask) / 2) for t, bid, ask in found if bid == bid and ask == ask]


def returns(table, every):
    times, values = zip(*mids(table), strict=True)
    y = [values[max(bisect_right(times, s) - 1, 0)] for s in range(START, END + 1, every)]
    return [after - before for before, after in pairwise(y)]


def parzen(u):
    return 1 - 6 * u**2 + 6 * u**3 if u <= 0.5 else 2 * (1 - u) ** 3


def by_hand(table, method, w):
    d = returns(table, w if method == "rv5" else 1)
    n, squares = len(d), sum(x * x for x in d)
    if method == "rows":
        inside = [y for t, y in mids(table) if START <= t <= END]
        return sum((b - a) ** 2 for a, b in pairwise(inside))
    if method == "tsrv":
        slow, per_grid = sum(sum(d[i : i + w]) ** 2 for i in range(n - w + 1)) / w, (n - w + 1) / w
        return (slow - per_grid / n * squares) / (1 - per_grid / n)
    if method == "kernel":
        return sum(parzen(abs(i - j) / (w + 1)) * d[i] * d[j] for i in range(n) for j in range(n) if abs(i - j) <= w)
    if method == "preaveraged":
        g = [min(j / w, 1 - j / w) for j in range(w + 1)]
        psi1 = w * sum((b - a) ** 2 for a, b in pairwise(g))
        psi2 = sum(x * x for x in g) / w
        windows = [sum(g[j] * d[i + j - 1] for j in range(1, w)) for i in range(n - w + 2)]
        return n / len(windows) * sum(x * x for x in windows) / (w * psi2) - psi1 * squares / (2 * w * w * psi2)
    return squares


@pytest.mark.parametrize("method", ["rv5", "1s", "tsrv", "kernel", "preaveraged", "rows"])
@pytest.mark.parametrize("window", [4, 7])
def test_volatility_is_its_definition(flow, method, window):
    """Sums of some hundred products: 1e-9 is rounding."""
    found = calibrate.volatility(flow, method, window=window, start=START, end=END)
    assert found == pytest.approx(sqrt(by_hand(flow, method, window) / (END - START)), rel=1e-9)


def test_a_period_of_less_than_two_windows_is_refused(flow):
    calibrate.volatility(flow, "tsrv", window=150, start=START, end=END)
    with pytest.raises(ValueError, match="end - start must be >= two windows, 302 seconds; got 300"):
        calibrate.volatility(flow, "tsrv", window=151, start=START, end=END)


@pytest.mark.parametrize("side", ["ask", "bid"])
@pytest.mark.parametrize("block", [7.0, 40.0])
def test_orders_left_in_place_are_followed_one_by_one(flow, side, block):
    """Each order of each block by itself, and a two-dimensional search for the best (ln A, k): its own accuracy 1e-5.

    The last block is a short one, counted from half a block on: 300 = 42·7 + 6 = 7·40 + 20 (which is left out).
    """
    sign = {"ask": 1, "bid": -1}[side]
    distances = [0.01, 0.02, 0.03, 0.05]
    rows = flow[(flow["kind"] == EXECUTE) & (flow["side"] == -sign)]
    trades = list(zip((rows["time_ns"] / 1e9).tolist(), rows["price"].tolist(), strict=True))
    times, values = zip(*mids(flow), strict=True)
    count, exposed = [0] * len(distances), [0.0] * len(distances)
    for i in range(int((END - START) / block + 0.499)):
        left = START + i * block
        centre = values[max(bisect_right(times, left) - 1, 0)]
        for d, distance in enumerate(distances):
            hit = [t for t, p in trades if left <= t < left + block and sign * (p - centre) >= distance - 1e-9]
            count[d] += bool(hit)
            exposed[d] += (hit[0] if hit else left + block) - left

    def loss(v):
        pairs = zip(count, exposed, distances, strict=True)
        return sum(T * exp(v[0] - v[1] * x) - n * (v[0] - v[1] * x + log(T)) for n, T, x in pairs)

    best = minimize(
        loss, (log(0.1), 10.0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
    )
    A, k = calibrate.fixed(flow, side, distances=np.array(distances), block=block, start=START, end=END)
    assert (log(A), k) == pytest.approx(best.x, rel=1e-4)


def tape(sizes, signs, kind=EXECUTE):
    n = len(sizes)
    return pd.DataFrame(
        {
            "time_ns": np.arange(n),
            "kind": kind,
            "size": sizes,
            "price": 1.0,
            "side": [-sign for sign in signs],
        }
    )


@pytest.mark.parametrize("volume", [1, 7, 10, 64])
@pytest.mark.parametrize("kind", [EXECUTE, TRADE])
def test_imbalances_are_those_of_single_shares(volume, kind):
    """Every share by itself, in buckets; 640 shares, so that 10 and 64 end with the last one."""
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 30, 40)
    sizes[-1] += 640 - sizes.sum() if sizes.sum() < 640 else 0
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), 640) + 1]
    sizes[-1] -= sizes.sum() - 640
    signs = rng.choice([-1, 1], len(sizes))
    shares = [s for size, s in zip(sizes.tolist(), signs.tolist(), strict=True) for _ in range(size)]
    assert len(shares) == 640
    full = [abs(sum(shares[i : i + volume])) / volume for i in range(0, 640 - volume + 1, volume)]
    events = pd.concat([tape(sizes, signs, kind), tape([500], [1], CANCEL)], ignore_index=True)
    assert toxicity.imbalances(events, volume) == pytest.approx(full, abs=1e-12)
    for n in (1, 4):
        mean = [float("nan")] * (n - 1) + [sum(full[i - n + 1 : i + 1]) / n for i in range(n - 1, len(full))]
        assert toxicity.vpin(events, volume, n) == pytest.approx(mean, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("trades", [0, 3])
def test_less_than_a_bucket_is_refused(trades):
    with pytest.raises(ValueError, match=rf"volume must be at most the volume traded \({2 * trades} units\); got 6.5"):
        toxicity.imbalances(tape([2] * trades, [1] * trades), 6.5)


@pytest.mark.parametrize("n", range(1, 10))
def test_the_imbalance_of_fair_coins_is_that_of_all_their_falls(n):
    falls = [abs(sum(signs)) / n for signs in product((-1, 1), repeat=n)]
    assert toxicity.uninformed_vpin(n) == pytest.approx(sum(falls) / 2**n, rel=1e-14)


def test_the_informed_by_bayes_on_the_two_laws():
    """P(size) = (1 − 1/mean)^(size−1)/mean, written out; a mean of 1 has trades of one lot only."""
    for size, share, mean, other in product((1, 2, 9), (0.2, 0.7), (1.0, 3.0), (2.0, 5.0)):
        one, two = (share_of * (1 - 1 / m) ** (size - 1) / m for share_of, m in ((share, mean), (1 - share, other)))
        assert toxicity.informed(size, share, mean, other) == pytest.approx(one / (one + two), rel=1e-12)
    assert [toxicity.informed(3, share, 2.0, 3.0) for share in (0, 1)] == [0, 1]


def test_signs_that_alternate_or_do_not_vary():
    found = toxicity.sign_autocorrelation(tape([1] * 9, [1, -1] * 4 + [1]), (1, 2, 7, 8, 9))
    assert found.tolist() == pytest.approx([-1, 1, -1, np.nan, np.nan], nan_ok=True)
    for signs in ([1] * 4, [-1, 1, 1, 1], [1, 1, 1, -1]):
        assert np.isnan(toxicity.sign_autocorrelation(tape([1] * 4, signs), (1,))).all()


def test_markouts_are_the_moves_after_each_aggressor(flow):
    """Fill by fill on the book's own rows; a synthetic aggressor's fills share a time."""
    few = flow.iloc[:1500]
    times, values = zip(*mids(few), strict=True)
    expected = {}
    for t, side, kind in few[["time_ns", "side", "kind"]].itertuples(index=False):
        if kind == EXECUTE and (t, side) not in expected:
            before = values[bisect_right(times, (t - 1) / 1e9) - 1]
            later = [values[bisect_right(times, t / 1e9 + s) - 1] for s in (1, 20)]
            known = [t / 1e9 + s <= times[-1] for s in (1, 20)]
            expected[t, side] = [-side * (y - before) if k else float("nan") for y, k in zip(later, known, strict=True)]
    found = toxicity.markout(few, (1, 20))
    assert list(zip(found["time_ns"].tolist(), (-found["sign"]).tolist(), strict=True)) == list(expected)
    assert found[["move_1s", "move_20s"]].to_numpy() == pytest.approx(
        np.array(list(expected.values())), abs=1e-12, nan_ok=True
    )
    assert found["move_20s"].isna().any()


def test_draws_of_blocks_have_the_kernel_of_two_seconds_and_no_k_without_a_second_bin(flow):
    """What the period has left over after ten blocks is left out; hits of one bin alone say nothing of k."""
    bins = {"low": 0.01, "high": 2.01, "step": 2.0}
    found = resampling.markets(flow, **bins, start=34_200, end=37_800, block=350, window=2, draws=2)
    sigma = calibrate.volatility(flow, "kernel", window=2, start=34_200, end=37_700)
    assert found["sigma"].iloc[0] == pytest.approx(sigma, rel=1e-12)
    assert found[["A", "k"]].isna().all(axis=None)


def test_the_period_of_a_session_that_ends_with_a_halt(flow):
    few = flow.iloc[10:20].copy()
    few.loc[few.index[-1], "kind"] = HALT
    first, last = few["time_ns"].iloc[0] / 1e9, few["time_ns"].iloc[-1] / 1e9
    begin, end = sources.period(few)
    assert begin <= first < begin + 1
    assert end - 1 < last <= end
