"""The same positions at every decision, and the same cash, as hftbacktest 2.4.4, on recorded and on synthetic feeds.

Orders are filled whole: of partial fills that engine is no oracle (its strategy knows of an order's last piece only).
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mmlib.order_book import replay, synthetic

spec = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(not oracle.PYTHON.exists(), reason="no environment with hftbacktest: make .venv-hftbacktest/ok"),
]
MS = 1_000_000
#: Of data, requests and responses: none, one for all, slow ones that cross, and exactly the step.
LATENCIES = [[0, 0, 0], [MS, MS, MS], [50 * MS, 150 * MS, 100 * MS], [100 * MS, 100 * MS, 100 * MS]]


def agree(feed, folder, **units):
    runs = [oracle.settings(latency=latency, queue=queue, half=half, skew=skew, **units)
            for latency in LATENCIES for queue in ("back", "power") for half, skew in ((1, 4), (5, 2))]  # fmt: skip
    for run, other in zip(runs, oracle.theirs(feed, runs, folder), strict=True):
        own = oracle.ours(feed, run)
        both = min(len(own["positions"]), len(other["positions"]))
        assert abs(len(own["positions"]) - len(other["positions"])) <= 1, run  # the last, when nothing is left
        assert np.array_equal(own["positions"][:both], other["positions"][:both]), run
        assert own["trades"] == other["trades"], run
        assert own["cash"] == pytest.approx(other["cash"], abs=1e-3), run  # sums of floats of 1e9 × 1e-16 each
        assert own["trades"] > 20, run


def test_bitcoin(capture, tmp_path):
    feed = replay.feed(capture, 0.1, 0.001, ticks=(600_000, 630_000))
    agree(feed, tmp_path, lot=0.001, lots=10)


def test_amazon(amzn, tmp_path):
    agree(replay.feed(amzn, 0.01, 1), tmp_path, lot=1.0, lots=100)


@pytest.mark.parametrize("flow", ["poisson", "hawkes"])
def test_synthetic(flow, tmp_path):
    events = synthetic.lobster_events(seconds=900, flow=flow, churn=3.0, seed=8)
    agree(replay.feed(events, 0.01, 1), tmp_path, lot=1.0, lots=100)
