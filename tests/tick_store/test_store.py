"""The embedded store: what is acknowledged is kept, once and in order, whatever dies; the rest is refused by name."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmlib import tick_store
from mmlib.tick_store import StoreError, _forms, _history, _log, _readers


def trades(n, first=0):
    """n rows, a second apart, that tell which they are."""
    i = np.arange(first, first + n)
    return pd.DataFrame(
        {
            "time": pd.to_datetime(i, unit="s").astype("datetime64[us]"),
            "sym": np.where(i % 2, "b", "a").astype(object),
            "price": i + 0.25,
            "size": i,
        }
    )


@pytest.fixture
def start(tmp_path):
    """Starts processes that run a code, and ends those that are left; what they print goes to a file of their own."""
    started = []

    def run(code, *arguments):
        path = tmp_path / f"said by {len(started)}"
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
        with path.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        process.path = path
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def said(process, least=0):
    """The whole lines that a process has printed, once there are `least`."""
    begun = time.monotonic()
    while (text := process.path.read_text()).count("\n") < least:
        assert process.poll() is None or process.path.read_text().count("\n") >= least, text
        assert time.monotonic() - begun < 120, text
        time.sleep(0.01)
    return text[: text.rfind("\n") + 1].splitlines()


def finished(process):
    """All lines of a process that ends well."""
    assert process.wait(timeout=900) == 0, process.path.read_text()
    return said(process)


def test_an_update_sent_again_is_ignored_and_gaps_are_known(tmp_path):
    """0 1 2 2 5 1 4 leaves 0 1 2 5 4 and the gap (3, 3)."""
    with tick_store.open(tmp_path / "s") as store:
        seqs = [store.publish({"t": trades(2, 10 * n)}, source="nyse", number=n) for n in (0, 1, 2, 2, 5, 1, 4)]
        assert seqs == [1, 2, 3, None, 4, None, 5]
        assert [update.number for update in store.follow(timeout=0)] == [0, 1, 2, 5, 4]
        assert store.gaps() == [("nyse", 3, 3)] and store.last("nyse") == 5 and store.last("lse") is None
        assert store.late().to_dict("list") == {"seq": [5], "name": ["t"], "rows": [2]}


def test_a_source_that_starts_again_from_0_is_told_so(tmp_path):
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": trades(2)}, source="nyse", number=0)
        with pytest.raises(StoreError, match="number 0 was sent before with other content, as update 1"):
            store.publish({"t": trades(2, 5)}, source="nyse", number=0)
        assert store.snapshot().table("t")["size"].tolist() == [0, 1]


def test_what_comes_back_is_what_was_sent_by_any_kind_of_table(tmp_path):
    """NaN, infinities, -0.0, the ends of int64, text beyond ASCII; pandas, Polars and Arrow in one table."""
    frame = pd.DataFrame(
        {
            "time": pd.to_datetime(["2026-01-02 09:30:00.000000001", "2026-01-02 16:00:00.000000000"]).astype(
                "datetime64[ns]"
            ),
            "x": [-0.0, np.inf],
            "y": [np.nan, 1e-300],
            "n": [-(2**63), 2**63 - 1],
            "s": ["Škoda ü", ""],
            "b": [True, False],
        }
    )
    with tick_store.open(tmp_path / "s") as store:
        for table in (frame, pl.from_pandas(frame, nan_to_null=True), pa.Table.from_pandas(frame)):
            store.publish({"t": table})
        found = store.snapshot().table("t")
    for part in range(3):
        rows = found.iloc[2 * part : 2 * part + 2].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, frame, check_dtype=False)
        assert np.signbit(rows["x"][0]) and rows["n"].tolist() == frame["n"].tolist()


def test_a_snapshot_does_not_move_and_asof_joins_within_it(tmp_path):
    with tick_store.open(tmp_path / "s") as store:
        quotes = trades(4)[["time", "sym", "price"]].rename(columns={"price": "bid"})
        store.publish({"trade": trades(4, 1), "quote": quotes})
        before = store.snapshot()
        store.publish({"trade": trades(1, 50)})
        assert before.seq == 1 and len(before.table("trade")) == 4 and len(store.snapshot().table("trade")) == 5
        joined = before.sql(
            "select t.size, q.bid from trade t asof join quote q on t.sym = q.sym and t.time >= q.time order by 1"
        )
        assert joined["bid"].tolist() == [1.25, 2.25, 3.25, 2.25]  # the last quote of the same parity
        assert before.sql("select size from trade where size > ? and sym = ?", [1, "b"])["size"].tolist() == [3]
        with pytest.raises(StoreError, match="there is no table 'order'; there are 'quote', 'trade'"):
            before.table("order")
        with pytest.raises(StoreError, match="query: "):
            before.sql("select * from nowhere")


def test_a_snapshot_taken_while_a_day_is_closed_has_no_row_twice(tmp_path, monkeypatch):
    """The day is closed, and a new update published, between the snapshot's reads of the log and of the history."""
    with tick_store.open(tmp_path / "s") as writer, tick_store.open(tmp_path / "s", read_only=True) as reader:
        for n in range(3):
            writer.publish({"t": trades(1, n)})
        files = reader._files

        def late(days):
            writer.publish({"t": trades(1, 3)})
            writer.end_of_day("2026-01-02")
            return files(days)

        monkeypatch.setattr(reader, "_files", late)
        snapshot = reader.snapshot()
        assert snapshot.seq == 3 and snapshot.rows("t")["size"].tolist() == [0, 1, 2]
        monkeypatch.undo()
        snapshot = reader.snapshot()
        assert snapshot.seq == 4 and snapshot.rows("t")["size"].tolist() == [0, 1, 2, 3]
        assert len(snapshot.table("t")) == 0


