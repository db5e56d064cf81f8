"""Tables as they are kept: Arrow without metadata, text as text, and what of a table cannot be kept."""

from typing import Any

import numpy as np
import pandas as pd

from mmlib.tick_store._log import StoreError

OWN = "seq"  # a column of the history


def check_name(what, name):
    """StoreError unless `name` is text that a file system and SQL can carry."""
    if not isinstance(name, str) or not name or len(name.encode("utf-8", "surrogatepass")) > 80:
        raise StoreError(f"{what} must be text of 1 to 80 bytes; got {name!r}")
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise StoreError(f"{what} must have no control characters; got {name!r}")


def arrow(name, table):
    """The table as Arrow, its text and categories as text, its names such as the store and SQL keep apart."""
    check_name("a table's name", name)
    table = plain(name, table)
    lowered = [column.lower() for column in table.column_names]
    if len(set(lowered)) < len(lowered) or OWN in lowered or not lowered:
        raise StoreError(
            f"{name!r}: columns must differ in more than case, and {OWN!r} is the store's; got {table.column_names}"
        )
    for field in table.schema:
        if str(field.type) == "time64[ns]" and not _whole_microseconds(table.column(field.name)):
            raise StoreError(f"{name!r}, column {field.name!r}: a time of day cannot keep nanoseconds")
    return table


def _whole_microseconds(column):
    import pyarrow as pa

    try:
        return column.cast(pa.time64("us")) is not None
    except pa.ArrowInvalid:
        return False


def check_kept(name, form):
    """StoreError unless a table of this form comes back from the log, and can be sorted into the history and read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for field in form:
        try:
            row = load(dump(pa.table({field.name: pa.nulls(1, field.type)})))
            row.to_pandas()
            out = pa.BufferOutputStream()
            pq.write_table(row.sort_by(field.name) if field.name == "sym" else row.take([0]), out)
            pq.read_table(pa.BufferReader(out.getvalue())).cast(row.schema)
        except (pa.ArrowException, TypeError) as error:
            raise StoreError(f"{name!r}, column {field.name!r}: {field.type} cannot be kept ({error})") from error


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


def same(one, other):
    """Whether two tables have the same columns and rows, whatever lies in memory under what is unknown."""
    everything = np.arange(one.num_rows)
    return (
        one.schema.equals(other.schema)
        and one.num_rows == other.num_rows
        and dump(one.take(everything).combine_chunks()) == dump(other.take(everything).combine_chunks())
    )


def plain(name, table):
    """The table as Arrow, its text and categories as text."""
    import pyarrow as pa

    if isinstance(table, pd.DataFrame):
        if not isinstance(table.index, pd.RangeIndex) or table.index.name is not None:
            raise StoreError(f"{name!r}: the index would be lost; reset_index first")
        if not all(isinstance(column, str) for column in table.columns):
            raise StoreError(f"{name!r}: names of columns must be text; got {list(table.columns)!r}")
        try:
            table = pa.Table.from_pandas(table, preserve_index=False)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise StoreError(f"{name!r}: cannot be kept as it is ({error})") from error
    elif hasattr(table, "to_arrow"):
        table = table.to_arrow()
    elif isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if not isinstance(table, pa.Table):
        raise StoreError(f"{name!r} must be a pandas, Arrow or Polars table; got {type(table).__name__}")
    schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in table.schema])
    if not table.schema.equals(schema, check_metadata=True):  # a cast costs as much as the rest of an update
        table = table.replace_schema_metadata(None).cast(schema)
    return table.combine_chunks()


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


def dump(table):
    """Arrow's stream of a table, the same bytes for the same rows."""
    return b"".join([table.schema.serialize(), *(batch.serialize() for batch in table.to_batches()), END])


def load(payload):
    """The table of a stream."""
    import pyarrow as pa

    with pa.ipc.open_stream(payload) as reader:
        return reader.read_all()


def schema(form):
    """The schema that was stored as bytes."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(form))


def told(form):
    """A stored schema in words."""
    return ", ".join(f"{field.name} {field.type}" for field in schema(form))


def times(name, table):
    """The column ``time`` as whole numbers; none where there is no such column. StoreError where a time is missing."""
    import pyarrow as pa

    if "time" not in table.column_names:
        return np.array([], np.int64)
    column = table.column("time")
    if column.null_count:
        raise StoreError(f"{name!r}: time is missing in row {column.is_null().to_pylist().index(True)}")
    if not (pa.types.is_temporal(column.type) or pa.types.is_integer(column.type)):
        raise StoreError(f"{name!r}: time must be a time or a whole number; got {column.type}")
    if pa.types.is_integer(column.type):
        try:
            return column.cast(pa.int64()).to_numpy()
        except pa.ArrowInvalid as error:
            raise StoreError(f"{name!r}: time must be less than 2**63 ({error})") from error
    return column.combine_chunks().view(f"int{column.type.bit_width}").to_numpy().astype(np.int64, copy=False)


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
