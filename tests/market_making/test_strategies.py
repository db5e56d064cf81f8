"""Rules of thumb: their tables, and that the evaluators honour them. Expected values are worked out by hand here."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from mmlib.market_making import Market, TwoSidedMarket, cartea_jaimungal, evaluate, glft, simulate, strategies
from mmlib.market_making.intensity import Exponential

MARKET = Market(sigma=2.0, A=140.0, k=1.5)
GRID = dict(horizon=1.0, max_inventory=4, steps=3)
distances = st.floats(-10, 10, allow_nan=False)
skews = st.floats(-1, 1, allow_nan=False)


def mirrored(quotes):
    """The bid table with the inventory turned round: the ask of a maker whose rule treats both sides alike."""
    return quotes.bid[:, ::-1]


def test_a_constant_spread_quotes_one_distance_and_only_the_way_back_at_the_ends():
    quotes = strategies.constant_spread(0.7, **GRID)
    assert quotes.bid.shape == quotes.ask.shape == (3, 9)
    np.testing.assert_array_equal(quotes.bid[:, :-1], 0.7)
    np.testing.assert_array_equal(quotes.ask[:, 1:], 0.7)
    assert np.isnan(quotes.bid[:, -1]).all() and np.isnan(quotes.ask[:, 0]).all()


@settings(deadline=None, max_examples=50, derandomize=True)
@given(half_spread=distances, skew=skews)
def test_a_linear_skew_moves_both_quotes_and_keeps_the_spread(half_spread, skew):
    """A maker long q lowers both quotes by skew·q: the total spread stays, the centre of the quotes moves."""
    quotes = strategies.linear_skew(half_spread, skew, **GRID)
    inner = slice(1, -1)
    np.testing.assert_allclose(quotes.spread[:, inner], 2 * half_spread, rtol=0, atol=1e-14)
    centre = (quotes.ask - quotes.bid)[0, inner] / 2
    np.testing.assert_allclose(centre, -skew * quotes.inventory[inner], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(mirrored(quotes), quotes.ask)


def test_the_stationary_closed_form_is_a_linear_skew():
    """Guéant (2017), eqs. 4.6–4.7, written out: bid = c1 + s/2 + s q with the two constants of the paper."""
    gamma, k = 0.1, MARKET.k
    c1 = np.log(1 + gamma / k) / gamma
    s = np.sqrt(gamma * MARKET.sigma**2 / (2 * MARKET.A * k) * (1 + gamma / k) ** (1 + k / gamma))
    skewed = strategies.linear_skew(c1 + s / 2, s, **GRID)
    closed = glft.closed_form_quotes(MARKET, gamma=gamma, **GRID)
    np.testing.assert_allclose(skewed.bid, closed.bid, rtol=1e-13)
    np.testing.assert_allclose(skewed.ask, closed.ask, rtol=1e-13)


def test_any_rule_is_tabled_at_the_left_ends_with_plain_numbers():
    seen = set()

    def rule(t, q):
        seen.add((type(t), type(q)))
        return (t + 10 * q, np.nan) if q > 2 else (t + 10 * q, t - 10 * q)

    quotes = strategies.from_function(rule, horizon=1.5, max_inventory=4, steps=3)
    assert seen == {(float, int)}
    np.testing.assert_array_equal(quotes.times, [0.0, 0.5, 1.0])
    assert quotes.bid[1, 7] == 0.5 + 30
    assert quotes.ask[2, 1] == 1.0 + 30
    assert np.isnan(quotes.ask[:, 7:]).all() and not np.isnan(quotes.ask[:, 1:7]).any()
    assert np.isnan(quotes.bid[:, -1]).all() and np.isnan(quotes.ask[:, 0]).all()


def test_the_named_rules_are_functions_of_time_and_inventory_too():
    tabled = strategies.from_function(lambda t, q: (0.6 + 0.05 * q, 0.6 - 0.05 * q), **GRID)
    named = strategies.linear_skew(0.6, 0.05, **GRID)
    np.testing.assert_allclose(tabled.bid, named.bid, rtol=1e-15)
    np.testing.assert_allclose(tabled.ask, named.ask, rtol=1e-15)


@pytest.mark.parametrize("answer", [0.5, (0.5,), (0.5, 0.5, 0.5), (0.5, None), ("wide", 0.5), None])
def test_a_rule_that_does_not_return_two_numbers_is_refused_with_the_place_and_the_answer(answer):
    with pytest.raises(ValueError, match=r"rule must return two numbers.* at t = 0, q = -4; got"):
        strategies.from_function(lambda t, q: answer, **GRID)


def test_an_error_inside_a_rule_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        strategies.from_function(lambda t, q: (1 / q, 1 / q), **GRID)


def test_an_infinite_distance_is_refused():
    with pytest.raises(ValueError, match="bid must be finite, or NaN"):
        strategies.from_function(lambda t, q: (np.inf, 1.0), **GRID)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda bad: strategies.constant_spread(bad, **GRID), "half_spread"),
        (lambda bad: strategies.linear_skew(0.5, bad, **GRID), "skew"),
        (lambda bad: strategies.hard_boundary(bad, 0.5, **GRID), "half_spread"),
        (lambda bad: strategies.hard_boundary(0.5, bad, **GRID), "cost"),
        (lambda bad: strategies.hard_boundary(0.5, 0.5, **GRID, target=bad), "target"),
        (lambda bad: strategies.constant_spread(0.5, bad, 4, 3), "horizon"),
        (lambda bad: strategies.constant_spread(0.5, 1.0, bad, 3), "max_inventory"),
        (lambda bad: strategies.constant_spread(0.5, 1.0, 4, bad), "steps"),
        (lambda bad: strategies.wrong_folk_formula(MARKET, bad, **GRID), "gamma"),
    ],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, "1", True])
def test_a_bad_argument_is_named(make, name, bad):
    with pytest.raises(ValueError, match=f"{name} must be"):
        make(bad)


def test_a_negative_cost_and_a_target_beyond_the_limit_are_refused():
    with pytest.raises(ValueError, match="cost must be >= 0"):
        strategies.hard_boundary(0.5, -0.1, **GRID)
    with pytest.raises(ValueError, match="target must be an integer and >= 0 and <= 4"):
        strategies.hard_boundary(0.5, 0.1, **GRID, target=5)


def cuts_by_hand(rate, horizon, target):
    """Expected orders cut with limit 1, from the three-state chain solved on paper.

    |q| leaves 0 at 2·rate. With target 1 it leaves 1 at `rate` (the other fill is cut by one order and stays): so
    P(|q| = 1) = 2/3 (1 − exp(−3 rate t)), and cuts come at `rate` then. With target 0 both fills lead to 0, one of them
    by a cut of two orders: P(|q| = 1) = 1/2 (1 − exp(−4 rate t)).
    """
    speed, share, orders = (3 * rate, 2 / 3, 1) if target == 1 else (4 * rate, 1 / 2, 2)
    return orders * rate * share * (horizon + np.expm1(-speed * horizon) / speed)


@pytest.mark.parametrize("target", [1, 0])
def test_a_hard_boundary_earns_both_spreads_always_less_the_cuts_worked_out_by_hand(target):
    """The expected profit of limit 1 from a chain of three states: no code shared with the evaluators.

    Both sides are quoted at every inventory, so fills come at 2·rate whatever happened. The simulation is 4 standard
    errors wide; the exact evaluation is exact to rounding and quadrature.
    """
    half_spread, cost, horizon = 0.8, 0.3, 0.7
    rate = 140.0 * np.exp(-1.5 * half_spread)
    by_hand = 2 * rate * horizon * half_spread - cost * cuts_by_hand(rate, horizon, target)
    quotes = strategies.hard_boundary(half_spread, cost, horizon, max_inventory=1, steps=5, target=target)
    assert (quotes.limit, quotes.cost, quotes.target) == (1, cost, target)
    assert evaluate.moments(MARKET, quotes, "continuous").mean == pytest.approx(by_hand, rel=1e-9)
    outcome = simulate.run(MARKET, quotes, paths=20_000, seed=3, scheme="continuous")
    assert abs(outcome.profit.mean() - by_hand) < 4 * outcome.profit.std() / np.sqrt(20_000)
    assert np.abs(outcome.inventory).max() <= 1


def test_a_limit_that_is_never_reached_costs_nothing():
    """At a limit out of reach the rule is a constant spread.

    Fills are Poisson of mean 140·0.05·exp(−1.5·0.7) ≈ 2.4 a side: 41 on one side have a chance below 1e-30.
    """
    grid = dict(horizon=0.05, max_inventory=40, steps=10)
    bounded = evaluate.moments(MARKET, strategies.hard_boundary(0.7, 5.0, **grid), "continuous")
    free = evaluate.moments(MARKET, strategies.constant_spread(0.7, **grid), "continuous")
    assert bounded.mean == pytest.approx(free.mean, rel=1e-12)
    assert bounded.std == pytest.approx(free.std, rel=1e-12)


def test_the_wrong_formula_leans_the_wrong_way():
    """The longer the maker, the closer its bid: each order held makes it keener to buy, against every optimal rule."""
    wrong = strategies.wrong_folk_formula(MARKET, gamma=0.1, horizon=1.0, max_inventory=6, steps=4)
    right = glft.quotes(MARKET, gamma=0.1, horizon=1.0, max_inventory=6, steps=4)
    assert (np.diff(wrong.bid[:, :-1], axis=1) < 0).all() and (np.diff(right.bid[:, :-1], axis=1) > 0).all()
    np.testing.assert_allclose(mirrored(wrong), wrong.ask, rtol=1e-12)


def test_the_wrong_formula_costs_what_it_was_found_to_cost():
    """Mean, std and certainty equivalent at Avellaneda & Stoikov's parameters, gamma = 0.1, Q = 20: 15.649, 36.797 and
    −54.575 with continuously moving quotes, against 67.544, 8.352 and 64.133 for the optimal ones.

    A table of n rows holds each quote too long, an error of order 1/n; the extrapolation 2 x(2n) − x(n) leaves order
    1/n². From n = 200 to 400 it moves by 4e-4 at most, so at 400 a third of that is left: 1.4e-4 beside the half unit
    of the last digit.
    """

    def found(steps):
        quotes = strategies.wrong_folk_formula(MARKET, gamma=0.1, horizon=1.0, max_inventory=20, steps=steps)
        moments = evaluate.moments(MARKET, quotes, "continuous")
        return np.array([moments.mean, moments.std, evaluate.certainty_equivalent(MARKET, quotes, gamma=0.1)])

    np.testing.assert_allclose(2 * found(800) - found(400), [15.649, 36.797, -54.575], rtol=0, atol=5e-4 + 1.4e-4)


def test_the_wrong_formula_knows_nothing_of_fees_and_impact_but_through_the_value():
    """bid = 1/(2k) + θ(q+1) − θ(q) with θ = ln v/k, v by a dense exponential of the equation with impact (Guéant,
    Lehalle & Fernandez-Tapia 2013, section 5.2): η falls by e^(−k·impact/2) and v ends at exp(−k·impact·q²/2)."""
    gamma, k, impact, fee, Q = 0.1, 1.5, 0.2, 0.03, 4
    market = Market(2.0, 140.0, k, impact=impact, fee=fee)
    wrong = strategies.wrong_folk_formula(market, gamma=gamma, horizon=0.3, max_inventory=Q, steps=1)
    q = np.arange(-Q, Q + 1)
    eta = 140.0 * (1 + gamma / k) ** -(1 + k / gamma) * np.exp(-k * (impact / 2 + fee))
    M = np.diag(-k * gamma * 2.0 * q**2) + eta * (np.eye(2 * Q + 1, k=1) + np.eye(2 * Q + 1, k=-1))
    theta = np.log(expm(0.3 * M) @ np.exp(-k * impact * q**2 / 2)) / k
    np.testing.assert_allclose(wrong.bid[0, :-1], 1 / (2 * k) + np.diff(theta), rtol=0, atol=1e-8)


def test_a_taker_of_one_lot_pays_for_its_units():
    """At 2.5 units a lot and 0.1 a unit: a sale leads to the neighbour's value less 0.25."""
    from mmlib.market_making._hjb_equation import after_taking, equation

    eq = equation(MARKET, 3, 0.1, None, None, 2.5, "lot", 0.1, None)
    value = np.array([-9.0, -4.0, -1.0, 0.0, -1.0, -4.0, -9.0])
    best = after_taking(eq, value)
    np.testing.assert_allclose(best[[0, 1, 2, 4, 5, 6]], [-4.25, -1.25, -0.25, -0.25, -1.25, -4.25], rtol=1e-14)


