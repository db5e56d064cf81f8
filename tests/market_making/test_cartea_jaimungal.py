"""Cartea–Jaimungal–Penalva, against published values by two routes, GLFT's model B and the exact evaluation."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from mmlib.market_making import Market, cartea_jaimungal, evaluate, glft

PUBLISHED = Path(__file__).parents[2] / "data/published/cartea_jaimungal_penalva_2015.csv"
BOOK = Market(sigma=0.01, A=1.0, k=100.0)
PROBLEM = dict(phi=1e-4, alpha=1e-4, horizon=30.0, max_inventory=3)


def published():
    with PUBLISHED.open() as file:
        return [pytest.param(row, id=row["key"]) for row in csv.DictReader(file)]


def book_matrix(market, phi, Q):
    q = np.arange(-Q, Q + 1)
    sides = np.full(2 * Q, market.A / np.e)
    return np.diag(market.k * (market.mu * q - phi * q**2)) + np.diag(sides, 1) + np.diag(sides, -1), q


def by_expm(p):
    """h by scipy's matrix exponential of the book's matrix."""
    market = Market(sigma=0.0, A=p["A"], k=p["k"])
    K, q = book_matrix(market, p["phi"], p["max_inventory"])
    return np.log(expm(K * p["horizon"]) @ np.exp(-p["alpha"] * p["k"] * q**2)) / p["k"]


def by_eigenvectors(p):
    """h and the gain by mpmath's eigenvalues of the book's matrix in 40 digits."""
    with mpmath.workdps(40):
        Q, k, side = p["max_inventory"], mpmath.mpf(p["k"]), mpmath.mpf(p["A"]) / mpmath.e
        K = mpmath.zeros(2 * Q + 1)
        for i in range(2 * Q + 1):
            K[i, i] = -mpmath.mpf(p["phi"]) * k * (i - Q) ** 2
            if i:
                K[i, i - 1] = K[i - 1, i] = side
        values, vectors = mpmath.eigsy(K)
        gain = max(values) / k
        if "horizon" not in p:
            return None, float(gain)
        z = mpmath.matrix([mpmath.exp(-mpmath.mpf(p["alpha"]) * k * (i - Q) ** 2) for i in range(2 * Q + 1)])
        weights = vectors.T * z
        omega = vectors * mpmath.matrix(
            [mpmath.exp(v * p["horizon"]) * w for v, w in zip(values, weights, strict=True)]
        )
        return np.array([float(mpmath.log(x) / k) for x in omega]), float(gain)


def from_h(h, p):
    """The row's quantity from h: the book's formulas, written out."""
    i = p["inventory"] + p["max_inventory"]
    return h[i], 1 / p["k"] + h[i] - h[i - 1]


@pytest.mark.parametrize("row", published())
def test_published_values_by_three_routes(row):
    """Ours, scipy's exponential and mpmath's eigenvectors, which share no code, at most 1e-8 from the value; the two
    references at their own accuracy, half a unit of the last digit or rounding."""
    p, value = json.loads(row["parameters"]), float(row["value"])
    market = Market(sigma=0.0, A=p["A"], k=p["k"])
    if row["quantity"] == "gain":
        ours = cartea_jaimungal.gain(market, phi=p["phi"], max_inventory=p["max_inventory"])
        K, _ = book_matrix(market, p["phi"], p["max_inventory"])
        routes = [np.linalg.eigvalsh(K)[-1] / p["k"], by_eigenvectors(p)[1]]
    else:
        problem = {name: p[name] for name in PROBLEM}
        kind = ("value", "ask").index(row["quantity"])
        ours = (
            cartea_jaimungal.value(market, **problem)[p["inventory"] + p["max_inventory"]],
            cartea_jaimungal.quotes(market, **problem, steps=3).ask[0, p["inventory"] + p["max_inventory"]],
        )[kind]
        routes = [from_h(h, p)[kind] for h in (by_expm(p), by_eigenvectors(p)[0])]
    assert ours == pytest.approx(value, abs=1e-8)
    for route in routes:
        assert route == pytest.approx(value, abs=float(row["tolerance"]) + 1e-14)


@pytest.mark.parametrize("mu", [0.0, 0.05])
def test_without_final_penalty_it_is_glft_with_xi_0(mu):
    """Model B: phi = gamma sigma²/2. Quotes and value agree to the sum of two integrations' tolerances, 1e-8/k."""
    market, gamma = Market(sigma=2.0, A=140.0, k=1.5, mu=mu, fee=-0.02, impact=0.03), 0.1
    phi = 0.5 * gamma * market.sigma**2
    ours = cartea_jaimungal.quotes(market, phi=phi, alpha=0.0, horizon=1.0, max_inventory=20, steps=5)
    theirs = glft.quotes(market, gamma=gamma, horizon=1.0, max_inventory=20, steps=5, xi=0.0)
    np.testing.assert_allclose(ours.bid, theirs.bid, rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours.ask, theirs.ask, rtol=0, atol=1e-8)
    np.testing.assert_allclose(
        cartea_jaimungal.value(market, phi=phi, alpha=0.0, horizon=1.0, max_inventory=20),
        glft.value(market, gamma=gamma, horizon=1.0, max_inventory=20, xi=0.0),
        rtol=0,
        atol=1e-6,
    )


