"""Regressions on the past: autoregression, ARIMA (statsmodels), boosted trees by quantile (scikit-learn)."""

import warnings
from itertools import product

import numpy as np

from mmlib import checks, optional
from mmlib.stock_loan import trading_days
from mmlib.stock_loan._forecast_models.law import Law, need, rms

#: Orders of ARIMA(p, 1, q) that are tried.
ORDERS = tuple((p, 1, q) for p, q in product(range(3), repeat=2))


def ar(y, calendar, horizon, kept, *, lags=5, regressors=(), record_dates=()):
    """Autoregression by least squares with a constant and, if named, `trading_days.regressors`.

    `lags` is a number or "aic": the lowest AIC of 0 to 5 lags, all on the days after the fifth.
    """
    names = tuple(regressors)
    if isinstance(lags, str):
        checks.choice("lags", lags, ("aic",))
        most = 5
    else:
        most = lags = checks.integer("lags", lags, least=0, most=60)
    extra = np.hstack([np.ones((len(y) + horizon, 1)), _known(y, calendar, horizon, names, record_dates)])
    need("ar", y, 2 * (most + extra.shape[1]) + 2, f"{most} lags")
    if lags == "aic":
        lags = min(range(most + 1), key=lambda p: _aic(y, extra, p, most))
    coefficients, residuals = _regress(y, extra, lags, lags)
    phi, rest = coefficients[:lags], extra[len(y) :] @ coefficients[lags:]
    path = list(y[len(y) - lags :]) if lags else []
    for step in range(horizon):
        path.append(float(phi @ path[: -lags - 1 : -1] + rest[step]) if lags else float(rest[step]))
    psi = np.zeros(horizon)
    psi[0] = 1
    for j in range(1, horizon):
        psi[j] = phi[: min(j, lags)] @ psi[j - 1 :: -1][: min(j, lags)]
    return Law(np.array(path[lags:]), residuals, rms(residuals) * np.sqrt(np.cumsum(psi**2)))


def _known(y, calendar, horizon, names, record_dates):
    """Columns of `trading_days.regressors`, rows of the history's days and the `horizon` after them."""
    if not names:
        return np.empty((len(y) + horizon, 0))
    return trading_days.regressors(calendar.dates(horizon), names, record_dates)


def _regress(y, extra, lags, skip):
    """Coefficients (lags first) and residuals of y_t on its `lags` predecessors and `extra`, t > `skip`."""
    n = len(y)
    columns = [y[skip - j : n - j, None] for j in range(1, lags + 1)] + [extra[skip:n]]
    design = np.hstack(columns)
    coefficients = np.linalg.lstsq(design, y[skip:], rcond=None)[0]
    return coefficients, y[skip:] - design @ coefficients


def _aic(y, extra, lags, skip):
    residuals = _regress(y, extra, lags, skip)[1]
    n = len(residuals)
    return n * np.log(max(float(residuals @ residuals), 1e-300) / n) + 2 * (lags + extra.shape[1])


def arima(
    y, calendar, horizon, kept, *, order=None, seasonal_order=(0, 0, 0, 0), trend="n", orders=ORDERS, regressors=(),
    record_dates=(),
):  # fmt: skip
    """ARIMA of statsmodels: the order with the lowest AIC of `orders` unless given; then only the state moves.

    Order and parameters are those of the first fit; mean and standard error are the library's. With `regressors`, as
    of `trading_days.regressors`, what ARIMA describes are the errors of a regression on them.
    """
    api = optional.load("statsmodels.tsa.arima.model", "forecast", "ARIMA forecasts")
    names, n = tuple(regressors), len(y)
    extra = _known(y, calendar, horizon, names, record_dates)
    before, after = (extra[:n], extra[n:]) if names else (None, None)

    def model(order, trend):
        return api.ARIMA(y, exog=before, order=order, seasonal_order=seasonal_order, trend=trend)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an iteration limit is seen in the AIC that results
        if kept is None:
            for name in names:
                if not _known(y, calendar, 0, (name,), record_dates).any(axis=0).all():
                    raise ValueError(f"regressors must have days in the history to learn from; {name!r} has none")
            candidates = [tuple(order)] if order is not None else [tuple(each) for each in orders]
            least = 3 * max(sum(each) for each in candidates) + sum(seasonal_order[:3]) * 2 + 2 * extra.shape[1] + 10
            need("arima", y, least)
            fits = [model(each, trend if not each[1] or trend != "c" else "n").fit() for each in candidates]
            best = min(fits, key=lambda fit: fit.aic)
            kept = (best.model.order, best.params)
        order, parameters = kept
        results = model(order, trend).filter(parameters, cov_type="none")
        ahead = results.get_forecast(horizon, exog=after)
        point, sd = np.asarray(ahead.predicted_mean), np.asarray(ahead.se_mean)
    start = order[1] + seasonal_order[1] * seasonal_order[3]
    return Law(point, results.resid[start:], sd, kept=kept)
