"""Exact evaluation against enumeration, dense matrix exponentials, quadrature, Monte Carlo and published numbers."""

import csv
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import expm
from scipy.stats import norm

from mmlib.market_making import (
    Market,
    Quotes,
    avellaneda_stoikov,
    cartea_jaimungal,
    evaluate,
    glft,
    simulate,
    strategies,
)
from mmlib.market_making._kernels import chain
from mmlib.market_making.quotes import inventory_grid, one_sided, time_grid
from mmlib.numerics import generator as lines

DATA = Path(__file__).parents[2] / "data/published"
AS_MARKET = Market(sigma=2.0, A=140.0, k=1.5)
#: A market with every friction, and a hard limit that cuts back past its neighbour.
ROUGH_MARKET = Market(sigma=1.3, A=2.0, k=0.8, mu=0.4, impact=0.07, fee=-0.03)


def published(name):
    with (DATA / f"{name}.csv").open() as file:
        return [pytest.param(row, id=row["key"]) for row in csv.DictReader(file)]


def random_quotes(seed, Q=3, limit=None, target=None, cost=0.0, size=1.0):
    """Four unequal rows of distances between −1 and 3, one side missing in one cell."""
    rng = np.random.default_rng(seed)
    q = inventory_grid(Q)
    bid, ask = rng.uniform(-1, 3, (2, 4, len(q)))
    if limit is None:
        bid, ask = one_sided(q, bid, ask)
    ask[2, Q] = np.nan
    return Quotes([0.0, 0.1, 0.45, 0.5], q, bid, ask, 0.9, size, limit, cost, target)


CASES = {
    "plain": (AS_MARKET, avellaneda_stoikov.quotes(AS_MARKET, gamma=0.1, horizon=0.05, max_inventory=3, steps=4)),
    "frictions": (ROUGH_MARKET, random_quotes(1, size=2.5)),
    "limit": (ROUGH_MARKET, random_quotes(2, limit=3, cost=0.2)),
    "target": (ROUGH_MARKET, random_quotes(3, limit=3, target=1, cost=0.2, size=0.5)),
    "flat": (ROUGH_MARKET, random_quotes(4, limit=3, target=0, cost=0.2)),
}
cases = pytest.mark.parametrize("market, quotes", CASES.values(), ids=CASES.keys())


# --- continuous time: a dense generator, written from the model's sentences and exponentiated by SciPy -------------


def jumps(market, quotes, row, q):
    """(rate, gain, inventory after) of each quoted side, from the meaning of a fill, a fee, an impact and a cut."""
    column = q - quotes.inventory[0]
    for side, distance in ((1, quotes.bid[row, column]), (-1, quotes.ask[row, column])):
        if np.isnan(distance):
            continue
        after = q + side
        gain = (distance - market.fee) - side * market.impact * after
        if quotes.limit is not None and abs(after) > quotes.limit:
            kept = side * quotes.target
            gain -= quotes.cost * abs(after - kept)
            after = kept
        yield market.A * np.exp(-market.k * distance), quotes.size * gain, after


def generator(market, quotes, row, z):
    """Matrix of w' = L w for w = E[exp(z·profit)]; z = 0 gives the generator of the inventory."""
    m, first = len(quotes.inventory), quotes.inventory[0]
    L = np.zeros((m, m), complex)
    for q in quotes.inventory:
        units = q * quotes.size
        L[q - first, q - first] += z * market.mu * units + 0.5 * (z * market.sigma * units) ** 2
        for rate, gain, after in jumps(market, quotes, row, q):
            L[q - first, after - first] += rate * np.exp(z * gain)
            L[q - first, q - first] -= rate
    return L


def lengths(quotes):
    return np.diff(np.append(quotes.times, quotes.horizon))


def dense_expectation(market, quotes, z, liquidation_cost):
    """E[exp(z·profit)] from each inventory."""
    w = np.exp(-z * liquidation_cost * quotes.size * abs(quotes.inventory)).astype(complex)
    for row in reversed(range(len(quotes.times))):
        w = expm(lengths(quotes)[row] * generator(market, quotes, row, z)) @ w
    return w


@cases
@pytest.mark.parametrize("inventory", [0, -2, 3])
def test_continuous_moments_are_the_derivatives_of_a_dense_moment_generating_function(market, quotes, inventory):
    """E[exp(z·profit)] on a circle around 0, differentiated by Cauchy's formula.

    The circle is small enough that |z·profit| is of order 1; then the 32-point rule is exact to rounding, and the
    error is 1e-13 relative to exp(|z·profit|) and to the moments.
    """
    start = inventory + quotes.limit if quotes.limit else inventory + 3
    r = evaluate.moments(market, quotes, "continuous", inventory, liquidation_cost=0.1)
    z = 0.1 * np.exp(2j * np.pi * np.arange(32) / 32)
    w = np.array([dense_expectation(market, quotes, z_j, 0.1)[start] for z_j in z])
    first, second = np.mean(w / z), 2 * np.mean(w / z**2)
    assert r.mean == pytest.approx(first.real, rel=1e-10, abs=1e-10)
    assert r.std**2 + r.mean**2 == pytest.approx(second.real, rel=1e-9)
    centred = w * np.exp(-z * r.mean)  # of the profit less its mean: central moments p! × coefficient
    third, fourth = 6 * np.mean(centred / z**3).real, 24 * np.mean(centred / z**4).real
    assert r.skewness * r.std**3 == pytest.approx(third, abs=1e-8 * max(1, r.std**3))
    assert r.kurtosis * r.std**4 == pytest.approx(fourth, rel=1e-7)


@cases
def test_the_continuous_law_of_the_inventory_is_the_dense_one(market, quotes):
    law = np.zeros(len(quotes.inventory))
    law[4] = 1.0
    for row, dt in enumerate(lengths(quotes)):
        law = law @ expm(dt * generator(market, quotes, row, 0).real)
    r = evaluate.moments(market, quotes, "continuous", inventory=quotes.inventory[4])
    np.testing.assert_allclose(r.inventory_law, law, rtol=0, atol=1e-13)
    assert r.inventory_mean == pytest.approx(law @ quotes.inventory, abs=1e-12)


