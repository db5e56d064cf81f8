"""What goes wrong on the way to a kdb+ server: one clear error each, no password in it, nothing that waits for ever.

Servers that misbehave are threads of the test with a socket; the others are the IPC-compatible test server.
"""

import contextlib
import itertools
import os
import socket
import struct
import sys
import threading
import time
import traceback

import pandas as pd
import pytest

from mmlib import tick_store
from mmlib.tick_store import StoreError

SHAKE = b"\3"
TRUE = b"\1\2\0\0" + struct.pack("<I", 10) + b"\xff\1"  # an answer: the boolean 1b
BIG_ENDIAN = b"\0\2\0\0" + struct.pack(">I", 10) + b"\xff\1"
REFUSED = b"\1\2\0\0" + struct.pack("<I", 14) + b"\x80type\0"  # q's own error, 'type
NO_SYMBOLS = b"\1\2\0\0" + struct.pack("<I", 14) + b"\x0b\0\0\0\0\0"  # `$()
# q's table of the columns n and s, both (): a dictionary of symbols and of a list of two empty lists
UNTYPED = b"\x62\0\x63" + b"\x0b\0\2\0\0\0n\0s\0" + b"\0\0\2\0\0\0" + 2 * b"\0\0\0\0\0\0"
UNTYPED = b"\1\2\0\0" + struct.pack("<I", 8 + len(UNTYPED)) + UNTYPED
TRADE = pd.DataFrame({"time": pd.to_datetime(["2026-01-02"]), "sym": ["a"], "price": [1.5], "size": [1]})


@pytest.fixture
def misbehaving():
    """Starts a server on a port of its own: it says `first`, reads the credentials, says `shake`, and after each
    question the next of `answers`, in two parts if it `halves` them; after the last it closes, or is silent until the
    test is over. From the connection of number `silent` on, it only shakes hands."""
    over, servers, handshakes = threading.Event(), [], []

    def run(shake=b"", answers=(), first=b"", closes=False, silent=9, halves=False):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve(client, number):
            sayings = (shake, *(answers if number < silent else ()))
            with client, contextlib.suppress(OSError):
                client.sendall(first)
                handshakes.append(client.recv(1000))
                for k, said in enumerate(sayings):
                    if k:
                        client.recv(4096)
                    if k and halves:
                        client.sendall(said[:5])
                        time.sleep(0.05)
                    client.sendall(said[5:] if k and halves else said)
                if not closes:
                    over.wait()

        def accept():
            with contextlib.suppress(OSError):
                for number in itertools.count():
                    threading.Thread(target=serve, args=(server.accept()[0], number), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"kdb://127.0.0.1:{server.getsockname()[1]}"

    run.handshakes = handshakes
    yield run
    over.set()
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize(
    "server, what",
    [
        ({}, "no answer within 1 s"),
        ({"closes": True}, "does not take the user and password of MMLIB_KDB_USER, MMLIB_KDB_PASSWORD"),
        ({"first": b"SSH-2.0-server\r\n"}, "does not speak kdb"),
        ({"shake": b"HTTP/1.1 400 Bad Request\r\n\r\n", "closes": True}, "does not speak kdb"),
        ({"shake": SHAKE}, "no answer within 1 s"),
        ({"shake": SHAKE, "closes": True}, "does not speak kdb"),
        ({"shake": SHAKE, "answers": [b"HTTP/1.1 400 Bad Request\r\n\r\n"]}, "does not speak kdb"),
        ({"shake": SHAKE, "answers": [b"\1\2\0\0" + struct.pack("<I", 2**31) + b"\xff\1"]}, "does not speak kdb"),
        ({"shake": SHAKE, "answers": [b"\1\2\0\0" + struct.pack("<I", 8)]}, "does not speak kdb"),
        ({"shake": SHAKE, "answers": [TRUE[:1] + b"\0" + TRUE[2:]] * 2}, "does not speak kdb"),  # a push, no answer
        ({"shake": SHAKE, "answers": [BIG_ENDIAN] * 2}, "'1b' is refused .*big endian"),
        ({"shake": SHAKE, "answers": [TRUE[:5]]}, "no answer within 1 s"),
        ({"shake": SHAKE, "answers": [TRUE[:5]], "closes": True}, "does not speak kdb"),
    ],
)
def test_what_is_no_kdb_is_refused_when_it_is_opened(misbehaving, server, what):
    """Two of these would end the process in kola, which takes any eight bytes for the length of an answer."""
    url = misbehaving(**server)
    with pytest.raises(StoreError, match=what) as caught:
        tick_store.open(url, timeout=1)
    assert url in str(caught.value)


def test_where_nothing_listens_is_said_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StoreError, match=f"kdb://127.0.0.1:{port}: no connection .*refused"):
        tick_store.open(f"kdb://127.0.0.1:{port}")
    with pytest.raises(StoreError, match="no connection"):
        tick_store.open("kdb://no-such-host.invalid:5010", timeout=5)


