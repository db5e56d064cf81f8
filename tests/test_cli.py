"""The command line on small notebooks made here: what it refuses before a kernel starts, and what a run leaves behind.

Runs use a real kernel. Chapters of the book themselves are run in tests/notebooks/test_papermill.py.
"""

import importlib
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill.cli
import psutil
import pytest
from click.testing import CliRunner as ClickRunner
from typer.testing import CliRunner

from mmlib import _notebooks as notebooks
from mmlib import chapter, cli
from mmlib.cli import execution
from mmlib.cli import run as running

INF = float("inf")
PARAMETERS = """\
gamma = 0.1  # risk aversion, 1/currency, > 0
steps = 5  # time steps, 1 … 100
label = "a # b"  # any text
flag = True  # either
gammas = [
    0.1,
    0.2,
]  # several risk aversions
nothing = None  # cannot be set
"""
CHECKS = """\
from mmlib import chapter, checks
with chapter.validating():
    checks.positive("gamma", gamma, "risk aversion, 1/currency")
"""
WORK = """\
if label == "fail":
    [][steps]
if label == "die":
    import os; os._exit(3)
if label == "wait":
    import pathlib, time; pathlib.Path("started").touch(); time.sleep(600)
"""
RESULTS = "chapter.results(gamma=gamma, steps=steps, label=label, flag=flag, total=float(sum(gammas)))"

#: Text that would run, end its literal, or be formatted, if it were anything but data.
HOSTILE = [
    '"; import pathlib; pathlib.Path("pwned").touch()  #',
    "'''\"\"\"\\\"\nimport pathlib; pathlib.Path('pwned').touch()\n",
    "{gamma} {0} {{}} %s %(x)s ${HOME} $(touch pwned) `touch pwned`",
    "__import__('pathlib').Path('pwned').touch()",
    "\\ \\\\ \\n \\x41 \\",
    "γ σ² €  \u202e 😀 \t\r\n",
    "-p",
    "",
]


