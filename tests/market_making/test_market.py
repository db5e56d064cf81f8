"""The market's intensities, and its refusals."""

import math

import numpy as np
import pytest

from mmlib.market_making import Market, TwoSidedMarket
from mmlib.market_making.intensity import Exponential, Logistic


def test_an_intensity_falls_by_e_over_one_over_k():
    market = Market(sigma=2.0, A=140.0, k=1.5)
    assert market.bid_rate(0.0) == 140.0
    assert market.ask_rate(1 / 1.5) == pytest.approx(140.0 / math.e, rel=1e-15)
    assert market.bid_rate(-1 / 1.5) == pytest.approx(140.0 * math.e, rel=1e-15)


def test_rates_keep_the_shape_of_the_distances_and_both_sides_are_alike():
    market, distance = Market(2.0, 140.0, 1.5), np.array([[0.0, 0.5], [np.nan, -3.0]])
    assert market.bid_rate(distance).shape == (2, 2)
    np.testing.assert_array_equal(market.bid_rate(distance), market.ask_rate(distance))
    assert np.isnan(market.bid_rate(distance)[1, 0])


def test_frictions_are_absent_unless_given():
    market = Market(2.0, 140.0, 1.5)
    assert (market.mu, market.impact, market.fee) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sigma": -1.0}, r"sigma must be >= 0 and finite \(volatility, price/√time\); got -1.0"),
        ({"sigma": math.nan}, "sigma must be >= 0 and finite"),
        ({"A": 0.0}, "A must be > 0 and finite"),
        ({"k": -1.5}, "k must be > 0 and finite"),
        ({"k": math.inf}, "k must be > 0 and finite"),
        ({"mu": math.inf}, "mu must be finite"),
        ({"impact": -0.1}, "impact must be >= 0 and finite"),
        ({"fee": math.nan}, "fee must be finite"),
        ({"A": "140"}, "A must be > 0 and finite .*; got '140'"),
        ({"A": 10**400}, "A must be > 0 and finite"),
        ({"sigma": [1.0, 2.0]}, r"sigma must be one number, >= 0 and finite .*; got \[1.0, 2.0\]"),
    ],
)
def test_a_bad_market_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        Market(**{"sigma": 2.0, "A": 140.0, "k": 1.5} | change)


def test_risk_without_volatility_and_rebates_are_markets():
    assert Market(0.0, 1.0, 1.0, fee=-0.01).fee == -0.01


def test_a_market_cannot_be_changed_by_accident():
    with pytest.raises(AttributeError):
        Market(2.0, 140.0, 1.5).sigma = 3.0


def test_each_side_has_its_own_intensity_and_the_ask_that_of_the_bid_unless_given():
    """ln(rate) of an exponential is linear; a logistic of steepness 1.5 about 0 is half its ceiling there."""
    market = TwoSidedMarket(2.0, Exponential(140.0, 1.5), Logistic(20.0, 1.5, 0.0))
    assert market.bid_rate(2.0) == pytest.approx(140.0 * math.exp(-3.0), rel=1e-14)
    assert market.ask_rate(0.0) == pytest.approx(10.0, rel=1e-14)
    alike = TwoSidedMarket(2.0, Logistic(20.0, 1.5, 0.0))
    assert alike.ask == alike.bid and alike.ask_rate(0.0) == pytest.approx(10.0, rel=1e-14)
    assert (alike.mu, alike.impact, alike.fee) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sigma": -1.0}, "sigma must be >= 0 and finite"),
        ({"mu": math.inf}, "mu must be finite"),
        ({"impact": -0.1}, "impact must be >= 0 and finite"),
        ({"fee": math.nan}, "fee must be finite"),
        ({"bid": 140.0}, "bid must be an intensity .*Exponential.*; got 140.0"),
        ({"ask": "exponential"}, "ask must be an intensity .*; got 'exponential'"),
    ],
)
def test_a_bad_market_of_two_sides_is_refused_by_name(change, message):
    side = Exponential(140.0, 1.5)
    with pytest.raises(ValueError, match=message):
        TwoSidedMarket(**{"sigma": 2.0, "bid": side, "ask": side} | change)
