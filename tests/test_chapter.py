"""Parameters are refused in one line, results are shown and stored."""

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from mmlib import chapter


def run(*sources):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120, startup_timeout=300, kernel_name="python3", allow_errors=True).execute()
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
        (-0.0, "0"),
    ],
)
def test_numbers_are_shown_to_four_significant_digits(value, text):
    assert chapter.shown(value) == text


def test_a_column_has_one_number_of_decimals():
    """The largest to four significant digits; 67.40 keeps its zero beside 67.54, and zero has no sign."""
    frame = chapter.table(
        {
            "model": ["a", "b", "c", "d"],
            "worth": [67.4, 67.54, -0.0, np.float64(-1.005)],
            "small": [0.012344, 0.0004, float("nan"), 0.0],
            "large": [123456.7, 1.0, 2.0, float("inf")],
            "fills": [1200, 3, np.int64(4), 5],
            "exact": [True, False, True, "?"],
        }
    )
    assert frame.index.tolist() == ["a", "b", "c", "d"] and frame.index.name == "model"
    assert frame["worth"].tolist() == ["67.40", "67.54", "0.00", "-1.00"]
    assert frame["small"].tolist() == ["0.01234", "0.00040", "—", "0.00000"]
    assert frame["large"].tolist() == ["123,457", "1", "2", "inf"]
    assert frame["fills"].tolist() == ["1,200", "3", "4", "5"]
    assert frame["exact"].tolist() == ["True", "False", "True", "?"]


def test_the_largest_is_rounded_before_its_digits_are_counted():
    assert chapter.table({"n": "ab", "x": [9.99996, 1.0]})["x"].tolist() == ["10.00", "1.00"]


def test_the_decimals_of_a_column_can_be_given():
    assert chapter.table({"n": "ab", "x": [67.4, 0.04]}, {"x": 1})["x"].tolist() == ["67.4", "0.0"]
    for wrong in ({"y": 1}, {"n": 1}):
        with pytest.raises(ValueError, match="decimals must name columns of floats, of \\['x'\\]; got"):
            chapter.table({"n": "ab", "x": [1.0, 2.0]}, wrong)


@pytest.mark.parametrize("columns", [{}, {"a": [1], "b": [1, 2]}])
def test_columns_of_different_lengths_are_refused(columns):
    with pytest.raises(ValueError, match="columns must be at least one, all of one length"):
        chapter.table(columns)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (67.548, 0.031, "67.55(3)"),
        (67.548, 0.0148, "67.548(15)"),
        (67.548, 0.096, "67.55(10)"),
        (67.548, 0.94, "67.5(9)"),
        (67.548, 0.96, "67.5(10)"),
        (67.5, 1.6, "68(2)"),
        (67.5, 1.3, "67.5(13)"),
        (12345.0, 56.0, "12,340(60)"),
        (12345.0, 144.0, "12,340(140)"),
        (-0.001, 0.03, "0.00(3)"),
        (1e-7, 2e-9, "0.000000100(2)"),
        (-5.0, 20.0, "-0(20)"),
    ],
)
def test_a_standard_error_stands_in_the_last_digits(value, error, text):
    assert chapter.uncertain(value, error) == text.replace("-0(", "0(")


@pytest.mark.parametrize(("value", "error"), [(1.0, 0.0), (1.0, -1.0), (1.0, float("nan")), (1.0, float("inf"))])
def test_an_error_that_is_none_is_refused(value, error):
    with pytest.raises(ValueError, match="error must be > 0 and finite"):
        chapter.uncertain(value, error)


def test_a_value_that_is_not_known_has_no_uncertainty():
    with pytest.raises(ValueError, match="value must be finite"):
        chapter.uncertain(float("nan"), 1.0)
