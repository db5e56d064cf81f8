"""Dollars of pre-borrow decisions: examples on paper, a linear programme, real dollars to the cent."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linprog
from scipy.stats import lognorm

from mmlib.stock_loan import decisions, forecasting

DEMAND, CHANCE = [[100, 400], [200, 100], [600, 100]], [0.5, 0.3, 0.2]


def terms(pool):
    return decisions.Terms(price=[50, 20], fee=[8, 3], cost=[2, 1], spot=[7, 2.5], spot_limit=[60, 40], pool=pool)


def programme(t, demand, chance):
    """The two stages as one linear programme: borrow q, then lend from it, and from the spot market."""
    scenarios, names = np.shape(demand)
    lend = np.repeat(chance, names)
    cost = np.concatenate([t.cost, -lend * np.tile(t.fee, scenarios), -lend * np.tile(t.fee - t.spot, scenarios)])
    size = scenarios * names
    eye, tile = np.eye(size), np.tile(np.eye(names), (scenarios, 1))
    rows = [np.hstack([-tile, eye, 0 * eye]), np.hstack([0 * tile, eye, eye])]
    limits = [np.zeros(size), np.ravel(demand)]
    if np.isfinite(t.pool):
        rows.append(np.concatenate([t.price, np.zeros(2 * size)])[None])
        limits.append([t.pool])
    bounds = [(0, None)] * (names + size) + [(0, each) for each in np.tile(t.spot_limit, scenarios)]
    return -linprog(cost, np.vstack(rows), np.concatenate(limits), bounds=bounds).fun


def test_three_days_on_paper():
    """300·50·20, 60·40·50 and 0 over 3.6 million."""
    cost = decisions.pre_borrow([100, 150, 120], [120, 100, 120], [50, 40, 45], shortage=300, excess=60)
    assert cost == pytest.approx([0.3 / 3.6, 0.12 / 3.6, 0], abs=1e-15)
    assert round(cost.mean(), 7) == 0.0388889
    weekend = decisions.pre_borrow(
        [100, 150, 120], [120, 100, 120], [50, 40, 45], shortage=300, excess=60, days=[3, 1, 1]
    )
    assert weekend[0] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("pool", "quantity", "rp", "eev", "vss", "ws", "dual"),
    [
        (20_000, (200, 400), 1162, (1085, 1085), (77, 77), 1616, (0, 0)),
        (8_000, (120, 100), 880, (764, 764), (116, 116), 974, (0.04, 0.04)),
        (9_000, (140, 100), 920, (798, 831), (89, 122), 1078, (0.04, 0.034)),
    ],
)
def test_the_worked_example_of_two_stages(pool, quantity, rp, eev, vss, ws, dual):
    """Derived on paper and by two solvers; at 9,000 the mean problem ties, (180, 0) or (170, 25)."""
    found = decisions.compare(terms(pool), DEMAND, CHANCE)
    assert found.stochastic.quantity == pytest.approx(quantity)
    assert found.rp == pytest.approx(rp)
    assert found.eev == pytest.approx(eev)
    assert found.vss == pytest.approx(vss)
    assert found.ws == pytest.approx(ws)
    assert found.evpi == pytest.approx(ws - rp)
    assert found.stochastic.dual == pytest.approx(dual)
    if pool == 9_000:
        assert found.mean_quantity == ((180, 0), (170, 25))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_pieces_in_order_of_income_per_dollar_are_the_linear_programme(seed):
    """scipy's HiGHS on the whole two-stage programme, on random books; each dual by re-solving."""
    rng = np.random.default_rng(seed)
    names, scenarios = rng.integers(1, 5), rng.integers(1, 6)
    fee = rng.uniform(1, 10, names)
    t = decisions.Terms(
        price=rng.uniform(1, 50, names), fee=fee, cost=fee * rng.uniform(0.1, 1.1, names),
        spot=fee * rng.uniform(0.3, 1.3, names), spot_limit=rng.integers(0, 50, names), pool=rng.uniform(10, 5000),
    )  # fmt: skip
    demand, chance = rng.integers(0, 200, (scenarios, names)), rng.dirichlet(np.ones(scenarios))
    usable = t.fee >= t.spot
    whole = decisions.Terms(t.price, t.fee, t.cost, t.spot, np.where(usable, t.spot_limit, 0), t.pool)
    found = decisions.solve(t, demand, chance)
    assert found.value == pytest.approx(programme(whole, demand, chance), rel=1e-7, abs=1e-7)
    more = decisions.solve(decisions.Terms(t.price, t.fee, t.cost, t.spot, t.spot_limit, t.pool + 1e-3), demand, chance)
    assert (more.value - found.value) / 1e-3 == pytest.approx(found.dual[1], abs=1e-6)
    less = decisions.solve(decisions.Terms(t.price, t.fee, t.cost, t.spot, t.spot_limit, t.pool - 1e-3), demand, chance)
    assert (found.value - less.value) / 1e-3 == pytest.approx(found.dual[0], abs=1e-6)
    assert (t.price * found.quantity).sum() <= t.pool * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_knowing_more_is_never_worth_less(seed):
    """EEV <= RP <= WS on the scenarios themselves (Madansky 1960)."""
    rng = np.random.default_rng(seed)
    found = decisions.compare(terms(rng.uniform(0, 30_000)), rng.integers(0, 700, (6, 2)), rng.dirichlet(np.ones(6)))
    assert found.eev[0] <= found.eev[1] <= found.rp + 1e-9
    assert found.rp <= found.ws + 1e-9
    assert found.evpi >= -1e-9


