"""Liquidation with limit orders, against the thesis, 50-digit arithmetic and the exact evaluation of the table."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.market_making import Market, TwoSidedMarket, evaluate, liquidation
from mmlib.market_making.intensity import Exponential, Linear

PUBLISHED = Path(__file__).parents[2] / "data/published/fernandez_tapia_2015.csv"
MARKET = Market(sigma=0.3, A=0.1, k=0.3)


def published():
    with PUBLISHED.open() as file:
        return [pytest.param(row, id=row["key"]) for row in csv.DictReader(file)]


def ask(market, gamma, penalty, horizon=300.0, inventory=6):
    return liquidation.quotes(market, gamma=gamma, horizon=horizon, inventory=inventory, penalty=penalty, steps=3).ask[
        0, 1:
    ]


def precise_asks(market, gamma, penalty, tau, inventory, digits=50):
    """Taylor-scaled matrix exponential of the thesis's own equation for w, in 50 digits: no log-ratios, no steps."""
    with mpmath.workdps(digits):
        k, g, s = mpmath.mpf(market.k), mpmath.mpf(gamma), mpmath.mpf(market.sigma)
        alpha, beta = k * g * s**2 / 2, k * mpmath.mpf(market.mu)
        eta = mpmath.mpf(market.A) * (1 + g / k) ** (-(1 + k / g)) * mpmath.exp(-k * mpmath.mpf(market.fee))
        M = mpmath.zeros(inventory + 1)
        w = mpmath.matrix(inventory + 1, 1)
        for q in range(inventory + 1):
            M[q, q] = -(alpha * q**2 - beta * q)
            w[q] = mpmath.exp(-k * q * mpmath.mpf(penalty))
            if q > 0:
                M[q, q - 1] = eta
        w = mpmath.expm(M * mpmath.mpf(tau)) * w
        c1 = mpmath.log(1 + g / k) / g + mpmath.mpf(market.fee)
        return np.array([float(mpmath.log(w[q] / w[q - 1]) / k + c1) for q in range(1, inventory + 1)])


@pytest.mark.parametrize("row", published())
def test_every_number_of_the_thesis_is_reproduced_to_its_last_digit(row):
    """Printed by Fernandez-Tapia (2015); half a unit of the last digit."""
    p = json.loads(row["parameters"])
    market = Market(sigma=p["sigma"], A=p["A"], k=p["k"], mu=p["mu"])
    ours = ask(market, p["gamma"], p["penalty"], p["horizon"])[p["inventory"] - 1]
    assert ours == pytest.approx(float(row["value"]), abs=float(row["tolerance"]))


@pytest.mark.parametrize("row", published())
def test_the_thesis_numbers_follow_from_its_equation_in_fifty_digits(row):
    """The second route shares nothing with mmlib: mpmath's matrix exponential of the equation as printed."""
    p = json.loads(row["parameters"])
    market = Market(sigma=p["sigma"], A=p["A"], k=p["k"], mu=p["mu"])
    theirs = precise_asks(market, p["gamma"], p["penalty"], p["horizon"], p["inventory"])[-1]
    assert theirs == pytest.approx(float(row["value"]), abs=float(row["tolerance"]))


def test_the_captions_with_sigma_3_are_misprints_for_sigma_0_3():
    """Tables 3.6 and 3.7 print sigma = 3. With it the asks are another order of magnitude, in fifty digits too."""
    with PUBLISHED.open() as file:
        rows = [row for row in csv.DictReader(file) if row["key"].startswith(("ask_b_20", "ask_gamma_0.01"))]
    for row in rows:
        p = json.loads(row["parameters"])
        as_printed = Market(sigma=3.0, A=p["A"], k=p["k"])
        for ours in (
            ask(as_printed, p["gamma"], p["penalty"])[p["inventory"] - 1],
            precise_asks(as_printed, p["gamma"], p["penalty"], p["horizon"], p["inventory"])[-1],
        ):
            assert abs(ours - float(row["value"])) > 1.5


