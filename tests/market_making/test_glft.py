"""The GLFT quotes against published numbers and routes that share no code with the solver.

Its step tolerance is 1e-9 in u = ln(v_q/v_{q+1}); the errors of the steps add, and the equation damps them. Quotes are
held here to 5e-9/k, and logarithms of v to 5e-9 of their size.
"""

import csv
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from mmlib.market_making import (
    Market,
    TwoSidedMarket,
    avellaneda_stoikov,
    cartea_jaimungal,
    evaluate,
    glft,
    liquidation,
    sensitivities,
)
from mmlib.market_making._exponential import constants
from mmlib.market_making.intensity import Exponential, Logistic

PUBLISHED = Path(__file__).parents[2] / "data/published"
SOLVER = 5e-9
FIGURES = Market(sigma=0.3, A=0.9, k=0.3)  # Guéant, Lehalle & Fernandez-Tapia (2013), figures 1-3
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True)


def published(source, *prefixes):
    with (PUBLISHED / f"{source}.csv").open() as file:
        return [pytest.param(row, id=row["key"]) for row in csv.DictReader(file) if row["key"].startswith(prefixes)]


def arguments_of(row):
    p = json.loads(row["parameters"])
    market = Market(sigma=p["sigma"], A=p["A"], k=p["k"])
    rest = {name: p[name] for name in ("gamma", "horizon", "max_inventory", "size") if name in p}
    return p, market, rest


def tolerance(row, market, solved=False):
    """Half a unit of the last digit given, but not less than rounding, or than the solver's error."""
    return max(float(row["tolerance"]), 4e-16 * abs(float(row["value"])), SOLVER / market.k if solved else 0)


def generator(market, gamma, size, max_inventory, c):
    """Dense −M of dv/dtau = −M v and v at 0, entry by entry from the module's text; `c` is C_xi."""
    k = market.k
    q = np.arange(-max_inventory, max_inventory + 1)
    eta = market.A * c * np.exp(-k * market.fee) * np.exp(-k * market.impact / 2)
    minus_m = np.zeros((len(q), len(q)))
    for i, x in enumerate(q):
        minus_m[i, i] = k * market.mu * x - 0.5 * k * gamma * market.sigma**2 * size * x**2
        for j in (i - 1, i + 1):
            if 0 <= j < len(q):
                minus_m[i, j] = eta
    return minus_m, np.exp(-k * market.impact * q**2 / 2)


def by_expm(market, gamma, horizon, max_inventory, xi, size=1.0):
    """ln v at `horizon` by SciPy's Padé approximation, good to rounding while v spans a few powers of ten."""
    x = xi * size / market.k
    c = (1 + x) ** -(1 + 1 / x) if x > 1e-8 else np.exp(-1 - x / 2)  # to x² = 1e-16
    minus_m, start = generator(market, gamma, size, max_inventory, c)
    return np.log(expm(minus_m * horizon) @ start)


# Published and derived numbers


@pytest.mark.parametrize(
    "row",
    published("avellaneda_stoikov_2008", "optimal_")
    + published("glft_2013", "exact_bid", "tail_bid", "wide_bid")
    + published("gueant_2017", "ig_bid"),
)
def test_exact_quotes_at_the_start_are_the_published_ones(row):
    p, market, arguments = arguments_of(row)
    quotes = glft.quotes(market, steps=1, **arguments)
    quote = getattr(quotes, row["quantity"])[0, p["inventory"] + p["max_inventory"]]
    assert quote == pytest.approx(float(row["value"]), abs=tolerance(row, market, solved=True))


@pytest.mark.parametrize("gamma", [0.1, 0.01])
def test_value_is_the_published_certainty_equivalent(gamma):
    """At 60 orders the bound costs less than the last digit: the final inventory's std is 2.9 and 5.2."""
    (case,) = published("certainty_equivalents", f"ce_optimum_{gamma}")
    row = case.values[0]
    _, market, arguments = arguments_of(row)
    value = glft.value(market, max_inventory=60, **arguments)[60]
    assert value == pytest.approx(float(row["value"]), abs=float(row["tolerance"]) + SOLVER / market.k)


