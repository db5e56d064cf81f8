"""Tables as they are kept: Arrow without metadata, text as text, and what of a table cannot be kept."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mmlib.tick_store._log import StoreError

OWN = "seq"  # a column of the history


class Known(NamedTuple):
    """What is known of a table.

    Attributes
    ----------
    schema : pyarrow.Schema
    form : bytes
        The same, serialized.
    limited : tuple of str
        The columns of which not every value can be kept.
    clock : int
        Where the column ``time`` is, -1 without one.
    unsigned : bool
        Whether its whole numbers may be more than one of 64 bits with a sign can be.
    """

    schema: Any
    form: bytes
    limited: tuple[str, ...]
    clock: int
    unsigned: bool


def known(name, schema, form=None):
    """What is known of a table of this schema; StoreError if its ``time`` is neither a time nor a whole number."""
    import pyarrow as pa

    form = schema.serialize().to_pybytes() if form is None else form
    clock = schema.get_field_index("time")
    kind = schema.field(clock).type if clock >= 0 else pa.int64()
    if not (pa.types.is_temporal(kind) or pa.types.is_integer(kind)):
        raise StoreError(f"{name!r}: time must be a time or a whole number; got {kind}")
    return Known(schema, form, _limited(schema), clock, pa.types.is_uint64(kind))


def check_name(what, name):
    """StoreError unless `name` is text that a file system and SQL can carry."""
    if not isinstance(name, str) or not name or len(name.encode("utf-8", "surrogatepass")) > 80:
        raise StoreError(f"{what} must be text of 1 to 80 bytes; got {name!r}")
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise StoreError(f"{what} must have no control characters; got {name!r}")


def arrow(name, table, known=None):
    """The table as one Arrow batch, its text and categories as text, its names such as the store and SQL keep apart."""
    import pyarrow as pa

    seen = known is not None and isinstance(table, pa.Table) and table.schema.equals(known.schema, check_metadata=True)
    if not seen:
        table = _checked(name, _tabled(name, table))
    for column in known.limited if seen else _limited(table.schema):
        values = table.column(column)
        if not _comes_back(values):
            raise StoreError(f"{name!r}, column {column!r}: {values.type} with a value that cannot be kept: {LIMITS}")
    return batch(name, table)


def _checked(name, table):
    check_name("a table's name", name)
    table = _cast(name, table)
    lowered = [column.lower() for column in table.column_names]
    if len(set(lowered)) < len(lowered) or OWN in lowered or not lowered:
        raise StoreError(
            f"{name!r}: columns must differ in more than case, and {OWN!r} is the store's; got {table.column_names}"
        )
    return table


LIMITS = "a time of day must be whole microseconds of one day, a day whole and of the years 1 to 9999, seconds < 2**53"
DAY = {unit: 86_400 * 10**digits for unit, digits in {"s": 0, "ms": 3, "us": 6, "ns": 9}.items()}


def _limited(schema):
    """The columns of a type of which Parquet or pandas cannot give back some values."""
    import pyarrow as pa

    days = [pa.types.is_time(kind) or pa.types.is_date(kind) for kind in schema.types]
    seconds = [pa.types.is_timestamp(kind) and kind.unit == "s" for kind in schema.types]
    return tuple(name for name, day, second in zip(schema.names, days, seconds, strict=True) if day or second)


def _comes_back(column):
    """Whether every value of a column of such a type is one of the others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    ends = [end for end in pc.min_max(column).values() if end.is_valid]
    if pa.types.is_timestamp(kind):
        return all(abs(end.value) < 2**53 for end in ends)
    if pa.types.is_time(kind) and any(not 0 <= end.value < DAY[kind.unit] for end in ends):
        return False
    try:
        for end in ends:
            end.as_py()  # a day of Python, as pandas has it
        short = {pa.time64("ns"): pa.time64("us"), pa.date64(): pa.date32()}.get(kind, kind)
        return short == kind or column.cast(short).cast(kind).equals(column)
    except (pa.ArrowException, ValueError, OverflowError):
        return False


def batch(name, table):
    """All rows of an Arrow table as one batch."""
    import pyarrow as pa

    found = table.to_batches()
    if len(found) > 1:
        found = table.combine_chunks().to_batches()
    if len(found) > 1:
        raise StoreError(f"{name!r}: text of more than 2 GB must be sent in several updates")
    return found[0] if found else pa.RecordBatch.from_pylist([], table.schema)


def check_kept(name, form):
    """StoreError unless a table of this form comes back from the log, and can be sorted into the history and read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for field in form:
        if _beyond_sql(field.type):  # one such table would be in the way of every question
            raise StoreError(f"{name!r}, column {field.name!r}: {field.type} cannot be kept (DuckDB does not know it)")
        try:
            alone = pa.record_batch({field.name: pa.nulls(1, field.type)})
            row = load(dump(alone, alone.schema.serialize()))
            row.to_pandas()
            out = pa.BufferOutputStream()
            pq.write_table(row.sort_by(field.name) if field.name == "sym" else row.take([0]), out)
            pq.read_table(pa.BufferReader(out.getvalue())).cast(row.schema)
        except (pa.ArrowException, TypeError, OSError) as error:
            raise StoreError(f"{name!r}, column {field.name!r}: {field.type} cannot be kept ({error})") from error


def _beyond_sql(kind):
    import pyarrow as pa

    inner = (kind.field(i).type for i in range(kind.num_fields))
    return pa.types.is_float16(kind) or pa.types.is_decimal256(kind) or any(map(_beyond_sql, inner))


def pandas(table):
    """The table as pandas; whole numbers beside unknown ones stay whole where a float would round them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
    frame = table.to_pandas()
    for i, column in enumerate(table.columns):
        some = column.type in whole and 0 < column.null_count < len(column)
        if some and max(map(abs, pc.min_max(column).as_py().values())) > 2**53:
            frame.isetitem(i, column.to_pandas(types_mapper=whole.get))
    return frame


