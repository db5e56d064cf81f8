"""What a rerun costs in a sweep and by papermill's command line, in CPU seconds of all processes, results compared.

    python benchmarks/sweep.py [chapter …] [--all] [--scale] [--fresh]

Without names: four chapters. With `--all` every chapter of the book; one whose own arithmetic, a run in a loaded
process, is over a second is not compared. Modules are compiled once, as for a user, or with `--fresh` by each process,
as in a container that keeps nothing. With `--scale` also one worker against two, by the clock, and 10,000 points of a
toy chapter, whose processes may not grow.
"""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"))

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import psutil

from mmlib import _notebooks, chapter, sweep
from mmlib._sweep import engine

CHEAP = ["cartea_jaimungal", "liquidation", "events", "glft"]
RUNS = 5
#: CPU seconds of a chapter's own arithmetic over which it is not compared.
LONG = 1.0
TOY = ["x = 1.0  # any", "from mmlib import chapter\nchapter.results(square=x * x)"]


def spent():
    """CPU seconds of ended children of this process, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def by_papermill(path, folder):
    """CPU seconds, the better of two; the results."""
    out, took = folder / "out.ipynb", []
    for _ in range(2):
        before = spent()
        command = [sys.executable, "-m", "papermill", str(path), str(out), "--no-progress-bar"]
        subprocess.run(command, check=True, cwd=folder, capture_output=True)
        took.append(spent() - before)
    return min(took), chapter.read_results(nbformat.read(out, as_version=4))


def by_fork(path):
    """CPU seconds to start, and of a later run; the results of each."""
    runner = engine.Engine(engine.program(_notebooks.read(path)))
    first = runner.run({})
    process = psutil.Process(runner.process.pid)

    def used():
        times = process.cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    started, count = used(), 0
    while count < RUNS and used() - started <= LONG * max(count, 1):
        assert runner.run({}) == first
        count += 1
    each = (used() - started) / count
    runner.close()
    return started, each, first["results"]


def two_workers(folder):
    """Seconds of the clock of one worker and of two, beyond what a short sweep takes."""
    took = {}
    for workers in (1, 2):
        sweep.run("cartea_jaimungal", {"phi": [0.1, 0.2]}, workers=workers)  # what is loaded once
        for steps in (8, 72):
            before = time.perf_counter()
            values = {"phi": [0.1 + 0.2 * i / steps for i in range(steps)]}
            table = sweep.run("cartea_jaimungal", values, workers=workers, path=folder / f"{workers}-{steps}.parquet")
            assert (table["error"] == "").all()
            took[workers, steps] = time.perf_counter() - before
    for steps in (8, 72):
        assert len({(folder / f"{workers}-{steps}.parquet").read_bytes() for workers in (1, 2)}) == 1
    return [took[workers, 72] - took[workers, 8] for workers in (1, 2)]


def toy_memory(folder):
    """Megabytes of this process and of the parent after 1,000 and after 10,000 points, CPU seconds a point."""
    cells = [nbformat.v4.new_code_cell(text) for text in TOY]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "toy.ipynb")
    seen, done, journal = [], threading.Event(), folder / "toy.parquet.journal"

    def watch():
        marks = [1_000, 9_900]
        while marks and not done.wait(0.2):
            if journal.exists() and journal.read_bytes().count(b"\n") > marks[0]:
                parents = [p for p in psutil.Process().children() if "mmlib._sweep.parent" in " ".join(p.cmdline())]
                seen.append([p.memory_info().rss / 1e6 for p in (psutil.Process(), *parents)])
                marks.pop(0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = spent()
    table = sweep.run(str(folder / "toy.ipynb"), {"x": range(10_000)}, workers=1, path=folder / "toy.parquet")
    done.set()
    watcher.join()
    assert (table["square"] == table["x"] ** 2).all()
    return seen, (spent() - before) / 10_000


def main():
    names = [name for name in sys.argv[1:] if not name.startswith("-")] or CHEAP
    if "--all" in sys.argv:
        names = list(_notebooks.paths())
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1" if "--fresh" in sys.argv else ""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
        for name in names:
            path = _notebooks.find(name)[1]
            started, each, found = by_fork(path)
            if each > LONG:
                print(f"{name}: its own arithmetic takes {each:.1f} CPU s", flush=True)
                continue
            papermill, committed = by_papermill(path, folder)
            assert found == committed
            print(f"{name}: papermill {papermill:.2f} CPU s, in a sweep {each:.3f}: {papermill / each:.1f} times;"
                  f" a sweep starts with {started:.1f}", flush=True)  # fmt: skip
        if "--scale" in sys.argv:
            one, two = two_workers(folder)
            print(f"64 runs: {one:.1f} s on one worker, {two:.1f} s on two: {one / two:.2f} times", flush=True)
            seen, each = toy_memory(folder)
            for count, (driver, parent) in zip((1_000, 9_900), seen, strict=True):
                print(f"after {count:,} points: driver {driver:.1f} MB, parent {parent:.1f} MB", flush=True)
            print(f"a point of a toy chapter: {1000 * each:.1f} CPU ms")


if __name__ == "__main__":
    main()