@pytest.mark.parametrize("row", published("glft_2013", "c1", "s", "closed") + published("gueant_2017", "ig_closed"))
def test_the_closed_form_is_the_published_one(row):
    p, market, arguments = arguments_of(row)
    quotes = glft.closed_form_quotes(market, steps=2, **arguments)
    zero = p["max_inventory"]
    ours = {
        "c1": constants(market, p["gamma"])[0],
        "s": np.diff(quotes.bid[0])[0],
        "closed_form_spread": quotes.spread[0, zero],
        "closed_form_bid": quotes.bid[1, zero + p.get("inventory", 0)],
    }[row["quantity"]]
    slack = 2e-15 if row["quantity"] == "s" else 0  # a difference of two quotes of size 3
    assert ours == pytest.approx(float(row["value"]), abs=tolerance(row, market) + slack)


@pytest.mark.parametrize("row", published("glft_2013", "hftbacktest"))
def test_half_spread_and_skew_are_those_of_the_hftbacktest_tutorial(row):
    p, market, _ = arguments_of(row)
    quotes = glft.closed_form_quotes(market, gamma=p["gamma"], horizon=1.0, max_inventory=2, steps=1)
    ours = {"half_spread": quotes.spread[0, 2] / 2, "skew": quotes.bid[0, 2] - quotes.bid[0, 1]}[row["quantity"]]
    assert ours == pytest.approx(float(row["value"]), rel=1e-14)


# Independent routes


