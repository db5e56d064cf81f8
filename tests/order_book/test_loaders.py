"""Files that are not what they should be: each an error that names the line, or a reported oddity; never a repair."""

import gzip
import zipfile

import numpy as np
import pytest

from mmlib.order_book import binance, events, lobster, synthetic
from mmlib.order_book.events import EventError


@pytest.fixture(scope="module")
def table():
    return synthetic.lobster_events(seconds=60, levels=2, seed=3)


@pytest.fixture
def files(table, tmp_path):
    paths = tmp_path / "X_message_2.csv", tmp_path / "X_orderbook_2.csv"
    lobster.write(table, *paths)
    return paths


def edited(path, line, column, value):
    lines = path.read_text().split("\n")
    fields = lines[line - 1].split(",")
    fields[column] = value
    lines[line - 1] = ",".join(fields)
    path.write_text("\n".join(lines))


def test_written_and_read_is_the_same_in_every_wrapping(table, files, tmp_path):
    whole = lobster.read(*files, cache=False)
    assert whole.equals(table)
    archive = tmp_path / "sample.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in files:
            out.write(path, path.name)
    assert lobster.read(archive, cache=False).equals(table)
    assert lobster.read(archive, archive, cache=False).equals(table)
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    found = lobster.read(*files, cache=False)
    assert found.equals(table)
    assert found.attrs["report"]["crlf"] == [path.name for path in files]


