"""A kdb+ tickerplant, real-time database or history behind the store's verbs."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mmlib.checks import integer, nonnegative
from mmlib.tick_store import _forms, _kdb_forms
from mmlib.tick_store._kdb_wire import Connection
from mmlib.tick_store._log import StoreError
from mmlib.tick_store._readers import Snapshot, Update

TIMEOUT = 30  # seconds in which a server must send something


class KdbStore:
    """A kdb+ server, as `mmlib.tick_store.open` gives it for kdb://HOST:PORT; any thread may use it, one at a time.

    Each verb asks one process: `publish`, `follow` and `end_of_day` the tickerplant (kdb+tick's ``.u.upd``, ``.u.sub``,
    ``.u.end``), `snapshot` the real-time database, `history` the historical one, `sql` any. What the folder's store
    promises and kdb+ cannot:

    - updates have no numbers: `publish` gives None and takes no `source` and `number`, an update that is sent again is
      there twice, `last`, `gaps` and `late` are refused, and `follow` begins now;
    - a message is of one table, so that an update of several cannot be seen at once and is refused;
    - `publish` returns when the tickerplant has run ``.u.upd``; whether its log is on the disk then is the server's;
    - what was published while a follower was not connected does not come again.

    The connection is not encrypted.

    Unknown floats travel as kdb+'s null and come back as NaN, text as symbols. What would come back as something else
    is refused before it is sent: unknown booleans, bytes and text, text with a zero byte, the ends of the integers,
    times outside 1707 to 2262, dates outside the years 1 to 9999, other types.
    """

    def __init__(self, url: str, *, read_only: bool, timeout: int | None) -> None:
        seconds = integer("timeout", TIMEOUT if timeout is None else timeout, least=1, meaning="seconds of silence")
        self.url, self._read_only = url, read_only
        self._connection = Connection(url, seconds)
        self._connection.ask("1b")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> "KdbStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def publish(self, tables: dict, *, source: str | None = None, number: int | None = None) -> None:
        """Send one table to the tickerplant: ``.u.upd[name; columns]``, and wait until it has run.

        Parameters
        ----------
        tables : dict of str to table
            One table, pandas, Arrow or Polars, with the server's columns in its order and types.
        source, number : None
            A tickerplant keeps no numbers of its feeds.

        Raises
        ------
        StoreError
            If the store was opened to read, there is not exactly one table, a number is given, the table has other
            columns than the server's, a value would come back as another, or the server refuses it: nothing was sent
            or kept then. If the answer did not arrive, whether the update did is not known.
        """
        self._may_write()
        if source is not None or number is not None:
            raise StoreError(f"{self.url}: a tickerplant keeps no numbers; source and number must be None")
        if not isinstance(tables, dict) or len(tables) != 1:
            got = ", ".join(map(repr, tables)) if isinstance(tables, dict) else repr(tables)
            raise StoreError(
                f"{self.url}: tables must be a dict of one table, a message has no more; got {got or 'none'}"
            )
        ((name, table),) = tables.items()
        _kdb_forms.check_name(name)
        sent = _kdb_forms.columns(name, table)
        if name not in self._connection.forms:
            form = self._connection.ask(f"0#{name}")
            _kdb_forms.arrow(f"0#{name}", form)
            self._connection.forms[name] = form
        _kdb_forms.check_form(name, self._connection.forms[name], sent)
        self._connection.ask(".u.upd", name, sent)

    def last(self, source: str) -> int | None:
        """Refused: kdb+ does not know what a feed has sent."""
        raise StoreError(f"{self.url}: kdb+ keeps no numbers of its feeds; last is of a store in a folder")

    def gaps(self) -> list[tuple[str, int, int]]:
        """Refused: kdb+ does not know what a feed has not sent."""
        raise StoreError(f"{self.url}: kdb+ keeps no numbers of its feeds; gaps are of a store in a folder")

    def late(self) -> pd.DataFrame:
        """Refused: kdb+ does not keep the order in which batches came."""
        raise StoreError(f"{self.url}: kdb+ keeps no batches; late is of a store in a folder")

    def follow(
        self, since: int | None = None, timeout: float | None = None, *, tables: list[str] | None = None
    ) -> "KdbFollower":
        """What the tickerplant sends from now on, in its order: ``.u.sub`` on a connection of its own.

        Every `mmlib.tick_store.Update` holds one table, and its `seq`, `source` and `number` are None. The subscription
        holds when the call returns; what arrives is kept in memory until it is asked for. The message that ends a day
        is not an update, and is left out.

        Parameters
        ----------
        since : None
            kdb+ sends nothing again.
        timeout : float, optional
            Seconds without an update after which an iteration ends; by default it goes on for ever. The subscription
            stays until the follower is closed, which a task does that is cancelled in its ``async for``.
        tables : list of str, optional
            By default all that the tickerplant has.

        Raises
        ------
        StoreError
            If `since` is given, or the server refuses; while following, if the connection ends or the server sends
            something else.
        """
        if since is not None:
            raise StoreError(
                f"{self.url}: kdb+ numbers no updates and sends none again; since must be None, got {since!r}"
            )
        if timeout is not None:
            timeout = nonnegative("timeout", timeout, "seconds without an update")
        names = [""] if tables is None else _kdb_forms.names(tables)  # the empty symbol is all of them
        if not names:
            raise StoreError(f"{self.url}: tables must name at least one; got none")
        return KdbFollower(self._connection, names, timeout)

    def snapshot(self, tables: list[str] | None = None) -> Snapshot:
        """Tables of a real-time database, ``select from`` each in one question, so of one moment of a kdb+ process.

        They are copied whole; the snapshot's `sql` is DuckDB's, its `seq` None, its history empty. A feed that sends an
        update's tables one after the other may be between two of them.

        Parameters
        ----------
        tables : list of str, optional
            By default all that the server has: ``tables[]``.

        Raises
        ------
        StoreError
            If a table has no name that a query can carry, or the server refuses.
        """
        names = _kdb_forms.names(self._connection.read("tables[]") if tables is None else tables)
        if not names:
            return Snapshot(None, {}, [])
        each = ";".join(f"select from {name}" for name in names)
        answers = self._connection.read(f"({each})" if len(names) > 1 else f"enlist {each}")
        if not isinstance(answers, tuple | list) or len(answers) != len(names):
            raise StoreError(f"{self.url}: the answer must be {len(names)} tables; got {type(answers).__name__}")
        read = {name: _kdb_forms.arrow(name, answer) for name, answer in zip(names, answers, strict=True)}
        return Snapshot(None, {name: (table.schema, [(None, table)]) for name, table in read.items()}, [])

    def history(self, name: str, date: str) -> pd.DataFrame:
        """One day of a table of a historical database: ``select from NAME where date=DATE``.

        Raises
        ------
        StoreError
            If `name` or `date` (YYYY-MM-DD) is none, or the server refuses.
        """
        _kdb_forms.check_name(name)
        return self.sql(f"select from {name} where date={_kdb_forms.day(date):%Y.%m.%d}")

    def sql(self, query: str, parameters: list | None = None) -> pd.DataFrame:
        """The table that the server answers to `query`: qSQL, not SQL.

        Parameters
        ----------
        query : str
            qSQL in one or several lines, without comments; or, with `parameters`, the name of a function of the server.
        parameters : list, optional
            Its arguments: numbers, dates, text (as symbols).

        Raises
        ------
        StoreError
            If the server refuses it, or the answer is no table.
        """
        if not isinstance(query, str) or not query.strip() or "\0" in query:
            raise StoreError(f"query must be qSQL; got {query!r}")
        answer = self._connection.ask(query.replace("\n", " "), *(parameters or []))
        return _forms.pandas(_kdb_forms.arrow("query", answer))

    def end_of_day(self, date: str) -> list[Path]:
        """Say that a day is over: ``.u.end[date]``. The files are the server's own, the list is empty.

        A tickerplant tells its subscribers, a real-time database writes its tables. What a second call for a day does
        is the server's: kdb+tick's real-time database writes what came since in the place of the day.

        Raises
        ------
        StoreError
            If the store was opened to read, the date is none, or the server refuses.
        """
        self._may_write()
        self._connection.ask(".u.end", _kdb_forms.day(date))
        return []

    def _may_write(self):
        if self._read_only:
            raise StoreError(f"{self.url}: this store was opened to read")


class KdbFollower:
    """Iterates over `Update`s, ``for`` or ``async for``; see `KdbStore.follow`. All iterations share what arrives."""

    def __init__(self, connection, tables, timeout):
        self._timeout, self._arrived, self._closed = timeout, queue.SimpleQueue[Any](), threading.Event()
        threading.Thread(target=_receive, args=(connection, tables, self._arrived, self._closed), daemon=True).start()
        most = 2 * connection.timeout  # to connect, and to answer
        try:
            first = self._arrived.get(timeout=most)
        except queue.Empty:
            first = StoreError(f"{connection.url}: no answer to .u.sub within {most} s")
        if isinstance(first, StoreError):
            self._closed.set()
            raise first

    def close(self) -> None:
        """End the subscription; the connection is let go at the next message. An iteration that waits ends."""
        self._closed.set()
        self._arrived.put(None)

    def __del__(self):
        self._closed.set()

    def __enter__(self) -> "KdbFollower":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Update]:
        while (update := self._next()) is not None:
            yield update

    async def __aiter__(self) -> AsyncIterator[Update]:
        while True:
            waiting = asyncio.ensure_future(asyncio.to_thread(self._next))
            try:
                update = await asyncio.shield(waiting)
            except asyncio.CancelledError:
                self.close()  # wakes the thread that waits
                raise
            if update is None:
                return
            yield update

    def _next(self) -> Update | None:
        """The next update; None when the time is over or the follower closed."""
        try:
            arrived = None if self._closed.is_set() else self._arrived.get(timeout=self._timeout)
        except queue.Empty:
            return None
        if isinstance(arrived, StoreError):
            self._arrived.put(arrived)  # the next iteration ends with it, too
            raise arrived
        if arrived is None:
            return None
        name, table = arrived
        return Update(None, None, None, {name: _forms.pandas(_kdb_forms.arrow(f"the update of {name!r}", table))})


def _receive(connection, tables, arrived, closed):
    """Subscribe, and put what comes into the queue: first True, then (name, table), at the end a `StoreError`."""
    try:
        own = connection.connect(timeout=0)
        for name in tables:
            connection.answer(own, ".u.sub", name, "")
        arrived.put(True)
        while True:
            try:
                message = own.receive()
            except Exception as error:
                raise StoreError(f"{connection.url}: the subscription has ended ({error})") from None
            if closed.is_set():
                return  # the connection ends with its last name
            match message:
                case ("upd", str(name), table):
                    arrived.put((name, table))
                case (".u.end", _):
                    continue
                case _:
                    raise StoreError(f"{connection.url}: a push must be (`upd; name; table); got {str(message)[:80]!r}")
    except StoreError as error:
        arrived.put(error)
