"""Sums of the KPIs at the edges: the last day of a week, and a loan's own first and last day."""

import datetime

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import kpis, sources


def test_after_a_last_friday_money_accrues_until_monday():
    """The next weekday by the calendar of Python's own dates; a week that ends on Thursday accrues one day."""
    for last in (datetime.date(2025, 8, 21), datetime.date(2025, 8, 22), datetime.date(2026, 1, 2)):
        following = last + datetime.timedelta(1)
        while following.isoweekday() > 5:
            following += datetime.timedelta(1)
        dates = pd.DatetimeIndex([pd.Timestamp(last - datetime.timedelta(1)), pd.Timestamp(last)]).as_unit("us")
        assert list(kpis.accrual_days(dates)) == [1, (following - last).days]
        assert list(kpis.accrual_days(dates, until="2026-02-02"))[-1] == (datetime.date(2026, 2, 2) - last).days


def test_half_a_cent_is_rounded_up_and_less_is_not():
    """180 dollars at 100 bp for a day are 180/100/360 dollars, half a cent; a hundredth of a cent less is not."""
    assert kpis.accrual(np.array([1_800_000, 1_799_999, 1_800_000 + 3_600_000]), 10_000, 1).tolist() == [1, 0, 2]


@pytest.mark.parametrize("day", [0, 0.0, False, "2025-10-02 12:00", pd.Timestamp("2025-10-02", tz="UTC"), "soon"])
def test_a_number_is_no_day(day):
    """Pandas takes 0 for the first of January 1970."""
    dates = pd.DatetimeIndex(["1969-12-30", "1969-12-31"]).as_unit("us")
    assert kpis.accrual_days(dates, until="1970-01-01").tolist() == [1, 1]
    with pytest.raises(ValueError, match="until must be a date"):
        kpis.accrual_days(dates, until=day)


def test_sums_by_kind_of_client_are_those_of_its_clients_and_have_no_inventory():
    book = sources.open(sources.SAMPLE)
    kind = dict(zip(book.clients["client_id"], book.clients["client_type"], strict=True))
    by_client, by_type = kpis.sums(book, ["client_id"]), kpis.sums(book, ["client_type"])
    added = by_client.assign(client_type=by_client["client_id"].map(kind)).drop(columns="client_id")
    added = added.groupby(["trade_date", "client_type"], as_index=False).sum()
    assert by_type["on_loan_value"].sum() > 0
    pd.testing.assert_frame_equal(by_type, added[by_type.columns], check_dtype=False)
    for name in ("available", "available_value", "idle_hi", "idle_lo"):
        assert (by_type[name] == 0).all()
    with pytest.raises(ValueError, match="by must name each column once"):
        kpis.sums(book, ["bucket", "bucket"])
