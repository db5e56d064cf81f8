"""Forecasts of a whole book: thousands of names in one call, on every core, that a killed run takes up again.

    table = panels.forecast(demand, levels=[0.05, 0.5, 0.95], path="forecasts.parquet")      # demand: days × names

Each name gets the model that fits it best: Syntetos–Boylan's where demand is rarer than two days in three (ADI ≥ 1.32,
in the units it came in); else, of the autoregression with its best number of lags (0 to 5) and of ETS (ANN, AAdN), the
one with the lower AIC, all on the days after the fifth. A name whose history cannot be used has the reason in `error`
and NaN for numbers; the others go on.

Names are sent in chunks, of 50 or more since a message costs as much as a name. A finished chunk's names are written to
a journal beside `path`, a line each; when all are there the table is written by renaming, in the order of the names,
and the journal goes. The same call after a kill reads the journal and does the rest; the bytes are the same, on any
number of workers.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri
from tqdm import tqdm

import mmlib
from mmlib import checks, cluster
from mmlib.stock_loan import forecast_scores
from mmlib.stock_loan._forecast_models import smoothing
from mmlib.stock_loan._forecast_models.history import checked
from mmlib.stock_loan._forecast_models.law import need, rms
from mmlib.stock_loan._kernels import autoregression
from mmlib.stock_loan._kernels.smoothing import intermittent

#: Most lags tried, and days without which no model is fitted.
MOST, LEAST = 5, 30
#: Names that one process forecasts before others have started: these pay beyond, unless `workers` says otherwise.
ALONE = 10_000
_FORWARD = {None: (np.asarray, np.asarray), "log": (np.log, np.exp), "log1p": (np.log1p, np.expm1)}


def forecast(
    demand: pd.DataFrame,
    *,
    levels: Sequence[float],
    horizon: int = 1,
    transform: str | None = None,
    path=None,
    scheduler: str | None = None,
    workers: int | None = None,
    chunk: int = 100,
    progress: bool = True,
) -> pd.DataFrame:
    """The next days of every name.

    Parameters
    ----------
    demand : DataFrame, shape (days, names)
        On a DatetimeIndex; NaN before a name's first day is not part of its history.
    levels : sequence of float
        Quantiles, in (0, 1).
    horizon : int
        Days ahead.
    transform : None, "log" or "log1p"
        Scale in which autoregressions and ETS work.
    path : path, optional
        Where to write the table, ``.parquet`` or ``.csv``, and beside it the journal; without one nothing is written.
    scheduler, workers :
        As in `cluster.client`; ``workers=1`` works in this process, as does None without a scheduler for fewer than
        `ALONE` names: they take less time than processes take to start.
    chunk : int
        Names sent together.
    progress : bool
        Show a bar, on a terminal only.

    Returns
    -------
    DataFrame
        A row a name: `model` ("ar(p)", "ets ANN", "ets AAdN", "sba", "constant"), `error`, and a column for each day
        and level, ``h1_q0.5`` …

    Raises
    ------
    ValueError
        Naming the argument, or the journal of another run that is in the way.
    """
    chosen = np.atleast_1d(checks.in_interval("levels", levels, 0, 1, open=True, meaning="of quantiles", array=True))
    horizon, chunk = checks.integer("horizon", horizon, least=1), checks.integer("chunk", chunk, least=1)
    if transform is not None:
        checks.choice("transform", transform, ("log", "log1p"))
    if (
        not isinstance(demand, pd.DataFrame)
        or not isinstance(demand.index, pd.DatetimeIndex)
        or not demand.columns.is_unique
    ):
        raise ValueError("demand must be a DataFrame on a DatetimeIndex, its columns the names, each once")
    names = [str(name) for name in demand.columns]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"demand must have names that differ as text; got {len(names)} columns")
    demand = demand.set_axis(names, axis=1)
    settings = {"levels": [float(p) for p in chosen], "horizon": horizon, "transform": transform}
    journal = None if path is None else _Journal(Path(path), demand, settings)
    done = {} if journal is None else journal.read()
    left = [name for name in names if name not in done]
    chunks = [demand[left[i : i + chunk]] for i in range(0, len(left), chunk)]
    with tqdm(total=len(names), initial=len(done), unit="name", disable=None if progress else True) as bar:
        for rows in _results(chunks, settings, scheduler, workers):
            done |= rows
            bar.update(len(rows))
            if journal is not None:
                journal.append(rows)
    table = pd.DataFrame([done[name] for name in names], index=pd.Index(names, name="name"))
    if journal is not None:
        journal.finish(table)
    return table


def _results(chunks, settings, scheduler, workers) -> Iterator[dict]:
    if not chunks:
        return
    small = workers is None and sum(each.shape[1] for each in chunks) < ALONE
    if scheduler is None and (workers == 1 or small):
        yield from (forecast_chunk(each, **settings) for each in chunks)
        return
    from distributed import as_completed

    with cluster.client(scheduler, workers) as client:
        futures = [client.submit(forecast_chunk, each, **settings, pure=False, retries=2) for each in chunks]
        try:
            for future in as_completed(futures, loop=client.loop):
                yield future.result()
                future.release()
        finally:
            client.cancel(futures)


def forecast_chunk(demand: pd.DataFrame, *, levels, horizon: int, transform: str | None) -> dict[str, dict]:
    """Forecasts of a few names, one after another, as dicts by name: what a worker does."""
    return {name: _one(demand[name], np.asarray(levels), horizon, transform) for name in demand.columns}


def _one(history, levels, horizon, transform) -> dict[str, Any]:
    columns = [f"h{h + 1}_q{p:g}" for h in range(horizon) for p in levels]
    try:
        begun = history.first_valid_index()
        history = checked(history if begun is None else history.loc[begun:], transform)
        values = history.to_numpy(float)
        need("panel", values, LEAST)
        label, found = _quantiles(values, levels, horizon, transform)
    except ValueError as error:
        return {"model": "", "error": str(error)} | dict.fromkeys(columns, np.nan)
    return {"model": label, "error": ""} | {c: float(q) for c, q in zip(columns, found.ravel(), strict=True)}


def _quantiles(values, levels, horizon, transform):
    """The chosen model's label and its quantiles, shape (horizon, levels)."""
    z = ndtri(levels)
    if np.ptp(values) == 0:
        return "constant", np.full((horizon, len(levels)), values[-1])
    if forecast_scores.adi_cv2(values)[0] >= 1.32:
        forecasts = intermittent(values, 0.1, 0.1, False)[0] * 0.95
        errors = values - forecasts[:-1]
        spread = rms(errors[np.isfinite(errors)]) if np.isfinite(errors).any() else np.nan
        return "sba", np.tile(np.maximum(forecasts[-1] + spread * z, 0), (horizon, 1))  # as the model "sba"
    forward, back = _FORWARD[transform]
    shift = forward(values[0])
    y = forward(values) - shift  # products of lags near 0 keep their digits
    scale = np.abs(y).max()
    y = y / scale
    lags, aic = autoregression.best_order(y, MOST)
    trials = [smoothing.estimate(y, form) for form in ("ANN", "AAdN")]
    ets = min(trials, key=lambda fit: fit["aic"])
    errors, n = ets["errors"][MOST:], len(y) - MOST
    if n * np.log(max(errors @ errors, 1e-300) / n) + 2 * (2 if ets["form"] == "ANN" else 5) < aic:
        point, gains = smoothing.extrapolate(ets, horizon)
        label, psi = f"ets {ets['form']}", np.concatenate([[1.0], gains])
        errors = ets["errors"]
    else:
        coefficients, errors = autoregression.fitted(y, lags)
        label = f"ar({lags})"
        point, psi = _ahead(y, coefficients, lags, horizon)
    spread = rms(errors) * np.sqrt(np.cumsum(psi**2))
    return label, back(shift + scale * (point[:, None] + spread[:, None] * z))


