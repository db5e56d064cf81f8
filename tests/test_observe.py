"""Logs: silent unless asked, a line for each observed call, and the command line's two ways to ask."""

import io
import json
import logging
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mmlib import cli, observe


@observe.observed
def doubled(values):
    """Twice each value."""
    return [2 * value for value in values]


@observe.observed
def failing():
    raise KeyError("secret")


@pytest.fixture
def heard():
    """Lines of JSON that are logged, by a function that reads them; this module stands for one of mmlib's."""
    stream = io.StringIO()
    handler = observe.log_to(stream, json_lines=True)
    ours = logging.getLogger(__name__)
    ours.addHandler(handler)
    before, ours.level = ours.level, logging.DEBUG
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    ours.removeHandler(handler)
    ours.setLevel(before)
    logging.getLogger("mmlib").removeHandler(handler)
    logging.getLogger("mmlib").setLevel(logging.NOTSET)


def test_an_observed_call_is_one_line_with_its_time_and_rows(heard):
    assert doubled([1, 2, 3]) == [2, 4, 6]
    (line,) = heard()
    assert (line["level"], line["logger"], line["rows"]) == ("DEBUG", __name__, 3)
    assert line["call"] == f"{__name__}.doubled" and line["seconds"] >= 0 and "3 rows" in line["message"]
    assert (doubled.__name__, doubled.__doc__) == ("doubled", "Twice each value.")


def test_an_error_is_a_line_with_its_type_and_goes_on(heard):
    with pytest.raises(KeyError):
        failing()
    (line,) = heard()
    assert line["error"] == "KeyError" and "rows" not in line
    assert "secret" not in json.dumps(line)


def test_nothing_is_said_unless_asked():
    """In a fresh interpreter: no handler of last resort prints a warning either."""
    code = "import mmlib.observe, logging; logging.getLogger('mmlib.x').warning('heard')"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert (outcome.stdout, outcome.stderr) == ("", "")


@pytest.fixture
def quiet():
    """The loggers as they were, once a command has been told to log."""
    logger = logging.getLogger("mmlib")
    before = list(logger.handlers)
    yield
    for handler in set(logger.handlers) - set(before):
        handler.close()
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_the_edges_are_observed_on_the_command_line(tmp_path, quiet):
    """What `mmlib desk` opens and solves, on stderr and as JSON; a second command adds to the file."""
    from mmlib.stock_loan import sources

    log = tmp_path / "log.jsonl"
    outcome = CliRunner().invoke(cli.app, ["-v", "--log", str(log), "chapters"])
    assert (outcome.exit_code, outcome.stderr, log.read_text()) == (0, "", "")
    sources.open(sources.SAMPLE)
    with pytest.raises(ValueError, match="nowhere"):
        sources.open("parquet:" + str(tmp_path / "nowhere"))
    first, second = map(json.loads, log.read_text().splitlines())
    assert first["call"] == "mmlib.stock_loan.sources.open" and first["seconds"] > 0
    assert second["error"].endswith("Error")


def test_a_log_that_cannot_be_written_is_refused_in_one_line(tmp_path, quiet):
    outcome = CliRunner().invoke(cli.app, ["--log", str(tmp_path / "no" / "log"), "chapters"])
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("mmlib: cannot write ") and line.endswith("No such file or directory")
