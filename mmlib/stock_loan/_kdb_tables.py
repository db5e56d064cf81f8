"""The eleven tables on a kdb+ server, by one question over one connection a process and server."""

import functools
import os
import threading

import pandas as pd

from mmlib import tick_store
from mmlib.stock_loan import tables
from mmlib.stock_loan._book import Book, TableError
from mmlib.stock_loan._schemas import COLUMNS

_LOCK = threading.Lock()
# a child forked by another thread meanwhile would find the lock taken, by nobody
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


@functools.cache
def _store(url):
    return tick_store.open(url, read_only=True)


def book(url: str) -> Book:
    """The book, checked, of the tables ``select from securities`` … on the server; symbols are text, nulls unknown.

    Raises
    ------
    TableError
        If the server does not answer, a table is missing, or breaks a rule.
    """
    try:
        with _LOCK:
            store = _store(url)
        snapshot = store.snapshot(list(COLUMNS))
        frames = {name: snapshot.table(name) for name in COLUMNS}
    except tick_store.StoreError as error:
        raise TableError(str(error)) from None
    for frame in frames.values():
        if "trade_date" in frame and frame["trade_date"].dtype == object:  # Arrow's dates without a time
            frame["trade_date"] = pd.Series(frame["trade_date"].to_numpy("datetime64[D]").astype("datetime64[us]"))
    return tables.check(Book(**frames), {name: (f"{name} (kdb+)", 0) for name in COLUMNS})