def test_with_nothing_at_stake_the_wrong_formula_quotes_half_the_monopoly_mark_up():
    """With no time left θ = 0 at every inventory, so only the constant 1/(2k) is left, whatever the fee."""
    market = Market(sigma=0.0, A=140.0, k=1.5, fee=0.02)
    quotes = strategies.wrong_folk_formula(market, gamma=0.0, horizon=1e-9, max_inventory=3, steps=1)
    np.testing.assert_allclose(quotes.bid[0, :-1], 1 / 3.0, rtol=1e-6)


def test_an_array_where_one_number_is_meant_is_refused():
    market, quotes = MARKET, strategies.constant_spread(0.5, 1.0, 5, 200)
    many = np.arange(11.0)
    for name, call in (
        ("half_spread", lambda: strategies.constant_spread(many, 1.0, 5, 3)),
        ("skew", lambda: strategies.linear_skew(0.5, many, 1.0, 5, 3)),
        ("cost", lambda: strategies.hard_boundary(0.5, many, 1.0, 5, 3)),
        ("horizon", lambda: strategies.constant_spread(0.5, [1.0], 5, 3)),
        ("liquidation_cost", lambda: evaluate.moments(market, quotes, liquidation_cost=many)),
        ("liquidation_cost", lambda: simulate.run(market, quotes, 10, liquidation_cost=many)),
        ("gamma", lambda: evaluate.certainty_equivalent(market, quotes, [0.1])),
        ("size", lambda: glft.quotes(market, gamma=0.1, horizon=1.0, max_inventory=3, steps=2, size=[1.0])),
        (
            "phi",
            lambda: cartea_jaimungal.quotes(
                market, phi=np.full(6, 0.1), alpha=0.1, horizon=1.0, max_inventory=3, steps=2
            ),
        ),
        ("sigma", lambda: TwoSidedMarket([1, 2], Exponential(1.0, 1.0))),
        ("A", lambda: Exponential(np.array([1.0, 2.0]), 1.0)),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be one number, "):
            call()