def test_today_and_the_closed_days_are_told_apart(tmp_path):
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": trades(3)}), store.publish({"t": trades(3, 1), "u": trades(1)})
        files = store.end_of_day("2026-01-02")
        assert [str(file.relative_to(tmp_path / "s")) for file in files] == [
            "history/t/date=2026-01-02/part.parquet",
            "history/u/date=2026-01-02/part.parquet",
        ]
        assert store.end_of_day("2026-01-02") == files
        store.publish({"t": trades(2, 7)})
        snapshot = store.snapshot()
        assert snapshot.table("t")["size"].tolist() == [7, 8] and len(snapshot.table("u")) == 0
        day = snapshot.sql("select * from history.t")
        assert day["sym"].is_monotonic_increasing and sorted(day["size"]) == [0, 1, 1, 2, 2, 3]
        assert day.groupby("sym")["seq"].apply(lambda s: s.is_monotonic_increasing).all()
        assert set(day["date"].astype(str)) == {"2026-01-02"}
        store.end_of_day("2026-01-05")
        both = (
            snapshot.sql("select 1 as one").shape,
            store.snapshot().sql("select count(*) as n from history.t")["n"][0],
        )
        assert both == ((1, 1), 8)
        assert [update.seq for update in store.follow(timeout=0)] == [1, 2, 3]  # the log keeps its days
        with pytest.raises(StoreError, match="date must be after 2026-01-05"):
            store.end_of_day("2026-01-03")
        for date in ("2026-1-6", "yesterday", 20260106, "2026-02-30"):
            with pytest.raises(StoreError, match="date must be a day YYYY-MM-DD"):
                store.end_of_day(date)


def test_an_end_of_day_killed_between_two_tables_is_repeated_to_the_same_bytes(tmp_path, monkeypatch):
    for name in ("whole", "killed"):
        with tick_store.open(tmp_path / name) as store:
            for n in range(3):
                store.publish({"t": trades(5, n), "u": trades(2, n)})
    with tick_store.open(tmp_path / "whole") as store:
        whole = store.end_of_day("2026-01-02")
    write, calls = _history.write, []

    def dies(table, file):
        calls.append(file)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(table, file)

    with tick_store.open(tmp_path / "killed") as store:
        with monkeypatch.context() as patched:
            patched.setattr(_history, "write", dies)
            with pytest.raises(KeyboardInterrupt):
                store.end_of_day("2026-01-02")
        store.publish({"t": trades(1, 99)})  # of the next day
        assert len(store.snapshot().table("t")) == 16  # nothing is closed yet
        with pytest.raises(StoreError, match="2026-01-02 was begun and not finished"):
            store.end_of_day("2026-01-03")
        files = store.end_of_day("2026-01-02")
        assert [f.read_bytes() for f in files] == [f.read_bytes() for f in whole]
        assert store.snapshot().table("t")["size"].tolist() == [99]


def test_a_flipped_bit_in_a_closed_day_is_reported(tmp_path):
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": trades(100)})
        (file,) = store.end_of_day("2026-01-02")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    with tick_store.open(tmp_path / "s", read_only=True) as reader:
        with pytest.raises(StoreError, match="not the file that was written on closing 2026-01-02"):
            reader.snapshot()
        file.unlink()
        with pytest.raises(StoreError, match="missing from the history"):
            reader.snapshot()


def test_a_forked_child_does_not_write_to_its_parents_store(tmp_path, monkeypatch):
    """A child has its parent's objects and a number of its own."""
    with tick_store.open(tmp_path / "s") as store:
        monkeypatch.setattr("os.getpid", lambda: -1)
        for write in (lambda: store.publish({"t": trades(1)}), lambda: store.end_of_day("2026-01-02")):
            with pytest.raises(StoreError, match="opened by a process that was forked since; one writes"):
                write()
        monkeypatch.undo()
        assert store.publish({"t": trades(1)}) == 1