@cases
@pytest.mark.parametrize("gamma", [1e-6, 0.1, 2.0])
def test_the_certainty_equivalent_is_that_of_a_dense_matrix_exponential(market, quotes, gamma):
    """Tolerance: expm and the recursion are exact to about 1e-13 in w, so in ln w/gamma to 1e-13/gamma."""
    w = dense_expectation(market, quotes, -gamma, 0.1).real
    for inventory, value in zip(quotes.inventory, w, strict=True):
        ours = evaluate.certainty_equivalent(market, quotes, gamma, inventory, 0.1)
        assert ours == pytest.approx(-np.log(value) / gamma, rel=1e-11, abs=1e-12 / gamma)


@cases
def test_the_characteristic_function_of_the_law_is_that_of_a_dense_matrix_exponential(market, quotes):
    law = evaluate.profit_law(market, quotes, inventory=1, liquidation_cost=0.1, tolerance=1e-3)
    for j in (0, 3, len(law.frequencies) - 1):
        w = dense_expectation(market, quotes, 1j * law.frequencies[j], 0.1)
        assert law.characteristic[j] == pytest.approx(w[1 - quotes.inventory[0]], abs=1e-12)


# --- Bernoulli scheme: all paths, one by one -----------------------------------------------------------------------


def enumerate_paths(market, quotes, inventory, liquidation_cost):
    """(probability, profit, final inventory) of every path: four fill events and two moves of the mid a step."""
    dt = quotes.horizon / len(quotes.times)
    ends = []
    for path in itertools.product(itertools.product((0, 1), (0, 1), (-1, 1)), repeat=len(quotes.times)):
        p, cash, mid, q = 1.0, 0.0, 0.0, int(inventory)
        for row, (bid_fills, ask_fills, move) in enumerate(path):
            column = q - quotes.inventory[0]
            for fills, distance, side in ((bid_fills, quotes.bid, 1), (ask_fills, quotes.ask, -1)):
                d = distance[row, column]
                chance = 0.0 if np.isnan(d) else min(1.0, market.A * np.exp(-market.k * d) * dt)
                p *= chance if fills else 1 - chance
                if fills and p > 0:
                    cash += quotes.size * (d - market.fee - side * mid)
            after = q + bid_fills - ask_fills
            if quotes.limit is not None and abs(after) > quotes.limit:
                kept = int(np.sign(after)) * quotes.target
                cash += quotes.size * ((after - kept) * mid - quotes.cost * abs(after - kept))
                after = kept
            if p == 0:
                break
            q = after
            mid += market.mu * dt + move * market.sigma * np.sqrt(dt)
            p /= 2
        if p > 0:
            ends.append((p, cash + quotes.size * (q * mid - liquidation_cost * abs(q)), q))
    return np.array(ends).T


@pytest.mark.parametrize("inventory", [0, 2])
@pytest.mark.parametrize("limit, target, cost", [(None, None, 0.0), (2, 2, 0.1), (2, 1, 0.1), (2, 0, 0.1)])
def test_bernoulli_moments_are_those_of_all_paths_enumerated(inventory, limit, target, cost):
    """512 paths of cash, mid and inventory in plain Python: no spread, no mark to market, no recursion. To rounding."""
    market = Market(sigma=1.3, A=2.0, k=0.8, mu=0.4, fee=-0.03)
    q, rng = inventory_grid(2), np.random.default_rng(5)
    bid, ask = rng.uniform(-1, 2, (2, 3, 5))
    if limit is None:
        bid, ask = one_sided(q, bid, ask)
    quotes = Quotes(time_grid(1.2, 3), q, bid, ask, 1.2, 2.0, limit, cost, target)
    p, profit, final = enumerate_paths(market, quotes, inventory, 0.3)
    r = evaluate.moments(market, quotes, "bernoulli", inventory, 0.3)
    assert p.sum() == pytest.approx(1, abs=1e-14)
    assert r.mean == pytest.approx(p @ profit, abs=1e-13)
    assert r.std == pytest.approx(np.sqrt(p @ (profit - p @ profit) ** 2), abs=1e-13)
    assert r.skewness * r.std**3 == pytest.approx(p @ (profit - p @ profit) ** 3, abs=1e-11)
    assert r.kurtosis * r.std**4 == pytest.approx(p @ (profit - p @ profit) ** 4, rel=1e-11)
    for gamma in (1e-6, 0.3, 4.0):
        value = evaluate.certainty_equivalent(market, quotes, gamma, inventory, 0.3, scheme="bernoulli")
        assert value == pytest.approx(-np.log(p @ np.exp(-gamma * profit)) / gamma, abs=1e-14 / gamma + 1e-12)
    law = [p[final == n].sum() for n in q]
    np.testing.assert_allclose(r.inventory_law, law, rtol=0, atol=1e-14)
    assert r.inventory_std == pytest.approx(np.sqrt(p @ (final - p @ final) ** 2), abs=1e-13)


@pytest.mark.parametrize("row", [row for row in published("avellaneda_stoikov_2008") if row.id.startswith("exact")])
def test_the_exact_values_of_the_scheme_of_the_paper(row):
    p = json.loads(row["parameters"])
    rule = {"inventory": avellaneda_stoikov.quotes, "symmetric": avellaneda_stoikov.symmetric_quotes}[p["strategy"]]
    quotes = rule(AS_MARKET, gamma=p["gamma"], horizon=p["horizon"], max_inventory=60, steps=p["steps"])
    r = evaluate.moments(AS_MARKET, quotes, "bernoulli")
    ours = {"profit_mean": r.mean, "profit_std": r.std, "inventory_std": r.inventory_std}[row["quantity"]]
    assert ours == pytest.approx(float(row["value"]), abs=float(row["tolerance"]))
    assert r.inventory_mean == pytest.approx(0, abs=1e-12)