def notebook(path, parameters=PARAMETERS, kernel="python3"):
    cells = [nbformat.v4.new_markdown_cell("# A tiny chapter\n\nwith $\\gamma^2$")]
    if parameters is not None:
        cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [nbformat.v4.new_code_cell(source) for source in (CHECKS, WORK, RESULTS)]
    kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec}), path)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of three chapters, and a working directory elsewhere."""
    for name in ("making/tiny", "making/other", "lending/other"):
        notebook(tmp_path / "notebooks" / f"{name}.ipynb")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "notebooks"


def mmlib(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refused(*arguments):
    """The one line with which a command ends with exit code 2; nothing may have been executed or left behind."""
    before = sorted(os.listdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "execute", lambda *_: pytest.fail("a kernel would have been started"))
        outcome = mmlib(*arguments)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    assert sorted(os.listdir()) == before
    (line,) = outcome.stderr.splitlines()
    return line


def results(path):
    return chapter.read_results(nbformat.read(path, as_version=4))


def test_chapters_shows_every_parameter_with_its_default_and_comment(book):
    outcome = mmlib("chapters")
    assert outcome.exit_code == 0
    assert [line for line in outcome.stdout.splitlines() if line and not line.startswith(" ")] == [
        "lending/other: A tiny chapter",
        "making/other: A tiny chapter",
        "making/tiny: A tiny chapter",
    ]
    assert "    gamma    0.1         risk aversion, 1/currency, > 0" in outcome.stdout.splitlines()
    assert "    label    'a # b'     any text" in outcome.stdout.splitlines()
    assert "    gammas   [0.1, 0.2]  several risk aversions" in outcome.stdout.splitlines()


def test_chapters_of_the_book_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = mmlib("chapters")
    assert outcome.exit_code == 0
    assert "market_making/glft: " in outcome.stdout


def test_a_name_that_is_close_is_suggested(book):
    assert refused("run", "tinny") == "mmlib: no chapter 'tinny'; did you mean 'tiny'?; `mmlib chapters` lists them"
    assert "did you mean 'making/tiny'?" in refused("run", "makin/tiny")
    line = refused("run", "tiny", "-p", "gama", 1)
    assert line.startswith("mmlib: making/tiny has no parameter 'gama'; did you mean 'gamma'?; it has gamma, steps,")
    assert "did you mean" not in refused("run", "tiny", "-p", "x=1;import os;y", 1)


def test_a_name_shared_by_two_parts_must_be_given_in_full(book):
    assert refused("run", "other") == "mmlib: 'other' could be any of lending/other, making/other"


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("gamma", "a tenth", "a number"),
        ("gamma", "1/10", "a number"),
        ("gamma", "", "a number"),
        ("steps", "2.0", "a whole number"),
        ("steps", "1e3", "a whole number"),
        ("steps", "9" * 5000, "a whole number"),
        ("label", "\udcff", "a text"),
        ("flag", "1", "true or false"),
        ("gammas", "0.1", "a list as JSON"),
        ("gammas", "[0.1,", "a list as JSON"),
        ("gammas", '[0.1, "0.2"]', "a list as JSON"),
        ("gammas", "[0.1, true]", "a list as JSON"),
        ("gammas", "[[0.1]]", "a list as JSON"),
        ("gammas", "[" * 100_000, "a list as JSON"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(book, name, value, kind):
    line = refused("run", "tiny", "-p", name, value)
    assert line.startswith(f"mmlib: {name} must be {kind}") and line.endswith(f"; got {value!r}")


def test_other_mistakes_are_refused_in_one_line_each(book, tmp_path):
    assert "'gamma' is given twice" in refused("run", "tiny", "-p", "gamma", 1, "-p", "gamma", 1)
    assert "its default is None" in refused("run", "tiny", "-p", "nothing", 1)
    assert "-p takes a NAME and a VALUE" in refused("run", "tiny", "-p", "gamma")
    assert "no notebook at missing.ipynb" in refused("run", "missing.ipynb")
    assert "OUT must end in .ipynb; got 'out.html'" in refused("run", "tiny", "-o", "out.html")
    assert "its folder does not exist" in refused("run", "tiny", "-o", "missing/out.ipynb")
    (tmp_path / "folder.ipynb").mkdir()
    assert "it is a folder" in refused("run", "tiny", "-o", tmp_path / "folder.ipynb")
    assert "cannot write /proc/out.ipynb" in refused("run", "tiny", "-o", "/proc/out.ipynb")


def test_a_file_that_is_no_notebook_or_has_no_literals_is_refused(book, tmp_path):
    for text in ("no json", "[]", '{"cells": 1}', '{"cells": [{}]}'):
        (tmp_path / "text.ipynb").write_text(text)
        assert refused("run", tmp_path / "text.ipynb").endswith("is not a notebook")
    notebook(tmp_path / "right.ipynb")
    right = json.loads((tmp_path / "right.ipynb").read_text())
    cell = right["cells"][1]
    for key, value in (
        ("metadata", None), ("metadata", {"kernelspec": None}), ("metadata", {"kernelspec": {"name": 3}}),
        ("nbformat", 3), ("nbformat", "4"), ("nbformat_minor", "x"),
        ("cells", [cell | {"metadata": []}]), ("cells", [cell | {"metadata": {"tags": None}}]),
        ("cells", [cell | {"cell_type": None}]), ("cells", [{"source": ""}]),
    ):  # fmt: skip
        (tmp_path / "text.ipynb").write_text(json.dumps(right | {key: value}))
        assert refused("run", tmp_path / "text.ipynb").endswith("is not a notebook"), (key, value)
    for key in ("metadata", "nbformat", "nbformat_minor"):
        (tmp_path / "text.ipynb").write_text(json.dumps({k: value for k, value in right.items() if k != key}))
        assert refused("run", tmp_path / "text.ipynb").endswith("is not a notebook"), key
    (tmp_path / "text.ipynb").write_text('{"cells":' + "[" * 100_000)
    assert refused("run", tmp_path / "text.ipynb").endswith("is not a notebook")
    for source in ("gamma = ", "gamma = f(1)", "a, b = 1, 2", "import os", "(gamma", "a = " + "-" * 20_000 + "1"):
        notebook(tmp_path / "text.ipynb", parameters=source)
        assert "is not a list of `name = literal`" in refused("run", tmp_path / "text.ipynb")
    notebook(tmp_path / "text.ipynb", parameters=None)
    assert refused("run", tmp_path / "text.ipynb", "-p", "gamma", 1) == "mmlib: text has no parameter 'gamma'"


def test_a_chapter_is_never_overwritten(book, monkeypatch):
    original = (book / "making" / "tiny.ipynb").read_bytes()
    assert "would lie among the book's chapters" in refused("run", "tiny", "-o", book / "making" / "new.ipynb")
    monkeypatch.chdir(book / "making")
    assert "is the notebook to run" in refused("run", "tiny")
    assert (book / "making" / "tiny.ipynb").read_bytes() == original


def test_without_the_book_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path / "nowhere")
    for command in (["chapters"], ["run", "glft"]):
        assert "installed without the book; clone its repository" in refused(*command)


def test_a_kernel_that_is_not_installed_is_named(book, tmp_path):
    notebook(tmp_path / "strange.ipynb", kernel="no-such-kernel")
    outcome = mmlib("run", tmp_path / "strange.ipynb")
    assert outcome.exit_code == 2
    (line,) = outcome.stderr.splitlines()
    assert "needs the Jupyter kernel 'no-such-kernel', which is not installed" in line
    assert os.listdir() == []


def test_a_run_keeps_the_notebook_prints_the_results_and_writes_a_page_that_loads_nothing(book):
    outcome = mmlib("run", "tiny", "-p", "gamma", "2", "-p", "flag", "FALSE", "-p", "gammas", "[1, 2.5]", "--html")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    expected = {"gamma": 2.0, "steps": 5, "label": "a # b", "flag": False, "total": 3.5}
    assert results("tiny.ipynb") == expected
    assert isinstance(results("tiny.ipynb")["gamma"], float)
    lines = [line.split(maxsplit=1) for line in outcome.stdout.splitlines()]
    assert lines == [[name, str(value) if name != "gamma" else "2"] for name, value in expected.items()] + [
        ["written:", "tiny.ipynb, tiny.html"]
    ]
    assert sorted(os.listdir()) == ["tiny.html", "tiny.ipynb"]
    page = Path("tiny.html").read_text(encoding="utf-8")
    assert "A tiny chapter" in page and "MathJax" in page
    head = page[: page.index("<body")]
    assert "src=" not in head.split("<script>MathJax =")[0] and '<link rel="stylesheet"' not in page


def test_values_are_data_and_never_run(book):
    """Every hostile text through `mmlib run`, as one list and as texts; the kernel must hand back what was given."""
    notebook(
        notebooks.NOTEBOOKS / "making" / "texts.ipynb", parameters=PARAMETERS.replace("nothing = None", 'texts = ["x"]')
    )
    path = notebooks.NOTEBOOKS / "making" / "texts.ipynb"
    source = json.loads(path.read_text())
    source["cells"][-1]["source"] = "import json; chapter.results(texts=json.dumps(texts), label=label)"
    path.write_text(json.dumps(source))
    joined = "".join(HOSTILE)
    outcome = mmlib("run", "texts", "-p", "texts", json.dumps(HOSTILE), "-p", "label", joined)
    assert outcome.exit_code == 0
    assert json.loads(results("texts.ipynb")["texts"]) == HOSTILE
    assert results("texts.ipynb")["label"] == joined
    assert os.listdir() == ["texts.ipynb"]


def test_papermill_itself_takes_hostile_text_as_data_too(book):
    """papermill's own command: -r passes text, -p guesses a type, -y reads YAML. (Its names, unlike ours, are code.)"""
    arguments = ["-r", "label", "".join(HOSTILE), "-p", "gamma", "0.5", "-y", "gammas: [3, 4]", "--no-progress-bar"]
    outcome = ClickRunner().invoke(
        papermill.cli.papermill, [str(book / "making" / "tiny.ipynb"), "out.ipynb", *arguments], catch_exceptions=False
    )
    assert outcome.exit_code == 0
    found = results("out.ipynb")
    assert (found["label"], found["gamma"], found["total"]) == ("".join(HOSTILE), 0.5, 7.0)
    assert os.listdir() == ["out.ipynb"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["gamma", "-inf"], "mmlib: making/tiny: gamma must be > 0 and finite (risk aversion, 1/currency); got -inf"),
        (["label", "fail"], "mmlib: making/tiny: cell 4 failed with IndexError: list index out of range"),
        (["label", "die"], "mmlib: making/tiny: Kernel died (out of memory?)"),
    ],
)
def test_a_run_that_fails_says_why_in_one_line_and_leaves_the_earlier_output_alone(book, arguments, line):
    Path("out.ipynb").write_text("an earlier result")
    outcome = mmlib("run", "tiny", "-p", *arguments, "-o", "out.ipynb", "--html")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (1, "", line + "\n")
    assert Path("out.ipynb").read_text() == "an earlier result"
    assert os.listdir() == ["out.ipynb"]


