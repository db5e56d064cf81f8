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
one, begun = panels.forecast_chunk, []


def chunk(*arguments, **options):
    begun.append(1)
    if len(begun) > 3:
        time.sleep(600)  # it will be killed here
    return one(*arguments, **options)


panels.forecast_chunk = chunk
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
    assert 3 <= finished <= 6
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


def test_few_names_start_no_process_and_many_do(book, monkeypatch):
    """Fewer than `ALONE` names never ask for a client unless told to; so many do."""
    asked = []

    def client(*arguments):
        asked.append(arguments)
        raise RuntimeError("asked")

    monkeypatch.setattr(panels.cluster, "client", client)
    panels.forecast(book, levels=LEVELS)
    assert asked == []
    monkeypatch.setattr(panels, "ALONE", 12)
    for arguments, expected in (
        ({}, (None, None)),
        ({"workers": 2}, (None, 2)),
        ({"scheduler": "tcp://x"}, ("tcp://x", None)),
    ):
        with pytest.raises(RuntimeError, match="asked"):
            panels.forecast(book, levels=LEVELS, **arguments)
        assert asked.pop() == expected
    monkeypatch.setattr(panels, "ALONE", 13)
    panels.forecast(book, levels=LEVELS)
    assert asked == []


def test_the_bar_is_silent_off_a_terminal(book, capfd):
    panels.forecast(book, levels=LEVELS, workers=1)
    assert os.linesep not in capfd.readouterr().err


def test_three_lags_four_days_ahead_are_the_autoregression_alone():
    """Path and spread of an AR(3) and of ETS to the fourth day, from `forecasting.fit`, whose loops are others."""
    rng = np.random.default_rng(2)
    x = np.zeros((400, 8))
    for t in range(3, 400):
        x[t] = 0.2 * x[t - 1] + 0.1 * x[t - 2] + 0.5 * x[t - 3] + rng.standard_normal(8)
    walk = 300 + np.cumsum(rng.standard_normal((400, 4)), axis=0) + rng.standard_normal((400, 4)) * 2
    table = pd.DataFrame(np.hstack([100 + 5 * x, walk]), pd.bdate_range("2023-01-02", periods=400))
    found = panels.forecast(table, levels=LEVELS, horizon=4, workers=1)
    assert {"ar(3)", "ets ANN"} <= set(found["model"])
    for name, row in found.iterrows():
        options = {"lags": int(row["model"][3:-1])} if row["model"].startswith("ar") else {"form": row["model"][4:]}
        single = forecasting.fit(row["model"][:3].strip("("), table[int(name)], **options).quantiles(4, LEVELS)
        assert row.iloc[2:].to_numpy(float) == pytest.approx(single.ravel(), rel=1e-6)


def test_autoregression_and_smoothing_are_chosen_by_aic_on_the_same_days():
    """n ln(SSE/n) + 2k after the fifth day: regressions by numpy's lstsq, ETS errors walked in plain Python."""
    from mmlib.stock_loan._forecast_models import smoothing

    rng, chosen = np.random.default_rng(10), set()
    values = 200 + np.cumsum(rng.standard_normal((60, 24)) * np.linspace(0.1, 1.5, 24), axis=0)
    values += rng.standard_normal(values.shape)
    table = pd.DataFrame(values, pd.bdate_range("2023-01-02", periods=60))
    found = panels.forecast(table, levels=[0.5], workers=1)
    for name, label in found["model"].items():
        y, aic = values[:, int(name)], {}
        for p in range(6):
            design = np.column_stack([np.ones(55), *(y[5 - j : 60 - j] for j in range(1, p + 1))])
            sse = np.sum((y[5:] - design @ np.linalg.lstsq(design, y[5:], rcond=None)[0]) ** 2)
            aic[f"ar({p})"] = 55 * np.log(sse / 55) + 2 * (p + 1)
        forms = {form: smoothing.estimate(y, form) for form in ("ANN", "AAdN")}
        whole = {
            form: 60 * np.log(fit["sse"] / 60) + 2 * k for (form, fit), k in zip(forms.items(), (3, 6), strict=True)
        }
        form = min(whole, key=whole.get)
        late = np.sum(forms[form]["errors"][5:] ** 2)
        aic[f"ets {form}"] = 55 * np.log(late / 55) + 2 * {"ANN": 2, "AAdN": 5}[form]
        first, second = sorted(aic.values())[:2]
        if second - first > 1e-6:
            assert label == min(aic, key=aic.get)
        chosen.add(label[:2])
    assert chosen == {"ar", "et"}


def test_a_journal_without_one_whole_line_is_begun_anew(book, tmp_path):
    """A kill in the middle of the first line, or before it: the same bytes."""
    arguments = {"levels": LEVELS, "workers": 1}
    panels.forecast(book, path=tmp_path / "whole.csv", **arguments)
    for torn in (b"", b'{"run": "12'):
        (tmp_path / "again.csv.journal").write_bytes(torn)
        panels.forecast(book, path=tmp_path / "again.csv", **arguments)
        assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_thirty_days_are_enough_and_one_less_is_not():
    table = pd.DataFrame({"A": np.random.default_rng(0).uniform(5, 9, 31)}, pd.bdate_range("2024-01-02", periods=31))
    for days, error in ((30, ""), (29, "history must have at least 30 values for 'panel'; got 29")):
        assert panels.forecast(table.iloc[:days], levels=[0.5], workers=1).loc["A", "error"] == error