def test_the_bernoulli_scheme_tends_to_continuous_time_like_dt():
    """A table that is constant in time, so only the scheme changes. Error c₁ dt + c₂ dt²: two Richardson steps leave
    the third order, which the correction of the second bounds."""
    market = Market(sigma=2.0, A=14.0, k=1.5, mu=1.0)
    q = inventory_grid(4)
    bid, ask = one_sided(q, 0.7 + 0.1 * q[None], 0.7 - 0.1 * q[None])
    limit = evaluate.moments(market, Quotes([0.0], q, bid, ask, 1.0), "continuous", 1)
    for name in ("mean", "std", "inventory_std"):
        values = np.array(
            [
                getattr(evaluate.moments(market, Quotes(time_grid(1.0, n), q, bid, ask, 1.0), "bernoulli", 1), name)
                for n in (200, 400, 800)
            ]
        )
        once = 2 * values[1:] - values[:-1]
        twice = (4 * once[1] - once[0]) / 3
        assert getattr(limit, name) == pytest.approx(twice, abs=abs(twice - once[1]))


# --- kurtosis, the chain's certainty equivalent, penalties, a later start ------------------------------------------


@pytest.mark.parametrize("gamma, kurtosis", [(0.1, 5.43), (0.01, 5.63), (1.0, 3.92)])
def test_the_kurtosis_of_the_symmetric_strategy_of_the_paper(gamma, kurtosis):
    """Values computed elsewhere, to the digits given: far from the 3 of a normal law."""
    quotes = avellaneda_stoikov.symmetric_quotes(AS_MARKET, gamma=gamma, horizon=1.0, max_inventory=60, steps=200)
    assert evaluate.moments(AS_MARKET, quotes).kurtosis == pytest.approx(kurtosis, abs=0.005)


@pytest.mark.parametrize("scheme", evaluate.SCHEMES)
def test_a_position_held_has_the_skewness_and_kurtosis_of_its_law(scheme):
    """Normal in continuous time; a sum of n = 4 signs has kurtosis 3 − 2/n; if nothing happens both are NaN."""
    nothing = Quotes(time_grid(2.0, 4), inventory_grid(3), np.nan, np.nan, 2.0)
    r = evaluate.moments(Market(1.5, 1.0, 1.0, mu=3.0), nothing, scheme, 2)
    assert r.skewness == pytest.approx(0, abs=1e-10)  # 7e-14 of the contour times (mean of a row/std)³ of some 10
    assert r.kurtosis == pytest.approx(3 if scheme == "continuous" else 2.5, rel=1e-10)
    still = evaluate.moments(Market(1.5, 1.0, 1.0), nothing, scheme, 0)
    assert np.isnan(still.skewness) and np.isnan(still.kurtosis) and still.std == 0


@pytest.mark.parametrize(
    "rule, gamma, expected",
    [(glft.quotes, 0.1, 65.23701839), (avellaneda_stoikov.quotes, 0.1, 62.78725577), (glft.quotes, 1.0, 49.89028669)],
)
def test_the_certainty_equivalent_of_the_chain_is_the_one_derived_elsewhere(rule, gamma, expected):
    quotes = rule(AS_MARKET, gamma=gamma, horizon=1.0, max_inventory=30, steps=200)
    ours = evaluate.certainty_equivalent(AS_MARKET, quotes, gamma, scheme="bernoulli")
    assert ours == pytest.approx(expected, abs=6e-9)


def test_the_penalised_profit_is_the_one_derived_elsewhere():
    quotes = cartea_jaimungal.quotes(AS_MARKET, phi=0.2, alpha=0.0, horizon=1.0, max_inventory=30, steps=200)
    assert evaluate.penalised(AS_MARKET, quotes, 0.2) == pytest.approx(66.86400435, abs=6e-9)


@pytest.mark.parametrize("scheme", evaluate.SCHEMES)
def test_the_penalties_of_a_position_held_are_their_integrals(scheme):
    """q = 3 of 2.5 units for 0.9: phi·7.5²·0.9 and alpha·7.5², in both schemes; from 0.6 on a third."""
    nothing = Quotes(time_grid(0.9, 3), inventory_grid(3), np.nan, np.nan, 0.9, size=2.5)
    market = Market(1.3, 2.0, 0.8, mu=0.4)
    value = evaluate.penalised(market, nothing, 0.2, 0.3, scheme, 3)
    assert value == pytest.approx(7.5 * 0.4 * 0.9 - 7.5**2 * (0.2 * 0.9 + 0.3), rel=1e-13)
    late = evaluate.penalised(market, nothing, 0.2, 0.3, scheme, 3, start=0.6)
    assert late == pytest.approx(7.5 * 0.4 * 0.3 - 7.5**2 * (0.2 * 0.3 + 0.3), rel=1e-13)


def test_a_penalty_counts_the_inventory_after_the_fills_of_a_step():
    """One step, a sure purchase: q is 1 for the whole of it."""
    market = Market(sigma=1.0, A=2.0, k=1.0)
    quotes = Quotes([0.0], [0, 1], [[0.0, np.nan]], [[np.nan, np.nan]], 0.5)
    assert evaluate.penalised(market, quotes, 0.2, 0.3) == pytest.approx(-0.2 * 0.5 - 0.3)


