"""Published files, made by hand as their publishers write them: read, and refused by line when they are altered."""

import gzip
import json
import logging
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from mmlib.stock_loan import public_files
from mmlib.stock_loan.tables import TableError

FAILS = """SETTLEMENT DATE|CUSIP|SYMBOL|QUANTITY (FAILS)|DESCRIPTION|PRICE
20210301|D1668R123|AAA|65|ALPHA AG|80.30
20210301|D18190898|NA|77197|BETA AG (DE|.
Trailer record count 2
Trailer total quantity of shares 77262
"""
SHORT = """Date|Symbol|ShortVolume|ShortExemptVolume|TotalVolume|Market
20210427|A|100|1|250.5|B,Q
20210427|NA|50|0|50|N
2
""".replace("\n", "\r\n")
SHORTABLE = """#BOF|2025.12.28|15:14:44
#SYM|CUR|NAME|CON|ISIN|REBATERATE|FEERATE|AVAILABLE|FIGI|
A|USD|ALPHA|1|US1|3.2319|0.4081|4100000|F1|
NA|USD|BETA|2|US2|-95.4037|99.0437|>10000000||
#EOF|2
"""
OCC = """"","Symbol","Market.Loan.Loan.Balance","Hedge.Loan.Balance","Date"
"1","GME",0,88486259,"01/02/2020"
"2","GME",5,66876782,"01/03/2020"
"""
OCC_JSON = json.dumps({"stockLoanResults": [
    {"businessDate": "2024-01-02", "symbol": "GME", "newMarketLoanCount": 3, "totalMarketLoanVal": 10.5,
     "newBilateralLoanCount": 4, "totalBilateralLoanVal": 20}]})  # fmt: skip
READERS = {"fails": (public_files.fails, FAILS), "short": (public_files.short_volume, SHORT),
           "shortable": (public_files.shortable, SHORTABLE), "occ": (public_files.occ_balances, OCC),
           "json": (public_files.occ_balances, OCC_JSON)}  # fmt: skip


def test_public_files_load_with_a_ticker_called_na_and_missing_prices(tmp_path):
    found = {}
    for name, (read, text) in READERS.items():
        (tmp_path / name).write_bytes(text.encode())
        found[name] = read(tmp_path / name)
    assert found["fails"]["symbol"].tolist() == ["AAA", "NA"]
    assert found["fails"]["price"].isna().tolist() == [False, True]
    assert found["short"]["total_volume"].tolist() == [250.5, 50.0]
    assert found["shortable"]["fee_rate"].tolist() == [40.81, 9904.37]
    assert found["shortable"]["capped"].tolist() == [False, True]
    assert found["occ"]["hedge_loans"].tolist() == [88486259.0, 66876782.0]
    assert found["json"][["market_loans", "hedge_loans", "new_hedge_loans"]].iloc[0].tolist() == [10.5, 20.0, 4.0]


def test_public_files_load_from_gz_and_zip(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(SHORT.encode()))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("fails.txt", FAILS)
    assert len(public_files.short_volume(tmp_path / "a.gz")) == 2
    assert len(public_files.fails(tmp_path / "b.zip")) == 2
    (tmp_path / "cut.gz").write_bytes(gzip.compress(SHORT.encode())[:-9])
    with pytest.raises(TableError, match="must be a whole archive"):
        public_files.short_volume(tmp_path / "cut.gz")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("fails", "20210301|D18190898|NA|77197|BETA AG (DE|.\n", "", "record count must match .*got 2, rows give 1"),
        ("fails", "77262", "77263", "trailer's total quantity of shares .*got 77263, rows give 77262"),
        ("fails", "Trailer total quantity of shares 77262\n", "", r"line 3 must be the trailer Trailer record count N"),
        ("fails", "|65|", "|6x|", r"QUANTITY \(FAILS\) must be a whole number >= 0; 1 bad, first line 2: 6x"),
        ("fails", "ALPHA AG|", "ALPHA|AG|", "line 2 must have 6 fields; got 7"),
        ("fails", "PRICE\n", "PRIX\n", "line 1 must be SETTLEMENT DATE"),
        ("short", "\r\n2\r\n", "\r\n3\r\n", "trailer's number of rows .*got 3, rows give 2"),
        ("short", "\r\n2\r\n", "\r\n", r"line 3 must be the trailer N \(cut short\?\)"),
        ("short", "\r\n2\r\n", "\r\n2", r"line 4 must end with a line end \(cut short\?\)"),
        ("short", "|100|1|", "|100|101|", "ShortExemptVolume must be <= ShortVolume; 1 bad, first line 2: 101"),
        ("short", "|50|0|50|", "|51|0|50|", "ShortVolume must be <= TotalVolume; 1 bad, first line 3: 51"),
        ("short", "|NA|", "|A|", "Symbol must be listed once a day; 1 bad, first line 3: A"),
        ("short", "20210427|A", "20211327|A", "date must be of the form %Y%m%d; 1 bad, first line 2: 20211327"),
        ("shortable", "#EOF|2", "#EOF|3", "#EOF count must match .*got 3, rows give 2"),
        ("shortable", "#EOF|2\n", "", r"line 4 must be the trailer #EOF\|N"),
        ("shortable", "3.2319", "3.3319", "must be one benchmark on 95% of rows; got 50.0%"),
        ("shortable", "#BOF|2025.12.28|15:14:44\n", "", r"line 1 must be #BOF\|date\|time"),
        ("occ", '"2","GME"', '"3","GME"', "row number must be one more than the line before; 1 bad, first line 3: 3"),
        ("occ", "01/03/2020", "01/02/2020", "Symbol must be listed once a day; 1 bad, first line 3: GME"),
        ("occ", "88486259", "-1", "Hedge Loan Balance must be >= 0; 1 bad, first line 2: -1"),
        ("json", "}]}", "", r"line 1 must be JSON \(cut short\?\)"),
        ("json", '"symbol": "GME", ', "", "record 1 must have .*got no symbol"),
        ("json", "stockLoanResults", "results", "must be an object with stockLoanResults"),
    ],
)  # fmt: skip
def test_an_altered_public_file_is_refused_with_its_name_and_line(tmp_path, name, old, new, message):
    read, text = READERS[name]
    assert old in text
    (tmp_path / "file.txt").write_bytes(text.replace(old, new, 1).encode())
    with pytest.raises(TableError, match=rf"file\.txt: .*{message}"):
        read(tmp_path / "file.txt")