def test_the_column_headed_gamma_0_5_is_gamma_0_1():
    """At gamma = 0.5 the equation gives 5.31 to −6.25; the printed column is gamma = 0.1 to its last digit."""
    printed = np.array([9.84, 6.7461, 4.7262, 3.189, 1.9384, 0.88139])
    unit = np.array([1e-2, 1e-4, 1e-4, 1e-3, 1e-4, 1e-5])
    assert np.all(np.abs(precise_asks(MARKET, 0.1, 3.0, 300.0, 6) - printed) <= unit / 2)
    assert np.all(np.abs(precise_asks(MARKET, 0.5, 3.0, 300.0, 6) - printed) > 4)


@pytest.mark.parametrize(
    "market", [replace(MARKET, mu=0.02, fee=0.5), replace(MARKET, mu=-0.05), Market(2.0, 140.0, 1.5)]
)
@pytest.mark.parametrize("penalty", [-2.0, 0.0, 40.0])
def test_asks_agree_with_fifty_digits_at_every_time_of_the_table(market, penalty):
    """The integrator promises a few 1e-9/k."""
    quotes = liquidation.quotes(market, gamma=0.07, horizon=3.0, inventory=5, penalty=penalty, steps=4)
    for i, t in enumerate(quotes.times):
        theirs = precise_asks(market, 0.07, penalty, 3.0 - t, 5)
        np.testing.assert_allclose(quotes.ask[i, 1:], theirs, rtol=0, atol=5e-9 / market.k)


def test_the_value_is_the_certainty_equivalent_of_the_table_as_its_steps_shrink():
    """`evaluate` knows the table and the market only. Quotes held for a step lose O(dt²) at an optimum, so two tables
    extrapolate to O(dt³): the error of the extrapolation must be far below that of the finer table."""
    theta = liquidation.value(MARKET, gamma=0.05, horizon=300.0, inventory=6, penalty=3.0)[6]
    worth = []
    for steps in (150, 300):
        quotes = liquidation.quotes(MARKET, gamma=0.05, horizon=300.0, inventory=6, penalty=3.0, steps=steps)
        worth.append(evaluate.certainty_equivalent(MARKET, quotes, 0.05, inventory=6, liquidation_cost=3.0))
    losses = theta - np.array(worth)
    assert np.all(losses > 0)
    assert 1.8 < np.log2(losses[0] / losses[1]) < 2.2
    assert abs(theta - (4 * worth[1] - worth[0]) / 3) < 0.1 * losses[1]


def test_risk_neutral_is_the_limit_of_small_aversion():
    """The quotes are smooth in gamma: at 1e-9 they differ from gamma = 0 by O(1e-9·horizon·…)."""
    np.testing.assert_allclose(ask(MARKET, 0.0, 3.0), ask(MARKET, 1e-9, 3.0), rtol=0, atol=1e-5)


def test_impact_adds_to_the_value_of_what_is_left():
    """Independent route: finite differences in time of theta must satisfy the equation written with the impact."""
    market = replace(MARKET, impact=0.4, fee=-0.1, mu=0.01)
    gamma, dt = 0.05, 1e-4
    early, now, late = (
        liquidation.value(market, gamma=gamma, horizon=20.0 + d, inventory=4, penalty=3.0) for d in (dt, 0.0, -dt)
    )
    rate = (early - late) / (2 * dt)
    q = np.arange(1, 5)
    ask = liquidation.quotes(market, gamma=gamma, horizon=20.0, inventory=4, penalty=3.0, steps=1).ask[0, 1:]
    gain = ask - market.fee + market.impact * (q - 1) + now[:-1] - now[1:]
    fills = market.ask_rate(ask) * -np.expm1(-gamma * gain) / gamma
    np.testing.assert_allclose(rate[1:], market.mu * q - 0.5 * gamma * market.sigma**2 * q**2 + fills, atol=1e-7)


def test_sixty_orders_and_an_enormous_penalty_give_finite_quotes_that_fall_with_inventory():
    quotes = liquidation.quotes(MARKET, gamma=0.001, horizon=5.0, inventory=60, penalty=1e4, steps=2)
    assert np.all(np.isfinite(quotes.ask[:, 1:]))
    assert np.all(np.diff(quotes.ask[:, 1:]) < 0)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(price=st.floats(0.01, 100), time=st.floats(0.01, 100))
