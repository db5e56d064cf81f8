"""Tables on their way to kdb+ and back: what comes back as it was may go, the rest is refused by name."""

import re
from datetime import date as calendar_date
from typing import Any

from mmlib.tick_store import _forms
from mmlib.tick_store._log import StoreError

_NAME = re.compile(r"\.?[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*", re.ASCII)
_DAY = 86_400 * 10**9
FIRST, LAST = -95_794 * _DAY, 106_751 * _DAY  #: ns from 1970: kdb+'s timestamps begin in 1707, int64's end in 2262
YEAR_1, YEAR_9999 = -719_162, 2_932_896  #: first and last day of kola's dates, from 1970
_NS = {"ms": 10**6, "us": 10**3, "ns": 1}


def check_name(name):
    """StoreError unless a query can carry `name` as the name of a table."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 80:
        raise StoreError(f"a table's name must be letters, digits and _, parts with a dot between; got {name!r}")


def names(answer):
    """A list of names of tables, or kola's Series of symbols, as a list; StoreError for anything else."""
    found = answer.to_list() if hasattr(answer, "to_list") else answer
    if not isinstance(found, list | tuple):
        raise StoreError(f"names of tables must be a list; got {type(answer).__name__} {str(answer)[:80]!r}")
    for name in found:
        check_name(name)
    return list(found)


def columns(name, table):
    """The columns of a pandas, Arrow or Polars table as kola sends them, a Polars Series each.

    Raises
    ------
    StoreError
        If a column's type or one of its values would come back as another; names table and column.
    """
    import polars as pl

    frame: Any = pl.from_arrow(_forms.plain(name, table))
    return [_column(f"{name!r}, column {series.name!r}", series) for series in frame.get_columns()]


def _column(where, series):
    import polars as pl

    kind = series.dtype
    if kind in (pl.Float32, pl.Float64):
        return series.fill_nan(None)  # kdb+ has one unknown, not two; it comes back as NaN
    if kind in (pl.Boolean, pl.UInt8, pl.String) and series.null_count():
        what = {pl.Boolean: "boolean, which kdb+ keeps as false", pl.String: "text, which kdb+ keeps as empty"}
        raise StoreError(
            f"{where}: unknown {what.get(kind, 'byte, which kdb+ keeps as 0')}; row {_first(series.is_null())}"
        )
    if kind == pl.String:
        if (cut := series.str.contains("\0", literal=True)).any():
            raise StoreError(f"{where}: a zero byte ends a symbol; row {_first(cut)}")
        return series.cast(pl.Categorical)
    if kind in (pl.Int16, pl.Int32, pl.Int64):
        most = 2 ** ({pl.Int16: 16, pl.Int32: 32, pl.Int64: 64}[kind] - 1) - 1
        if (end := (series <= -most) | (series == most)).any():
            raise StoreError(f"{where}: {series[_first(end)]} is kdb+'s unknown or infinite {kind}; row {_first(end)}")
        return series
    if (isinstance(kind, pl.Datetime) and kind.time_zone is None) or isinstance(kind, pl.Duration):
        timed = isinstance(kind, pl.Datetime)
        first, last = (FIRST, LAST) if timed else (-LAST, LAST)
        whole, unit = series.to_physical(), _NS[kind.time_unit]
        if (out := (whole < -(-first // unit)) | (whole >= last // unit)).any():
            raise StoreError(f"{where}: kdb+'s times are of 1707-09-23 to 2262-04-10; row {_first(out)}")
        return series.cast(pl.Datetime("ns") if timed else pl.Duration("ns"))
    if kind == pl.Date:
        days = series.to_physical()
        if (out := (days < YEAR_1) | (days > YEAR_9999)).any():
            raise StoreError(f"{where}: a date must be of the years 1 to 9999; row {_first(out)}")
        return series
    if kind in (pl.Boolean, pl.UInt8):
        return series
    raise StoreError(f"{where}: {kind} does not come back from kdb+ as it was; it must be cast before")


def _first(flags):
    return flags.fill_null(False).arg_max()


def check_form(name, form, sent):
    """StoreError unless the columns `sent` are those of the server's empty table `form`, in order and, where it has
    one, type.
    """
    import polars as pl

    untyped = pl.Null, pl.List(pl.Null)  # q's ()
    told = ", ".join(f"{column} {kind}" for column, kind in form.schema.items())
    same = [series.name for series in sent] == form.columns
    if not same or any(kind not in (series.dtype, *untyped) for series, kind in zip(sent, form.dtypes, strict=True)):
        got = ", ".join(f"{series.name} {series.dtype}" for series in sent)
        raise StoreError(f"{name!r} must have the server's columns {told}; got {got}")


def arrow(where, answer):
    """A table that kola received as Arrow, symbols as text; StoreError for another answer."""
    if not hasattr(answer, "to_arrow") or not hasattr(answer, "columns"):
        raise StoreError(f"{where}: the answer must be a table; got {type(answer).__name__} {str(answer)[:80]!r}")
    return _forms.plain("answer", answer)


def day(date):
    """The date of a text YYYY-MM-DD; StoreError for any other."""
    try:
        known = calendar_date.fromisoformat(date)
        if known.isoformat() == date:
            return known
    except (TypeError, ValueError):
        pass
    raise StoreError(f"date must be a day YYYY-MM-DD; got {date!r}")