def test_public_files_in_another_encoding_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(SHORT.replace("|A|", "|Ä|").encode("latin-1"))
    with pytest.raises(TableError, match="a: line 2 must be utf-8 text; got byte 0xc4"):
        public_files.short_volume(tmp_path / "a")
    (tmp_path / "b").write_bytes(FAILS.encode("utf-16"))
    with pytest.raises(TableError, match="b: line 1 must be latin-1 text; got a zero byte"):
        public_files.fails(tmp_path / "b")


AVAILABILITY = """DT|TM|REBATE|FEE|AVAIL
2021.03.19|00:00:03|-0.4803|0.5503|250000
2021.03.19|00:15:03|-0.4803|0.5503|200000
"""
READERS["day"] = (public_files.availability, AVAILABILITY)


def test_public_files_are_read_without_the_packages_of_the_tables():
    """The interpreter is told that pandera and DuckDB do not exist."""
    program = (
        "import sys; sys.modules.update(pandera=None, duckdb=None, pyarrow=None)\n"
        "from mmlib.stock_loan import public_files\n"
        "from mmlib.stock_loan._book import Book, TableError\n"
        "assert not any(name.startswith('pandera.') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_list_from_before_the_figi_is_read_and_what_it_does_not_say_is_missing(tmp_path):
    """As in August 2022: eight fields and a last bar."""
    old = SHORTABLE.replace("AVAILABLE|FIGI|", "AVAILABLE|").replace("|F1|", "|").replace(">10000000||", ">10000000|")
    (tmp_path / "usa.txt").write_text(old)
    frame = public_files.shortable(tmp_path / "usa.txt")
    assert frame["figi"].isna().all()
    (tmp_path / "new.txt").write_text(SHORTABLE)
    new = public_files.shortable(tmp_path / "new.txt")
    pd.testing.assert_frame_equal(frame.drop(columns="figi"), new.drop(columns="figi"), check_exact=True)
    assert new["figi"].tolist() == ["F1", ""]
    (tmp_path / "usa.txt").write_text(old.replace("|4100000|", "|4100000|F1|"))
    with pytest.raises(TableError, match="line 3 must have 9 fields; got 10"):
        public_files.shortable(tmp_path / "usa.txt")


def test_names_are_written_out_and_only_where_html_means_a_character(tmp_path):
    text = SHORTABLE.replace("ALPHA", "A&amp;B &lt;X&gt; &#39;Y&#x27;").replace("BETA", "AT&T &LT &nosuch; &amp;amp;")
    (tmp_path / "usa.txt").write_text(text)
    names = public_files.shortable(tmp_path / "usa.txt")["name"].tolist()
    assert names == ["A&B <X> 'Y'", "AT&T &LT &nosuch; &amp;"]


def test_fails_without_trailers_are_taken_when_asked_for_and_the_log_says_so(tmp_path, caplog):
    lines = FAILS.splitlines(keepends=True)
    path = tmp_path / "fails.txt"
    path.write_text("".join(lines[:-2]))
    with pytest.raises(TableError, match="must be the trailer Trailer record count N"):
        public_files.fails(path)
    with caplog.at_level(logging.WARNING):
        assert public_files.fails(path, trailer=False)["quantity"].tolist() == [65, 77197]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "fails.txt has no trailer: record count 2 is not checked",
        "fails.txt has no trailer: total quantity of shares 77,262 is not checked",
    ]
    caplog.clear()
    path.write_text(FAILS)
    assert len(public_files.fails(path, trailer=False)) == 2
    assert not caplog.records
    path.write_text(FAILS.replace("count 2", "count 3"))
    with pytest.raises(TableError, match=r"record count must match .*got 3, rows give 2"):
        public_files.fails(path, trailer=False)
    path.write_text("".join(lines[:-2] + lines[-1:]))
    with caplog.at_level(logging.WARNING):
        assert len(public_files.fails(path, trailer=False)) == 2
    assert [record.getMessage() for record in caplog.records] == said[:1]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("fails", "20210301|D1668", "2021031|D1668", "date must be of the form %Y%m%d; 1 bad, first line 2: 2021031"),
        ("fails", "|65|", "|²|", "QUANTITY .* must be a whole number >= 0; 1 bad"),
        ("fails", "|80.30", "|", "PRICE must be a number; 1 bad, first line 2: nothing"),
        ("fails", "|80.30", "|-1", "PRICE must be >= 0; 1 bad, first line 2: -1"),
        ("short", "|100|1|", "|1_00|1|", "ShortVolume must be a number; 1 bad, first line 2: 1_00"),
        ("short", "|100|1|", "| 100|1|", "ShortVolume must be a number; 1 bad, first line 2:  100"),
        ("short", "|100|1|", "|nan|1|", "ShortVolume must be a number; 1 bad, first line 2: nan"),
        ("short", "250.5", "1e999", "TotalVolume must be a number below 1e308; 1 bad, first line 2: 1e999"),
        ("short", "\n20210427|A|", "\n20210427||", "Symbol must be given; 1 bad, first line 2: nothing"),
        ("short", "20210427|NA", "20210428|NA", "Date must be one day's in this file; 1 bad, first line 3: 20210428"),
        ("shortable", "|F1|", "|F1|x", "what follows the last bar must be nothing; 1 bad, first line 3: x"),
        ("shortable", "|1|US1", "|2|US1", "CON must be listed once; 1 bad, first line 4: 2"),
        ("shortable", "15:14:44", "25:14:44", "date must be of the form .*; 1 bad, first line 1: 2025.12.28 25:14:44"),
        ("shortable", "\nNA|USD", "\n|USD", "#SYM must be given; 1 bad, first line 4: nothing"),
        ("day", "00:15:03", "00:00:03", "TM must be later than the line before; 1 bad, first line 3: 00:00:03"),
        ("day", "|250000", "|250000.5", "AVAIL must be a whole number >= 0; 1 bad, first line 2: 250000.5"),
        ("occ", '"01/03/2020"', '"1/3/2020"', "date must be of the form %m/%d/%Y; 1 bad, first line 3: 1/3/2020"),
        ("occ", '"2","GME"', '"2","GME', "line 3 must be CSV"),
        ("occ", '"2","GME"', '"2",""', "Symbol must be given; 1 bad, first line 3: nothing"),
        ("json", '"symbol": "GME"', '"symbol": "GME", "symbol": "AMC"', "a field of an object must be given once"),
        ("json", "10.5", "NaN", "totalMarketLoanVal must be a number; 1 bad, first record 1: nan"),
        ("json", "10.5", "true", "totalMarketLoanVal must be a number; 1 bad, first record 1: True"),
        ("json", OCC_JSON, '{"stockLoanResults": ' + "[" * 100_000, "got brackets without end"),
        ("json", OCC_JSON, '{"stockLoanResults": [3]}', "record 1 must be an object; got 3"),
        ("json", OCC_JSON, '{"stockLoanResults": 3}', "stockLoanResults must be a list; got 3"),
    ],
)  # fmt: skip
def test_what_a_parser_would_guess_at_is_refused(tmp_path, name, old, new, message):
    test_an_altered_public_file_is_refused_with_its_name_and_line(tmp_path, name, old, new, message)