def default_signals():
    """For a child: in the background of a shell, or under nohup, this process may have them ignored."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_the_run_and_its_kernel_quietly(tmp_path, name, code):
    """A real signal to a real process, sent once the notebook is known to be running."""
    notebook(tmp_path / "tiny.ipynb")
    command = [sys.executable, "-m", "mmlib.cli", "run", "tiny.ipynb", "-p", "label", "wait", "-o", "out.ipynb"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=default_signals, **pipes) as process:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "started").exists():
                assert process.poll() is None, process.stderr.read().decode()
                assert time.monotonic() < deadline, "the notebook does not run"
                time.sleep(0.05)
            kernels = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(getattr(signal, name))
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert (stdout, stderr) == (b"", b"")
    assert sorted(os.listdir(tmp_path)) == ["started", "tiny.ipynb"]
    assert kernels
    assert psutil.wait_procs(kernels, timeout=30)[1] == []


@pytest.mark.parametrize("module", ["typer", "mmlib.cli.train", "nbclient", "nbformat"])
def test_an_interrupt_during_an_import_shows_no_traceback(tmp_path, module):
    """The signal comes as the module is looked for: a finder ahead of Python's own sends it to the process itself."""
    notebook(tmp_path / "tiny.ipynb")
    code = f"""
import os, runpy, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["mmlib", "run", "tiny.ipynb", "-o", "out.ipynb"]
runpy.run_module("mmlib.cli", run_name="__main__")
"""
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, preexec_fn=default_signals, capture_output=True, timeout=120
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (130, b"", b"")
    assert os.listdir(tmp_path) == ["tiny.ipynb"]


