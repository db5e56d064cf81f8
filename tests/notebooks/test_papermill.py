"""Every chapter rerun with other parameters, from a folder that is not its own; and bad parameters refused.

A new chapter needs an entry in `OTHER`: a few parameters with values other than the defaults, chosen so that the run is
quick and sensible. What a chapter asserts must hold for them too.
"""

from pathlib import Path

import nbformat
import papermill
import pytest
from typer.testing import CliRunner

from mmlib import _notebooks as notebooks
from mmlib import chapter, cli

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHAPTERS = sorted(str(path.relative_to(NOTEBOOKS).with_suffix("")) for path in NOTEBOOKS.glob("[!.]*/[!.]*.ipynb"))

OTHER = {
    "learning/book_environment": {"length": 300.0, "days": 8, "train": 3, "validate": 2, "rounds": 8, "seed": 8},
    "learning/environment": {"phi": 0.4, "steps": 150, "max_inventory": 12, "episodes": 3000, "seed": 8},
    "learning/glass_box": {"high": 4.0, "rate_up": 4.0, "steps": 150, "max_inventory": 12},
    "learning/policy_gradient": {"phi": 0.4, "steps": 150, "max_inventory": 12, "rounds": 40},
    "learning/ppo": {"A_true": 160.0, "block": 3, "noise": 0.2, "episodes": 1500, "seed": 8},
    "market_making/avellaneda_stoikov": {"gamma": 0.2, "paths": 5000, "seed": 8},
    "market_making/beyond_exponential": {"gamma": 0.2, "steps": 40, "max_inventory": 10},
    "market_making/cartea_jaimungal": {"A": 100.0, "phi": 0.4, "max_inventory": 5},
    "market_making/glft": {"gamma": 0.2, "sigma": 1.5, "steps": 50, "max_inventory": 20},
    "market_making/hjb_numerics": {"gamma": 0.2, "max_inventory": 6, "coarsest": 10},
    "market_making/liquidation": {"sigma": 1.5, "gamma": 0.05, "inventory": 4, "seed": 8},
    "market_making/maps": {"gamma": 0.2, "sigma": 1.5, "max_inventory": 5},
    "market_making/strategies": {"gamma": 0.05, "steps": 50, "paths": 4000, "few_paths": 200, "seed": 8},
    "market_making/ticks": {"phi": 0.4, "tick": 0.4, "max_inventory": 3, "obliged": 1},
    "order_book/calibrate": {"high": 8.0, "gamma": 0.02, "draws": 60, "days": 10},
    "order_book/events": {"far": 8, "every": 600.0, "seed": 2},
    "order_book/replay": {"gamma": 0.02, "decide": 0.2, "seed": 8},
    "stock_loan/allocation": {"capital_share": 0.6, "seed": 8},
    "stock_loan/decisions": {"shortage": 1000.0, "excess": 100.0, "draws": 300},
    "stock_loan/demand": {"available": 110.0, "seed": 8},
    "stock_loan/desk": {"day": 12},
    "stock_loan/forecasting": {"first": 380, "names": 3},
    "stock_loan/kpis": {"capital_charge": 50.0},
    "stock_loan/panels": {"names": 40, "days": 120, "scenarios": 60},
    "stock_loan/rehypothecation": {"debit_scale": 0.4},
    "stock_loan/tick_store": {"days": 5, "kill": 2, "work": 3.0, "left": 0.25, "paths": 400, "seed": 8},
}

ENDS = [
    ("market_making/avellaneda_stoikov", {"gamma": 1.0, "paths": 5000}),
    ("market_making/beyond_exponential", {"gamma": 1.0, "k": 10.0, "sigma": 1.0, "max_inventory": 8}),
    ("market_making/glft", {"steps": 1}),
    ("market_making/maps", {"max_inventory": 1}),
    ("market_making/strategies", {"steps": 1, "paths": 4000, "few_paths": 200}),
    ("market_making/ticks", {"max_inventory": 7}),
]

each_chapter = pytest.mark.parametrize("name", CHAPTERS)


def other(name):
    assert name in OTHER, f"add an entry for {name} to OTHER in {Path(__file__).name}: parameters for a quick rerun"
    return OTHER[name]


def file(name):
    return NOTEBOOKS / f"{name}.ipynb"


def parameters(name):
    return {p.name: p.default for p in notebooks.parameters(file(name), notebooks.read(file(name)))}


