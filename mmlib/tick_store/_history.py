"""The history: a Parquet file a table and closed day, sorted by (sym, seq), written, synced, renamed."""

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

ROWS = 128 * 1024  # of a row group: their smallest and largest sym let a query skip them


def path(folder, name, date):
    """history/NAME/date=DATE/part.parquet; a name is percent-encoded where it is not letters, digits, - and _."""
    safe = quote(name, safe="").replace(".", "%2E").replace("~", "%7E")
    return Path(folder) / "history" / safe / f"date={date}" / "part.parquet"


def digest(file):
    """SHA-256 of a file."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write(table, file):
    """Write the Arrow `table` to `file` so that it is there whole or not at all; its SHA-256."""
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".tmp")
    keys = [(name, "ascending") for name in ("sym", "seq") if name in table.column_names]
    place = partial.absolute()  # else a folder with a colon in its name is taken as a URI
    pq.write_table(table.sort_by(keys), place, compression="zstd", row_group_size=ROWS)
    with open(partial, "rb+") as opened:
        os.fsync(opened.fileno())
    partial.replace(file)
    for folder in file.parents[:4]:  # the day's, the table's, the history's and the store's: each may hold a new name
        entries = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entries)
        finally:
            os.close(entries)
    return digest(file)