def test_an_interrupt_before_a_command_is_known_shows_no_traceback(tmp_path):
    """The commands are built, from every module's signatures, before there is one that could handle the signal."""
    code = """
import os, signal, typer.main
def build(*_):
    os.kill(os.getpid(), signal.SIGINT)
typer.main.get_command = build
from mmlib.cli import app
app()
"""
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, preexec_fn=default_signals, capture_output=True, timeout=120
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (130, b"", b"")


ABOUT_THE_KERNEL = """\
import gc, sys
import beside
loaded = "debugpy" in sys.modules
chapter.results(debugger=loaded, beside=beside.VALUE, collects=gc.isenabled())
"""


def test_a_kernel_has_the_folder_it_runs_in_and_no_debugger(book):
    """A module of the folder is found, as by Jupyter's own kernel; the kernel's own modules are not."""
    Path("beside.py").write_text("VALUE = 7")
    Path("debugpy.py").write_text("raise SystemExit('not the debugger')")
    Path("ipykernel.py").write_text("raise SystemExit('not the kernel')")
    path = book / "making" / "tiny.ipynb"
    source = json.loads(path.read_text())
    source["cells"][-1]["source"] = ABOUT_THE_KERNEL
    path.write_text(json.dumps(source))
    outcome = mmlib("run", "tiny")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert results("tiny.ipynb") == {"debugger": False, "beside": 7, "collects": True}


def test_what_a_cell_prints_is_one_output_however_long_it_takes(book):
    """Each message of the kernel would else be one, and two runs of a chapter differ."""
    path = book / "making" / "tiny.ipynb"
    source = json.loads(path.read_text())
    source["cells"][-1]["source"] = "print('first', flush=True)\nprint('second', flush=True)"
    path.write_text(json.dumps(source))
    assert mmlib("run", "tiny").exit_code == 0
    assert [o.text for o in nbformat.read("tiny.ipynb", 4).cells[-1].outputs] == ["first\nsecond\n"]


def test_a_run_of_a_run_has_the_new_values_alone(book):
    """As papermill does: the cell of values is replaced, and the executed notebook can be run again by either."""
    assert mmlib("run", "tiny", "-p", "gamma", "2", "-p", "steps", "7").exit_code == 0
    assert mmlib("run", "tiny.ipynb", "-p", "gamma", "3", "-o", "again.ipynb").exit_code == 0
    assert (results("again.ipynb")["gamma"], results("again.ipynb")["steps"]) == (3.0, 5)
    cells = nbformat.read("again.ipynb", as_version=4).cells
    assert [c.source for c in cells if "injected-parameters" in c.metadata.get("tags", [])] == [
        "# Parameters\ngamma = 3.0"
    ]


