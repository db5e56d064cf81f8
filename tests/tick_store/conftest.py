"""An IPC-compatible test server (chili-pie), started on 127.0.0.1 with our script and stopped by its process."""

import contextlib
import functools
import os
import shutil
import socket
import sqlite3
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """Every connection that a test opens is closed by it, also where opening a store is refused."""
    opened = []

    class Connection(sqlite3.Connection):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            opened.append(self)

        def close(self):
            super().close()
            opened.remove(self)

    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Connection))
    yield
    assert opened == []


SCRIPT = Path(__file__).with_name("tick.pep")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.contextmanager
def serving(folder, port=None, password=None):
    """A server's process and its url; it has read its script to the end when this begins.

    With a password, the user must be ``desk``.
    """
    import kola

    port = port or free_port()
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    chili = Path(sysconfig.get_path("scripts")) / "chili"
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [chili, f"./{SCRIPT.name}", "-P", "-p", str(port), "--headless", *(["-u", "desk"] if password else [])],
            env={**os.environ, **({"CHILI_IPC_TOKEN": password} if password else {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            for _ in range(600):
                assert process.poll() is None, (folder / "said").read_text()
                with contextlib.suppress(kola.KolaError, kola.KolaIOError, kola.KolaAuthError):
                    if kola.Q("127.0.0.1", port, "desk", password or "", timeout=5).sync("ready") is True:
                        break
                time.sleep(0.05)
            else:
                raise AssertionError((folder / "said").read_text())
            yield process, f"kdb://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """One server for all the tests that leave it running."""
    pytest.importorskip("kola", reason="the extra kdb is not installed")
    pytest.importorskip("polars")
    with serving(tmp_path_factory.mktemp("server")) as (_, url):
        yield url


@pytest.fixture
def server(shared_server, monkeypatch):
    """The url of the server, its tables empty and nobody subscribed."""
    for name in ("MMLIB_KDB_USER", "MMLIB_KDB_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    raw = connected(shared_server)
    for name in ("trade", "quote", "kinds", ".u.w"):
        raw.sync("set", name, raw.sync(f"0#{name}"))
    raw.disconnect()
    return shared_server


def connected(url):
    """kola alone, with nothing of ours between."""
    import kola

    return kola.Q("127.0.0.1", int(url.rpartition(":")[2]), timeout=20)


@pytest.fixture
def raw(server):
    """kola alone on a connection of its own."""
    alone = connected(server)
    yield alone
    alone.disconnect()


@pytest.fixture
def load(server):
    """Puts a pandas table on the server under a name, by kola alone: NaN as null, text as symbols, days as dates."""
    import polars as pl

    raw = connected(server)

    def put(name, frame):
        table = pl.from_pandas(frame)
        kinds = table.schema
        raw.sync(
            "set",
            name,
            table.with_columns(
                *[pl.col(column).cast(pl.Categorical) for column, kind in kinds.items() if kind == pl.String],
                *[pl.col(column).fill_nan(None) for column, kind in kinds.items() if kind == pl.Float64],
                *[pl.col(column).cast(pl.Date) for column in kinds if column == "trade_date"],
                *[pl.col(column).dt.cast_time_unit("ns") for column in kinds if column == "time"],
            ),
        )

    yield put
    raw.disconnect()


@pytest.fixture
def another_server(tmp_path):
    """Starts a server of its own inside a ``with``: (process, url)."""
    return lambda **how: serving(tmp_path, **how)
