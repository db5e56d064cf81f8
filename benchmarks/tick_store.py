"""The tick store against what it is made of: SQLite by hand, bare, and a file of frames, at the same durability.

    python benchmarks/tick_store.py [seconds]        # half a second for each number unless given

An update is one Arrow table of five columns. By hand is what a user would write: Arrow's stream writer, and a
transaction with the one insert, without numbers, checks or checksum. The bare transaction and the file get the same
bytes ready made: nothing but the write. The ways take turns within each round, so that a disk that others use is as
slow for all of them; ratios are medians over rounds. Latency is from before the update is sent until another process
has its table, 100 rows a hundred times a second.
"""

import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from mmlib import tick_store
from mmlib.tick_store import _forms, _readers

TURN = 0.03  # seconds of one way's turn in a round


def table(rows):
    """Five columns: time, name, price, size, flag."""
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "time": pd.to_datetime(np.arange(rows), unit="us"),
            "sym": rng.choice(["AAPL", "MSFT", "GME"], rows),
            "price": rng.random(rows),
            "size": rng.integers(1, 1000, rows),
            "buy": rng.random(rows) < 0.5,
        }
    )


def _stream(frame):
    """The bytes that the store keeps of a table."""
    batch = _forms.arrow("t", frame)
    return _forms.dump(batch, batch.schema.serialize())


def bare_sqlite(path, durable):
    """A function that adds a payload in one transaction."""
    log = sqlite3.connect(path, isolation_level=None)
    log.execute("pragma journal_mode=wal")
    log.execute(f"pragma synchronous={'full' if durable else 'normal'}")
    log.execute("create table if not exists log(seq integer primary key, payload blob)")

    def add(payload):
        log.execute("begin immediate")
        log.execute("insert into log(payload) values (?)", (payload,))
        log.execute("commit")

    return add


def framed_file(path, durable):
    """A function that adds a payload behind its length and checksum."""
    file = open(path, "ab", buffering=0)  # noqa: SIM115

    def add(payload):
        head = len(payload).to_bytes(8, "little") + zlib.crc32(payload).to_bytes(4, "little")
        file.write(head + payload)
        if durable:
            os.fsync(file.fileno())

    return add


def rates(folder, rows, durable, seconds):
    """Updates a second in each round: the store (Arrow, pandas), by hand, a bare transaction, a framed file."""
    frame = table(rows)
    arrow = pa.Table.from_batches([_forms.arrow("t", frame)])
    payload = _stream(frame)
    store = tick_store.open(folder / "store", durable=durable)
    other = tick_store.open(folder / "pandas", durable=durable)
    bare, framed = bare_sqlite(folder / "bare", durable), framed_file(folder / "framed", durable)
    by_hand = bare_sqlite(folder / "by hand", durable)

    def stream():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, arrow.schema) as writer:
            writer.write_table(arrow)
        return sink.getvalue()

    ways = {
        "Arrow": lambda: store.publish({"t": arrow}),
        "pandas": lambda: other.publish({"t": frame}),
        "by hand": lambda: by_hand(stream()),
        "SQLite": lambda: bare(payload),
        "file": lambda: framed(payload),
    }
    found = {name: [] for name in ways}
    for number in range(max(4, round(seconds / TURN))):
        for name, way in ways.items():
            start, count = time.perf_counter(), 0
            while (taken := time.perf_counter() - start) < TURN:
                way()
                count += 1
            if number:  # the first round makes the files
                found[name].append(count / taken)
    store.close(), other.close()
    return found


