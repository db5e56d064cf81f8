"""One table of a sweep: swept parameters, results, error; as a DataFrame and as Parquet whose bytes tell no times."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from mmlib import optional
from mmlib._notebooks import Refused
from mmlib._sweep.grid import Grid

#: Key of what a table was made from, in its metadata.
KEY = b"mmlib.sweep"


def frame(grid: Grid, answers: dict[int, dict[str, Any]]) -> pd.DataFrame:
    """A row a run in the grid's order; what a failed run has not is missing.

    A result that has the name of a column before it gets `result_` in front.
    """
    points = list(grid.points())
    columns: dict[str, list] = {name: [point[name] for point in points] for name in grid.swept}
    rows = [answers[number].get("results", {}) for number in range(len(points))]
    for name in dict.fromkeys(name for row in rows for name in row):
        column = name
        while column in columns or column == "error":
            column = f"result_{column}"
        columns[column] = [row.get(name) for row in rows]
    columns["error"] = [answers[number].get("error", "") for number in range(len(points))]
    return pd.DataFrame({name: _series(values) for name, values in columns.items()}, index=range(len(points)))


def _series(values: list) -> pd.Series:
    """Numbers, truths or texts of one type; as texts mixed ones and whole numbers that no type holds; lists as such."""
    there = {type(value) for value in values if value is not None}
    missing = any(value is None for value in values)
    if there == {bool}:
        return pd.Series(values, dtype="boolean" if missing else "bool")
    if there == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pd.Series(values, dtype="Int64" if missing else "int64")
    if float in there and there <= {int, float} and all(map(_float, values)):
        return pd.Series([float("nan") if value is None else float(value) for value in values], dtype="float64")
    if len(there) > 1 or there == {int}:
        values = [None if value is None else str(value) for value in values]
    return pd.Series(values, dtype="object")


def _float(value: float | None) -> bool:
    """Whether a float says the same."""
    try:
        return not isinstance(value, int) or float(value) == value
    except OverflowError:
        return False


def write(path: Path, table: pd.DataFrame, about: dict[str, Any]) -> None:
    """The table as Parquet with `about` in its metadata, whole or not at all."""
    optional.load("pyarrow", "scale", "Tables of sweeps")
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(table[name], from_pandas=True) for name in table}
    arrow = pa.table(columns).replace_schema_metadata({KEY: json.dumps(about)})
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            pq.write_table(arrow, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:  # that of a write names no file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        part.unlink(missing_ok=True)


def about(path: Path) -> dict[str, Any]:
    """What the table of a file was made from; refused if the file is no sweep's."""
    optional.load("pyarrow", "scale", "Tables of sweeps")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return json.loads(pq.read_schema(path).metadata[KEY])
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError):
        raise Refused(f"{path} is there and is no table of a sweep; name another output or delete it") from None


def read(path: Path) -> pd.DataFrame:
    """The table of a file, as `frame` gave it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pq.read_table(path)
    columns = {}
    for name in found.column_names:
        column = found[name]
        values = column.to_pylist()
        if pa.types.is_floating(column.type):
            values = [float("nan") if value is None else value for value in values]
            columns[name] = pd.Series(values, dtype="float64")
        else:
            columns[name] = _series(values)
    return pd.DataFrame(columns, index=range(found.num_rows))