def test_what_is_left_of_the_day_is_a_day_of_its_own():
    """From 0.2 on, inside the second row of four: against the same table cut by hand, and a dense exponential."""
    market, quotes = CASES["frictions"]
    cut = Quotes([0.0, 0.25, 0.3], quotes.inventory, quotes.bid[1:], quotes.ask[1:], 0.7, 2.5)
    w = dense_expectation(market, cut, -0.3, 0.1).real
    for q in (-3, 0, 2):
        ce = evaluate.certainty_equivalent(market, quotes, 0.3, q, 0.1, start=0.2)
        assert ce == pytest.approx(-np.log(w[q + 3]) / 0.3, rel=1e-11)
        late, day = (
            evaluate.moments(market, x, "continuous", q, **o) for x, o in ((quotes, {"start": 0.2}), (cut, {}))
        )
        assert late[:5] == pytest.approx(day[:5], rel=1e-12, abs=1e-12)
    laws = [evaluate.profit_law(market, x, 2, tolerance=1e-3, **o) for x, o in ((quotes, {"start": 0.2}), (cut, {}))]
    assert laws[0].var(0.95) == pytest.approx(laws[1].var(0.95), abs=1e-9)
    steps = Quotes(time_grid(0.8, 4), quotes.inventory, quotes.bid, quotes.ask, 0.8)
    half = Quotes(time_grid(0.4, 2), quotes.inventory, quotes.bid[2:], quotes.ask[2:], 0.4)
    plain = Market(1.3, 2.0, 0.8, mu=0.4)
    a, b = evaluate.moments(plain, steps, inventory=1, start=0.4), evaluate.moments(plain, half, inventory=1)
    assert a[:5] == pytest.approx(b[:5], rel=1e-12)
    for bad in (-0.1, 0.8, np.nan):
        with pytest.raises(ValueError, match=r"start must be >= 0 and < 0\.8"):
            evaluate.moments(plain, steps, start=bad)
    with pytest.raises(ValueError, match=r"start must be a time of the table for scheme 'bernoulli'; got 0\.3"):
        evaluate.moments(plain, steps, start=0.3)


def test_what_is_no_market_and_no_quotes_is_refused_by_name():
    quotes = CASES["plain"][1]

    class Solution:
        pass

    for judge in (
        evaluate.moments,
        evaluate.profit_law,
        lambda *x: evaluate.certainty_equivalent(*x, 0.1),
        lambda *x: evaluate.penalised(*x, 0.1),
        lambda *x: simulate.run(*x, paths=3),
    ):
        for bad in (None, Solution(), quotes.bid):
            with pytest.raises(ValueError, match=r"quotes must be Quotes \(of a solution, its .quotes\); got"):
                judge(AS_MARKET, bad)
        for bad in (None, quotes, 2.0):
            with pytest.raises(ValueError, match="market must have sigma, mu, impact, fee, bid_rate, ask_rate"):
                judge(bad, quotes)


@pytest.mark.parametrize("half_spread, inventory", [(0.3, 3), (0.5, -4), (0.7, 5)])
def test_an_inventory_that_is_sure_has_no_deviation(half_spread, inventory):
    """A skew of the wrong sign fills at e^14 a unit of time until the end of the grid is reached, and stays there."""
    quotes = strategies.linear_skew(half_spread, -3.0, 1.0, 5, 1)
    r = evaluate.moments(AS_MARKET, quotes, "continuous", inventory)
    law = np.zeros(11)
    law[inventory + 5] = 1.0
    law = law @ expm(generator(AS_MARKET, quotes, 0, 0).real)
    spread = law @ quotes.inventory**2 - (law @ quotes.inventory) ** 2
    assert r.inventory_std == pytest.approx(np.sqrt(max(spread, 0)), abs=1e-5)


def test_a_drift_takes_no_steps_where_what_it_turns_has_decayed():
    """The law with a drift of a position that can only be sold: one integral over the time of the sale, by SciPy."""
    market = Market(sigma=1.5, A=2.0, k=1.0, mu=5.0)
    quotes = Quotes([0.0], [0, 1], [[np.nan, np.nan]], [[np.nan, 0.5]], 2.0)
    rate = 2.0 * np.exp(-0.5)
    law = evaluate.profit_law(market, quotes, 1, tolerance=1e-4)

    def cdf(x):
        def sold(t):
            return rate * np.exp(-rate * t) * norm.cdf((x - 0.5 - 5.0 * t) / (1.5 * np.sqrt(t)))

        kept = np.exp(-2 * rate) * norm.cdf((x - 10.0) / (1.5 * np.sqrt(2.0)))
        return quad(sold, 0, 2, epsabs=1e-10, limit=200)[0] + kept

    x = np.array([-1.0, 0.3, 0.7, 3.0, 8.0, 12.0])
    np.testing.assert_allclose(law.cdf(x), [cdf(y) for y in x], rtol=0, atol=law.tolerance)


def test_beyond_the_interval_of_the_law_an_atom_is_counted_and_a_shortfall_holds_it():
    """One possible buy: above `high` everything is below x, the atom at 0 too; E(x − profit)⁺ holds (1 − p)·x of it.

    For a level whose VaR is negative the loss is measured from a gain: cvar is the mean of the worst 1 − level of
    outcomes, here by SciPy's integral of the distribution function, in which the atom is a step.
    """
    market = Market(sigma=0.4, A=2.0, k=1.0)
    quotes = Quotes([0.0], [0, 1], [[0.5, np.nan]], [[np.nan, np.nan]], 1.0)
    rate = 2.0 * np.exp(-0.5)
    law = evaluate.profit_law(market, quotes, tolerance=1e-3)
    assert law.cdf(law.high + 1.0) == pytest.approx(1.0, abs=1e-12)
    assert law.cdf(law.low - 1.0) == 0
    level = 0.3
    x = law.quantile(1 - level)
    assert x > 0.3  # the quantile lies beyond the atom

    def cdf(y):
        def late(held):
            return rate * np.exp(-rate * (1 - held)) * norm.cdf((y - 0.5) / (0.4 * np.sqrt(held)))

        return quad(late, 0, 1, epsabs=1e-10)[0] + np.exp(-rate) * (y >= 0)

    shortfall = quad(cdf, -4, 0, limit=200)[0] + quad(cdf, 0, x, limit=200)[0]
    width = law.high - law.low
    assert law.cvar(level) == pytest.approx(-x + shortfall / (1 - level), abs=2 * law.tolerance * width / (1 - level))


