"""The log: SQLite in WAL mode. One transaction is one update, one row, with one sequence number and all its tables.

updates(seq, source, number, heads, crc, payload)    (source, number) once; heads is a JSON list of [name, bytes] of
    each table, payload their Arrow IPC streams one after the other, never pickle
tables(name, schema, crc)    the form of each table, from its first batch
days(date, last, files, crc)    the last update of a closed day; a JSON list of [name, sha256] of its files, null until
    all are written

crc is of all that stands beside it in the row: a flipped bit is an error when it is read. Nothing else is written with
an update, and only one with a source is in an index: each further page of the file that a small transaction changes
makes it a sixth dearer, where nothing is synced.
"""

import json
import sqlite3
import zlib
from contextlib import ExitStack, closing, contextmanager
from functools import lru_cache

FILE = "log.sqlite"
TABLES = """
create table if not exists updates(seq integer primary key, source text, number integer, heads text not null,
    crc integer not null, payload blob not null);
create unique index if not exists numbers on updates(source, number) where source is not null;
create table if not exists tables(name text primary key, schema blob not null, crc integer not null);
create table if not exists days(date text primary key, last integer not null, files text, crc integer not null);
"""
NAMES = {"updates", "tables", "days"}


class StoreError(ValueError):
    """A store that cannot do what is asked, or holds what it should not; the message names the place."""


def connect(path, *, read_only, durable):
    """A connection to the log of a folder, whose transactions are begun by hand."""
    with naming(path), ExitStack() as opened:  # absolute, since SQLite may take a name that begins with file: as a URI
        log = sqlite3.connect(path.absolute(), isolation_level=None, check_same_thread=False, timeout=10)
        opened.enter_context(closing(log))
        strange = {name for (name,) in log.execute("select name from sqlite_master where type = 'table'")} - NAMES
        if strange:
            raise StoreError(f"{path}: not a tick store, it has tables of its own: {', '.join(sorted(strange))}")
        if read_only:
            log.execute("pragma query_only=1")
            log.execute("select 1 from updates limit 1")
        else:
            log.execute("pragma journal_mode=wal")
            log.execute(f"pragma synchronous={'full' if durable else 'normal'}")
            log.executescript(TABLES)
        opened.pop_all()  # nothing went wrong: it stays open
        return log


class naming:
    """SQLite's errors as `StoreError`s that name the log and what follows for the update."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        pass

    def __exit__(self, kind, error, traceback):
        if isinstance(error, sqlite3.OperationalError):
            kept = "nothing of this update is kept, all earlier ones are" if "full" in str(error) else "see the file"
            raise StoreError(f"{self.path}: {error}; {kept}") from error
        if isinstance(error, sqlite3.DatabaseError | sqlite3.InterfaceError):
            raise StoreError(f"{self.path}: not a readable log ({error})") from error


def transaction(log, path):
    """All of the block, or nothing."""
    return _block(log, path, "begin immediate", "commit")


def reading(log, path):
    """All reads of the block are of one and the same state of the log, whatever is written meanwhile."""
    return _block(log, path, "begin", "rollback")


@contextmanager
def _block(log, path, begin, end):
    try:
        if log.in_transaction:  # left by a Ctrl-C that came between a block's beginning and what ends it
            log.execute("rollback")
        log.execute(begin)
        yield
        log.execute(end)
    except GeneratorExit:  # such a block is forgotten at any time, perhaps within another, which is not its to end
        raise
    except BaseException:
        with naming(path):
            if log.in_transaction:
                log.execute("rollback")
            raise


_quoted = lru_cache(json.dumps)


def checksum(*values, payload=b""):
    """CRC-32 of a row, all its text plain `str`."""
    return zlib.crc32(payload, zlib.crc32(repr(values).encode()))


def append(log, seq, source, number, streams):
    """Write an update, its tables' streams by name."""
    heads = f"[{', '.join([f'[{_quoted(name)}, {len(stream)}]' for name, stream in streams.items()])}]"
    payload = b"".join(streams.values())
    row = (seq, source, number, heads, checksum(seq, source, number, heads, payload=payload), payload)
    try:
        log.execute("insert into updates values (?, ?, ?, ?, ?, ?)", row)
    except (sqlite3.DataError, OverflowError):  # a row has its numbers and a source's name as well
        most = log.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        raise StoreError(f"an update must have less than {most:,} bytes; this one has {len(payload):,}") from None


def write(log, table, *values):
    """Write a row of `tables` or `days`, in place of the one of its key."""
    marks = ", ".join("?" * (len(values) + 1))
    log.execute(f"insert or replace into {table} values ({marks})", (*values, checksum(*values)))


def rows(log, path, table):
    """All rows of the table `tables` or `days`, by their keys, without the checksum; StoreError where it is wrong."""
    with naming(path):
        found = log.execute(f"select * from {table} order by 1").fetchall()
    for *values, crc in found:
        if crc != checksum(*values):
            raise StoreError(f"{path}: {table}, {values[0]!r}: the checksum is wrong")
    return [values for *values, _ in found]


def update(path, row):
    """The update in a row of `updates`: (seq, source, number, [(name, stream), …]); StoreError if its crc is wrong."""
    seq, source, number, heads, crc, payload = row
    if crc != checksum(seq, source, number, heads, payload=payload):
        raise StoreError(f"{path}: update {seq}: the checksum is wrong")
    start, found = 0, []
    for name, size in json.loads(heads):
        found.append((name, memoryview(payload)[start : start + size]))
        start += size
    return seq, source, number, found


def updates(log, path, after):
    """Updates after `after` in order: (seq, source, number, [(name, stream), …]).

    Raises
    ------
    StoreError
        If a sequence number is missing, or a checksum is wrong.
    """
    query = "select * from updates where seq > ? order by seq"
    with naming(path), closing(log.execute(query, (after,))) as found:
        for row in found:
            after += 1
            if row[0] != after:
                raise StoreError(f"{path}: update {after} is missing")
            yield update(path, row)
