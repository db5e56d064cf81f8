"""The exchange's calendar against published counts and dates."""

import pandas as pd
import pytest

from mmlib.stock_loan import trading_days


@pytest.mark.parametrize(
    ("year", "count"),
    [
        (2001, 248),
        (2012, 250),
        (2018, 251),
        (2019, 252),
        (2020, 253),
        (2021, 252),
        (2022, 251),
        (2023, 250),
        (2024, 252),
        (2025, 250),
    ],
)
def test_trading_days_a_year_are_those_the_exchange_counts(year, count):
    assert len(trading_days.between(f"{year}-01-01", f"{year}-12-31")) == count


def test_the_next_days_jump_over_weekends_and_holidays():
    assert list(trading_days.after("2024-07-03", 2)) == list(pd.to_datetime(["2024-07-05", "2024-07-08"]))
    assert list(trading_days.after("2021-12-30", 2)) == list(pd.to_datetime(["2021-12-31", "2022-01-03"]))
    assert list(trading_days.after("2024-03-28", 1)) == [pd.Timestamp("2024-04-01")]  # Good Friday
    assert len(trading_days.after("2024-01-02", 0)) == 0


def test_what_is_known_of_a_day():
    """29 March 2024 was a Good Friday: the quarter ended on Thursday the 28th; 21 June and 28 June were rebalances."""
    days = trading_days.between("2024-03-01", "2024-06-30")
    found = {
        name: list(days[trading_days.regressors(days, (name,))[:, 0] > 0].strftime("%m-%d"))
        for name in ("month_end", "quarter_end", "rebalance")
    }
    assert found["month_end"] == ["03-28", "04-30", "05-31", "06-28"]
    assert found["quarter_end"] == ["03-28", "06-28"]
    assert found["rebalance"] == ["03-15", "06-21", "06-28"]
    week = trading_days.regressors(pd.to_datetime(["2024-06-03", "2024-06-04", "2024-06-07"]), ("weekday",))
    assert week.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    record = trading_days.regressors(days, ("record",), ["2024-04-15"])[:, 0]
    assert record.sum() == 1 and days[record > 0][0] == pd.Timestamp("2024-04-15")


def test_a_regressor_that_is_not_known_is_named():
    with pytest.raises(ValueError, match="regressors must be one of 'weekday'"):
        trading_days.regressors(pd.to_datetime(["2024-06-03"]), ("moon",))
    with pytest.raises(ValueError, match="count"):
        trading_days.after("2024-01-02", -1)
