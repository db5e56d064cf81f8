"""Every source gives the same book; every file that is cut short, wrong or not what it says is refused by line."""

import gzip
import json
import os
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from mmlib.stock_loan import allocation, desk, kpis, public_files, sources
from mmlib.stock_loan._schemas import COLUMNS
from mmlib.stock_loan.tables import TableError

INVENTORY = """tradeDate,securityId,quantityAvailable,marketPrice
2025-03-06,XYZ,10000,10.00
2025-03-07,XYZ,9000,11.00
2025-03-10,XYZ,9000,12.00
2025-03-11,XYZ,9400,10.50
"""
LOANS = """tradeDate,securityId,counterPartyId,quantityReturned,quantityBorrowed,loanFee,borrowFee,rebateRate
2025-03-06,XYZ,HF1,0,1000,36,18,394
2025-03-07,XYZ,HF1,0,1000,36,18,394
2025-03-11,XYZ,HF1,1400,0,72,18,358
"""


@pytest.fixture(scope="module")
def book():
    return desk.book(securities=20, days=15, clients=4, seed=3)


def same(first, second):
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


def folder(tmp_path, inventory=INVENTORY, loans=LOANS):
    (tmp_path / "inventory.csv").write_bytes(inventory if isinstance(inventory, bytes) else inventory.encode())
    (tmp_path / "loans.csv").write_bytes(loans if isinstance(loans, bytes) else loans.encode())
    return tmp_path


def test_csv_and_parquet_give_the_same_book_types_included(book, tmp_path):
    sources.write_csv(book, tmp_path / "csv")
    sources.write_parquet(book, tmp_path / "parquet")
    same(book, sources.open(tmp_path / "csv"))
    same(book, sources.open(f"parquet:{tmp_path / 'parquet'}"))
    assert (tmp_path / "parquet" / "loans" / "trade_date=2025-08-18").is_dir()


def test_empty_tables_survive_both_ways(book, tmp_path):
    bare = sources.Book(**{**{n: getattr(book, n) for n in COLUMNS}, "locates": book.locates.iloc[:0]})
    sources.write_csv(bare, tmp_path / "csv")
    sources.write_parquet(bare, tmp_path / "parquet")
    same(sources.open(tmp_path / "csv"), sources.open(f"parquet:{tmp_path / 'parquet'}"))


def test_parquet_is_not_written_over_what_is_there(book, tmp_path):
    (tmp_path / "old").write_text("x")
    with pytest.raises(ValueError, match="must be new or empty"):
        sources.write_parquet(book, tmp_path)


def test_a_desks_two_files_load_and_balances_are_carried_over_the_days_between(tmp_path):
    """By hand: 1,000 from Thursday, 2,000 from Friday over the weekend and Monday (no row), 600 after Tuesday's return,
    which is first in, first out; the accruals are q · p · fee/10⁴ · days/360 with Friday counting three days."""
    book = sources.open(folder(tmp_path))
    daily = kpis.loan_days(book, until="2025-03-12").groupby("trade_date")["quantity"].sum()
    assert list(daily) == [1000, 2000, 2000, 600]
    table = kpis.table(book, until="2025-03-12")
    by_hand = 0.10 + 2 * 0.33 + 2 * 0.12 + 0.13  # 36 bp is 1/100,000 a day; 600 × 10.50 × 72 bp/360 = 12.6 cents
    assert table["fee_accrual"].iloc[0] == pytest.approx(by_hand, abs=1e-12)
    assert list(kpis.loan_days(book)["loan_fee"].unique()) == [3600, 7200]
    lendable = 11_000 * 10 + 3 * 11_000 * 11 + 11_000 * 12 + 10_000 * 10.5
    on_loan = 1_000 * 10 + 3 * 2_000 * 11 + 2_000 * 12 + 600 * 10.5
    assert table["utilisation_value"].iloc[0] == pytest.approx(on_loan / lendable, rel=1e-15)
    assert book.rates["benchmark_rate"].dropna().unique().tolist() == [430.0]


def test_a_file_with_a_byte_order_mark_windows_line_ends_or_no_last_line_end_loads_alike(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = sources.open(folder(tmp_path / "a"))
    altered = b"\xef\xbb\xbf" + INVENTORY.replace("\n", "\r\n").encode(), LOANS.rstrip().encode()
    same(plain, sources.open(folder(tmp_path / "b", *altered)))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("loans", "1400,0,72", "2400,0,72", r"loans\.csv: quantityReturned must not exceed .*line 4: 400 of 2400"),
        ("loans", "2025-03-06,XYZ,HF1,0,1000", "2025-03-06,XYZ,HF1,50,0", r"loans\.csv: quantityReturned .*line 2"),
        ("loans", "0,1000,36", "0,-1000,36", r"loans\.csv: quantityBorrowed must be >= 0.*first line 2: -1000"),
        ("loans", "0,1000,36", "0,,36", r"loans\.csv: quantityBorrowed must be a whole number, not missing"),
        ("loans", "1000,36,18", "1000,0.0036,18", r"loans\.csv: loanFee must have at most 2 decimals"),
        ("loans", "1000,36,18", "1000,300000,18", r"loans\.csv: loanFee must be >= 0 and <= 200000"),
        ("loans", "2025-03-07,XYZ,HF1,0", "2025-03-06,XYZ,HF1,0", r"loans\.csv: counterPartyId repeats the key"),
        ("loans", "2025-03-11,XYZ,HF1,1400,0", "2025-03-11,ABC,HF1,0,10", "must have a close on every trade date"),
        ("loans", "394\n2025-03-11", "394,1\n2025-03-11", r"loans\.csv: line 3 must have 8 fields .*got 9"),
        ("loans", ",72,18,358\n", ",72\n", r"loans\.csv: line 4 must have 8 fields \(cut short\?\); got 6"),
        ("loans", "rebateRate", "rebate", "got missing rebateRate, unknown rebate"),
        ("loans", "2025-03-07", "07/03/2025", r"loans\.csv: tradeDate must be a date, YYYY-MM-DD.*line 3: 07/03/2025"),
        ("inventory", "9000,11.00", "9000,-11.00", r"inventory\.csv: marketPrice must be >= 0\.0001.*line 3: -11"),
        ("inventory", "9000,11.00", "9000,", r"inventory\.csv: marketPrice must not be missing.*line 3"),
        ("inventory", "2025-03-10,XYZ,9000,12.00\n", "2025-03-10,ZZ,9000,12.00\n", "close on every trade date"),
        ("inventory", "10000,10.00", "10000.5,10.00", r"inventory\.csv: quantityAvailable must be a whole number"),
    ],
)  # fmt: skip
def test_a_bad_desk_file_is_refused_with_file_column_and_line(tmp_path, file, old, new, message):
    texts = {"inventory": INVENTORY, "loans": LOANS}
    assert old in texts[file]
    texts[file] = texts[file].replace(old, new, 1)
    with pytest.raises(TableError, match=message):
        sources.open(folder(tmp_path, **texts))