def test_a_server_that_stops_answering_is_given_up(misbehaving):
    """It answers what opens the store; at the next question nothing, half a head or half a body, and no more."""
    for verb, half in [
        (lambda store: store.publish({"trade": TRADE}), b""),
        (lambda store: store.snapshot(), TRUE[:3]),
        (lambda store: store.sql("select from trade"), TRUE[:9]),
        (lambda store: store.end_of_day("2026-01-02"), b""),
    ]:
        url = misbehaving(SHAKE, [TRUE, half], silent=2)
        with tick_store.open(url, timeout=1) as store, pytest.raises(StoreError, match=r"for 1 s|within 1 s") as said:
            verb(store)
        assert url in str(said.value)
    url = misbehaving(SHAKE, [TRUE], silent=3)
    with tick_store.open(url, timeout=1) as store, pytest.raises(StoreError, match=r"no answer to .u.sub within 2 s"):
        store.follow()


def test_an_answer_of_the_wrong_form_is_named(misbehaving):
    """A server that says true to everything."""
    for verb, what in [
        (lambda store: store.snapshot(), "names of tables must be a list; got bool"),
        (lambda store: store.snapshot(["trade", "quote"]), "the answer must be 2 tables; got bool"),
        (lambda store: store.publish({"trade": TRADE}), "the answer must be a table; got bool"),
        (lambda store: store.history("trade", "2026-01-02"), "the answer must be a table; got bool"),
    ]:
        with tick_store.open(misbehaving(SHAKE, [TRUE, TRUE])) as store, pytest.raises(StoreError, match=what):
            verb(store)


def test_an_answer_may_come_in_two_halves(misbehaving):
    """The first one, too, of which only the head is read."""
    with (
        tick_store.open(misbehaving(SHAKE, [TRUE, REFUSED], halves=True)) as store,
        pytest.raises(StoreError, match=r"'select from trade' is refused .*type"),
    ):
        store.sql("select from trade")


def test_what_is_refused_is_not_asked_again(misbehaving):
    """The next answer is the next question's."""
    with tick_store.open(misbehaving(SHAKE, [TRUE, REFUSED, TRUE])) as store:
        with pytest.raises(StoreError, match=r"'enlist select from trade' is refused .*type"):
            store.snapshot(["trade"])
        with pytest.raises(StoreError, match="query: the answer must be a table; got bool"):
            store.sql("1b")


def test_a_server_without_tables_has_an_empty_snapshot(misbehaving):
    with tick_store.open(misbehaving(SHAKE, [TRUE, NO_SYMBOLS])) as store:
        for snapshot in (store.snapshot(), store.snapshot([])):
            assert snapshot.seq is None and snapshot.names == []
            assert snapshot.sql("select 1 as one")["one"].tolist() == [1]


def test_a_column_without_a_type_takes_any(misbehaving):
    """The empty table that the server answers is written by hand, byte by byte."""
    table = pd.DataFrame({"n": [1], "s": ["a"]})
    with tick_store.open(misbehaving(SHAKE, [TRUE, UNTYPED, TRUE])) as store:
        assert store.publish({"t": table}) is None
        with pytest.raises(StoreError, match=r"'t' must have the server's columns n .*, s .*; got s"):
            store.publish({"t": table[["s", "n"]]})


def test_a_store_that_was_closed_and_is_asked_again_asks_the_columns_anew(load, server, raw):
    """Another connection, perhaps to another server: they are changed by kola alone meanwhile."""
    load("swapped", TRADE)
    store = tick_store.open(server)
    store.publish({"swapped": TRADE})
    store.close()
    raw.sync("set", "swapped", raw.sync("select time, sym, size, price from swapped"))
    with store, pytest.raises(StoreError, match=r"must have the server's columns time .*, sym .*, size .*, price"):
        store.publish({"swapped": TRADE})


