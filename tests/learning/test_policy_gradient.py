"""Exact gradients against differences of the evaluator; learners against the optimum, by regret, never by weights."""

from dataclasses import replace

import numpy as np
import pytest

from mmlib.learning import environment, policy_gradient
from mmlib.market_making import Market, evaluate, glft

AS = Market(2.0, 140.0, 1.5)
CHAIN = dict(horizon=1.0, steps=200, max_inventory=30)
OPTIMUM = {"phi": 66.87495904, "gamma": 65.24898027}


@pytest.mark.parametrize("objective", [dict(phi=0.2, alpha=0.1), dict(gamma=0.3)])
@pytest.mark.parametrize("start", [0, 2])
def test_the_gradient_is_the_slope_of_the_evaluators_value(objective, start):
    """Every quote of a small table by central differences; h² and rounding over h leave 1e-8 of values near 1."""
    market = Market(2.0, 140.0, 1.5, mu=0.3, fee=0.01)
    quotes = glft.quotes(market, gamma=0.3, horizon=0.05, max_inventory=3, steps=8)
    sure = np.array(quotes.ask)
    sure[3, 4] = -1.0  # through the mid: a sure fill, on the flat part of min(1, ·)
    quotes = replace(quotes, ask=sure)

    def value(quotes):
        if "phi" in objective:
            return evaluate.penalised(market, quotes, 0.2, 0.1, inventory=start)
        return evaluate.certainty_equivalent(market, quotes, 0.3, start, scheme="bernoulli")

    found, *slopes = policy_gradient.gradient(market, quotes, inventory=start, **objective)
    assert found == pytest.approx(value(quotes), abs=1e-11)
    for side, slope in zip(("bid", "ask"), slopes, strict=True):
        for at in np.ndindex(slope.shape):
            if np.isnan(getattr(quotes, side)[at]):
                assert slope[at] == 0
                continue
            ends = []
            for h in (1e-4, -1e-4):
                table = np.array(getattr(quotes, side))
                table[at] += h
                ends.append(value(replace(quotes, **{side: table})))
            assert slope[at] == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-8)


@pytest.mark.parametrize("objective", [dict(phi=0.2), dict(gamma=0.1)])
def test_at_the_optimum_no_quote_has_a_slope(objective):
    quotes = environment.optimum(AS, **CHAIN, **objective)
    _, by_bid, by_ask = policy_gradient.gradient(AS, quotes, **objective)
    assert max(np.abs(by_bid).max(), np.abs(by_ask).max()) < 1e-11


def regret(learned, objective):
    """Share of the optimum that the learned table loses, by the evaluator."""
    if "phi" in objective:
        value = evaluate.penalised(AS, learned.quotes, 0.2)
    else:
        value = evaluate.certainty_equivalent(AS, learned.quotes, 0.1, scheme="bernoulli")
    assert learned.value == pytest.approx(value, abs=1e-9)
    return 1 - value / OPTIMUM[next(iter(objective))]


@pytest.mark.parametrize("objective", [dict(phi=0.2), dict(gamma=0.1)])
def test_the_law_of_three_parameters_loses_less_than_a_thousandth_of_a_percent(objective):
    assert -1e-9 < regret(policy_gradient.law(AS, **CHAIN, **objective), objective) < 1e-5


@pytest.mark.parametrize("objective", [dict(phi=0.2), dict(gamma=0.1)])
def test_the_network_loses_less_than_a_tenth_of_a_percent(objective):
    assert -1e-9 < regret(policy_gradient.network(AS, **CHAIN, **objective, seed=1), objective) < 1e-3


def test_the_table_comes_within_five_thousandths_of_a_percent():
    objective = dict(phi=0.2)
    assert -1e-9 < regret(policy_gradient.table(AS, **CHAIN, **objective, rounds=60), objective) < 5e-5


def test_an_untrained_policy_is_the_constant_spread():
    """Nobody has learned anything before the first step: 1/k on both sides, the value that `evaluate` gives it."""
    learned = policy_gradient.law(AS, **CHAIN, phi=0.2)
    q = np.arange(-30, 31)
    bid, ask = np.full((2, 200, 61), 1 / 1.5)
    bid[:, -1], ask[:, 0] = np.nan, np.nan
    constant = replace(learned.quotes, bid=bid, ask=ask, inventory=q)
    assert learned.values[0] == pytest.approx(evaluate.penalised(AS, constant, 0.2), abs=1e-9)


def test_bad_settings_are_refused_by_name():
    with pytest.raises(ValueError, match="rounds must be an integer and >= 1"):
        policy_gradient.network(AS, **CHAIN, phi=0.2, rounds=0)
    with pytest.raises(ValueError, match="rate must be > 0"):
        policy_gradient.network(AS, **CHAIN, phi=0.2, rate=0.0)
    with pytest.raises(ValueError, match="one of them; got None and None"):
        policy_gradient.table(AS, **CHAIN)


def test_an_interrupted_network_ends_in_the_same_bits():
    """Continued after 7 of 20 steps of Adam; and what is no state of it is refused."""
    small, states = dict(horizon=0.1, steps=20, max_inventory=5, phi=0.2, rounds=20, seed=3), []
    whole = policy_gradient.network(AS, **small, watch=lambda done, todo, state: states.append((done, todo, state)))
    assert [s[:2] for s in states] == [(n, 20) for n in range(1, 21)]
    again = policy_gradient.network(AS, **small, start=states[6][2])
    assert np.array_equal(again.parameters, whole.parameters) and np.array_equal(again.values, whole.values)
    with pytest.raises(ValueError, match=r"start: x must have shape \(1218,\); got \(3,\)"):
        policy_gradient.network(AS, **small, start=states[6][2] | {"x": np.zeros(3)})
