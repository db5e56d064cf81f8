"""What a new user sees: help with a command to copy, completion, and a README whose commands are all run by a test."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmlib import cli

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = [
    "chapters",
    "run",
    "sweep",
    "desk",
    "simulate",
    "backtest",
    "train",
    "fetch",
    "store gaps",
    "store end-of-day",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_a_command_to_copy(command):
    outcome = CliRunner().invoke(cli.app, [*command.split(), "--help"])
    assert outcome.exit_code == 0
    assert re.search(rf"^ +mmlib {command}\b", outcome.stdout, re.MULTILINE)


def test_these_are_all_commands():
    """Those of the program's own help, below its heading."""
    listed = CliRunner().invoke(cli.app, ["--help"]).stdout.partition("Commands:")[2]
    names = {line.split()[0] for line in listed.splitlines() if re.match(r"  \w", line)}
    assert names == {command.split()[0] for command in COMMANDS}


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("mmlib ba", ["backtest"]),
        ("mmlib run gl", ["glass_box", "glft"]),
        ("mmlib run market_making/gl", ["market_making/glft"]),
        ("mmlib run -p gamma 0.1 --ht", ["--html"]),
        ("mmlib run --parameter", ["--parameter"]),
        ("mmlib fetch se", ["sec-fails"]),
    ],
)
def test_the_shell_completes(typed, offered):
    """As bash asks, which sets these variables and reads the lines that come back."""
    asked = {"_MMLIB_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    code = "from mmlib.cli import app; app(prog_name='mmlib')"
    outcome = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, timeout=120
    )
    assert (outcome.stdout.splitlines(), outcome.stderr) == (offered, "")


def readme(name):
    return re.findall(rf"^\.venv(?:-deep)?/bin/mmlib ({name}\b.*)$", README, re.MULTILINE)


def test_every_command_of_the_readme_is_run_by_a_test():
    """The test that runs a command finds it in the README by a pattern of its name."""
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py") if path != Path(__file__))
    elsewhere = {"sweep", "fetch", "simulate", "backtest", "train", "store"}
    assert {line.split()[0] for line in readme(r"\w+")} == elsewhere | {"chapters", "run", "desk"}
    for name in elsewhere:
        assert re.search(rf"findall\([^\n]*bin/mmlib [^\n]*{name}", tests), name


def test_the_readmes_list_of_chapters():
    (line,) = readme("chapters")
    assert "market_making/glft: " in CliRunner().invoke(cli.app, shlex.split(line, comments=True)).stdout


@pytest.mark.deep
def test_the_readmes_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (line,) = readme("run")
    outcome = CliRunner().invoke(cli.app, shlex.split(line, comments=True))
    assert outcome.exit_code == 0, outcome.stderr
    assert sorted(os.listdir()) == ["mine.html", "mine.ipynb"]


def test_the_readmes_desk_asks_for_the_files_it_names(tmp_path, monkeypatch):
    """The report itself is made from such files in tests/stock_loan/test_report.py; here there are none."""
    monkeypatch.chdir(tmp_path)
    (line,) = readme("desk")
    outcome = CliRunner().invoke(cli.app, shlex.split(line, comments=True))
    (said,) = outcome.stderr.splitlines()
    assert outcome.exit_code == 2 and "my/exports" in said