READERS = {
    "store": """
import sys, time, pyarrow.pandas_compat
from mmlib import tick_store
reader = tick_store.open(sys.argv[1], read_only=True)
print("ready", flush=True)
for update in reader.follow(timeout=5):
    print(time.monotonic_ns() - int(update.tables["t"]["sent"].iloc[-1]), flush=True)
""",
    "SQLite": """
import sqlite3, sys, time
import pandas, pyarrow as pa
log, last = sqlite3.connect(sys.argv[1], isolation_level=None), 0
print("ready", flush=True)
begun = time.monotonic()
while time.monotonic() - begun < 5:
    for last, payload in log.execute("select seq, payload from log where seq > ? order by seq", (last,)).fetchall():
        with pa.ipc.open_stream(payload) as stream:
            sent = stream.read_all().to_pandas()["sent"].iloc[-1]
        print(time.monotonic_ns() - int(sent), flush=True)
        begun = time.monotonic()
    time.sleep(float(sys.argv[2]))
""",
    "file": """
import sys, time
import pandas, pyarrow as pa
file = open(sys.argv[1], "rb")
print("ready", flush=True)
begun = time.monotonic()
while time.monotonic() - begun < 5:
    head = file.read(12)
    size = int.from_bytes(head[:8], "little")
    body = file.read(size)
    if body and len(body) == size:
        with pa.ipc.open_stream(body) as stream:
            sent = stream.read_all().to_pandas()["sent"].iloc[-1]
        print(time.monotonic_ns() - int(sent), flush=True)
        begun = time.monotonic()
    else:
        file.seek(-len(head) - len(body), 1)
        time.sleep(float(sys.argv[2]))
""",
}


def latencies(folder, way, durable, seconds):
    """Milliseconds from before the update is sent until a process that follows has its table."""
    frame = table(100)
    if way == "store":
        store = tick_store.open(folder / way, durable=durable)
        add = lambda rows: store.publish({"t": rows})  # noqa: E731
    else:
        raw = (bare_sqlite if way == "SQLite" else framed_file)(folder / way, durable)
        add = lambda rows: raw(_stream(rows))  # noqa: E731
    command = [sys.executable, "-c", READERS[way], str(folder / way), str(_readers.POLL)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "ready\n"
        for _ in range(round(100 * seconds)):
            add(frame.assign(sent=time.monotonic_ns()))
            time.sleep(0.01)
        return [int(line) / 1e6 for line in reader.stdout][20:]  # without those of the start


def resident():
    """Memory of this process now, MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def memory(folder):
    """MB that a million rows of today take in a snapshot, beside their size as Arrow."""
    arrow = pa.Table.from_batches([_forms.arrow("t", table(10_000))])
    with tick_store.open(folder / "memory", durable=False) as store:
        for _ in range(100):
            store.publish({"t": arrow})
        before = resident()
        snapshot = store.snapshot()
        return snapshot, resident() - before, 100 * arrow.nbytes / 1e6


def main(seconds=0.5):
    folder = Path(tempfile.mkdtemp())
    try:
        print("updates of one table: the store's rate as a ratio to other ways\n")
        print(f"{'fsync':<7}{'rows':>7}{'rows/s':>12}{'by hand':>9}{'SQLite':>8}{'file':>6}{'pandas, by hand':>17}")
        for durable in (True, False):
            for rows in (100, 1_000, 10_000):
                place = folder / f"{durable} {rows}"
                place.mkdir()
                found = rates(place, rows, durable, 5 * seconds)
                pairs = (("Arrow", "by hand"), ("Arrow", "SQLite"), ("Arrow", "file"), ("pandas", "by hand"))
                ratios = [statistics.median(x / y for x, y in zip(found[a], found[b], strict=True)) for a, b in pairs]
                rate = rows * statistics.median(found["Arrow"])
                print(f"{'each' if durable else 'none':<7}{rows:>7,}{rate:>12,.0f}", end="")
                print("{:>9.2f}{:>8.2f}{:>6.2f}{:>17.2f}".format(*ratios), flush=True)
        print(f"\nlatency to a follower in another process, ms, all looking every {1e3 * _readers.POLL:g} ms\n")
        print(f"{'fsync':<7}{'way':<8}{'p50':>7}{'p99':>7}")
        for durable in (True, False):
            (place := folder / f"latency {durable}").mkdir()
            for way in READERS:
                found = latencies(place, way, durable, 2 * seconds)
                p50, p99 = np.percentile(found, [50, 99])
                print(f"{'each' if durable else 'none':<7}{way:<8}{p50:>7.2f}{p99:>7.2f}", flush=True)
        _, taken, raw = memory(folder)
        print(f"\na snapshot of a million rows takes {taken:.0f} MB; as Arrow they are {raw:.0f} MB: {taken / raw:.2f}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(*(float(argument) for argument in sys.argv[1:]))
