"""Writes rolling.csv: next-day forecasts of the shipped balance by Prophet and by the LSTM (slow, or in need of torch).

    python data/forecast/make_rolling.py           # needs the extras "forecast" and "deep"

Every twelfth origin from day 350 on, in logarithms, the model fitted (Prophet, by Newton) or trained (LSTM, once, on
the first 350 days) on what was known. Rounded to five digits, which Prophet's hold on every
processor; the LSTM's hold two.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from mmlib.stock_loan import forecasting, histories, lstm

FIRST, STEP, LEVELS = 350, 12, [0.05, 0.5, 0.95]


def prophet(history, origin):
    """Quantiles of the day after `origin` days."""
    return forecasting.fit("prophet", history.iloc[:origin], transform="log").quantiles(1, LEVELS)[0]


def rows():
    history = histories.balance()
    logs = np.log(history)
    try:
        network = lstm.train([logs.iloc[:FIRST]], seed=0)
    except ImportError as error:
        raise SystemExit(str(error)) from error
    for origin in range(FIRST, len(history), STEP):
        yield "prophet", origin, *prophet(history, origin)
        yield "lstm", origin, *np.exp(network.forecaster(logs.iloc[:origin]).quantiles(1, LEVELS)[0])


if __name__ == "__main__":
    table = pd.DataFrame(rows(), columns=["model", "origin", *(f"q{p:g}" for p in LEVELS)])
    table.to_csv(Path(__file__).parent / "rolling.csv", index=False, float_format="%.5g")
