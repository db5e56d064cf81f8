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


def exchange_rules():
    """The exchange's holidays as pandas' own rules, another implementation."""
    from pandas.tseries import holiday as h

    class Rules(h.AbstractHolidayCalendar):
        rules = [  # noqa: RUF012
            h.Holiday("New Year", month=1, day=1, observance=h.sunday_to_monday),
            h.USMartinLutherKingJr, h.USPresidentsDay, h.GoodFriday, h.USMemorialDay,
            h.Holiday("Juneteenth", month=6, day=19, start_date="2022-06-01", observance=h.nearest_workday),
            h.Holiday("Independence", month=7, day=4, observance=h.nearest_workday), h.USLaborDay, h.USThanksgivingDay,
            h.Holiday("Christmas", month=12, day=25, observance=h.nearest_workday),
        ]  # fmt: skip

    return Rules()


def test_thirty_years_of_holidays_are_those_of_another_implementation():
    """pandas' holiday rules; what they do not foresee is the list of closures alone."""
    theirs = exchange_rules().holidays("2001-01-01", "2030-12-31")
    theirs = theirs[theirs.day_of_week < 5].union(pd.DatetimeIndex(trading_days.CLOSED))
    ours = pd.bdate_range("2001-01-01", "2030-12-31").difference(trading_days.between("2001-01-01", "2030-12-31"))
    assert list(ours) == list(theirs)


def test_the_days_after_are_never_too_few():
    """From every day of two years with the longest closures: as many as asked for, and the exchange's next ones."""
    every = trading_days.between("2001-01-01", "2003-03-31")
    for day in pd.date_range("2001-01-01", "2002-12-31"):
        later = every[every > day]
        for count in (1, 2, 40):
            assert list(trading_days.after(day, count)) == list(later[:count])


def test_ends_and_rebalances_of_twenty_years():
    """By pandas' business-month ends on that calendar, third Fridays by its WOM offset, or the trading day before."""
    from pandas.tseries.offsets import CustomBusinessDay

    days = trading_days.between("2005-01-01", "2024-12-31")
    found = {
        name: days[trading_days.regressors(days, (name,))[:, 0] > 0]
        for name in ("month_end", "quarter_end", "rebalance")
    }
    months = pd.Series(days, days).groupby([days.year, days.month]).max()
    assert list(found["month_end"]) == list(months)
    assert list(found["quarter_end"]) == [day for day in months if day.month in (3, 6, 9, 12)]
    open_day = CustomBusinessDay(
        holidays=[*exchange_rules().holidays("2005-01-01", "2024-12-31"), *trading_days.CLOSED]
    )
    fridays = pd.date_range("2005-01-01", "2024-12-31", freq="WOM-3FRI")
    expected = [open_day.rollback(day) for day in fridays if day.month in (3, 6, 9, 12)]
    lasts = [max(d for d in pd.date_range(f"{y}-06-20", f"{y}-06-30") if d.day_of_week == 4) for y in range(2005, 2025)]
    assert list(found["rebalance"]) == sorted([*expected, *lasts])
