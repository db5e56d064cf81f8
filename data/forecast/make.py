"""Writes this folder's synthetic histories: balance.csv (dollars on loan in one name) and flows.csv (shares a day).

    python data/forecast/make.py

The balance is a walk of logarithms with heavy tails whose size clusters, and a squeeze. The flows go back to a level of
their own, with a weekday, a quarter's end and days without demand in some names. Seeds are fixed; values are rounded to
whole dollars and shares.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from mmlib.stock_loan import trading_days

FOLDER = Path(__file__).parent


def balance(days):
    """A walk with clustered, heavy-tailed steps."""
    rng, scale, steps = np.random.default_rng(20240102), 0.04, []
    for t in range(len(days)):
        shock = rng.standard_t(5) * np.sqrt(3 / 5)
        steps.append(scale * shock)
        scale = np.sqrt(0.00008 + 0.82 * scale**2 + 0.13 * steps[-1] ** 2)
        if 300 <= t < 306:
            steps[-1] += 0.09
    return pd.DataFrame({"BALANCE": np.round(60e6 * np.exp(np.cumsum(steps)))}, days)


def flows(days, names=12):
    """Demand that reverts, name by name."""
    rng, found = np.random.default_rng(20240103), {}
    for name in range(names):
        phi, noise, level = rng.uniform(0.6, 0.92), rng.uniform(0.25, 0.6), rng.uniform(7, 11)
        weekday = 0.25 * rng.standard_normal(5)[days.day_of_week]
        quarter = 0.4 * trading_days.regressors(days, ("quarter_end",))[:, 0]
        state, x = np.zeros(len(days)), rng.standard_normal(len(days)) * noise
        for t in range(1, len(days)):
            state[t] = phi * state[t - 1] + 0.5 * x[t]
        values = np.exp(level + state + weekday + quarter + 0.5 * noise * rng.standard_normal(len(days)))
        active = rng.random(len(days)) < (1 if name < 8 else 0.45)
        found[f"F{name:02d}"] = np.round(values * active)
    return pd.DataFrame(found, days)


if __name__ == "__main__":
    calendar = trading_days.between("2023-01-03", "2024-12-31")
    balance(calendar).to_csv(FOLDER / "balance.csv", index_label="date", float_format="%.0f")
    flows(calendar).to_csv(FOLDER / "flows.csv", index_label="date", float_format="%.0f")
