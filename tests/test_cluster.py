"""A cluster by its address: a scheduler and two workers started as commands on 127.0.0.1, and a panel sent to them."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pandas as pd
import psutil
import pytest

from mmlib import cluster
from mmlib.stock_loan import panels

LEVELS = [0.05, 0.5, 0.95]


@contextmanager
def dask(*command):
    """A Dask command, ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{command[0]}", *command[1:], "--no-dashboard"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def address():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    found = f"tcp://127.0.0.1:{port}"
    with (
        dask("scheduler", "--host", "127.0.0.1", "--port", str(port)),
        dask("worker", found, "--nworkers", "2", "--nthreads", "1", "--host", "127.0.0.1"),
    ):
        yield found


@pytest.fixture(scope="module")
def book():
    rng = np.random.default_rng(9)
    values = np.round(np.exp(8 + 0.5 * rng.standard_normal((120, 10))))
    table = pd.DataFrame(values, pd.bdate_range("2024-01-02", periods=120), [f"N{i}" for i in range(10)])
    table["N4"] = np.where(rng.random(120) < 0.3, table["N4"], 0.0)
    table.iloc[60, 7] = np.nan
    return table


def connected(address, workers, seconds=120):
    """A client's look at the cluster once so many workers have come."""
    with cluster.client(address) as client:
        client.wait_for_workers(workers, timeout=seconds)
        return client.scheduler_info()["workers"]


@pytest.mark.deep
def test_a_cluster_gives_the_bytes_of_one_process_and_one_bad_name_stops_nobody(address, book, tmp_path):
    assert len(connected(address, 2)) == 2
    panels.forecast(book, levels=LEVELS, transform="log1p", workers=1, path=tmp_path / "one.parquet")
    found = panels.forecast(
        book, levels=LEVELS, transform="log1p", scheduler=address, chunk=2, path=tmp_path / "cluster.parquet"
    )
    assert (tmp_path / "cluster.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert list(found.index[found["error"] != ""]) == ["N7"]


@pytest.mark.deep
def test_what_one_process_began_a_cluster_ends(address, book, tmp_path):
    """A journal cut in the middle of a line, as a kill leaves it, is taken up on other machines to the same bytes."""
    arguments = {"levels": LEVELS, "chunk": 2}
    panels.forecast(book, workers=1, path=tmp_path / "whole.csv", **arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels._Journal, "finish", lambda self, table: None)
        panels.forecast(book, workers=1, path=tmp_path / "torn.csv", **arguments)
    journal = tmp_path / "torn.csv.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:9])
    panels.forecast(book, scheduler=address, path=tmp_path / "torn.csv", **arguments)
    assert (tmp_path / "torn.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_the_cluster_outlives_its_clients(address):
    """Leaving the block ends the client alone: the same two workers answer the next one."""
    assert set(connected(address, 2)) == set(connected(address, 2))


def test_processes_of_this_machine_end_with_the_block():
    with cluster.client(workers=1) as client:
        pid = client.submit(os.getpid).result()
        assert list(client.nthreads().values()) == [1]
    deadline = time.monotonic() + 30  # it was told to end: a machine that is busy takes a moment
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.02)


@pytest.mark.deep
def test_an_address_where_nothing_listens_is_named():
    words = "scheduler must be the address of a running Dask scheduler"
    with pytest.raises(ValueError, match=words), cluster.client("tcp://127.0.0.1:9"):
        pass
    with pytest.raises(ValueError, match=words), cluster.client("nonsense://x"):
        pass


def test_what_a_worker_of_this_machine_complains_of_is_not_printed_and_what_fails_is_raised(tmp_path):
    """One that ends as it tells the scheduler that it lives writes an error to the terminal of a sweep that is done."""
    script = tmp_path / "script.py"
    script.write_text(
        "import logging, operator\n"
        "from mmlib import cluster\n"
        "if __name__ == '__main__':\n"
        "    with cluster.client(workers=1) as client:\n"
        "        client.run(logging.getLogger('distributed.worker').error, 'Failed to communicate with scheduler')\n"
        "        try:\n"
        "            client.submit(operator.truediv, 1, 0).result()\n"
        "        except ZeroDivisionError as error:\n"
        "            print(error)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "division by zero\n", "")
