"""What else may happen to a store: a disk full or flipping bits, kills in the evening, clocks, folders of others."""

import concurrent.futures
import contextlib
import enum
import gc
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mmlib import tick_store
from mmlib.tick_store import StoreError, _log


def numbered(n, rows=5):
    """Rows that tell of which update they are."""
    return pd.DataFrame({"sym": np.where(np.arange(rows) % 2, "b", "a"), "n": np.full(rows, n), "i": np.arange(rows)})


def run(code, *arguments, **options):
    """A process that runs a code, to its end."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


@pytest.mark.parametrize("flips", [25, pytest.param(200, marks=pytest.mark.deep)])
def test_no_bit_of_a_closed_day_flips_unseen(tmp_path, flips):
    """Any bit of the file, at random: every one is reported, none is a row."""
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": numbered(0, 500)})
        (file,) = store.end_of_day("2026-01-02")
    whole, rng = file.read_bytes(), random.Random(flips)
    for _ in range(flips):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
        with (
            tick_store.open(tmp_path / "s", read_only=True) as reader,
            pytest.raises(StoreError, match="not the file that was written on closing 2026-01-02"),
        ):
            reader.snapshot()
    file.write_bytes(whole)
    with tick_store.open(tmp_path / "s", read_only=True) as reader:
        assert sorted(reader.snapshot().rows("t")["i"]) == list(range(500))


EVENING = """
    import os, signal, sys
    from mmlib import tick_store
    from mmlib.tick_store import _history
    store, write, calls = tick_store.open(sys.argv[1]), _history.write, [0]
    def dies(table, file):
        calls[0] += 1
        if [calls[0], "before"] == [int(sys.argv[2]), sys.argv[3]]:
            os.kill(os.getpid(), signal.SIGKILL)
        written = write(table, file)
        if [calls[0], "after"] == [int(sys.argv[2]), sys.argv[3]]:
            os.kill(os.getpid(), signal.SIGKILL)
        return written
    _history.write = dies
    store.end_of_day("2026-01-02")
"""
KILLS = [(table, when) for table in (1, 2, 3) for when in ("before", "after")]


@pytest.mark.parametrize(
    ("table", "when"), [pytest.param(*k, marks=[] if k == (2, "before") else pytest.mark.deep) for k in KILLS]
)
def test_an_evening_that_is_killed_is_repeated_to_the_same_bytes(tmp_path, table, when):
    """SIGKILL before or after any of three tables; what comes meanwhile is of the next day."""
    for name in ("killed", "whole"):
        with tick_store.open(tmp_path / name) as store:
            for n in range(4):
                store.publish({name: numbered(n, 40) for name in "tuv"}, source="f", number=n)
    with tick_store.open(tmp_path / "whole") as store:
        whole = [file.read_bytes() for file in store.end_of_day("2026-01-02")]
    assert run(EVENING, tmp_path / "killed", table, when).returncode == -signal.SIGKILL
    with tick_store.open(tmp_path / "killed") as store:
        assert len(store.snapshot().table("t")) == 160  # nothing is closed, nothing is gone
        store.publish({"t": numbered(9)}, source="f", number=4)
        assert [file.read_bytes() for file in store.end_of_day("2026-01-02")] == whole
        assert store.snapshot().table("t")["n"].tolist() == [9] * 5
        assert len(store.snapshot().rows("t")) == 165


def test_an_evening_on_a_full_disk_is_refused_and_ends_with_room(tmp_path):
    """Files may grow to 20 kB: the day stays open, the log whole; then the same call closes it."""
    code = """
        import resource, sys, numpy as np, pandas as pd
        from mmlib import tick_store
        store = tick_store.open(sys.argv[1])
        store.publish({"t": pd.DataFrame({"x": np.random.default_rng(1).random(20_000)})})
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        try:
            store.end_of_day("2026-01-02")
        except tick_store.StoreError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(len(store.snapshot().table("t")), len(store.end_of_day("2026-01-02")), len(store.snapshot().table("t")))
    """
    found = run(code, tmp_path / "s")
    assert found.returncode == 0, found.stderr
    refused, after = found.stdout.splitlines()
    assert refused.startswith(str(tmp_path / "s")) and after == "20000 1 0"


def test_a_disk_that_is_really_full_keeps_what_was_acknowledged(tmp_path):
    """A file system of one megabyte in memory, which only root may make; elsewhere a limit on files stands for it."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root only; test_store.py fills a disk by RLIMIT_FSIZE")
    try:
        (place / "ballast").write_bytes(bytes(300_000))
        store = tick_store.open(place / "s")
        with pytest.raises(StoreError, match="nothing of this update is kept"):
            for number in range(1000):
                store.publish({"t": numbered(number, 500)}, source="f", number=number)
        assert number > 3 and store.last("f") == number - 1
        (place / "ballast").unlink()
        assert store.publish({"t": numbered(number, 500)}, source="f", number=number) == number + 1
        assert store.snapshot().table("t")["n"].tolist() == np.repeat(np.arange(number + 1), 500).tolist()
        store.close()
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_clock_that_goes_back_changes_nothing(tmp_path, monkeypatch):
    """Updates have numbers, not times: a day earlier, then 1970, in the middle of a feed and of a follower."""
    with tick_store.open(tmp_path / "s") as store:
        following = iter(store.follow(timeout=0))
        for n, now in enumerate((time.time(), time.time() - 86_400, 0.0)):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            monkeypatch.setattr(time, "time_ns", lambda now=now: int(now * 1e9))
            assert store.publish({"t": numbered(n)}, source="f", number=n) == n + 1
            assert next(following).number == n
        assert store.snapshot().table("t")["n"].tolist() == [0] * 5 + [1] * 5 + [2] * 5