def _ahead(y, coefficients, lags, horizon):
    """Path of an autoregression and its weights ψ."""
    path, psi = list(y[len(y) - lags :]), [0.0] * (lags - 1) + [1.0]
    for h in range(horizon):
        recent = path[len(path) - lags :][::-1]
        path.append(coefficients[0] + sum(c * v for c, v in zip(coefficients[1:], recent, strict=True)))
        if h:
            before = psi[len(psi) - lags :][::-1] if lags else []
            psi.append(sum(c * v for c, v in zip(coefficients[1:], before, strict=True)))
    return np.array(path[lags:]), np.array(psi[max(lags - 1, 0) :])


class _Journal:
    """Finished names, a JSON line each, beside the table; the first line says of which run."""

    def __init__(self, path: Path, demand: pd.DataFrame, settings: dict):
        if path.suffix not in (".parquet", ".csv"):
            raise ValueError(f"path must end in .parquet or .csv; got {str(path)!r}")
        if not path.parent.is_dir():
            raise ValueError(f"path must be in a folder that exists; got {str(path)!r}")
        self.path, self.file = path, path.with_name(path.name + ".journal")
        content = hashlib.sha256(json.dumps([settings, list(demand.columns), mmlib.__version__]).encode())
        content.update(demand.index.to_numpy().astype("datetime64[ns]").tobytes())
        for name in demand.columns:
            values = demand[name].to_numpy()
            content.update(values.tobytes() if values.dtype.kind in "iuf" else repr(list(values)).encode())
        self.run = content.hexdigest()

    def read(self) -> dict[str, dict]:
        """What is finished; a torn last line is cut off."""
        if not self.file.exists():
            self.file.write_text(json.dumps({"run": self.run}) + "\n")
            return {}
        text = self.file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        if lines and lines[0].get("run") != self.run:
            raise ValueError(
                f"path must not have the journal of another run beside it: delete {str(self.file)!r} to begin anew"
            )
        if len(whole) < len(text) or not lines:
            self.file.write_bytes(whole or (json.dumps({"run": self.run}) + "\n").encode())
        return {line["name"]: line["row"] for line in lines[1:]}

    def append(self, rows: dict[str, dict]) -> None:
        text = "".join(json.dumps({"name": name, "row": row}) + "\n" for name, row in rows.items())
        with self.file.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def finish(self, table: pd.DataFrame) -> None:
        """Write the table by renaming, and let the journal go."""
        part = self.path.with_name(self.path.name + ".part")
        if self.path.suffix == ".parquet":
            table.to_parquet(part)
        else:
            table.to_csv(part)
        os.replace(part, self.path)
        self.file.unlink()
