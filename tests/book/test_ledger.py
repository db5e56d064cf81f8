"""The ledger of certainty equivalents: its file is what the models give now, its numbers those of another route."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import expm

from mmlib import chapter

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("book_ledger", ROOT / "book/_ledger.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(script):
    return script.rows()


def committed():
    lines = chapter.LEDGER.read_text(encoding="utf-8").splitlines()
    return {line.rsplit(",", 4)[0].strip('"'): line.rsplit(",", 4)[1:] for line in lines[1:]}


def test_every_row_is_what_the_models_and_the_evaluator_give_now(found):
    """To the four decimals written; a minimiser's half-spread moves the last one by rounding at most."""
    rows = committed()
    assert list(rows) == [row["model"] for row in found]
    for row in found:
        _, value, limit, loss = rows[row["model"]]
        assert float(value) == pytest.approx(float(row["certainty_equivalent"]), abs=1.01e-4)
        assert float(limit) == pytest.approx(float(row["limit"]), abs=1.01e-4)
        assert float(loss) == pytest.approx(float(row["loss_percent"]), abs=1.01e-3)


def tilted_worth(quotes, sigma=2.0, A=140.0, k=1.5, gamma=0.1):
    """Certainty equivalent by SciPy's dense exponential of the tilted generator, row after row; no code of mmlib."""
    m = len(quotes.inventory)
    ends = np.append(quotes.times[1:], quotes.horizon)
    w = np.ones(m)
    known = {}
    for i in range(len(quotes.times) - 1, -1, -1):
        bid, ask = quotes.bid[i], quotes.ask[i]
        key = (bid.tobytes(), ask.tobytes(), round(ends[i] - quotes.times[i], 12))
        if key not in known:
            up, down = (np.nan_to_num(A * np.exp(-k * side)) for side in (bid, ask))
            M = np.diag(0.5 * gamma**2 * sigma**2 * quotes.inventory**2.0 - up - down)
            M += np.diag((up * np.exp(-gamma * np.nan_to_num(bid)))[:-1], 1)
            M += np.diag((down * np.exp(-gamma * np.nan_to_num(ask)))[1:], -1)
            known[key] = expm(M * (ends[i] - quotes.times[i]))
        w = known[key] @ w
    return -np.log(w[m // 2]) / gamma


@pytest.mark.parametrize(
    "model",
    [
        "Avellaneda–Stoikov",
        "tanh bridge",
        "stationary closed form",
        "Guéant–Lehalle–Fernandez-Tapia, exact",
        "Cartea–Jaimungal–Penalva, φ = γσ²/2",
        "the same on ticks of 0.25",
        "and two sides, 3 ticks apart, to |q| = 2",
    ],
)
def test_a_row_is_worth_what_the_exponential_of_the_tilted_generator_says(script, model):
    make = {name: make for name, _, make in script.models()}[model]
    assert float(committed()[model][1]) == pytest.approx(tilted_worth(make(script.ROWS)), abs=6e-5)


def test_published_limits(script):
    """Reference values of the continuous problem, derived elsewhere to ten digits."""
    rows = committed()
    assert rows["Avellaneda–Stoikov"][2] == "61.4035"
    assert rows["Guéant–Lehalle–Fernandez-Tapia, exact"][2] == "64.1335"
    assert rows["tanh bridge"][2] == "64.1334"
    assert rows["stationary closed form"][2] == "64.0675"


def test_no_model_is_worth_more_than_the_optimum():
    values = {name: (float(row[1]), float(row[2])) for name, row in committed().items()}
    best = values["Guéant–Lehalle–Fernandez-Tapia, exact"][1]
    assert all(max(pair) <= best for pair in values.values())


def test_a_chapter_marks_its_own_rows(capsys):
    with pd.option_context("display.width", 400, "display.max_columns", None, "display.max_colwidth", None):
        chapter.ledger("ticks")
    lines = capsys.readouterr().out.splitlines()
    marked = [line for line in lines if "→" in line]
    assert len(marked) == 2
    assert "ticks of 0.25" in marked[0]
    assert "two sides" in marked[1]
    text = "\n".join(lines)
    assert text.count("61.39") == text.count("61.4035") == 1


def test_it_is_found_from_any_folder_and_its_absence_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    chapter.ledger("glft")
    assert "→" in capsys.readouterr().out
    monkeypatch.setattr(chapter, "LEDGER", tmp_path / "ledger.csv")
    with pytest.raises(ValueError, match=r"ledger needs data/ledger\.csv"):
        chapter.ledger("glft")
    with pytest.raises(ValueError, match="here must be the name of a chapter"):
        chapter.ledger("")
