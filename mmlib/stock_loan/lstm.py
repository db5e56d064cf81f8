"""A quantile LSTM, one for all names: what every name's last days say of its next day.

    network = lstm.train([history_1, history_2, …], seed=0)              # needs the extra "deep" (torch)
    forecasting.evaluate(history, {"lstm": network.forecaster}, first=500, levels=[0.05, 0.5, 0.95], transform="log1p")

A window of `window` values, less its mean and over its standard deviation, and the weekday of the next day go through
one LSTM layer and a linear one to seven quantiles, the first and steps that cannot be negative, so that they never
cross. Trained by Adam on the mean pinball loss. Levels between the seven are interpolated; beyond them the outermost
slope is continued in normal quantiles. Days further ahead are forecast with the medians of the days before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from mmlib import checks, optional
from mmlib.stock_loan._forecast_models.law import Law, need

#: Levels that are learned.
LEVELS = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network: its weights by name, as arrays, and the length of its windows."""

    weights: dict[str, np.ndarray]
    window: int

    def quantiles(self, values: np.ndarray, weekday: int, levels: np.ndarray) -> np.ndarray:
        """Quantiles of the next value, shape (n,), from `values` (at least a window) and its weekday."""
        window = np.asarray(values[-self.window :], float)
        mean, sd = window.mean(), window.std() or 1.0
        steps = np.concatenate(
            [((window - mean) / sd)[:, None], np.tile(np.eye(5)[weekday % 5], (self.window, 1))], axis=1
        )
        w = self.weights
        h = c = np.zeros(w["lstm.weight_hh_l0"].shape[1])
        for x in steps:
            gates = (
                w["lstm.weight_ih_l0"] @ x + w["lstm.bias_ih_l0"] + w["lstm.weight_hh_l0"] @ h + w["lstm.bias_hh_l0"]
            )
            i, f, g, o = np.split(gates, 4)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
        out = w["head.weight"] @ h + w["head.bias"]
        found = out[0] + np.concatenate([[0.0], np.cumsum(np.logaddexp(0, out[1:]))])
        at, known = ndtri(levels), ndtri(LEVELS)
        inside = np.interp(at, known, found)
        slopes = np.diff(found)[[0, -1]] / np.diff(known)[[0, -1]]
        inside += np.minimum(at - known[0], 0) * slopes[0] + np.maximum(at - known[-1], 0) * slopes[1]
        return mean + sd * inside

    def forecaster(self, history: pd.Series) -> "_Forecaster":
        """A model for `forecasting.fit` and `evaluate`: this network on one history."""
        return _Forecaster(self, list(history.to_numpy(float)), list(history.index))


class _Forecaster:
    """The network and the days of one name."""

    def __init__(self, network, values, dates):
        need("lstm", values, network.window)
        self._network, self._values, self._dates = network, values, dates

    def quantiles(self, horizon, levels):
        levels = np.atleast_1d(checks.in_interval("levels", levels, 0, 1, open=True, array=True))
        days = pd.bdate_range(self._dates[-1], periods=checks.integer("horizon", horizon, least=1) + 2)
        return _path(self._network, self._values, days[days > self._dates[-1]].day_of_week, horizon, levels)

    def update(self, value, date=None):
        self._values.append(float(value))
        self._dates.append(pd.bdate_range(self._dates[-1], periods=3)[-2] if date is None else pd.Timestamp(date))


def _path(network, values, weekdays, horizon, levels):
    values, rows = list(values), []
    for h in range(horizon):
        rows.append(network.quantiles(np.array(values), int(weekdays[h]), levels))
        values.append(float(network.quantiles(np.array(values), int(weekdays[h]), np.array([0.5]))[0]))
    return np.array(rows)


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


def train(
    histories: Sequence[pd.Series],
    *,
    window: int = 30,
    hidden: int = 32,
    epochs: int = 10,
    batch: int = 256,
    seed: int = 0,
) -> Network:
    """A network trained on every window of every history.

    Parameters
    ----------
    histories : sequence of Series
        In the scale in which it shall forecast (logs, say); each longer than a window.
    window, hidden, epochs, batch : int
        Days seen, units of the layer, passes over the data, windows in a step.
    seed : int
        Of the weights and of the order of windows. The same machine gives the same network; another one, about the
        same.

    Raises
    ------
    ImportError
        Without torch, saying what to install.
    """
    torch = optional.load("torch", "deep", "LSTM forecasts")
    window, hidden = checks.integer("window", window, least=2), checks.integer("hidden", hidden, least=1)
    epochs, batch = checks.integer("epochs", epochs, least=1), checks.integer("batch", batch, least=1)
    inputs, targets = zip(*(_windows(history, window) for history in histories), strict=True)
    before = torch.random.get_rng_state()
    try:
        torch.manual_seed(checks.integer("seed", seed, least=0))
        x = torch.tensor(np.concatenate(inputs), dtype=torch.float32)
        y = torch.tensor(np.concatenate(targets), dtype=torch.float32)
        module = torch.nn.ModuleDict(
            {"lstm": torch.nn.LSTM(x.shape[2], hidden, batch_first=True), "head": torch.nn.Linear(hidden, len(LEVELS))}
        )
        optimiser, levels = torch.optim.Adam(module.parameters(), lr=3e-3), torch.tensor(LEVELS, dtype=torch.float32)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(batch):
                out = module["head"](module["lstm"](x[rows])[0][:, -1])
                steps = torch.nn.functional.softplus(out[:, 1:]).cumsum(1)
                found = out[:, :1] + torch.cat([torch.zeros_like(out[:, :1]), steps], 1)
                above = y[rows, None] - found
                loss = torch.maximum(levels * above, (levels - 1) * above).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        weights = {name: value.detach().numpy().astype(float) for name, value in module.state_dict().items()}
    finally:
        torch.random.set_rng_state(before)
    return Network(weights, window)


def _windows(history, window):
    values, weekday = history.to_numpy(float), history.index.day_of_week.to_numpy() % 5
    need("lstm", values, window + 1)
    past = np.lib.stride_tricks.sliding_window_view(values, window)[:-1]
    mean, sd = past.mean(1, keepdims=True), past.std(1, keepdims=True)
    sd[sd == 0] = 1.0
    days = np.repeat(np.eye(5)[weekday[window:]][:, None], window, axis=1)
    return np.concatenate([((past - mean) / sd)[:, :, None], days], axis=2), (values[window:, None] - mean)[:, 0] / sd[
        :, 0
    ]


def model(y, calendar, horizon, kept, *, window=30, hidden=32, epochs=10, seed=0) -> Any:
    """The LSTM on one history, trained at the first fit and kept: `forecasting.fit("lstm", …)`."""
    dates = calendar.dates(horizon)
    if kept is None:
        optional.load("torch", "deep", "LSTM forecasts")
        need("lstm", y, window + 50)
        network = train([pd.Series(y, dates[: len(y)])], window=window, hidden=hidden, epochs=epochs, seed=seed)
        days, half = dates.day_of_week, np.array([0.5])
        middles = [network.quantiles(y[:t], int(days[t]), half)[0] for t in range(window, len(y))]
        kept = (network, y[window:] - np.array(middles))
    network, residuals = kept
    days = dates[len(y) :].day_of_week

    def at(levels):
        return _path(network, y, days, horizon, levels)

    return Law(at(np.array([0.5]))[:, 0], residuals, at=at, kept=kept)
