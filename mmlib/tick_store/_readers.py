"""What readers see: updates one after the other, and all tables after one and the same update."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pandas as pd

from mmlib import optional
from mmlib.tick_store import _forms, _log
from mmlib.tick_store._log import StoreError

POLL = 0.002  # seconds between two looks at the log
MOST = 2**26  # bytes of updates that a follower holds at a time, and one more


class Update(NamedTuple):
    """One update.

    Attributes
    ----------
    seq : int or None
        Its sequence number: 1, 2, …; None from kdb+, which has none.
    source : str or None
    number : int or None
        The source's own number.
    tables : dict of str to DataFrame
    """

    seq: int | None
    source: str | None
    number: int | None
    tables: dict[str, pd.DataFrame]


class Follower:
    """Iterates over `Update`s, ``for`` or ``async for``; see `Store.follow`. Each iteration reads for itself."""

    def __init__(self, path, since, timeout):
        self._path, self._since, self._timeout = path, since, timeout

    def __iter__(self) -> Iterator[Update]:
        log = _log.connect(self._path, read_only=True, durable=False)
        try:
            since = self._since
            while found := self._next(log, since):
                for update in found:
                    since = update.seq
                    yield update
        finally:
            log.close()

    async def __aiter__(self) -> AsyncIterator[Update]:
        log = _log.connect(self._path, read_only=True, durable=False)
        try:
            since = self._since
            while found := await asyncio.to_thread(self._next, log, since):
                for update in found:
                    since = update.seq
                    yield update
        finally:
            log.close()

    def _next(self, log, since) -> list[Update]:
        """The next updates, at most a thousand or `MOST` bytes; none when the time is over."""
        begun = time.monotonic()
        while True:
            found, size = [], 0
            for seq, source, number, streams in _log.updates(log, self._path, since):
                tables = {name: _forms.pandas(_forms.load(stream)) for name, stream in streams}
                found.append(Update(seq, source, number, tables))
                size += sum(len(stream) for _, stream in streams)
                if size > MOST or len(found) == 1000:
                    break
            if found or (self._timeout is not None and time.monotonic() - begun >= self._timeout):
                return found
            time.sleep(POLL)


class Snapshot:
    """The tables after one update.

    Attributes
    ----------
    seq : int or None
        The last update that it holds; None from kdb+.
    names : list of str
        The tables.
    """

    def __init__(self, seq, tables, files):
        self.seq, self.names = seq, sorted(tables)
        self._tables, self._files = tables, files

    def table(self, name: str) -> pd.DataFrame:
        """Today's rows of the table `name`, in order of arrival; StoreError if there is no such table."""
        return _forms.pandas(self._arrow(name))

    def rows(self, name: str) -> pd.DataFrame:
        """All rows of the table `name`, closed days' and today's, in order of arrival, each with its update's `seq`.

        StoreError if there is no such table, or it was copied from kdb+, which has no such numbers.
        """
        schema, chunks = self._chunks(name)
        if self.seq is None:
            raise StoreError(f"{name!r} comes from kdb+, where an update has no number; ask for its table")
        own = [(date, file) for date, other, file in self._files if other == name]
        none = _forms.with_seq(schema.empty_table(), 0)
        # Parquet has no seconds: they come back as milliseconds
        past = [_forms.dataset(own).to_table(columns=none.column_names).cast(none.schema)] if own else []
        parts = [none, *past, *(_forms.with_seq(rows, seq) for seq, rows in chunks)]
        return _forms.pandas(_forms.joined(parts).sort_by(_forms.OWN))

    def sql(self, query: str, parameters: list | None = None) -> pd.DataFrame:
        """The answer of DuckDB to `query`, over today's tables and, as ``history."name"``, those of the closed days.

        The history has a column ``seq`` and, where the table has none of its own, ``date``. Whole numbers beyond 2**53
        beside unknown ones are rounded in the answer; cast them to text.

        Raises
        ------
        StoreError
            If DuckDB refuses the query; its words are kept.
        """
        duckdb: Any = optional.load("duckdb", "loan", "questions to a snapshot")
        with duckdb.connect(":memory:") as database:
            for name in self.names:
                database.register(name, self._arrow(name))
            database.execute("create schema history")
            for name in {name for _, name, _ in self._files}:
                own = [(date, file) for date, other, file in self._files if other == name]
                database.register(f"\1{name}", _forms.dataset(own))  # no table has such a name
                quoted = name.replace('"', '""')
                database.execute(f'create view history."{quoted}" as select * from "\1{quoted}"')
            try:
                return database.execute(query, parameters or []).df()
            except duckdb.Error as error:
                raise StoreError(f"query: {error}") from error

    def _chunks(self, name):
        if name not in self._tables:
            raise StoreError(f"there is no table {name!r}; there are {', '.join(map(repr, self.names)) or 'none'}")
        return self._tables[name]

    def _arrow(self, name):
        schema, chunks = self._chunks(name)
        return _forms.joined([rows for _, rows in chunks]) if chunks else schema.empty_table()
