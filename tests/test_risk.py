"""Estimates of risk against exact laws, hand-made samples and the spread of the estimates over repeated samples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmlib import risk

NORMAL = stats.norm(loc=0.7, scale=2.0)
#: A skewed law: a shifted gamma, mean 1, skewness 1, kurtosis 4.5.
SKEWED = stats.gamma(4.0, loc=-1.0, scale=0.5)
#: An even more skewed one on the side of the losses.
LOSSES = stats.gumbel_l(loc=1.0, scale=1.5)
LAWS = pytest.mark.parametrize("law", [NORMAL, SKEWED, LOSSES], ids=["normal", "gamma", "gumbel"])
LEVELS = pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
ESTIMATES = {
    "mean": risk.mean,
    "std": risk.std,
    "sharpe": risk.sharpe,
    "var": lambda x: risk.var(x, 0.9),
    "cvar": lambda x: risk.cvar(x, 0.9),
}


def exact_cvar(law, level):
    """Mean of the losses beyond VaR, by SciPy's quadrature of the density."""
    cut = law.ppf(1 - level)
    return -law.expect(lambda x: x, ub=cut) / (1 - level)


@LAWS
def test_mean_std_and_sharpe_are_those_of_the_law(law):
    x = law.rvs(100_000, random_state=1)
    for estimate, exact in (
        (risk.mean(x), law.mean()),
        (risk.std(x), law.std()),
        (risk.sharpe(x), law.mean() / law.std()),
    ):
        assert abs(estimate.value - exact) < 4 * estimate.standard_error


@LAWS
@LEVELS
def test_var_and_cvar_are_those_of_the_law(law, level):
    x = law.rvs(100_000, random_state=2)
    at_risk, beyond = risk.var(x, level), risk.cvar(x, level)
    assert abs(at_risk.value + law.ppf(1 - level)) < 4 * at_risk.standard_error
    assert abs(beyond.value - exact_cvar(law, level)) < 4 * beyond.standard_error


def test_normal_cvar_has_its_closed_form():
    """CVaR = sigma·pdf(z)/(1 − level) − mean; the quadrature above must give it too."""
    z = stats.norm.ppf(0.95)
    assert exact_cvar(NORMAL, 0.95) == pytest.approx(2.0 * stats.norm.pdf(z) / 0.05 - 0.7, rel=1e-9)


@LAWS
@pytest.mark.parametrize("name", ESTIMATES)
def test_the_standard_error_is_the_spread_of_repeated_estimates(name, law):
    """1500 samples of 1000 each: the spread of the estimates is known to 1/√(2·1500) of itself, times 4.

    The asymptotic formulas leave terms of relative order 1/n. VaR's error is a difference of order statistics r =
    √(n·0.9·0.1) to either side: as a quotient for the quantile's slope it is off by (r/n/0.1)² = 0.9 %, and its own
    relative variance 1/(2r) raises the root mean square by 1/(4r) = 2.6 %.
    """
    x = law.rvs((1500, 1000), random_state=3)
    estimates = np.array([ESTIMATES[name](row) for row in x])
    allowed = 4 / math.sqrt(2 * 1500) + 10 / 1000 + (0.009 + 0.026 if name == "var" else 0)
    typical = math.sqrt(np.mean(estimates[:, 1] ** 2))
    assert typical == pytest.approx(estimates[:, 0].std(ddof=1), rel=allowed)


def test_the_sharpe_ratio_of_normal_samples_has_the_standard_error_of_lo():
    """Lo (2002, eq. 9): √((1 + SR²/2)/n); sample skewness and kurtosis of 200,000 move it by less than 2 %."""
    x = stats.norm(1.5, 1.0).rvs(200_000, random_state=4)
    assert risk.sharpe(x).standard_error == pytest.approx(math.sqrt((1 + 1.5**2 / 2) / 200_000), rel=0.02)


def test_var_and_cvar_of_a_hundred_losses_are_the_ones_one_counts():
    """Losses 1 … 100: at 95 % the 95th, and the mean of the last five."""
    profits = -np.random.default_rng(5).permutation(np.arange(1.0, 101.0))
    assert risk.var(profits, 0.95).value == 95
    assert risk.cvar(profits, 0.95).value == pytest.approx(98, abs=1e-12)
    assert risk.cvar(profits, 0.955).value == pytest.approx((0.5 * 96 + 97 + 98 + 99 + 100) / 4.5, abs=1e-12)


def test_the_level_is_95_per_cent_where_none_is_given():
    """Losses 1 … 1000, counted by hand: 950 of them are at most 950, and the worst fifty have the mean 975.5."""
    profits = -np.arange(1.0, 1001.0)
    assert (risk.var(profits).value, risk.cvar(profits).value) == pytest.approx((950.0, 975.5))