def test_without_a_spot_market_the_solution_is_the_newsvendors_quantile():
    """Level (fee − cost)/fee of many scenarios; numpy's inverted quantile, no line shared."""
    rng = np.random.default_rng(2)
    demand = rng.lognormal(3, 0.5, (1001, 1))
    t = decisions.Terms(price=[10], fee=[8], cost=[3], spot=[8], spot_limit=[0])
    found = decisions.solve(t, demand).quantity[0]
    assert found == np.quantile(demand, 5 / 8, method="inverted_cdf")


def test_the_lognormal_newsvendor():
    """Best quantity and cost by scipy's law and an integral; the printed numbers; at the median 11.242."""
    q, cost = decisions.lognormal(1e6, 0.25, shortage=300, excess=60)
    law = lognorm(0.25, scale=1e6)
    assert q == pytest.approx(law.ppf(300 / 360), rel=1e-12)
    assert round(float(q), 0) == 1_273_610
    assert cost == pytest.approx(7.210890, abs=5.1e-7)

    def expected(at):
        short = quad(law.sf, at, 1e7, points=[1.5e6, 2e6, 3e6])[0]
        over = quad(law.cdf, 0, at, points=[5e5, 8e5])[0]
        return (300 * short + 60 * over) / 3.6e6

    assert cost == pytest.approx(expected(float(q)), rel=1e-6)
    assert expected(1e6) == pytest.approx(11.242, abs=5.1e-4)


def test_vss_of_fresh_scenarios_may_be_negative_and_covers_the_truth():
    """Of 200 intervals of 95 %, each on its own 80 fresh scenarios, about 190 hold the value on 200,000."""
    rng = np.random.default_rng(3)

    def draw(n):
        return rng.lognormal([5.0, 5.5], [0.8, 0.5], (n, 2))

    known = draw(30)
    t = terms(np.inf)
    truth = decisions.vss_interval(t, known, draw(200_000))[0]
    held = 0
    for _ in range(200):
        _, low, high = decisions.vss_interval(t, known, draw(80))
        held += low <= truth <= high
    assert 175 <= held <= 199


def test_the_interval_of_a_vss_is_students():
    """Five fresh scenarios of one name; incomes by formula, Student's .975 quantile of 4 degrees of freedom."""
    t = decisions.Terms(price=[10], fee=[8], cost=[3], spot=[8], spot_limit=[0])
    known, fresh = np.array([1.0, 2, 3, 4, 20]), np.array([1.0, 5, 2, 9, 4])
    best, mean = 4.0, 6.0  # the quantile of level 5/8, and the mean, of the five known
    gain = 8 * np.minimum(best, fresh) - 3 * best - (8 * np.minimum(mean, fresh) - 3 * mean)
    half = 2.776445 * gain.std(ddof=1) / 5**0.5
    found = decisions.vss_interval(t, known[:, None], fresh[:, None])
    assert found == pytest.approx((gain.mean(), gain.mean() - half, gain.mean() + half), rel=1e-6)
    decisions.vss_interval(t, known[:, None], fresh[:2, None])


def test_a_vss_does_not_hang_on_the_order_of_the_names():
    """At a pool of 9,000 mean demand has two best pre-borrows, worth 831 and 798 of 920 on paper: the better counts."""
    known = np.repeat(DEMAND, [5, 3, 2], axis=0)
    for turn in (slice(None), slice(None, None, -1)):
        two = dict(price=[50, 20], fee=[8, 3], cost=[2, 1], spot=[7, 2.5], spot_limit=[60, 40])
        t = decisions.Terms(**{name: each[turn] for name, each in two.items()}, pool=9_000)
        assert decisions.vss_interval(t, known[:, turn], known[:, turn])[0] == pytest.approx(920 - 831, rel=1e-12)


