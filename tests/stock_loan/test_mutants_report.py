"""The report's pictures and sentences from a few numbers: what is drawn, read back from the axes."""

import base64
import os
import re
import struct
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mmlib import plotting
from mmlib.stock_loan import report


def test_labels_have_room_for_sixteen_letters():
    assert report._labels(["N" * 16, "N" * 17, "US$"]) == ["N" * 16, "N" * 15 + "…", r"US\$"]


def test_a_picture_is_1008_pixels_wide():
    """Seven inches of 144; the width is in bytes 16 to 19 of a PNG."""
    data = re.search(r"base64,([^\"]*)", report._picture("t", "a", Figure(figsize=(7, 1))))[1]
    assert struct.unpack(">I", base64.b64decode(data)[16:20]) == (1008,)


def test_a_waterfall_starts_each_step_where_the_last_one_ends():
    """100, two up, one of 0.6 down, a step below half a dollar that is not drawn, and the sum."""
    steps = pd.Series({"today": 100.0, "new": 20.0, "more": 0.7, "turnover": -0.6, "nil": 0.4, "solution": 120.5})
    figure = report._waterfall(steps)
    bars = figure.axes[0].patches
    assert [bar.get_y() for bar in bars] == pytest.approx([0, 100, 120, 120.7, 0])
    assert [bar.get_height() for bar in bars] == pytest.approx([100, 20, 0.7, -0.6, 120.5])
    ends, up, down = (to_rgb(plotting.COLOURS[i]) for i in (0, 2, 1))
    assert [bar.get_facecolor()[:3] for bar in bars] == [ends, up, up, down, ends]
    assert len({ends, up, down}) == 3
    assert figure.get_size_inches()[0] == 7


@pytest.fixture
def daily(monkeypatch):
    """Five names on seven days; D is not known on the last, E is never lent."""
    days = pd.bdate_range("2025-09-01", periods=7)
    values = np.array([[0.1] * 6 + [0.9], [0.5] * 7, [0.7] * 6 + [np.nan], [0.0] * 7, [0.9] * 6 + [0.0]])
    table = pd.DataFrame(values, index=list("ABDEC"), columns=days)
    monkeypatch.setattr(report, "_daily", lambda book, date, column: table[table.columns[table.columns <= date]])
    return days


def test_the_heat_map_begins_with_the_name_that_is_lent_most_today(daily):
    said, figure = report._heat(None, daily[-1])
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A", "B", "E", "C", "D"]
    assert ax.get_xticks().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert ax.images[0].get_array()[0].tolist() == [0.1] * 6 + [0.9]
    assert said == "Utilisation by value of the 5 names lent most, over 7 trade dates"
    early, few = report._heat(None, daily[1])
    assert few.axes[0].get_xticks().tolist() == [0, 1]
    assert early.endswith("over 2 trade dates")


def test_what_changed_is_drawn_in_millions_and_the_first_day_is_all_new(daily):
    said, figure = report._changes(None, daily[-1])
    bars = figure.axes[0].patches
    assert [bar.get_height() * 1e6 for bar in bars] == pytest.approx([-0.9, 0.8, -0.7, 0.0, 0.0])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["C", "A", "D", "B", "E"]
    assert said.endswith("since 08 Sep")
    said, figure = report._changes(None, daily[0])
    assert [bar.get_height() * 1e6 for bar in figure.axes[0].patches] == pytest.approx([0.9, 0.7, 0.5, 0.1, 0.0])
    assert said.endswith("nothing before this day")


def solution(**changes):
    """Y is the scarce name of two, X pays more: pools A at 30 bp and B at 20, clients at 100 and 200 bp."""
    numbers = {
        "securities": ["X", "Y"], "pools": ["A", "B", "C"], "clients": ["C1", "C2"], "price": np.array([10.0, 20.0]),
        "supply": np.array([[900.0, 100.0, 0.0], [100.0, 0.5, 0.0]]),
        "demand": np.array([[50.0, 50.0], [300.0, 100.0]]),
        "source_cost": np.array([[30.0, 20.0, 5.0]] * 2), "client_fee": np.array([[900.0, 900.0], [100.0, 200.0]]),
    }  # fmt: skip
    lent = np.zeros((2, 3, 2))
    lent[0, 0], lent[1, 0, 1] = (1e5, 2e5), 5e4
    return SimpleNamespace(problem=SimpleNamespace(**numbers | changes), allocation=lent)


def test_the_ladder_is_of_the_scarce_name_with_pools_by_cost_and_clients_by_fee():
    said, figure = report._ladder(solution())
    assert said.startswith("Y: ")
    pools, clients = ([part.tolist() for part in patch.get_data()[:2]] for patch in figure.axes[0].patches)
    assert pools == [[20.0, 30.0], [0.0, 0.5, 100.5]]
    assert clients == [[200.0, 100.0], [0.0, 100.0, 400.0]]
    assert figure.get_size_inches()[0] == 7


def test_without_a_scarce_name_the_ladder_is_of_the_fullest():
    """X uses 4 % of its supply and Y 10 %: of those within three quarters of the fullest, the one that pays most."""
    said, _ = report._ladder(solution(supply=np.array([[2500.0, 0.0, 0.0], [4000.0, 0.0, 0.0]])))
    assert said.startswith("Y: ")


def test_flows_are_in_millions_of_dollars_from_the_pools_that_lend(monkeypatch):
    drawn = []
    monkeypatch.setattr(plotting, "flow", lambda ax, *given: drawn.append(given))
    report._flows(solution())
    ((millions, pools, clients),) = drawn
    np.testing.assert_allclose(millions, [[1.0, 3.0]], rtol=1e-12)
    assert (pools, clients) == (["A"], ["C1", "C2"])


def test_tomorrows_paragraph_counts_the_names_that_are_not_forecast():
    ahead = pd.DataFrame({"model": "m", "pre_borrow": [100.0, 0.0, 0.0], "dollars": [2500.0, 0.0, np.nan],
                          "error": ["", "", "too short"]}, index=["A", "B", "C"])  # fmt: skip
    text, table = report._ahead(ahead)
    assert "1 of 2 names need 2,500 dollars more. 1 names are not forecast: the reason is in forecast.csv." in text
    assert ">A<" in table and ">B<" not in table
    assert "not forecast" not in report._ahead(ahead[:2])[0]


def test_a_temporary_folder_that_cannot_be_removed_hides_no_error(tmp_path, monkeypatch):
    """The first error is the one to know."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    def refused(*_, **__):
        raise PermissionError(13, "not yours")

    monkeypatch.setattr(report.allocation, "problem", lambda *_, **__: None)
    monkeypatch.setattr(report.allocation, "solve", full)
    monkeypatch.setattr(os, "rmdir", refused)
    for folder in (tmp_path / "out", tmp_path):
        with pytest.raises(OSError, match="No space"):
            report.write(None, "2025-09-10", folder)
