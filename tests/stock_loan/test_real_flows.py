"""Short volume of 62 funds, a flow: the table that another implementation found, to 1 %; minutes, so `make deep`.

From FINRA's files: the last 750 dates of IWM to 2021-07-16, names begun by 2018-07-25, a day without a row is 0; all in
log(1 + y), 500 days known at the first origin.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import decisions, forecast_scores, forecasting

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif("MMLIB_REAL_DATA" not in os.environ, reason="MMLIB_REAL_DATA names no folder of real data"),
]
LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]
PAIRS = [(300, 60), (1000, 100), (60, 300), (100, 100)]


@pytest.fixture(scope="module")
def flows():
    file = Path(os.environ["MMLIB_REAL_DATA"]) / "stock_loan" / "gme_etfs_FNSQshvol_history.txt.gz"
    rows = pd.read_csv(file, sep="|", parse_dates=["Date"])
    wide = rows.pivot_table(index="Date", columns="Symbol", values="Short Volume", aggfunc="sum")
    dates = wide.index[wide["IWM"].notna()]
    begun = wide.apply(pd.Series.first_valid_index)
    return wide.loc[dates[dates <= "2021-07-16"][-750:], begun.index[begun <= "2018-07-25"]].fillna(0.0)


def scored(flows, models, options=None, levels=LEVELS):
    found = {
        name: forecasting.evaluate(
            flows[name], models, first=500, levels=levels, transform="log1p", options=options or {}
        )
        for name in flows
    }
    return pd.concat(found, names=["name"])


@pytest.fixture(scope="module")
def table(flows):
    simple = ["naive", "ses", "ar", "median", "croston", "sba", "rolling_quantile"]
    models = dict(zip(simple, simple, strict=True)) | {"weekday": "ar"}
    return scored(flows, models, {"weekday": {"regressors": ["weekday"]}})


def held(table, model, mase, ratio, median=None, pinball=None, coverage=None, better=None):
    rows = table.xs(model, level="model")
    naive = table["mase"].xs("naive", level="model")
    assert rows["mase"].mean() == pytest.approx(mase, rel=0.01)
    assert (rows["mase"] / naive).mean() == pytest.approx(ratio, rel=0.01)
    if median is not None:
        assert rows["mase"].median() == pytest.approx(median, rel=0.01)
    if pinball is not None:
        assert rows["pinball"].mean() == pytest.approx(pinball, rel=0.01)
    if coverage is not None:
        assert rows["coverage"].mean() == pytest.approx(coverage, rel=0.01)
    if better is not None:
        assert ((rows["p"] < 0.05) & (rows["dm"] < 0)).mean() == pytest.approx(better, rel=0.01)


def test_the_panel_is_62_names_none_of_them_intermittent(flows):
    assert flows.shape == (750, 62)
    assert [str(flows.index[i].date()) for i in (0, 500, -1)] == ["2018-07-25", "2020-07-21", "2021-07-16"]
    kinds = pd.Series([forecast_scores.bucket(flows[name].iloc[:500]) for name in flows]).value_counts()
    assert kinds.to_dict() == {"erratic": 49, "lumpy": 11, "smooth": 2}


def test_arima_of_the_lowest_aic_is_as_good_as_the_means(flows):
    rows = scored(flows, ["naive", "arima"])
    held(rows, "arima", 1.785, 0.693, 0.756, 0.794, 0.922, 0.82)


def test_a_mean_of_the_past_beats_the_last_value_of_a_flow(table):
    held(table, "naive", 2.669, 1, 1.022, 3.083, 0.921)
    held(table, "ses", 1.788, 0.6945, 0.763, 0.8065, 0.926, 0.79)
    held(table, "ar", 1.796, 0.702, pinball=0.762, coverage=0.923, better=0.77)
    held(table, "weekday", 1.799, 0.703, pinball=0.760, coverage=0.923, better=0.77)
    held(table, "median", 1.776, 0.694, 0.758)
    held(table, "croston", 2.329, 0.861)
    held(table, "sba", 2.264, 0.837)
    held(table, "rolling_quantile", 2.69, 0.996, pinball=2.68, coverage=0.90)


def test_one_fund_alone(table):
    rows = table.xs("XRT", level="name")
    assert rows.loc[["naive", "ses", "ar"], "mase"].to_numpy() == pytest.approx([0.7441, 0.6611, 0.6528], abs=5.1e-5)
    assert rows.loc["ar", "p"] == pytest.approx(0.25, abs=0.0051)


def test_the_centre_matters_before_the_quantile(flows):
    """Dollars of the newsvendor over those of the last value, the mean over names."""
    levels = [*(decisions.level(*pair) for pair in PAIRS), 0.5]
    ratios = {"ses": [], "rolling_quantile": []}
    for name in flows:
        demand = flows[name].to_numpy()[500:]
        arguments = {"first": 500, "levels": levels, "transform": "log1p"}
        last = forecasting.roll("naive", flows[name], **arguments)[:, 0, -1]
        for model, options in (("ses", {"interval": "residual"}), ("rolling_quantile", {})):
            q = np.maximum(forecasting.roll(model, flows[name], **arguments, **options)[:, 0], 0)
            cost, plain = (
                [
                    decisions.pre_borrow(held, demand, 1.0, shortage=a, excess=b).sum()
                    for held, (a, b) in zip(each, PAIRS, strict=True)
                ]
                for each in (q[:, :4].T, [last] * 4)
            )
            ratios[model].append(np.divide(cost, plain))
    assert np.mean(ratios["ses"], axis=0) == pytest.approx([0.852, 0.795, 0.292, 0.700], rel=0.01)
    assert np.mean(ratios["rolling_quantile"], axis=0)[:2] == pytest.approx([2.09, 3.91], rel=0.01)


@pytest.mark.parametrize(("interval", "coverage", "spread"), [("conformal", 0.910, 0.023), ("adaptive", 0.909, 0.012)])
def test_conformal_intervals_on_flows(flows, interval, coverage, spread):
    """120 scores, γ .01; the spread over names, to the digits given."""
    found = scored(flows, ["ses"], {"ses": {"interval": interval}}, [0.05, 0.95])["coverage"]
    assert found.mean() == pytest.approx(coverage, rel=0.01)
    assert found.std() == pytest.approx(spread, abs=0.0006)
