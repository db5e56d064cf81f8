"""A desk's export: mid-life starts, other names and units, and what it does not say, each worked out by hand."""

import json
import logging
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import kpis, sources, support
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
2025-03-11,XYZ,HF1,8000,0,72,18,358
"""
OPENING = "securityId,counterPartyId,quantityOnLoan,loanFee,borrowFee\nXYZ,HF1,9000,72,18\nXYZ,HF2,500,36,18\n"


def folder(place, inventory=INVENTORY, loans=LOANS, opening=None, columns=None, names=None):
    place.mkdir(exist_ok=True)
    texts = {"inventory": inventory, "loans": loans, "opening": opening}
    for name, text in texts.items():
        if text is not None:
            (place / (names or {}).get(name, f"{name}.csv")).write_text(text, newline="")
    if columns is not None:
        (place / "columns.json").write_text(json.dumps(columns))
    return place


def same(first, second):
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


def refused(place, rule):
    with pytest.raises(TableError, match=rule):
        sources.open(place)


def balances(book):
    return kpis.loan_days(book).groupby("trade_date")["quantity"].sum().tolist()


def test_an_export_that_starts_in_mid_life_gets_the_least_opening_balance_and_says_so(tmp_path, caplog):
    """8,000 come back of 2,000 borrowed: 6,000 at least were there before; nothing is left at the end."""
    with caplog.at_level(logging.WARNING):
        book = sources.open(folder(tmp_path / "e"))
    assert balances(book) == [7000, 8000, 8000]
    said = "no opening.csv: 1 loans of 6,000 shares are taken to be open before 2025-03-06, the least"
    assert [note for note in book.notes if note.startswith(said)]
    assert [record.getMessage().startswith(said) for record in caplog.records] == [True]
    flows = kpis.flows(book)
    assert flows[["opening", "new", "returned", "closing"]].to_numpy().tolist() == [
        [6000, 1000, 0, 7000], [7000, 1000, 0, 8000], [8000, 0, 0, 8000], [8000, 0, 8000, 0]]  # fmt: skip
    assert kpis.table(book)["flow_turnover"].iloc[0] > 0
    assert np.isnan(kpis.table(book)["days_on_loan"].iloc[0])


def test_the_least_opening_balance_is_that_of_the_worst_day(tmp_path):
    """A lane gives back 300, takes 1,000, gives back 900: 300 are enough; a lane that never returns shows nothing."""
    loans = LOANS.splitlines()[0] + "\n" + "".join(
        f"{date},XYZ,{party},{back},{more},36,18,394\n" for date, party, back, more in (
            ("2025-03-06", "A", 300, 0), ("2025-03-07", "A", 0, 1000), ("2025-03-10", "A", 900, 0),
            ("2025-03-06", "B", 0, 50), ("2025-03-10", "C", 200, 150), ("2025-03-11", "C", 10, 10)))  # fmt: skip
    book = sources.open(folder(tmp_path / "e", loans=loans))
    opening = book.loans[book.loans["event"] == "opening"].set_index("client_id")["quantity"]
    assert opening.to_dict() == {"A": 300, "C": 50}
    left = kpis.loan_days(book).groupby(["trade_date", "client_id"], observed=True)["quantity"].sum()
    assert left[pd.Timestamp("2025-03-10")].to_dict() == {"A": 100, "B": 50}


def test_an_opening_file_is_taken_as_it_is(tmp_path, caplog):
    """9,000 and 500 before the first day; the first row of HF1 re-rates its 9,000 from 72 to 36 bp; HF2 has no row."""
    with caplog.at_level(logging.WARNING):
        book = sources.open(folder(tmp_path / "e", opening=OPENING))
    assert not caplog.records
    assert balances(book) == [10500, 11500, 11500, 3500]
    assert "2 opening balances are those of opening.csv" in book.notes
    days = kpis.loan_days(book).astype({"loan_id": "str"}).set_index(["loan_id", "trade_date"])
    assert (days.loc["XYZ|HF1|opening", "loan_fee"] / 100).tolist() == [36.0, 36.0, 36.0, 72.0]
    assert (days.loc["XYZ|HF2|opening", "loan_fee"] / 100).tolist() == [36.0] * 4
    refused(folder(tmp_path / "f", opening=OPENING.replace("9000", "5999")),
            r"loans\.csv: quantityReturned must not exceed .*line 4, 2025-03-11: 1 of 8000 too many")  # fmt: skip
    refused(
        folder(tmp_path / "g", opening=OPENING + "XYZ,HF2,1,1,1\n"), r"opening\.csv: counterPartyId repeats the key"
    )


def test_the_oldest_shares_come_back_first(tmp_path):
    """1,000 of Thursday, 1,000 of Friday, 1,400 back on Tuesday: the 600 that are left are Friday's, four days old."""
    book = sources.open(folder(tmp_path / "e", loans=LOANS.replace("8000,0", "1400,0")))
    days = kpis.loan_days(book)
    last = days[days["trade_date"] == pd.Timestamp("2025-03-11")]
    assert (last["quantity"].tolist(), last["age"].tolist()) == ([600], [4.0])
    assert last["loan_id"].astype("str").tolist() == ["XYZ|HF1|2025-03-07"]
    # share-days × age: 1,000 × (0·1 + 1·3 + 4·1) + 1,000 × (0·3 + 3·1) + 600 × 4·1, over 1,000·5 + 1,000·4 + 600
    table = kpis.table(book, until="2025-03-12")
    assert table["days_on_loan"].iloc[0] == pytest.approx((7000 + 3000 + 2400) / 9600, rel=1e-12)