def test_the_profile_lists_cells_the_slowest_first(book):
    path = book / "making" / "tiny.ipynb"
    source = json.loads(path.read_text())
    source["cells"][3]["source"] = "\n\nimport time\ntime.sleep(1)"
    path.write_text(json.dumps(source))
    outcome = mmlib("run", "tiny", "--profile")
    assert outcome.exit_code == 0
    rows = re.findall(r"^ *([\d.]+) s  cell (\d+): (.*)$", outcome.stdout, re.MULTILINE)
    assert sorted(number for _, number, _ in rows) == ["1", "2", "3", "4"]
    assert [float(seconds) for seconds, *_ in rows] == sorted((float(seconds) for seconds, *_ in rows), reverse=True)
    ((slept, first),) = [(float(seconds), first) for seconds, number, first in rows if number == "3"]
    assert slept >= 1 and first == "import time"
    assert outcome.stdout.splitlines()[-1] == "written: tiny.ipynb"


def test_the_slowest_cells_are_five_of_those_that_have_both_times():
    cells = [nbformat.v4.new_code_cell(f"# cell {n}", execution_count=n) for n in range(1, 9)]
    for cell in cells[:7]:
        begun, done = (f"2026-01-02T03:04:{seconds:02}.000000Z" for seconds in (10, 10 + cell.execution_count))
        cell.metadata["execution"] = {"iopub.status.busy": begun, "iopub.status.idle": done}
    del cells[6].metadata["execution"]["iopub.status.idle"]
    found = execution.slowest(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), *cells]))
    assert found == [(float(n), n, f"# cell {n}") for n in (6, 5, 4, 3, 2)]


@pytest.mark.parametrize("value", [0.1, -1e-300, INF, -INF, 3, True, "'\n\\", [], [0.5, -INF], ["a", 'b"']])
def test_what_a_parameter_is_set_to_is_the_value(value):
    """Of what Python writes without a literal, infinity and what is no number."""
    found = eval(execution._literal(value))
    assert (found, type(found)) == (value, type(value))
    assert math.isnan(eval(execution._literal(float("nan"))))


@pytest.fixture
def finished(book, monkeypatch):
    """Runs that are done at once: a kernel is not what is tested."""
    cell = nbformat.v4.new_code_cell("1")
    executed = nbformat.v4.new_notebook(cells=[cell])
    monkeypatch.setattr(running, "execute", lambda *_: executed)


