"""Intensities: their best distances against brute force and special functions, their domains, and bad input."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import lambertw, wrightomega

from mmlib.market_making import Quotes, TwoSidedMarket, evaluate, simulate
from mmlib.market_making.intensity import (
    Exponential,
    Linear,
    Logistic,
    Measured,
    PowerLaw,
    premium,
    utility,
)

KNOTS = np.linspace(0.0, 3.0, 8)
SHAPES = {
    "exponential": Exponential(140.0, 1.5),
    "power law": PowerLaw(140.0, 0.7, 3.0),
    "logistic": Logistic(140.0, 2.0, 0.5),
    "linear": Linear(140.0, 60.0),
    "measured": Measured(KNOTS, 140 * np.exp(-KNOTS) / (1 + KNOTS) ** 2, extend=True),
    "measured with steps": Measured([0, 1, 1.5, 2, 3], [10, 9.9, 5, 4.9, 1], extend=True),
}
RESERVATIONS = np.array([-30.0, -3.0, -1.0, -0.2, 0.0, 0.1, 0.5, 2.0, 10.0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("risk_aversion", [0.0, 1e-6, 0.1, 2.0])
def test_no_distance_on_a_fine_grid_beats_the_best_one(shape, risk_aversion):
    """Brute force on 80,000 distances above each reservation; the best distance may only win, up to rounding."""
    intensity = SHAPES[shape]
    best = intensity.best_distance(RESERVATIONS, risk_aversion)
    objective = intensity.rate(best) * utility(best - RESERVATIONS, risk_aversion)
    grid = RESERVATIONS[:, None] + np.append(np.linspace(1e-6, 6, 60_000), np.geomspace(6, 500, 20_000))
    brute = intensity.rate(grid) * utility(grid - RESERVATIONS[:, None], risk_aversion)
    assert np.all(objective >= brute.max(axis=1) * (1 - 1e-12))


@pytest.mark.parametrize("risk_aversion", [0.05, 3.0])
def test_linear_and_risk_averse_is_wrights_omega(risk_aversion):
    """δ = (c − ω(c − a r))/a with c = 1 + aA/k solves the first-order condition; SciPy's ω against our Newton."""
    a, r = risk_aversion, np.array([-5.0, -1.0, 0.0, 1.0, 2.0])
    c = 1 + a * 140 / 60
    expected = (c - wrightomega(c - a * r)) / a
    assert SHAPES["linear"].best_distance(r, a) == pytest.approx(expected, abs=1e-13)


def test_logistic_and_risk_neutral_is_lamberts_function():
    """r + (1 + W(exp(k(δ0 − r) − 1)))/k with SciPy's W; Newton's limit as a → 0 (error O(a m²))."""
    r = np.array([-3.0, 0.0, 1.0])
    expected = r + (1 + lambertw(np.exp(2.0 * (0.5 - r) - 1)).real) / 2.0
    assert SHAPES["logistic"].best_distance(r) == pytest.approx(expected, abs=1e-14)
    assert SHAPES["logistic"].best_distance(r, 1e-9) == pytest.approx(expected, abs=1e-5)


def test_power_law_and_risk_neutral_is_n_r_plus_delta0_over_n_minus_1():
    """The first-order condition by hand: (δ − r) n = δ0 + δ above the mid, mark-up δ0/n below it."""
    assert PowerLaw(10.0, 1.0, 3.0).best_distance([0.0, 1.0, -2.0]) == pytest.approx([0.5, 2.0, -2 + 1 / 3], abs=1e-15)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    shape=st.sampled_from(list(SHAPES)),
    reservation=st.floats(-5, 5),
    step=st.floats(0.01, 2),
    risk_aversion=st.sampled_from([0.0, 0.2, 1.5]),
)
def test_a_dearer_fill_is_quoted_further_away(shape, reservation, step, risk_aversion):
    """The best distance never falls when the cost rises: Λ(δ)U(δ − r) has increasing differences in (δ, r)."""
    low, high = SHAPES[shape].best_distance(np.array([reservation, reservation + step]), risk_aversion)
    assert high >= low - 1e-13 * (1 + abs(low))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(scale=st.floats(0.01, 100), reservation=st.floats(-2, 2), risk_aversion=st.sampled_from([0.0, 0.3]))
