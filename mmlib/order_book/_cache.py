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
    events.attrs["report"] = report
    return events


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
        meta = json.loads(parquet.read_metadata(place).metadata[b"mmlib"])
        if (stats is not None and meta["stats"] != stats) or (key is not None and meta["key"] != key):
            return None
        table = parquet.read_table(place, page_checksum_verification=True, memory_map=True)
    except (OSError, ValueError, KeyError, TypeError):  # a cache that was cut or flipped is made again
        return None
    events = table.to_pandas(split_blocks=True)
    events.insert(1, "local_ns", events["time_ns"]) if "local_ns" not in events else None
    events.attrs["report"] = meta["report"]
    return events


def _save(place, events, key, stats):
    """Whether the events could be written; a file is replaced whole or not at all."""
    arrow = optional.load("pyarrow", "order-book", "cached events")
    parquet = optional.load("pyarrow.parquet", "order-book", "cached events")
    same = events["local_ns"].equals(events["time_ns"])
    table = arrow.Table.from_pandas(events.drop(columns="local_ns") if same else events, preserve_index=False)
    meta = json.dumps({"key": key, "stats": stats, "report": events.attrs["report"]})
    temporary = place.with_name(f"{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(
            table.replace_schema_metadata({"mmlib": meta}),
            temporary,
            compression="lz4",
            use_dictionary=["kind", "side"],
            write_page_checksum=True,
        )
        os.replace(temporary, place)
    except OSError:
        temporary.unlink(missing_ok=True)
        return False
    return True
