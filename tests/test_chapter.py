"""Parameters are refused in one line, results are shown and stored."""

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from mmlib import chapter


def run(*sources):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=60, kernel_name="python3", allow_errors=True).execute()
    return notebook.cells[-1].outputs


def test_a_bad_parameter_ends_a_run_with_one_line():
    [output] = run(
        "from mmlib import chapter, checks",
        "with chapter.validating():\n    checks.positive('gamma', -1.0, 'aversion')",
    )
    assert output.ename == "BadParameter"
    assert output.traceback == ["BadParameter: gamma must be > 0 and finite (aversion); got -1.0"]


def test_other_errors_pass_validation_untouched():
    with pytest.raises(KeyError), chapter.validating():
        {}["missing"]


def test_results_survive_in_the_output_and_are_shown_to_four_digits():
    [output] = run("from mmlib import chapter\nchapter.results(value=64.133489153, fills=12, rule='tanh')")
    assert output.metadata[chapter.RESULTS] == {"value": 64.133489, "fills": 12, "rule": "tanh"}
    assert "64.13\n" in output.data["text/plain"]


@pytest.mark.parametrize("value", [None, [1.0], np.zeros(2), object()])
def test_a_result_is_a_number_or_a_string(value):
    with pytest.raises(ValueError, match="thing must be a number or a string"):
        chapter.results(thing=value)


def test_results_without_a_value_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        chapter.results()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (64.13348915, "64.13"),
        (1234567.8, "1,235,000"),
        (1e-9, "1e-09"),
        (3, "3"),
        ("a", "a"),
        (True, "True"),
        (1e20, "1e+20"),
    ],
)
def test_numbers_are_shown_to_four_significant_digits(value, text):
    assert chapter.shown(value) == text