def test_prices_with_and_without_leading_zero_and_counts_in_powers_are_numbers(tmp_path):
    (tmp_path / "f").write_text(FAILS.replace("|80.30", "|.05"))
    assert public_files.fails(tmp_path / "f")["price"].iloc[0] == 0.05
    (tmp_path / "o").write_text(OCC.replace("88486259", "8.8e+07"))
    assert public_files.occ_balances(tmp_path / "o")["hedge_loans"].iloc[0] == 8.8e7


def test_the_share_that_must_agree_is_a_share(tmp_path):
    (tmp_path / "usa.txt").write_text(SHORTABLE.replace("3.2319", "3.3319"))
    assert len(public_files.shortable(tmp_path / "usa.txt", agreement=0.5)) == 2
    with pytest.raises(ValueError, match="agreement must be >= 0 and <= 1"):
        public_files.shortable(tmp_path / "usa.txt", agreement=95)


@pytest.mark.parametrize("name", sorted(READERS))
def test_two_hundred_damaged_files_are_read_as_written_or_refused(tmp_path, name):
    """Lines cut, doubled, swapped, dropped; characters lost, doubled, changed. Nothing but a TableError comes out, and
    what is read has as many rows as the file has lines of its kind: no line is skipped, joined or split."""
    read, text = READERS[name]
    draw, accepted = random.Random(11), 0
    for _ in range(200):
        raw = damaged(text, draw)
        (tmp_path / "f").write_bytes(raw)
        try:
            frame = read(tmp_path / "f")
        except TableError as error:
            assert str(error).startswith("f")
            continue
        accepted += 1
        if name == "json":
            assert len(frame) == raw.count(b"businessDate")
        else:
            around = {"fails": 3, "short": 2, "shortable": 3, "occ": 1, "day": 1}[name]
            assert len(frame) == raw.count(b"\n") - around
    assert accepted < 150


