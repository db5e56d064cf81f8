"""A book forecast in one call: each name as alone, killed and resumed to the byte, two workers as one."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import forecasting, panels

LEVELS = [0.05, 0.5, 0.95]


@pytest.fixture(scope="module")
def book():
    rng = np.random.default_rng(8)
    days, x = 200, np.zeros((200, 12))
    for t in range(1, days):
        x[t] = 0.7 * x[t - 1] + 0.4 * rng.standard_normal(12)
    table = pd.DataFrame(
        np.round(np.exp(9 + x)), pd.bdate_range("2024-01-02", periods=days), [f"S{i}" for i in range(12)]
    )
    table["S1"] = np.where(rng.random(days) < 0.3, table["S1"], 0.0)
    table.loc[table.index[50], "S2"] = np.nan
    table["S3"] = 0.0
    table.loc[table.index[7], "S4"] = -5.0
    table.loc[table.index[:40], "S5"] = np.nan
    table.loc[table.index[:190], "S6"] = np.nan
    return table


@pytest.fixture(scope="module")
def alone(book):
    return panels.forecast(book, levels=LEVELS, horizon=2, transform="log1p", workers=1)


def test_a_bad_name_is_reported_and_the_others_go_on(alone):
    bad = alone["error"] != ""
    assert list(alone.index[bad]) == ["S2", "S4", "S6"]
    assert "finite" in alone.loc["S2", "error"] and "demand" in alone.loc["S4", "error"]
    assert "at least 30 values" in alone.loc["S6", "error"]
    assert alone.loc[bad, "h1_q0.5"].isna().all() and not alone.loc[~bad, "h1_q0.5"].isna().any()
    assert alone.loc["S3", "model"] == "constant" and alone.loc["S3", "h2_q0.95"] == 0
    assert alone.loc["S1", "model"] == "sba"


def test_every_name_has_the_forecast_of_its_model_alone(book, alone):
    """The same quantiles from `forecasting.fit`, whose autoregression is another algorithm (orthogonal, not normal)."""
    for name, row in alone[alone["error"] == ""].iterrows():
        model, options = row["model"], {"transform": "log1p"}
        if model == "constant":
            continue
        if model.startswith("ar"):
            model, options["lags"] = "ar", int(model[3:-1])
        elif model.startswith("ets"):
            model, options["form"] = "ets", model[4:]
        else:
            options = {}
        single = forecasting.fit(model, book[name].dropna(), **options).quantiles(2, LEVELS)
        assert row.iloc[2:].to_numpy(float) == pytest.approx(single.ravel(), rel=1e-6)


def test_the_order_is_statsmodels(book, alone):
    from statsmodels.tsa.ar_model import ar_select_order

    for name in ("S0", "S7", "S8", "S9"):
        if alone.loc[name, "model"].startswith("ar"):
            lags = ar_select_order(np.log1p(book[name].to_numpy()), 5, ic="aic").ar_lags or []
            assert alone.loc[name, "model"] == f"ar({len(lags)})"


def test_chunks_change_no_bit(book, alone):
    for chunk in (1, 5, 100):
        found = panels.forecast(book, levels=LEVELS, horizon=2, transform="log1p", workers=1, chunk=chunk)
        pd.testing.assert_frame_equal(found, alone, check_exact=True)


def test_a_torn_journal_is_taken_up_and_the_bytes_are_the_same(book, tmp_path):
    """The journal of a whole run, cut in the middle of its sixth line, as a kill leaves it."""
    arguments = {"levels": LEVELS, "transform": "log1p", "workers": 1, "chunk": 2}
    panels.forecast(book, path=tmp_path / "whole.parquet", **arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels._Journal, "finish", lambda self, table: None)
        panels.forecast(book, path=tmp_path / "torn.parquet", **arguments)
    journal = tmp_path / "torn.parquet.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    panels.forecast(book, path=tmp_path / "torn.parquet", **arguments)
    assert (tmp_path / "torn.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["torn.parquet", "whole.parquet"]


SCRIPT = """
import sys, time
import pandas as pd
from mmlib.stock_loan import panels
table = pd.read_parquet(sys.argv[1])
one = panels.forecast_chunk
panels.forecast_chunk = lambda *a, **k: (time.sleep(0.2), one(*a, **k))[1]
panels.forecast(table, levels=[0.05, 0.5, 0.95], transform="log1p", workers=1, chunk=2, path=sys.argv[2])
"""


def test_a_killed_run_goes_on_to_the_same_bytes(book, tmp_path):
    """SIGKILL after the first lines; the same call does the rest; two workers write what one does."""
    book.to_parquet(tmp_path / "book.parquet")
    out = tmp_path / "killed.csv"
    journal = tmp_path / "killed.csv.journal"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, tmp_path / "book.parquet", out])
    end = time.monotonic() + 120
    while time.monotonic() < end and (not journal.exists() or journal.read_bytes().count(b"\n") < 4):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = journal.read_bytes().count(b"\n") - 1
    assert 3 <= finished < 12
    table = pd.read_parquet(tmp_path / "book.parquet")
    panels.forecast(table, levels=LEVELS, transform="log1p", workers=2, chunk=2, path=out)
    panels.forecast(table, levels=LEVELS, transform="log1p", workers=1, path=tmp_path / "whole.csv")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not journal.exists()


def test_the_journal_of_another_run_is_refused(book, tmp_path):
    path = tmp_path / "t.csv"
    (tmp_path / "t.csv.journal").write_text(json.dumps({"run": "another"}) + "\n")
    with pytest.raises(ValueError, match=r"journal of another run beside it: delete .*t\.csv\.journal"):
        panels.forecast(book, levels=LEVELS, workers=1, path=path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"levels": [0.0]}, "levels"),
        ({"horizon": 0}, "horizon"),
        ({"chunk": 0}, "chunk"),
        ({"transform": "sqrt"}, "transform"),
        ({"path": "x.txt"}, "path must end"),
        ({"path": "nowhere/x.csv"}, "folder that exists"),
        ({"workers": 0}, "workers"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "workers must not be given"),
    ],
)
def test_a_bad_call_is_named(book, change, words):
    with pytest.raises(ValueError, match=words):
        panels.forecast(book, **({"levels": LEVELS} | change))


def test_what_is_no_table_of_names_is_refused(book):
    for bad in (book["S0"], book.reset_index(drop=True), book[["S0", "S0"]]):
        with pytest.raises(ValueError, match="demand must be a DataFrame"):
            panels.forecast(bad, levels=LEVELS, workers=1)


def test_the_bar_is_silent_off_a_terminal(book, capfd):
    panels.forecast(book, levels=LEVELS, workers=1)
    assert os.linesep not in capfd.readouterr().err
