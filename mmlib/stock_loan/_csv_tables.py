"""CSV files as tables of text: every line whole, every column named once, nothing converted."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mmlib import textfiles
from mmlib.stock_loan._book import TableError

FORMULA = ("=", "+", "-", "@", "\t", "\r")  #: what a spreadsheet takes for the beginning of a formula
LARGEST = 2**31  #: bytes that a table's CSV file may have: 5,000 names over three years take a tenth of it


def read(path: Path, *, ended: bool = True, delimiter: str = ",", encoding: str = "utf-8") -> pd.DataFrame:
    """A CSV file as text columns.

    Parameters
    ----------
    path : Path
    ended : bool
        Whether the last line must have a line end: a file cut within its last number has none.
    delimiter, encoding : str

    Raises
    ------
    TableError
        If the file is missing, no text, cut short, or a line has more or fewer fields than the first; names the line.
    """
    text = textfiles.text(path, encoding, largest=LARGEST, error=TableError)
    if ended and not text.endswith("\n"):
        raise TableError(f"{path.name}: the last line must have a line end (cut short?); got {text[-40:]!r}")
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
        heads = next(rows)
        if repeated := sorted({head for head in heads if heads.count(head) > 1}):
            raise TableError(f"{path.name}: line 1 must name a column once; got {', '.join(repeated)} again")
        for row in rows:
            if len(row) != len(heads):
                raise TableError(
                    f"{path.name}: line {rows.line_num} must have {len(heads)} fields (cut short?);"
                    f" got {max(len(row), 1)}"
                )
            if "\n" in "".join(row):
                raise TableError(f"{path.name}: line {rows.line_num} must close its quotes in one line; got {row!r}")
    except csv.Error as error:
        raise TableError(f"{path.name}: line {rows.line_num}: {error}") from None
    try:
        return pd.read_csv(
            io.StringIO(text),
            dtype="str",
            keep_default_na=False,
            skip_blank_lines=False,
            sep=delimiter,
            index_col=False,
        )
    except pd.errors.ParserError as error:
        raise TableError(f"{path.name}: {error}") from None


def refuse_formulas(frame: pd.DataFrame, columns: Sequence[str], file: str) -> None:
    """TableError if a text in `columns`, about to be written to `file`, begins as a formula does."""
    for column in columns:
        if len(bad := frame.loc[frame[column].astype("str").str.startswith(FORMULA), column]):
            raise TableError(
                f"{file}: {column} must not begin with =, +, -, @ or a control character, which a spreadsheet would"
                f" compute; {len(bad)} of {len(frame)} rows bad, first {bad.iloc[0]!r}"
            )
