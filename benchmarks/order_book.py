"""Order books: reading LOBSTER's text against polars, the cache, and the replay of a day against hftbacktest.

    python benchmarks/order_book.py [rows] [events]        # 1,000,000 rows and 5,000,000 events unless given

Rows and events are a synthetic hour repeated, with later times; ratios are of one run. The replay is that of the
strategy of tests/order_book/oracle.py, every 100 ms. hftbacktest runs the same feed, with the same positions and cash
(checked), in an environment of its own, `make .venv-hftbacktest/ok`, and is left out without it.
"""

import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars

from mmlib.order_book import lobster, replay, synthetic

MS = 1_000_000


def seconds(work, times=3):
    """The least of `times` runs, and the last result."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        result = work()
        taken.append(time.perf_counter() - begin)
    return min(taken), result


def repeated(events, rows):
    """The events one after the other until there are `rows`, each time where the last one ended."""
    span = int(events["time_ns"].iloc[-1] - events["time_ns"].iloc[0]) + MS
    n = -(-rows // len(events))
    out = pd.concat([events] * n, ignore_index=True).iloc[:rows]
    shift = np.repeat(np.arange(n), len(events))[:rows] * span
    return out.assign(**{name: out[name] + shift for name in ("time_ns", "local_ns")})


def reading(rows, folder):
    events = repeated(synthetic.lobster_events(**synthetic.SAMPLE | {"levels": 5}), rows)
    paths = Path(folder, "X_message_5.csv"), Path(folder, "X_orderbook_5.csv")
    lobster.write(events, *paths)

    def by_polars():
        return [polars.read_csv(path, has_header=False) for path in paths]

    lobster.read(*paths, cache=False)  # compile
    theirs, _ = seconds(by_polars)
    ours, found = seconds(lambda: lobster.read(*paths, cache=False))
    assert len(found) == rows
    lobster.read(*paths)
    cached, again = seconds(lambda: lobster.read(*paths))
    assert again.equals(found)
    print(f"{rows:,} rows, 5 levels: polars {theirs:.3g} s, exact read {theirs / ours:.2f} times its speed,")
    print(f"cached read {theirs / cached:.1f} times polars' speed, {ours / cached:.1f} times that of the text")
    for name, cache in (("text", False), ("cached", True)):
        print(f"peak memory of a process that reads {rows:,} rows, {name}: {memory(paths, cache):.2g} GB")


def memory(paths, cache):
    """Peak memory in GB of a new process that reads the files (its own: getrusage counts what it was forked from)."""
    code = (
        "import sys; from mmlib.order_book import lobster; lobster.read(*sys.argv[2:], cache=bool(int(sys.argv[1])));"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    command = [sys.executable, "-c", code, str(int(cache)), *map(str, paths)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e6


def replaying(events, folder):
    spec = importlib.util.spec_from_file_location(
        "oracle", Path(__file__).parents[1] / "tests" / "order_book" / "oracle.py"
    )
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    one = replay.feed(synthetic.lobster_events(**synthetic.SAMPLE | {"levels": 5, "churn": 20.0}), 0.01, 1)
    span, n = int(one["ts"][-1] - one["ts"][0]) + MS, -(-events // len(one))
    feed = np.tile(one, n)[:events]
    for name in ("ts", "local"):
        feed[name] += np.repeat(np.arange(n), len(one))[:events] * span
    names = {"one a side, latency below the step": [MS] * 3, "many, latency above the step": [150 * MS] * 3}
    runs = [
        oracle.settings(lot=1.0, lots=100, latency=latency, queue="back", half=3, skew=2) for latency in names.values()
    ]
    for run in runs:
        oracle.ours(one, run)  # compile
    ours = [oracle.ours(feed, run) for run in runs]
    theirs = oracle.theirs(feed, runs[:1] + runs, folder)[1:] if oracle.PYTHON.exists() else [None] * len(runs)
    print(f"replay of {events:,} events, {(feed['ts'][-1] - feed['ts'][0]) / 3.6e12:.3g} h of the exchange:")
    for name, own, other in zip(names, ours, theirs, strict=True):
        text = f"{own['seconds'] / events * 1e9:.3g} ns an event, {own['trades']:,} fills"
        if other:
            n = min(len(own["positions"]), len(other["positions"]))
            same = np.array_equal(own["positions"][:n], other["positions"][:n]) and own["trades"] == other["trades"]
            assert same and abs(own["cash"] - other["cash"]) < 1, "the engines disagree"
            text += f", {other['seconds'] / own['seconds']:.1f} times hftbacktest's speed, all positions equal"
        print(f"  orders {name}: {text}")


def main(rows=1_000_000, events=5_000_000):
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        replaying(events, folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"peak memory of the replay of {events:,} events {peak:.2g} GB\n")
        reading(rows, folder)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