def test_what_two_files_do_not_say_is_nan_never_zero(tmp_path):
    book = sources.open(folder(tmp_path / "e"))
    table = kpis.table(book).iloc[0]
    assert table[["internalisation", "recall_rate", "bought_in_value", "fee_weighted_idle"]].isna().all()
    assert kpis.holding_cost(book, []).isna().all(axis=None)
    assert kpis.concentration(book).isna().all()
    assert kpis.days_to_cover(book, "2025-03-10").isna().all()
    assert kpis.locates(book).isna().all(axis=None)
    assert table[["utilisation_value", "vwaf", "fee_accrual", "spread_capture", "return_to_lendable"]].notna().all()
    no_return = sources.open(folder(tmp_path / "f", loans="\n".join(LOANS.splitlines()[:3]) + "\n"))
    assert kpis.table(no_return)["bought_in_value"].iloc[0] == 0  # nothing came back, so nothing was bought in


def test_what_a_book_says_survives_both_forms_with_its_openings_and_notes(tmp_path):
    book = sources.open(folder(tmp_path / "e", opening=OPENING))
    sources.write_csv(book, tmp_path / "c")
    sources.write_parquet(book, tmp_path / "p")
    for url in (tmp_path / "c", f"parquet:{tmp_path / 'p'}"):
        again = sources.open(url)
        same(book, again)
        assert again.notes == book.notes
        assert len(again.notes) > 3


NAMES = {"tradeDate": "Trade Date", "securityId": "Ticker", "quantityAvailable": "Avail", "marketPrice": "Px"}
LOAN_NAMES = {"tradeDate": "Date", "counterPartyId": "Cpty", "loanFee": "Fee %", "borrowFee": "Cost %"}