def test_an_update_without_rows_is_an_update(tmp_path):
    """It gives a table its form, and followers and gaps know of it."""
    with tick_store.open(tmp_path / "s") as store:
        assert store.publish({"t": numbered(0)[:0]}, source="f", number=0) == 1
        assert store.publish({"t": numbered(0)[:0]}, source="f", number=0) is None
        with pytest.raises(StoreError, match="'t' must have the columns sym string, n int64, i int64"):
            store.publish({"t": numbered(0).astype({"n": float})})
        assert store.snapshot().rows("t").dtypes.astype(str).to_dict() == {
            "seq": "int64", "sym": store.snapshot().rows("t")["sym"].dtype.name, "n": "int64", "i": "int64",
        }  # fmt: skip
        files = store.end_of_day("2026-01-02")
        assert [file.exists() for file in files] == [True] and len(store.snapshot().sql("from history.t")) == 0


@pytest.mark.parametrize("tables", [["songs"], ["updates", "batches"]])
def test_anothers_database_is_left_as_it_is(tmp_path, tables):
    """Also a log as it was before the first release: an update a row in one table, its batches rows in another."""
    (tmp_path / "s").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "s" / "log.sqlite")) as other:
        for name in tables:
            other.execute(f"create table {name}(seq integer primary key, source text, number integer)")
    before = (tmp_path / "s" / "log.sqlite").read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreError, match=f"not a tick store, it has tables of its own: {tables[-1]}"):
            tick_store.open(tmp_path / "s", read_only=read_only)
    assert (tmp_path / "s" / "log.sqlite").read_bytes() == before


def test_a_log_without_tables_is_no_store_to_read(tmp_path):
    """It is refused on opening, not first where it is read; a writer makes a store of it."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "log.sqlite").touch()
    with pytest.raises(StoreError, match=r"s/log\.sqlite: no such table: updates"):
        tick_store.open(tmp_path / "s", read_only=True)
    tick_store.open(tmp_path / "s").close()
    with tick_store.open(tmp_path / "s", read_only=True) as reader:
        assert reader.snapshot().names == []


CHANGED = [
    *(f"update updates set {value} where seq = 2" for value in (
        "source = 'g'", "source = null", "number = 7", "crc = crc + 1", "payload = zeroblob(length(payload))",
        "payload = substr(payload, 2)", "payload = payload || x'00'",
        "heads = replace(heads, ']', '0]')", "heads = replace(heads, '\"t\"', '\"u\"')",
    )),
    "update updates set seq = 9 where seq = 2", "delete from updates where seq = 2",
    "update updates set seq = 9 where seq = 4", "delete from updates where seq = 4",
    "update tables set name = 'v' where name = 't'", "update tables set crc = 0",
    "update tables set schema = (select schema from tables where name = 'u') where name = 't'",
    "update days set last = 4", "update days set last = 2", "update days set date = '2026-01-03'",
    "update days set files = '[]'", "update days set files = null", "update days set crc = crc - 1",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGED)
def test_no_value_of_the_log_changes_unseen(tmp_path, change):
    """Whatever is changed, or lost in the middle: an error at the first reading, by a snapshot or a follower."""
    with tick_store.open(tmp_path / "s") as store:
        for n in range(3):
            store.publish({"t": numbered(n), "u": numbered(n)[["n"]]}, source="f", number=n)
        store.end_of_day("2026-01-02")
        for n in range(3, 6):
            store.publish({"t": numbered(n)}, source="f", number=n)
    with contextlib.closing(sqlite3.connect(tmp_path / "s" / "log.sqlite", isolation_level=None)) as log:
        assert log.execute(change).rowcount > 0
    with tick_store.open(tmp_path / "s", read_only=True) as reader, pytest.raises(StoreError, match=r"s/log\.sqlite: "):
        reader.snapshot()
        assert [update.seq for update in reader.follow(timeout=0)] == [1, 2, 3, 4, 5, 6]


def test_names_have_80_bytes_at_most(tmp_path):
    """Of UTF-8, as a folder's name counts them."""
    with tick_store.open(tmp_path / "s") as store:
        for name in ("x" * 80, "é" * 40):
            store.publish({name: numbered(0)}, source=name, number=0)
            with pytest.raises(StoreError, match="a table's name must be text of 1 to 80 bytes"):
                store.publish({name + "x": numbered(0)})
            with pytest.raises(StoreError, match="source must be text of 1 to 80 bytes"):
                store.last(name + "x")
        store.end_of_day("2026-01-02")
        assert store.snapshot().names == ["x" * 80, "é" * 40]