def test_both_connections_say_the_same_user(misbehaving, monkeypatch):
    """Where none is given, kola takes the system's; a server that lets only that one in lets our question in."""
    for user in ("", "desk"):
        monkeypatch.setenv("MMLIB_KDB_USER", user)
        with tick_store.open(misbehaving(SHAKE, [TRUE])) as store:
            ours, kolas = (said[:-2] for said in misbehaving.handshakes[-2:])
            assert ours == kolas and ours.startswith(user.encode()) and store.url.startswith("kdb://")


def test_credentials_are_the_environments(misbehaving, monkeypatch):
    """What is in the two variables is sent, and what is in them or in a url is never said."""
    monkeypatch.setenv("MMLIB_KDB_USER", "desk")
    monkeypatch.setenv("MMLIB_KDB_PASSWORD", "s3cret:@/ü")
    with pytest.raises(StoreError) as caught:
        tick_store.open(misbehaving(closes=True))
    assert misbehaving.handshakes == ["desk:s3cret:@/ü\3\0".encode()]
    assert "s3cret" not in "".join(traceback.format_exception(caught.value)) and "desk" not in str(caught.value)


def test_a_wrong_password_is_one_error(another_server, monkeypatch):
    """On the test server, which knows one user and one password."""
    with another_server(password="right") as (_, url):
        for user, password in [("desk", "wrong"), ("nobody", "right"), ("desk", "right")]:
            monkeypatch.setenv("MMLIB_KDB_USER", user)
            monkeypatch.setenv("MMLIB_KDB_PASSWORD", password)
            if (user, password) == ("desk", "right"):
                with tick_store.open(url) as store, store.follow(timeout=0.1) as follower:
                    assert store.snapshot().names == ["quote", "trade"] and list(follower) == []
                continue
            with pytest.raises(StoreError, match="does not take the user and password") as caught:
                tick_store.open(url)
            assert password not in str(caught.value)


@pytest.mark.parametrize(
    "url, shown",
    [
        ("kdb://desk:s3cret@host:5010", False),
        ("kdb://s3cret@host:5010", False),
        ("kdb://host:5010:desk:s3cret", False),
        ("kdb:host:5010:desk:s3cret", False),
        ("kdb://host:5010/?password=s3cret", False),
        ("kdb://host:5010\ns3cret", False),
        ("kdb://host", True),
        ("kdb://host:", True),
        ("kdb://:5010", True),
        ("kdb://host:0", True),
        ("kdb://host:65536", True),
        ("kdb://host:٥٠١٠", True),
        ("KDB://host:5010", True),
        ("kdb:folder", True),
        ("kdb:", True),
    ],
)
def test_a_url_is_host_and_port(url, shown, tmp_path, monkeypatch):
    """Never a folder by mistake, and never printed where it may hold a password."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="url must be kdb://HOST:PORT") as caught:
        tick_store.open(url)
    assert (repr(url) in str(caught.value)) is shown and "s3cret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_options_are_of_one_kind_of_store(tmp_path, server):
    with pytest.raises(StoreError, match="durable must be left out"):
        tick_store.open(server, durable=False)
    with pytest.raises(StoreError, match="timeout is of kdb"):
        tick_store.open(tmp_path / "store", timeout=5)
    for timeout in (0, -1, 1.5, "5"):
        with pytest.raises(ValueError, match="timeout"):
            tick_store.open(server, timeout=timeout)
    with tick_store.open(server) as kdb, tick_store.open(tmp_path / "store") as folder:
        for store, timeout in itertools.product((kdb, folder), (-1, float("nan"), "5")):
            with pytest.raises(ValueError, match=r"timeout must be .*seconds without an update"):
                store.follow(timeout=timeout)


def test_without_kola_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kola", None)
    with pytest.raises(ImportError, match=r"mmlib\[kdb\]"):
        tick_store.open("kdb://127.0.0.1:5010")


def test_a_server_that_starts_again_is_found_again(another_server):
    """What only reads is asked again on a new connection; what may have been done is not, and says so."""
    with another_server() as (_, url):
        store, other = tick_store.open(url), tick_store.open(url)
        store.publish({"trade": TRADE})
    with pytest.raises(StoreError, match="no connection"):
        store.snapshot()
    with another_server(port=int(url.rpartition(":")[2])):
        with pytest.raises(StoreError, match="whether it did what was asked is not known"):
            other.publish({"trade": TRADE})
        other.publish({"trade": TRADE})
        assert len(store.snapshot().table("trade")) == 1
    store.close()
    other.close()
    other.close()


def test_the_columns_are_asked_anew_of_a_server_that_started_again(another_server):
    """They travel without names: a feed must not send in the order of yesterday's table."""
    import kola

    with another_server() as (_, url):
        store = tick_store.open(url)
        store.publish({"trade": TRADE})
    with another_server(port=int(url.rpartition(":")[2])):
        raw = kola.Q("127.0.0.1", int(url.rpartition(":")[2]), timeout=5)
        raw.sync("set", "trade", raw.sync("select time, sym, size, price from trade"))
        with pytest.raises(StoreError, match="whether it did what was asked is not known"):
            store.publish({"trade": TRADE})
        with pytest.raises(StoreError, match=r"must have the server's columns time .*, sym .*, size .*, price"):
            store.publish({"trade": TRADE})
        store.publish({"trade": TRADE[["time", "sym", "size", "price"]]})
        assert store.snapshot().table("trade")["size"].tolist() == [1]
    store.close()


