"""Tables as Parquet, a folder a table and, where it has dates, a folder `trade_date=YYYY-MM-DD` a day.

Files are read one by one, by name: each has its own types, which must be the table's kind, and exactly its columns; a
folder's name is never a pattern. Pages are written with checksums, so that a flipped bit is found where we wrote it.
"""

import re
from pathlib import Path

import pandas as pd

from mmlib import optional
from mmlib.stock_loan._book import TableError

_DAY = re.compile(r"trade_date=(\d{4}-\d\d-\d\d)", re.ASCII)
_KINDS = {"O": "text", "M": "dates", "i": "numbers", "f": "numbers"}  # NumPy's kind of a column -> what a file may hold


def write_table(frame: pd.DataFrame, folder: Path) -> None:
    """One table into its new folder."""
    folder.mkdir(parents=True)
    if "trade_date" not in frame:
        _write(frame, folder / "part.parquet")
        return
    for date, day in frame.groupby("trade_date"):
        place = folder / f"trade_date={date:%Y-%m-%d}"
        place.mkdir()
        _write(day.drop(columns="trade_date"), place / "part.parquet")


def read_table(name: str, folder: Path, columns: dict) -> pd.DataFrame:
    """The table of `columns` (name -> pandera Column) in all the Parquet files under `folder`.

    Raises
    ------
    TableError
        If a file cannot be read, has another set of columns, or a column of another kind; names the file.
    """
    if not folder.is_dir():
        raise TableError(f"{folder.parent.name} must hold a folder for every table; got no {name!r}")
    files = sorted(path for path in folder.rglob("*") if path.suffix == ".parquet")
    parts = [_read(path, path.relative_to(folder.parent).as_posix(), columns) for path in files]
    empty = pd.DataFrame({column: pd.Series(dtype=rule.dtype.type) for column, rule in columns.items()})
    full = [part for part in parts if len(part)]
    return pd.concat(full, ignore_index=True) if full else empty


def _arrow():
    arrow = optional.load("pyarrow", "loan", "Parquet sources")
    optional.load("pyarrow.parquet", "loan", "Parquet sources")
    return arrow


def _write(frame, path):
    arrow = _arrow()
    arrow.parquet.write_table(
        arrow.Table.from_pandas(frame, preserve_index=False), path, write_page_checksum=True, store_schema=False
    )


def _read(path, name, columns):
    """One file's rows, with the date of its folder where that has one."""
    arrow = _arrow()
    try:
        with arrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            found = file.read()
            found.validate(full=True)
    except Exception as error:  # Arrow lets several types of its own, OSError and ValueError out of a broken file
        raise TableError(f"{name}: a Parquet file cannot be read ({error})") from None
    day = _DAY.fullmatch(path.parent.name)
    wanted = [column for column in columns if not (day and column == "trade_date")]
    wrong = [f"missing {column}" for column in wanted if column not in found.column_names]
    wrong += [f"unknown {column}" for column in found.column_names if column not in wanted]
    if wrong or len(set(found.column_names)) < len(found.column_names):
        raise TableError(f"{name}: columns must be {', '.join(wanted)}, each once; got {', '.join(wrong) or 'repeats'}")
    for column in wanted:
        must, got = _KINDS[columns[column].dtype.type.kind], found.schema.field(column).type
        if not (_is(must, got) or arrow.types.is_null(got)):
            raise TableError(f"{name}: {column} must be {must}; got Parquet type {got}")
    frame = pd.DataFrame({column: _to_pandas(found.column(column), columns[column]) for column in wanted})
    if day:
        try:
            frame.insert(0, "trade_date", pd.Timestamp(day[1]).as_unit("us"))
        except ValueError:
            raise TableError(f"{name}: trade_date must be a date, YYYY-MM-DD; got {day[1]}") from None
    return frame


def _is(kind, got):
    """Whether Arrow's type `got` holds what the kind of column is made of."""
    types = _arrow().types
    if kind == "text":
        inner = got.value_type if types.is_dictionary(got) else got
        return types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner)
    if kind == "dates":
        return types.is_date(got) or (types.is_timestamp(got) and got.tz is None)
    return types.is_integer(got) or types.is_floating(got) or types.is_decimal(got)


def _to_pandas(column, rule):
    """An Arrow column as pandas has it; decimals become the nearest floats, which Arrow's own cast does not give."""
    arrow = _arrow()
    if arrow.types.is_decimal(column.type):
        return pd.Series([None if value is None else float(value) for value in column.to_pylist()], dtype="float64")
    if arrow.types.is_date(column.type):
        return column.cast(arrow.timestamp("us")).to_pandas()
    if arrow.types.is_dictionary(column.type):
        return column.cast(column.type.value_type).to_pandas()
    if arrow.types.is_null(column.type):
        return pd.Series([None] * len(column), dtype="float64" if rule.dtype.type.kind in "if" else object)
    return column.to_pandas()