def other_desk(place, **more):
    """The same export as another desk writes it: names, per cent, days first, points for thousands, semicolons."""
    inventory = ["Trade Date;Ticker;Avail;Px;Book"] + [
        f"{row};A"
        for row in (
            "06/03/2025;XYZ;10.000;10,00",
            "07/03/2025;XYZ;9.000;11",
            "10/3/2025;XYZ;9000;12,0",
            "11/03/2025;XYZ;9.400;10,5",
        )
    ]
    loans = ["Trader;Date;securityId;Cpty;quantityReturned;quantityBorrowed;Fee %;Cost %;rebateRate"] + [
        f"me;{d};XYZ;HF1;{r};{b};{f};0,18;{rebate}" for d, r, b, f, rebate in (
            ("06/03/2025", "0", "1.000", "0,36", "3,94"), ("07/03/2025", "0", "1.000", "0,36", "3,94"),
            ("11/03/2025", "8.000", "0", "0,72", "3,58"))]  # fmt: skip
    columns = {"files": {"inventory": "eod.csv", "loans": "trades.csv"},
               "columns": {"inventory": NAMES, "loans": LOAN_NAMES},
               "ignore": {"inventory": ["Book"], "loans": ["Trader"]}, "fee_unit": "percent",
               "date_format": "%d/%m/%Y", "thousands": ".", "decimal": ",", "delimiter": ";"}  # fmt: skip
    return folder(place, "\n".join(inventory) + "\n", "\n".join(loans) + "\n", columns=columns | more,
                  names={"inventory": "eod.csv", "loans": "trades.csv"})  # fmt: skip


def test_other_names_units_and_marks_give_the_same_book(tmp_path):
    book = sources.open(other_desk(tmp_path / "o"))
    same(book, sources.open(folder(tmp_path / "e")))
    assert "fees are read as percent a year, declared in columns.json" in book.notes
    assert "columns of loans that are ignored: Trader" in book.notes


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"ignore": {"inventory": ["Book"]}}, r"trades\.csv: columns must be .*got unknown Trader "),
        ({"ignore": {"inventory": ["Bok"], "loans": []}}, r"eod\.csv: the columns to ignore must .*; got no Bok"),
        ({"date_format": "%d-%m-%Y"}, r"eod\.csv: Trade Date must be a date of the form %d-%m-%Y; 4 of 4 .*06/03/2025"),
        ({"date_format": "%d/%m"}, "date_format must have a year, a month and a day"),
        ({"date_format": "%d/%m/%Y %H"}, "date_format must have a year, a month and a day"),
        ({"thousands": ","}, "thousands must not be the decimal mark"),
        ({"thousands": ""}, r"eod\.csv: Px must be|eod\.csv: Avail must be a (whole )?number"),
        ({"thousands": " "}, r"eod\.csv: Avail must be a number like 1 234,5 .*line 2: 10\.000"),
        ({"fee_unit": "pct"}, "fee_unit must be one of 'bp', 'percent'; got 'pct'"),
        ({"fee_units": "bp"}, "a key must be one of files, columns.*got 'fee_units'"),
        ({"delimiter": "::"}, "delimiter must be one of"),
        ({"last_line_end": 0}, "last_line_end must be one of True, False; got 0"),
        ({"encoding": "klingon"}, "encoding must be one of"),
        ({"files": {"stock": "x"}}, "a file of files must be one of inventory, loans, opening; got 'stock'"),
        ({"files": {"loans": "../x.csv"}}, "the file of loans must be a name in the folder"),
        ({"files": []}, "files must be an object"),
        ({"columns": {"loans": ["x"]}}, "columns of loans must be an object of names"),
        ({"columns": {"loans": {"fee": "x"}}}, "a column of loans must be one of tradeDate.*got 'fee'"),
        ({"columns": {"loans": {"loanFee": "borrowFee"}}}, "a column of loans must be used once; got borrowFee again"),
        ({"columns": {"loans": {"loanFee": None}}}, "loanFee of loans must be in the file; got null|columns must be"),
        ({"ignore": {"loans": "Trader"}}, "ignore of loans must be a list of names"),
    ],
)  # fmt: skip
def test_a_column_map_that_does_not_fit_is_refused_by_name(tmp_path, change, rule):
    refused(other_desk(tmp_path / "o", **change), rule)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", r"columns\.json: line 1 must be JSON"),
        ("[]", r"columns\.json must be one object"),
        ('{"fee_unit": "bp", "fee_unit": "percent"}', r"columns\.json: a key must be given once"),
        ("[" * 100_000, r"columns\.json"),
        ("", r"columns\.json must not be empty"),
    ],
)
def test_a_column_map_that_is_none_is_refused(tmp_path, text, rule):
    place = folder(tmp_path / "e")
    (place / "columns.json").write_text(text)
    refused(place, rule)


