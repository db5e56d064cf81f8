"""Forecasts of demand: models behind one small interface, and their judgement at rolling origins.

    model = forecasting.fit("ses", history, transform="log")       # history: a Series with a DatetimeIndex
    model.quantiles(2, [0.05, 0.5, 0.95])                          # array (2 days, 3 levels)
    model.update(1.2e6)                                            # one more day is known
    forecasting.evaluate(history, ["naive", "ses", "ar"], first=400, levels=[0.05, 0.5, 0.95], transform="log")

A model is one of `MODELS` or a function of yours, ``f(history, **options)``, that returns an object with
``quantiles(horizon, levels)`` and, if it can, ``update(value, date)``. Rules (naive, means, quantiles of past changes)
have nothing to estimate; smoothing, autoregression and the intermittent-demand methods are estimated again with every
day, since it costs less than a millisecond; ARIMA, the boosted trees and the LSTM keep their parameters and move on;
Prophet has no state to move and is fitted again.

**Intervals** are the model's own unless `interval` says otherwise: "residual" takes quantiles of its last `calibration`
one-step errors, "conformal" the k-th smallest of their sizes, k = ⌈(n+1)(1−α)⌉ (Vovk, Gammerman & Shafer 2005), and
"adaptive" that with α moved by γ (α* − error) after every day (Gibbs & Candès 2021).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mmlib import checks
from mmlib.stock_loan import forecast_scores, lstm, trading_days
from mmlib.stock_loan._forecast_models import intermittent, libraries, regression, rules, smoothing
from mmlib.stock_loan._forecast_models.history import checked
from mmlib.stock_loan._forecast_models.intervals import INTERVALS, Interval
from mmlib.stock_loan._forecast_models.law import Law

#: What `model` may be, by name; its options are the keyword arguments of the function.
MODELS: dict[str, Callable] = {
    "naive": rules.naive,
    "seasonal_naive": rules.seasonal_naive,
    "moving_average": rules.moving_average,
    "rolling_quantile": rules.rolling_quantile,
    "ewma_quantile": rules.ewma_quantile,
    "ses": smoothing.ses,
    "theta": smoothing.theta,
    "ets": smoothing.ets,
    "ar": regression.ar,
    "arima": regression.arima,
    "sarima": partial(regression.arima, seasonal_order=(1, 0, 0, 5)),
    "croston": intermittent.croston,
    "sba": intermittent.sba,
    "tsb": intermittent.tsb,
    "boosting": libraries.boosting,
    "prophet": libraries.prophet,
    "lstm": lstm.model,
}
#: Models of sizes and intervals, which work in the demand's own unit whatever the transform.
IN_UNITS = ("croston", "sba", "tsb")
#: Members of the model "median".
MEMBERS = ("naive", "moving_average", "ses", "theta", "ar")
#: A transform and its inverse.
TRANSFORMS: dict[str | None, tuple[Callable, Callable]] = {
    None: (np.asarray, np.asarray),
    "log": (np.log, np.exp),
    "log1p": (np.log1p, np.expm1),
}


def _median(y, calendar, horizon, kept, *, members=MEMBERS):
    """The median of the members' points, and of their quantiles level by level."""
    laws = [MODELS[checks.choice("members", name, tuple(MODELS))](y, calendar, horizon, None) for name in members]
    last = min(len(law.residuals) for law in laws)
    return Law(
        np.median([law.point for law in laws], axis=0),
        np.median([law.residuals[-last:] for law in laws], axis=0),
        at=lambda levels: np.median([law.quantiles(levels) for law in laws], axis=0),
    )


MODELS["median"] = _median


