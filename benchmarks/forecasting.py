"""A panel of forecasts beside plain statsmodels in a loop, with the same choices to make: ratio of CPU seconds.

    python benchmarks/forecasting.py [NAMES]           # 5,000 names by default; statsmodels on 40 of them, scaled up

Autoregression by AIC (0 to 5 lags) and ETS (ANN, AAdN) on every name, Syntetos–Boylan on the sparse ones, 750 days.
Prints the cost of a name, the ratio, how many autoregressive orders agree, and the time of two processes of their own,
their start included and not: the efficiency is that of processes which run already.
"""

import sys
import time
import warnings

import numpy as np
import pandas as pd
from statsmodels.tsa.ar_model import AutoReg, ar_select_order
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from mmlib import cluster
from mmlib.stock_loan import panels
from mmlib.stock_loan._kernels import autoregression

DAYS, FEW = 750, 40


def book(names):
    """Autoregressive demand, a fifth of the names sparse."""
    rng, x = np.random.default_rng(5), np.zeros((DAYS, names))
    phi = rng.uniform(0.2, 0.95, names)
    for t in range(1, DAYS):
        x[t] = phi * x[t - 1] + 0.3 * rng.standard_normal(names)
    sparse = (rng.random(names) < 0.2) & (rng.random((DAYS, names)) > 0.3)
    table = np.where(sparse, 0.0, np.round(np.exp(9 + x)))
    return pd.DataFrame(table, pd.bdate_range("2023-01-02", periods=DAYS), [f"S{i:04d}" for i in range(names)])


def plain(values):
    """The same trials by statsmodels: its order, its two ETS, and Syntetos–Boylan as a Python loop."""
    y = np.log1p(values)
    lags = ar_select_order(y, 5, ic="aic").ar_lags or []
    AutoReg(y, len(lags)).fit().forecast(1)
    for options in ({}, {"trend": "add", "damped_trend": True}):
        ETSModel(y, **options).fit(disp=False).forecast(1)
    size = interval = since = 0.0
    for value in values:
        since += 1
        if value > 0:
            first = size == 0
            size += (1 if first else 0.1) * (value - size)
            interval += (1 if first else 0.1) * (since - interval)
            since = 0
    return len(lags)


def main(names):
    table = book(names)
    dense = table.columns[(table == 0).mean() < 0.2][:FEW]
    panels.forecast(table.iloc[:, :4], levels=[0.5], workers=1, transform="log1p")  # compiles
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        orders = [plain(table[name].to_numpy()) for name in dense]
        theirs = (time.process_time() - start) / len(dense)
    logs = np.log1p(table[dense].to_numpy().T) - 9.0
    ours_orders = [autoregression.best_order(np.ascontiguousarray(y), 5)[0] for y in logs]
    start, wall = time.process_time(), time.perf_counter()
    panels.forecast(table, levels=[0.05, 0.5, 0.95], workers=1, transform="log1p", chunk=100)
    ours, one = (time.process_time() - start) / names, time.perf_counter() - wall
    start_up = time.perf_counter()
    with cluster.client(workers=2) as client:
        address = client.scheduler.address
        panels.forecast(table.iloc[:, :200], levels=[0.5], scheduler=address, transform="log1p")  # imports in each
        wall = time.perf_counter()
        panels.forecast(table, levels=[0.05, 0.5, 0.95], scheduler=address, transform="log1p", chunk=100)
        two, whole = time.perf_counter() - wall, time.perf_counter() - start_up
    print(f"a name: {1e3 * ours:.2f} ms here, {1e3 * theirs:.1f} ms by statsmodels: ratio {theirs / ours:.1f}")
    print(f"{names:,} names: {names * ours:.1f} CPU s; {one:.1f} s in one process,")
    print(f"  {two:.1f} s in two that run already, {whole:.1f} s with their start")
    print(
        f"efficiency of two processes {one / (2 * two):.2f}; same order in {np.mean(np.equal(orders, ours_orders)):.0%}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