def test_the_tails_are_those_of_400_bit_arithmetic():
    """The Taylor series of exp(tau (c − M)), c the largest of M's diagonal: positive terms only, in integers of 2^−400.

    It is the case where eigenvectors in double precision lose the tails: the ends of v are e^53 times smaller than its
    middle. Each of the 1,500 terms is cut by less than 2^−400, and v is at least 1.
    """
    market, gamma, horizon, Q = Market(sigma=1.0, A=0.2, k=0.3), 0.01, 600, 30
    one = 1 << 400
    with mpmath.workdps(120):
        k, g = mpmath.mpf(market.k), mpmath.mpf(gamma)
        eta = int(one * market.A * (1 + g / k) ** -(1 + k / g))
        alpha = int(one * k * g * market.sigma**2 / 2)
        stay = [alpha * (Q**2 - q**2) for q in range(-Q, Q + 1)]
        term, v, n = [one] * len(stay), [one] * len(stay), 0
        while n * one < horizon * (alpha * Q**2 + 2 * eta) or max(term) > min(v) >> 60:
            n += 1
            wide = [0, *term, 0]
            sums = [s * wide[i + 1] + eta * (wide[i] + wide[i + 2]) for i, s in enumerate(stay)]
            term = [x * horizon // (n * one) for x in sums]
            v = [a + b for a, b in zip(v, term, strict=True)]
        exact = [float(mpmath.log1p(g / k) / g + mpmath.log(mpmath.mpf(a) / b) / k) for a, b in pairwise(v)]
    quotes = glft.quotes(market, gamma=gamma, horizon=horizon, max_inventory=Q, steps=1)
    np.testing.assert_allclose(quotes.bid[0, :-1], exact, rtol=0, atol=SOLVER / market.k)


MARKETS = st.builds(
    Market,
    sigma=st.floats(0, 2),
    A=st.floats(0.1, 20),
    k=st.floats(0.2, 4),
    mu=st.floats(-0.3, 0.3),
    impact=st.floats(0, 0.1),
    fee=st.floats(-0.1, 0.2),
)
SYMMETRIC = MARKETS.map(lambda m: Market(m.sigma, m.A, m.k, impact=m.impact, fee=m.fee))
GAMMA = st.floats(0, 0.5)
HORIZON = st.floats(0.05, 5)


@EXAMPLES
@given(MARKETS, GAMMA, HORIZON, st.integers(1, 5), st.floats(0, 1), st.floats(0.5, 3))
def test_quotes_and_value_are_those_of_the_dense_matrix_exponential(market, gamma, horizon, Q, xi, size):
    """With drift, impact, fee, size and xi; at every time of a table of three."""
    q = np.arange(-Q, Q + 1)
    x = xi * size / market.k
    mark = (np.log(1 + x) / x if x > 1e-8 else 1 - x / 2) / market.k + market.fee + market.impact / 2
    quotes = glft.quotes(market, gamma=gamma, horizon=horizon, max_inventory=Q, steps=3, xi=xi, size=size)
    for i, t in enumerate(quotes.times):
        log_v = by_expm(market, gamma, horizon - t, Q, xi, size)
        np.testing.assert_allclose(quotes.bid[i, :-1], mark - np.diff(log_v) / market.k, atol=2 * SOLVER / market.k)
        np.testing.assert_allclose(quotes.ask[i, 1:], mark + np.diff(log_v) / market.k, atol=2 * SOLVER / market.k)
    theta = size / market.k * by_expm(market, gamma, horizon, Q, xi, size) + market.impact * size * q**2 / 2
    value = glft.value(market, gamma=gamma, horizon=horizon, max_inventory=Q, xi=xi, size=size)
    np.testing.assert_allclose(value, theta, atol=SOLVER * size / market.k * (1 + market.A * horizon))


@pytest.mark.parametrize("inventory", [0, 2])
def test_the_value_is_what_the_quotes_earn_with_every_friction(inventory):
    """Certainty equivalent of the tabled quotes by the evaluator, which knows fills and frictions but no optimality.

    Quotes held constant over dt lose to second order in dt; so the loss falls 4 times at each halving, to 5 % when it
    is small, and the extrapolated value agrees to that part of the last loss.
    """
    market = Market(sigma=1.0, A=4.0, k=1.2, mu=0.1, impact=0.08, fee=0.02)
    gamma, horizon, Q, size = 0.2, 1.0, 4, 2.0
    value = glft.value(market, gamma=gamma, horizon=horizon, max_inventory=Q, size=size)[Q + inventory]
    losses = [
        value
        - evaluate.certainty_equivalent(
            market,
            glft.quotes(market, gamma=gamma, horizon=horizon, max_inventory=Q, steps=steps, size=size),
            gamma,
            inventory=inventory,
        )
        for steps in (40, 80, 160)
    ]
    assert losses[0] > losses[1] > losses[2] > 0
    assert losses[1] / losses[2] == pytest.approx(4, rel=0.05)
    assert losses[2] - (losses[1] - losses[2]) / 3 == pytest.approx(0, abs=0.1 * losses[2])


def test_no_other_quotes_earn_a_higher_certainty_equivalent():
    """Moving any side at any inventory by ±0.05 lowers it; the evaluator knows nothing of first-order conditions."""
    market, gamma, horizon, Q = Market(sigma=1.0, A=4.0, k=1.2, mu=0.1, impact=0.05), 0.2, 1.0, 2
    best = glft.quotes(market, gamma=gamma, horizon=horizon, max_inventory=Q, steps=60)

    def worth(bid, ask):
        moved = type(best)(best.times, best.inventory, bid, ask, horizon)
        return evaluate.certainty_equivalent(market, moved, gamma)

    optimum = worth(best.bid, best.ask)
    for column in range(2 * Q + 1):
        for change in (-0.05, 0.05):
            shift = np.where(np.arange(2 * Q + 1) == column, change, 0.0)
            if column < 2 * Q:
                assert worth(best.bid + shift, best.ask) < optimum
            if column > 0:
                assert worth(best.bid, best.ask + shift) < optimum


def test_far_from_the_horizon_v_is_the_perron_vector():
    """Smallest eigenvector of M in 40 digits; at T = 1000 the next one has fallen behind by more than exp(−50)."""
    market, gamma, Q = FIGURES, 0.5, 6
    x = gamma / market.k
    minus_m, _ = generator(market, gamma, 1.0, Q, (1 + x) ** -(1 + 1 / x))
    with mpmath.workdps(40):
        values, vectors = mpmath.eigsy(mpmath.matrix((-minus_m).tolist()))
        assert (values[1] - values[0]) * 1000 > 50
        exact = [float(mpmath.log(vectors[i, 0] / vectors[i + 1, 0])) / market.k for i in range(2 * Q)]
    bid = glft.quotes(market, gamma=gamma, horizon=1000.0, max_inventory=Q, steps=1).bid[0, :-1]
    np.testing.assert_allclose(bid - np.log1p(x) / gamma, exact, rtol=0, atol=SOLVER / market.k)


@EXAMPLES
@given(MARKETS, st.floats(0.01, 0.5), HORIZON)
def test_the_tanh_quotes_solve_their_riccati_equation(market, gamma, horizon):
    """a and b by Runge-Kutta at relative 1e-10, read off the quotes as slope and level."""
    x = gamma / market.k
    eta = market.A * (1 + x) ** -(1 + 1 / x) * np.exp(-market.k * (market.fee + market.impact / 2))

    def slope(_, ab):
        a, b = ab
        return [gamma * market.sigma**2 - 2 * market.k * eta * a**2, market.mu - 2 * market.k * eta * a * b]

    a, b = solve_ivp(slope, (0, horizon), [market.impact, 0], rtol=1e-10, atol=1e-12, method="DOP853").y[:, -1]
    quotes = glft.tanh_quotes(market, gamma=gamma, horizon=horizon, max_inventory=3, steps=2)
    mark = np.log1p(x) / gamma + market.fee + market.impact / 2
    q = quotes.inventory
    np.testing.assert_allclose(quotes.bid[0, :-1], (mark + (2 * q + 1) / 2 * a - b)[:-1], rtol=0, atol=1e-8)
    np.testing.assert_allclose(quotes.ask[0, 1:], (mark - (2 * q - 1) / 2 * a + b)[1:], rtol=0, atol=1e-8)


# Limits


@pytest.mark.parametrize("rule", [glft.quotes, glft.tanh_quotes])
def test_near_the_horizon_the_quotes_are_those_of_avellaneda_and_stoikov(rule):
    """They differ to second order in tau (drift) or third; so halving tau divides the difference by 4 at least."""
    market = Market(sigma=1.0, A=3.0, k=1.0, mu=0.2, fee=0.01)

    def difference(tau):
        inner = slice(1, -2)  # the levels beside the ends of the grid have one neighbour less
        theirs = avellaneda_stoikov.quotes(market, gamma=0.3, horizon=tau, max_inventory=5, steps=1).bid[0, inner]
        return np.max(np.abs(rule(market, gamma=0.3, horizon=tau, max_inventory=5, steps=1).bid[0, inner] - theirs))

    assert difference(0.01) < 0.01**2 * 10
    assert difference(0.01) > 3.5 * difference(0.005)


def test_far_from_the_horizon_the_tanh_quotes_are_the_closed_form():
    market = Market(sigma=1.0, A=3.0, k=1.0, mu=0.2, impact=0.05, fee=0.01)
    far = glft.tanh_quotes(market, gamma=0.3, horizon=100.0, max_inventory=5, steps=1)  # 1 − tanh(omega · 100) < 1e-50
    closed = glft.closed_form_quotes(market, gamma=0.3, horizon=100.0, max_inventory=5, steps=1)
    np.testing.assert_allclose(far.bid, closed.bid, rtol=1e-13)
    np.testing.assert_allclose(far.ask, closed.ask, rtol=1e-13)


def test_the_closed_form_is_the_limit_of_the_exact_quotes_for_weak_risk_far_from_the_bound():
    """s → 0 is the approximation: its error at q = 0 falls in proportion to s or faster."""
    market = Market(sigma=0.3, A=0.9, k=0.3, impact=0.0)
    errors, slopes = [], []
    for gamma in (0.02, 0.005):
        closed = glft.closed_form_quotes(market, gamma=gamma, horizon=6000.0, max_inventory=150, steps=1).bid[0]
        errors.append(
            abs(glft.quotes(market, gamma=gamma, horizon=6000.0, max_inventory=150, steps=1).bid[0, 150] - closed[150])
        )
        slopes.append(closed[151] - closed[150])
    assert errors[1] / errors[0] < slopes[1] / slopes[0]


@pytest.mark.parametrize("rule", [glft.quotes, glft.tanh_quotes, glft.closed_form_quotes])
def test_without_risk_aversion_every_rule_is_the_limit_of_small_gamma(rule):
    """gamma = 0 is risk neutral: a branch in the constants, held to its neighbour; quotes are smooth in gamma here."""
    market = Market(sigma=1.0, A=3.0, k=1.0)
    zero, near = (rule(market, gamma=g, horizon=1.0, max_inventory=3, steps=2) for g in (0.0, 1e-14))
    np.testing.assert_allclose(zero.bid, near.bid, rtol=0, atol=1e-6)  # s ~ √gamma = 1e-7
    assert np.isfinite(zero.bid[:, :-1]).all()


def test_aversion_to_fills_tends_to_none():
    market = Market(sigma=1.0, A=3.0, k=1.0, mu=0.1, impact=0.02)
    zero, near = (
        glft.quotes(market, gamma=0.1, horizon=1.0, max_inventory=3, steps=2, xi=0.0),
        glft.quotes(market, gamma=0.1, horizon=1.0, max_inventory=3, steps=2, xi=1e-9),
    )
    np.testing.assert_allclose(zero.bid, near.bid, rtol=0, atol=2 * SOLVER)
    c1, C = constants(market, 0.0)
    assert (c1, C) == (1.0, pytest.approx(np.exp(-1), rel=1e-15))


def test_a_whole_number_may_be_written_as_a_float():
    market = Market(sigma=1.0, A=3.0, k=1.0)
    np.testing.assert_array_equal(
        glft.value(market, gamma=0.1, horizon=1.0, max_inventory=3.0),
        glft.value(market, gamma=0.1, horizon=1.0, max_inventory=3),
    )


def test_drift_without_risk_has_no_stationary_quotes_but_tanh_ones():
    """There b = mu tau (a = 0): the reservation price of a position that is held to the end."""
    market = Market(sigma=1.0, A=3.0, k=1.0, mu=0.2)
    with pytest.raises(ValueError, match="mu must be 0 for stationary quotes without inventory risk"):
        glft.closed_form_quotes(market, gamma=0.0, horizon=2.0, max_inventory=3, steps=2)
    quotes = glft.tanh_quotes(market, gamma=0.0, horizon=2.0, max_inventory=3, steps=2)
    np.testing.assert_allclose(quotes.ask[:, 1], 1.0 + 0.2 * np.array([2.0, 1.0]), rtol=1e-15)


# Invariants


@EXAMPLES
@given(SYMMETRIC, GAMMA, HORIZON, st.integers(1, 12))
def test_without_drift_the_ask_is_the_bid_of_the_opposite_inventory(market, gamma, horizon, Q):
    for rule in (glft.quotes, glft.tanh_quotes, glft.closed_form_quotes):
        quotes = rule(market, gamma=gamma, horizon=horizon, max_inventory=Q, steps=3)
        np.testing.assert_allclose(quotes.ask, quotes.bid[:, ::-1], rtol=1e-13, atol=1e-13)
    value = glft.value(market, gamma=gamma, horizon=horizon, max_inventory=Q)
    np.testing.assert_allclose(value, value[::-1], rtol=1e-12, atol=1e-13)


@EXAMPLES
@given(MARKETS, GAMMA, HORIZON, st.integers(1, 12))
def test_reversing_inventory_and_drift_exchanges_the_sides(market, gamma, horizon, Q):
    mirrored = Market(market.sigma, market.A, market.k, mu=-market.mu, impact=market.impact, fee=market.fee)
    one, other = (glft.quotes(m, gamma=gamma, horizon=horizon, max_inventory=Q, steps=3) for m in (market, mirrored))
    np.testing.assert_allclose(one.bid, other.ask[:, ::-1], rtol=0, atol=2 * SOLVER / market.k)


@EXAMPLES
@given(MARKETS, GAMMA, HORIZON, st.integers(1, 12), st.floats(0, 1))
def test_the_bid_falls_back_and_the_ask_comes_closer_as_inventory_grows(market, gamma, horizon, Q, xi):
    quotes = glft.quotes(market, gamma=gamma, horizon=horizon, max_inventory=Q, steps=3, xi=xi)
    assert np.all(np.diff(quotes.bid[:, :-1]) > -2 * SOLVER / market.k)
    assert np.all(np.diff(quotes.ask[:, 1:]) < 2 * SOLVER / market.k)


@EXAMPLES
@given(MARKETS, st.floats(0.01, 0.5), HORIZON, st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10))
def test_quotes_and_value_scale_with_the_units_of_price_time_and_size(market, gamma, horizon, price, time, unit):
    """Distances scale with price alone; money with price times size; gamma with its inverse."""
    scaled = Market(
        sigma=market.sigma * price / np.sqrt(time),
        A=market.A / time,
        k=market.k / price,
        mu=market.mu * price / time,
        impact=market.impact * price,
        fee=market.fee * price,
    )
    one = dict(market=market, gamma=gamma, horizon=horizon, max_inventory=4)
    other = dict(market=scaled, gamma=gamma / price / unit, horizon=horizon * time, max_inventory=4, size=unit)
    for rule in (glft.quotes, glft.tanh_quotes, glft.closed_form_quotes):
        if rule is glft.closed_form_quotes and market.sigma < 1e-3:
            continue  # its drift term has no limit there
        expected = price * rule(**one, steps=3).bid
        np.testing.assert_allclose(rule(**other, steps=3).bid, expected, rtol=1e-9, atol=2 * SOLVER * price / market.k)
    np.testing.assert_allclose(
        glft.value(**other),
        price * unit * glft.value(**one),
        atol=2 * SOLVER * price * unit / market.k * (1 + market.A * horizon),
    )