# --- published and derived numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("row", published("certainty_equivalents"))
def test_published_values_are_the_limit_of_finer_tables(row):
    """The numbers are of quotes that vary continuously; a table of n rows holds each quote for dt = 1/n.

    The error expands in powers of dt (from dt² on for optimal quotes, which a small deviation harms to second order).
    Three Richardson steps from n = 64 … 512 leave less than the last correction; the paper's number is rounded to
    half its last digit. Q = 45 holds all but 1e-10 of what matters at gamma = 0.01, Q = 30 at 0.1.
    """
    p = json.loads(row["parameters"])
    rule = {
        "exact": glft.quotes,
        "avellaneda_stoikov": avellaneda_stoikov.quotes,
        "closed_form": glft.closed_form_quotes,
        "tanh": glft.tanh_quotes,
    }[p["rule"]]
    values = []
    for steps in (64, 128, 256, 512):
        quotes = rule(
            AS_MARKET,
            gamma=p["gamma"],
            horizon=p["horizon"],
            max_inventory=30 if p["gamma"] == 0.1 else 45,
            steps=steps,
        )
        if row["quantity"] == "certainty_equivalent":
            values.append(evaluate.certainty_equivalent(AS_MARKET, quotes, p["gamma"]))
        else:
            values.append(getattr(evaluate.moments(AS_MARKET, quotes, "continuous"), row["quantity"]))
    values = np.array(values)
    for order in (1, 2, 3):
        last = values[-1]
        values = (2**order * values[1:] - values[:-1]) / (2**order - 1)
    tolerance = abs(values[-1] - last) + float(row["tolerance"])
    assert tolerance < 2e-5  # so that the comparison means something
    assert values[-1] == pytest.approx(float(row["value"]), abs=tolerance)


@pytest.mark.parametrize(
    "market, size",
    [(AS_MARKET, 1.0), (Market(2.0, 140.0, 1.5, mu=1.0, fee=0.02), 1.0), (Market(2.0, 140.0, 1.5, -0.5, 0.05), 2.0)],
)
def test_the_certainty_equivalent_of_the_optimal_quotes_is_the_value_function(market, size):
    """glft.value solves the HJB equation; here its quotes are evaluated. As dt → 0 the two meet like dt² and dt³."""
    value = glft.value(market, gamma=0.1, horizon=1.0, max_inventory=12, size=size)[12 + 3]
    ce = np.array(
        [
            evaluate.certainty_equivalent(
                market,
                glft.quotes(market, gamma=0.1, horizon=1.0, max_inventory=12, steps=n, size=size),
                0.1,
                inventory=3,
            )
            for n in (100, 200, 400)
        ]
    )
    once = (4 * ce[1:] - ce[:-1]) / 3
    twice = (8 * once[1] - once[0]) / 7
    assert np.all(np.diff(ce) > 0) and ce[-1] < value  # holding a quote never helps
    assert twice == pytest.approx(value, abs=abs(twice - once[1]))


# --- traps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OtherMarket:
    """A market whose rate is any function of distance."""

    bid_rate: object
    sigma: float = 2.0
    mu: float = 0.0
    impact: float = 0.0
    fee: float = 0.0

    @property
    def ask_rate(self):
        return self.bid_rate


def test_one_minus_exp_as_fill_probability_gives_another_table_1():
    """Trap: p = 1 − exp(−rate·dt) instead of the paper's rate·dt moves the profit from 64.89 to 57.17."""
    dt = 1 / 200
    quotes = avellaneda_stoikov.quotes(AS_MARKET, gamma=0.1, horizon=1.0, max_inventory=30, steps=200)
    other = OtherMarket(lambda d: -np.expm1(-AS_MARKET.bid_rate(d) * dt) / dt)
    assert evaluate.moments(other, quotes, "bernoulli").mean == pytest.approx(57.17, abs=0.005)


def test_forbidding_quotes_beyond_the_mid_changes_the_model():
    """Trap: negative distances moved to the mid turn Table 3's 31.45 into 38.23.

    Capping only the rate at A, and still paying the negative distance, is another model again: 30.84.
    """
    quotes = avellaneda_stoikov.quotes(AS_MARKET, gamma=1.0, horizon=1.0, max_inventory=30, steps=200)
    outside = Quotes(quotes.times, quotes.inventory, np.maximum(quotes.bid, 0), np.maximum(quotes.ask, 0), 1.0)
    capped = OtherMarket(lambda d: np.minimum(AS_MARKET.A, AS_MARKET.bid_rate(d)))
    assert evaluate.moments(AS_MARKET, quotes, "bernoulli").mean == pytest.approx(31.45, abs=0.005)
    assert evaluate.moments(AS_MARKET, outside, "bernoulli").mean == pytest.approx(38.23, abs=0.005)
    assert evaluate.moments(capped, quotes, "bernoulli").mean == pytest.approx(30.84, abs=0.005)


# --- identities ----------------------------------------------------------------------------------------------------

tables = st.fixed_dictionaries(
    dict(
        seed=st.integers(0, 1000),
        limit=st.sampled_from([None, 3]),
        cost=st.floats(0, 1),
        size=st.floats(0.5, 2),
    )
)


def drawn(table, impact):
    limit = table["limit"]
    target = None if limit is None else table["seed"] % 4
    cost = 0.0 if limit is None else table["cost"]
    quotes = random_quotes(table["seed"], 3, limit, target, cost, table["size"])
    return Market(1.3, 2.0, 0.8, mu=0.4, impact=impact, fee=-0.03), quotes


@settings(deadline=None, max_examples=25, derandomize=True)
@given(tables, st.sampled_from(["bernoulli", "continuous"]), st.integers(-3, 3))
def test_spread_and_revaluation_less_tolls_is_the_profit(table, scheme, inventory):
    """The mean comes from a backward recursion, its parts from the forward law of the inventory. To rounding."""
    market, quotes = drawn(table, impact=0.07 if scheme == "continuous" else 0.0)
    if scheme == "bernoulli":
        quotes = Quotes(
            time_grid(0.9, 4), quotes.inventory, quotes.bid, quotes.ask, 0.9, quotes.size, quotes.limit, quotes.cost,
            quotes.target,
        )  # fmt: skip
    r = evaluate.moments(market, quotes, scheme, inventory, 0.2)
    assert r.spread + r.revaluation - r.tolls == pytest.approx(r.mean, abs=1e-11)
    assert r.inventory_law.sum() == pytest.approx(1, abs=1e-12)
    assert r.inventory_law.min() > -1e-13


