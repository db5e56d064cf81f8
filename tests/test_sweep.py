"""Sweeps of small chapters made here: grids, rows' errors, journals, kills; and chapters of the book against `run`."""

import ast
import io
import json
import os
import re
import resource
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import psutil
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmlib import _notebooks, chapter, cli, sweep
from mmlib._notebooks import Refused
from mmlib._sweep import engine, farm, grid
from mmlib._sweep import table as tables
from mmlib._sweep.journal import Journal

PARAMETERS = """\
gamma = 0.1  # > 0
steps = 5  # whole
label = "ok"  # what is to happen
flag = True  # either
sizes = [1, 2]  # a list
fixed = None  # cannot be set
"""
WORK = """\
from mmlib import chapter, checks
with chapter.validating():
    checks.positive("gamma", gamma)
import os, signal, sys, time, pathlib
if label == "fail":
    [][steps]
if label == "memory":
    raise MemoryError
if label == "half":
    raise ValueError("\\ud800")
if label == "silent":
    with chapter.validating():
        raise ValueError
if label == "exit":
    sys.exit(3)
if label == "code":
    os._exit(7)
if label == "die":
    os.kill(os.getpid(), signal.SIGSEGV)
if label == "loop":
    while True:
        time.sleep(0.1)
if pathlib.Path("hold").exists() and steps >= 3:
    with open("held", "a") as file:
        file.write(f"{os.getpid()}\\n")
    while pathlib.Path("hold").exists():
        time.sleep(0.02)
leak = globals().get("leak", 0) + 1
print("noise")
chapter.results(product=gamma * steps, steps=steps, leak=leak, sizes=str(sizes), half=steps // 2, even=steps % 2 == 0)
"""


