"""The audit and errata pages are what their script writes today, and say what they should."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("book_audit", ROOT / "book/_audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name):
    return (ROOT / "book" / name).read_text(encoding="utf-8")


def test_the_committed_audit_is_what_the_data_and_the_code_give_now(script):
    """Byte for byte: after a change of data/published or of a model, run `python book/_audit.py`."""
    assert page("audit.md") == script.audit()


def test_the_committed_errata_are_what_the_code_gives_now(script):
    assert page("errata.md") == script.errata()


def test_every_file_of_published_numbers_is_audited_in_full(script):
    """One table row a number: lines that end in a verdict, counted against the files on disk."""
    files = {path.stem: path.read_text() for path in (ROOT / "data/published").glob("*.csv")}
    assert sorted(files) == sorted(script.SOURCES)
    numbers = sum(len(text.splitlines()) - 1 for text in files.values())
    verdicts = [line.split("|")[-2].strip() for line in page("audit.md").splitlines() if line.startswith("| ")]
    verdicts = [verdict for verdict in verdicts if verdict != "verdict"]
    assert len(verdicts) == numbers
    assert {verdict.split(",")[0] for verdict in verdicts} <= {"reproduced", "consistent", "last digit differs"}


def test_a_number_without_a_second_route_is_not_called_reproduced_by_two(script):
    cells = [line.split("|") for line in page("audit.md").splitlines() if line.startswith("| ")]
    judged = [(row[5].strip(), row[-2]) for row in cells if row[-2].strip() != "verdict"]
    assert sum(second == "—" for second, _ in judged) > 0
    for second, verdict in judged:
        assert ("one route" in verdict) == (second == "—")


def test_a_wrong_number_would_be_called_different(script):
    """The page can say no: each kind of row, moved by ten times what it allows."""
    thesis = dict(script.rows("fernandez_tapia_2015")[0], value="10.6105")
    table = dict(script.rows("avellaneda_stoikov_2008")[1], value="67.5")
    for row in (thesis, table):
        assert script.audit_row(row, common=[]).endswith("| differs |")


def test_the_errata_cover_every_trap_that_has_a_cost(script):
    """Every number that the script measures is on the page, in its place: format() raises on one that is missing."""
    numbers = script.errata_numbers()
    assert numbers["folk_ce"] < 0 < numbers["right_ce"]
    assert numbers["as_ce"] < numbers["best"]
    assert abs(numbers["forbidden"] - 38.23) < 0.005
    assert abs(numbers["p1_exp"] - 57.17) < 0.005
    assert "{" not in page("errata.md")