@pytest.mark.parametrize("change", ["heads = '['", "payload = x''", "payload = zeroblob(length(payload))"])
def test_an_update_sent_again_is_not_compared_with_a_damaged_one(tmp_path, change):
    """The log is told to be damaged, and not the source to have sent something else."""
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": numbered(7)}, source="f", number=0)
        with contextlib.closing(sqlite3.connect(tmp_path / "s" / "log.sqlite", isolation_level=None)) as log:
            log.execute(f"update updates set {change}")
        with pytest.raises(StoreError, match=r"s/log\.sqlite: update 1: the checksum is wrong"):
            store.publish({"t": numbered(7)}, source="f", number=0)


def test_a_batch_too_large_for_the_log_is_refused_and_the_next_is_kept(tmp_path):
    """SQLite keeps a billion bytes in a row, here ten thousand."""
    with tick_store.open(tmp_path / "s") as store:
        store._log.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        assert store.publish({"t": numbered(0)}) == 1
        with pytest.raises(StoreError, match="an update must have less than 10,000 bytes; this one has"):
            store.publish({"t": numbered(1, 1000)})
        assert store.publish({"t": numbered(2)}) == 2
        assert store.snapshot().table("t")["n"].tolist() == [0] * 5 + [2] * 5


@pytest.mark.deep
def test_a_batch_beyond_what_python_gives_to_sqlite_is_refused_with_the_same_words(tmp_path):
    """2 GB of zeros, of which the system keeps one page: Python's own error comes before SQLite's."""
    with tick_store.open(tmp_path / "s") as store:
        with (
            pytest.raises(StoreError, match="less than 1,000,000,000 bytes; this one has 2,147,483,648"),
            _log.transaction(store._log, store.path),
        ):
            _log.append(store._log, 1, None, None, {"t": bytes(2**31)})
        assert store.publish({"t": numbered(0)}) == 1


def test_nothing_is_known_of_a_table_whose_first_update_was_refused(tmp_path):
    """Neither its form nor a time that it has seen, by this writer or by the next."""
    form = {"time": pd.to_datetime([5, 3], unit="s"), "x": [1, 2]}
    with tick_store.open(tmp_path / "s") as store:
        with pytest.raises(StoreError, match="time is missing"):
            store.publish({"t": pd.DataFrame(form), "u": pd.DataFrame({"time": [pd.NaT]})})
        assert store.snapshot().names == []
        store.publish({"t": pd.DataFrame(form).astype({"x": float})})
        store.publish({"t": pd.DataFrame(form).astype({"x": float}), "u": numbered(0)})
        store.publish({"u": numbered(0)})
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": pd.DataFrame(form).astype({"x": float})[1:].reset_index(drop=True)})
        store.publish({"t": pd.DataFrame({"time": pd.to_datetime([6], unit="s"), "x": [0.0]})})
        assert store.late().to_dict("list") == {"seq": [1, 2, 4], "name": ["t"] * 3, "rows": [1, 1, 1]}


class Sym(enum.StrEnum):
    A = "a"


class Mixed(str, enum.Enum):  # noqa: UP042 - as they were written before Python 3.11
    A = "a"
    DAY = "2026-01-02"