def test_the_value_is_the_mean_profit_of_the_table_less_the_penalty_as_its_steps_shrink():
    """`evaluate.moments` knows only the table and the market. E ∫q² ds is not among its results, but with phi = 0 and
    alpha > 0 the value is mean profit less alpha E q_T², both of which it has. Held quotes lose O(dt²)."""
    market, alpha = Market(sigma=1.0, A=5.0, k=1.5), 0.2
    h = cartea_jaimungal.value(market, phi=0.0, alpha=alpha, horizon=1.0, max_inventory=4)[4]
    losses = []
    for steps in (50, 100):
        quotes = cartea_jaimungal.quotes(market, phi=0.0, alpha=alpha, horizon=1.0, max_inventory=4, steps=steps)
        moments = evaluate.moments(market, quotes, scheme="continuous")
        losses.append(h - (moments.mean - alpha * moments.inventory_law @ quotes.inventory**2))
    assert losses[1] > 0
    assert 1.8 < np.log2(losses[0] / losses[1]) < 2.2


def test_the_value_grows_by_the_gain_per_unit_of_time_far_from_the_horizon():
    """Two solvers: the integration in time, and LAPACK's eigenvalue. The rest dies as exp(−gap·tau), below rounding."""
    a, b = (cartea_jaimungal.value(BOOK, phi=1e-4, alpha=1e-4, horizon=T, max_inventory=3) for T in (400.0, 500.0))
    np.testing.assert_allclose(
        (b - a) / 100, cartea_jaimungal.gain(BOOK, phi=1e-4, max_inventory=3), rtol=0, atol=1e-11
    )


def test_the_equation_holds_with_impact_fee_and_drift():
    """Independent route: central differences in time of h against the equation with each fill's worth written out."""
    market = Market(sigma=0.3, A=2.0, k=1.5, mu=0.1, impact=0.2, fee=0.05)
    phi, dt, Q = 0.3, 1e-4, 4
    early, now, late = (
        cartea_jaimungal.value(market, phi=phi, alpha=0.4, horizon=0.7 + d, max_inventory=Q) for d in (dt, 0.0, -dt)
    )
    quotes = cartea_jaimungal.quotes(market, phi=phi, alpha=0.4, horizon=0.7, max_inventory=Q, steps=1)
    q = quotes.inventory
    bid, ask = quotes.bid[0, :-1], quotes.ask[0, 1:]
    expected = market.mu * q - phi * q.astype(float) ** 2
    expected[:-1] += market.bid_rate(bid) * (bid - market.fee - market.impact * (q[:-1] + 1) + now[1:] - now[:-1])
    expected[1:] += market.ask_rate(ask) * (ask - market.fee + market.impact * (q[1:] - 1) + now[:-1] - now[1:])
    np.testing.assert_allclose((early - late) / (2 * dt), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 1e6])