def test_per_cent_is_exact_and_too_fine_per_cent_is_refused(tmp_path):
    """0.57 % in binary times a hundred is 56.99999999999999."""
    assert 0.57 * 100 != 57
    text = LOANS.replace(",36,18,394", ",0.57,0.0725,3.73").replace(",72,18,358", ",0.57,0.0725,3.73")
    book = sources.open(folder(tmp_path / "e", loans=text, columns={"fee_unit": "percent"}))
    assert set(book.loans["loan_fee"]) == {57.0}
    assert set(book.loans["borrow_fee"]) == {7.25}
    refused(folder(tmp_path / "f", loans=text.replace("0.0725", "0.07255"), columns={"fee_unit": "percent"}),
            r"loans\.csv: borrowFee must have at most 2 decimals")  # fmt: skip


def test_fees_that_look_like_per_cent_must_be_called_what_they_are(tmp_path):
    text = LOANS.replace(",36,18,394", ",0.36,0.18,3.94").replace(",72,18,358", ",0.72,0.18,3.58")
    refused(folder(tmp_path / "e", loans=text), r'half of loanFee is below 5 .*must say \{"fee_unit": "percent"\} or')
    asked = sources.open(folder(tmp_path / "f", loans=text, columns={"fee_unit": "bp"}))
    assert asked.loans["loan_fee"].max() == 0.72
    assert "fees are read as bp a year, declared in columns.json" in asked.notes
    assert "fees are read as bp a year, by default: nothing is said in columns.json" in sources.open(
        folder(tmp_path / "g")).notes  # fmt: skip


def test_a_rebate_that_is_not_in_the_file_is_unknown(tmp_path):
    text = "\n".join(line.rpartition(",")[0] for line in LOANS.splitlines()) + "\n"
    book = sources.open(folder(tmp_path / "e", loans=text, columns={"columns": {"loans": {"rebateRate": None}}}))
    assert book.loans["rebate_rate"].isna().all()
    assert book.rates["benchmark_rate"].isna().all()
    assert balances(book) == [7000, 8000, 8000]


@pytest.mark.parametrize("file", ["inventory", "loans"])
def test_a_file_cut_within_its_last_number_is_refused_unless_it_never_has_a_line_end(tmp_path, file):
    """52.00 cut to 5 is a price too: only the line end tells."""
    text = {"inventory": INVENTORY, "loans": LOANS}
    cut = {file: text[file][:-3]}
    refused(folder(tmp_path / "e", **cut), rf"{file}\.csv: the last line must have a line end \(cut short\?\)")
    whole = {file: text[file].rstrip("\n")}
    same(sources.open(folder(tmp_path / "f", **whole, columns={"last_line_end": False})),
         sources.open(folder(tmp_path / "g")))  # fmt: skip


@pytest.mark.parametrize(
    ("inventory", "opening", "rule"),
    [
        (
            "2025-03-10,XYZ,9000,12.00\n",
            None,
            "1 missing, first of XYZ on 2025-03-10, when it is on loan, by line 3 of",
        ),
        ("2025-03-06,XYZ,10000,10.00\n", OPENING, "first of XYZ on 2025-03-06, when it is on loan, by line 2 of"),
    ],
)
def test_a_missing_price_is_named_with_file_day_and_the_line_that_needs_it(tmp_path, inventory, opening, rule):
    bad = INVENTORY.replace(inventory, "") + f"{inventory[:10]},ABC,0,5.00\n"
    refused(folder(tmp_path / "e", inventory=bad, opening=opening),
            rf"inventory\.csv: marketPrice must be given on every trade date .*{rule}")  # fmt: skip


