"""Trading days of the New York Stock Exchange, and what is known of a day before it comes.

    trading_days.after("2024-07-03", 2)                          # 5 and 8 July: the 4th is a holiday
    trading_days.regressors(dates, ("weekday", "quarter_end"))   # columns of zeros and ones

Holidays by rule (New Year, King, Washington, Good Friday, Memorial Day, Juneteenth from 2022, Independence Day, Labor
Day, Thanksgiving, Christmas; a New Year on a Saturday is not made up for), and the closures that no rule foresees, by
list. Weekdays, month and quarter ends and index rebalances follow from the calendar. Dividend record dates are
announced ahead: the caller gives them.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from functools import cache

import numpy as np
import pandas as pd
from dateutil.easter import easter

from mmlib import checks

#: Names that `regressors` knows.
KNOWN = ("weekday", "month_end", "quarter_end", "rebalance", "record")
#: Days closed for mourning, storms and attacks.
CLOSED = [
    "2001-09-11",
    "2001-09-12",
    "2001-09-13",
    "2001-09-14",
    "2004-06-11",
    "2007-01-02",
    "2012-10-29",
    "2012-10-30",
    "2018-12-05",
    "2025-01-09",
]


@cache
def holidays(year: int) -> frozenset[date]:
    """Days of `year` on which the exchange is closed though they are weekdays."""

    def nth(month: int, weekday: int, n: int) -> date:
        first = date(year, month, 1)
        return first + timedelta((weekday - first.weekday()) % 7 + 7 * (n - 1))

    def observed(month: int, day: int) -> date:
        exact = date(year, month, day)
        return exact + timedelta({5: -1, 6: 1}.get(exact.weekday(), 0))

    new_year = date(year, 1, 1)
    days = [
        new_year + timedelta(new_year.weekday() == 6),
        nth(1, 0, 3),
        nth(2, 0, 3),
        easter(year) - timedelta(2),
        nth(6, 0, 1) - timedelta(7),  # the last Monday of May
        observed(7, 4),
        nth(9, 0, 1),
        nth(11, 3, 4),
        observed(12, 25),
    ]
    if year >= 2022:
        days.append(observed(6, 19))
    days += [date.fromisoformat(day) for day in CLOSED if day.startswith(str(year))]
    return frozenset(day for day in days if day.weekday() < 5)


def between(start, end) -> pd.DatetimeIndex:
    """Trading days from `start` to `end`, both included."""
    days = pd.bdate_range(start, end)
    return days[[day.date() not in holidays(day.year) for day in days]]


def after(day, count: int) -> pd.DatetimeIndex:
    """The `count` trading days that follow `day`."""
    count = checks.integer("count", count, least=0, meaning="days")
    start = pd.Timestamp(day).normalize() + pd.Timedelta(days=1)
    return between(start, start + pd.Timedelta(days=2 * count + 12))[:count]


def regressors(dates: pd.DatetimeIndex, names: Iterable[str], record_dates: Iterable = ()) -> np.ndarray:
    """Columns of zeros and ones for `dates`, each known before the day comes.

    Parameters
    ----------
    dates : DatetimeIndex, shape (n,)
    names : iterable of str
        "weekday" (Tuesday to Friday: four columns), "month_end" and "quarter_end" (last trading day), "rebalance"
        (third Friday of March, June, September, December, or the trading day before; last Friday of June) and "record"
        (one of `record_dates`).
    record_dates : iterable of dates
        Dividend record dates of the name, as announced.

    Returns
    -------
    ndarray, shape (n, columns)
    """
    columns = [np.empty((len(dates), 0))]
    for name in names:
        checks.choice("regressors", name, KNOWN)
        if name == "weekday":
            columns.append((dates.day_of_week.to_numpy()[:, None] == np.arange(1, 5)).astype(float))
        elif name == "record":
            marked = dates.isin(pd.DatetimeIndex(list(record_dates)))
            columns.append(np.asarray(marked, float)[:, None])
        else:
            known = [float(day.date() in _marks(name, day.year)) for day in dates]
            columns.append(np.array(known)[:, None])
    return np.concatenate(columns, axis=1)


@cache
def _marks(name: str, year: int) -> frozenset[date]:
    open_days = [day.date() for day in between(f"{year}-01-01", f"{year}-12-31")]

    def last(limit: date) -> date:
        return max(day for day in open_days if day <= limit)

    ends = [date(year, m, 1) - timedelta(1) for m in range(2, 13)] + [date(year, 12, 31)]
    if name == "month_end":
        return frozenset(map(last, ends))
    if name == "quarter_end":
        return frozenset(map(last, ends[2::3]))
    fridays = [date(year, m, 1) + timedelta((4 - date(year, m, 1).weekday()) % 7 + 14) for m in (3, 6, 9, 12)]
    russell = date(year, 6, 30) - timedelta((date(year, 6, 30).weekday() - 4) % 7)
    return frozenset(map(last, [*fridays, russell]))