class _Calendar:
    """The dates known so far, and the trading days after them."""

    def __init__(self, dates: pd.DatetimeIndex):
        self.known = list(dates)

    def dates(self, horizon: int) -> pd.DatetimeIndex:
        return pd.DatetimeIndex([*self.known, *self.ahead(horizon)])

    def ahead(self, horizon: int) -> pd.DatetimeIndex:
        """The next days: at the usual distance where that is more than a day or a weekend, else trading days."""
        last = self.known[-1]
        step = pd.Series(self.known[-12:]).diff().median() if len(self.known) > 2 else pd.Timedelta(days=1)
        if step > pd.Timedelta(days=3):
            return pd.DatetimeIndex([last + step * (i + 1) for i in range(horizon)])
        return trading_days.after(last, horizon)


class Fitted:
    """A model and the history it knows.

    Attributes
    ----------
    name : str
        The model's name.
    fallback : str or None
        What stood in, by name: "constant" where the history is one value, which is then the forecast whatever the
        model, with no spread; "variance of all changes" where the first 20 have none ("ewma_quantile").
    """

    def __init__(self, name: str, history: pd.Series, transform: str | None, interval: Interval, options: dict):
        self.name, self._options, self._interval = name, options, interval
        self._forward, self._back = TRANSFORMS[transform]
        self._transform, self._calendar = transform, _Calendar(pd.DatetimeIndex(history.index))
        self._values = self._forward(history.to_numpy(float))
        self._kept: Any = None
        self._laws: dict[int, Law] = {}
        self.fallback: str | None = None
        self._law(1)

    def quantiles(self, horizon: int, levels: Sequence[float]) -> np.ndarray:
        """Quantiles of the next days, given what is known.

        Parameters
        ----------
        horizon : int
            Days ahead, ≥ 1.
        levels : sequence of float, shape (n,)
            In (0, 1).

        Returns
        -------
        ndarray, shape (horizon, n)
            In the history's unit. A quantile of the transformed value, transformed back: the ½-quantile is a median.
        """
        horizon, asked = checks.integer("horizon", horizon, least=1, meaning="days"), _levels(levels)
        return self._back(self._interval.quantiles(self._law(horizon), asked))

    def update(self, value: float, date=None) -> None:
        """One more day: its value and its date, by default the next trading day."""
        value = checks.nonnegative("value", value, "demand")
        if self._transform == "log":
            checks.positive("value", value, "for a transform by log")
        day = self._calendar.ahead(1)[0] if date is None else pd.Timestamp(date)
        if day <= self._calendar.known[-1]:
            raise ValueError(f"date must be after {self._calendar.known[-1]:%Y-%m-%d}; got {day:%Y-%m-%d}")
        new = self._forward(np.array([value]))
        self._interval.learn(self._law(1), float(new[0]))
        self._values, self._laws = np.append(self._values, new), {}
        self._calendar.known.append(day)

    def _law(self, horizon: int) -> Law:
        if horizon not in self._laws:
            y = self._values
            if np.ptp(y) == 0 and len(y) > 1:
                law = Law(np.full(horizon, y[-1]), np.zeros(len(y) - 1), np.zeros(horizon), fallback="constant")
            else:
                law = MODELS[self.name](y, self._calendar, horizon, self._kept, **self._options)
                self._kept = law.kept
            self.fallback = law.fallback
            self._laws[horizon] = law
        return self._laws[horizon]


