"""What small changes of the models would break: spreads over several days, least lengths, choices by AIC."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingRegressor

from mmlib.stock_loan import forecasting, trading_days
from mmlib.stock_loan._forecast_models import smoothing

Z = 1.2815515655446004  # normal quantile of .9


def series(values, start="2024-01-02", freq="B"):
    return pd.Series(np.asarray(values, float), pd.date_range(start, periods=len(values), freq=freq))


@pytest.fixture(scope="module")
def y():
    rng, x = np.random.default_rng(12), np.zeros(90)
    for t in range(1, 90):
        x[t] = 0.7 * x[t - 1] + rng.standard_normal()
    return 50 + 3 * x


def both(model, y, horizon, **options):
    """Points and standard deviations of a normal law."""
    found = forecasting.fit(model, series(y), **options).quantiles(horizon, [0.5, 0.9])
    return found[:, 0], (found[:, 1] - found[:, 0]) / Z


def test_the_spread_of_a_walk_grows_with_the_root_of_the_days(y):
    point, sd = both("naive", y, 4)
    assert point == pytest.approx(np.full(4, y[-1]))
    assert sd == pytest.approx(np.sqrt(np.mean(np.diff(y) ** 2)) * np.sqrt([1, 2, 3, 4]))


def test_a_week_repeats_itself_and_its_spread_grows_week_by_week(y):
    point, sd = both("seasonal_naive", y, 12)
    week = y[-5:]
    assert point == pytest.approx([*week, *week, *week[:2]])
    rms = np.sqrt(np.mean([(y[t] - y[t - 5]) ** 2 for t in range(5, 90)]))
    assert sd == pytest.approx(rms * np.sqrt([1] * 5 + [2] * 5 + [3] * 2))


def test_a_moving_mean_of_three(y):
    point, sd = both("moving_average", y, 2, window=3)
    errors = [y[t] - (y[t - 1] + y[t - 2] + y[t - 3]) / 3 for t in range(3, 90)]
    assert point == pytest.approx(np.full(2, sum(y[-3:]) / 3))
    assert sd == pytest.approx(np.full(2, np.sqrt(np.mean(np.square(errors)))))


@pytest.mark.parametrize("model", ["rolling_quantile", "ewma_quantile"])
def test_changes_over_several_days_have_quantiles_of_their_own(model, y):
    """Days one to three: linear quantiles of the last 40 changes over as many days, scaled or not."""
    found = forecasting.fit(model, series(y), window=40).quantiles(3, [0.1, 0.8])
    for h in (1, 2, 3):
        changes = [y[t] - y[t - h] for t in range(h, 90)]
        square, z = np.mean(np.square(changes[:20])) - np.mean(changes[:20]) ** 2, []
        for change in changes:
            z.append(change / np.sqrt(square) if model == "ewma_quantile" else change)
            square = 0.94 * square + 0.06 * change**2
        scale = np.sqrt(square) if model == "ewma_quantile" else 1.0
        assert found[h - 1] == pytest.approx(y[-1] + scale * np.quantile(z[-40:], [0.1, 0.8]), rel=1e-12)


@pytest.mark.parametrize(
    ("model", "least", "options"),
    [
        ("naive", 2, {}), ("seasonal_naive", 6, {}), ("seasonal_naive", 4, {"season": 3}), ("moving_average", 6, {}),
        ("rolling_quantile", 121, {}), ("rolling_quantile", 3, {"window": 2}), ("ewma_quantile", 121, {}),
        ("ewma_quantile", 21, {"window": 2}), ("ewma_quantile", 3, {"window": 2, "variance": 1.0}), ("ses", 3, {}),
        ("theta", 3, {}), ("ets", 10, {}), ("ar", 14, {}), ("ar", 8, {"lags": 2}), ("ar", 14, {"lags": "aic"}),
        ("ar", 22, {"regressors": ["weekday"]}), ("arima", 16, {"order": (1, 1, 0)}), ("croston", 2, {}),
        ("prophet", 20, {}), ("boosting", 56, {}), ("boosting", 53, {"lags": 2}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_the_least_history_of_a_model(model, least, options):
    """One value less is refused with the number that it takes; so many give finite quantiles."""
    rng = np.random.default_rng(0)
    values = rng.uniform(5, 9, least)
    assert np.isfinite(forecasting.fit(model, series(values), **options).quantiles(1, [0.5, 0.9])).all()
    with pytest.raises(ValueError, match=f"history must have at least {least} values for '{model}'"):
        forecasting.fit(model, series(values[:-1]), **options)


def test_theta_keeps_its_errors_less_the_drift(y):
    """One-step forecasts of the formula at every day, α .4, b of the whole sample; the spread is their rms."""
    alpha, n = 0.4, len(y)
    b = np.polyfit(np.arange(n), y, 1)[0]
    level, errors = y[0], []
    for t in range(1, n):
        errors.append(y[t] - level - 0.5 * b * (1 - (1 - alpha) ** t) / alpha)
        level += alpha * (y[t] - level)
    point, sd = both("theta", y, 3, alpha=alpha)
    assert point == pytest.approx([level + 0.5 * b * (h - 1 + (1 - (1 - alpha) ** n) / alpha) for h in (1, 2, 3)])
    rms = np.sqrt(np.mean(np.square(errors)))
    assert sd == pytest.approx(rms * np.sqrt([1, 1 + alpha**2, 1 + 2 * alpha**2]))


@pytest.mark.filterwarnings("ignore")
def test_a_damped_trend_is_carried_on_as_statsmodels_does(y):
    """statsmodels' state space with our parameters: three days ahead and their variances, walked by its own code."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    trending = y + np.linspace(0, 60, 90)
    fit = smoothing.estimate(trending, "AAdN")
    _, level, slope = smoothing.kernel.trend_start(trending, fit["alpha"], fit["beta"], fit["phi"])
    theirs = ETSModel(series(trending), trend="add", damped_trend=True).smooth(
        [fit["alpha"], fit["beta"], fit["phi"], level, slope]
    )
    assert fit["sse"] == pytest.approx(theirs.sse, rel=1e-9)
    point, sd = both("ets", trending, 3, form="AAdN")
    assert point == pytest.approx(np.asarray(theirs.forecast(3)), rel=1e-9)
    found = np.asarray(theirs.get_prediction(90, 92).forecast_variance)
    assert sd == pytest.approx(np.sqrt(found), rel=1e-8)