def test_no_final_penalty_is_too_large_for_a_finite_quote(alpha):
    quotes = cartea_jaimungal.quotes(BOOK, phi=1e-4, alpha=alpha, horizon=30.0, max_inventory=40, steps=3)
    assert np.all(np.isfinite(quotes.bid[:, :-1]))
    assert np.all(np.diff(quotes.bid[:, :-1]) > 0)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    phi=st.floats(0, 0.5), alpha=st.floats(0, 2), A=st.floats(0.1, 50), k=st.floats(0.2, 5), Q=st.integers(1, 8),
    price=st.floats(0.1, 10), time=st.floats(0.1, 10),
)  # fmt: skip
def test_quotes_are_symmetric_monotone_and_free_of_units(phi, alpha, A, k, Q, price, time):
    """Without drift bid(q) = ask(−q); a long maker bids lower; price and time units only rescale."""
    market = Market(sigma=0.0, A=A, k=k)
    quotes = cartea_jaimungal.quotes(market, phi=phi, alpha=alpha, horizon=1.0, max_inventory=Q, steps=2)
    np.testing.assert_allclose(quotes.bid[:, :-1], quotes.ask[:, :0:-1], rtol=0, atol=1e-7 / k)
    assert np.all(np.diff(quotes.bid[:, :-1]) >= -1e-7 / k)
    scaled = cartea_jaimungal.quotes(
        replace(market, A=A / time, k=k / price),
        phi=phi * price / time,
        alpha=alpha * price,
        horizon=time,
        max_inventory=Q,
        steps=2,
    )
    np.testing.assert_allclose(scaled.bid, price * quotes.bid, rtol=0, atol=1e-7 * price / k)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (dict(phi=-1e-3), "phi"),
        (dict(alpha=float("inf")), "alpha"),
        (dict(horizon=-1.0), "horizon"),
        (dict(max_inventory=0), "max_inventory"),
        (dict(steps=1.5), "steps"),
    ],
)
def test_a_bad_argument_is_named(change, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        cartea_jaimungal.quotes(BOOK, **{**PROBLEM, "steps": 3, **change})


@pytest.mark.parametrize("phi, mu", [(100.0, 0.0), (0.01, 0.0), (0.2, 3.0), (0.2, -30.0)])
def test_the_gain_keeps_its_digits_on_a_wide_grid(phi, mu):
    """Inventories that are never held change nothing; LAPACK's rounding grows with kappa phi q² (3e-8 at 100)."""
    market = Market(sigma=2.0, A=140.0, k=1.5, mu=mu)
    enough = cartea_jaimungal.gain(market, phi=phi, max_inventory=150)
    assert cartea_jaimungal.gain(market, phi=phi, max_inventory=3000) == pytest.approx(enough, abs=1e-11)
    mpmath.mp.dps = 40
    q = [mpmath.mpf(n) for n in range(-8, 9)]
    K = mpmath.diag([market.k * (market.mu * n - mpmath.mpf(phi) * n**2) for n in q])
    for i in range(16):
        K[i, i + 1] = K[i + 1, i] = market.A * mpmath.exp(-1)
    exact = mpmath.eigsy(K, eigvals_only=True)[16] / market.k
    assert cartea_jaimungal.gain(market, phi=phi, max_inventory=8) == pytest.approx(float(exact), abs=1e-10)


@pytest.mark.parametrize("fee", [-1000.0, 1000.0])
def test_a_fee_beyond_what_the_exponential_holds_is_refused(fee):
    market = Market(sigma=2.0, A=140.0, k=1.5, fee=fee)
    for call in (
        lambda: cartea_jaimungal.quotes(market, phi=0.1, alpha=0.1, horizon=1.0, max_inventory=3, steps=2),
        lambda: cartea_jaimungal.value(market, phi=0.1, alpha=0.1, horizon=1.0, max_inventory=3),
        lambda: cartea_jaimungal.gain(market, phi=0.1, max_inventory=3),
    ):
        with pytest.raises(ValueError, match=r"fee \+ impact/2 must be >= -200 and <= 200"):
            call()


@pytest.mark.parametrize("mu", [0.0, 1.0, -40.0])
@pytest.mark.parametrize(("Q", "penalty"), [(1, 1e6), (4, 1e3), (4, 1e6), (4, 1e10), (6, 0.5)])
def test_the_gain_is_right_to_one_part_in_a_billion_however_large_the_penalty(Q, penalty, mu):
    """mpmath's eigenvalues of the book's matrix in 60 digits; `penalty` is kappa phi over the side A/e."""
    A, k = 140.0, 1.5
    with mpmath.workdps(60):
        side = mpmath.mpf(A) / mpmath.e
        phi = float(penalty * side / k)
        K = mpmath.diag([k * (mpmath.mpf(mu) * n - mpmath.mpf(phi) * n * n) for n in range(-Q, Q + 1)])
        for i in range(2 * Q):
            K[i, i + 1] = K[i + 1, i] = side
        exact = float(max(mpmath.eigsy(K, eigvals_only=True)) / k)
    ours = cartea_jaimungal.gain(Market(2.0, A, k, mu=mu), phi=phi, max_inventory=Q)
    assert ours == pytest.approx(exact, rel=1e-9)


def test_a_penalty_beyond_numbers_is_refused():
    with pytest.raises(ValueError, match="phi and mu must leave"):
        cartea_jaimungal.gain(BOOK, phi=1e307, max_inventory=30)