@pytest.mark.parametrize("text", [np.str_("a"), Sym.A, Mixed.A])
def test_a_text_of_another_kind_is_its_text(tmp_path, text):
    """NumPy's and enums' text as table, source and day: what SQLite makes of it is what the checksum is of."""
    with tick_store.open(tmp_path / "s") as store:
        assert store.publish({text: numbered(0)}, source=text, number=0) == 1
        files = store.end_of_day(Mixed.DAY if text is Mixed.A else np.str_("2026-01-02"))
        assert files == [tmp_path / "s" / "history" / "a" / "date=2026-01-02" / "part.parquet"]
        assert store.publish({text: numbered(1)}, source="a", number=1) == 2
    with tick_store.open(tmp_path / "s") as store:
        assert store.publish({"a": numbered(1)}, source=text, number=1) is None and store.last(text) == 1
        assert store.snapshot().rows("a")["n"].tolist() == [0] * 5 + [1] * 5


def interrupted(action, moment):
    """Whether a Ctrl-C came at the given one of the moments of an action, and the exception, which a notebook keeps.

    A moment is the beginning of a line, or the end of a function, of the store or of what runs its blocks.
    """
    moments = itertools.count()

    def trace(frame, event, _):
        ours = "tick_store" in frame.f_code.co_filename or frame.f_code.co_filename == contextlib.__file__
        if ours and event in ("line", "return") and next(moments) == moment:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt as error:
        return error
    finally:
        sys.settrace(before)
    return None


@pytest.mark.parametrize("kind", [*sqlite3.Error.__subclasses__(), *sqlite3.DatabaseError.__subclasses__()])
def test_every_error_of_sqlite_names_the_log(tmp_path, kind):
    """As Python lists them; an error of Python's own stays what it is."""
    with pytest.raises(StoreError, match=r"s/log\.sqlite: .*out of order"), _log.naming(tmp_path / "s" / "log.sqlite"):
        raise kind("out of order")
    with pytest.raises(KeyError, match="out of order"), _log.naming(tmp_path / "s" / "log.sqlite"):
        raise KeyError("out of order")


def test_a_block_that_was_forgotten_does_not_end_another(tmp_path):
    """A Ctrl-C as it began, and a notebook that kept the exception until now, in the midst of the next update."""
    with tick_store.open(tmp_path / "s") as store:
        forgotten = [_log.transaction(store._log, store.path)]
        forgotten[0].__enter__()
        with _log.transaction(store._log, store.path):
            forgotten.clear()
            gc.collect()
            assert store._log.in_transaction
        assert store.publish({"t": numbered(0)}) == 1


def test_a_transaction_that_was_left_open_does_not_take_the_next_update_with_it(tmp_path):
    """An update of known tables without a source is a transaction of its own, unless one is open: then it is ended."""
    with tick_store.open(tmp_path / "s") as store, tick_store.open(tmp_path / "s", read_only=True) as reader:
        store.publish({"t": numbered(0)})
        forgotten = _log.transaction(store._log, store.path)
        forgotten.__enter__()
        store._log.execute("insert into days values ('2026-01-02', 1, null, 0)")  # of what was broken off
        assert store.publish({"t": numbered(1)}) == 2
        assert reader.snapshot().seq == 2
        assert not store._log.in_transaction
    with contextlib.closing(sqlite3.connect(tmp_path / "s" / "log.sqlite")) as log:
        assert log.execute("select count(*) from days").fetchall() == [(0,)]


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.deep)])
def test_a_ctrl_c_leaves_an_update_without_a_source_whole_or_not_at_all(tmp_path, every):
    for moment in itertools.count(every % 5, every):
        folder = tmp_path / str(moment)
        with tick_store.open(folder, durable=False) as store, tick_store.open(folder, read_only=True) as reader:
            store.publish({"t": timed(1)})
            error = interrupted(lambda store=store: store.publish({"t": timed(2)}), moment)
            there = [1, 2] if reader.snapshot().seq == 2 else [1]
            assert store.publish({"t": timed(3)}) == len(there) + 1
            for seen in (store, reader):
                assert seen.snapshot().rows("t")["time"].tolist() == [*there, 3]
        if error is None:
            break
    assert there == [1, 2] and moment > 20


def timed(*times):
    return pa.table({"time": times})