def test_a_flipped_bit_is_reported_where_another_table_has_the_same_bytes(tmp_path):
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"a": trades(3), "b": trades(3)})
        first, second = store.end_of_day("2026-01-02")
    content = bytearray(second.read_bytes())
    assert content == first.read_bytes()
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    with (
        tick_store.open(tmp_path / "s", read_only=True) as reader,
        pytest.raises(StoreError, match="not the file that"),
    ):
        reader.snapshot()


def test_the_second_writer_is_refused_and_readers_are_not(start, tmp_path):
    store = tick_store.open(tmp_path / "s")
    store.publish({"t": trades(2)})
    code = "import sys; from mmlib import tick_store; tick_store.open(sys.argv[1])"
    other = start(code, tmp_path / "s")
    assert other.wait(timeout=120) == 1 and "another process writes to this store" in other.path.read_text()
    with tick_store.open(tmp_path / "s", read_only=True) as reader:
        assert len(reader.snapshot().table("t")) == 2
        with pytest.raises(StoreError, match="opened to read"):
            reader.publish({"t": trades(1)})
    store.close()
    tick_store.open(tmp_path / "s").close()


WRITER = """
    import sys, numpy as np, pandas as pd
    from mmlib import tick_store
    store = tick_store.open(sys.argv[1], durable=False)
    first = store.last("feed")
    for n in range(0 if first is None else first + 1, int(sys.argv[2])):
        x = pd.DataFrame({"n": np.full(50, n), "i": np.arange(50)})
        store.publish({"one": x, "two": x[:3]}, source="feed", number=n)
        print(n, flush=True)
"""


def killed_writers(start, folder, kills, updates, seed):
    """Kill the writer `kills` times at random, then let it finish; after each kill what it had been told is there."""
    rng = random.Random(seed)
    for _ in range(kills):
        writer = start(WRITER, folder, updates)
        said(writer, 1)
        time.sleep(rng.uniform(0, 0.2))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        with tick_store.open(folder, read_only=True) as reader:
            kept = {update.number for update in reader.follow(timeout=0)}
        assert {int(line) for line in said(writer)} <= kept
    finished(start(WRITER, folder, updates))


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.deep)])
def test_no_acknowledged_update_dies_with_its_writer(start, tmp_path, kills):
    """After the kills the tables are those of a run that nobody disturbed, row by row."""
    updates = 600 if kills == 2 else 20_000
    killed_writers(start, tmp_path / "s", kills, updates, seed=kills)
    with tick_store.open(tmp_path / "s", read_only=True) as store:
        snapshot = store.snapshot()
        assert snapshot.seq == updates and store.gaps() == []
        assert snapshot.table("one")["n"].tolist() == np.repeat(np.arange(updates), 50).tolist()
        assert snapshot.table("two")["n"].tolist() == np.repeat(np.arange(updates), 3).tolist()


def test_a_reader_beside_the_writer_never_mixes_two_updates(start, tmp_path):
    """Both tables of every snapshot end with the same update, and no update is seen twice or out of order."""
    tick_store.open(tmp_path / "s").close()
    writer = start(WRITER, tmp_path / "s", 400)
    numbers = []
    with tick_store.open(tmp_path / "s", read_only=True) as reader:
        said(writer, 1)
        while len(numbers) < 400:
            snapshot = reader.snapshot()
            ends = [snapshot.table(name)["n"].iloc[-1] for name in ("one", "two")]
            assert ends[0] == ends[1] == snapshot.seq - 1
            for update in reader.follow(since=len(numbers), timeout=0):
                numbers.append(update.number)
    assert numbers == list(range(400))
    finished(writer)


FOLLOWER = """
    import sys
    from mmlib import tick_store
    store = tick_store.open(sys.argv[1], read_only=True)
    for update in store.follow(since=int(sys.argv[3]), timeout=60):
        print(update.number, len(update.tables["one"]), flush=True)
        if update.number == int(sys.argv[2]) - 1:
            break
"""


