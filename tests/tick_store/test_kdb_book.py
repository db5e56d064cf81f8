"""The stock-loan book from the test server: the same tables as from files, or the file's own errors."""

import os
import subprocess
import sys
import textwrap
import threading

import pandas as pd
import pytest

from mmlib import tick_store
from mmlib.stock_loan import _kdb_tables, sources
from mmlib.stock_loan._schemas import COLUMNS
from mmlib.stock_loan.tables import TableError
from mmlib.tick_store import _kdb_wire


@pytest.fixture
def sample(load):
    """The sample's tables on the server, with which a test may do what it likes."""
    book = sources.open(sources.SAMPLE)
    for name in COLUMNS:
        load(name, getattr(book, name))
    return book


def test_the_book_is_the_same_from_csv_parquet_and_the_server(sample, server, tmp_path):
    """Values, types, order and notes of all eleven tables."""
    sources.write_parquet(sample, tmp_path / "warehouse")
    asked = sources.open(server)
    for other in (asked, sources.open(f"parquet:{tmp_path / 'warehouse'}")):
        for name in COLUMNS:
            pd.testing.assert_frame_equal(getattr(other, name), getattr(sample, name))
        assert other.notes == sample.notes


def test_the_order_of_rows_and_columns_is_not_the_books(sample, load, server):
    """A database keeps rows as they came; the book sorts them."""
    load("locates", sample.locates.sample(frac=1, random_state=1)[sorted(sample.locates)])
    pd.testing.assert_frame_equal(sources.open(server).locates, sample.locates)


@pytest.mark.parametrize(
    "name, change, what",
    [
        ("loans", lambda t: t.drop(columns="loan_fee"), r"loans \(kdb\+\).*loan_fee"),
        ("rates", lambda t: t.assign(trade_date=t["trade_date"] + pd.Timedelta("1h")), r"."),
        (
            "inventory",
            lambda t: t.assign(quantity_available=-1),
            r"inventory \(kdb\+\).*quantity_available must be >= 0",
        ),
        ("pools", lambda t: t.assign(merit=t["merit"].where(t["merit"] > 1)), r"pools \(kdb\+\).*merit"),
        ("closes", lambda t: t.assign(security_id=range(len(t))), r"closes \(kdb\+\).*security_id"),
    ],
)
def test_a_rule_that_is_broken_on_the_server_is_named_as_in_a_file(sample, load, server, name, change, what):
    """Missing columns, unknown whole numbers, numbers for text: by table and column."""
    load(name, change(getattr(sample, name)))
    if name == "rates":  # the loader makes days of dates, as kdb+ would keep them
        pd.testing.assert_frame_equal(sources.open(server).rates, sample.rates)
        return
    with pytest.raises(TableError, match=what):
        sources.open(server)


def test_a_table_that_is_missing_or_none_is_one_error(sample, load, server, another_server):
    """From a server that has no such tables, and from no server."""
    with another_server() as (_, url), pytest.raises(TableError, match="is refused"):
        sources.open(url)
    with pytest.raises(TableError, match="no connection"):
        sources.open(url)
    with pytest.raises(TableError, match="kdb://HOST:PORT"):
        sources.open("kdb:nowhere")


def test_threads_share_one_connection(sample, server, monkeypatch):
    """Four threads that open the book at once open one connection, and a process forked meanwhile none."""
    opened, rows, real = [], [], tick_store.open
    monkeypatch.setattr(tick_store, "open", lambda *args, **kwargs: opened.append(args) or real(*args, **kwargs))
    _kdb_tables._store.cache_clear()
    threads = [threading.Thread(target=lambda: rows.append(len(sources.open(server).loans))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [(server,)] and rows == [len(sample.loans)] * 4
    monkeypatch.setattr(_kdb_wire, "_process", os.getpid() + 1)
    with pytest.raises(TableError, match="forked from one that has used kola"):
        sources.open(server)


@pytest.mark.deep
def test_a_process_has_one_connection_and_its_children_their_own(sample, server, tmp_path):
    """Opened by four threads, the server is asked on one connection. A child that was forked before has its own; one
    that was forked after is refused, where kola would hang; one that was spawned has its own again."""
    code = """
        import multiprocessing, os, sys, threading
        from mmlib import tick_store
        from mmlib.stock_loan import sources
        opened, rows, open_one = [], [], tick_store.open
        def counting(*args, **kwargs):
            opened.append(os.getpid())
            return open_one(*args, **kwargs)
        tick_store.open = counting
        def read(url):
            rows.append(len(sources.open(url).loans))
            return rows[-1]
        def forked(url):
            child = os.fork()
            if child == 0:
                try:
                    read(url)
                    os._exit(0 if opened == [os.getpid()] else 1)
                except sources.TableError as error:
                    os._exit(3 if "forked from one that has used kola" in str(error) else 4)
                finally:
                    os._exit(5)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if __name__ == "__main__":
            url = sys.argv[1]
            assert forked(url) == 0
            threads = [threading.Thread(target=read, args=[url]) for _ in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert opened == [os.getpid()] and len(rows) == 4 and len(set(rows)) == 1, (opened, rows)
            assert forked(url) == 3
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert pool.apply(read, [url]) == rows[0] == read(url)
            assert opened == [os.getpid()]
    """
    (tmp_path / "one.py").write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "one.py", server],
        capture_output=True, text=True, timeout=120, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
