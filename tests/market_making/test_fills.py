"""What a fill does, worked out by hand, and the fill probabilities of the Bernoulli scheme."""

import math

import numpy as np
import pytest

from mmlib.market_making import Market, Quotes, TwoSidedMarket, avellaneda_stoikov, evaluate, simulate, strategies
from mmlib.market_making._fills import bernoulli_probabilities, continuous_fills, fills, from_time, start_index
from mmlib.market_making.intensity import Exponential, Measured

NAN = np.nan
MARKET = Market(sigma=2.0, A=10.0, k=2.0, impact=0.1, fee=0.01)


def limited(target=None, cost=0.0, size=1.0):
    half = np.full((1, 5), 0.5)
    return Quotes([0.0], np.arange(-2, 3), half, half, 1.0, size, 2, cost, target)


def test_rates_and_spreads_are_those_of_the_distance_and_zero_where_not_quoted():
    quotes = Quotes([0.0], [0, 1], [[0.5, NAN]], [[NAN, -0.25]], 1.0, size=3.0)
    f = fills(MARKET, quotes)
    np.testing.assert_allclose(f.bid_rate, [[10 * math.exp(-1.0), 0]], rtol=1e-15)
    np.testing.assert_allclose(f.ask_rate, [[0, 10 * math.exp(0.5)]], rtol=1e-15)
    np.testing.assert_allclose(f.bid_spread, [[3 * 0.49, 0]], rtol=1e-15)
    np.testing.assert_allclose(f.ask_spread, [[0, -3 * 0.26]], rtol=1e-15)


def test_a_fill_moves_the_mid_against_the_position_then_held():
    """Bought to 2: the mid falls by 0.1 under 2 orders of 3 units. Sold to 0: nothing is held, nothing is lost."""
    f = fills(MARKET, limited(size=3.0))
    assert f.bid_toll[3] == pytest.approx(0.1 * 2 * 3.0)
    assert f.ask_toll[3] == 0
    assert f.bid_toll[0] == pytest.approx(-0.1 * 3.0)  # bought back from −2 to −1: the fall of the mid is a gain
    assert f.ask_toll[1] == pytest.approx(0.1 * 2 * 3.0)


@pytest.mark.parametrize("target, landing, cut", [(None, 2, 1), (1, 1, 2), (0, 0, 3)])
def test_a_fill_beyond_the_limit_is_cut_back_on_its_own_side(target, landing, cut):
    f = fills(Market(2.0, 10.0, 2.0), limited(target, cost=0.2, size=3.0))
    q = np.arange(-2, 3)
    assert q[f.bid_to[4]] == landing and q[f.ask_to[0]] == -landing
    assert f.bid_toll[4] == f.ask_toll[0] == pytest.approx(0.2 * cut * 3.0)
    np.testing.assert_array_equal(q[f.bid_to[:4]], q[:4] + 1)
    np.testing.assert_array_equal(q[f.ask_to[1:]], q[1:] - 1)
    assert np.all(f.bid_toll[:4] == 0) and np.all(f.ask_toll[1:] == 0)


def test_without_a_limit_every_landing_is_on_the_grid():
    f = fills(MARKET, Quotes([0.0], [3, 4, 5], [[1.0, 1.0, NAN]], [[NAN, 1.0, 1.0]], 1.0))
    np.testing.assert_array_equal(f.bid_to, [1, 2, 2])
    np.testing.assert_array_equal(f.ask_to, [0, 0, 1])


def test_the_probability_of_a_fill_is_the_rate_times_dt_and_at_most_one():
    market = Market(2.0, 10.0, 2.0)
    quotes = Quotes([0.0, 0.05], [0, 1], [[0.5, NAN], [-1.0, NAN]], [[NAN, 0.0], [NAN, 0.1]], 0.1)
    bid, ask, dt = bernoulli_probabilities(market, quotes)
    assert dt == 0.05
    np.testing.assert_allclose(bid, [[0.5 * math.exp(-1.0), 0], [1.0, 0]], rtol=1e-15)
    np.testing.assert_allclose(ask, [[0, 0.5], [0, 0.5 * math.exp(-0.2)]], rtol=1e-15)


def test_a_step_too_long_is_refused_with_the_smallest_number_that_works():
    """A·T = 10·2 = 20 fills at the mid: 20 steps make the probability 1, 19 more than that."""
    market = Market(2.0, 10.0, 2.0)

    def with_steps(n):
        return Quotes(np.arange(n) * (2.0 / n), [0, 1], [[0.5, NAN]], [[NAN, 0.5]], 2.0)

    with pytest.raises(ValueError, match=r"steps must be >= 20 for scheme 'bernoulli'.*got 19, A·dt = 1.053"):
        bernoulli_probabilities(market, with_steps(19))
    bid, _, _ = bernoulli_probabilities(market, with_steps(20))
    assert bid[0, 0] == pytest.approx(math.exp(-1.0))