@EXAMPLES
@given(MARKETS, GAMMA, HORIZON)
def test_quotes_depend_on_the_time_to_go_only(market, gamma, horizon):
    table = glft.quotes(market, gamma=gamma, horizon=horizon, max_inventory=4, steps=5)
    for i, t in enumerate(table.times):
        alone = glft.quotes(market, gamma=gamma, horizon=horizon - t, max_inventory=4, steps=1)
        np.testing.assert_allclose(table.bid[i], alone.bid[0], rtol=0, atol=2 * SOLVER / market.k)


def powers(low, high):
    return st.floats(low, high).map(lambda e: 10.0**e)


@EXAMPLES
@given(
    st.builds(
        Market, sigma=powers(-3, 2), A=powers(-3, 4), k=powers(-3, 3), mu=st.floats(-10, 10), fee=st.floats(0, 0.2)
    ),
    st.one_of(st.just(0.0), powers(-4, 3)),
    powers(-3, 4),
    st.integers(1, 200),
)
def test_quotes_are_finite_and_ordered_whatever_the_parameters(market, gamma, horizon, Q):
    quotes = glft.quotes(market, gamma=gamma, horizon=horizon, max_inventory=Q, steps=3)
    assert np.isfinite(quotes.bid[:, :-1]).all() and np.isfinite(quotes.ask[:, 1:]).all()
    assert np.all(np.diff(quotes.bid[:, :-1]) > -1e-8 / market.k * (1 + market.k * np.abs(quotes.bid[:, 1:-1])))
    assert np.isfinite(glft.value(market, gamma=gamma, horizon=horizon, max_inventory=Q)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(gamma=-0.1), r"gamma must be >= 0 and finite \(penalty of inventory risk, 1/currency\); got -0.1"),
        (dict(gamma=np.inf), "gamma must be"),
        (dict(gamma=True), "gamma must be"),
        (dict(horizon=0.0), "horizon must be > 0"),
        (dict(horizon=np.nan), "horizon must be > 0"),
        (dict(max_inventory=0), "max_inventory must be an integer and >= 1"),
        (dict(max_inventory=2.5), "max_inventory must be an integer"),
        (dict(steps=0), "steps must be an integer and >= 1"),
        (dict(xi=-1.0), "xi must be >= 0"),
        (dict(size=0.0), "size must be > 0"),
        (dict(market=Market(2.0, 140.0, 1.5, fee=300.0)), "fee \\+ impact/2 must be"),
    ],
)
@pytest.mark.parametrize("rule", [glft.quotes, glft.closed_form_quotes, glft.tanh_quotes])
def test_a_bad_argument_is_refused_by_name(rule, change, message):
    arguments = dict(market=Market(2.0, 140.0, 1.5), gamma=0.1, horizon=1.0, max_inventory=5, steps=4)
    with pytest.raises(ValueError, match=message):
        rule(**(arguments | change))


