"""Demand: what was wanted against what was got, on requests small enough to add up by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import demand, desk


@pytest.fixture(scope="module")
def book():
    return desk.book(securities=20, days=10, clients=3, seed=2)


def _with(book, rows):
    """The book with these locates: (day, name, client, requested, approved, shorted)."""
    columns = ["trade_date", "security_id", "client_id", "quantity_requested", "quantity_approved", "quantity_shorted"]
    locates = pd.DataFrame(rows, columns=columns)
    return replace(book, locates=locates.assign(trade_date=book.dates[locates["trade_date"]]))


@pytest.fixture(scope="module")
def small(book):
    """Two GC names and one special. GC, uncensored: 100 + 300 asked, 80 sold short: κ = 1/5. The special: 1000 asked
    and 500 sold short on its full day; on its scarce day 400 was approved of 2000 and 200 sold short, and 100 of 100
    and 100, which does not count since the day is censored: κ = 1/2."""
    bucket = book.securities.set_index("security_id")["bucket"]
    gc, special = bucket.index[bucket == "GC"], bucket.index[bucket == "special"][0]
    rows = [
        (0, gc[0], "C01", 100, 100, 0),
        (0, gc[1], "C01", 300, 300, 80),
        (1, special, "C02", 1000, 1000, 500),
        (3, special, "C01", 2000, 400, 200),
        (3, special, "C02", 100, 100, 100),
        (3, gc[0], "C02", 500, 0, 0),
    ]
    return _with(book, rows), gc, special


def test_conversion_is_estimated_by_bucket_where_nothing_was_cut(small):
    cut, _, _ = small
    assert demand.conversion(cut).to_dict() == pytest.approx({"GC": 0.2, "special": 0.5, "warm": np.nan}, nan_ok=True)


def test_demand_is_the_request_times_the_conversion(small):
    """By hand: 0.2 of 100 and of 500 GC shares, half of 1000 and of 2000 + 100 of the special."""
    cut, gc, special = small
    wanted = demand.series(cut)
    assert wanted.shape == (10, 20)
    assert wanted.index.equals(cut.dates)
    assert isinstance(wanted.index, pd.DatetimeIndex)
    assert list(wanted[special].iloc[:5]) == pytest.approx([0, 500, 0, 1050, 0])
    assert list(wanted[gc[0]].iloc[:4]) == pytest.approx([20, 0, 0, 100])
    assert wanted.to_numpy().sum() == pytest.approx(500 + 1050 + 20 + 100 + 60)
    assert demand.series(cut, special).equals(wanted[special])


def test_fills_are_what_was_sold_short(small):
    cut, _, special = small
    assert list(demand.series(cut, special, fills=True).iloc[:5]) == [0, 500, 0, 300, 0]
    assert demand.series(cut, fills=True).to_numpy().sum() == 880


def test_demand_without_a_known_conversion_is_nan_and_no_other(small, book):
    """A warm name is asked for and never approved: its day is unknown; days without a request are 0."""
    cut, gc, _ = small
    bucket = book.securities.set_index("security_id")["bucket"]
    warm = bucket.index[bucket == "warm"][0]
    cut = _with(book, [(2, warm, "C01", 700, 0, 0), (2, gc[0], "C01", 100, 100, 50)])
    wanted = demand.series(cut)
    assert np.isnan(wanted.loc[book.dates[2], warm])
    assert wanted.isna().to_numpy().sum() == 1
    assert wanted.loc[book.dates[2], gc[0]] == 50
    assert demand.series(cut, warm, fills=True).sum() == 0


def test_where_nothing_is_cut_demand_and_fills_have_the_same_sum():
    """κ is Σ shorted / Σ requested then, bucket by bucket: an identity."""
    book = desk.book(securities=40, days=15, clients=4, seed=6)
    q = book.locates
    full = replace(book, locates=q[q["quantity_approved"] == q["quantity_requested"]])
    assert demand.series(full).to_numpy().sum() == pytest.approx(demand.series(full, fills=True).to_numpy().sum())


def test_requests_keep_their_client(small):
    cut, _, special = small
    rows = demand.requests(cut)
    mine = rows[(rows["security_id"] == special) & (rows["client_id"] == "C01")]
    assert list(mine["demand"]) == [1000]
    assert len(rows) == len(cut.locates)


def test_a_book_without_locates_and_an_unknown_name_are_refused(book):
    with pytest.raises(ValueError, match="book must have locates"):
        demand.series(replace(book, locates=book.locates.iloc[:0]))
    with pytest.raises(ValueError, match="name must be a security id of the book, like 'S0000'; got 'nope'"):
        demand.series(book, "nope")
