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

The same verbs speak to a kdb+ server over its IPC (extra ``kdb``), as far as it can keep what they say; `KdbStore`
tells what it cannot:

    with tick_store.open("kdb://localhost:5010") as ticker:         # MMLIB_KDB_USER, MMLIB_KDB_PASSWORD
        ticker.publish({"trade": trades})                           # .u.upd
        ticker.sql("select volume:sum[size] by sym from trade")     # qSQL
"""

from pathlib import Path

from mmlib import settings
from mmlib.tick_store._kdb import KdbFollower, KdbStore
from mmlib.tick_store._log import StoreError
from mmlib.tick_store._readers import Snapshot, Update
from mmlib.tick_store._store import Store

__all__ = ["KdbFollower", "KdbStore", "Snapshot", "Store", "StoreError", "Update", "open"]


def open(
    url: str | Path, *, read_only: bool = False, durable: bool | None = None, timeout: int | None = None
) -> Store | KdbStore:
    """The store in a folder, made if it is not there, or a kdb+ server.

    Parameters
    ----------
    url : str or Path
        A folder, or kdb://HOST:PORT, or kdb:// for the host and port of `mmlib.settings`; user and password of a server
        are in the environment, MMLIB_KDB_USER and MMLIB_KDB_PASSWORD.
    read_only : bool
        Whether only to follow and to read; any number of processes may. One writes to a folder.
    durable : bool, optional
        Of a folder: whether an update is safe from loss of power when `publish` returns (fsync; the default), and not
        only from the death of the process.
    timeout : int, optional
        Of a server: seconds, 30 by default, in which it must send something before it is given up.

    Raises
    ------
    StoreError
        If the folder holds something else, another process writes to the store, or its log cannot be read; if nothing
        listens at the address, the server does not answer, does not take the user, or speaks no kdb+.
    """
    if isinstance(url, str) and url.lower().startswith("kdb:"):
        if durable is not None:
            raise StoreError("durable must be left out for kdb+, whose server decides it")
        if url == "kdb://":
            here = settings.read()
            url = f"kdb://{here.kdb_host}:{here.kdb_port}"
        return KdbStore(url, read_only=read_only, timeout=timeout)
    if timeout is not None:
        raise StoreError("timeout is of kdb+ servers; a folder has none")
    if not isinstance(url, str | Path) or "://" in str(url) or str(url).lower().startswith(("kdb//", "ticks:")):
        raise StoreError(f"url must be a folder or kdb://HOST:PORT; got {str(url)[:200]!r}")
    return Store(url, read_only=read_only, durable=durable is not False)
