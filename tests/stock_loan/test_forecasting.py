"""Forecasts against worked examples, the libraries called directly, and published scores."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import forecasting

A = [0, 0, 5, 0, 4, 6, 0, 0, 0, 3]


def series(values, start="2024-01-02"):
    return pd.Series(np.asarray(values, float), pd.bdate_range(start, periods=len(values)))


def point(model, values, horizon=1, **options):
    return forecasting.fit(model, series(values), **options).quantiles(horizon, [0.5])[:, 0]


@pytest.mark.parametrize(
    ("model", "options", "value"),
    [
        ("croston", {"alpha": 0.1}, 1.69390631),
        ("sba", {"alpha": 0.1}, 1.60921099),
        ("tsb", {"alpha": 0.1}, 1.31039811),
        ("croston", {"alpha": 0.2}, 1.68313953),
        ("sba", {"alpha": 0.2}, 1.51482558),
        ("tsb", {"alpha": 0.2}, 1.80369635),
        ("croston", {"alpha": 0.1, "beta": 0.2}, 1.74745640),
        ("sba", {"alpha": 0.1, "beta": 0.2}, 1.57271076),
    ],
)
def test_the_intermittent_methods_give_the_worked_numbers(model, options, value):
    """Computed by hand and by another library, to eight decimals."""
    assert point(model, A, **options)[0] == pytest.approx(value, abs=5.1e-9)


def test_theta_is_the_mean_of_the_two_theta_lines():
    """The line through the data, and simple smoothing of twice the data less the line, written out."""
    y, alpha, h = np.array([10, 12, 13, 12, 15, 16, 18, 19.0]), 0.5, np.arange(1, 5)
    slope, start = np.polyfit(np.arange(8), y, 1)
    line = start + slope * np.arange(8)
    twice = 2 * y - line
    level = twice[0]
    for value in twice[1:]:
        level += alpha * (value - level)
    # Hyndman & Billah start the smoothing of the data at y₁; that of the line 2y − line starts then at 2y₁ − line₀,
    # and the difference of the two starts fades with (1−α)^7 on either side of the identity
    found = point("theta", y, 4, alpha=alpha)
    assert found[0] == 18.9326171875
    assert np.diff(found) == pytest.approx(np.full(3, slope / 2), abs=1e-12)
    assert found == pytest.approx((level + start + slope * (7 + h)) / 2, abs=1e-12)


def test_the_ewma_scaled_quantile_gives_the_worked_number():
    changes = [0.02, -0.01, 0.03, -0.04, 0.01, 0.05, -0.02, 0]
    history = series(100 * np.exp(np.cumsum([0, *changes]) - np.sum(changes)))
    model = forecasting.fit("ewma_quantile", history, transform="log", window=8, decay=0.94, variance=0.0009)
    assert model.quantiles(1, [0.8])[0, 0] == pytest.approx(102.6290435, abs=5.1e-8)
