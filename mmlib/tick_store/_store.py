"""The embedded store: the log on disk, today in memory, closed days as Parquet."""

import json
import os
import sqlite3
import threading
from datetime import date as calendar_date
from pathlib import Path

import pandas as pd

from mmlib import optional
from mmlib.checks import integer, nonnegative
from mmlib.observe import observed
from mmlib.tick_store import _forms, _history, _log
from mmlib.tick_store._log import StoreError
from mmlib.tick_store._readers import Follower, Snapshot

LOCK = "writer.lock"
LAST = "select coalesce(max(seq), 0) from updates"


class Store:
    """A store in a folder, as `mmlib.tick_store.open` gives it; its threads take turns."""

    def __init__(self, url: str | Path, *, read_only: bool, durable: bool) -> None:
        optional.load("pyarrow", "loan", "the tick store")
        self.folder = Path(url)
        self.path = self.folder / _log.FILE
        try:
            if not self.path.exists():
                used = self.folder.exists() and (
                    not self.folder.is_dir() or any(file.name != LOCK for file in self.folder.iterdir())
                )
                if read_only or used:  # a lock alone is of a writer that was killed as it made the store
                    raise StoreError(f"{self.folder}: not a tick store, it has no {_log.FILE}")
                self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # a name too long, a zero byte, no right to
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"{str(self.folder)[:200]!r}: no folder for a store ({str(error)[:80]})") from error
        self._writer = None if read_only else _only_writer(self.folder)
        try:
            self._log = _log.connect(self.path, read_only=read_only, durable=durable)
        except StoreError:
            if self._writer:
                self._writer.close()
            raise
        self._process = os.getpid()
        self._turn = threading.RLock()
        self._known: dict[str, _forms.Known] = {}  # of what this writer has published
        self._last: int | None = None  # its last update, if that went well
        self._today: dict[str, list] = {}
        self._seq = self._closed = 0
        self._verified: set[tuple[Path, str]] = set()

    def close(self) -> None:
        """End the use of the store; another process may write to it then."""
        self._log.close()
        if self._writer:
            self._writer.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @observed
    def publish(self, tables: dict, *, source: str | None = None, number: int | None = None) -> int | None:
        """Append an update; its sequence number once it is safe, None if `source` has sent `number` before.

        Parameters
        ----------
        tables : dict of str to table
            pandas, Arrow or Polars; all are seen together or not at all. A column ``time`` may go back (`late`), but
            not be missing. Text, and values of categories, are stored as text.
        source, number : str and int, both or none
            The feed and its own number of the update, >= 0, in any order.

        Raises
        ------
        StoreError
            If the store was opened to read, there is no table, a table has other columns, types or an order than its
            first batch had, a column's type cannot be kept, a name cannot be kept apart from another, a time is
            missing, the source sent something else under this number, or the disk is full. Nothing of the update is
            kept then.
        """
        self._may_write()
        if (source is None) != (number is None):
            raise StoreError(f"source and number must be given together; got {source!r} and {number!r}")
        if source is not None:
            _forms.check_name("source", source)
            source = str.__str__(source)  # the log gives back NumPy's text, or an enum's, as plain text
            number = integer("number", number, least=0, meaning="a source's own number of an update")
        if not isinstance(tables, dict) or not tables:
            raise StoreError(f"tables must be a dict of at least one table by name; got {tables!r}")
        batches = {name: _forms.arrow(name, table, self._known.get(name)) for name, table in tables.items()}
        with self._turn:
            return self._append(source, number, batches)

    def _append(self, source, number, batches):
        last, self._last = self._last, None  # nothing is known if a Ctrl-C comes after the commit
        alone = source is None and self._known.keys() >= batches.keys() and not self._log.in_transaction
        with _log.naming(self.path) if alone else _log.transaction(self._log, self.path):
            if source is not None and self._sent(source, number, batches):
                return None
            seq = (self._last_seq() if last is None else last) + 1
            known, streams = {}, {}
            for name, batch in batches.items():
                known[name] = self._admit(name, batch)
                _forms.check_times(name, batch, known[name])
                streams[name] = _forms.dump(batch, known[name].form)
            _log.append(self._log, seq, source, number, streams)
        self._known.update(known)
        self._last = seq
        return seq

    def last(self, source: str) -> int | None:
        """The highest number that `source` has sent, None if it has sent nothing."""
        _forms.check_name("source", source)
        return self._asked("select max(number) from updates where source = ?", source)[0][0]

    def gaps(self) -> list[tuple[str, int, int]]:
        """What is missing between the lowest and the highest number of each source: (source, first, last), in order."""
        return self._asked(
            """select source, before + 1, number - 1 from
               (select source, number, lag(number) over (partition by source order by number) as before from updates
                where source is not null) where number > before + 1 order by source, number"""
        )

    def late(self) -> pd.DataFrame:
        """Batches with rows whose ``time`` lies before one that the table had seen: seq, name, rows.

        The whole log is read for it. StoreError if it is damaged.
        """
        found: list[tuple[int, str, int]] = []
        newest: dict[str, int] = {}
        with self._turn, _log.reading(self._log, self.path):
            for seq, _, _, streams in _log.updates(self._log, self.path, 0):
                for name, stream in sorted(streams):
                    rows, newest[name] = _forms.lateness(_forms.load(stream), newest.get(name))
                    if rows:
                        found.append((seq, name, rows))
        return pd.DataFrame(found, columns=["seq", "name", "rows"])

    def follow(self, since: int = 0, timeout: float | None = None) -> "Follower":
        """Updates after the sequence number `since`, in order, each once, and those to come.

        Parameters
        ----------
        since : int
            Where to go on; 0 for all that the log has.
        timeout : float, optional
            Seconds without an update after which the iteration ends; by default it goes on for ever.

        Raises
        ------
        StoreError
            If `since` has not been reached yet; while following, if the log is damaged.
        """
        since = integer("since", since, least=0, meaning="sequence number after which to go on")
        last = self._asked(LAST)[0][0]
        if since > last:
            raise StoreError(f"{self.path}: since must be <= {last}, the last update; got {since}")
        if timeout is not None:
            timeout = nonnegative("timeout", timeout, "seconds without an update")
        return Follower(self.path, since, timeout)

    def snapshot(self) -> "Snapshot":
        """All tables of today after one and the same update, and the closed days; later updates do not change it.

        Raises
        ------
        StoreError
            If the log or a file of the history is damaged.
        """
        with self._turn, _log.reading(self._log, self.path):
            days = _log.rows(self._log, self.path, "days")
            closed = max((last for _, last, files in days if files), default=0)
            if closed > self._closed:
                self._today = {name: [c for c in chunks if c[0] > closed] for name, chunks in self._today.items()}
                self._closed, self._seq = closed, max(self._seq, closed)
            for chunks in self._today.values():  # of an update that was broken off (Ctrl-C), and is read again
                while chunks and chunks[-1][0] > self._seq:
                    chunks.pop()
            for seq, _, _, streams in _log.updates(self._log, self.path, self._seq):
                for name, stream in streams:
                    self._today.setdefault(name, []).append((seq, _forms.load(stream)))
                self._seq = seq
            forms = _log.rows(self._log, self.path, "tables")
            tables = {name: (_forms.schema(form), tuple(self._today.get(name, ()))) for name, form in forms}
            return Snapshot(self._seq, tables, self._files(days))

    @observed
    def end_of_day(self, date: str) -> list[Path]:
        """Close a day: all updates since the last closed day go to the history under `date`.

        The boundary is logged first, then each table is written beside its place, synced and renamed, then the day is
        marked as written; until then its updates count as today's. Killed at any point, it is called again and gives
        the same bytes. Updates that arrive later are of the next day.

        Parameters
        ----------
        date : str
            YYYY-MM-DD, after all closed days.

        Returns
        -------
        list of Path
            The files of the day, also if it was closed before.

        Raises
        ------
        StoreError
            If the store was opened to read, the date is none, an earlier day is not finished, a later one closed, the
            log is damaged, or the disk is full.
        """
        self._may_write()
        try:
            day = calendar_date.fromisoformat(date).isoformat()
        except (TypeError, ValueError):
            day = None
        if day is None or day != date:
            raise StoreError(f"date must be a day YYYY-MM-DD; got {date!r}")
        with self._turn:
            return self._end(day)

    def _end(self, date):
        with _log.transaction(self._log, self.path):
            days = {day: (last, files) for day, last, files in _log.rows(self._log, self.path, "days")}
            unfinished = [day for day, (_, files) in days.items() if files is None and day != date]
            if unfinished:
                raise StoreError(f"{self.path}: {unfinished[0]} was begun and not finished: end that day first")
            if date not in days:
                if days and max(days) > date:
                    raise StoreError(f"{self.path}: date must be after {max(days)}, which is closed; got {date}")
                days[date] = (self._last_seq(), None)
                _log.write(self._log, "days", date, *days[date])
        last, files = days[date]
        if files is None:
            first = max((end for day, (end, _) in days.items() if day < date), default=0)
            files = json.dumps(self._write_day(date, first, last))
            with _log.transaction(self._log, self.path):
                _log.write(self._log, "days", date, last, files)
        return [file for _, _, file in self._files([(date, last, files)])]

    def _write_day(self, date, first, last):
        """Write the files of a day: (name, sha256) of each."""
        chunks: dict[str, list] = {}
        for seq, _, _, streams in _log.updates(self._log, self.path, first):
            if seq > last:
                break
            for name, stream in streams:
                chunks.setdefault(name, []).append(_forms.with_seq(_forms.load(stream), seq))
        written = []
        for name, tables in sorted(chunks.items()):
            try:
                sha256 = _history.write(_forms.joined(tables), _history.path(self.folder, name, date))
            except OSError as error:
                raise StoreError(f"{self.folder}: {date} is not closed, end it again with room ({error})") from error
            written.append((name, sha256))
        return written

    def _files(self, days):
        """(date, name, path) of the history of these days, verified once a file and process."""
        found = []
        for date, name, sha256 in [(date, *file) for date, _, files in days for file in json.loads(files or "[]")]:
            file = _history.path(self.folder, name, date)
            if (file, sha256) not in self._verified:
                if not file.exists():
                    raise StoreError(f"{file}: missing from the history")
                if _history.digest(file) != sha256:
                    raise StoreError(f"{file}: not the file that was written on closing {date}")
                self._verified.add((file, sha256))
            found.append((date, name, file))
        return found

    def _sent(self, source, number, batches):
        """Whether this very update was sent before; StoreError if another one was under its number."""
        rows = self._rows("select * from updates where source = ? and number = ?", source, number)
        if not rows:
            return False
        seq, _, _, streams = _log.update(self.path, rows[0])
        before = dict(streams)
        if before.keys() != batches.keys() or not all(
            _forms.same(_forms.load(before[name]), batch) for name, batch in batches.items()
        ):
            raise StoreError(
                f"{source}: number {number} was sent before with other content, as update {seq};"
                f" a source that starts again from 0 needs another name (its last number is {self.last(source)})"
            )
        return True

    def _admit(self, name, batch):
        """What is known of the table that this is a batch of; a new table's form is written down."""
        known = self._known.get(name) or self._looked_up(name)
        if known is None:
            _forms.check_kept(name, batch.schema)
            known = _forms.known(name, batch.schema)
            _log.write(self._log, "tables", str.__str__(name), known.form)
        elif not batch.schema.equals(known.schema):
            raise StoreError(
                f"{name!r} must have the columns {_forms.told(known.schema)}; got {_forms.told(batch.schema)}"
            )
        return known

    def _looked_up(self, name):
        """What the log knows of a table, None if nothing."""
        for other, form in _log.rows(self._log, self.path, "tables"):
            if other == name:
                return _forms.known(name, _forms.schema(form), form)
            if other.encode().lower() == name.encode().lower():  # DuckDB folds the letters of ASCII
                raise StoreError(f"{name!r}: SQL does not keep it apart from {other!r}; another name must be chosen")
        return None

    def _last_seq(self):
        return self._rows(LAST)[0][0]

    def _asked(self, query, *values):
        """The answer to a question from outside, never of an update that was broken off (Ctrl-C)."""
        with self._turn, _log.reading(self._log, self.path):
            return self._rows(query, *values)

    def _rows(self, query, *values):
        with _log.naming(self.path):
            return self._log.execute(query, values).fetchall()

    def _may_write(self):
        if self._writer is None:
            raise StoreError(f"{self.folder}: this store was opened to read")
        if self._process != os.getpid():
            raise StoreError(f"{self.folder}: this store was opened by a process that was forked since; one writes")


def _only_writer(folder):
    """A lock that the system lets go of when the process ends, however it ends."""
    lock = sqlite3.connect((folder / LOCK).absolute(), isolation_level=None, check_same_thread=False, timeout=0)
    try:
        lock.execute("begin exclusive")
    except sqlite3.DatabaseError as error:
        lock.close()
        if "locked" not in str(error):
            raise StoreError(f"{folder / LOCK}: {error}") from error
        raise StoreError(f"{folder}: another process writes to this store ({error}); open it read_only") from None
    return lock