def test_a_full_disk_is_one_line_and_the_earlier_output_stays(finished):
    """The limit on a file's size stands for the disk: both are an OSError of write()."""
    Path("out.ipynb").write_text("an earlier result")
    Path("out.html").write_text("an earlier page")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the notebook fits, the page does not
    try:
        outcome = mmlib("run", "tiny", "-o", "out.ipynb", "--html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("mmlib: cannot write ") and line.endswith("out.html: File too large")
    assert Path("out.ipynb").read_text() == "an earlier result"
    assert Path("out.html").read_text() == "an earlier page"
    assert sorted(os.listdir()) == ["out.html", "out.ipynb"]


def test_a_replaced_output_keeps_its_mode_and_its_link(finished, tmp_path):
    (tmp_path / "kept").mkdir()
    real = tmp_path / "kept" / "real.ipynb"
    real.write_text("an earlier result")
    real.chmod(0o600)
    Path("out.ipynb").symlink_to(real)
    assert mmlib("run", "tiny", "-o", "out.ipynb").exit_code == 0
    assert Path("out.ipynb").is_symlink()
    assert json.loads(real.read_text())["cells"]
    assert real.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path / "kept") == ["real.ipynb"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_output_gets_the_mode_of_any_new_file(finished, mask, mode):
    before = os.umask(mask)
    try:
        assert mmlib("run", "tiny", "-o", "out.ipynb").exit_code == 0
    finally:
        os.umask(before)
    assert Path("out.ipynb").stat().st_mode & 0o777 == mode


def test_a_link_that_leads_nowhere_good_is_refused(book):
    Path("circle.ipynb").symlink_to("circle.ipynb")
    assert "cannot write circle.ipynb: Too many levels of symbolic links" in refused(
        "run", "tiny", "-o", "circle.ipynb"
    )
    Path("chapter.ipynb").symlink_to(book / "making" / "other.ipynb")
    assert "would lie among the book's chapters" in refused("run", "tiny", "-o", "chapter.ipynb")
    Path("out.html").mkdir()
    assert "cannot write out.html: it is a folder" in refused("run", "tiny", "-o", "out.ipynb", "--html")
    assert "File name too long" in refused("run", "tiny", "-o", "n" * 300 + ".ipynb")
    assert "no notebook at" in refused("run", "n" * 300 + ".ipynb")


def test_what_is_no_file_is_not_replaced_by_one(book):
    """A pipe stands for a device: both are there, are no folder, and may be written."""
    os.mkfifo("pipe")
    Path("out.ipynb").symlink_to("pipe")
    assert refused("run", "tiny", "-o", "out.ipynb") == "mmlib: cannot write out.ipynb: it is no regular file"
    assert Path("pipe").is_fifo()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no device that is full")
@pytest.mark.parametrize(
    "command", [["chapters"], ["--help"], ["simulate", "glft", "--paths", "20", "--plot", "a.png"]]
)
def test_what_cannot_be_printed_is_one_line_and_no_file_is_lost(tmp_path, command):
    command = [sys.executable, "-m", "mmlib.cli", *command]
    with open("/dev/full", "w") as full:
        outcome = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, timeout=300)
    assert (outcome.returncode, outcome.stderr) == (1, b"mmlib: cannot print: No space left on device\n")
    assert os.listdir(tmp_path) == (["a.png"] if "a.png" in command else [])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--parameter=gamma"], "mmlib: -p takes a NAME and a VALUE; got gamma and no value"),
        (["-pgamma"], "mmlib: -p takes a NAME and a VALUE; got gamma and no value"),
        (["-pgamma", "--html"], "mmlib: -p takes a NAME and a VALUE; got gamma and no value"),
        (["-pgamma", "x"], "mmlib: gamma must be a number; got 'x'"),
        (["--parameter=gamma", "x"], "mmlib: gamma must be a number; got 'x'"),
        (["--parameter=gamma=1", "x"], "mmlib: -p takes a NAME and a VALUE, as in -p gamma 1; got 'gamma=1'"),
        (["-p"], "mmlib: -p takes a NAME and a VALUE"),
        (["--parameter"], "mmlib: -p takes a NAME and a VALUE"),
    ],
)
def test_every_spelling_of_the_option_is_read_or_refused(book, arguments, line):
    assert refused("run", "tiny", *arguments) == line


def test_a_path_with_braces_and_spaces_is_a_path(tmp_path, monkeypatch):
    """papermill formats paths with parameters' values."""
    folder = tmp_path / "{gamma} {0} {{x}} %s"
    notebook(folder / "tiny {steps}.ipynb")
    monkeypatch.chdir(tmp_path)
    outcome = mmlib("run", folder / "tiny {steps}.ipynb", "-pgamma", "0.5", "-o", "{gamma}.ipynb")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert results("{gamma}.ipynb")["gamma"] == 0.5


@pytest.mark.parametrize("module", ["mmlib", "mmlib.cli"])
def test_the_import_is_light(module):
    """In a fresh interpreter, since this one has loaded everything."""
    heavy = {"numpy", "numba", "scipy", "pandas", "matplotlib", "ortools", "duckdb", "pulp", "nbformat", "papermill"}
    heavy |= {"IPython", "pydantic", "urllib.request"}
    code = f"import sys, {module}; print([name for name in {sorted(heavy)} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
        == "[]\n"
    )


def test_packages_are_hidden_from_an_import_only_while_it_lasts():
    """colorsys stands for a package that is not imported yet, json for one that is."""
    sys.modules.pop("colorsys", None)
    with execution.not_imported("colorsys", "json"):
        with pytest.raises(ImportError):
            importlib.import_module("colorsys")
        assert importlib.import_module("json") is json
    assert importlib.import_module("colorsys").rgb_to_hsv(1, 1, 1) == (0.0, 0.0, 1)


def test_what_an_editor_keeps_in_hidden_folders_is_no_chapter(tmp_path, monkeypatch):
    """JupyterLab's .ipynb_checkpoints lie among the parts."""
    for place in ("part/real.ipynb", "part/.hidden.ipynb", ".ipynb_checkpoints/contents-checkpoint.ipynb"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("{}")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    assert list(notebooks.paths()) == ["part/real"]