@pytest.mark.parametrize(("count", "updates"), [(2, 300), pytest.param(8, 20_000, marks=pytest.mark.deep)])
def test_every_follower_sees_every_update_once(start, tmp_path, count, updates):
    """One of them is killed in the middle and goes on where it was."""
    tick_store.open(tmp_path / "s").close()
    followers = [start(FOLLOWER, tmp_path / "s", updates, 0) for _ in range(count)]
    writer = start(WRITER, tmp_path / "s", updates)
    victim = followers[0]
    said(victim, updates // 3)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    seen = said(victim)
    resumed = start(FOLLOWER, tmp_path / "s", updates, len(seen))
    expected = [f"{n} 50" for n in range(updates)]
    assert len(finished(writer)) == updates
    assert seen + finished(resumed) == expected
    for follower in followers[1:]:
        assert finished(follower) == expected


def test_a_follower_in_an_event_loop_and_one_that_times_out(tmp_path):
    with tick_store.open(tmp_path / "s") as store:
        for n in range(3):
            store.publish({"t": trades(1, n)})

        async def read():
            return [update.seq async for update in store.follow(since=1, timeout=0.05)]

        assert asyncio.run(read()) == [2, 3]
        following = store.follow(since=1, timeout=0)  # each iteration reads for itself
        assert [[update.seq for update in following] for _ in range(2)] == [[2, 3], [2, 3]]
        assert [update.seq for update in store.follow(since=3, timeout=0.05)] == []
        with pytest.raises(StoreError, match="since must be <= 3, the last update; got 4"):
            store.follow(since=4)


def test_a_follower_far_behind_takes_large_updates_a_few_at_a_time(tmp_path, monkeypatch):
    with tick_store.open(tmp_path / "s") as store:
        for n in range(9):
            store.publish({"t": trades(50, n), "u": trades(50, n)})
        following = store.follow(timeout=0)
        with contextlib.closing(_log.connect(store.path, read_only=True, durable=False)) as log:
            each = len(log.execute("select payload from updates").fetchone()[0])  # of both tables
            monkeypatch.setattr(_readers, "MOST", 3 * each - 1)
            assert [update.seq for update in following._next(log, 4)] == [5, 6, 7]
            monkeypatch.setattr(_readers, "MOST", 3 * each)
            assert [update.seq for update in following._next(log, 4)] == [5, 6, 7, 8]
        assert [update.seq for update in following] == list(range(1, 10))


def test_a_follower_far_behind_takes_a_thousand_updates_at_a_time(tmp_path):
    with tick_store.open(tmp_path / "s", durable=False) as store:
        for n in range(1002):
            store.publish({"t": pa.table({"n": [n]})})
        following = store.follow(timeout=0)
        with contextlib.closing(_log.connect(store.path, read_only=True, durable=False)) as log:
            assert [update.seq for update in following._next(log, 1)] == list(range(2, 1002))
        assert [update.tables["t"]["n"].tolist() for update in following] == [[n] for n in range(1002)]


def test_a_tables_folder_is_its_name_percent_encoded(tmp_path):
    """Written by hand: a point or a tilde means something to a shell or a file system, where it is not encoded."""
    folders = {"a-B_9": "a-B_9", "..": "%2E%2E", "a.b": "a%2Eb", "~a": "%7Ea", "a b/%": "a%20b%2F%25", "ü": "%C3%BC"}
    with tick_store.open(tmp_path / "s") as store:
        store.publish({name: trades(1) for name in folders})
        store.end_of_day("2026-01-02")
    assert sorted(os.listdir(tmp_path / "s" / "history")) == sorted(folders.values())
    for folder in folders.values():
        assert os.listdir(tmp_path / "s" / "history" / folder) == ["date=2026-01-02"]


def test_a_closed_day_has_row_groups_that_a_query_of_one_sym_skips(tmp_path):
    """At most 131,072 rows each, sorted by sym: pyarrow alone finds the smallest and the largest sym of each."""
    n = 300_000
    with tick_store.open(tmp_path / "s", durable=False) as store:
        store.publish({"t": pa.table({"sym": ["c", "a", "b"] * (n // 3), "i": range(n)})})
        (file,) = store.end_of_day("2026-01-02")
    found = pq.read_metadata(file)
    groups = [found.row_group(k) for k in range(found.num_row_groups)]
    syms = [group.column(found.schema.names.index("sym")).statistics for group in groups]
    assert [group.num_rows for group in groups] == [131_072, 131_072, 37_856]
    assert [(sym.min, sym.max) for sym in syms] == [("a", "b"), ("b", "c"), ("c", "c")]


def test_a_closed_days_file_is_synced_before_it_has_its_name_and_its_folders_after(tmp_path, monkeypatch):
    """Else a machine that loses its power may keep the name and not the rows, or not the folder with the name."""
    place, synced, sync = tmp_path / "s" / "history" / "t" / "date=2026-01-02" / "part.parquet", [], os.fsync

    def watched(file):
        synced.append((os.fstat(file).st_ino, place.exists()))
        sync(file)

    monkeypatch.setattr(os, "fsync", watched)
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": trades(1)})
        store.end_of_day("2026-01-02")
    folders = [tmp_path / "s" / way for way in ("history/t/date=2026-01-02", "history/t", "history", ".")]
    assert synced == [(place.stat().st_ino, False), *((folder.stat().st_ino, True) for folder in folders)]


@pytest.mark.parametrize("trials", [40, pytest.param(200, marks=pytest.mark.deep)])
def test_a_cut_or_flipped_log_gives_a_prefix_or_an_error(tmp_path, trials):
    """Whatever is read of a damaged log is the beginning of what was written; no other row, no other order."""
    with tick_store.open(tmp_path / "s") as store:
        for n in range(60):
            store.publish({"t": trades(20, n), "u": trades(3, n)}, source="f", number=n)
        for name in ("log.sqlite", "log.sqlite-wal"):
            assert (tmp_path / "s" / name).exists()
        shutil.copytree(tmp_path / "s", tmp_path / "copy")
    rng, outcomes = random.Random(1), []
    for trial in range(trials):
        damaged = tmp_path / f"d{trial}"
        shutil.copytree(tmp_path / "copy", damaged, ignore=shutil.ignore_patterns("*-shm", "writer*"))
        file = damaged / rng.choice(["log.sqlite", "log.sqlite-wal"])
        content = bytearray(file.read_bytes())
        if rng.random() < 0.5:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
        try:
            with tick_store.open(damaged) as store:
                read = [(u.number, u.tables["t"]["size"].tolist(), len(u.tables["u"])) for u in store.follow(timeout=0)]
        except StoreError:
            outcomes.append("error")
        else:
            assert read == [(n, list(range(n, n + 20)), 3) for n in range(len(read))]
            outcomes.append(len(read))
        shutil.rmtree(damaged)
    assert {"error", 60} <= set(outcomes) or len(set(outcomes)) > 2


def test_a_full_disk_refuses_the_update_and_keeps_the_others(start, tmp_path):
    """The log may grow to 400 kB: an update is refused by name, all told are kept, with room it goes on."""
    code = """
        import resource, sys, numpy as np, pandas as pd
        from mmlib import tick_store
        store = tick_store.open(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        table = pd.DataFrame({"x": np.arange(2000)})
        try:
            for n in range(1000):
                store.publish({"t": table}, source="f", number=n)
        except tick_store.StoreError as error:
            print(n, error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(store.last("f"), store.publish({"t": table}, source="f", number=n), len(store.snapshot().table("t")))
    """
    refused, after = finished(start(code, tmp_path / "s"))
    n = int(refused.split()[0])
    assert 1 < n < 1000 and "log.sqlite" in refused
    assert after.split() == [str(n - 1), str(n + 1), str(2000 * (n + 1))]


HOSTILE = ["a b", "select", "../up", "x'; drop table updates; --", 'quo"te', "ünï", "ÜNÏ", "*", "con", "a.b", "%41"]


def test_hostile_names_are_data(tmp_path):
    """As tables, columns and symbols: they come back from today and from the history, and no path leaves the store."""
    with tick_store.open(tmp_path / "s [1]*?") as store:
        for name in HOSTILE:
            store.publish(
                {name: pd.DataFrame({"sym": HOSTILE, name + "_": range(len(HOSTILE))})}, source=name, number=3
            )
        assert [store.last(name) for name in HOSTILE] == [3] * len(HOSTILE)
        store.end_of_day("2026-01-02")
        snapshot = store.snapshot()
        for name in HOSTILE:
            quoted = name.replace('"', '""')
            day = snapshot.sql(f'select sym, "{quoted}_" as v from history."{quoted}" order by v')
            assert day["sym"].tolist() == HOSTILE
    assert sorted(os.listdir(tmp_path)) == ["s [1]*?"]
    assert sorted(p.name for p in (tmp_path / "s [1]*?").iterdir() if p.is_dir()) == ["history"]


LISTED = pa.ListArray.from_arrays([0, 1], pa.array(["a"]).dictionary_encode())
BAD = [
    ({}, {}, "at least one table"),
    ({"t": trades(1).drop(columns="size")}, {}, "'t' must have the columns time timestamp"),
    ({"t": trades(1)[["sym", "time", "price", "size"]]}, {}, "'t' must have the columns time timestamp"),
    ({"t": trades(1).astype({"size": float})}, {}, "got time timestamp.us., sym string, price double, size double"),
    ({"T": trades(1)}, {}, "'T': SQL does not keep it apart from 't'"),
    ({"u": trades(1).rename(columns={"size": "Seq"})}, {}, "'seq' is the store's"),
    ({"u": trades(1).rename(columns={"size": "SYM"})}, {}, "columns must differ in more than case"),
    ({"u": trades(1).set_index("sym")}, {}, "'u': the index would be lost"),
    ({"u": [1, 2]}, {}, "'u' must be a pandas, Arrow or Polars table; got list"),
    ({"u": trades(2).assign(time=[pd.NaT, pd.Timestamp(0)])}, {}, "'u': time is missing in row 0"),
    ({"u": trades(1).assign(time=[1.5])}, {}, "'u': time must be a time or a whole number; got double"),
    ({"": trades(1)}, {}, "a table's name must be text of 1 to 80 bytes"),
    ({"a\nb": trades(1)}, {}, "no control characters"),
    ({"t": trades(1)}, {"source": "a\x9b31m", "number": 1}, "source must have no control characters"),
    ({"t": trades(1)}, {"source": "f"}, "source and number must be given together"),
    ({"t": trades(1)}, {"source": "f", "number": -1}, "number must be an integer and >= 0"),
    ({"u": pd.DataFrame({"x": [object()]})}, {}, "'u': cannot be kept as it is"),
    ({"u": pd.DataFrame([[1, 2]], columns=["a", "a"])}, {}, "'u': cannot be kept as it is .Duplicate"),
    ({"u": pd.DataFrame({"x": pd.Series(["\ud800"], dtype=object)})}, {}, "'u': cannot be kept as it is .*surrogates"),
    ({"u": trades(1).assign(time=np.array([2**63], "uint64"))}, {}, r"'u': time must be less than 2\*\*63"),
    ({"u": pa.table({"x": LISTED})}, {}, "'u', column 'x': list.*cannot be kept"),
    ({"u": pa.table({"sym": pa.array([[1], [2]])})}, {}, "'u', column 'sym': list.*cannot be kept .Sorting"),
    ({"u": pa.table({"x": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})}, {}, "'u', column 'x': month.*kept"),
    ({"u": pa.table({"x": pa.array([{}], pa.struct([]))})}, {}, "'u', column 'x': struct.*cannot be kept"),
    ({"u": pa.table({"x": pa.array([1], pa.time64("ns"))})}, {}, "'u', column 'x': time64.* must be whole"),
]


@pytest.mark.parametrize(("tables", "options", "message"), BAD)
def test_what_cannot_be_kept_is_refused_by_name_and_leaves_nothing(tmp_path, tables, options, message):
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": trades(1)})
        with pytest.raises(ValueError, match=message):
            store.publish(tables, **options)
        snapshot = store.snapshot()
        assert snapshot.seq == 1 and snapshot.names == ["t"]
        assert store.publish({"t": trades(1, 1)}) == 2


def test_a_time_that_cannot_be_kept_is_refused_wherever_it_stands(tmp_path):
    """In the first batch, which makes the table, and in a later one; of several the first."""

    def of(*times):
        return {"t": pa.table({"time": pa.array(times, pa.uint64())})}

    with tick_store.open(tmp_path / "s") as store:
        for _ in range(2):
            with pytest.raises(StoreError, match="'t': time is missing in row 1"):
                store.publish(of(1, None, 3, None))
            with pytest.raises(StoreError, match=r"'t': time must be less than 2\*\*63; got 9223372036854775813"):
                store.publish(of(2, 2**63 + 5, 2**63, 4))
            store.publish(of(2**63 - 1, 0))
        assert store.snapshot().table("t")["time"].tolist() == [2**63 - 1, 0] * 2


def test_nanoseconds_of_a_time_of_day_are_refused_in_every_batch(tmp_path):
    whole, not_whole = (pa.table({"x": pa.array([ns], pa.time64("ns"))}) for ns in (1000, 1001))
    with tick_store.open(tmp_path / "s") as store:
        assert [store.publish({"t": whole}) for _ in range(2)] == [1, 2]
        with pytest.raises(StoreError, match=r"'t', column 'x': time64\[ns\] with a value that cannot be kept"):
            store.publish({"t": not_whole})
        assert store.publish({"t": whole}) == 3
        with pytest.raises(StoreError, match="source must have no control characters"):
            store.last("\ud800")


DAY = 86_400_000
LIMITS = [  # type, least, greatest and two that are not
    (pa.date32(), -719_162, 2_932_896, -719_163, 2_932_897),  # days of the years 1 to 9999
    (pa.date64(), -719_162 * DAY, 2_932_896 * DAY, DAY + 1, 2_932_897 * DAY),
    (pa.time32("s"), 0, 86_399, -1, 86_400),
    (pa.time32("ms"), 0, DAY - 1, -1, DAY),
    (pa.time64("us"), 0, DAY * 1000 - 1, -1, DAY * 1000),
    (pa.time64("ns"), 0, DAY * 10**6 - 1000, 999, DAY * 10**6),
    (pa.timestamp("s"), 1 - 2**53, 2**53 - 1, -(2**63), 2**53),
    (pa.timestamp("s", "Europe/Zurich"), 1 - 2**53, 2**53 - 1, -(2**53), 2**63 - 1),
]


@pytest.mark.parametrize(("kind", "least", "greatest", "below", "above"), LIMITS)
def test_days_and_times_are_refused_where_they_would_not_come_back(tmp_path, kind, least, greatest, below, above):
    """Not first in the evening, when the day could not be closed any more, nor by a follower that gets no further."""

    def of(*values):
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        return pa.table({"x": pa.array([*values, None], width).view(kind)})

    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": of(least, greatest)})
        for wrong in (below, above):
            with pytest.raises(StoreError, match=r"'t', column 'x': .* with a value that cannot be kept"):
                store.publish({"t": of(least, wrong, greatest)})
        (update,) = store.follow(timeout=0)
        store.end_of_day("2026-01-02")
        came = store.snapshot().rows("t")["x"]
    pd.testing.assert_series_equal(came, update.tables["t"]["x"])
    assert pa.array(came, kind).equals(of(least, greatest)["x"].chunk(0))


STRANGE = {
    "objects": lambda: pl.DataFrame({"x": [object()]}),
    "128 bits": lambda: pl.DataFrame({"x": [1]}, schema={"x": pl.Int128}),
    "a class": lambda: pl.DataFrame,
    "categories that are lists": lambda: pa.table({"x": pa.DictionaryArray.from_arrays([0], pa.array([[1]]))}),
    "no bytes": lambda: pa.table({"x": pa.array([b""], pa.binary(0))}),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_arrow_or_parquet_cannot_carry_is_refused(tmp_path, kind):
    """Polars would give the addresses in memory of Python's objects."""
    with tick_store.open(tmp_path / "s") as store:
        with pytest.raises(StoreError, match=r"'t'.* cannot be kept"):
            store.publish({"t": STRANGE[kind]()})
        assert store.snapshot().names == []


BEYOND_SQL = [pa.float16(), pa.decimal256(30, 2), pa.list_(pa.float16()), pa.struct({"y": pa.decimal256(60, 2)})]
KEPT = [pa.bool_(), pa.uint8(), pa.uint64(), pa.float32(), pa.string(), pa.binary(), pa.null()]
KEPT += [pa.decimal128(30, 2), pa.date32(), pa.date64(), pa.time64("us"), pa.duration("ns"), pa.timestamp("s", "UTC")]
KEPT += [pa.list_(pa.int64()), pa.list_(pa.float32(), 2), pa.struct({"y": pa.int8()}), pa.map_(pa.string(), pa.int8())]


@pytest.mark.parametrize("kind", [*BEYOND_SQL, *KEPT], ids=str)
def test_every_type_that_is_kept_is_one_of_sql(tmp_path, kind):
    """One table that is not would be in the way of every question."""
    with tick_store.open(tmp_path / "s") as store:
        if kind in BEYOND_SQL:
            with pytest.raises(StoreError, match=r"'t', column 'x': .* cannot be kept \(DuckDB does not know it\)"):
                store.publish({"t": pa.table({"x": pa.nulls(1, kind)})})
            assert store.snapshot().names == []
        else:
            store.publish({"t": pa.table({"x": pa.nulls(1, kind)})})
            assert store.snapshot().sql("select count(*) as n, count(x) as some from t").to_numpy().tolist() == [[1, 0]]


def test_an_error_in_the_second_table_takes_the_first_with_it(tmp_path):
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"b": trades(1)})
        with pytest.raises(StoreError, match="'b' must have the columns"):
            store.publish({"a": trades(1), "b": trades(1)[["time"]]})
        assert store.snapshot().names == ["b"] and len(store.snapshot().table("b")) == 1


def test_a_day_without_updates_that_is_killed_takes_none_of_the_next(tmp_path, monkeypatch):
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": trades(2)})
        store.end_of_day("2026-01-02")
        with monkeypatch.context() as patched:
            patched.setattr(type(store), "_write_day", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                store.end_of_day("2026-01-05")
        store.publish({"t": trades(1, 2)})
        assert store.end_of_day("2026-01-05") == []
        snapshot = store.snapshot()
        assert snapshot.rows("t")["size"].tolist() == [0, 1, 2] and snapshot.table("t")["size"].tolist() == [2]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 10**9], pa.timestamp("s")),
        pa.array([1, 2], pa.time32("s")),
        pa.array([0, 86_400_000], pa.date64()),
        pa.array([2**60 + 1, None]),
        pa.array([None, 2**64 - 1], pa.uint64()),
    ],
)
def test_a_closed_days_values_are_those_of_today(tmp_path, column):
    """Parquet has no seconds and no date64; a float would round the whole numbers."""
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": pa.table({"x": column})})
        store.end_of_day("2026-01-02")
        store.publish({"t": pa.table({"x": column})})
        snapshot = store.snapshot()
        today, (update, _) = snapshot.table("t"), store.follow(timeout=0)
        rows = snapshot.rows("t")["x"]
    expected = pd.Series([*column.to_pylist()] * 2, dtype=object)
    assert str(rows.dtype) == str(today["x"].dtype) == str(update.tables["t"]["x"].dtype)
    assert rows.isna().equals(expected.isna())
    assert (rows.dropna() == expected.dropna()).all() and rows.iloc[:2].tolist()[0] is not None
    pd.testing.assert_series_equal(rows.iloc[2:].reset_index(drop=True), today["x"])


def test_an_update_broken_off_while_it_is_read_is_not_read_twice(tmp_path, monkeypatch):
    load, answers = _forms.load, iter([True, False])

    def interrupted(payload):
        if not next(answers, True):
            raise KeyboardInterrupt
        return load(payload)

    with tick_store.open(tmp_path / "s") as store:
        store.publish({"a": trades(1), "b": trades(1)})
        with monkeypatch.context() as patched:
            patched.setattr(_forms, "load", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.snapshot()
        assert [len(store.snapshot().table(name)) for name in "ab"] == [1, 1]


def test_the_same_rows_by_another_way_are_the_same_update(tmp_path):
    """What lies in memory under an unknown number is not data."""
    sent = pd.DataFrame({"x": [1.0, np.nan, 3.0], "s": ["a", None, "c"]})
    twice = pa.Table.from_pandas(pd.concat([sent, sent], ignore_index=True), preserve_index=False)
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"t": sent}, source="f", number=1)
        for again in (twice.slice(3), twice.take([3, 4, 5]), twice.filter(pa.array([False] * 3 + [True] * 3))):
            assert store.publish({"t": again}, source="f", number=1) is None
        with pytest.raises(StoreError, match="other content"):
            store.publish({"t": twice.take([3, 5, 4])}, source="f", number=1)


def test_a_table_is_not_taken_for_anothers_history(tmp_path):
    with tick_store.open(tmp_path / "s") as store:
        store.publish({"trade": trades(2)})
        store.end_of_day("2026-01-02")
        store.publish({"history of trade": trades(1, 9)})
        assert store.snapshot().sql('select * from "history of trade"')["size"].tolist() == [9]
        assert store.snapshot().sql("select * from history.trade")["size"].tolist() == [0, 1]


@pytest.mark.parametrize("name", ["a:b", "s3:bucket", "file:x"])
def test_a_folders_name_is_no_uri(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with tick_store.open(name) as store:
        store.publish({"t": trades(1)})
        store.end_of_day("2026-01-02")
        assert len(store.snapshot().rows("t")) == len(store.snapshot().sql("from history.t")) == 1
    assert os.listdir(tmp_path) == [name] and (tmp_path / name / "log.sqlite").exists()


@pytest.mark.parametrize("url", ["ticks:s", "kdb//localhost:5010", "http://x/y", "a\0b", "x" * 5000, None, b"s"])
def test_what_names_no_folder_makes_none(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"must be a folder or kdb://HOST:PORT|no folder for a store"):
        tick_store.open(url)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("folder", ["made", "empty", "under/way/made"])
def test_a_store_is_made_where_nothing_is(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with tick_store.open(tmp_path / folder) as store:
        assert store.publish({"t": trades(1)}) == 1


def test_a_lock_that_is_another_file_is_refused_and_left(tmp_path):
    tick_store.open(tmp_path / "s").close()
    (tmp_path / "s" / "writer.lock").write_bytes(b"mine" * 300)
    with pytest.raises(StoreError, match=r"s/writer\.lock: file is not a database"):
        tick_store.open(tmp_path / "s")
    assert (tmp_path / "s" / "writer.lock").read_bytes() == b"mine" * 300


def test_a_writer_killed_as_it_made_the_store_leaves_one_to_open(tmp_path):
    (tmp_path / "writer.lock").touch()
    with pytest.raises(StoreError, match="not a tick store"):
        tick_store.open(tmp_path, read_only=True)
    with tick_store.open(tmp_path) as store:
        assert store.publish({"t": trades(1)}) == 1


def test_a_folder_of_other_things_is_no_store(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a tick store"):
        tick_store.open(tmp_path)
    with pytest.raises(StoreError, match="not a tick store"):
        tick_store.open(tmp_path / "nowhere", read_only=True)
    with pytest.raises(StoreError, match="not a tick store"):
        tick_store.open(tmp_path / "notes.txt")
    assert sorted(os.listdir(tmp_path)) == ["notes.txt"]
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "log.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="not a readable log"):
        tick_store.open(tmp_path / "fake")