def same(table, other):
    """Whether a table and a batch have the same columns and rows, whatever lies in memory under what is unknown."""
    if not table.schema.equals(other.schema) or table.num_rows != other.num_rows:
        return False
    everything = np.arange(len(other))
    return batch("", table).take(everything).serialize() == other.take(everything).serialize()


def plain(name, table):
    """The table as Arrow, its text and categories as text."""
    return _cast(name, _tabled(name, table))


def _tabled(name, table):
    """The table as Arrow without metadata."""
    import pyarrow as pa

    if isinstance(table, pd.DataFrame):
        if not isinstance(table.index, pd.RangeIndex) or table.index.name is not None:
            raise StoreError(f"{name!r}: the index would be lost; reset_index first")
        if not all(isinstance(column, str) for column in table.columns):
            raise StoreError(f"{name!r}: names of columns must be text; got {list(table.columns)!r}")
        try:
            table = pa.Table.from_pandas(table, preserve_index=False, nthreads=1)  # a pool of threads only waits
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise StoreError(f"{name!r}: cannot be kept as it is ({error})") from error
    elif hasattr(table, "to_arrow"):
        table = _of_polars(name, table)
    elif isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if not isinstance(table, pa.Table):
        raise StoreError(f"{name!r} must be a pandas, Arrow or Polars table; got {type(table).__name__}")
    return table.replace_schema_metadata(None)


def _of_polars(name, table):
    """The table as Arrow; StoreError also where Polars would give addresses in memory for objects of Python."""
    try:
        if any(str(kind) == "Object" for kind in getattr(table, "dtypes", ())):
            raise TypeError("objects of Python")
        return table.to_arrow()
    except Exception as error:  # of any kind, for any kind of table
        raise StoreError(f"{name!r}: cannot be kept as it is ({error})") from error


def _cast(name, table):
    import pyarrow as pa

    kinds = [_plain(kind) for kind in table.schema.types]
    try:
        columns = [
            column if column.type == kind else column.cast(kind)
            for column, kind in zip(table.columns, kinds, strict=True)
        ]
    except pa.ArrowException as error:
        raise StoreError(f"{name!r}: cannot be kept as it is ({error})") from error
    return pa.Table.from_arrays(columns, names=table.column_names)


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # of a stream: no further message


def dump(batch, form):
    """Arrow's stream of a batch whose schema is serialized in `form`, the same bytes for the same rows."""
    return b"".join([form, batch.serialize(), END])


def load(stream):
    """The table of a stream."""
    import pyarrow as pa

    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all()


def schema(form):
    """The schema that was stored as bytes."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(form))


def told(schema):
    """A schema in words."""
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def check_times(name, batch, known):
    """StoreError where a time is missing, or more than a whole number of 64 bits can be."""
    if known.clock < 0:
        return
    times = batch.column(known.clock)
    if times.null_count:
        raise StoreError(f"{name!r}: time is missing in row {times.is_null().to_pylist().index(True)}")
    if known.unsigned and (latest := times.to_numpy().max(initial=0)) >= 2**63:
        raise StoreError(f"{name!r}: time must be less than 2**63; got {latest}")


def lateness(table, before):
    """How many rows lie before a time that the table had seen, `before` the latest of them; the latest with theirs."""
    import pyarrow as pa

    if "time" not in table.column_names or table.num_rows == 0:
        return 0, before
    column = table.column("time").combine_chunks()
    if pa.types.is_temporal(column.type):
        column = column.view(f"int{column.type.bit_width}")
    times = column.cast(pa.int64()).to_numpy()
    seen = np.maximum.accumulate(np.append(times[0] if before is None else before, times))
    return int(np.count_nonzero(times < seen[:-1])), seen[-1]


def with_seq(table, seq):
    """The table with its update's sequence number in front."""
    import pyarrow as pa

    return table.add_column(0, OWN, pa.array(np.full(table.num_rows, seq)))


def joined(tables):
    """Tables of one form, one after the other."""
    import pyarrow as pa

    return pa.concat_tables(tables)


def dataset(files):
    """(date, file) pairs of a table's history as one Arrow data set; `date` is added where the table has none."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyarrow.fs import LocalFileSystem

    files = [(date, str(file.absolute())) for date, file in files]  # else a colon in a name makes a URI
    fragment = ds.dataset(files[0][1], format="parquet")
    if "date" in fragment.schema.names:
        return ds.dataset([file for _, file in files], format="parquet")
    dated = fragment.schema.append(pa.field("date", pa.date32()))
    day = ds.field("date")
    parts = [
        ds.ParquetFileFormat().make_fragment(
            file, LocalFileSystem(), day == pa.scalar(pd.Timestamp(date).date(), pa.date32())
        )
        for date, file in files
    ]
    return ds.FileSystemDataset(parts, dated, ds.ParquetFileFormat())
