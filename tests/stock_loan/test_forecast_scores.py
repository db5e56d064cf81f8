"""Scores against worked numbers, integrals, and laws of chance; nothing shared with the code but the inputs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from mmlib.stock_loan import forecast_scores as scores


def test_split_conformal_takes_the_kth_smallest_and_not_an_interpolated_quantile():
    nine = [3, 1, 4, 1, 5, 9, 2, 6, 5]
    assert [scores.conformal(nine, a) for a in (0.1, 0.2, 0.3, 0.05)] == [9, 6, 5, np.inf]
    assert scores.conformal(nine, -0.02) == np.inf
    assert scores.conformal(nine, 1.0) == 0


def test_the_adaptive_level_by_hand():
    level, path = 0.1, []
    for outside in (0, 0, 1, 0, 1, 1, 0, 0, 0, 0):
        level = scores.adapt(level, 0.1, 0.05, outside)
        path.append(level)
    assert path == pytest.approx([0.105, 0.11, 0.065, 0.07, 0.025, -0.02, -0.015, -0.01, -0.005, 0], abs=1e-12)


def test_pinball_and_crps_of_five_quantiles():
    levels, quantiles = [0.1, 0.25, 0.5, 0.75, 0.9], [80, 90, 100, 112, 130]
    assert scores.pinball(95, quantiles, levels).mean() == pytest.approx(2.6, abs=1e-12)
    assert scores.crps(95, quantiles, levels) == pytest.approx(4.743333, abs=5.1e-7)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_crps_is_the_integral_of_the_squared_distance_of_two_laws(seed):
    """∫ (F(x) − 1{x >= y})² dx, by summing over a fine grid of levels: another form of the definition."""
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.choice(np.arange(1, 100), 5, replace=False)) / 100
    quantiles, y = np.sort(rng.normal(0, 2, 5)), rng.normal(0, 2)
    u = (np.arange(200_000) + 0.5) / 200_000
    q = np.interp(u, levels, quantiles)
    direct = np.mean(np.where(y > q, u * (y - q), (u - 1) * (y - q))) * 2
    assert scores.crps(y, quantiles, levels) == pytest.approx(direct, abs=2e-4)


def test_crps_of_many_is_that_of_each_and_of_one_level_the_absolute_error():
    """Shapes (3 days, 2 names): each alone; flat quantile functions and steps among them."""
    rng = np.random.default_rng(4)
    levels = [0.1, 0.3, 0.5, 0.95]
    quantiles = np.sort(np.round(rng.normal(0, 1, (3, 2, 4))), axis=-1)
    actual = np.round(rng.normal(0, 1, (3, 2)))
    together = scores.crps(actual, quantiles, levels)
    alone = [[scores.crps(actual[i, j], quantiles[i, j], levels) for j in range(2)] for i in range(3)]
    assert together == pytest.approx(np.array(alone), rel=1e-13)
    assert scores.crps(actual, quantiles[..., :1], [0.3]) == pytest.approx(
        np.abs(actual - quantiles[..., 0]), rel=1e-13
    )


def test_scores_bucket_by_bucket_are_medians():
    """Three names by hand: the ratio to naive is a name's own, its median not the ratio of medians."""

    def table(naive, ses, p, dm):
        rows = {"mase": [naive, ses], "p": [np.nan, p], "dm": [np.nan, dm], "fallback": ["", ""]}
        return pd.DataFrame(rows, index=pd.Index(["naive", "ses"], name="model"))

    tables = {
        "a": table(1.0, 0.5, 0.01, -3),
        "b": table(4.0, 3.0, 0.2, -1),
        "c": table(2.0, 2.4, 0.03, 2),
        "d": table(1.0, 1.0, 0.5, 0.1),
    }
    found = scores.by_bucket(tables, {"a": "GC", "b": "GC", "c": "GC", "d": "special"})
    assert list(found.index) == [("GC", "naive"), ("GC", "ses"), ("special", "naive"), ("special", "ses")]
    row = found.loc[("GC", "ses")]
    assert (row["names"], row["of_naive"], row["mase"]) == (3, 0.75, 2.4)
    assert row["better"] == pytest.approx(1 / 3) and found.loc[("special", "ses"), "better"] == 0
    assert (found["of_naive"].xs("naive", level="model") == 1).all()
    with pytest.raises(ValueError, match="buckets must have every name of tables"):
        scores.by_bucket(tables, {"a": "GC"})


def test_many_levels_of_a_normal_law_come_near_its_crps():
    """Exact (√2 − 1)/√π = .2336950 at the mean of N(0, 1); 99 levels i/100 and the midpoints, by the printed digits."""
    exact = (np.sqrt(2) - 1) / np.sqrt(np.pi)
    edges, middles = np.arange(1, 100) / 100, (np.arange(1, 100) - 0.5) / 99
    assert exact == pytest.approx(0.2336950, abs=5.1e-8)
    assert 2 * scores.pinball(0.0, stats.norm.ppf(edges), edges).mean() == pytest.approx(0.2359120, abs=5.1e-8)
    assert 2 * scores.pinball(0.0, stats.norm.ppf(middles), middles).mean() == pytest.approx(0.2337000, abs=5.1e-8)