def test_a_follower_tells_when_the_server_dies(another_server):
    """After what had arrived, an error, and again to whoever asks again; a follower that waits gets it, too."""
    with another_server() as (process, url):
        store = tick_store.open(url)
        follower, waiting, said = store.follow(), store.follow(), []

        def wait():
            with pytest.raises(StoreError, match="subscription has ended") as caught:
                list(waiting)
            said.append(caught.value)

        thread = threading.Thread(target=wait)
        thread.start()
        store.publish({"trade": TRADE})
        first = next(iter(follower))
        assert first.tables["trade"]["price"].tolist() == [1.5]
        process.kill()
        for _ in range(2):
            with pytest.raises(StoreError, match="subscription has ended"):
                list(follower)
        thread.join(20)
        assert len(said) == 1


def test_a_closed_follower_ends_what_waits_and_lets_go(server):
    """An iteration without a time-out ends when the follower is closed; at the next message its thread and its
    connection end."""
    before = set(threading.enumerate())
    with tick_store.open(server) as store:
        files = len(os.listdir("/dev/fd"))
        follower = store.follow()
        receiving = set(threading.enumerate()) - before
        seen = []
        waiting = threading.Thread(target=lambda: seen.extend(follower))
        waiting.start()
        store.publish({"trade": TRADE})
        while not seen:
            time.sleep(0.01)
        follower.close()
        waiting.join(20)
        assert not waiting.is_alive() and list(follower) == []
        store.publish({"trade": TRADE})
        for thread in receiving:
            thread.join(20)
        assert len(os.listdir("/dev/fd")) <= files  # those of an earlier test may end meanwhile
        assert len(receiving) == 1 and not any(thread.is_alive() for thread in receiving) and len(seen) == 1


def test_a_follower_that_nobody_holds_lets_go(server):
    """At the next message, as if it had been closed."""
    before = set(threading.enumerate())
    with tick_store.open(server) as store:
        store.follow()
        receiving = set(threading.enumerate()) - before
        store.publish({"trade": TRADE})
        for thread in receiving:
            thread.join(20)
        assert len(receiving) == 1 and not any(thread.is_alive() for thread in receiving)


@pytest.mark.parametrize(
    "message, what",
    [
        (("other", 1), "a push must be"),
        (("upd", "trade"), "a push must be"),
        (("upd", 5, 6), "a push must be"),
        (("upd", "trade", 1), "the update of 'trade': the answer must be a table; got int"),
    ],
)
def test_a_push_that_is_no_update_is_an_error(server, message, what):
    """The server is made to send it, by kola alone, on the handle of the subscription."""
    import kola

    with tick_store.open(server) as store, store.follow(timeout=5) as follower:
        raw = kola.Q("127.0.0.1", int(server.rpartition(":")[2]), timeout=5)
        (handle,) = raw.sync(".u.w")["handle"]
        raw.sync(".u.send", list(message), handle)
        with pytest.raises(StoreError, match=what):
            list(follower)
