"""Models fitted by libraries that answer in quantiles: Prophet, and boosted trees on lags."""

import logging
import warnings

import numpy as np
import pandas as pd

from mmlib import checks, optional
from mmlib.stock_loan import trading_days
from mmlib.stock_loan._forecast_models.law import Law, need


def prophet(y, calendar, horizon, kept, *, seed=0, samples=1000, **settings):
    """Prophet with a weekly season only, fitted by Newton, which gives the same digits on every processor.

    `settings` go to `prophet.Prophet`. Quantiles are those of `samples` draws of its predictive law; its draws come
    from numpy's global generator, which is seeded with `seed` and put back. A new day means a new fit.
    """
    logging.getLogger("prophet.plot").disabled = True  # it would say that plotly is missing
    library = optional.load("prophet", "forecast", "Prophet's forecasts")
    logging.getLogger("cmdstanpy").disabled = True
    need("prophet", y, 20)
    settings = {"weekly_seasonality": True, "yearly_seasonality": False, "daily_seasonality": False} | settings
    model = library.Prophet(uncertainty_samples=checks.integer("samples", samples, least=1), **settings)
    dates = calendar.dates(horizon)
    future, before = pd.DataFrame({"ds": dates}), np.random.get_state()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own use of pandas
        try:
            np.random.seed(seed)  # noqa: NPY002
            model.fit(pd.DataFrame({"ds": dates[: len(y)], "y": y}), algorithm="Newton")
            point = model.predict(future, vectorized=True)["yhat"].to_numpy()
            np.random.seed(seed)  # noqa: NPY002
            draws = model.predictive_samples(future.iloc[len(y) :], vectorized=True)["yhat"]
        finally:
            np.random.set_state(before)  # noqa: NPY002
    return Law(point[len(y) :], y - point[: len(y)], at=lambda levels: np.quantile(draws, levels, axis=1).T)


def boosting(y, calendar, horizon, kept, *, lags=5, trees=100, seed=0):
    """Boosted trees of scikit-learn, one for each level and day ahead, on the last `lags` changes and the weekday.

    What is learned is the change from the last value; the trees of the first fit are kept.
    """
    ensemble = optional.load("sklearn.ensemble", "forecast", "Boosted forecasts")
    lags = checks.integer("lags", lags, least=1, most=60)
    need("boosting", y, lags + horizon + 50, f"{lags} lags and 50 rows to learn from")
    dates, kept = calendar.dates(horizon), {} if kept is None else kept
    n, changes = len(y), np.diff(y)
    past = np.lib.stride_tricks.sliding_window_view(changes, lags)  # row r: known at time lags + r

    def features(rows, h):
        weekday = trading_days.regressors(dates[lags + rows + h], ("weekday",))
        return np.hstack([past[rows], weekday])

    def model(h, level):
        if (h, level) not in kept:
            rows = np.arange(n - lags - h)
            target = y[lags + rows + h] - y[lags + rows]
            learner = ensemble.GradientBoostingRegressor(
                loss="quantile", alpha=level, n_estimators=trees, max_depth=3, learning_rate=0.1, random_state=seed
            )
            kept[h, level] = learner.fit(features(rows, h), target)
        return kept[h, level]

    def at(levels):
        now = [features(np.array([n - 1 - lags]), h) for h in range(1, horizon + 1)]
        found = [[model(h + 1, float(p)).predict(x)[0] for p in levels] for h, x in enumerate(now)]
        return y[-1] + np.sort(found, axis=1)[:, np.argsort(np.argsort(levels))]

    rows = np.arange(n - lags - 1)
    middle = model(1, 0.5).predict(features(rows, 1))
    residuals = y[lags + rows + 1] - y[lags + rows] - middle
    return Law(at(np.array([0.5]))[:, 0], residuals, at=at, kept=kept)
