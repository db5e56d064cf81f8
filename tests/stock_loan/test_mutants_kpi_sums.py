"""Sums of the KPIs at the edges: the last day of a week, and a loan's own first and last day."""

import datetime

import pandas as pd

from mmlib.stock_loan import kpis


def test_after_a_last_friday_money_accrues_until_monday():
    """The next weekday by the calendar of Python's own dates; a week that ends on Thursday accrues one day."""
    for last in (datetime.date(2025, 8, 21), datetime.date(2025, 8, 22), datetime.date(2026, 1, 2)):
        following = last + datetime.timedelta(1)
        while following.isoweekday() > 5:
            following += datetime.timedelta(1)
        dates = pd.DatetimeIndex([pd.Timestamp(last - datetime.timedelta(1)), pd.Timestamp(last)]).as_unit("us")
        assert list(kpis.accrual_days(dates)) == [1, (following - last).days]
        assert list(kpis.accrual_days(dates, until="2026-02-02"))[-1] == (datetime.date(2026, 2, 2) - last).days