@pytest.mark.parametrize(("season", "mase", "rmsse"), [(1, 0.6666667, 0.6236096), (4, 0.4102564, 0.4313311)])
def test_scaled_errors_of_a_flat_forecast(season, mase, rmsse):
    past, actual = [10, 12, 11, 14, 13, 15, 14, 18], [17, 19, 20]
    assert scores.mase(actual, 18, past, season) == pytest.approx(mase, abs=5.1e-8)
    assert scores.rmsse(actual, 18, past, season) == pytest.approx(rmsse, abs=5.1e-8)


def test_diebold_mariano_is_the_t_test_a_day_ahead_and_nan_where_the_variance_is_negative():
    d = [1, -2, 3, 0, 2, -1, 4, 1, 0, 2]
    assert scores.diebold_mariano(d) == pytest.approx(tuple(stats.ttest_1samp(d, 0)), rel=1e-12)
    assert scores.diebold_mariano(d) == pytest.approx((1.7320508, 0.1173068), abs=5.1e-8)
    assert scores.diebold_mariano(d, 3) == pytest.approx((2.6457513, 0.0266612), abs=5.1e-8)
    assert np.isnan(scores.diebold_mariano(d, 2)).all()
    assert np.isnan(scores.diebold_mariano([2.0] * 5)).all()


def test_bands_of_coverage():
    """Printed bands; and the beta-binomial one by summing the binomial over the law of the coverage."""
    assert scores.coverage_band(547, 5 / 6) == pytest.approx((0.8007, 0.8647), abs=5.1e-5)
    assert scores.coverage_band(269, 0.9) == pytest.approx((0.8625, 0.9331), abs=5.1e-5)
    assert scores.coverage_band(500, 0.9) == pytest.approx((0.872, 0.926), abs=1e-12)
    low, high = scores.coverage_band(500, 0.9, calibration=199)
    assert (low, high) == pytest.approx((0.846, 0.944), abs=1e-12)
    beta = stats.beta(180, 20)
    below = quad(lambda c: stats.binom.cdf(500 * low - 1, 500, c) * beta.pdf(c), 0.6, 1)[0]
    within = quad(lambda c: stats.binom.cdf(500 * low, 500, c) * beta.pdf(c), 0.6, 1)[0]
    assert below < 0.025 <= within
    assert scores.coverage_band(500, 0.95, calibration=9) == (1, 1)


def test_buckets():
    assert scores.adi_cv2([0, 0, 5, 0, 4, 6, 0, 0, 0, 3]) == pytest.approx((2.5, 0.06173), abs=5.1e-6)
    assert scores.bucket([0, 0, 5, 0, 4, 6, 0, 0, 0, 3]) == "intermittent"
    assert scores.bucket([5, 5, 6, 4]) == "smooth"
    assert scores.bucket([1, 1, 1, 20]) == "erratic"
    assert scores.bucket([0, 1, 0, 0, 1, 0, 30]) == "lumpy"
    assert scores.bucket([0, 0]) == "none"


@pytest.mark.parametrize(("ratio", "kind"), [(0.489, "smooth"), (0.491, "erratic")])
def test_sizes_part_at_a_squared_variation_of_49_hundredths(ratio, kind):
    """Sizes 1 ± r have mean 1 and variance r²; with a day without demand every third day, ADI is 1.5."""
    sizes = np.tile([1 + ratio**0.5, 1 - ratio**0.5], 50)
    assert scores.bucket(sizes) == kind
    sparse = np.insert(sizes, np.arange(0, 100, 2), 0.0)
    assert scores.bucket(sparse) == {"smooth": "intermittent", "erratic": "lumpy"}[kind]


@pytest.mark.parametrize(("demands", "kind"), [(76, "smooth"), (75, "intermittent")])
def test_demand_on_three_days_of_four_is_rare(demands, kind):
    """100/76 = 1.316 and 100/75 = 1.333 lie on either side of 1.32."""
    assert scores.bucket(np.append(np.ones(demands), np.zeros(100 - demands))) == kind


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: scores.scale([1, 1, 1]), "training must change"),
        (lambda: scores.scale([1, 2], season=2), "more than 2 values"),
        (lambda: scores.mase([1, 2], [1, 2, 3], [1, 2]), "forecast must have one value or 2"),
        (lambda: scores.pinball(1, [1], [1.0]), "levels"),
        (lambda: scores.pinball(1, [1], [0.0]), "levels"),
        (lambda: scores.crps(1, [2, 1], [0.1, 0.9]), "must not fall"),
        (lambda: scores.crps(1, [1, 2], [0.0, 0.9]), "must rise within"),
        (lambda: scores.crps(1, [1, 2], [0.1, 1.0]), "must rise within"),
        (lambda: scores.crps(1, [1, 2, 3], [0.1, 0.9]), "one for each quantile"),
        (lambda: scores.crps(1, [1, np.inf], [0.1, 0.9]), "quantiles"),
        (lambda: scores.crps(1, [1, 2], [0.9, 0.1]), "must rise"),
        (lambda: scores.diebold_mariano([1, 2], 3), "more than horizon=3"),
        (lambda: scores.diebold_mariano([1, np.nan]), "differences"),
        (lambda: scores.coverage_band(0, 0.5), "n must be"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