def test_a_change_of_the_price_unit_changes_nothing_else(scale, reservation, risk_aversion):
    """Distances × scale, 1/price parameters ÷ scale: the best distance scales, the rate does not."""
    pairs = [
        (PowerLaw(9.0, 0.7, 3.0), PowerLaw(9.0, 0.7 * scale, 3.0)),
        (Logistic(9.0, 2.0, 0.5), Logistic(9.0, 2.0 / scale, 0.5 * scale)),
        (Linear(9.0, 4.0), Linear(9.0, 4.0 / scale)),
    ]
    for one, other in pairs:
        best = one.best_distance(reservation, risk_aversion)
        scaled = other.best_distance(reservation * scale, risk_aversion / scale)
        assert scaled == pytest.approx(scale * best, rel=1e-12, abs=1e-12 * scale)
        assert other.rate(scaled) == pytest.approx(one.rate(best), rel=1e-11)


def test_the_power_law_goes_on_below_the_mid_with_the_same_value_and_slope():
    """One-sided differences of step h at 0: they differ by O(h) from n A/δ0, the curvature being finite."""
    law, h = PowerLaw(A=10.0, delta0=0.5, n=2.0), 1e-6
    below, at, above = law.rate([-h, 0.0, h])
    assert at == 10.0
    assert (below - at) / h == pytest.approx(40, rel=1e-5)
    assert (at - above) / h == pytest.approx(40, rel=1e-5)


def test_a_measured_table_goes_through_its_points_and_never_rises():
    table = SHAPES["measured with steps"]
    assert table.rate(table.distances) == pytest.approx(table.rates, rel=1e-14)
    assert np.all(np.diff(table.rate(np.linspace(-2, 6, 5001))) <= 1e-14)


def test_a_table_of_an_exponential_is_that_exponential():
    """ln Λ is a straight line, which PCHIP and the straight ends reproduce: rates and quotes agree to rounding."""
    exponential = Exponential(140.0, 1.5)
    table = Measured(KNOTS, exponential.rate(KNOTS), extend=True)
    assert table.rate(RESERVATIONS) == pytest.approx(exponential.rate(RESERVATIONS), rel=1e-13)
    for a in (0.0, 0.4):
        expected = exponential.best_distance(RESERVATIONS, a)
        assert table.best_distance(RESERVATIONS, a) == pytest.approx(expected, abs=1e-9)  # m' of rounded cubics


def test_outside_its_range_a_table_is_refused_unless_extended():
    table = Measured([0.5, 1.0, 2.0], [9.0, 5.0, 1.0])
    with pytest.raises(ValueError, match=re.escape("distance must be in the measured range 0.5 ... 2 (price)")):
        table.rate(0.4)
    assert Measured([0.5, 1.0, 2.0], [9.0, 5.0, 1.0], extend=True).rate(3.0) == pytest.approx(1 / 5)
    assert np.isnan(table.rate(np.nan))


@pytest.mark.parametrize(
    ("distances", "rates", "message"),
    [
        ([0, 2, 1], [3, 2, 1], "distances must increase (price)"),
        ([0, 1, 1], [3, 2, 1], "distances must increase (price)"),
        ([0, 1, 2], [3, 4, 1], "rates must not increase with distance"),
        ([0, 1, 2], [3, 1, 1], "fall at the last one"),
        ([0, 1, 2], [3, 1, -1], "rates must be > 0 and finite"),
        ([0, 1, 2], [3, 1, 0], "rates must be > 0 and finite"),
        ([0, 1, 2], [3, np.nan, 1], "rates must be > 0 and finite"),
        ([0, np.nan, 2], [3, 2, 1], "distances must be finite"),
        ([0], [3], "two rows of the same length >= 2"),
        ([0, 1, 2], [3, 2], "two rows of the same length >= 2"),
    ],
)
def test_a_bad_table_is_refused_by_name(distances, rates, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Measured(distances, rates)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Exponential(0.0, 1.0), "A must be > 0"),
        (lambda: Exponential(1.0, -1.0), "k must be > 0"),
        (lambda: PowerLaw(1.0, 0.0, 3.0), "delta0 must be > 0"),
        (lambda: PowerLaw(1.0, 1.0, -3.0), "n must be > 0"),
        (lambda: PowerLaw(1.0, 1.0, 1.0).best_distance(0.0), "n must be > 1"),
        (lambda: Logistic(1.0, 0.0, 0.0), "k must be > 0"),
        (lambda: Linear(-1.0, 1.0), "A must be > 0"),
        (lambda: TwoSidedMarket(sigma=-1.0, bid=Linear(1.0, 1.0)), "sigma must be >= 0"),
        (lambda: TwoSidedMarket(sigma=1.0, bid=np.exp), "bid must be an intensity (Exponential, PowerLaw"),
        (lambda: TwoSidedMarket(sigma=1.0, bid=Linear(1.0, 1.0), ask=3.0), "ask must be an intensity"),
    ],
)
def test_a_shape_that_rises_or_is_negative_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_premium_and_utility_have_their_risk_neutral_limits():
    """ln(1 + a m)/a = m − a m²/2 + …, U(y) = y − a y²/2 + …: at a = 1e-9 both within 1e-9 of the limit."""
    assert premium(0.7, 1e-9) == pytest.approx(premium(0.7, 0.0), abs=1e-9)
    assert utility(-0.7, 1e-9) == pytest.approx(utility(-0.7, 0.0), abs=1e-9)


