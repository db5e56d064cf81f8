"""A tick store: updates arrive once and in order, nothing that was acknowledged is lost, readers never mix two updates.

    store = tick_store.open("my/folder")
    seq = store.publish({"trade": trades, "quote": quotes}, source="nyse", number=17)   # returns when it is safe
    store.last("nyse"); store.gaps()                                # where a feed goes on; what is missing below it
    for update in store.follow(since=seq): ...                      # in any process, in order; ``async for`` as well
    snapshot = store.snapshot(); snapshot.seq; snapshot.table("trade"); snapshot.sql("select … asof join …")
    store.end_of_day("2026-01-02")                                  # history/trade/date=2026-01-02/part.parquet

The parts are kdb+tick's (a log, a real-time database, a history by day, subscribers), with what it leaves open decided:
an update is logged before anyone sees it, one transaction with all its tables and one sequence number; a feed numbers
its updates, so that sending again does no harm and gaps are known; a torn log loses only what was not acknowledged. The
log is SQLite's (WAL mode), the real-time database memory, the history Parquet, the questions DuckDB's SQL (extra
``loan``).
"""

from pathlib import Path

from mmlib.tick_store._log import StoreError
from mmlib.tick_store._readers import Snapshot, Update
from mmlib.tick_store._store import Store

__all__ = ["Snapshot", "Store", "StoreError", "Update", "open"]


def open(url: str | Path, *, read_only: bool = False, durable: bool = True) -> Store:
    """The store in a folder, made if it is not there.

    Parameters
    ----------
    url : str or Path
        A folder.
    read_only : bool
        Whether only to follow and to read; any number of processes may. One writes.
    durable : bool
        Whether an update is safe from loss of power when `publish` returns (fsync), and not only from the death of the
        process.

    Raises
    ------
    StoreError
        If the folder holds something else, another process writes to the store, or its log cannot be read.
    """
    return Store(url, read_only=read_only, durable=durable)