def notebook(path, work=WORK):
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(work)]
    kernel = {"name": "python3", "display_name": "python3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return str(path)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return notebook(tmp_path / "toy.ipynb")


def mmlib(*arguments):
    return CliRunner().invoke(cli.app, ["sweep", *map(str, arguments)])


def refused(*arguments):
    """The one line of a command that ends with exit code 2 before anything is run, and leaves nothing."""
    before = sorted(os.listdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.Engine, "run", lambda *_: pytest.fail("a run was started"))
        outcome = mmlib(*arguments)
    assert outcome.exit_code == 2, outcome.output
    assert sorted(os.listdir()) == before
    (line,) = outcome.stderr.splitlines()
    return line


def preloaded(pid=None):
    """The preloaded parents, and their runs, below a process: this one unless another is named."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            found += [process] if "mmlib._sweep.parent" in " ".join(process.cmdline()) else []
        except psutil.NoSuchProcess:
            continue
    return found


# ---- grids


def values(text, default=0.1):
    return grid.read("x", default, text)


def test_ends_are_included_and_decimals_are_meant_exactly():
    """The numbers that a reader would write by hand; np.linspace has 0.15000000000000002."""
    assert values("0.05:0.5:10") == [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
    assert values("-1:1:3") == [-1.0, 0.0, 1.0]
    assert values("1:10:10", 5) == list(range(1, 11))
    assert values("0.2, 0.3,1e-2") == [0.2, 0.3, 0.01]
    assert values("3") == 3.0 and isinstance(values("3"), float)
    assert values("true,FALSE", True) == [True, False]
    assert values("bid,ask", "bid") == ["bid", "ask"]
    assert values("[1, 2]", [5]) == [1, 2]
    assert values("[[1, 2], [3]]", [5]) == [[1, 2], [3]]


def test_logarithmic_grids_are_even_in_the_logarithm():
    assert values("log:0.01:100:5") == [0.01, 0.1, 1.0, 10.0, 100.0]
    assert values("log:1:16:5", 5) == [1, 2, 4, 8, 16]
    np.testing.assert_allclose(values("log:0.3:7:20"), np.geomspace(0.3, 7, 20), rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gamma", "", "gamma must be a number; got ''"),
        ("gamma", "0.1,,0.2", "gamma must be a number; got ''"),
        ("gamma", "0.5:0.1:5", "gamma must go from the smaller end to the larger; got '0.5:0.1:5'"),
        ("gamma", "1:1:3", "gamma must go from the smaller end to the larger"),
        ("gamma", "0:1:0", "gamma must have at least 2 values from 0 to 1; got 0"),
        ("gamma", "0:1:1", "gamma must have at least 2 values"),
        ("gamma", "0:1:-3", "gamma must have at least 2 values"),
        ("gamma", "0:1:2.5", "gamma must be a:b:n or log:a:b:n"),
        ("gamma", "0:1", "gamma must be a:b:n or log:a:b:n"),
        ("gamma", "a:b:3", "gamma must be a:b:n or log:a:b:n"),
        ("gamma", "0:inf:3", "gamma must have finite ends"),
        ("gamma", "nan:1:3", "gamma must have finite ends"),
        ("gamma", "0:1e999:3", "gamma must have finite ends"),
        ("gamma", "lin:0:1:3", "gamma must be a:b:n or log:a:b:n"),
        ("gamma", "log:0:1:3", "gamma must have ends > 0 in log:a:b:n"),
        ("gamma", "0:1:1000000000", "a sweep has at most 1,000,000 runs; got 1,000,000,000 values of gamma"),
        ("steps", "1:2:3", "steps must be whole numbers; got 1.5 in '1:2:3'"),
        ("steps", "log:1:100:4", "steps must be whole numbers; got 4.64159"),
        ("steps", "1,2.5", "steps must be a whole number; got '2.5'"),
        ("steps", "1,99999999999999999999", "steps must be a whole number of 64 bits"),
        ("flag", "true,1", "flag must be true or false; got '1'"),
        ("sizes", "1,2", "sizes must be a list as JSON"),
        ("sizes", "[[1], 2]", "sizes must be a list as JSON"),
        ("sizes", '[["a"]]', "sizes must be a list as JSON"),
        ("fixed", "1,2", "fixed cannot be set"),
        ("gama", "1:2:3", "toy has no parameter 'gama'; did you mean 'gamma'?; it has gamma, steps"),
    ],
)
def test_a_bad_grid_is_refused_in_one_line_before_anything_runs(toy, name, text, words):
    assert refused(toy, "-p", name, text).startswith(f"mmlib: {words}")


def test_other_bad_commands_are_refused_in_one_line(toy, tmp_path):
    many = ["-p", "gamma", "0:1:32000", "-p", "steps", "1:32000:32000"]
    assert refused(toy, *many) == "mmlib: a sweep has at most 1,000,000 runs; got 1,024,000,000"
    assert "--zip pairs grids of one length; got gamma 3, steps 2" in refused(
        toy, "-p", "gamma", "1:3:3", "-p", "steps", "1,2", "--zip"
    )
    assert "'gamma' is given twice" in refused(toy, "-p", "gamma", 1, "-p", "gamma", 2)
    assert "must end in .parquet; got 'a.csv'" in refused(toy, "-o", "a.csv")
    assert "its folder does not exist" in refused(toy, "-o", "no/a.parquet")
    assert "--timeout must be > 0 and finite" in refused(toy, "--timeout", 0)
    assert "give one of them" in refused(toy, "--workers", 2, "--scheduler", "tcp://127.0.0.1:9")
    assert "--plot must name a file that ends in .png" in refused(toy, "-p", "gamma", "1,2", "--plot", "a.pdf")
    assert "one or two swept parameters; got 0" in refused(toy, "--plot", "a.png")
    assert "no chapter 'toyy'" in refused("toyy")
    assert "Invalid value for '--workers': 0 is not in the range x>=1" in refused(toy, "--workers", 0)
    (tmp_path / "toy.parquet").write_text("something else")
    assert "toy.parquet is there and is no table of a sweep" in refused(toy, "-p", "gamma", "1,2")


def test_the_library_takes_arrays_and_refuses_what_the_command_does():
    declared = [_notebooks.Parameter(name, default, "") for name, default in
                {"x": 0.1, "n": 3, "t": "a", "b": True, "v": [1.0], "none": None}.items()]  # fmt: skip

    def checked(paired=False, **given):
        return grid.checked("toy", declared, given, paired)

    found = checked(x=np.array([1, 2]), n=range(2), t="a,b", v=[0.5, 1.0], b=(True,))
    assert found.swept == {"x": [1.0, 2.0], "n": [0, 1], "b": [True]}
    assert found.fixed == {"t": "a,b", "v": [0.5, 1.0]}
    assert [tuple(point.values()) for point in found.points()] == [
        (1.0, 0, True), (1.0, 1, True), (2.0, 0, True), (2.0, 1, True)
    ]  # fmt: skip
    assert len(found) == 4
    assert list(checked(v=[[1.0], [2.0, 3.0]]).points()) == [{"v": [1.0]}, {"v": [2.0, 3.0]}]
    assert list(checked().points()) == [{}] and len(checked(paired=True)) == 1
    assert [*checked(True, x=pd.Series([1.0, 2.0]), n=np.arange(2.0)).points()] == [
        {"x": 1.0, "n": 0}, {"x": 2.0, "n": 1}
    ]  # fmt: skip
    for given, words in (
        ({"n": [1, 1.5]}, "n must be a whole number; got 1.5"),
        ({"n": True}, "n must be a whole number; got True"),
        ({"x": "1"}, "x must be a number; got '1'"),
        ({"x": []}, "x must have at least one value; got none"),
        ({"x": None}, "x must be a number; got None"),
        ({"t": "\udcff"}, "t must be a text"),
        ({"b": [1]}, "b must be true or false; got 1"),
        ({"v": [[1.0], ["a"]]}, "v must be a list like"),
        ({"y": 1}, "no parameter 'y'"),
        ({"none": 1}, "none cannot be set"),
        ({"n": 2**63}, "64 bits"),
    ):
        with pytest.raises(Refused, match=words):
            checked(**given)


# ---- runs


def test_what_goes_wrong_in_a_run_is_its_row_and_the_next_one_runs_as_if_nothing_had_been(toy):
    labels = ["ok", "fail", "ok", "memory", "half", "silent", "exit", "code", "die", "loop", "ok"]
    found = sweep.run(toy, {"label": labels}, timeout=3, path="a.parquet")
    assert found["label"].tolist() == labels
    assert found["error"].tolist() == [
        "", "cell 3 failed with IndexError: list index out of range", "", "cell 3 failed with MemoryError",
        "cell 3 failed with ValueError: \\ud800", "BadParameter",
        "cell 3 failed with SystemExit: 3", "the run's process ended itself with code 7",
        "the run's process died of SIGSEGV", "longer than 3 s", "",
    ]  # fmt: skip
    good = found[found["error"] == ""]
    assert good["leak"].tolist() == [1, 1, 1]
    assert good["product"].tolist() == [0.5, 0.5, 0.5]
    assert found["leak"].dtype == "Int64" and found["product"].isna().sum() == 8
    pd.testing.assert_frame_equal(found, sweep.run(toy, {"label": labels}, timeout=3, path="a.parquet"))
    assert preloaded() == []


def test_a_sweep_by_command_leaves_one_table_with_what_it_was_made_from(toy):
    command = [toy, "-p", "gamma", "-0.1:0.3:3", "-p", "steps", "1:4:4", "-p", "label", "ok", "--plot", "a.png"]
    outcome = mmlib(*command)
    assert outcome.exit_code == 1
    first, heading, *rows, last = outcome.stdout.splitlines()
    assert first == "12 runs of toy: gamma 3 × steps 4"
    assert heading.split() == ["smallest", "median", "largest"]
    assert [row.split()[0] for row in rows] == ["product", "result_steps", "leak", "half"]
    assert rows[0].split(maxsplit=1)[1].split("  ")[0] == "0.1 at gamma 0.1, steps 1"
    assert rows[0].endswith("1.2 at gamma 0.3, steps 4")
    assert last == "written: toy.parquet, a.png"
    assert outcome.stderr == (
        "mmlib: 4 of 12 runs failed; the first at gamma -0.1, steps 1: gamma must be > 0 and finite; got -0.1\n"
    )
    assert sorted(os.listdir()) == ["a.png", "toy.ipynb", "toy.parquet"]
    table = pq.read_table("toy.parquet")
    assert table.column_names == [
        "gamma", "steps", "product", "result_steps", "leak", "sizes", "half", "even", "error"
    ]  # fmt: skip
    assert table["gamma"].to_pylist() == [-0.1] * 4 + [0.1] * 4 + [0.3] * 4
    assert table["steps"].to_pylist() == [1, 2, 3, 4] * 3
    assert table["result_steps"].to_pylist() == [None] * 4 + [1, 2, 3, 4] * 2
    assert table["even"].to_pylist()[4:6] == [False, True]
    about = json.loads(table.schema.metadata[b"mmlib.sweep"])
    assert (about["chapter"], about["fixed"], about["mmlib"]) == ("toy", {"label": "ok"}, "0.1.0")
    before = Path("toy.parquet").read_bytes()
    again = mmlib(*command)  # it is there: nothing is run
    assert (again.exit_code, again.stdout) == (1, outcome.stdout)
    assert Path("toy.parquet").read_bytes() == before
    assert "toy.parquet is the table of another sweep" in mmlib(toy, "-p", "gamma", "1,2").stderr
    assert Path("toy.parquet").read_bytes() == before


def test_paired_grids_and_lists_and_truths(toy):
    found = sweep.run(toy, {"sizes": [[1], [2, 3]], "flag": [True, False], "steps": [1, 2]}, paired=True)
    assert found["sizes"].tolist() == [[1], [2, 3]] and found["result_sizes"].tolist() == ["[1]", "[2, 3]"]
    assert found["flag"].tolist() == [True, False]


def test_what_a_table_holds_is_read_back_as_it_was_given(toy, tmp_path):
    given = {"sizes": [[1], [2, 3]], "flag": [True, False], "gamma": [0.5, -1.0]}
    written = sweep.run(toy, given, path="a.parquet", timeout=1e300)  # longer than a system call can wait
    assert (written["error"] == "").tolist() == [True, False] * 4
    pd.testing.assert_frame_equal(written, sweep.run(toy, given, path="a.parquet", timeout=1e300))
    assert sorted(os.listdir()) == ["a.parquet", "toy.ipynb"]


@pytest.mark.parametrize(("given", "read"), [
    ([1, 2**62 + 1], [1, 2**62 + 1]),
    ([1, 2**63], ["1", "9223372036854775808"]),
    ([0.5, 2**53], [0.5, 2.0**53]),
    ([0.5, 2**53 + 1], ["0.5", "9007199254740993"]),
    ([0.5, 10**400], ["0.5", "1" + "0" * 400]),
])  # fmt: skip
def test_a_whole_number_that_no_column_of_numbers_holds_is_kept_as_text(tmp_path, given, read):
    points = grid.Grid({"gamma": [0.1, 0.2]}, {}, paired=False)
    table = tables.frame(points, {number: {"results": {"x": value}} for number, value in enumerate(given)})
    tables.write(tmp_path / "a.parquet", table, {})
    assert tables.read(tmp_path / "a.parquet")["x"].tolist() == table["x"].tolist() == read


# ---- journals and kills


def computed(_, values, timeout):
    """A run without a process, for what is about files alone."""
    if values["gamma"] <= 0:
        return {"error": "gamma must be > 0"}
    return {"results": {"product": values["gamma"] * values.get("steps", 5)}}


def journal_of(toy, given, path):
    """The lines of a whole journal: what is there before the table is written, which goes to whole.parquet."""
    write = tables.write

    def elsewhere(target, *what):
        write(target.with_name("whole.parquet"), *what)
        raise OSError(28, "full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "write", elsewhere)
        with pytest.raises(OSError, match="full"):
            sweep.run(toy, given, path=path)
    return Path(f"{path}.journal").read_bytes().splitlines(keepends=True)


def test_a_torn_journal_is_taken_up_to_the_same_bytes_and_runs_only_what_is_left(toy, monkeypatch):
    monkeypatch.setattr(engine.Engine, "run", computed)
    given = {"gamma": [0.1, -1.0, 0.3], "steps": [1, 2]}
    lines = journal_of(toy, given, "torn.parquet")
    assert len(lines) == 7
    Path("torn.parquet.journal").write_bytes(b"".join(lines[:4]) + lines[4][:9])
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        run = engine.Engine.run
        patch.setattr(engine.Engine, "run", lambda self, *a: asked.append(a[0]) or run(self, *a))
        sweep.run(toy, given, path="torn.parquet")
    assert len(asked) == 3
    assert Path("torn.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert sorted(os.listdir()) == ["torn.parquet", "toy.ipynb", "whole.parquet"]


NO_ANSWERS = (b"", b', "results": [1]', b', "results": null', b', "results": {"v": [1]}', b', "error": 5',
              b', "error": ""', b', "results": {}, "error": "both"')  # fmt: skip


def test_a_journal_of_other_code_values_or_time_out_is_refused_by_name(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(engine.Engine, "run", computed)
    journal_of(toy, {"gamma": [0.1, 0.2]}, "a.parquet")
    kept = Path("a.parquet.journal").read_bytes()
    words = r"a\.parquet\.journal is the journal of another sweep.*delete it"
    for given, timeout in (({"gamma": [0.1, 0.3]}, None), ({"gamma": [0.1, 0.2], "steps": 3}, None),
                           ({"gamma": [0.1, 0.2]}, 5.0)):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            sweep.run(toy, given, path="a.parquet", timeout=timeout)
    notebook(tmp_path / "toy.ipynb", WORK + "\n# other code")
    with pytest.raises(ValueError, match=words):
        sweep.run(toy, {"gamma": [0.1, 0.2]}, path="a.parquet")
    assert Path("a.parquet.journal").read_bytes() == kept
    for text in (b"no json\n", b'{"sweep": 3', b"[]\n", kept + b"rubbish\n", kept + b'{"run": 9, "error": "x"}\n',
                 *(kept + b'{"run": 0%s}\n' % rest for rest in NO_ANSWERS)):  # fmt: skip
        Path("b.journal").write_bytes(text)
        sweeps = json.loads(kept.splitlines()[0])["sweep"]
        if text == b'{"sweep": 3':  # torn before the first line was whole: nothing is lost
            with Journal(Path("b.journal"), sweeps, 2) as journal:
                assert journal.done == {}
        else:
            with pytest.raises(ValueError, match=r"b\.journal"):
                Journal(Path("b.journal"), sweeps, 2)


def test_one_journal_has_one_writer(tmp_path):
    with Journal(tmp_path / "j", "a", 2), pytest.raises(ValueError, match="in another process"):
        Journal(tmp_path / "j", "a", 2)
    Journal(tmp_path / "j", "a", 2).close()


@pytest.mark.parametrize(("size", "file"), [(150, "toy.parquet.journal"), (400, "toy.parquet")])
def test_a_full_disk_is_one_line_and_the_journal_goes_on(toy, monkeypatch, size, file):
    """The limit on a file's size stands for the disk: both are an OSError of write()."""
    monkeypatch.setattr(engine.Engine, "run", computed)
    given = ["-p", "gamma", "0.1:0.4:4"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # a few lines, or all of them
    try:
        outcome = mmlib(toy, *given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.exit_code == 1
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("mmlib: ") and f"{file}: " in line
    assert not Path("toy.parquet").exists()
    assert mmlib(toy, *given).exit_code == 0
    assert pq.read_table("toy.parquet")["product"].to_pylist() == [0.5, 1.0, 1.5, 2.0]


def default_signals():
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def until(true, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def held():
    """The numbers of the processes of runs that wait, or waited before they were killed."""
    return [int(line) for line in Path("held").read_text().splitlines()] if Path("held").exists() else []


@contextmanager
def holding(*arguments):
    """A sweep of the toy whose runs of 3 steps and more wait: the process, and those below it once one waits."""
    Path("hold").touch()
    Path("held").unlink(missing_ok=True)
    command = [sys.executable, "-m", "mmlib.cli", "sweep", "toy.ipynb", *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=default_signals
    ) as process:
        try:
            until(lambda: held() or process.poll() is not None, "no run waits")
            assert process.poll() is None, process.communicate()
            yield process, psutil.Process(process.pid).children(recursive=True)
        finally:
            Path("hold").unlink(missing_ok=True)
            process.kill()


GRID = ["-p", "steps", "1:4:4", "-p", "gamma", "0.1,0.2", "-o", "a.parquet"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What an undisturbed sweep writes, wherever it does."""
    folder = tmp_path_factory.mktemp("undisturbed")
    given = {"steps": [1, 2, 3, 4], "gamma": [0.1, 0.2]}
    sweep.run(notebook(folder / "toy.ipynb"), given, path=folder / "b.parquet")
    return (folder / "b.parquet").read_bytes()


def test_parent_and_run_end_with_the_one_who_waits_and_a_killed_parent_is_replaced(toy, monkeypatch):
    """The pipe's end is what a killed driver leaves; the whole of it, by command, is among the deep tests."""
    monkeypatch.setenv("TMPDIR", os.getcwd())
    runner = engine.opened(engine.program(_notebooks.read(Path(toy))))
    assert runner.run({})["results"]["product"] == 0.5
    runner.process.kill()
    assert runner.run({"steps": 2})["results"]["product"] == 0.2
    assert len([name for name in os.listdir() if name.startswith("mmlib-sweep-")]) == 1
    Path("hold").touch()
    asked = threading.Thread(target=runner.run, args=({"steps": 3},))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "TRIES", 1)
        asked.start()
        until(held, "no run waits")
        below = preloaded()
        assert len(below) == 2
        runner.process.stdin.close()
        asked.join(60)
    assert psutil.wait_procs(below, timeout=30)[1] == [] and not asked.is_alive()
    assert sorted(os.listdir()) == ["held", "hold", "toy.ipynb"]  # no temporary folder either


@pytest.mark.deep
def test_a_driver_killed_leaves_no_process_and_the_same_command_does_the_rest(toy, expected):
    with holding(*GRID) as (process, below):
        assert len(below) == 2  # the parent and a run
        process.kill()
        process.wait()
        assert psutil.wait_procs(below, timeout=30)[1] == []
    assert len(Path("a.parquet.journal").read_bytes().splitlines()) == 5
    assert mmlib(toy, *GRID).exit_code == 0
    assert Path("a.parquet").read_bytes() == expected


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), pytest.param("SIGTERM", 143, marks=pytest.mark.deep)])
def test_a_signal_ends_a_sweep_in_one_line_and_loses_nothing(toy, expected, name, code):
    with holding(*GRID) as (process, below):
        process.send_signal(getattr(signal, name))
        stdout, stderr = process.communicate(timeout=60)
        assert psutil.wait_procs(below, timeout=30)[1] == []
    assert process.returncode == code
    assert stdout == b"8 runs of toy: steps 4 \xc3\x97 gamma 2\n"
    assert stderr == b"mmlib: interrupted; the same command goes on from a.parquet.journal\n"
    assert len(Path("a.parquet.journal").read_bytes().splitlines()) == 5
    assert mmlib(toy, *GRID).exit_code == 0
    assert Path("a.parquet").read_bytes() == expected


@pytest.mark.deep
def test_a_parent_killed_takes_its_run_with_it_and_another_does_it_again(toy, expected, monkeypatch):
    monkeypatch.setenv("TMPDIR", os.getcwd())
    with holding(*GRID) as (process, below):
        below[0].kill()
        assert psutil.wait_procs(below, timeout=30)[1] == []
        Path("hold").unlink()
        _, stderr = process.communicate(timeout=120)
        assert (process.returncode, stderr) == (0, b"")
    assert Path("a.parquet").read_bytes() == expected
    assert sorted(os.listdir()) == ["a.parquet", "held", "toy.ipynb"]  # no temporary folder either


def one_run_was_killed(stderr, expected):
    """The error is in its row, and the other rows are those of an undisturbed sweep."""
    assert b"1 of 8 runs failed" in stderr
    table = pq.read_table("a.parquet").to_pylist()
    (row,) = [number for number, each in enumerate(table) if each["error"]]
    assert table[row]["error"] == "the run's process died of SIGKILL (out of memory?)"
    assert table[row]["steps"] >= 3 and table[row]["product"] is None
    whole = pq.read_table(io.BytesIO(expected)).to_pylist()
    assert table[:row] + table[row + 1 :] == whole[:row] + whole[row + 1 :]


@pytest.mark.deep
def test_a_run_killed_is_its_rows_error(toy, expected):
    with holding(*GRID) as (process, below):
        below[1].kill()  # before it may go on: it would else be done
        Path("hold").unlink()
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    one_run_was_killed(stderr, expected)


# ---- workers


def parents(process):
    """Those of them that have a run."""
    found = []
    for parent in preloaded(process.pid):
        with suppress(psutil.NoSuchProcess):  # a short run, of which there was one a moment ago
            found += [parent] if parent.children() else []
    return found


def test_two_workers_write_the_bytes_of_one(toy, expected):
    assert mmlib(toy, *GRID, "--workers", 2).exit_code == 0
    assert Path("a.parquet").read_bytes() == expected
    assert preloaded() == []


@pytest.mark.deep
def test_a_worker_of_this_machine_killed_is_replaced(toy, expected):
    with holding(*GRID, "--workers", 2) as (process, _):
        worker = parents(process)[0].parent()
        assert "spawn_main" in " ".join(worker.cmdline())
        below = worker.children(recursive=True)
        worker.kill()
        assert psutil.wait_procs(below, timeout=30)[1] == []
        Path("hold").unlink()
        _, stderr = process.communicate(timeout=120)
        assert (process.returncode, stderr) == (0, b"")
    assert Path("a.parquet").read_bytes() == expected


@pytest.mark.deep
@pytest.mark.parametrize("seconds", [None, 2, 4, 6])
def test_ctrl_c_of_a_terminal_reaches_every_process_and_one_line_is_printed(toy, seconds, expected):
    """A terminal sends it to the whole group: as the cluster starts, and as runs wait."""
    Path("hold").touch()
    command = [sys.executable, "-m", "mmlib.cli", "sweep", "toy.ipynb", *GRID, "--workers", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, preexec_fn=default_signals, **pipes) as process:
        until(lambda: held() if seconds is None else time.sleep(seconds) is None, "no run waits")
        below = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr in (b"", b"mmlib: interrupted; the same command goes on from a.parquet.journal\n")
    assert psutil.wait_procs(below, timeout=30)[1] == []
    Path("hold").unlink()
    assert mmlib(toy, *GRID).exit_code == 0
    assert Path("a.parquet").read_bytes() == expected


@contextmanager
def dask(*command, **environment):
    """A Dask command, ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{command[0]}", *command[1:], "--no-dashboard"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment,
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


@contextmanager
def scheduler():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with dask("scheduler", "--host", "127.0.0.1", "--port", str(port)):
        until(lambda: answers(port), "the scheduler does not answer")
        yield f"tcp://127.0.0.1:{port}"


def answers(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def cluster(toy):
    """A scheduler and two workers; its address, and the process that holds the workers."""
    arguments = ["--nworkers", "2", "--nthreads", "1", "--host", "127.0.0.1"]
    with scheduler() as address, dask("worker", address, *arguments) as workers:
        yield address, workers


def idle(workers):
    """Wait until no parent is left below the workers."""
    until(lambda: not preloaded(workers.pid), "a parent process is left on a worker", 60)


def waiting(workers):
    """Runs below the workers that wait, so that none of them is done before it is killed."""
    return [process for process in preloaded(workers.pid) if process.pid in held()]


@pytest.mark.deep
def test_on_a_cluster_a_run_killed_is_its_rows_error_and_nothing_is_left(toy, cluster, expected):
    address, workers = cluster
    with holding(*GRID, "--scheduler", address) as (process, _):
        child = waiting(workers)[0]
        child.kill()
        Path("hold").unlink()
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    one_run_was_killed(stderr, expected)
    idle(workers)


@pytest.mark.deep
@pytest.mark.parametrize("killed", ["nothing", "driver", "worker", "parent"])
def test_on_a_cluster_whatever_is_killed_the_bytes_are_the_same_and_nothing_is_left(toy, cluster, expected, killed):
    address, workers = cluster
    command = [*GRID, "--scheduler", address]
    with holding(*command) as (process, _):
        parent = parents(workers)[0]
        if killed == "driver":
            until(lambda: len(Path("a.parquet.journal").read_bytes().splitlines()) >= 2, "no run is in the journal")
            process.kill()
            process.wait()
            idle(workers)  # the runs wait for ever, and nobody for them
        if killed == "worker":
            parent.parent().kill()
            assert psutil.wait_procs([parent], timeout=30)[1] == []
        if killed == "parent":
            parent.kill()
        Path("hold").unlink()
        if killed != "driver":
            _, stderr = process.communicate(timeout=120)
            assert (process.returncode, stderr) == (0, b"")
    if killed == "driver":
        assert mmlib(toy, *command).exit_code == 0
    assert Path("a.parquet").read_bytes() == expected
    idle(workers)


@pytest.mark.deep
def test_a_scheduler_that_goes_is_one_line_and_the_journal_goes_on(toy, expected):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    with (
        dask("scheduler", "--host", "127.0.0.1", "--port", str(port)) as head,
        dask("worker", address, "--nworkers", "1", "--nthreads", "2", "--host", "127.0.0.1") as workers,
        holding(*GRID, "--scheduler", address) as (process, _),
    ):
        head.kill()
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 1
        words = "the scheduler has gone; the same sweep goes on from its journal"
        assert stderr.decode() == f"mmlib: {address}: {words}\n"
        idle(workers)
    assert mmlib(toy, *GRID).exit_code == 0
    assert Path("a.parquet").read_bytes() == expected


def test_a_notebooks_results_are_found_in_the_table_in_the_type_of_its_column(toy):
    """Whole numbers beside fractions, beside nothing, and beside texts."""
    from mmlib.cli.sweep import _kept

    rows = [{"v": 1, "n": 1, "t": "a", "b": True}, {"v": 2.5, "t": 1, "b": float("nan")}]
    table = tables.frame(grid.Grid({"x": [1.0, 2.0]}, {}, False), {n: {"results": row} for n, row in enumerate(rows)})
    for place, row in enumerate(rows):
        for name, value in row.items():
            assert _kept(table[name][place], value), (name, value)
    assert not _kept(table["v"][0], 2) and not _kept(table["t"][0], "b") and not _kept(table["v"][1], 2)


@pytest.mark.deep
def test_rendered_runs_are_whole_notebooks_with_the_tables_results(toy):
    outcome = mmlib(toy, "-p", "steps", "1:4:4", "-p", "gamma", "-1,0.2", "--render", 2)
    assert outcome.stdout.splitlines()[-1] == "written: toy.parquet, toy-1.ipynb, toy-7.ipynb"
    table = pq.read_table("toy.parquet")
    for row in (1, 7):
        found = chapter.read_results(nbformat.read(f"toy-{row}.ipynb", 4))
        assert found["product"] == table["product"][row].as_py()


@pytest.mark.deep
def test_workers_that_are_not_there_or_have_another_mmlib_are_refused_by_name(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(farm, "PATIENCE", 3)
    assert "scheduler must be the address of a running Dask scheduler" in refused(
        toy, *GRID, "--scheduler", "tcp://127.0.0.1:9"
    )
    os.mkdir("other")
    Path("other/mmlib.py").write_text("__version__ = '9.9'")
    with scheduler() as address:
        assert "must have a worker; none came in 3 s" in refused(toy, *GRID, "--scheduler", address)
        monkeypatch.setattr(farm, "PATIENCE", 30)
        folder = str(tmp_path / "other")
        with dask("worker", address, "--host", "127.0.0.1", "--name", "old", "--no-nanny", PYTHONPATH=folder):
            assert "must have mmlib 0.1.0; got 9.9" in refused(toy, *GRID, "--scheduler", address)


# ---- chapters of the book

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CHAPTERS = sorted(str(path.relative_to(NOTEBOOKS).with_suffix("")) for path in NOTEBOOKS.glob("[!.]*/[!.]*.ipynb"))


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_chapter_has_magics(name):
    """Cells are run as plain Python: what only a notebook's shell understands would not parse, or is its function."""
    for text in engine.program(_notebooks.read(NOTEBOOKS / f"{name}.ipynb"))["cells"]:
        names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        assert not names & {"get_ipython", "In", "Out"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if "cartea" in n else [pytest.mark.deep]) for n in CHAPTERS])