def test_evaluate_and_simulate_judge_quotes_in_a_market_of_two_intensities():
    """One row, one lot, both sides: the mean is Σ rate·distance while quoted; Monte Carlo within 4 standard errors."""
    market = TwoSidedMarket(sigma=1.0, bid=PowerLaw(5.0, 0.5, 2.0), ask=Logistic(8.0, 3.0, 0.2))
    quotes = Quotes([0.0], np.arange(-30, 31), *_constant(0.4, 0.6), horizon=1.0)
    mean = evaluate.moments(market, quotes, scheme="continuous").mean
    expected = 0.4 * 5 * 1.8**-2 + 0.6 * 8 / (1 + np.exp(3 * 0.4))
    assert mean == pytest.approx(expected, rel=1e-9)  # 30 fills of one side in a row have probability < 1e-15
    profit = simulate.run(market, quotes, paths=20_000, seed=1, scheme="continuous").profit
    assert abs(profit.mean() - mean) < 4 * profit.std() / np.sqrt(20_000)


def _constant(bid, ask):
    """Tables (1, 61) of a constant quote, one-sided at the ends."""
    bids, asks = np.full((1, 61), bid), np.full((1, 61), ask)
    bids[0, -1] = asks[0, 0] = np.nan
    return bids, asks


@pytest.mark.parametrize(
    ("distances", "rates", "aversion", "cost"),
    [
        ([1.9, 3.8, 5.8, 6.0], [30.0, 20.0, 8.0, 2.0], 0.0, 0.0),
        ([0.5, 0.6, 1.9], [60.0, 20.0, 2.0], 0.0, 0.5),
        ([0.5, 0.7, 1.7], [100.0, 2.0, 1.0], 0.5, 0.5),
    ],
)
def test_the_best_quote_of_a_table_is_the_best_of_all_distances(distances, rates, aversion, cost):
    """A dense search. Between its points, h apart, the objective exceeds them by at most max |f''| h²/8 < 1e-4 here."""
    shape = Measured(distances, rates, extend=True)
    d = np.linspace(distances[0] - 6, distances[-1] + 6, 40_001)
    gain = d - cost if aversion == 0 else (1 - np.exp(-aversion * (d - cost))) / aversion
    worth = shape.rate(d) * gain
    found = float(shape.best_distance(cost, aversion))
    assert found == pytest.approx(d[worth.argmax()], abs=2e-3)
    assert np.interp(found, d, worth) > worth.max() - 1e-4


def test_the_highest_rates_are_bounds():
    far = -1e4
    for shape in (Logistic(5.0, 2.0, 0.3), Measured([0.0, 1.0, 2.0], [7.0, 7.0, 3.0], extend=True)):
        assert shape.rate(far) == pytest.approx(shape.highest)
    for shape in (Exponential(1.0, 0.01), PowerLaw(1.0, 1.0, 0.1), Linear(1.0, 1.0), Measured([0.0, 1.0], [7.0, 3.0])):
        assert shape.highest == np.inf