@pytest.mark.parametrize("every", [23, pytest.param(1, marks=pytest.mark.deep)])
@pytest.mark.parametrize("verb", ["publish", "again", "snapshot", "end_of_day"])
def test_a_ctrl_c_at_any_moment_leaves_what_the_log_says(tmp_path, verb, every):
    """It may hit twice in a second; a feed then asks `last`, sends again, and goes on."""
    verbs = {
        "publish": lambda store: store.publish({"t": timed(8), "u": timed(5, 4)}, source="f", number=1),
        "again": lambda store: store.publish({"t": timed(1)}, source="f", number=0),
        "snapshot": lambda store: store.snapshot(),
        "end_of_day": lambda store: store.end_of_day("2026-01-02"),
    }
    kept = []
    for moment in itertools.count(every % 7, every):
        folder = tmp_path / str(moment)
        with tick_store.open(folder, durable=False) as store:
            store.publish({"t": timed(1)}, source="f", number=0)
            error = interrupted(lambda store=store: verbs[verb](store), moment)
            kept.append(error)
            with tick_store.open(folder, read_only=True) as reader:
                assert store.last("f") == reader.last("f")
                assert store.snapshot().seq == reader.snapshot().seq
            for send in (verbs[verb], verbs["publish"]):
                send(store)
            store.publish({"t": timed(7, 9)}, source="f", number=2)
            assert store.late().to_dict("list") == {"seq": [2, 3], "name": ["u", "t"], "rows": [1, 1]}
            assert store.snapshot().rows("t")["time"].tolist() == [1, 8, 7, 9]
            assert [update.number for update in store.follow(timeout=0)] == [0, 1, 2]
        if error is None:
            break
    assert moment > 100
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # of files that were open at the moment
        kept.clear()
        gc.collect()


def test_threads_take_turns(tmp_path):
    """Each publishes, reads and asks: no update is lost, doubled or broken off by another thread's."""
    with tick_store.open(tmp_path / "s", durable=False) as store:

        def feed(source):
            for n in range(50):
                store.publish({"t": numbered(n, 1), source: numbered(n, 1)}, source=source, number=n)
                assert store.last(source) == n
                assert len(store.snapshot().table(source)) == n + 1

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(feed, "abcd"))
        assert [update.seq for update in store.follow(timeout=0)] == list(range(1, 201))
        assert sorted(store.snapshot().table("t")["n"]) == sorted(list(range(50)) * 4)


def test_rows_are_those_of_the_closed_days_and_of_today_in_order(tmp_path):
    """Sorted by name within a day on disk; by their update, and in it as they came, where they are asked for."""
    with tick_store.open(tmp_path / "s") as store:
        for n in range(6):
            store.publish({"t": numbered(n), "u": numbered(n)[:0]})
            if n in (1, 3):
                store.end_of_day(f"2026-01-0{n + 2}")
        snapshot = store.snapshot()
    found = snapshot.rows("t")
    assert found["seq"].tolist() == np.repeat(np.arange(1, 7), 5).tolist() and (found["n"] == found["seq"] - 1).all()
    assert found.groupby("seq")["i"].apply(sorted).tolist() == [list(range(5))] * 6
    assert list(found) == ["seq", "sym", "n", "i"] and len(snapshot.rows("u")) == 0
    with pytest.raises(StoreError, match="there is no table 'v'"):
        snapshot.rows("v")


WRITER = """
    import sys, time, numpy as np, pandas as pd
    from mmlib import tick_store
    begun, n = time.monotonic(), 0
    with tick_store.open(sys.argv[1], durable=False) as store:
        while time.monotonic() - begun < float(sys.argv[2]):
            store.publish({"t": pd.DataFrame({"n": [n]})}, source="f", number=n)
            n += 1
        store.publish({"t": pd.DataFrame({"n": [-1]})}, source="f", number=n)
    print(n)
"""
FOLLOWER = """
    import sys
    from mmlib import tick_store
    seen = 0
    for update in tick_store.open(sys.argv[1], read_only=True).follow(timeout=120):
        value = int(update.tables["t"]["n"].iloc[0])
        if value < 0:
            break
        assert update.number == value == seen and update.seq == seen + 1
        seen += 1
    print(seen)
"""


@pytest.mark.deep
@pytest.mark.parametrize("seconds", [60])
def test_eight_followers_of_a_writer_see_every_update_once(tmp_path, seconds):
    """For a minute; then every process has ended by itself."""
    tick_store.open(tmp_path / "s").close()
    commands = [(FOLLOWER, tmp_path / "s")] * 8 + [(WRITER, tmp_path / "s", seconds)]
    processes = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], stdout=subprocess.PIPE)
        for code, *arguments in commands
    ]
    try:
        counts = [int(process.communicate(timeout=600)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert len(set(counts)) == 1 and counts[0] > 100
    assert [process.returncode for process in processes] == [0] * 9


def test_a_store_can_be_copied_while_nobody_writes(tmp_path):
    """The folder is the store: elsewhere it is the same, history included."""
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": numbered(0)})
        store.end_of_day("2026-01-02")
        store.publish({"t": numbered(1)})
        expected = store.snapshot().rows("t")
    shutil.move(tmp_path / "s", tmp_path / "elsewhere")
    with tick_store.open(tmp_path / "elsewhere") as store:
        pd.testing.assert_frame_equal(store.snapshot().rows("t"), expected)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere"]
