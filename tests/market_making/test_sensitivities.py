"""Derivatives of the GLFT quotes against high-precision differences of the equation as printed."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.market_making import Market, glft, sensitivities

PLAIN = Market(sigma=2.0, A=140.0, k=1.5)
FRICTIONS = Market(sigma=0.3, A=0.9, k=0.3, mu=0.01, impact=0.02, fee=0.1)


def precise_quotes(market, gamma, tau, Q, xi):
    """Bid and ask at time to go tau by mpmath's matrix exponential; every parameter may be an mpf."""
    sigma, A, k, mu = market["sigma"], market["A"], market["k"], market["mu"]
    impact, fee = mpmath.mpf(market["impact"]), mpmath.mpf(market["fee"])
    if xi > 0:
        c1, C = mpmath.log(1 + xi / k) / xi, (1 + xi / k) ** (-(1 + k / xi))
    else:
        c1, C = 1 / k, mpmath.exp(-1)
    eta = A * C * mpmath.exp(-k * (fee + impact / 2))
    M = mpmath.zeros(2 * Q + 1)
    v = mpmath.matrix(2 * Q + 1, 1)
    for i, q in enumerate(range(-Q, Q + 1)):
        M[i, i] = k * mu * q - k * gamma * sigma**2 / 2 * q**2
        v[i] = mpmath.exp(-k * impact * q**2 / 2)
        if i:
            M[i, i - 1] = M[i - 1, i] = eta
    v = mpmath.expm(M * tau) * v
    mark = c1 + fee + impact / 2
    return [mark + mpmath.log(v[i] / v[i + 1]) / k for i in range(2 * Q)], [
        mark + mpmath.log(v[i] / v[i - 1]) / k for i in range(1, 2 * Q + 1)
    ]


@pytest.mark.parametrize(
    ("market", "gamma", "horizon", "Q", "xi"),
    [
        (PLAIN, 0.1, 1.0, 4, None),
        (PLAIN, 0.1, 0.02, 4, 0.0),
        (FRICTIONS, 0.01, 60.0, 3, None),
        (FRICTIONS, 0.01, 60.0, 3, 0.5),
    ],
)
@pytest.mark.parametrize("name", sensitivities.PARAMETERS)
def test_derivatives_agree_with_central_differences_in_fifty_digits(market, gamma, horizon, Q, xi, name):
    """The step 1e-12 has a truncation error of about 1e-24 and, in 50 digits, no rounding: what is left is ours. 1e-7
    is asked for; relative to the largest derivative 1e-11 leaves a factor of ten to the rounding of some 1e5 sums."""
    derivatives = sensitivities.derivatives(market, gamma=gamma, horizon=horizon, max_inventory=Q, steps=2, xi=xi)[name]
    with mpmath.workdps(50):
        h = mpmath.mpf("1e-12")
        sides = []
        for sign in (1, -1):
            moved = {key: mpmath.mpf(getattr(market, key)) for key in ("sigma", "A", "k", "mu", "impact", "fee")}
            g = mpmath.mpf(gamma)
            if name == "gamma":
                g += sign * h
            else:
                moved[name] += sign * h
            aversion = g if xi is None else mpmath.mpf(xi)
            sides.append(precise_quotes(moved, g, mpmath.mpf(horizon), Q, aversion))
        theirs = [
            np.array([float((x - y) / (2 * h)) for x, y in zip(up, down, strict=True)])
            for up, down in zip(*sides, strict=True)
        ]
    bid, ask = derivatives[0][0, :-1], derivatives[1][0, 1:]
    scale = max(1.0, np.max(np.abs(theirs)))
    assert max(np.max(np.abs(bid - theirs[0])), np.max(np.abs(ask - theirs[1]))) < 1e-7
    np.testing.assert_allclose(bid, theirs[0], rtol=0, atol=1e-11 * scale)
    np.testing.assert_allclose(ask, theirs[1], rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize("name", ["sigma", "A", "k", "mu"])
def test_derivatives_in_the_tails_agree_with_differences_of_the_quotes(name):
    """Q = 60, where v spans 1e-60 and more. Central differences of glft.quotes, whose errors are a few 1e-9/k: over
    2 h = 2e-3 of the parameter they leave 1e-5, and truncation O(h²)."""
    market = Market(sigma=1.0, A=0.2, k=0.3, mu=0.001)
    h = 1e-3 * (getattr(market, name) if name != "mu" else 1.0)
    up, down = (
        glft.quotes(
            replace(market, **{name: getattr(market, name) + d}), gamma=0.01, horizon=600.0, max_inventory=60, steps=2
        )
        for d in (h, -h)
    )
    ours = sensitivities.derivatives(market, gamma=0.01, horizon=600.0, max_inventory=60, steps=2)[name][0][:, :-1]
    differences = ((up.bid - down.bid) / (2 * h))[:, :-1]
    np.testing.assert_allclose(ours, differences, rtol=1e-4, atol=1e-5 * np.max(np.abs(differences)))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    sigma=st.floats(0.1, 3), A=st.floats(0.5, 100), k=st.floats(0.3, 3), gamma=st.floats(1e-4, 1), mu=st.floats(-1, 1)
)
def test_the_derivatives_obey_the_two_changes_of_unit(sigma, A, k, gamma, mu):
    """Euler's relations, exact and independent of any solver. A price unit: delta is homogeneous, so
    sigma δ_σ − k δ_k − gamma δ_γ + mu δ_μ = δ. The horizon is not a parameter, so time is tested far from it, where
    sigma δ_σ/2 + A δ_A + mu δ_μ = 0 once the quotes are stationary (checked where tau moves them by < 1e-8)."""
    market = Market(sigma=sigma, A=A, k=k, mu=mu)
    d = sensitivities.derivatives(market, gamma=gamma, horizon=1.0, max_inventory=5, steps=1)
    quotes = glft.quotes(market, gamma=gamma, horizon=1.0, max_inventory=5, steps=1)
    for side, delta in ((0, quotes.bid), (1, quotes.ask)):
        euler = sigma * d["sigma"][side] - k * d["k"][side] - gamma * d["gamma"][side] + mu * d["mu"][side]
        np.testing.assert_allclose(euler, delta, rtol=0, atol=1e-7 * max(1.0, np.nanmax(np.abs(delta))))