def damaged(text, draw):
    """The text after one or two accidents."""
    raw = bytearray(text.encode())
    for _ in range(draw.randint(1, 2)):
        at = draw.randrange(len(raw)) if raw else 0
        what = draw.randrange(7)
        lines = bytes(raw).splitlines(keepends=True)
        if what == 0:
            del raw[at:]
        elif what == 1:
            del raw[at : at + draw.randint(1, 5)]
        elif what == 2:
            raw[at:at] = bytes(raw[at : at + draw.randint(1, 5)])
        elif what == 3 and raw:
            raw[at] ^= 1 << draw.randrange(8)
        elif what == 4 and raw:
            raw[at] = draw.choice(b'0123456789.,|"\n\r -+eE\0\xff')
        elif lines:
            one, two = draw.randrange(len(lines)), draw.randrange(len(lines))
            if what == 5:
                lines[one], lines[two] = lines[two], lines[one]
            else:
                lines[one] = draw.choice([b"", 2 * lines[one]])
            raw = bytearray(b"".join(lines))
    return bytes(raw)


@pytest.fixture(scope="module")
def real():
    place = os.environ.get("MMLIB_REAL_DATA")
    if not place:
        pytest.skip("MMLIB_REAL_DATA is not set: no real files to read")
    return Path(place) / "stock_loan"


def test_the_real_fails_file_agrees_with_its_trailers(real):
    """58,538 rows and 3,039,187,212 shares, as its datasheet says."""
    frame = public_files.fails(real / "cnsfails202103a.zip")
    assert (len(frame), int(frame["quantity"].sum())) == (58_538, 3_039_187_212)


def test_the_real_short_volume_file_has_the_stated_sums(real):
    frame = public_files.short_volume(real / "CNMSshvol20210427.txt")
    assert (len(frame), frame["short_volume"].sum(), frame["total_volume"].sum()) == (
        9_714,
        1_969_748_043,
        4_234_675_509,
    )


def test_the_real_short_volume_history_covers_eighty_funds(real):
    frame = public_files.short_volume(real / "gme_etfs_FNSQshvol_history.txt.gz")
    assert (len(frame), frame["symbol"].nunique()) == (131_672, 80)
    assert (frame["trade_date"].min().year, frame["trade_date"].max().year) == (2010, 2021)


def test_the_real_shortable_list_agrees_on_a_benchmark_of_364_bp(real):
    frame = public_files.shortable(real / "usa_20251228.txt.gz")
    assert len(frame) == 16_860
    assert ((frame["fee_rate"] + frame["rebate_rate"]).round(2) == 364.0).sum() == 16_100


def test_the_real_occ_balances_and_a_day_of_availability_load(real):
    frame = public_files.occ_balances(real / "occ_gme_2020_2022.csv")
    assert (len(frame), str(frame["trade_date"].min())[:7], str(frame["trade_date"].max())[:7]) == (
        669,
        "2020-01",
        "2022-08",
    )
    day = public_files.availability(real / "GME_ibkr_availability_20210319.txt")
    assert ((day["fee_rate"] + day["rebate_rate"]).round(2) == 7.0).all()