def test_units_of_price_and_time_do_not_matter(price, time):
    """Rescaling price by c and time by d rescales the asks by c; a wrong unit anywhere breaks this."""
    scaled = Market(sigma=0.3 * price / time**0.5, A=0.1 / time, k=0.3 / price, mu=0.01 * price / time)
    ours = ask(scaled, 0.05 / price, 3.0 * price, 300.0 * time)
    np.testing.assert_allclose(ours, price * ask(replace(MARKET, mu=0.01), 0.05, 3.0), rtol=1e-9, atol=1e-9 * price)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (dict(gamma=-1.0), "gamma"),
        (dict(horizon=0.0), "horizon"),
        (dict(inventory=0), "inventory"),
        (dict(inventory=2.5), "inventory"),
        (dict(penalty=float("nan")), "penalty"),
        (dict(steps=0), "steps"),
    ],
)
def test_a_bad_argument_is_named(change, name):
    arguments = dict(gamma=0.05, horizon=300.0, inventory=6, penalty=3.0, steps=3)
    with pytest.raises(ValueError, match=f"^{name} must be"):
        liquidation.quotes(MARKET, **{**arguments, **change})


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(market=Market(2.0, 140.0, 1.5, fee=-1000.0)), r"fee \+ impact/2 must be >= -200"),
        (dict(penalty=-1000.0), "penalty must be >= -200 and finite"),
        (dict(penalty=[1.0]), "penalty must be one number"),
    ],
)
def test_what_cannot_be_solved_is_refused_at_once(change, message):
    good = dict(market=Market(2.0, 140.0, 1.5), gamma=0.1, horizon=1.0, inventory=3, penalty=1.0, steps=2)
    with pytest.raises(ValueError, match=message):
        liquidation.quotes(**good | change)


def test_a_stiff_sale_far_from_its_deadline_is_stationary():
    """With w' = 0 the equation is alpha q² w_q = eta w_{q−1}: so every ask is known. It relaxes at rate alpha = 187."""
    market, gamma = Market(5.0, 10.0, 1.5), 10.0
    quotes = liquidation.quotes(market, gamma=gamma, horizon=10.0, inventory=50, penalty=1.0, steps=1)
    q = np.arange(1, 51)
    eta = 10.0 * (1 + gamma / 1.5) ** -(1 + 1.5 / gamma)
    expected = np.log1p(gamma / 1.5) / gamma + np.log(eta / (0.5 * 1.5 * gamma * 25 * q**2)) / 1.5
    np.testing.assert_allclose(quotes.ask[0, 1:], expected, rtol=0, atol=5e-9 / 1.5)


def test_only_the_ask_of_a_two_sided_market_counts():
    sides = TwoSidedMarket(0.3, Linear(5.0, 1.0), Exponential(0.1, 0.3), mu=0.01)
    ours = liquidation.value(sides, gamma=0.05, horizon=30.0, inventory=3, penalty=3.0)
    alone = liquidation.value(Market(0.3, 0.1, 0.3, mu=0.01), gamma=0.05, horizon=30.0, inventory=3, penalty=3.0)
    np.testing.assert_array_equal(ours, alone)
    with pytest.raises(ValueError, match="market must be a Market, or"):
        swapped = TwoSidedMarket(0.3, sides.ask, sides.bid)
        liquidation.value(swapped, gamma=0.05, horizon=30.0, inventory=3, penalty=3.0)


@pytest.mark.parametrize("fee", [-199.0, 0.0, 199.0])
def test_the_extreme_penalties_that_are_accepted_are_solved(fee):
    """b = −200: w_1 = exp(300) + eta tau, so the last ask is c1 + fee + 200. Any b from 600/k on is as good as ∞:
    w_1 = eta tau, so it is c1 + fee + ln(eta tau)/k."""
    market = Market(0.0, 140.0, 1.5, fee=fee)
    low, high = (
        liquidation.quotes(market, gamma=0.0, horizon=1.0, inventory=3, penalty=b, steps=1).ask[0, 1]
        for b in (-200.0, 1e308)
    )
    eta_tau = 140 * np.exp(-1 - 1.5 * fee)
    assert low == pytest.approx(1 / 1.5 + fee + np.logaddexp(300, np.log(eta_tau)) / 1.5, abs=1e-9)
    assert high == pytest.approx(1 / 1.5 + fee + np.log(eta_tau) / 1.5, abs=1e-9)