@pytest.mark.parametrize("level", [5e-324, 1e-300, 1e-13])
def test_the_smallest_level_is_the_smallest_loss(level):
    assert risk.var([3.0, 1.0, 2.0], level).value == -3.0


@pytest.mark.parametrize(
    "level, known", [(0.001, 0), (0.01, 0), (0.03, 1), (0.05, 1), (0.95, 1), (0.99, 1), (0.995, 0)]
)
def test_an_interval_that_leaves_the_samples_on_either_side_has_no_error(level, known):
    """Losses 1 … 100, Woodruff's reach √(100·p(1 − p)) rounded up: from the 1st one below is none, two below the 3rd is
    the 1st, one above the 99th is the 100th. With equal gaps half the distance over the reach is 1."""
    error = risk.var(-np.arange(1.0, 101.0), level).standard_error
    if known:
        assert error == pytest.approx(math.sqrt(100 * level * (1 - level)))
    else:
        assert math.isnan(error)


def test_a_law_of_two_equal_points_has_no_error_of_its_spread():
    """(m₄ − s⁴)/n with divisor n is 0 for ±1, and of order 1/n² below it with divisor n − 1: never more than 0."""
    value, error = risk.std([1.0, -1.0] * 50)
    assert value == pytest.approx(math.sqrt(100 / 99), rel=1e-14)
    assert error == 0


def test_large_numbers_are_no_overflow_where_the_answer_is_a_number():
    """At 1e128 a fourth power is beyond a double, its root is not: units of money must not matter."""
    x = np.random.default_rng(6).gamma(2.0, size=500) - 1
    for scale in (1e128, 1e-128):
        for estimate in ESTIMATES.values():
            small, large = estimate(x), estimate(scale * x)
            unit = 1.0 if estimate is risk.sharpe else scale
            assert large.value == pytest.approx(small.value * unit, rel=1e-12)
            assert large.standard_error == pytest.approx(small.standard_error * unit, rel=1e-10)


def test_a_drawdown_is_the_largest_fall_from_a_peak():
    wealth = [[0.0, 3.0, 1.0, 4.0, 2.5], [0.0, -1.0, -2.0, 5.0, 5.0], [0.0, 1.0, 2.0, 3.0, 4.0]]
    assert risk.drawdowns(wealth).tolist() == [2.0, 2.0, 0.0]
    assert risk.drawdown(wealth) == pytest.approx((4 / 3, np.std([2, 2, 0], ddof=1) / math.sqrt(3)))
    alone = risk.drawdown(wealth[0])
    assert alone.value == 2.0
    assert math.isnan(alone.standard_error)


numbers = st.floats(-1e6, 1e6)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(wealth=st.lists(numbers, min_size=1, max_size=12))
def test_a_drawdown_is_the_worst_of_all_pairs_of_times(wealth):
    """Every pair, not the running maximum."""
    worst = max(wealth[i] - wealth[j] for j in range(len(wealth)) for i in range(j + 1))
    assert risk.drawdowns(wealth) == worst


@settings(deadline=None, max_examples=100, derandomize=True)
@given(profits=st.lists(numbers, min_size=2, max_size=50), level=st.floats(0.01, 0.99), shift=numbers)
def test_cvar_is_at_least_var_and_both_move_with_a_sure_gain(profits, level, shift):
    at_risk, beyond = risk.var(profits, level).value, risk.cvar(profits, level).value
    assert beyond >= at_risk
    assert at_risk in [-p for p in profits]
    moved = np.array(profits) + shift
    assert risk.var(moved, level).value == pytest.approx(at_risk - shift, abs=1e-8)
    assert risk.cvar(moved, level).value == pytest.approx(beyond - shift, abs=1e-6)  # rounding over 1 − level


def test_too_few_samples_have_no_standard_error():
    assert risk.mean([3.0]).value == 3.0
    assert math.isnan(risk.mean([3.0]).standard_error)
    assert math.isnan(risk.var([1.0, 2.0, 3.0], 0.95).standard_error)
    assert risk.std([2.0, 2.0]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: risk.mean([]), r"samples must be one row of at least one number; got shape \(0,\)"),
        (lambda: risk.mean([[1.0, 2.0]]), r"samples must be one row .*; got shape \(1, 2\)"),
        (lambda: risk.std([1.0, math.nan]), r"samples must be finite .*; got nan"),
        (lambda: risk.sharpe([1.0]), "samples must be at least two and not all equal"),
        (lambda: risk.sharpe([1.0, 1.0]), "samples must be at least two and not all equal"),
        (lambda: risk.var([1.0, 2.0], 1.0), "level must be > 0 and < 1 .*; got 1.0"),
        (lambda: risk.cvar([1.0, 2.0], 0.0), "level must be > 0 and < 1 .*; got 0.0"),
        (lambda: risk.drawdowns([0.0, math.inf]), r"wealth must be finite .*; got inf"),
    ],
)
def test_bad_samples_and_levels_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