def test_a_two_sided_market_of_equal_exponentials_is_a_market():
    market = Market(2.0, 140.0, 1.5, mu=0.1, impact=0.02, fee=-0.01)
    sides = TwoSidedMarket(2.0, Exponential(140.0, 1.5), mu=0.1, impact=0.02, fee=-0.01)
    for one in (market.bid, market.ask):
        assert one == Exponential(140.0, 1.5)
    problem = dict(gamma=0.1, horizon=1.0, max_inventory=4)
    for rule in (glft.quotes, glft.tanh_quotes, glft.closed_form_quotes):
        one, other = (rule(m, **problem, steps=2) for m in (market, sides))
        np.testing.assert_array_equal(one.bid, other.bid)
        np.testing.assert_array_equal(one.ask, other.ask)
    np.testing.assert_array_equal(glft.value(market, **problem), glft.value(sides, **problem))
    plain = replace(sides, impact=0.0)
    one, other = (
        avellaneda_stoikov.symmetric_quotes(m, **problem, steps=2) for m in (replace(market, impact=0.0), plain)
    )
    np.testing.assert_array_equal(one.bid, other.bid)
    assert cartea_jaimungal.gain(sides, phi=0.1, max_inventory=3) == cartea_jaimungal.gain(
        market, phi=0.1, max_inventory=3
    )