@pytest.mark.parametrize("part", [1, 70, 1000])
def test_a_file_read_in_parts_is_the_same(table, files, monkeypatch, part):
    """Parts of a line, of some, of many, by three threads; a fault in two of them is that of the first line."""
    whole = lobster.read(*files, cache=False)
    monkeypatch.setattr(lobster, "PART", part)
    monkeypatch.setattr(lobster, "THREADS", 3)
    found = lobster.read(*files, cache=False)
    assert found.equals(table)
    assert found.attrs == whole.attrs
    n = len(table)
    for line, column, value, message in (
        (n, 4, "0", f"line {n}: ask_price_2 must be > 0"),
        (n // 2, 4, "0", f"line {n // 2}: ask_price_2 must be > 0"),
        (n - 1, 5, "x", f"line {n - 1}: ask_size_2 must be a whole number"),
        (n // 3, 5, "x", f"line {n // 3}: ask_size_2 must be a whole number"),
    ):
        edited(files[1], line, column, value)
        with pytest.raises(EventError, match=message):
            lobster.read(*files, cache=False)


def test_events_that_were_read_cannot_be_changed_in_place(files):
    """Neither the first time nor from the cache: the two columns of times may share their memory."""
    for _ in range(2):
        found = lobster.read(*files)
        with pytest.raises(ValueError, match="read-only"):
            found.loc[3, "time_ns"] = 0
        mine = found.copy()
        mine.loc[3, "time_ns"] = 0
        assert mine["local_ns"].equals(found["local_ns"])


def test_a_cached_read_is_the_same_and_notices_a_change(table, files, monkeypatch):
    first, second = lobster.read(*files), lobster.read(*files)
    assert first.equals(second)
    assert first.attrs == second.attrs
    assert len(list(files[0].parent.glob(".*.events.parquet"))) == 1
    edited(files[0], 5, 3, "77")
    assert lobster.read(*files)["size"].iloc[4] == 77


def test_a_damaged_cache_is_made_again(table, files):
    lobster.read(*files)
    cached = next(files[0].parent.glob(".*.events.parquet"))
    data = bytearray(cached.read_bytes())
    data[len(data) // 3] ^= 255
    cached.write_bytes(data)
    assert lobster.read(*files).equals(table)


@pytest.mark.parametrize(
    ("which", "line", "column", "value", "message"),
    [
        (0, 3, 0, "1.5", "line 3: time must not go back"),
        (0, 3, 1, "8", "line 3: type must be 1 … 7"),
        (0, 3, 1, "4.0", "line 3: type must end the line"),
        (0, 3, 2, "x", "line 3: order id must be a whole number"),
        (0, 3, 3, "", "line 3: size must be a whole number"),
        (0, 3, 3, "-5", "line 3: size must be >= 0"),
        (0, 3, 4, "0", "line 3: price must be > 0"),
        (0, 3, 5, "0", "line 3: direction must be 1 or -1"),
        (0, 3, 5, "1,1", "line 3: direction must end the line"),
        (0, 3, 4, "9" * 19, "line 3: price has more than 18 digits"),
        (0, 3, 0, "34200.", "line 3: time must be a whole number"),
        (1, 4, 0, "-9999999999", "line 4: ask_price_1 must be > 0"),
        (1, 4, 0, "9999999999", "line 4: ask_price_1 must be > 0 with a size > 0"),
        (1, 4, 4, "1", "line 4: levels must go from the best price outward"),
        (1, 1, 7, "5,6", "line 1: must have 4 numbers a level; got 9"),
    ],
)
def test_a_wrong_line_is_named(files, which, line, column, value, message):
    edited(files[which], line, column, value)
    with pytest.raises(EventError, match=message):
        lobster.read(*files, cache=False)


def test_an_empty_level_is_nan_with_size_0_and_counted(files):
    for column, value in ((4, "9999999999"), (5, "0"), (6, "-9999999999"), (7, "0")):
        edited(files[1], 4, column, value)
    found = lobster.read(*files, cache=False)
    assert found.loc[3, ["ask_price_2", "bid_price_2"]].isna().all()
    assert found.loc[3, ["ask_size_2", "bid_size_2"]].eq(0).all()
    assert found.attrs["report"]["empty_levels"] == 2 + np.isnan(lobster_prices(found.drop(index=3))).sum()


def lobster_prices(found):
    return found[[name for name in events.book_columns(2) if "price" in name]].to_numpy()


def test_halts_and_crosses_are_kept_and_counted(files):
    for line, kind, price in ((3, "7", "-1"), (4, "6", "1000000")):
        edited(files[0], line, 1, kind)
        edited(files[0], line, 4, price)
    found = lobster.read(*files, cache=False)
    assert (found.attrs["report"]["halts"], found.attrs["report"]["crosses"]) == (1, 1)
    assert found["price"].iloc[2] == -1.0


def test_files_of_unequal_length_cut_or_missing(files, tmp_path):
    book = files[1].read_bytes()
    files[1].write_bytes(b"\n".join(book.split(b"\n")[:-2]) + b"\n")
    with pytest.raises(EventError, match="must have a line for each of"):
        lobster.read(*files, cache=False)
    files[1].write_bytes(book[:-3])
    with pytest.raises(EventError, match="is cut short"):
        lobster.read(*files, cache=False)
    with pytest.raises(EventError, match="cannot be read"):
        lobster.read(tmp_path / "none.csv", files[1])


def test_validate_finds_what_was_changed(table):
    wrong = table.copy()
    wrong.loc[50:, "bid_size_1"] += 1
    found = events.validate(wrong)
    assert found["row"].iloc[0] == 50
    assert (found["what"] == "book").all()
    assert events.validate(table).empty


def test_each_disagreement_has_its_row_column_and_both_values(table):
    """One size, one price, one locked book, one time that goes back, each at rows that were looked up by hand."""
    same = table.copy()
    ask, bid, time = (same.columns.get_loc(name) for name in ("ask_price_1", "bid_price_1", "time_ns"))
    size = same.columns.get_loc("bid_size_2")
    last = len(same) - 1  # what is wrong in the last row is wrong in no later one
    right, same.iloc[last, size] = same.iloc[last, size], same.iloc[last, size] + 7
    found = events.validate(same)
    assert found.to_dict("records") == [
        {"row": last, "what": "book", "column": "bid_size_2", "expected": right, "found": right + 7}
    ]
    same = table.copy()
    same.iloc[last, bid] = same.iloc[last, ask]
    found = events.validate(same)
    assert found["what"].tolist() == ["book", "crossed"]
    assert found["row"].tolist() == [last] * 2
    assert found["column"].tolist() == ["bid_price_1"] * 2
    touch = table.iloc[last, [bid, ask]].tolist()
    assert found["expected"].tolist() == pytest.approx(touch, abs=1e-9)
    assert found["found"].tolist() == pytest.approx([touch[1]] * 2, abs=1e-9)
    same = table.copy()
    same.iloc[9, time] = same.iloc[8, time] - 1
    assert events.validate(same).to_dict("records") == [
        {"row": 9, "what": "time", "column": "time_ns", "expected": same.iloc[8, time], "found": same.iloc[9, time]}
    ]
    same.iloc[9, time] = same.iloc[8, time]
    assert events.validate(same).empty
    for kind in (0, 8):
        same.iloc[5, same.columns.get_loc("kind")] = kind
        with pytest.raises(EventError, match="events must be LOBSTER's"):
            events.validate(same)


def mutated(data, rng):
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(data)))
        how = rng.integers(4)
        if how == 0:
            data[at] = rng.integers(256)
        elif how == 1:
            del data[at : at + int(rng.integers(1, 30))]
        elif how == 2:
            data[at:at] = bytes(rng.integers(0, 256, rng.integers(1, 10), dtype=np.uint8))
        else:
            data = data[:at]
        data = data or bytearray(b"x")
    return bytes(data)


def unless_refused(read, path, original, rng, times=500):
    """What `read` makes of each mutation of the file that it does not refuse by an EventError, and its bytes."""
    for _ in range(times):
        data = mutated(original, rng)
        path.write_bytes(data)
        try:
            yield data, read()
        except EventError:
            continue


def same_numbers(texts, values):
    """Whether Python reads from the texts exactly the values."""
    return len(texts) == len(values) and all(float(text) == value for text, value in zip(texts, values, strict=True))


def test_mutated_files_are_refused_or_read_as_they_stand(table, tmp_path):
    """500 mutations a loader: an EventError, or exactly what Python's own parsers see in the same bytes."""
    rng = np.random.default_rng(5)
    small = table.iloc[:60]
    message, book = tmp_path / "m.csv", tmp_path / "o.csv"
    lobster.write(small, message, book)
    originals = message.read_bytes(), book.read_bytes()

    def read():
        return lobster.read(message, book, cache=False)

    for data, found in unless_refused(read, message, originals[0], rng):
        lines = data.decode("ascii").splitlines()[len(found.attrs["report"]["header"]) :]
        assert [line.split(",")[1:4] for line in lines] == [
            [str(kind), str(number), str(size)] for kind, number, size in
            found[["kind", "order_id", "size"]].itertuples(index=False)
        ] or any(field.lstrip("-").startswith("0") for line in lines for field in line.split(",")[1:4])  # fmt: skip
    message.write_bytes(originals[0])
    names = events.book_columns(2)
    scale = np.tile([10_000.0, 1.0], 4)
    accepted = 0
    for data, found in unless_refused(read, book, originals[1], rng):
        lines = data.decode("ascii").splitlines()[len(found.attrs["report"]["header"]) :]
        for line, row in zip(lines, found[names].to_numpy(float), strict=True):
            there = np.array([int(field) for field in line.split(",")], float)
            empty = np.abs(there) == 9_999_999_999
            assert np.array_equal(np.where(empty, np.nan, there / scale), row, equal_nan=True)
        accepted += 1
    assert 0 < accepted < 250
    capture = tmp_path / "c.txt"
    synthetic.write_capture(small, capture)
    original, accepted = capture.read_bytes(), 0
    for _, found in unless_refused(lambda: binance.read_capture(capture, cache=False), capture, original, rng):
        accepted += 1
        assert np.isfinite(found[["size", "price"]].to_numpy()).all()
    assert 0 < accepted < 250


ROWS = {  # rows by hand, and the columns that the events take: exchange's time, number, size, price
    "aggTrades": ("26129,0.01633102,4.70443515,27781,27781,1498793709153,true\n", 1, (5, 0, 2, 1)),
    "trades": ("28457,4.00000100,12.00000000,48.000012,1499865549590,true\n", 1, (4, 0, 2, 1)),
    "bookTicker": ("400900217,0.50,10.5,0.60,70.25,1568014460893,1568014460891\n", 2, (5, 0, None, None)),
}


@pytest.mark.parametrize("kind", list(ROWS))
def test_mutated_archives_are_refused_or_read_as_they_stand(kind, tmp_path):
    row, each, (time, number, size, price) = ROWS[kind]
    rng, path, accepted = np.random.default_rng(6), tmp_path / f"BTCUSDT-{kind}-2024-01-02.csv", 0
    for data, found in unless_refused(lambda: binance.read_archive(path, cache=False), path, row.encode() * 20, rng):
        accepted += 1
        assert found.attrs["report"]["header"] is False
        cells = [line.split(",") for line in data.decode("ascii").splitlines()]
        found = found.iloc[::each]
        unit = {"ms": 10**6, "us": 10**3}[found.attrs["report"]["time_unit"]]
        assert [int(cell[time]) * unit for cell in cells] == found["time_ns"].tolist()
        assert [int(cell[number]) for cell in cells] == found["order_id"].tolist()
        if kind == "bookTicker":
            for column, name in zip(
                (1, 2, 3, 4), ("bid_price_1", "bid_size_1", "ask_price_1", "ask_size_1"), strict=True
            ):
                assert same_numbers([cell[column] for cell in cells], found[name].fillna(0.0).to_numpy())
        else:
            assert same_numbers([cell[size] for cell in cells], found["size"].to_numpy())
            assert same_numbers([cell[price] for cell in cells], found["price"].to_numpy())
    assert 0 < accepted < 250


def test_the_capture_of_a_book_gives_the_book_back(table, tmp_path):
    """Written as Binance's streams and rebuilt: the same book after each message that changed it."""
    path = tmp_path / "c.gz"
    synthetic.write_capture(table, path)
    found = binance.read_capture(path, levels=2, cache=False)
    book = found[np.isin(found["kind"], (events.DEPTH, events.SNAPSHOT))].groupby("message").last()
    names = events.book_columns(2)
    whole = table[names].to_numpy(float)
    new = np.append(True, np.any((whole[1:] != whole[:-1]) & ~(np.isnan(whole[1:]) & np.isnan(whole[:-1])), axis=1))
    assert np.array_equal(book[names].to_numpy(), whole[new], equal_nan=True)
    trades = found[found["kind"] == events.TRADE]
    assert trades["size"].sum() == table.loc[table["kind"] == events.EXECUTE, "size"].sum()


def test_a_damaged_zip_is_refused(files, tmp_path):
    """Every byte of the archive's directory and of a member's head, changed: never another exception."""
    archive = tmp_path / "sample.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in files:
            out.write(path, path.name)
    whole, data = lobster.read(archive, cache=False), archive.read_bytes()
    for at in [*range(60), *range(len(data) - 200, len(data))]:
        archive.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            assert lobster.read(archive, cache=False).equals(whole)
        except EventError as refusal:
            assert "sample.zip" in str(refusal)


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.99])
def test_a_truncated_gzip_yields_nothing(table, tmp_path, cut):
    path = tmp_path / "c.gz"
    synthetic.write_capture(table, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(EventError, match="must be a whole archive"):
        binance.read_capture(path, cache=False)


def test_gaps_are_named_or_passed_to_the_next_snapshot(table, tmp_path):
    path = tmp_path / "c.txt"
    synthetic.write_capture(table, path)
    lines = path.read_text().splitlines(keepends=True)
    gone = [i for i, line in enumerate(lines) if "depthUpdate" in line][40]
    path.write_text("".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(EventError, match=r"updates 41 to 42 are missing \(a gap\)"):
        binance.read_capture(path, cache=False)
    found = binance.read_capture(path, resync=True, cache=False)
    assert found.attrs["report"]["gaps"] == [[41, 42]]
    assert found["ask_price_1"].iloc[-1] != found["ask_price_1"].iloc[-1]  # NaN: no book since


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (rb'"u":4,', rb'"u":3.5,', "must hold times and ids as whole numbers"),
        (rb'"u":4,', rb'"u":true,', "must hold times and ids as whole numbers"),
        (rb'"u":4,', rb'"u":"3",', "must hold times and ids as whole numbers"),
        (rb'"u":4,', rb'"u":4,"u":4,', "must have each name once"),
        (rb'"u":4,', b'"u":4,"x":"\xff",', "must be UTF-8; got byte 0xff"),
        (rb'"b":[["', rb'"b":[["1_0', "texts of decimal numbers; got '1_0"),
        (rb'"b":[["', rb'"b":[[" ', "texts of decimal numbers; got ' "),
        (rb'"b":[["', '"b":[["\u0661'.encode(), "texts of decimal numbers"),
        (rb'"T":', rb'"t":', "must have the exchange's time T in all messages of a kind"),
        (rb'"T":', rb'"T":9', "must hold times and ids as whole numbers from 0 to 9223372036853"),
    ],
)  # fmt: skip
def test_what_python_would_read_as_a_number_is_refused(table, tmp_path, old, new, message):
    path = tmp_path / "c.txt"
    synthetic.write_capture(table, path)
    lines = path.read_bytes().split(b"\n")
    line = next(i for i, text in enumerate(lines) if b'"depthUpdate"' in text and b'"u":4,' in text)
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new, 1)
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(EventError, match=f"line {line + 1}: {message}" if "UTF" in message else message):
        binance.read_capture(path, cache=False)


