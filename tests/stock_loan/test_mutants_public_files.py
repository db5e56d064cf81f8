"""Every cell of every published file, read by eye: no column is scaled, shifted or taken for its neighbour."""

import json

import pandas as pd
import pytest

from mmlib.stock_loan import public_files
from mmlib.stock_loan.tables import TableError

DAY = """DT|TM|REBATE|FEE|AVAIL
2021.03.19|00:00:03|-0.4803|0.5503|250000
2021.03.19|00:15:03|-0.5003|0.5703|200000
"""
HISTORY = """Date|Symbol|Short Volume|Short Exempt Volume|Total Volume|Market Center
20210427|A|100|100|250.5|B,Q
20210428|A|50.25|0|50.25|N
"""


def cells(frame):
    return [[str(v.date()) if isinstance(v, pd.Timestamp) else v for v in row] for row in frame.itertuples(index=False)]


def test_a_stocks_day_is_read_cell_by_cell(tmp_path):
    (tmp_path / "f").write_text(DAY)
    frame = public_files.availability(tmp_path / "f")
    assert frame["time"].astype("str").tolist() == ["2021-03-19 00:00:03", "2021-03-19 00:15:03"]
    assert frame["rebate_rate"].tolist() == [-48.03, -50.03]
    assert frame["fee_rate"].tolist() == [55.03, 57.03]
    assert frame["available"].tolist() == [250_000, 200_000]
    (tmp_path / "f").write_text(DAY.replace("|0.5703|", "|-0.0001|"))
    with pytest.raises(TableError, match=r"f: FEE must be >= 0; 1 bad, first line 3: -0\.0001"):
        public_files.availability(tmp_path / "f")
    (tmp_path / "f").write_text(DAY.replace("|200000", ""))
    with pytest.raises(TableError, match="f: line 3 must have 5 fields; got 4"):
        public_files.availability(tmp_path / "f")
    for text, line in ((DAY.replace("00:00:03", "00:60:03"), 2), (DAY.replace("|200000", "|20000x"), 3)):
        (tmp_path / "f").write_text(text)
        with pytest.raises(TableError, match=f"1 bad, first line {line}: "):
            public_files.availability(tmp_path / "f")


def test_a_history_of_several_days_is_read_cell_by_cell_and_equal_volumes_are_allowed(tmp_path):
    (tmp_path / "f").write_text(HISTORY)
    assert cells(public_files.short_volume(tmp_path / "f")) == [
        ["2021-04-27", "A", 100.0, 100.0, 250.5, "B,Q"], ["2021-04-28", "A", 50.25, 0.0, 50.25, "N"]]  # fmt: skip
    (tmp_path / "f").write_text(HISTORY.replace("|50.25|N", "|N"))
    with pytest.raises(TableError, match="f: line 3 must have 6 fields; got 5"):
        public_files.short_volume(tmp_path / "f")


def test_a_broker_list_is_read_cell_by_cell(tmp_path):
    (tmp_path / "f").write_text(
        "#BOF|2025.12.28|15:14:44\n#SYM|CUR|NAME|CON|ISIN|REBATERATE|FEERATE|AVAILABLE|FIGI|\n"
        "A|USD|ALPHA|7|US1|3.2319|0.4081|4100000|F1|\nB|EUR|BETA|8|US2|NA|NA|>10000000|F2|\n#EOF|2\n"
    )
    with pytest.raises(TableError, match=r"one benchmark on 95% of rows; got 50\.0%"):
        public_files.shortable(tmp_path / "f")
    frame = public_files.shortable(tmp_path / "f", agreement=0.5)
    assert set(frame["as_of"].astype("str")) == {"2025-12-28 15:14:44"}
    assert frame.drop(columns=["as_of", "rebate_rate", "fee_rate"]).to_numpy().tolist() == [
        ["A", "USD", "ALPHA", "7", "US1", 4_100_000, False, "F1"],
        ["B", "EUR", "BETA", "8", "US2", 10_000_000, True, "F2"],
    ]
    assert frame[["rebate_rate", "fee_rate"]].iloc[0].tolist() == [323.19, 40.81]
    assert frame[["rebate_rate", "fee_rate"]].iloc[1].isna().all()


@pytest.mark.parametrize("date", ["2024-01-02", "01/02/2024"])
def test_a_clearing_houses_records_are_read_cell_by_cell(tmp_path, date):
    fields = ("businessDate", "symbol", "newMarketLoanCount", "totalMarketLoanVal", "newBilateralLoanCount",
              "totalBilateralLoanVal")  # fmt: skip
    records = [dict(zip(fields, (date, symbol, *more), strict=True))
               for symbol, more in (("GME", (3, 10.5, 4, 20)), ("AMC", (0, 1, 2, 0)))]  # fmt: skip
    (tmp_path / "f").write_text(json.dumps({"stockLoanResults": records}))
    assert cells(public_files.occ_balances(tmp_path / "f")) == [
        ["2024-01-02", "GME", 10.5, 20.0, 3, 4], ["2024-01-02", "AMC", 1.0, 0.0, 0, 2]]  # fmt: skip
    for field, value in (("newMarketLoanCount", "x"), ("totalBilateralLoanVal", -1), ("businessDate", "2024-13-01")):
        bad = [records[0], records[1] | {field: value}]
        (tmp_path / "f").write_text(json.dumps({"stockLoanResults": bad}))
        with pytest.raises(TableError, match="1 bad, first record 2: "):
            public_files.occ_balances(tmp_path / "f")
    (tmp_path / "f").write_text(json.dumps({"stockLoanResults": [records[0], {"symbol": "x"}]}))
    with pytest.raises(TableError, match="record 2 must have"):
        public_files.occ_balances(tmp_path / "f")
    text = "Symbol,Market Loan Loan Balance,Hedge Loan Balance,Date\nGME,1.5,2,01/02/2020\n"
    (tmp_path / "f").write_text(text)
    assert cells(public_files.occ_balances(tmp_path / "f")) == [["2020-01-02", "GME", 1.5, 2.0]]
