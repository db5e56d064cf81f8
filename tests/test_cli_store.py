"""`mmlib store`: gaps and the end of a day from the command line; what it refuses, in one line."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mmlib import cli, tick_store

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    with tick_store.open(tmp_path / "my" / "store") as store:
        for source, numbers in (("nyse", (0, 1, 5, 7)), ("locates", (0, 1, 2))):
            for number in numbers:
                store.publish(
                    {"t": pd.DataFrame({"n": [number]}), "u": pd.DataFrame({"n": [1]})}, source=source, number=number
                )
    return tmp_path / "my" / "store"


def run(*arguments):
    found = CliRunner().invoke(cli.app, ["store", *map(str, arguments)])
    assert found.exception is None or isinstance(found.exception, SystemExit)
    return found.exit_code, found.stdout.splitlines(), found.stderr.splitlines()


def test_gaps_are_printed_one_a_line(folder):
    assert run("gaps", folder) == (0, ["nyse  2 to 4", "nyse  6"], [])


def test_the_end_of_a_day_prints_its_files_and_may_be_called_again(folder):
    files = [folder / "history" / name / "date=2026-01-02" / "part.parquet" for name in "tu"]
    for _ in range(2):
        assert run("end-of-day", folder, "2026-01-02") == (0, [f"written: {file}" for file in files], [])
        assert all(file.exists() for file in files)
    with tick_store.open(folder, read_only=True) as store:
        assert len(store.snapshot().table("t")) == 0 and len(store.snapshot().rows("t")) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gaps", "nowhere"], "mmlib: nowhere: not a tick store, it has no log.sqlite"),
        (["end-of-day", "nowhere", "2026-01-02"], "mmlib: nowhere: not a tick store, it has no log.sqlite"),
        (["end-of-day", "my/store", "2026-1-2"], "mmlib: date must be a day YYYY-MM-DD; got '2026-1-2'"),
        (["end-of-day", "my/store", "2025-12-31"], "date must be after 2026-01-01, which is closed; got 2025-12-31"),
        (["gaps", "notes.txt"], "mmlib: notes.txt: not a tick store, it has no log.sqlite"),
        (["gaps", "fake"], "mmlib: fake/log.sqlite: not a readable log"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder.parents[1])
    Path("notes.txt").write_text("mine")
    Path("fake").mkdir()
    Path("fake/log.sqlite").write_bytes(b"not a database" * 100)
    with tick_store.open(folder) as store:
        store.end_of_day("2026-01-01")
    before = sorted(os.listdir("."))
    code, printed, said = run(*arguments)
    assert (code, printed, len(said)) == (2, [], 1) and message in said[0]
    assert sorted(os.listdir(".")) == before


def test_a_day_is_not_ended_beside_a_writer(folder):
    """From another process, as it would be: one line, no traceback."""
    command = [sys.executable, "-m", "mmlib.cli", "store", "end-of-day", str(folder), "2026-01-02"]
    with tick_store.open(folder):
        found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1)
    assert "another process writes to this store" in found.stderr


def test_a_disk_that_fails_ends_in_code_1(folder, monkeypatch):
    def full(table, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmlib.tick_store._history.write", full)
    code, printed, said = run("end-of-day", folder, "2026-01-02")
    assert (code, printed, len(said)) == (1, [], 1) and "end it again with room" in said[0]


def test_the_commands_of_the_readme_run(folder, monkeypatch):
    """As written, from a folder that has the store they name."""
    monkeypatch.chdir(folder.parents[1])
    lines = re.findall(r"^\.venv/bin/mmlib store (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["gaps", "end-of-day"]
    for line in lines:
        code, printed, _ = run(*shlex.split(line, comments=True))
        assert code == 0 and len(printed) == 2