def fit(model: str | Callable, history: pd.Series, **options) -> Any:
    """A model fitted to a history.

    Parameters
    ----------
    model : str or callable
        One of `MODELS`, or a function ``f(history, **options)`` with a result that has ``quantiles``.
    history : Series, shape (n,)
        Demand by day, ≥ 0, on a DatetimeIndex that rises, without gaps.
    **options
        Of the model; and for every named one `transform` (None, "log", "log1p"), `interval` ("model", "residual",
        "conformal", "adaptive"), `calibration` (number of errors, 120) and `gamma` (step of "adaptive", 0.01).

    Returns
    -------
    Fitted
        With ``quantiles(horizon, levels)`` and ``update(value, date=None)``; or what the function returned.

    Raises
    ------
    ValueError
        Naming what is wrong with the history, the model or an option.
    ImportError
        Saying what to install, where the model needs an extra.
    """
    if callable(model):
        return model(checked(history, None), **options)
    checks.choice("model", model, tuple(MODELS))
    transform = options.pop("transform", None)
    if transform is not None:
        checks.choice("transform", transform, ("log", "log1p"))
    interval = Interval(*(options.pop(name, default) for name, default in INTERVALS.items()))
    known = _names(MODELS[model])
    for option in options:
        if known is not None and option not in known:
            choices = ", ".join([*known, "transform", *INTERVALS])
            raise ValueError(f"options of {model!r} must be among {choices}; got {option!r}")
    scale = None if model in IN_UNITS else transform
    return Fitted(model, checked(history, transform), scale, interval, options)


def roll(
    model: str | Callable,
    history: pd.Series,
    *,
    horizon: int = 1,
    first: int,
    levels: Sequence[float],
    lag: int = 0,
    transform: str | None = None,
    **options,
) -> np.ndarray:
    """Quantiles at every origin i = first, first + 1, …: from the i values known, of the `horizon` days after the lag.

    Returns
    -------
    ndarray, shape (origins, horizon, levels)
        Of origin i and step h = 0, 1, …: the quantiles of ``history.iloc[i + lag + h]``.
    """
    return _rolled(model, history, horizon, first, levels, lag, transform, options)[0]


def _rolled(model, history, horizon, first, levels, lag, transform, options) -> tuple[np.ndarray, str]:
    """What `roll` gives, and the fallbacks with the number of their origins, as text."""
    if transform is not None:
        checks.choice("transform", transform, ("log", "log1p"))
    history, asked = checked(history, transform), _levels(levels)
    horizon, lag = checks.integer("horizon", horizon, least=1), checks.integer("lag", lag, least=0, meaning="days")
    first = checks.integer("first", first, least=1, meaning="values known at the first origin")
    count = len(history) - lag - horizon + 1 - first
    if count < 1:
        raise ValueError(f"history must reach {lag + horizon} days beyond first={first}; got {len(history)} values")
    if callable(model):
        forward, back = TRANSFORMS[transform]
        history = pd.Series(forward(history.to_numpy(float)), history.index, name=history.name)
        fitted = model(history.iloc[:first], **options)
    else:
        back = np.asarray
        fitted = fit(model, history.iloc[:first], transform=transform, **options)
    found, fallbacks = np.empty((count, horizon, len(asked))), Counter[str]()
    for i in range(count):
        if i and hasattr(fitted, "update"):
            fitted.update(history.iloc[first + i - 1], history.index[first + i - 1])
        elif i:
            fitted = model(history.iloc[: first + i], **options)  # type: ignore[operator]
        ahead = np.asarray(fitted.quantiles(lag + horizon, asked), float)
        if ahead.shape != (lag + horizon, len(asked)):
            raise ValueError(f"quantiles must have shape {(lag + horizon, len(asked))}; got {ahead.shape}")
        found[i] = back(ahead[lag:])
        fallbacks.update(filter(None, [getattr(fitted, "fallback", None)]))
    return found, "; ".join(f"{name} ({times} of {count})" for name, times in fallbacks.items())


