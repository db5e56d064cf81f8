"""Parquet: each file has its own types and columns, which are checked; a folder's name is only a name."""

import datetime
import decimal
import random
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmlib.stock_loan import desk, sources
from mmlib.stock_loan._schemas import COLUMNS
from mmlib.stock_loan.tables import TableError


@pytest.fixture(scope="module")
def book():
    return desk.book(securities=20, days=10, clients=3, seed=3)


@pytest.fixture(scope="module")
def written(book, tmp_path_factory):
    place = tmp_path_factory.mktemp("store") / "p"
    sources.write_parquet(book, place)
    return place


@pytest.fixture
def store(written, tmp_path):
    return shutil.copytree(written, tmp_path / "p")


def same(first, second):
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


def one_day(store, book, name="closes", day=0):
    return store / name / f"trade_date={book.dates[day]:%Y-%m-%d}" / "part.parquet"


def rewritten(path, **columns):
    """The file again with some columns replaced by Arrow arrays, in Arrow's own words; None drops one."""
    table = pq.ParquetFile(path).read()
    for name, array in columns.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        if array is not None:
            table = table.append_column(name, array)
    pq.write_table(table, path)


def test_a_day_of_whole_prices_does_not_round_the_other_days(book, store):
    """Whole dollars on day one, stored as integers; every other close must come back as it was written."""
    path = one_day(store, book)
    whole = np.arange(10, 10 + len(pq.ParquetFile(path).read()))
    rewritten(path, close=pa.array(whole, pa.int32()))
    found = sources.open(f"parquet:{store}").closes
    later = found["trade_date"] > book.dates[0]
    assert (found.loc[later, "close"] == book.closes.loc[later, "close"]).all()
    assert (book.closes.loc[later, "close"] % 1 != 0).any()
    assert found.loc[~later, "close"].tolist() == whole.tolist()


def test_half_a_share_on_a_later_day_is_refused_not_rounded(book, store):
    path = one_day(store, book, "inventory", 3)
    shares = pq.ParquetFile(path).read().column("quantity_available").to_numpy() + 0.5
    rewritten(path, quantity_available=pa.array(shares))
    with pytest.raises(TableError, match=r"inventory \(Parquet\): quantity_available must be a whole number"):
        sources.open(f"parquet:{store}")


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"note": pa.array(["x"] * 20)}, "columns must be security_id, close, .*, each once; got unknown note"),
        ({"close": None}, "got missing close"),
        ({"close": pa.array(["1.5"] * 20)}, "close must be numbers; got Parquet type string"),
        ({"close": pa.array([True] * 20)}, "close must be numbers; got Parquet type bool"),
        ({"security_id": pa.array(range(20))}, "security_id must be text; got Parquet type int64"),
        ({"trade_date": pa.array(["x"] * 20)}, "got unknown trade_date"),
    ],
)  # fmt: skip
def test_a_column_too_many_too_few_or_of_another_kind_is_refused_by_file(book, store, columns, rule):
    path = one_day(store, book, day=2)
    rewritten(path, **columns)
    with pytest.raises(TableError, match=rf"^closes/trade_date={book.dates[2]:%Y-%m-%d}/part\.parquet: .*{rule}"):
        sources.open(f"parquet:{store}")


def test_other_writers_types_of_the_same_kind_give_the_same_book(book, store):
    """Decimals, dictionaries, 32-bit whole numbers, one file without day folders, dates as dates, empty columns."""
    path = one_day(store, book)
    table = pq.ParquetFile(path).read()
    cents = [decimal.Decimal(f"{value:.4f}") for value in table.column("close").to_pylist()]
    rewritten(
        path,
        close=pa.array(cents, pa.decimal128(18, 4)),
        security_id=table.column("security_id").cast(pa.string()).combine_chunks().dictionary_encode(),
    )
    rates = book.rates.assign(trade_date=[date.date() for date in book.dates], funding_rate=None)
    for folder in (store / "rates").iterdir():
        shutil.rmtree(folder)
    assert isinstance(rates["trade_date"].iloc[0], datetime.date)
    pq.write_table(pa.Table.from_pandas(rates, preserve_index=False), store / "rates" / "all.parquet")
    found = sources.open(f"parquet:{store}")
    pd.testing.assert_frame_equal(found.closes, book.closes, check_exact=True)
    assert found.rates["benchmark_rate"].tolist() == book.rates["benchmark_rate"].tolist()
    assert found.rates["funding_rate"].isna().all()


def test_a_single_precision_price_is_refused_not_taken_for_another_price(book, store):
    path = one_day(store, book)
    rewritten(path, close=pa.array(np.full(20, 52.1, dtype=np.float32)))
    with pytest.raises(TableError, match="close must have at most 4 decimals"):
        sources.open(f"parquet:{store}")


@pytest.mark.parametrize("name", ["a*", "a?", "a[1]", "b:c", "it's", "{x}", "%s", "trade_date=1", "a b", "parquet:"])
def test_the_name_of_a_folder_is_no_pattern(book, tmp_path, name):
    """Neighbours that a pattern would match hold nothing a book could be made of."""
    for neighbour in ("a1", "ab", "x", "c"):
        (tmp_path / neighbour).mkdir()
        (tmp_path / neighbour / "closes").mkdir()
        (tmp_path / neighbour / "closes" / "part.parquet").write_bytes(b"no")
    place = tmp_path / name / "p"
    sources.write_parquet(book, place)
    same(book, sources.open(f"parquet:{place}"))
    sources.write_csv(book, tmp_path / name / "csv")
    same(book, sources.open(tmp_path / name / "csv"))


def test_a_date_that_is_none_is_refused(book, store):
    one_day(store, book).parent.rename(store / "closes" / "trade_date=2025-02-30")
    with pytest.raises(TableError, match="trade_date must be a date, YYYY-MM-DD; got 2025-02-30"):
        sources.open(f"parquet:{store}")
    (store / "closes" / "trade_date=2025-02-30").rename(store / "closes" / "trade_date=20250230")
    with pytest.raises(TableError, match="got missing trade_date"):
        sources.open(f"parquet:{store}")


def test_damaged_files_are_refused_or_give_the_same_table(book, written, tmp_path):
    """A hundred flips and cuts of one day's file: pages carry checksums, so no flip makes another number."""
    from mmlib.stock_loan import _parquet

    draw, day = random.Random(5), one_day(written, book).read_bytes()
    place = tmp_path / "closes" / "trade_date=2025-08-18"
    place.mkdir(parents=True)
    (place / "part.parquet").write_bytes(day)
    whole = _parquet.read_table("closes", tmp_path / "closes", COLUMNS["closes"])
    refused = 0
    for _ in range(100):
        raw = bytearray(day)
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        if draw.random() < 0.2:
            del raw[draw.randrange(len(raw)) :]
        (place / "part.parquet").write_bytes(raw)
        try:
            found = _parquet.read_table("closes", tmp_path / "closes", COLUMNS["closes"])
        except TableError as error:
            assert "part.parquet" in str(error)
            refused += 1
            continue
        pd.testing.assert_frame_equal(found, whole, check_exact=True)
    assert refused > 50