@pytest.mark.filterwarnings("ignore")
def test_the_form_of_ets_is_the_one_with_the_lower_aic():
    """n ln(SSE/n) + 2k with k = 3 (α, ℓ, σ) and 6 (β, φ, b too), at SSEs that are near each other: both forms win."""
    rng, chosen = np.random.default_rng(6), set()
    for trend in np.linspace(0, 0.35, 12):
        values = 100 + np.cumsum(rng.standard_normal(60)) + trend * np.arange(60)
        fits = {form: smoothing.estimate(values, form)["sse"] for form in ("ANN", "AAdN")}
        aic = {form: 60 * np.log(fits[form] / 60) + 2 * k for form, k in (("ANN", 3), ("AAdN", 6))}
        best = min(aic, key=aic.get)
        chosen.add(best)
        free, named = (forecasting.fit("ets", series(values), **o).quantiles(2, [0.7]) for o in ({}, {"form": best}))
        assert (free == named).all()
    assert chosen == {"ANN", "AAdN"}
    with pytest.raises(ValueError, match="form must be one of 'ANN'"):
        forecasting.fit("ets", series(values), form="AAA")


def test_croston_without_options_smooths_by_a_tenth_and_its_quantiles_are_normal():
    a = [0, 0, 5, 0, 4, 6, 0, 0, 0, 3]
    found = forecasting.fit("croston", series(a)).quantiles(2, [0.05, 0.5, 0.9])
    size, interval, since, forecasts = 5.0, 3.0, 0, [None, None, None]
    for value in a[3:]:
        forecasts.append(size / interval)
        since += 1
        if value:
            size, interval, since = size + 0.1 * (value - size), interval + 0.1 * (since - interval), 0
    sd = np.sqrt(np.mean([(v - f) ** 2 for v, f in zip(a[3:], forecasts[3:], strict=True)]))
    expected = size / interval + sd * np.array([-1.6448536269514722, 0, Z])
    assert found == pytest.approx(np.tile(np.maximum(expected, 0), (2, 1)), rel=1e-9)
    assert found[0, 0] == 0
    for bad in ({"alpha": 0.0}, {"alpha": 1.1}, {"beta": -0.5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            forecasting.fit("croston", series(a), **bad)


def test_a_hole_is_more_than_five_days_and_more_than_three_usual_steps():
    days = pd.bdate_range("2024-01-01", periods=40)
    values = pd.Series(np.arange(40.0), days)
    for start, refused in ((days[20], False), (days[19] + pd.Timedelta(days=6), True)):
        rest = pd.Series(np.arange(10.0), pd.bdate_range(start, periods=10))
        joined = pd.concat([values.iloc[:20], rest])
        if refused:
            with pytest.raises(ValueError, match="no gaps; got"):
                forecasting.fit("naive", joined)
        else:
            forecasting.fit("naive", joined)
    five = pd.Series(np.arange(4.0), pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-08", "2024-01-09"]))
    forecasting.fit("naive", five)
    weeks = pd.date_range("2023-01-06", periods=30, freq="7D")
    forecasting.fit("naive", pd.Series(1.0 + np.arange(28), weeks.delete([10, 11])))  # 21 days: three usual steps
    with pytest.raises(ValueError, match="no gaps; got 28 days without a value after 2023-03-10"):
        forecasting.fit("naive", pd.Series(1.0 + np.arange(27), weeks.delete([10, 11, 12])))


def test_a_zero_has_no_logarithm_and_a_date_no_substitute():
    zero = series([1.0, 0.0, 2.0])
    forecasting.fit("naive", zero)
    forecasting.fit("naive", zero, transform="log1p")
    with pytest.raises(ValueError, match="must be > 0 for a transform by log; got 0 on 2024-01-03"):
        forecasting.fit("naive", zero, transform="log")
    with pytest.raises(ValueError, match="a date in every row; got NaT in row 1"):
        forecasting.fit("naive", pd.Series([1.0, 2.0], pd.DatetimeIndex(["2024-01-02", None])))


def test_as_many_errors_as_the_calibration_takes_are_enough(y):
    fitted = forecasting.fit("naive", series(y[:31]), interval="residual", calibration=30)
    errors = np.diff(y[:31])
    assert fitted.quantiles(1, [0.25])[0, 0] == pytest.approx(y[30] + np.quantile(errors, 0.25))
    with pytest.raises(ValueError, match="history must leave 30 one-step errors"):
        forecasting.fit("naive", series(y[:30]), interval="residual", calibration=30).quantiles(1, [0.25])


def test_trees_learn_the_change_of_each_day_ahead_from_lags_and_weekday(y):
    """scikit-learn called directly on rows put together one by one, two days ahead."""
    history = series(y)
    dates, lags = history.index.append(trading_days.after(history.index[-1], 2)), 3
    found = forecasting.fit("boosting", history, lags=lags, trees=8).quantiles(2, [0.2, 0.7])

    def row(t, h):  # what is known at the end of day t, of day t + h
        return [y[t - 2] - y[t - 3], y[t - 1] - y[t - 2], y[t] - y[t - 1]] + [
            float(dates[t + h].day_of_week == d) for d in (1, 2, 3, 4)
        ]

    for h in (1, 2):
        known = range(lags, len(y) - h)
        expected = [
            y[-1]
            + GradientBoostingRegressor(loss="quantile", alpha=level, n_estimators=8, max_depth=3, random_state=0)
            .fit([row(t, h) for t in known], [y[t + h] - y[t] for t in known])
            .predict([row(len(y) - 1, h)])[0]
            for level in (0.2, 0.7)
        ]
        assert found[h - 1] == pytest.approx(sorted(expected), rel=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_residuals_of_arima_leave_the_start_values_out(y):
    """The first d + sD are differences from nothing: 120 conformal scores of a level of 50 would show them."""
    for options, start in (({"order": (0, 1, 0)}, 1), ({"order": (0, 0, 0), "seasonal_order": (0, 1, 0, 5)}, 5)):
        model = forecasting.fit("arima", series(y), **options, interval="conformal", calibration=90 - start)
        low, high = model.quantiles(1, [0.005, 0.995])[0]
        lag = max(start, 1)
        changes = np.abs(y[lag:] - y[:-lag])
        assert high - low == np.inf or (high - low) / 2 == pytest.approx(changes.max(), rel=1e-6)
        half = np.diff(model.quantiles(1, [0.1, 0.9])[0])[0] / 2
        assert half == pytest.approx(np.sort(changes)[int(np.ceil((len(changes) + 1) * 0.8)) - 1], rel=1e-6)
