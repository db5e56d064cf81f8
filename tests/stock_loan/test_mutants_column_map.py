"""Numbers and dates as a column map writes them, each spelling beside what it means."""

from decimal import Decimal

import pandas as pd
import pytest

from mmlib.stock_loan._column_map import ColumnMap

PLAIN = [("0", "0"), ("-1", "-1"), ("12", "12"), ("1234567", "1234567"), ("1.5", "1.5"), ("1.", "1."), ("", "")]
NEVER = ["1,5", "+1", "1e3", " 1", "1 ", "--1", ".5", "1.2.3", "x", "0x1"]
GROUPED = [("1.234", "1234"), ("1.234.567,8", "1234567.8"), ("-12.345", "-12345"), ("1234,5", "1234.5"), ("7", "7")]
NEVER_GROUPED = ["1.23", "12.34.567", "1234.567", ".123", "1.2345", "1,2,3", "1.234.56"]


@pytest.mark.parametrize(
    ("written", "good", "bad"),
    [(ColumnMap(), PLAIN, NEVER), (ColumnMap(thousands=".", decimal=","), GROUPED, NEVER_GROUPED)],
)
def test_a_number_is_what_its_marks_say_or_no_number(written, good, bad):
    found, wrong = written.number(pd.Series([text for text, _ in good]), fee=False)
    assert found.tolist() == [meant for _, meant in good]
    assert not wrong.any()
    assert written.number(pd.Series(bad), fee=False)[1].all()


def test_per_cent_of_a_fee_and_of_nothing_else_is_a_hundred_basis_points():
    written = ColumnMap(fee_unit="percent", decimal=",")
    texts = ["0,36", "1", "-0,005", "", "x"]
    fees, wrong = written.number(pd.Series(texts), fee=True)
    assert [Decimal(fee) for fee in fees[:3]] == [36, 100, Decimal("-0.5")]
    assert fees[3:].tolist() == ["", "x"]
    assert wrong.tolist() == [False, False, False, False, True]
    assert written.number(pd.Series(texts), fee=False)[0].tolist()[:3] == ["0.36", "1", "-0.005"]
    assert ColumnMap().number(pd.Series(["0.36"]), fee=True)[0].tolist() == ["0.36"]


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("%d/%m/%Y", ["06/03/2025", "6/3/2025", "06/3/2025"], ["2025/03/06", "6/3/25", "31/02/2025", "06-03-2025", ""]),
        ("%Y%m%d", ["20250306"], ["2025306", "202536", "20251306"]),
        ("%d %b %Y", ["06 Mar 2025", "6 Mar 2025"], ["06 March 2025", "06 Mrz 2025"]),
    ],
)
def test_a_date_is_of_its_form_zeros_in_front_aside(form, good, bad):
    found, wrong = ColumnMap(date_format=form).date(pd.Series(good))
    assert set(found) == {"2025-03-06"}
    assert not wrong.any()
    assert ColumnMap(date_format=form).date(pd.Series(bad))[1].all()
    as_it_is, none = ColumnMap().date(pd.Series(bad))
    assert as_it_is.tolist() == bad
    assert not none.any()
