"""Avellaneda & Stoikov's quotes against their tables, and against a derivation that shares no code with them."""

import csv
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from mmlib.market_making import Market, avellaneda_stoikov, glft

PUBLISHED = Path(__file__).parents[2] / "data/published/avellaneda_stoikov_2008.csv"


def published(prefix):
    with PUBLISHED.open() as file:
        return [row for row in csv.DictReader(file) if row["key"].startswith(prefix)]


def cases(prefix):
    return [pytest.param(row, id=row["key"]) for row in published(prefix)]


def of(row):
    """Market and arguments of a row's parameters."""
    p = json.loads(row["parameters"])
    market = Market(sigma=p["sigma"], A=p["A"], k=p["k"])
    return p, market


def bernoulli_moments(p, bid, ask):
    """Mean and std of the profit and std of q_T in the paper's scheme, by forward recursion of the law of q.

    `bid`, `ask` (steps, 2Q + 1). Conditional on q the three numbers of a step are independent, and profit moments are
    carried as E[W; q] and E[W²; q]: forwards, where mmlib's evaluation goes backwards.
    """
    steps, levels = bid.shape
    dt = p["horizon"] / steps
    q = np.arange(levels) - levels // 2
    law, first, second = np.zeros((3, levels))
    law[levels // 2] = 1.0
    for b, a in zip(bid, ask, strict=True):
        pb = np.nan_to_num(np.minimum(1, p["A"] * np.exp(-p["k"] * b) * dt))
        pa = np.nan_to_num(np.minimum(1, p["A"] * np.exp(-p["k"] * a) * dt))
        b, a = np.nan_to_num(b), np.nan_to_num(a)
        new = np.zeros((3, levels))
        for move, chance, gain in (
            (0, (1 - pb) * (1 - pa), 0 * b),
            (0, pb * pa, a + b),
            (1, pb * (1 - pa), b),
            (-1, pa * (1 - pb), a),
        ):
            for row, part in enumerate((law, first + gain * law, second + 2 * gain * first + gain**2 * law)):
                new[row] += np.roll(chance * part, move)  # nothing leaves: the outer sides are not quoted
        law, first, second = new
        second = second + q**2 * p["sigma"] ** 2 * dt * law
    mean = first.sum()
    return {
        "profit_mean": mean,
        "profit_std": np.sqrt(second.sum() - mean**2),
        "inventory_mean": q @ law,
        "inventory_std": np.sqrt(q**2 @ law - (q @ law) ** 2),
    }


@lru_cache
def table_quotes(parameters):
    """The moments of the strategy of a row, and its quotes."""
    p = json.loads(parameters)
    rule = {
        "inventory": avellaneda_stoikov.quotes,
        "symmetric": avellaneda_stoikov.symmetric_quotes,
    }[p["strategy"]]
    size = dict(max_inventory=60, **{name: p[name] for name in ("gamma", "horizon", "steps")})
    quotes = rule(Market(p["sigma"], p["A"], p["k"]), **size)
    return bernoulli_moments(p, quotes.bid, quotes.ask), quotes


@pytest.mark.parametrize("row", cases("exact_"))
def test_the_scheme_of_the_paper_gives_the_exact_moments(row):
    """Six digits printed; at 60 orders, 7 standard deviations of q_T, the bound changes less than the last of them."""
    moments, _ = table_quotes(row["parameters"])
    assert moments[row["quantity"]] == pytest.approx(float(row["value"]), abs=float(row["tolerance"]))


@pytest.mark.parametrize("row", [case for case in cases("t") if "spread" not in case.id])
def test_each_printed_cell_is_within_three_standard_errors_of_the_exact_value(row):
    """1000 paths: std/√1000 for a mean, std/√2000 for a std (a normal sample's; the profits are close to it)."""
    moments, _ = table_quotes(row["parameters"])
    paths = json.loads(row["parameters"])["paths"]
    of_what, what = row["quantity"].split("_")
    error = moments[of_what + "_std"] / np.sqrt(paths * (1 if what == "mean" else 2))
    rounding = 0.5 * 10.0 ** -len(row["value"].split(".")[1])
    assert abs(moments[row["quantity"]] - float(row["value"])) < 3 * error + rounding


@pytest.mark.parametrize("row", [case for case in cases("t") if "spread" in case.id])
def test_the_average_spread_is_the_printed_one(row):
    """The printed one is the average over [0, T], where the spread falls linearly: gamma sigma² dt/2 less than over the
    left ends of the steps (3.02 and 3.03 in table 3), which are what a table of quotes holds."""
    p = json.loads(row["parameters"])
    spread = table_quotes(row["parameters"])[1].spread[:, 60]
    over_time = np.mean(spread) - 0.5 * p["gamma"] * p["sigma"] ** 2 * p["horizon"] / p["steps"]
    assert over_time == pytest.approx(float(row["value"]), abs=float(row["tolerance"]))


@pytest.mark.parametrize("row", cases("over_skew"))
def test_the_skew_at_the_start_exceeds_the_optimal_one_by_omega_T(row):
    """The skew per order gamma sigma² T over the stationary s: a ratio of two printed formulas."""
    p, market = of(row)
    arguments = dict(gamma=p["gamma"], horizon=p["horizon"], max_inventory=2, steps=1)
    theirs = np.diff(avellaneda_stoikov.quotes(market, **arguments).bid[0])[1]
    stationary = np.diff(glft.closed_form_quotes(market, **arguments).bid[0])[1]
    assert theirs / stationary == pytest.approx(float(row["value"]), abs=float(row["tolerance"]))


MARKETS = st.builds(
    Market,
    sigma=st.floats(0, 3),
    A=st.floats(0.1, 200),
    k=st.floats(0.1, 5),
    mu=st.floats(-1, 1),
    fee=st.floats(-0.1, 0.1),
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(MARKETS, st.floats(1e-3, 2), st.floats(0.01, 2), st.integers(-3, 3))
def test_a_quote_maximises_the_utility_gain_against_the_frozen_inventory(market, gamma, tau, q):
    """A numerical maximum of the intensity times the gain of utility, with a normal final mid, from the definition.

    The search cannot place a smooth maximum better than √eps = 1.5e-8 of its scale 1/k.
    """
    quotes = avellaneda_stoikov.quotes(market, gamma=gamma, horizon=tau, max_inventory=4, steps=1)

    def certainty(position):
        return market.mu * tau * position - 0.5 * gamma * market.sigma**2 * tau * position**2

    for side, step in ((quotes.bid, 1), (quotes.ask, -1)):
        worth = certainty(q + step) - certainty(q)
        # With x the distance above break-even, e^(−k x)(1 − e^(−gamma x)), positive only for x > 0.
        best = minimize_scalar(
            lambda x: np.exp(-market.k * x) * np.expm1(-gamma * x), bounds=(0, 10 / market.k), options={"xatol": 1e-9}
        )
        assert side[0, q + 4] == pytest.approx(best.x + market.fee - worth, abs=1e-6 / market.k + 1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(MARKETS, st.floats(0, 2), st.floats(0.01, 5), st.floats(0.1, 10), st.floats(0.1, 10))
def test_quotes_scale_with_the_units_of_price_and_time(market, gamma, horizon, price, time):
    """Price counted in units of 1/`price`, time in units of 1/`time`: distances scale with price alone."""
    scaled = Market(
        sigma=market.sigma * price / np.sqrt(time),
        A=market.A / time,
        k=market.k / price,
        mu=market.mu * price / time,
        fee=market.fee * price,
    )
    for rule in (avellaneda_stoikov.quotes, avellaneda_stoikov.symmetric_quotes):
        one = rule(market, gamma=gamma, horizon=horizon, max_inventory=5, steps=4)
        other = rule(scaled, gamma=gamma / price, horizon=horizon * time, max_inventory=5, steps=4)
        np.testing.assert_allclose(
            other.bid, one.bid * price, rtol=1e-12, atol=1e-12 * price * (1 + abs(one.bid[0, 0]))
        )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(MARKETS, st.floats(0, 2), st.floats(0.01, 5))
def test_reversing_the_inventory_and_the_drift_exchanges_the_sides(market, gamma, horizon):
    mirrored = Market(market.sigma, market.A, market.k, mu=-market.mu, fee=market.fee)
    one = avellaneda_stoikov.quotes(market, gamma=gamma, horizon=horizon, max_inventory=6, steps=3)
    other = avellaneda_stoikov.quotes(mirrored, gamma=gamma, horizon=horizon, max_inventory=6, steps=3)
    np.testing.assert_allclose(one.bid, other.ask[:, ::-1], rtol=0, atol=1e-12 * (1 + np.nanmax(abs(one.bid))))


def test_without_risk_aversion_the_mark_up_is_one_over_k():
    """gamma = 0 is a branch of the code: it must be the limit of the other, 1/k − gamma/(2k²) + …"""
    market = Market(sigma=2.0, A=140.0, k=1.5)
    limit = avellaneda_stoikov.quotes(market, gamma=0.0, horizon=1.0, max_inventory=5, steps=4)
    np.testing.assert_array_equal(limit.bid[:, :-1], 1 / 1.5)
    near = avellaneda_stoikov.quotes(market, gamma=1e-12, horizon=1.0, max_inventory=5, steps=4)
    np.testing.assert_allclose(near.bid, limit.bid, rtol=0, atol=1e-10)  # gamma sigma² T (½ + q) = 2.2e-11 at q = 5


def test_quotes_far_from_zero_inventory_are_finite_and_may_cross_the_mid():
    quotes = avellaneda_stoikov.quotes(
        Market(sigma=2.0, A=140.0, k=1.5), gamma=1.0, horizon=1.0, max_inventory=1000, steps=10
    )
    assert np.isfinite(quotes.bid[:, :-1]).all() and np.isfinite(quotes.ask[:, 1:]).all()
    assert quotes.ask[0, -1] < -1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(gamma=-0.1), r"gamma must be >= 0 and finite \(risk aversion, 1/currency\); got -0.1"),
        (dict(gamma=np.nan), "gamma must be"),
        (dict(horizon=0.0), "horizon must be > 0"),
        (dict(max_inventory=0), "max_inventory must be an integer and >= 1"),
        (dict(max_inventory=2.5), "max_inventory must be an integer"),
        (dict(steps=0), "steps must be an integer and >= 1"),
        (dict(market=Market(2.0, 140.0, 1.5, impact=0.1)), "impact must be 0"),
    ],
)
@pytest.mark.parametrize("rule", [avellaneda_stoikov.quotes, avellaneda_stoikov.symmetric_quotes])
def test_a_bad_argument_is_refused_by_name(rule, change, message):
    arguments = dict(market=Market(2.0, 140.0, 1.5), gamma=0.1, horizon=1.0, max_inventory=5, steps=4)
    with pytest.raises(ValueError, match=message):
        rule(**(arguments | change))


def test_a_fee_is_paid_by_the_other_side_of_both_strategies():
    """The paper's benchmark has the average spread of the inventory strategy, fee included; f widens it by 2 f."""
    market, problem = Market(2.0, 140.0, 1.5, fee=0.07), dict(gamma=0.1, horizon=1.0, max_inventory=3, steps=7)
    inventory = avellaneda_stoikov.quotes(market, **problem)
    symmetric = avellaneda_stoikov.symmetric_quotes(market, **problem)
    assert symmetric.spread[0, 3] == pytest.approx(np.mean(inventory.spread[:, 3]), rel=1e-14)
    free = avellaneda_stoikov.symmetric_quotes(Market(2.0, 140.0, 1.5), **problem)
    np.testing.assert_allclose(symmetric.bid[:, :-1] - free.bid[:, :-1], 0.07, rtol=1e-12)
    np.testing.assert_allclose(symmetric.ask[:, 1:] - free.ask[:, 1:], 0.07, rtol=1e-12)