@settings(deadline=None, max_examples=15, derandomize=True)
@given(tables, st.floats(0.1, 10), st.floats(0.1, 10))
def test_units_of_price_and_time_do_not_matter(table, price, time):
    """Money scales with the price unit and counts do not. To rounding: 1e-11 of the largest amount."""
    market, quotes = drawn(table, impact=0.07)
    scaled_market = Market(
        1.3 * price / np.sqrt(time), 2.0 / time, 0.8 / price, 0.4 * price / time, 0.07 * price, -0.03 * price
    )
    scaled = Quotes(
        quotes.times * time, quotes.inventory, quotes.bid * price, quotes.ask * price, quotes.horizon * time,
        quotes.size, quotes.limit, quotes.cost * price, quotes.target,
    )  # fmt: skip
    a = evaluate.moments(market, quotes, "continuous", 1, 0.2)
    b = evaluate.moments(scaled_market, scaled, "continuous", 1, 0.2 * price)
    assert b.mean == pytest.approx(a.mean * price, abs=1e-11 * price * a.std)
    assert b.std == pytest.approx(a.std * price, rel=1e-11)
    np.testing.assert_allclose(b.inventory_law, a.inventory_law, rtol=0, atol=1e-12)
    ce = evaluate.certainty_equivalent(market, quotes, 0.3, 1, 0.2)
    scaled_ce = evaluate.certainty_equivalent(scaled_market, scaled, 0.3 / price, 1, 0.2 * price)
    assert scaled_ce == pytest.approx(ce * price, abs=1e-10 * price * a.std)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(tables)
def test_the_certainty_equivalent_falls_from_the_mean_as_the_variance_says(table):
    """ln E exp(−γX) = −γ mean + ½ γ² var − … : near 0 the slope is −½ var, with an error of order γ²."""
    market, quotes = drawn(table, impact=0.07)
    r = evaluate.moments(market, quotes, "continuous")
    values = [evaluate.certainty_equivalent(market, quotes, g) for g in (0.0, 1e-5, 2e-5, 0.1, 0.5)]
    assert np.all(np.diff(values) < 0)
    assert values[0] == r.mean
    slope = (4 * (values[1] - values[0]) - (values[2] - values[0])) / 2e-5  # Richardson: error of order γ²
    assert slope == pytest.approx(-0.5 * r.std**2, rel=1e-6)  # rounding: 1e-12 of a few currency units / 1e-5


# --- extremes ------------------------------------------------------------------------------------------------------


def test_a_held_position_is_a_normal_variable():
    """Nothing quoted: the profit is normal with mean q mu T and variance q² sigma² T; CE, VaR and CVaR are known."""
    market, nothing = Market(2.0, 1.0, 1.0, mu=0.5), np.full((3, 61), np.nan)
    quotes = Quotes([0.0, 0.3, 0.4], inventory_grid(30), nothing, nothing, 2.0)
    mean, std = 7 * 0.5 * 2.0, 7 * 2.0 * np.sqrt(2.0)
    r = evaluate.moments(market, quotes, "continuous", 7)
    assert (r.mean, r.std) == pytest.approx((mean, std), rel=1e-12)
    for gamma in (0.01, 1.0, 1e4):  # exp(−gamma·profit) up to exp(4e10)
        expected = mean - 0.5 * gamma * std**2
        assert evaluate.certainty_equivalent(market, quotes, gamma, 7) == pytest.approx(expected, rel=1e-12)
    law = evaluate.profit_law(market, quotes, 7)
    x = mean + std * np.linspace(-5, 5, 11)
    np.testing.assert_allclose(law.cdf(x), norm(mean, std).cdf(x), rtol=0, atol=law.tolerance)
    z = norm.ppf(0.05)
    error = 10 * law.tolerance * std / norm.pdf(z)
    assert law.var(0.95) == pytest.approx(-(mean + std * z), abs=error)
    assert law.cvar(0.95) == pytest.approx(-mean + std * norm.pdf(z) / 0.05, abs=error)
    assert law.pdf(mean) == pytest.approx(norm(mean, std).pdf(mean), rel=1e-7)
    assert law.atom == 0


def test_quotes_far_through_the_mid_keep_every_number_finite():
    """AS at gamma = 1 with 30 orders fills at 1e79 a unit of time; a grid that is never left at 10 gives the same."""
    wide = avellaneda_stoikov.quotes(AS_MARKET, gamma=1.0, horizon=1.0, max_inventory=30, steps=50)
    narrow = avellaneda_stoikov.quotes(AS_MARKET, gamma=1.0, horizon=1.0, max_inventory=14, steps=50)
    a, b = (evaluate.moments(AS_MARKET, q, "continuous") for q in (wide, narrow))
    assert (a.mean, a.std, a.inventory_std) == pytest.approx((b.mean, b.std, b.inventory_std), rel=1e-11)
    ce = [evaluate.certainty_equivalent(AS_MARKET, q, 1.0) for q in (wide, narrow)]
    assert ce[0] == pytest.approx(ce[1], rel=1e-9)


