"""The log: SQLite in WAL mode. One transaction is one update, with one sequence number and all its tables.

updates(seq, source, number, count)    count tables; (source, number) once
batches(seq, name, rows, late, crc, payload)    an Arrow IPC stream, never pickle; rows that went back in time; with
    rowid, since a large payload costs twice as much in a table that is its own index
tables(name, schema, newest)    the form of each table, from its first batch; the latest time it has seen
days(date, last, written)    the last update of a closed day; whether its history is complete
files(date, name, rows, sha256)    the history's files

crc is of sequence number, source, number, name and payload: a flipped bit in any of them is an error when it is read.
"""

import sqlite3
import zlib
from contextlib import contextmanager

FILE = "log.sqlite"
TABLES = """
create table if not exists updates(seq integer primary key, source text, number integer, count integer not null,
    unique(source, number));
create table if not exists batches(seq integer not null, name text not null, rows integer not null,
    late integer not null, crc integer not null, payload blob not null, primary key(seq, name));
create table if not exists tables(name text primary key, schema blob not null, newest integer);
create table if not exists days(date text primary key, last integer not null, written integer not null);
create table if not exists files(date text not null, name text not null, rows integer not null, sha256 text not null,
    primary key(date, name));
"""
NAMES = {"updates", "batches", "tables", "days", "files"}


class StoreError(ValueError):
    """A store that cannot do what is asked, or holds what it should not; the message names the place."""


def connect(path, *, read_only, durable):
    """A connection to the log of a folder, whose transactions are begun by hand."""
    with naming(path):  # absolute, since SQLite may take a name that begins with file: as a URI
        log = sqlite3.connect(path.absolute(), isolation_level=None, check_same_thread=False, timeout=10)
        if read_only:
            log.execute("pragma query_only=1")
            log.execute("select 1 from updates limit 1")
        else:
            strange = {name for (name,) in log.execute("select name from sqlite_master where type = 'table'")} - NAMES
            if strange:
                log.close()
                raise StoreError(f"{path}: not a tick store, it has tables of its own: {', '.join(sorted(strange))}")
            log.execute("pragma journal_mode=wal")
            log.execute(f"pragma synchronous={'full' if durable else 'normal'}")
            log.executescript(TABLES)
        return log


@contextmanager
def naming(path):
    """SQLite's errors as `StoreError`s that name the log and what follows for the update."""
    try:
        yield
    except sqlite3.OperationalError as error:
        kept = "nothing of this update is kept, all earlier ones are" if "full" in str(error) else "see the file"
        raise StoreError(f"{path}: {error}; {kept}") from error
    except (sqlite3.DatabaseError, sqlite3.InterfaceError) as error:
        raise StoreError(f"{path}: not a readable log ({error})") from error


@contextmanager
def transaction(log, path):
    """All of the block, or nothing."""
    with naming(path):
        log.execute("begin immediate")
        try:
            yield
            log.execute("commit")
        except BaseException:
            if log.in_transaction:
                log.execute("rollback")
            raise


@contextmanager
def reading(log, path):
    """All reads of the block are of one and the same state of the log, whatever is written meanwhile."""
    with naming(path):
        log.execute("begin")
        try:
            yield
        finally:
            log.execute("rollback")


def checksum(seq, source, number, name, payload):
    return zlib.crc32(payload, zlib.crc32(repr((seq, source, number, name)).encode()))


def updates(log, path, after, most=None):
    """Updates after `after` in order: (seq, source, number, [(name, payload), …]).

    Raises
    ------
    StoreError
        If a sequence number or a batch is missing, or a checksum is wrong.
    """
    with naming(path):
        heads = log.execute(
            "select seq, source, number, count from updates where seq > ? order by seq limit ?",
            (after, -1 if most is None else most),
        ).fetchall()
        for seq, source, number, count in heads:
            batches = log.execute(
                "select name, crc, payload from batches where seq = ? order by name", (seq,)
            ).fetchall()
            if len(batches) != count:
                raise StoreError(f"{path}: update {seq} has {len(batches)} of its {count} tables")
            for name, crc, payload in batches:
                if crc != checksum(seq, source, number, name, payload):
                    raise StoreError(f"{path}: update {seq}, table {name!r}: the checksum is wrong")
            yield seq, source, number, [(name, payload) for name, _, payload in batches]
