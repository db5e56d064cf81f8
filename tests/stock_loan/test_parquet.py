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


def closes_of(folder, **columns):
    """The table `closes` from one file of two rows, some of its columns as given."""
    from mmlib.stock_loan import _parquet

    (folder / "closes").mkdir(exist_ok=True)
    usual = {"trade_date": pa.array([datetime.date(2025, 9, 8)] * 2), "security_id": pa.array(["A", "B"]),
             "close": pa.array([1.5, 2.5]), "indicative_fee": pa.array([30.0, None])}  # fmt: skip
    pq.write_table(pa.table(usual | columns), folder / "closes" / "part.parquet")
    return _parquet.read_table("closes", folder / "closes", COLUMNS["closes"])


def test_views_of_text_timestamps_and_columns_of_nothing_are_read_as_what_they_hold(tmp_path):
    usual = closes_of(tmp_path)
    assert usual["trade_date"].tolist() == [pd.Timestamp("2025-09-08")] * 2
    views = closes_of(tmp_path, security_id=pa.array(["A", "B"], pa.string_view()))
    assert views["security_id"].tolist() == ["A", "B"]
    large = closes_of(tmp_path, security_id=pa.array(["A", "B"], pa.large_string()))
    assert large["security_id"].tolist() == ["A", "B"]
    stamps = closes_of(tmp_path, trade_date=pa.array([pd.Timestamp("2025-09-08")] * 2, pa.timestamp("ns")))
    assert stamps["trade_date"].tolist() == usual["trade_date"].tolist()
    nothing = closes_of(tmp_path, indicative_fee=pa.nulls(2), security_id=pa.nulls(2))
    assert nothing["indicative_fee"].dtype == "float64"
    assert nothing["indicative_fee"].isna().all()
    assert nothing["security_id"].tolist() == [None, None]
    with pytest.raises(TableError, match="trade_date must be dates; got Parquet type timestamp"):
        closes_of(tmp_path, trade_date=pa.array([pd.Timestamp("2025-09-08", tz="UTC")] * 2))


def test_text_that_is_no_unicode_and_a_column_twice_are_refused(tmp_path):
    from mmlib.stock_loan import _parquet

    offsets = np.array([0, 1, 2], np.int32).tobytes()
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(b"\xffB"))
    with pytest.raises(TableError, match=r"^closes/part\.parquet: a Parquet file cannot be read"):
        closes_of(tmp_path, security_id=broken)
    names = ["trade_date", "security_id", "close", "indicative_fee", "close"]
    day, name, number = pa.array([datetime.date(2025, 9, 8)]), pa.array(["A"]), pa.array([1.0])
    twice = pa.Table.from_arrays([day, name, number, number, number], names)
    pq.write_table(twice, tmp_path / "closes" / "part.parquet")
    with pytest.raises(TableError, match="each once; got repeats"):
        _parquet.read_table("closes", tmp_path / "closes", COLUMNS["closes"])


def test_a_flipped_bit_in_a_price_is_found_by_its_pages_checksum(tmp_path):
    """The eight bytes of one price, found in the file as they are: without the checksum 1.5 would be read as 1.75."""
    from mmlib.stock_loan import _parquet

    prices = 1.5 + np.arange(2000) * 0.001
    place = tmp_path / "closes" / "trade_date=2025-09-08"
    place.mkdir(parents=True)
    names = [f"S{i:04d}" for i in range(2000)]
    frame = pd.DataFrame({"security_id": names, "close": prices, "indicative_fee": np.nan})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for checksum in (False, True):
        path = place / "part.parquet"
        pq.write_table(table, path, write_page_checksum=checksum, compression="none", use_dictionary=False)
        raw, value = bytearray(path.read_bytes()), np.float64(prices[1000]).tobytes()
        assert raw.count(value) == 1
        raw[raw.index(value) + 6] ^= 4
        path.write_bytes(raw)
        if checksum:
            with pytest.raises(TableError, match="cannot be read"):
                _parquet.read_table("closes", tmp_path / "closes", COLUMNS["closes"])
        else:
            found = _parquet.read_table("closes", tmp_path / "closes", COLUMNS["closes"])
            assert (found["close"].to_numpy() != prices).sum() == 1
