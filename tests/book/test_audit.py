"""The audit and errata pages are what their script writes today, and say what they should."""

import csv
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


def rows_of_the_page():
    """Cells of the table rows: verdict, number, given, ours, second route."""
    lines = [line for line in page("audit.md").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [row for row in cells if row[0] != "verdict"]


def test_every_file_of_published_numbers_is_audited_in_full(script):
    """One table row a number, counted against the files on disk."""
    files = {path.stem: path.read_text() for path in (ROOT / "data/published").glob("*.csv")}
    assert sorted(files) == sorted(script.SOURCES)
    numbers = sum(len(text.splitlines()) - 1 for text in files.values())
    verdicts = [row[0].split(",")[0] for row in rows_of_the_page()]
    assert len(verdicts) == numbers
    assert set(verdicts) <= {"reproduced", "consistent", "last digit differs"}


def test_the_headline_counts_printed_numbers_only():
    """Printed and derived are counted apart, from the grades in the files."""
    grades = []
    for path in (ROOT / "data/published").glob("*.csv"):
        with path.open() as file:
            grades += [line["grade"] for line in csv.DictReader(file)]
    [headline] = [line for line in page("audit.md").splitlines() if line.startswith("**") and "printed numbers" in line]
    counts = [int(word) for word in headline.strip("*").replace(",", "").split() if word.isdigit()]
    assert counts[0] == grades.count("P") == sum(counts[1:])
    assert f"{grades.count('D')} derived numbers: " in page("audit.md")


def test_a_table_has_five_narrow_columns_with_the_verdict_first():
    """Cells wrap at spaces, so it is their longest words side by side that must fit; sources are above the tables."""
    for row in rows_of_the_page():
        assert len(row) == 5
        assert row[0].split(",")[0] in ("reproduced", "consistent", "last digit differs")
        words = [cell.replace("(errata.md)", "").split() for cell in row]
        assert sum(max(map(len, cell)) for cell in words) <= 75


def test_a_number_without_a_second_route_is_not_called_reproduced_by_two():
    judged = [(row[4], row[0]) for row in rows_of_the_page()]
    assert sum(second == "—" for second, _ in judged) > 0
    for second, verdict in judged:
        assert ("one route" in verdict) == (second == "—")


def test_a_wrong_number_would_be_called_different(script):
    """The page can say no: each kind of row, moved by ten times what it allows."""
    thesis = dict(script.rows("fernandez_tapia_2015")[0], value="10.6105")
    table = dict(script.rows("avellaneda_stoikov_2008")[1], value="67.5")
    for row in (thesis, table):
        assert script.judge(row)["verdict"].startswith("differs")


def test_the_scores_of_printed_deviations_use_exact_fourth_moments(script):
    """The two worst cells of the paper: z with the kurtosis of the law, not 3; the values are of another derivation."""
    found = {row["key"]: script.judge(row)["verdict"] for row in script.rows("avellaneda_stoikov_2008")}
    scores = sorted(
        verdict.split("z ")[1] for verdict in found.values() if "z −1.69" in verdict or "z −1.89" in verdict
    )
    assert scores == ["−1.69", "−1.89"]
    assert max(abs(float(v.split("z ")[1].replace("−", "-"))) for v in found.values() if "z " in v) < 2


def test_the_errata_cover_every_trap_that_has_a_cost(script):
    """Every number that the script measures is on the page, in its place: format() raises on one that is missing."""
    numbers = script.errata_numbers()
    assert numbers["folk_ce"] < 0 < numbers["right_ce"]
    assert numbers["as_ce"] < numbers["best"]
    assert abs(numbers["forbidden"] - 38.23) < 0.005
    assert abs(numbers["p1_exp"] - 57.17) < 0.005
    assert "{" not in page("errata.md")