def test_a_sale_that_may_not_happen_has_an_atom_and_the_right_tail():
    """One possible buy, none after: profit 0 if no one comes, else the spread and a normal gain since the fill.

    The distribution function is one integral over the fill time, done by SciPy. The law is nearly discrete (fills late
    in the period leave hardly any variance), so a tolerance of 1e-4 is asked for.
    """
    market = Market(sigma=1.5, A=2.0, k=1.0)
    quotes = Quotes([0.0], [0, 1], [[0.5, np.nan]], [[np.nan, np.nan]], 1.0)
    rate, gain = 2.0 * np.exp(-0.5), 0.5
    law = evaluate.profit_law(market, quotes, tolerance=1e-4)
    assert law.atom == pytest.approx(np.exp(-rate), rel=1e-13)

    def cdf(x):
        def late(held):
            return rate * np.exp(-rate * (1 - held)) * norm.cdf((x - gain) / (1.5 * np.sqrt(held)))

        return quad(late, 0, 1, epsabs=1e-10)[0] + np.exp(-rate) * (x >= 0)

    x = np.array([-2.0, -1.0, -1e-9, 0.0, 0.3, 0.7, 2.0])
    np.testing.assert_allclose(law.cdf(x), [cdf(y) for y in x], rtol=0, atol=law.tolerance)
    assert law.cdf(0.0) - law.cdf(-1e-12) == pytest.approx(law.atom, abs=1e-9)
    assert law.quantile(0.3) == pytest.approx(0, abs=1e-9)  # inside the jump
    level = 0.9
    q = law.quantile(1 - level)
    shortfall = quad(cdf, -10, q, epsabs=1e-9, limit=200)[0]  # E[(q − profit)^+]
    assert law.cvar(level) == pytest.approx(
        -q + shortfall / (1 - level), abs=law.tolerance * (law.high - law.low) / 0.1
    )


@pytest.mark.parametrize("case", ["plain", "frictions", "target"])
def test_the_moments_of_the_law_are_the_moments(case):
    """mean = high − ∫F, E X² = high² − 2∫xF by Simpson's rule on an analytic F; F is off by `tolerance` at most,
    and the mass outside [low, high], another `tolerance`, sits beyond its ends."""
    market, quotes = CASES[case]
    law = evaluate.profit_law(market, quotes, inventory=2, liquidation_cost=0.1, tolerance=1e-5)
    r = evaluate.moments(market, quotes, "continuous", 2, 0.1)
    x = np.linspace(law.low, law.high, 4001)
    weights = np.r_[1, np.tile([4, 2], 1999), 4, 1] * (x[1] - x[0]) / 3
    F = law.cdf(x)
    width, far = law.high - law.low, max(abs(law.low), abs(law.high))
    assert np.all(np.diff(F) > -2 * law.tolerance)
    assert law.high - weights @ F == pytest.approx(r.mean, abs=2 * law.tolerance * width)
    second = law.high**2 - 2 * weights @ (x * F)
    assert second == pytest.approx(r.std**2 + r.mean**2, abs=4 * law.tolerance * width * far)
    density = np.gradient(F, x)[5:-5]
    np.testing.assert_allclose(law.pdf(x)[5:-5], density, rtol=0, atol=1e-3 * density.max())


def test_the_certainty_equivalent_is_an_integral_over_the_law():
    """−ln ∫ exp(−γx) dF/γ with F from Fourier inversion: it shares the resolvents only, not z. γ E[e^(−γX)] errors:
    tolerance·γ·width at the worst weight."""
    quotes = avellaneda_stoikov.quotes(AS_MARKET, gamma=0.1, horizon=1.0, max_inventory=20, steps=50)
    law = evaluate.profit_law(AS_MARKET, quotes, tolerance=1e-9)
    x = np.linspace(law.low, law.high, 2001)
    h, gamma = x[1] - x[0], 0.1
    weights = np.r_[1, np.tile([4, 2], 999), 4, 1] * h / 3
    by_parts = np.exp(-gamma * law.high) + gamma * weights @ (np.exp(-gamma * x) * law.cdf(x))
    bound = 2 * law.tolerance * np.exp(-gamma * law.low) / by_parts / gamma
    ours = evaluate.certainty_equivalent(AS_MARKET, quotes, gamma)
    assert -np.log(by_parts) / gamma == pytest.approx(ours, abs=bound)
    assert bound < 1e-3


def test_a_monte_carlo_of_the_model_agrees_within_four_standard_errors():
    """Gillespie's algorithm on a table constant in time, with a hard limit and every friction: 20,000 paths.

    Each path alternates exponential waits and jumps, and adds a normal gain for each wait: no recursion over q.
    """
    base = random_quotes(3, limit=3, target=1, cost=0.2)
    quotes = Quotes([0.0], base.inventory, base.bid[:1], base.ask[:1], 0.9, 1.0, 3, 0.2, 1)
    rng, paths = np.random.default_rng(11), 20_000
    table = [list(jumps(ROUGH_MARKET, quotes, 0, q)) for q in quotes.inventory]
    rate, gain, after = (np.array([[side[i] for side in row] for row in table]) for i in range(3))
    q, t, profit = np.zeros(paths, int), np.zeros(paths), np.zeros(paths)
    running = np.arange(paths)
    while len(running):
        column = q[running] + 3
        wait = rng.exponential(1 / rate[column].sum(1))
        held = np.minimum(wait, quotes.horizon - t[running])
        profit[running] += q[running] * (0.4 * held + 1.3 * np.sqrt(held) * rng.standard_normal(len(running)))
        t[running] += held
        filled = wait == held
        running, column = running[filled], column[filled]
        side = (rng.random(len(running)) > rate[column, 0] / rate[column].sum(1)).astype(int)
        profit[running] += gain[column, side]
        q[running] = after[column, side]
    r = evaluate.moments(ROUGH_MARKET, quotes, "continuous")
    assert abs(profit.mean() - r.mean) < 4 * profit.std() / np.sqrt(paths)
    squares = (profit - profit.mean()) ** 2
    assert abs(squares.mean() - r.std**2) < 4 * squares.std() / np.sqrt(paths)
    utility = np.exp(-0.3 * profit)
    ce_error = utility.std() / utility.mean() / 0.3 / np.sqrt(paths)
    assert abs(-np.log(utility.mean()) / 0.3 - evaluate.certainty_equivalent(ROUGH_MARKET, quotes, 0.3)) < 4 * ce_error
    law = evaluate.profit_law(ROUGH_MARKET, quotes, tolerance=1e-4)
    below = np.mean(profit <= -law.var(0.95))
    assert abs(below - 0.05) < 4 * np.sqrt(0.05 * 0.95 / paths) + law.tolerance
    losses = -profit
    excess = law.var(0.95) + np.maximum(losses - law.var(0.95), 0) / 0.05
    assert abs(excess.mean() - law.cvar(0.95)) < 4 * excess.std() / np.sqrt(paths)