def test_a_file_in_another_encoding_is_refused_by_line(tmp_path):
    with pytest.raises(TableError, match=r"loans\.csv: line 3 must be UTF-8 text; got byte 0xfc"):
        sources.open(folder(tmp_path, loans=LOANS.replace("07,XYZ,HF1", "07,XYZ,Zürich").encode("latin-1")))


def test_missing_empty_and_cut_files_are_refused(book, tmp_path):
    with pytest.raises(TableError, match=r"url must be a folder of CSV files or parquet:FOLDER; got 'kx:nowhere'"):
        sources.open("kx:nowhere")
    sources.write_csv(book, tmp_path)
    whole = (tmp_path / "closes.csv").read_bytes()
    (tmp_path / "closes.csv").write_bytes(whole[:-3])  # within the last number: still six digits, still a number
    with pytest.raises(TableError, match=r"closes\.csv: the last line must have a line end \(cut short\?\)"):
        sources.open(tmp_path)
    (tmp_path / "closes.csv").write_bytes(b"")
    with pytest.raises(TableError, match=r"closes\.csv must have a header line"):
        sources.open(tmp_path)
    (tmp_path / "closes.csv").unlink()
    with pytest.raises(TableError, match=r"closes\.csv must be in the folder"):
        sources.open(tmp_path)


def test_lines_cut_off_and_days_that_are_missing_are_counted(book, tmp_path):
    """Nothing else in the book contradicts a shorter list of locates: only the count does."""
    sources.write_csv(book, tmp_path / "c")
    whole = (tmp_path / "c/locates.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "c/locates.csv").write_bytes(b"".join(whole[:-2]))
    rows = f"locates must have the {len(book.locates)} rows that rows.csv says .*; got {len(book.locates) - 2}"
    with pytest.raises(TableError, match=rows):
        sources.open(tmp_path / "c")
    (tmp_path / "c/rows.csv").unlink()
    assert len(sources.open(tmp_path / "c").locates) == len(book.locates) - 2
    sources.write_parquet(book, tmp_path / "p")
    for part in next((tmp_path / "p/positions").iterdir()).iterdir():
        part.unlink()
    with pytest.raises(TableError, match=r"positions must have the .* rows that rows\.csv says"):
        sources.open(f"parquet:{tmp_path / 'p'}")


def test_a_short_line_is_found_with_quotes_too_and_a_nul_byte(book, tmp_path):
    sources.write_csv(book, tmp_path)
    lines = (tmp_path / "closes.csv").read_text().splitlines()
    quoted = [lines[0], '"2025-08-18"' + lines[1][10:], *lines[2:-1], lines[-1].rpartition(",")[0]]
    (tmp_path / "closes.csv").write_text("\n".join(quoted) + "\n")
    with pytest.raises(TableError, match=rf"closes\.csv: line {len(lines)} must have 4 fields \(cut short\?\); got 3"):
        sources.open(tmp_path)
    (tmp_path / "closes.csv").write_text("\n".join([lines[0], lines[1] + "\0", *lines[2:]]) + "\n")
    with pytest.raises(TableError, match=r"closes\.csv: line 2 must be text; got a NUL byte"):
        sources.open(tmp_path)


def test_a_desks_export_without_one_of_its_files_says_which(tmp_path):
    folder(tmp_path)
    (tmp_path / "loans.csv").unlink()
    with pytest.raises(TableError, match=r"loans\.csv must be in the folder"):
        sources.open(tmp_path)


def test_a_desks_export_can_be_allocated(tmp_path):
    problem = allocation.problem(sources.open(folder(tmp_path)), "2025-03-10")
    assert problem.demand.sum() == 2000
    assert allocation.solve(problem).value == pytest.approx(2000 * 12 * 18e-4 / 360)


def test_a_cut_parquet_file_and_a_missing_table_are_refused(book, tmp_path):
    sources.write_parquet(book, tmp_path / "p")
    part = next((tmp_path / "p" / "clients").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(TableError, match="clients: a Parquet file cannot be read"):
        sources.open(f"parquet:{tmp_path / 'p'}")
    part.unlink()
    part.parent.rmdir()
    with pytest.raises(TableError, match="got no 'clients'"):
        sources.open(f"parquet:{tmp_path / 'p'}")


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