def test_the_blocks_of_the_bootstrap_are_whole():
    """With one block as long as the series there is one ratio; the ratio is of sums."""
    cost, reference = np.array([1.0, 2, 3, 10]), np.array([2.0, 2, 2, 2])
    assert decisions.ratio_interval(cost, reference, block=4) == (2.0, 2.0, 2.0)
    ratio, low, high = decisions.ratio_interval(cost, reference, block=2)
    assert ratio == 2.0 and low == 0.75 and high == 3.25  # blocks (1, 2) twice and (3, 10) twice


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: decisions.pre_borrow([1, 2], [1, 2, 3], 1, shortage=1, excess=1), "demand must have the shape"),
        (lambda: decisions.pre_borrow([-1], [1], 1, shortage=1, excess=1), "quantile_forecast must be >= 0"),
        (lambda: decisions.pre_borrow([1], [np.nan], 1, shortage=1, excess=1), "demand"),
        (lambda: decisions.pre_borrow([1], [1], 0, shortage=1, excess=1), "price must be > 0"),
        (lambda: decisions.pre_borrow([1], [1], 1, shortage=-1, excess=1), "shortage"),
        (lambda: decisions.level(0, 60), "shortage must be > 0"),
        (lambda: decisions.lognormal(1, 0, shortage=1, excess=1), "spread"),
        (lambda: decisions.ratio_interval([1, 2], [1]), "reference must be one row as long"),
        (lambda: decisions.ratio_interval([1, 2], [0, 0], block=1), "positive sum"),
        (lambda: decisions.ratio_interval([1, 2], [1, 1], block=3), "block"),
        (lambda: decisions.solve(terms(1), [[1, 2, 3]]), "a column for each of 2 names"),
        (lambda: decisions.solve(terms(1), [[1, 2]], [0.5]), "probability must be 1 numbers with sum 1"),
        (lambda: terms(-1), "pool"),
        (lambda: decisions.vss_interval(terms(1), [[1, 2]], [[1, 2]]), "fresh"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.skipif("MMLIB_REAL_DATA" not in os.environ, reason="MMLIB_REAL_DATA names no folder of real data")
def test_the_dollars_of_the_real_balance_to_the_cent():
    """Found by two other implementations: naive, scaled quantile, +20 %, rolling quantile; and with a day of lag."""
    table = pd.read_csv(Path(os.environ["MMLIB_REAL_DATA"]) / "stock_loan" / "occ_gme_2020_2022.csv")
    balance = (table["Market.Loan.Loan.Balance"] + table["Hedge.Loan.Balance"]).to_numpy(float)
    history = pd.Series(balance, pd.to_datetime(table["Date"]))
    pairs = {
        (300, 60): (2216.08, 1798.98, 1785.09, 1843.41, 0.830),
        (1000, 100): (6780.39, 4240.51, 4420.45, 4640.97, 0.905),
        (60, 300): (2190.06, 1676.22, 4762.96, 1851.02, 0.177),
        (100, 100): (1223.93, 1258.14, 1818.90, 1228.11, 0.505),
    }
    levels = [decisions.level(*pair) for pair in pairs]
    models = ("naive", "ewma_quantile", "rolling_quantile")

    def rolled(lag):
        return [
            forecasting.roll(m, history, first=122, levels=[*levels, 0.5], transform="log", lag=lag)[:, 0]
            for m in models
        ]

    naive, scaled, rolling = rolled(0)
    demand, last = balance[122:], naive[:, -1]
    assert len(demand) == 547 and str(history.index[122].date()) == "2020-06-26"
    for j, ((shortage, excess), expected) in enumerate(pairs.items()):

        def cost(q, shortage=shortage, excess=excess, demand=demand, days=1):
            return decisions.pre_borrow(q, demand, 1.0, shortage=shortage, excess=excess, days=days)

        found = [cost(q).mean() for q in (last, scaled[:, j], 1.2 * last, rolling[:, j])]
        assert found == pytest.approx(expected[:4], abs=0.005)
        assert (demand <= scaled[:, j]).mean() == pytest.approx(expected[4], abs=5.1e-4)
        if j == 0:
            saving = cost(last) - cost(scaled[:, 0])
            assert np.sort(saving)[-5:].sum() / saving.sum() == pytest.approx(0.81, abs=0.005)
            days = np.append(np.diff(history.index[122:]).astype("timedelta64[D]").astype(int), 3)  # ends on a Friday
            held = [cost(q, days=days).mean() for q in (last, scaled[:, 0])]
            assert held == pytest.approx([2848.21, 2374.62], abs=0.005)
            ratio, low, high = decisions.ratio_interval(cost(scaled[:, 0]), cost(last))
            assert (ratio, low, high) == pytest.approx((0.812, 0.69, 0.97), abs=0.012)
            buffers = [cost((1 + percent / 100) * last).mean() for percent in range(-50, 61)]
            assert np.argmin(buffers) - 50 == 16 and min(buffers) == pytest.approx(1770.05, abs=0.005)
    naive, scaled, rolling = rolled(1)
    demand, last = balance[123:], naive[:, -1]
    late = [
        decisions.pre_borrow(q, demand, 1.0, shortage=300, excess=60)
        for q in (last, scaled[:, 0], 1.2 * last, rolling[:, 0])
    ]
    assert [late[0].mean(), late[1].mean()] == pytest.approx([3319.18, 3091.80], abs=0.005)
    assert [late[2].sum() / late[0].sum(), late[3].sum() / late[0].sum()] == pytest.approx([0.843, 0.875], abs=5.1e-4)
    ratio, low, high = decisions.ratio_interval(late[1], late[0])
    assert (ratio, low, high) == pytest.approx((0.93, 0.73, 1.20), abs=0.03)