def test_unequal_steps_and_impact_are_refused_in_the_bernoulli_scheme():
    with pytest.raises(ValueError, match="times must be 2 equal steps"):
        bernoulli_probabilities(Market(2.0, 1.0, 1.0), Quotes([0.0, 0.4], [0, 1], [[0.5, NAN]], [[NAN, 0.5]], 1.0))
    with pytest.raises(ValueError, match="impact must be 0 for scheme 'bernoulli'"):
        bernoulli_probabilities(MARKET, limited())


def test_the_start_must_be_on_the_grid():
    quotes = limited()
    assert [start_index(quotes, q) for q in (-2, 0, 2)] == [0, 2, 4]
    for bad in (3, 0.5, NAN, True, [0], None):
        with pytest.raises(ValueError, match=r"inventory must be one of -2, \.\.\., 2"):
            start_index(quotes, bad)


@pytest.mark.parametrize("h", [-6.5, -12.0, -20.0])
def test_absurdly_fast_fills_on_both_sides_are_refused_in_continuous_time(h):
    """140 exp(−1.5 h)·½ round trips in a row: 1.2 million at −6.5. Each route gave garbage, NaN or no answer."""
    market, quotes = Market(2.0, 140.0, 1.5), strategies.constant_spread(h, 1.0, 5, 2)
    for judge in (
        lambda: evaluate.moments(market, quotes, "continuous"),
        lambda: evaluate.certainty_equivalent(market, quotes, 0.1),
        lambda: evaluate.profit_law(market, quotes),
        lambda: simulate.run(market, quotes, paths=10, scheme="continuous"),
    ):
        with pytest.raises(
            ValueError, match=rf"bid must be a distance at which .* times 0.5\); got {h:g}, with the ask"
        ):
            judge()


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("side", ["bid", "ask"])
def test_absurdly_fast_cuts_at_a_limit_are_refused_although_one_side_makes_them_alone(side, target):
    distances = {"bid": np.full((1, 5), 1.0), "ask": np.full((1, 5), 1.0), side: np.full((1, 5), -10.0)}
    quotes = Quotes([0.0], np.arange(-2, 3), **distances, horizon=1.0, limit=2, target=target)
    with pytest.raises(ValueError, match=f"{side} must be a distance at which the inventory goes round"):
        continuous_fills(MARKET, quotes)


def test_up_to_the_bound_the_profit_does_not_depend_on_how_the_table_is_cut():
    """0.8e5 round trips in a row against 64 rows of 1250, which lose 4000 times fewer digits."""
    market = Market(2.0, 140.0, 1.5)
    one, many = (evaluate.moments(market, strategies.constant_spread(-4.2, 1.0, 5, n), "continuous") for n in (1, 64))
    assert one.std == pytest.approx(many.std, rel=1e-6)
    assert one.mean == pytest.approx(many.mean, rel=1e-10)
    np.testing.assert_allclose(one.inventory_law, 1 / 11, rtol=0, atol=1e-10)


def test_one_side_may_fill_as_fast_as_it_likes():
    quotes = avellaneda_stoikov.quotes(Market(2.0, 140.0, 1.5), gamma=3.0, horizon=1.0, max_inventory=20, steps=200)
    f = continuous_fills(Market(2.0, 140.0, 1.5), quotes)
    assert f.bid_rate.max() > 1e100


def test_the_rate_at_the_mid_is_that_of_the_nearest_measured_distance():
    """Nobody quotes nearer than 0.1, where the rate is 5: with 5 steps in a unit of time the probability there is 1."""
    market = TwoSidedMarket(1.0, Measured([0.1, 0.5, 1.0], [5.0, 2.0, 1.0]))
    bid, _, _ = bernoulli_probabilities(market, strategies.constant_spread(0.5, 1.0, 5, 5))
    assert bid[0, 0] == pytest.approx(0.4)
    with pytest.raises(ValueError, match=r"steps must be >= 5 .* at distance 0.1 is <= 1; got 4"):
        bernoulli_probabilities(market, strategies.constant_spread(0.5, 1.0, 5, 4))
    below = TwoSidedMarket(1.0, Measured([-0.5, -0.1], [9.0, 7.0]), Exponential(8.0, 1.0))
    with pytest.raises(ValueError, match=r"steps must be >= 8 .* at distance 0 is"):
        bernoulli_probabilities(below, strategies.constant_spread(-0.2, 1.0, 5, 7))


FAST, SLOW = -10.0, 1.0  # at −10 a unit of time holds 10·exp(20) = 5e9 fills


