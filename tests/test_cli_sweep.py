"""What `mmlib sweep` says and draws of a table, without a sweep."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mmlib.cli import sweep, sweep_figure


def column(values):
    return sweep_figure.Axis(pd.Series(values, name="x"))


def test_the_median_is_the_value_of_a_run_and_the_lower_one_of_two():
    table = pd.DataFrame({"x": [1, 2, 3, 4], "v": [40.0, 10.0, np.nan, 30.0], "error": ""})
    table.loc[4] = [5, 20.0, ""]
    rows = [line.split("  ") for line in sweep.summary(table, ["x"]).splitlines()[1:]]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["v", "10 at x 2", "20 at x 5", "40 at x 1"]
    ]


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ([1, 10, 100], True), ([100.0, 1.0, 10.0], True), ([1, 2], False), ([1, 2, 3], False), ([0, 1, 10], False),
        ([-1.0, -10.0, -100.0], False), (["a", "b", "c"], False),
    ],
)  # fmt: skip
def test_an_axis_is_logarithmic_where_its_three_or_more_values_are_evenly_so(values, logarithmic):
    assert column(values).logarithmic == logarithmic


def test_at_most_six_values_are_labelled_the_ends_among_them():
    axis = Figure().subplots().xaxis
    column(range(20)).label(axis, np.arange(20.0))
    assert [text.get_text() for text in axis.get_ticklabels()] == ["0", "4", "8", "11", "15", "19"]
    assert list(axis.get_ticklocs()) == [0, 4, 8, 11, 15, 19]


def test_a_map_has_the_first_parameter_upwards_and_a_hole_where_a_run_failed(monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    table = pd.DataFrame({"a": [1, 1, 1, 2, 2, 2], "b": ["x", "y", "z"] * 2, "v": [1, 2, 3, 4, np.nan, 6], "error": ""})
    sweep_figure.drawn(table, ["a", "b"])
    ax = drawn[0].axes[0]
    assert (ax.get_ylabel(), ax.get_xlabel(), ax.get_title()) == ("a", "b", "v")
    cells = ax.collections[0].get_array().filled(np.nan).reshape(2, 3)
    np.testing.assert_array_equal(cells, [[1, 2, 3], [4, np.nan, 6]])


def test_a_line_goes_in_the_order_of_its_parameter(monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    sweep_figure.drawn(pd.DataFrame({"a": [3, 1, 2], "v": [30, 10, 20], "w": [0, 1, 2], "error": ""}), ["a"])
    assert [ax.get_title() for ax in drawn[0].axes] == ["v", "w"]
    np.testing.assert_array_equal(drawn[0].axes[0].lines[0].get_xydata(), [[1, 10], [2, 20], [3, 30]])
