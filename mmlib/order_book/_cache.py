"""Events kept as Parquet: read a text once.

The key is the hash of the source's bytes. So that a cached read need not hash them again, the file's size and time of
change are kept with it: where both are the same the source is, where they differ the hash decides.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from mmlib import __version__, optional
from mmlib.order_book.events import EventError

#: Part of the key: what a cached file of another form of the table must not be taken for.
FORM = f"events 1, mmlib {__version__}"


def through(sources: list, make: Callable, keep: bool) -> pd.DataFrame:
    """Events of `sources`, from the cache where `keep` and it has them.

    Parameters
    ----------
    sources : list of (Path, name, function that reads the bytes)
    make : function of (name, bytes) pairs to (DataFrame, report)
    keep : bool
    """
    if not keep:
        return _made(make, [(name, read()) for _, name, read in sources])
    stats = [_stat(path) for path, _, _ in sources]
    names = json.dumps([FORM, *(name for _, name, _ in sources)])
    label = f".{sources[0][0].name}.{hashlib.sha256(names.encode()).hexdigest()[:16]}.events.parquet"
    places = [sources[0][0].parent / label, user_folder() / label]
    for place in places:
        found = _load(place, stats, None)
        if found is not None:
            return found
    contents = [(name, read()) for _, name, read in sources]
    digest = hashlib.sha256(names.encode())
    for _, data in contents:
        digest.update(hashlib.sha256(data).digest())
    key = digest.hexdigest()
    for place in places:
        found = _load(place, None, key)
        if found is not None:
            return found
    events = _made(make, contents)
    for place in places:
        if _save(place, events, key, stats):
            break
    return events


def user_folder() -> Path:
    """The user's cache folder for mmlib."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmlib"


def _made(make, contents):
    events, report = make(*contents)
    return _table({name: column.to_numpy() for name, column in events.items()}, report)


def _stat(path):
    try:
        found = path.stat()
    except OSError as error:
        raise EventError(f"{path.name}: cannot be read: {error.strerror}") from None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _load(place, stats, key):
    """The cached events if they are those of a source with these stats, or of this key; else None."""
    parquet = optional.load("pyarrow.parquet", "order-book", "cached events")
    if not place.is_file():
        return None
    try:
        with parquet.ParquetFile(place, page_checksum_verification=True, memory_map=True) as file:
            meta = json.loads(file.metadata.metadata[b"mmlib"])
            if (stats is not None and meta["stats"] != stats) or (key is not None and meta["key"] != key):
                return None
            table = file.read()
    except (OSError, ValueError, KeyError, TypeError):  # a cache that was cut or flipped is made again
        return None
    columns = dict(zip(table.column_names, (column.to_numpy() for column in table.columns), strict=True))
    time = columns.pop("time_ns")
    return _table({"time_ns": time, "local_ns": columns.pop("local_ns", time), **columns}, meta["report"])


def _table(columns, report):
    """The events of arrays, which are not copied and cannot be written in place."""
    for column in columns.values():
        column.flags.writeable = False
    events = pd.DataFrame(columns, copy=False)
    events.attrs["report"] = report
    return events


def _save(place, events, key, stats):
    """Whether the events could be written; a file is replaced whole or not at all."""
    arrow = optional.load("pyarrow", "order-book", "cached events")
    parquet = optional.load("pyarrow.parquet", "order-book", "cached events")
    same = events["local_ns"].equals(events["time_ns"])
    columns = {
        name: arrow.array(column.to_numpy()) for name, column in events.items() if not (same and name == "local_ns")
    }
    schema = arrow.schema([arrow.field(name, column.type, nullable=False) for name, column in columns.items()])
    table = arrow.Table.from_arrays(list(columns.values()), schema=schema)
    meta = json.dumps({"key": key, "stats": stats, "report": events.attrs["report"]})
    temporary = place.with_name(f"{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(
            table.replace_schema_metadata({"mmlib": meta}),
            temporary,
            row_group_size=max(len(events), 1),  # one piece, which is read without being copied
            compression="lz4",
            use_dictionary=["kind", "side"],
            write_page_checksum=True,
        )
        os.replace(temporary, place)
    except OSError:
        temporary.unlink(missing_ok=True)
        return False
    return True
