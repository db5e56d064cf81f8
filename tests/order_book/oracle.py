"""The same run by `replay` and by hftbacktest, which has an environment of its own."""

import json
import math
import subprocess
import time
from pathlib import Path

import numpy as np
from numba import njit

from mmlib.order_book import replay

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-hftbacktest" / "bin" / "python"


@njit
def noting(book, half, skew, most, positions):
    """The reference's test strategy, in half ticks; notes the position that it knows at each decision."""
    positions[book.decision - 1] = book.known_position
    q = round(book.known_position / book.order_size)
    m = book.seen_bid + book.seen_ask
    bid = min(math.floor((m - max(half + skew * q, 0)) / 2), book.seen_bid) if q < most else -1
    ask = max(math.ceil((m + max(half - skew * q, 0)) / 2), book.seen_ask) if q > -most else -1
    return bid, ask


def settings(*, lot, lots, latency, queue, half, skew, most=5, step=100_000_000):
    """A run: size of a lot, lots of an order, ns of data, requests, responses; queue; the strategy's numbers."""
    return {"lot": lot, "lots": lots, "latency": latency, "queue": queue, "half": half, "skew": skew, "most": most,
            "step": step}  # fmt: skip


def ours(feed, run):
    """Positions at each decision (lots), trades, cash (ticks × lots), seconds."""
    state = replay.start(feed, lot=run["lot"], order_size=run["lot"] * run["lots"], step=run["step"],
                         latency=run["latency"], queue=run["queue"], orders=32, fills=1 << 17)  # fmt: skip
    span = int(feed["ts"][-1] - feed["ts"][0]) + sum(run["latency"])
    positions = np.zeros(span // run["step"] + 10, np.int64)
    begin = time.process_time()
    replay.run(feed, state, noting, run["half"], run["skew"], run["most"], positions)
    seconds = time.process_time() - begin
    book = state[0]
    return {"positions": positions[: int(book["decision"])], "trades": int(book["fills"]), "cash": int(book["cash"]),
            "seconds": seconds}  # fmt: skip


def theirs(feed, runs, folder):
    """The same of each run from hftbacktest, in a process of its environment."""
    np.save(Path(folder, "feed.npy"), feed)
    Path(folder, "runs.json").write_text(json.dumps(runs))
    subprocess.run([PYTHON, Path(__file__).with_name("_hftbacktest.py"), folder], check=True, timeout=3000)
    found = [np.load(Path(folder, f"{i}.npz")) for i in range(len(runs))]
    return [{name: one[name][()] for name in one.files} for one in found]