def test_the_law_is_the_same_to_the_bit_on_one_thread(monkeypatch):
    market, quotes = CASES["target"]
    on_many = evaluate.profit_law(market, quotes, tolerance=1e-3)
    monkeypatch.setattr(chain, "ThreadPoolExecutor", lambda: ThreadPoolExecutor(max_workers=1))
    on_one = evaluate.profit_law(market, quotes, tolerance=1e-3)
    np.testing.assert_array_equal(on_many.characteristic, on_one.characteristic)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda m, q: evaluate.moments(m, q, "poisson"),
            "scheme must be one of 'bernoulli', 'continuous'; got 'poisson'",
        ),
        (lambda m, q: evaluate.moments(m, q, inventory=31), "inventory must be one of -3"),
        (lambda m, q: evaluate.moments(m, q, liquidation_cost=-1), "liquidation_cost must be >= 0"),
        (lambda m, q: evaluate.certainty_equivalent(m, q, -0.1), "gamma must be >= 0 and finite"),
        (lambda m, q: evaluate.certainty_equivalent(m, q, np.nan), "gamma must be >= 0 and finite"),
        (lambda m, q: evaluate.profit_law(Market(0.0, 1.0, 1.0), q), "sigma must be > 0"),
        (lambda m, q: evaluate.profit_law(m, q, tolerance=0.5), "tolerance must be >= 1e-10 and <= 0.01"),
        (lambda m, q: evaluate.profit_law(m, q, tolerance=1e-4).var(1.0), "level must be >= 0.001 and <= 0.999"),
        (lambda m, q: evaluate.profit_law(m, q, tolerance=1e-4).cvar(0.9999), "level must be >= 0.001"),
        (lambda m, q: evaluate.profit_law(m, q, tolerance=1e-4).quantile(0.0), "p must be >= 0.001"),
        (lambda m, q: evaluate.certainty_equivalent(m, q, 1e3, liquidation_cost=1.0), "gamma must be smaller"),
        (lambda m, q: evaluate.profit_law(m, q, tolerance=1e-4).cdf(np.nan), "x must be finite"),
    ],
)
def test_a_bad_argument_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(*CASES["plain"])


def test_a_law_too_discrete_to_invert_is_refused_with_the_tolerance_that_works():
    market = Market(sigma=0.01, A=1.0, k=1.0)
    quotes = avellaneda_stoikov.quotes(market, gamma=0.1, horizon=1.0, max_inventory=2, steps=2)
    with pytest.raises(ValueError, match=r"tolerance must be >= .*nearly discrete; got 1e-08"):
        evaluate.profit_law(market, quotes)


def test_nothing_to_invert_is_refused():
    nothing = np.full((1, 3), np.nan)
    with pytest.raises(ValueError, match="the profit is 0 for certain"):
        evaluate.profit_law(AS_MARKET, Quotes([0.0], [-1, 0, 1], nothing, nothing, 1.0))


def test_a_gain_beyond_all_bounds_that_hardly_ever_comes_is_refused():
    """At e^-400 a day the fill at distance 400 does not move the deviation, but E exp(z·profit) is no number."""
    quotes = Quotes([0.0], [-1, 0, 1], [[400.0, 0.5, np.nan]], [[np.nan, 0.5, 0.5]], 1.0)
    with pytest.raises(
        ValueError, match=r"quotes must lose or gain less .*: the tails of the profit cannot be bounded"
    ):
        evaluate.profit_law(Market(1.0, 1.0, 1.0), quotes, 1, tolerance=1e-4)


@pytest.mark.parametrize("m", [1, 2, 9, 61])
def test_all_nodes_at_once_are_the_exponential_and_the_nodes_one_by_one(m):
    """SciPy's Padé approximation of exp(hL), and with rates whose squares overflow the complex solver, node by node."""
    rng = np.random.default_rng(m)
    up, down = np.exp(rng.normal(0, 2, (2, m)))
    up[-1] = down[0] = 0.0
    q, y = np.arange(m), rng.normal(size=m)
    L = np.diag(-up - down) + np.diag(up[:-1], 1) + np.diag(down[1:], -1)
    matrix = lines.jump_matrix(up, np.minimum(q + 1, m - 1), down, np.maximum(q - 1, 0), -up - down)
    contour = lines.REAL_NODES, lines.REAL_WEIGHTS
    for h in (1e-3, 0.1, 5.0):
        found = y + lines.real_phi(h, matrix, L @ y, *contour)
        assert np.max(np.abs(found - expm(h * L) @ y)) < 1e-12 * max(1, h * np.max(np.abs(L @ y)))
    huge = tuple(1e170 * part if part.dtype == float else part for part in matrix)
    both = [f(1.0, huge, y, *contour).real for f in (lines.real_phi, lines.phi)]
    assert np.array_equal(*both)


def test_a_far_entry_goes_the_general_way():
    """A hard limit cut back past its neighbour: the same to the last bit as the solver that knows far entries."""
    up, down = np.array([1.0, 2.0, 3.0, 4.0]), np.array([5.0, 4.0, 3.0, 2.0])
    to_up, to_down = np.array([1, 2, 3, 1]), np.array([2, 0, 1, 2])
    matrix = lines.jump_matrix(up, to_up, down, to_down, -up - down)
    given = (0.3, matrix, np.array([1.0, -2.0, 0.5, 3.0]), lines.REAL_NODES, lines.REAL_WEIGHTS)
    assert np.array_equal(lines.real_phi(*given), lines.phi(*given).real)
