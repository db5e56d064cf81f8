"""CSV files as text, every line whole: what is refused, and by which line."""

import pytest

from mmlib.stock_loan import _csv_tables
from mmlib.stock_loan.tables import TableError


def read(tmp_path, text, **options):
    (tmp_path / "t.csv").write_bytes(text.encode())
    return _csv_tables.read(tmp_path / "t.csv", **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,a\n1,2,3\n", r"t\.csv: line 1 must name a column once; got a again"),
        ("a,b,b,c,c,c\n", r"line 1 must name a column once; got b, c again"),
        ('a,b\n1,2\n3,"4\n5"\n', r"line 4 must close its quotes in one line; got \['3', '4\\n5'\]"),
        ('a,b\n1,"2"x\n', r"t\.csv: line 2: "),
        ("a,b\n1,2\n\n3,4\n", r"line 3 must have 2 fields \(cut short\?\); got 1"),
        ("a\n1\n\n2\n", r"line 3 must have 1 fields"),
        ("a,b\n1,2,\n", r"line 2 must have 2 fields \(cut short\?\); got 3"),
        ("a,b\n1,2\n3,4", r"the last line must have a line end \(cut short\?\); got 'a,b"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused_by_its_line(tmp_path, text, message):
    with pytest.raises(TableError, match=message):
        read(tmp_path, text)


def test_every_field_is_the_text_it_was(tmp_path):
    found = read(tmp_path, 'a,b\nNA, 1\n,"x,""y"""\n007,1e3\n')
    assert found.columns.tolist() == ["a", "b"]
    assert found.to_numpy().tolist() == [["NA", " 1"], ["", 'x,"y"'], ["007", "1e3"]]
    assert found.index.tolist() == [0, 1, 2]


def test_delimiter_encoding_and_a_last_line_without_end_may_be_said(tmp_path):
    (tmp_path / "t.csv").write_bytes("a;b\n1,5;\xe9".encode("cp1252"))
    found = _csv_tables.read(tmp_path / "t.csv", ended=False, delimiter=";", encoding="cp1252")
    assert found.to_numpy().tolist() == [["1,5", "\xe9"]]


def test_a_file_of_more_than_two_gibibytes_is_refused_unread(tmp_path):
    """One byte more, of a file with nothing in it but its length."""
    with (tmp_path / "t.csv").open("wb") as file:
        file.truncate(2 * 1024**3 + 1)
    with pytest.raises(TableError, match=r"t\.csv must have at most 2,147,483,648 bytes; got 2,147,483,649"):
        _csv_tables.read(tmp_path / "t.csv")