def test_far_from_the_horizon_faster_time_changes_nothing():
    """Stationary quotes do not know the unit of time: sigma δ_σ/2 + A δ_A + mu δ_μ = 0 (mu and A are rates, sigma²
    too). At tau = 5 the slowest mode has died below rounding for Q = 5 at these parameters."""
    d = sensitivities.derivatives(replace(PLAIN, mu=0.3), gamma=0.1, horizon=5.0, max_inventory=5, steps=1)
    for side in (0, 1):
        euler = PLAIN.sigma / 2 * d["sigma"][side] + PLAIN.A * d["A"][side] + 0.3 * d["mu"][side]
        np.testing.assert_allclose(euler[np.isfinite(euler)], 0.0, atol=1e-9)


def test_small_aversion_is_the_limit_of_none():
    """The mark-up's derivative at gamma = 0 is −1/(2 k²); its series and its quotient meet at xi/k = 0.01."""
    at_zero = sensitivities.derivatives(PLAIN, gamma=0.0, horizon=1.0, max_inventory=3, steps=1)["gamma"][0]
    nearby = sensitivities.derivatives(PLAIN, gamma=1e-9, horizon=1.0, max_inventory=3, steps=1)["gamma"][0]
    np.testing.assert_allclose(nearby, at_zero, rtol=0, atol=1e-6)
    below, above = (np.array(sensitivities._mark_up(0.01 + d)) for d in (-1e-12, 1e-12))
    np.testing.assert_allclose(below, above, rtol=0, atol=3e-12)


@pytest.mark.parametrize(
    ("change", "name"),
    [(dict(gamma=-0.1), "gamma"), (dict(horizon=0.0), "horizon"), (dict(max_inventory=0), "max_inventory")],
)
def test_a_bad_argument_is_named(change, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        sensitivities.derivatives(PLAIN, **(dict(gamma=0.1, horizon=1.0, max_inventory=5, steps=1) | change))


@pytest.mark.parametrize("name", sensitivities.PARAMETERS)
def test_an_impact_forgotten_at_once_leaves_the_derivatives_of_the_quotes(name):
    """From impact 62 on the start of the ratios is cut at ±600 (19 k impact/2 at inventory 9): their tangents are
    forgotten too, so that central differences of the quotes agree."""
    market = replace(PLAIN, impact=100.0)
    got = sensitivities.derivatives(market, gamma=0.1, horizon=1.0, max_inventory=10, steps=2)[name]
    h = 1e-3

    def moved(by):
        return glft.quotes(
            market if name == "gamma" else replace(market, **{name: getattr(market, name) + by}),
            gamma=0.1 + by * (name == "gamma"), horizon=1.0, max_inventory=10, steps=2,
        )  # fmt: skip

    up, down = moved(h), moved(-h)
    for side, derivative in zip(("bid", "ask"), got, strict=True):
        difference = (getattr(up, side) - getattr(down, side)) / (2 * h)
        np.testing.assert_allclose(derivative, difference, rtol=1e-3, atol=1e-4)


def test_what_would_take_too_many_steps_or_overflow_is_refused():
    with pytest.raises(ValueError, match="horizon must be shorter, or sigma"):
        sensitivities.derivatives(Market(5.0, 10.0, 1.5), gamma=10.0, horizon=10.0, max_inventory=50, steps=2)
    with pytest.raises(ValueError, match=r"fee \+ impact/2 must be >= -200"):
        sensitivities.derivatives(
            Market(2.0, 140.0, 1.5, fee=-1000.0), gamma=0.1, horizon=1.0, max_inventory=3, steps=2
        )
