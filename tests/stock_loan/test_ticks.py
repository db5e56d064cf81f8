"""Books in a tick store: the same tables as from CSV and Parquet, corrections told, forecasts and KPIs from it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmlib import tick_store
from mmlib.stock_loan import demand, desk, forecasting, histories, kpis, sources
from mmlib.stock_loan._schemas import COLUMNS
from mmlib.stock_loan.tables import TableError


def same(first, second):
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


def until(book, days):
    """The first trade dates of a book."""
    end = book.dates[days - 1]
    frames = {name: getattr(book, name) for name in COLUMNS}
    return replace(book, **{n: f[f["trade_date"] <= end] for n, f in frames.items() if "trade_date" in f})


@pytest.fixture(scope="module")
def sample():
    return sources.open(sources.SAMPLE)


@pytest.fixture(scope="module")
def stored(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "store"
    sources.write_ticks(sample, folder)
    return folder


@pytest.fixture(scope="module")
def small():
    return desk.book(securities=20, days=10, clients=3, seed=3)


def test_the_sample_is_the_same_book_from_csv_parquet_and_a_tick_store(sample, stored, tmp_path):
    sources.write_parquet(sample, tmp_path / "parquet")
    book = sources.open(f"ticks:{stored}")
    same(sample, book)
    same(book, sources.open(f"parquet:{tmp_path / 'parquet'}"))
    assert book.notes == sample.notes
    pd.testing.assert_frame_equal(kpis.table(book, ["bucket"]), kpis.table(sample, ["bucket"]), check_exact=True)


def test_closed_days_are_history_and_the_last_is_today(sample, stored):
    with tick_store.open(stored, read_only=True) as store:
        snapshot = store.snapshot()
    days = snapshot.sql(
        "select count(distinct date) as n, max(date) as last from history.loans where date = trade_date"
    )
    assert days["n"][0] == len(sample.dates) - 1 and days["last"][0] == sample.dates[-2]
    assert set(snapshot.table("closes")["trade_date"]) == {sample.dates[-1]}
    assert snapshot.seq == len(sample.dates)


def test_forecasts_read_their_history_from_the_store(sample, stored):
    """Demand by name and a rolling forecast of it: the same numbers as from the CSV files."""
    history = demand.series(sources.open(f"ticks:{stored}"))
    pd.testing.assert_frame_equal(history, demand.series(sample), check_exact=True)
    name = history.sum().idxmax()
    levels = [0.05, 0.5, 0.95]
    ours, theirs = (
        forecasting.fit("ar", h[name], interval="residual", calibration=40).quantiles(3, levels)
        for h in (histories.flows(f"ticks:{stored}"), demand.series(sample))
    )
    np.testing.assert_array_equal(ours, theirs)


def test_notes_and_empty_tables_survive(small, tmp_path):
    bare = replace(small, locates=small.locates.iloc[:0], notes=("prices are last trades", "ü"))
    sources.write_ticks(bare, tmp_path / "s")
    found = sources.open(f"ticks:{tmp_path / 's'}")
    same(bare, found)
    assert found.notes == bare.notes


def test_a_book_that_has_grown_is_written_by_the_same_call(small, tmp_path):
    """What is there already is not written again: no update twice, the day that was today is closed first."""
    for days in (3, 3, 5):
        sources.write_ticks(until(small, days), tmp_path / "s")
        same(until(small, days), sources.open(f"ticks:{tmp_path / 's'}"))
    with tick_store.open(tmp_path / "s", read_only=True) as store:
        assert [update.number for update in store.follow(timeout=0)] == [0, 1, 2, 3, 4]


def test_another_book_is_not_mixed_in(small, tmp_path):
    sources.write_ticks(small, tmp_path / "s")
    with pytest.raises(tick_store.StoreError, match="book: number 0 was sent before with other content"):
        sources.write_ticks(desk.book(securities=20, days=10, clients=3, seed=4), tmp_path / "s")
    same(small, sources.open(f"ticks:{tmp_path / 's'}"))


def test_a_row_sent_again_replaces_the_one_before_and_is_told(small, tmp_path):
    """Corrections of a closed day and of today; the first row's and the last row's close."""
    sources.write_ticks(small, tmp_path / "s")
    wrong = small.closes.iloc[[0, -1]].reset_index(drop=True)
    with tick_store.open(tmp_path / "s") as store:
        for step in (1.0, 2.0):
            store.publish({"closes": wrong.assign(close=wrong["close"] + step)}, source="prices", number=int(step))
    found = sources.open(f"ticks:{tmp_path / 's'}")
    moved = (found.closes["close"] - small.closes["close"]).round(4)
    assert moved.iloc[[0, -1]].tolist() == [2.0, 2.0] and moved.iloc[1:-1].eq(0).all()
    assert found.notes == ("closes: 4 rows were sent again later and replaced",)


def test_a_row_twice_in_one_update_is_refused(small, tmp_path):
    sources.write_ticks(small, tmp_path / "s")
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"closes": small.closes.iloc[[3, 3]].reset_index(drop=True)})
    with pytest.raises(TableError, match=r"closes \(tick store\): security_id repeats the key"):
        sources.open(f"ticks:{tmp_path / 's'}")


def test_a_store_of_something_else_is_refused_by_name(small, tmp_path):
    with pytest.raises(TableError, match="url must be a folder"):
        sources.open(f"ticks:{tmp_path / 'nowhere'}")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match="not a tick store"):
        sources.open(f"ticks:{tmp_path / 'empty'}")
    with tick_store.open(tmp_path / "other") as store:
        store.publish({"trade": pd.DataFrame({"x": [1]})})
    with pytest.raises(TableError, match="there is no table 'securities'; there are 'trade'"):
        sources.open(f"ticks:{tmp_path / 'other'}")
    with tick_store.open(tmp_path / "odd") as store:
        store.publish({name: getattr(small, name) for name in COLUMNS} | {"rates": pd.DataFrame({"x": [1]})})
    with pytest.raises(TableError, match=r"rates \(tick store\): columns must be trade_date"):
        sources.open(f"ticks:{tmp_path / 'odd'}")


def test_a_damaged_closed_day_is_refused(small, tmp_path):
    sources.write_ticks(until(small, 2), tmp_path / "s")
    (file,) = (tmp_path / "s" / "history" / "loans").glob("*/part.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(TableError, match="not the file that was written on closing"):
        sources.open(f"ticks:{tmp_path / 's'}")