def test_a_local_time_beyond_64_bits_is_refused(table, tmp_path):
    path = tmp_path / "c.txt"
    synthetic.write_capture(table, path)
    path.write_bytes(b"9999999999999999999" + path.read_bytes()[19:])
    with pytest.raises(EventError, match="line 1: must begin with the local time in ns"):
        binance.read_capture(path, cache=False)


ARCHIVES = {
    "aggTrades": "1,100.5,2.0,1,1,1758874297571,true\n2,100.6,1.5,2,3,1758874297572,false\n",
    "spot aggTrades": "1,100.5,2.0,1,1,1758874297571000,True,True\n2,100.6,1.5,2,3,1758874297572000,False,True\n",
    "trades": "id,price,qty,quote_qty,time,is_buyer_maker\n7,100.5,2.0,201.0,1758874297571,true\n"
    "8,100.6,1.5,150.9,1758874297572,false\n",
}


@pytest.mark.parametrize("text", ARCHIVES.values(), ids=ARCHIVES)
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "zip"])
def test_archives_in_every_wrapping(tmp_path, text, kind):
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as out:
            out.writestr("x.csv", text)
    else:
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    found = binance.read_archive(path, cache=False)
    assert found["time_ns"].tolist() == [1758874297571000000, 1758874297572000000]
    assert found["side"].tolist() == [1, -1]  # the buyer made: a resting bid was hit
    assert found["size"].tolist() == [2.0, 1.5]
    assert found["price"].tolist() == [100.5, 100.6]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("false", "fals", "line 2: is_buyer_maker must be true or false"),
        ("100.5", "1O0.5", "line 1: price must be a number"),
        ("100.5", "nan", "line 1: price must be a number"),
        ("100.5", "-1", "line 1: price must be a number"),
        ("100.5", "0", "line 1: price must be > 0"),
        ("100.6,1.5", "100.6", "line 2: transact_time must be a whole number"),
        ("1758874297572", "1758874297572000", "line 2: times must be all in ms or all in µs"),
        ("1758874297571", "1758874297", "line 1: times must be ms or µs from 2001"),
        ("1758874297572", "17558874297572", "line 2: times must be ms or µs from 2001 to 2262; got 17558874297572"),
        ("false\n", "false", "line 2: is cut short"),
        ("1.5,", "1.5\r,", "line 2: a carriage return must be before the line's end"),
    ],
)
def test_a_wrong_archive_is_refused(tmp_path, old, new, message):
    path = tmp_path / "x.csv"
    path.write_text(ARCHIVES["aggTrades"].replace(old, new))
    with pytest.raises(EventError, match=message):
        binance.read_archive(path, cache=False)


def test_a_zip_that_explodes_is_refused(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("X_message_1.csv", b"1" * 50_000_000)
        out.writestr("X_orderbook_1.csv", b"1,1,1,1\n")
    with pytest.raises(EventError, match="200 times its size"):
        lobster.read(path, cache=False)


def test_the_mid_and_the_columns_that_it_needs():
    """By hand; with the first missing column named, of the events and of the book."""
    table = synthetic.lobster_events(seconds=5, levels=2, seed=3).iloc[:3].copy()
    table["bid_price_1"], table["ask_price_1"] = [10.0, 10.5, np.nan], [11.0, 10.75, 12.0]
    assert np.array_equal(events.mid(table), [10.5, 10.625, np.nan], equal_nan=True)
    with pytest.raises(EventError, match="'size' is missing"):
        events.mid(table.drop(columns="size"))
    for name in ("bid_size_1", "ask_price_1", "bid_price_2"):
        with pytest.raises(EventError, match=f"a whole book after each row; '{name}' is missing"):
            events.levels(table.drop(columns=name))
    bare = table.drop(columns=events.book_columns(2))
    with pytest.raises(EventError, match="'ask_price_1' is missing"):
        events.levels(bare)