@pytest.mark.parametrize("market", [None, TwoSidedMarket(2.0, Exponential(140.0, 1.5), Logistic(140.0, 1.5, 0.0))])
def test_models_of_exponential_intensities_refuse_any_other_market_by_name(market):
    for call in (
        lambda: glft.quotes(market, gamma=0.1, horizon=1.0, max_inventory=3, steps=2),
        lambda: glft.value(market, gamma=0.1, horizon=1.0, max_inventory=3),
        lambda: constants(market, 0.1),
        lambda: avellaneda_stoikov.quotes(market, gamma=0.1, horizon=1.0, max_inventory=3, steps=2),
        lambda: cartea_jaimungal.quotes(market, phi=0.1, alpha=0.1, horizon=1.0, max_inventory=3, steps=2),
        lambda: cartea_jaimungal.gain(market, phi=0.1, max_inventory=3),
        lambda: liquidation.quotes(market, gamma=0.1, horizon=1.0, inventory=3, penalty=0.1, steps=2),
        lambda: sensitivities.derivatives(market, gamma=0.1, horizon=1.0, max_inventory=3, steps=2),
    ):
        with pytest.raises(ValueError, match=r"^market must be a Market, or a TwoSidedMarket of equal"):
            call()


def test_the_largest_flows_at_the_start_are_finite():
    """A start of ±600 times the largest eta, exp(300), would overflow. Far from the horizon v does not know its start:
    an impact of 400 moves the quotes by half of it, as a fee of 200 does."""
    market, plain = Market(0.0, 140.0, 1.5, fee=-399.0, impact=400.0), Market(0.0, 140.0, 1.5, fee=-199.0)
    one, other = (glft.quotes(m, gamma=0.0, horizon=1.0, max_inventory=3, steps=1) for m in (market, plain))
    np.testing.assert_allclose(one.bid, other.bid, rtol=0, atol=1e-7)