def test_a_chapter_gives_its_committed_results_twice(name):
    """To the last stored digit; the second run has what the first one made the parent load."""
    runner = engine.opened(engine.program(_notebooks.read(NOTEBOOKS / f"{name}.ipynb")))
    committed = chapter.read_results(nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4))
    try:
        assert [runner.run({}), runner.run({})] == [{"results": committed}] * 2
    finally:
        runner.close()


@pytest.mark.deep
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_sweep_gives_what_run_does(name, tmp_path):
    """At another point, through a kernel and a notebook: the route that readers take."""
    point = runpy.run_path(str(NOTEBOOKS.parent / "tests/notebooks/test_papermill.py"))["OTHER"][name]
    path = NOTEBOOKS / f"{name}.ipynb"
    papermill.execute_notebook(str(path), str(tmp_path / "out.ipynb"), point, progress_bar=False)
    found = sweep.run(name, point).iloc[0].to_dict()
    assert found.pop("error") == ""
    assert found == chapter.read_results(nbformat.read(tmp_path / "out.ipynb", 4))


@pytest.mark.parametrize("really", [False, pytest.param(True, marks=pytest.mark.deep)])
def test_the_readmes_sweep(tmp_path, monkeypatch, really):
    """Its files are there afterwards, and the table has a row a point."""
    (line,) = re.findall(r"^\.venv/bin/mmlib sweep (.*)$", (NOTEBOOKS.parent / "README.md").read_text(), re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    if not really:
        monkeypatch.setattr(engine.Engine, "run", lambda _, values, timeout: {"results": {"v": sum(values.values())}})
    outcome = mmlib(*shlex.split(line, comments=True))
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert sorted(os.listdir()) == ["sweep.parquet", "sweep.png"]
    assert pq.read_table("sweep.parquet").num_rows == 12


@pytest.mark.deep
def test_without_fork_runs_go_through_papermill_and_it_is_said(toy, monkeypatch):
    given = {"label": ["ok", "fail"], "gamma": [0.1, -1.0], "steps": [2, 3]}
    forked = sweep.run(toy, given, paired=True)
    monkeypatch.setattr(engine, "FORKS", False)
    with pytest.warns(UserWarning, match="no fork: runs go through papermill"):
        found = sweep.run(toy, given, paired=True)
    pd.testing.assert_frame_equal(found, forked)
