"""Every source gives the same book; every file that is cut short, wrong or not what it says is refused by line."""

import pandas as pd
import pytest

from mmlib.stock_loan import allocation, desk, kpis, sources
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


def test_parquet_is_written_into_an_empty_folder(book, tmp_path):
    sources.write_parquet(book, tmp_path)
    assert len(sources.open(f"parquet:{tmp_path}").loans) == len(book.loans)


def test_rows_of_a_table_that_is_none_of_ours_are_not_counted(book, tmp_path):
    sources.write_csv(book, tmp_path)
    with (tmp_path / "rows.csv").open("a") as file:
        file.write("notes_of_the_desk,3\n")
    same(book, sources.open(tmp_path))


def test_a_bad_cell_is_named_by_its_line_of_the_file(book, tmp_path):
    """The header is line 1."""
    sources.write_csv(book, tmp_path)
    lines = (tmp_path / "closes.csv").read_text().splitlines(keepends=True)
    cells = lines[6].split(",")
    lines[6] = ",".join([*cells[:2], "-1", *cells[3:]])
    (tmp_path / "closes.csv").write_text("".join(lines))
    with pytest.raises(TableError, match=r"closes\.csv.*close.*line 7\b"):
        sources.open(tmp_path)


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


def test_a_file_with_a_byte_order_mark_windows_line_ends_loads_alike(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = sources.open(folder(tmp_path / "a"))
    altered = b"\xef\xbb\xbf" + INVENTORY.replace("\n", "\r\n").encode(), LOANS.encode()
    same(plain, sources.open(folder(tmp_path / "b", *altered)))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("loans", "0,1000,36", "0,-1000,36", r"loans\.csv: quantityBorrowed must be >= 0.*first line 2: -1000"),
        ("loans", "0,1000,36", "0,,36", r"loans\.csv: quantityBorrowed must be a whole number, not missing"),
        ("loans", "1000,36,18", "1000,0.0036,18", r"loans\.csv: loanFee must have at most 2 decimals"),
        ("loans", "1000,36,18", "1000,300000,18", r"loans\.csv: loanFee must be >= 0 and <= 200000"),
        ("loans", "2025-03-07,XYZ,HF1,0", "2025-03-06,XYZ,HF1,0", r"loans\.csv: counterPartyId repeats the key"),
        ("loans", "2025-03-11,XYZ,HF1,1400,0", "2025-03-11,ABC,HF1,0,10", "first of ABC on 2025-03-11"),
        ("loans", "394\n2025-03-11", "394,1\n2025-03-11", r"loans\.csv: line 3 must have 8 fields .*got 9"),
        ("loans", ",72,18,358\n", ",72\n", r"loans\.csv: line 4 must have 8 fields \(cut short\?\); got 6"),
        ("loans", "rebateRate", "rebate", "got missing rebateRate, unknown rebate"),
        ("loans", "2025-03-07", "07/03/2025", r"loans\.csv: tradeDate must be a date, YYYY-MM-DD.*line 3: 07/03/2025"),
        ("inventory", "9000,11.00", "9000,-11.00", r"inventory\.csv: marketPrice must be >= 0\.0001.*line 3: -11"),
        ("inventory", "9000,11.00", "9000,", r"inventory\.csv: marketPrice must not be missing.*line 3"),
        ("inventory", "2025-03-10,XYZ,9000,12.00\n", "2025-03-10,ZZ,9000,12.00\n", "first of XYZ on 2025-03-10"),
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
    with pytest.raises(TableError, match=r"loans\.csv: line 3 must be utf-8 text; got byte 0xfc"):
        sources.open(folder(tmp_path, loans=LOANS.replace("07,XYZ,HF1", "07,XYZ,Zürich").encode("latin-1")))


def test_missing_empty_and_cut_files_are_refused(book, tmp_path):
    with pytest.raises(TableError, match=r"url must be a folder of CSV files, parquet:FOLDER or .* got 'kx:nowhere'"):
        sources.open("kx:nowhere")
    sources.write_csv(book, tmp_path)
    whole = (tmp_path / "closes.csv").read_bytes()
    (tmp_path / "closes.csv").write_bytes(whole[:-3])  # within the last number: still six digits, still a number
    with pytest.raises(TableError, match=r"closes\.csv: the last line must have a line end \(cut short\?\)"):
        sources.open(tmp_path)
    (tmp_path / "closes.csv").write_bytes(b"")
    with pytest.raises(TableError, match=r"closes\.csv must not be empty"):
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
    with pytest.raises(TableError, match=r"closes\.csv: line 2 must be utf-8 text; got a zero byte"):
        sources.open(tmp_path)


def test_a_desks_export_without_one_of_its_files_says_which(tmp_path):
    folder(tmp_path)
    (tmp_path / "loans.csv").unlink()
    with pytest.raises(TableError, match=r"loans\.csv must be a file in"):
        sources.open(tmp_path)


def test_a_desks_export_can_be_allocated(tmp_path):
    problem = allocation.problem(sources.open(folder(tmp_path)), "2025-03-10")
    assert problem.demand.sum() == 2000
    assert allocation.solve(problem).value == pytest.approx(2000 * 12 * 18e-4 / 360)


def test_a_cut_parquet_file_and_a_missing_table_are_refused(book, tmp_path):
    sources.write_parquet(book, tmp_path / "p")
    part = next((tmp_path / "p" / "clients").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(TableError, match=r"clients/part\.parquet: a Parquet file cannot be read"):
        sources.open(f"parquet:{tmp_path / 'p'}")
    part.unlink()
    part.parent.rmdir()
    with pytest.raises(TableError, match="got no 'clients'"):
        sources.open(f"parquet:{tmp_path / 'p'}")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_refused(name):
    for url in (name, f"parquet:{name}", f"ticks:{name}"):
        with pytest.raises(TableError, match=r"^url must be a folder of CSV files, parquet:FOLDER or ticks:"):
            sources.open(url)


def test_the_folders_above_are_made_once(tmp_path, book):
    for _ in range(2):
        sources.write_csv(book, tmp_path / "desk" / "today")
    assert len(sources.open(tmp_path / "desk" / "today").loans) == len(book.loans)