def test_a_price_is_needed_where_shares_are_only_available_too(tmp_path):
    more = INVENTORY + "2025-03-06,ABC,100,5.00\n2025-03-07,ABC,0,5.00\n2025-03-10,ABC,7,5.00\n"
    refused(folder(tmp_path / "e", inventory=more), "1 missing, first of ABC on 2025-03-11, when it is available")


def test_the_report_says_what_is_supported_where_the_kpis_give_a_number(tmp_path):
    """For the sample and for three exports: supported exactly where the whole book's KPI is not NaN."""
    books = [sources.open(folder(tmp_path / "e")), sources.open(folder(tmp_path / "f", opening=OPENING)),
             sources.open(folder(tmp_path / "g", loans="\n".join(LOANS.splitlines()[:3]) + "\n")),
             sources.open(sources.SAMPLE)]  # fmt: skip
    for book in books:
        report = support.report(book).loc["KPI"]
        table, costs = kpis.table(book).iloc[0], kpis.holding_cost(book, []).iloc[0]
        for name in table.index.intersection(report.index):
            assert report.loc[name, "supported"] == (not np.isnan(table[name])), name
        for name in costs.index:
            assert report.loc[f"holding_cost {name}", "supported"] == (not np.isnan(costs[name])), name
        assert report.loc["concentration", "supported"] == kpis.concentration(book).notna().all()
        assert report.loc["days_to_cover", "supported"] == kpis.days_to_cover(book, book.dates[-1]).notna().any()
        assert report.loc["locates", "supported"] == kpis.locates(book)["requests"].notna().all()
        assert ((report["missing"] == "") == report["supported"]).all()
    assert support.report(books[-1])["supported"].all()
    chapters = support.report(books[0]).loc["chapter"]
    assert chapters["supported"].to_dict() == {
        "desk": True,
        "kpis": False,
        "allocation": True,
        "rehypothecation": False,
    }
    assert "pools: the kind of pool the loans are from" in chapters.loc["kpis", "missing"]


def test_damaged_exports_are_refused_or_hold_what_their_lines_say(tmp_path):
    """Of an accepted export every number is found again with plain Python in the damaged text itself."""
    draw, accepted = random.Random(3), 0
    place = folder(tmp_path / "e", opening=OPENING)
    for _ in range(60):
        texts = {"inventory": INVENTORY, "loans": LOANS, "opening": OPENING}
        name = draw.choice(sorted(texts))
        raw = bytearray(texts[name].encode())
        at, what = draw.randrange(len(raw)), draw.randrange(5)
        if what == 0:
            del raw[at:]
        elif what == 1:
            del raw[at : at + draw.randint(1, 4)]
        elif what == 2:
            raw[at:at] = bytes(raw[at : at + draw.randint(1, 4)])
        elif what == 3:
            raw[at] ^= 1 << draw.randrange(8)
        else:
            raw[at] = draw.choice(b'0123456789.,;"\n\r -+e\0\xff')
        (place / f"{name}.csv").write_bytes(raw)
        try:
            book = sources.open(place)
        except TableError as error:
            assert ".csv" in str(error)
        else:
            accepted += 1
            holds(book, place)
        (place / f"{name}.csv").write_text(texts[name])
    assert 0 < accepted < 40


def holds(book, place: Path):
    rows = {name: [line.split(",") for line in (place / f"{name}.csv").read_text().splitlines()[1:]]
            for name in ("inventory", "loans", "opening")}  # fmt: skip
    assert sorted(book.closes["close"]) == sorted(float(row[3]) for row in rows["inventory"])
    assert book.inventory["quantity_available"].sum() == sum(float(row[2]) for row in rows["inventory"])
    flows = kpis.flows(book)
    assert flows["new"].sum() == sum(float(row[4]) for row in rows["loans"])
    assert flows["returned"].sum() == sum(float(row[3]) for row in rows["loans"])
    assert flows["opening"].iloc[0] == sum(float(row[2]) for row in rows["opening"])