@pytest.mark.parametrize(
    "target, fast, refused",
    [
        (1, [1, 2], True),
        (1, [1], False),
        (1, [2], False),
        (1, [-2, -1, 0], False),
        (0, [0, 1, 2], True),
        (0, [1, 2], False),
        (0, [0, 1], False),
        (2, [2], True),
        (2, [-2, -1, 0, 1], False),
    ],
)
def test_the_way_from_the_target_to_the_limit_is_as_slow_as_its_slowest_fill(target, fast, refused):
    """A cut leads from the limit 2 to the target; the next needs a fill at each inventory from there to the limit. The
    same for asks, mirrored."""
    one = np.where(np.isin(np.arange(-2, 3), fast), FAST, SLOW)[None]
    for side, table in (("bid", one), ("ask", one[:, ::-1])):
        other = np.full((1, 5), SLOW)
        tables = {"bid": other, "ask": other, side: table}
        quotes = Quotes([0.0], np.arange(-2, 3), **tables, horizon=1.0, limit=2, target=target)
        if refused:
            with pytest.raises(ValueError, match=f"{side} must be a distance .*; got -10"):
                continuous_fills(MARKET, quotes)
        else:
            rates = continuous_fills(MARKET, quotes)
            assert np.max(getattr(rates, f"{side}_rate")) > 1e9


def test_a_table_from_a_time_on_begins_with_the_row_that_holds_then():
    quotes = Quotes([0.0, 0.5, 0.75], [0, 1], [[1.0, NAN], [2.0, NAN], [3.0, NAN]], [[NAN, 4.0]], 2.0)
    for scheme in ("continuous", "bernoulli"):
        assert from_time(quotes, 0.0, scheme) is quotes
        for start in (0.5, 0.5 + 1e-13, 0.5 - 1e-13):  # rounding is no other time
            late = from_time(quotes, start, scheme)
            np.testing.assert_array_equal(late.times, [0.0, 0.25])
            np.testing.assert_array_equal(late.bid[:, 0], [2.0, 3.0])
            assert late.horizon == 1.5 and late.ask.shape == (2, 2)
    between = from_time(quotes, 0.625, "continuous")
    np.testing.assert_array_equal(between.times, [0.0, 0.125])
    np.testing.assert_array_equal(between.bid[:, 0], [2.0, 3.0])
    assert between.horizon == 1.375
    last = from_time(quotes, 1.0, "continuous")
    assert last.times.tolist() == [0.0] and last.bid[0, 0] == 3.0 and last.horizon == 1.0
    with pytest.raises(ValueError, match=r"start must be a time of the table .*; got 0\.625"):
        from_time(quotes, 0.625, "bernoulli")
    for bad in (2.0, -0.1, NAN):
        with pytest.raises(ValueError, match="start must be"):
            from_time(quotes, bad, "continuous")


@pytest.mark.parametrize("unit", [1.0, 1e6, 1e-6])
def test_what_is_the_same_time_does_not_depend_on_the_unit_of_time(unit):
    """A part in 1e13 is rounding, a part in 1e5 of a row is not."""
    quotes = Quotes(np.array([0.0, 0.5, 0.75]) * unit, [0, 1], [[1.0, NAN]], [[NAN, 4.0]], 2.0 * unit)
    same = from_time(quotes, 0.5 * unit * (1 + 1e-13), "bernoulli")
    np.testing.assert_allclose(same.times, [0.0, 0.25 * unit], rtol=1e-14, atol=0)
    later = from_time(quotes, (0.5 + 1e-5) * unit, "continuous")
    np.testing.assert_allclose(later.times, [0.0, (0.25 - 1e-5) * unit], rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match="start must be a time of the table"):
        from_time(quotes, (0.5 + 1e-5) * unit, "bernoulli")


def test_a_quote_so_deep_that_its_rate_overflows_is_refused():
    """exp(2·400) is beyond a double: each side is refused by name."""
    for side, other in (("bid", "ask"), ("ask", "bid")):
        tables = {side: np.full((1, 5), -400.0), other: np.full((1, 5), 0.5)}
        with pytest.raises(ValueError, match=f"{side} must be a distance at which the fill rate is finite; got .*-400"):
            fills(MARKET, Quotes([0.0], np.arange(-2, 3), **tables, horizon=1.0, limit=2))


def test_a_market_of_its_own_that_names_no_domain_is_asked_for_its_rate_at_the_mid():
    """Only what a market must have: 10 fills in a unit of time at the mid need 10 steps."""

    class Own:
        sigma, mu, impact, fee = 1.0, 0.0, 0.0, 0.0

        def bid_rate(self, distance):
            return 10.0 * np.exp(-2.0 * np.asarray(distance))

        ask_rate = bid_rate

    bernoulli_probabilities(Own(), strategies.constant_spread(0.5, 1.0, 5, 10))
    with pytest.raises(ValueError, match=r"steps must be >= 10 .* at distance 0 is"):
        bernoulli_probabilities(Own(), strategies.constant_spread(0.5, 1.0, 5, 9))