def code(name):
    return [cell["source"] for cell in notebooks.read(file(name))["cells"] if cell["cell_type"] == "code"]


def results(path):
    return chapter.read_results(nbformat.read(path, as_version=4))


# the longest, in make deep; their results with the committed parameters are compared in every run
LONGEST = ["learning/book_environment", "learning/glass_box", "learning/policy_gradient", "market_making/glft",
           "market_making/hjb_numerics", "market_making/strategies", "order_book/calibrate", "order_book/replay",
           "stock_loan/allocation", "stock_loan/demand", "stock_loan/forecasting", "stock_loan/kpis",
           "stock_loan/panels"]  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.deep] if name in LONGEST else []) for name in CHAPTERS]
)
def test_a_chapter_runs_with_other_parameters_from_another_folder(name, tmp_path, monkeypatch):
    """The results must differ from the committed ones, or the parameters were not used."""
    monkeypatch.chdir(tmp_path)
    papermill.execute_notebook(str(file(name)), "out.ipynb", other(name), progress_bar=False)
    committed, found = results(file(name)), results("out.ipynb")
    assert found.keys() == committed.keys()
    assert found != committed


@pytest.mark.deep
@pytest.mark.parametrize(("name", "end"), ENDS, ids=[name for name, _ in ENDS])
def test_a_chapter_holds_at_the_ends_of_its_documented_ranges(name, end, tmp_path, monkeypatch):
    """Each end is stated in the comment of the parameter; the chapter's own checks must hold there too."""
    monkeypatch.chdir(tmp_path)
    papermill.execute_notebook(str(file(name)), "out.ipynb", end, progress_bar=False)
    assert results("out.ipynb").keys() == results(file(name)).keys()


@each_chapter
def test_the_other_parameters_are_parameters_of_the_chapter(name):
    """papermill would run a name it does not know with the defaults."""
    defaults = parameters(name)
    for key, value in other(name).items():
        assert type(value) is type(defaults[key])
        assert value != defaults[key]


@each_chapter
def test_papermill_sees_every_parameter(name):
    """Its own reader takes lines with one equals sign, and warns of parameters that it has not read at every run."""
    seen = list(papermill.inspect_notebook(str(file(name))))
    assert seen == list(parameters(name)), "no equals sign in the comments of the parameters: ≥ for >="


@each_chapter
def test_every_number_is_checked_by_the_first_code_after_the_parameters(name):
    """The first cells alone, with one parameter not a number: the chapter's own line must come, naming it."""
    declared, *cells = code(name)[:3]
    checked = cells[0] if "chapter.validating()" in cells[0] else "\n".join(cells)
    numbers = [key for key, value in parameters(name).items() if type(value) in (int, float)]
    assert numbers
    for key in numbers:
        space = {}
        exec(declared, space)
        space[key] = float("nan")
        with pytest.raises(chapter.BadParameter, match=rf"\b{key}\b.*; got nan"):
            exec(checked, space)


def run(*arguments):
    return CliRunner().invoke(cli.app, ["run", "glft", "-o", "out.ipynb", *arguments])


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["-p", "gama", "0.2"], 2, "has no parameter 'gama'; did you mean 'gamma'?"),
        (["-p", "gamma", "high"], 2, "gamma must be a number; got 'high'"),
        (["-p", "gamma", "-1"], 1, "gamma must be >"),
    ],
)
def test_a_bad_parameter_leaves_the_earlier_output_as_it_was(tmp_path, monkeypatch, arguments, code, line):
    monkeypatch.chdir(tmp_path)
    Path("out.ipynb").write_bytes(b"an earlier\r\nresult")
    outcome = run(*arguments)
    assert outcome.exit_code == code
    assert outcome.stdout == ""
    (said,) = outcome.stderr.splitlines()
    assert line in said
    assert Path("out.ipynb").read_bytes() == b"an earlier\r\nresult"
    assert [path.name for path in tmp_path.iterdir()] == ["out.ipynb"]


def test_a_chapter_runs_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = [str(token) for key, value in OTHER["market_making/glft"].items() for token in ("-p", key, value)]
    outcome = run(*pairs)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    *shown, last = outcome.stdout.splitlines()
    assert last == "written: out.ipynb"
    found = {name: chapter.shown(value) for name, value in results("out.ipynb").items()}
    assert dict(line.split(maxsplit=1) for line in shown) == found