def evaluate(
    history: pd.Series,
    models: Sequence | Mapping,
    *,
    horizon: int = 1,
    first: int,
    levels: Sequence[float],
    lag: int = 0,
    transform: str | None = None,
    options: Mapping[str, Mapping] | None = None,
) -> pd.DataFrame:
    """Scores of models at rolling origins, a row a model.

    Parameters
    ----------
    history : Series
        As in `fit`.
    models : sequence of str or callable, or mapping of label to one
        A function's label is its name.
    horizon, lag : int
        Days forecast at an origin; days by which values are known late.
    first : int
        Values known at the first origin; they scale the errors. With a lag of 0 the first day scored is
        ``history.iloc[first]``, with a lag of 1 the one after it.
    levels : sequence of float
        Quantiles asked for; coverage and width are of the outermost two. The point is the ½-quantile.
    transform : None, "log" or "log1p"
        Scale in which the models work; scores are in the history's unit.
    options : mapping
        Options by label.

    Returns
    -------
    DataFrame
        `mase`, `rmsse` (season 1), `pinball` (mean over levels, over the scale of mase), `coverage` (share inside or on
        the outermost quantiles), `width` (over the same scale), `dm` and `p`: Diebold–Mariano with Harvey's correction
        of absolute errors against naive (below 0: better; with a horizon the mean over its days); NaN for naive, and
        where there are not more origins than days from origin to target; `crps` (`forecast_scores.crps` over the scale
        of mase; NaN where quantiles cross or are infinite); `fallback`: what stood in, by name, and at how many of the
        origins, "" for nothing.
    """
    named = dict(models) if isinstance(models, Mapping) else {_label(model): model for model in models}
    unknown = set(options or {}) - set(named)
    if unknown:
        raise ValueError(f"options must be for one of {', '.join(map(repr, named))}; got {sorted(unknown)[0]!r}")
    probabilities = _levels(levels)
    asked = np.append(probabilities, 0.5)
    arguments = (horizon, first, asked, lag, transform)
    against = _rolled("naive", history, *arguments, {})
    values = history.to_numpy(float)
    target = np.lib.stride_tricks.sliding_window_view(values[first + lag :], horizon)
    reference = np.abs(target - against[0][:, :, -1]).mean(1)
    training = values[:first]
    scale, square = forecast_scores.scale(training), forecast_scores.scale(training, power=2)
    rising, order = np.unique(probabilities, return_index=True)
    rows = {}
    for label, model in named.items():
        own = dict((options or {}).get(label, {}))
        found, fallback = against if model == "naive" and not own else _rolled(model, history, *arguments, own)
        quantiles, error = found[:, :, :-1], target - found[:, :, -1]
        low, high = quantiles[:, :, probabilities.argmin()], quantiles[:, :, probabilities.argmax()]
        dm, p = np.nan, np.nan
        if model != "naive" and len(target) > lag + horizon:
            dm, p = forecast_scores.diebold_mariano(np.abs(error).mean(1) - reference, lag + horizon)
        rows[label] = {
            "mase": np.abs(error).mean() / scale,
            "rmsse": np.sqrt(np.square(error).mean() / square),
            "pinball": forecast_scores.pinball(target, quantiles, probabilities).mean() / scale,
            "coverage": ((low <= target) & (target <= high)).mean(),
            "width": (high - low).mean() / scale,
            "dm": dm,
            "p": p,
            "crps": _crps(target, quantiles[:, :, order], rising) / scale,
            "fallback": fallback,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _crps(target, quantiles, levels) -> float:
    if not np.isfinite(quantiles).all() or (np.diff(quantiles) < 0).any():
        return np.nan
    return forecast_scores.crps(target, quantiles, levels).mean()


def _label(model) -> str:
    return model if isinstance(model, str) else getattr(model, "__name__", type(model).__name__)


def _levels(levels) -> np.ndarray:
    found = np.atleast_1d(checks.in_interval("levels", levels, 0, 1, open=True, meaning="of quantiles", array=True))
    if found.ndim != 1 or not len(found):
        raise ValueError(f"levels must be a list of at least one level; got shape {found.shape}")
    return found


def _names(function) -> list[str] | None:
    """Names of the options of a model; None if it takes any."""
    from inspect import Parameter, signature

    parameters = signature(function).parameters.values()
    if any(each.kind is Parameter.VAR_KEYWORD for each in parameters):
        return None
    return [each.name for each in parameters if each.kind is Parameter.KEYWORD_ONLY]
