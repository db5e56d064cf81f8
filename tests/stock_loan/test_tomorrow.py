"""Tomorrow's demand of a book and what to borrow for it: by another route, and from nothing that comes later."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mmlib.cli import app
from mmlib.stock_loan import allocation, sources
from mmlib.stock_loan._tomorrow import tomorrow

DATE = pd.Timestamp("2025-10-02")


@pytest.fixture(scope="module")
def book():
    return sources.open(sources.SAMPLE)


@pytest.fixture(scope="module")
def solution(book):
    return allocation.solve(allocation.problem(book, DATE, turnover_cost=0.02))


@pytest.fixture(scope="module")
def found(book, solution):
    return tomorrow(book, DATE, solution, shortage=300, excess=60)


def test_the_pre_borrow_is_the_quantile_less_what_is_free(book, solution, found):
    """Syntetos–Boylan and the normal errors written out from the locates, for every name that is asked for rarely."""
    q = book.locates[book.locates["trade_date"] <= DATE].merge(book.securities[["security_id", "bucket"]])
    cut = (q["quantity_approved"] < q["quantity_requested"]).groupby([q["trade_date"], q["security_id"]])
    sums = q[~cut.transform("any")].groupby("bucket")[["quantity_shorted", "quantity_requested"]].sum()
    kappa = sums["quantity_shorted"] / sums["quantity_requested"]
    q = q.assign(wanted=q["quantity_requested"] * q["bucket"].map(kappa))
    days = book.dates[book.dates <= DATE]
    close = book.closes.set_index(["trade_date", "security_id"])["close"]
    used = {name: solution.allocation[s].sum() + solution.external[s].sum()
            for s, name in enumerate(solution.problem.securities)}  # fmt: skip
    rare = found.index[found["model"] == "sba"]
    assert len(rare) > 40
    for name in rare:
        y = q[q["security_id"] == name].groupby("trade_date")["wanted"].sum().reindex(days, fill_value=0.0).to_numpy()
        size, interval, since, errors, forecast = 0.0, 0.0, 0, [], None
        for value in y:
            if forecast is not None:
                errors.append(value - forecast)
            since += 1
            if value > 0:
                size, interval = (size + 0.1 * (value - size), interval + 0.1 * (since - interval)) if size else (
                    value, since)  # fmt: skip
                since = 0
            forecast = 0.95 * size / interval if size else None
        row, sd = found.loc[name], np.sqrt(np.mean(np.square(errors)))
        expected = [max(forecast - 1.6448536 * sd, 0), forecast, forecast + 1.6448536 * sd]
        assert row[["low", "median", "high"]].to_numpy(float) == pytest.approx(expected, rel=1e-6)
        free = solution.problem.supply[solution.problem.securities.index(name)].sum() - used[name]
        assert row["free"] == pytest.approx(free, abs=1e-6)
        more = max(forecast + 0.9674216 * sd - free, 0)  # the normal quantile of 5/6
        assert more <= row["pre_borrow"] + 1e-3 and row["pre_borrow"] < more + 1.001
        assert row["dollars"] == pytest.approx(row["pre_borrow"] * close[DATE, name])
    assert (found["pre_borrow"] > 0).any()


def test_nothing_later_is_seen(book, solution, found):
    """Locates after the date tripled, approved in full: the same table."""
    late = book.locates["trade_date"] > DATE
    columns = ["quantity_requested", "quantity_approved"]
    changed = book.locates.copy()
    changed.loc[late, columns] = 3 * changed.loc[late, ["quantity_requested"] * 2].to_numpy()
    other = tomorrow(replace(book, locates=changed), DATE, solution, shortage=300, excess=60)
    pd.testing.assert_frame_equal(other, found, check_exact=True)


def test_a_dearer_shortage_never_borrows_less(book, solution, found):
    more = tomorrow(book, DATE, solution, shortage=3000, excess=60)
    assert (more["pre_borrow"] >= found["pre_borrow"]).all()
    assert more["pre_borrow"].sum() > found["pre_borrow"].sum()


def test_without_locates_there_is_no_forecast_and_too_few_days_are_a_reason(book, solution):
    assert tomorrow(replace(book, locates=book.locates.iloc[:0]), DATE, solution, shortage=1, excess=1).empty
    early = pd.Timestamp(book.dates[20])
    short = tomorrow(book, early, allocation.solve(allocation.problem(book, early)), shortage=300, excess=60)
    assert short["error"].str.contains("at least 30 values").all() and short["pre_borrow"].isna().all()


def test_the_command_prints_the_names_that_need_most(found, tmp_path):
    done = CliRunner().invoke(app, ["desk", str(sources.SAMPLE), "--date", f"{DATE:%F}", "-o", str(tmp_path / "r")])
    top = found.sort_values("dollars", ascending=False).iloc[0]
    line = next(line for line in done.stdout.splitlines() if top.name in line)
    assert f"{top['median']:,.0f} ({top['low']:,.0f} to {top['high']:,.0f})" in line
    assert f"{top['pre_borrow']:,.0f}" in line
    assert "Tomorrow's demand" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    early = CliRunner().invoke(app, ["desk", str(sources.SAMPLE), "--date", "2025-09-10", "-o", str(tmp_path / "e")])
    assert "not forecast: it takes 30 days with locates" in early.stdout
    bad = CliRunner().invoke(app, ["desk", str(sources.SAMPLE), "--shortage", "0", "-o", str(tmp_path / "b")])
    assert bad.exit_code == 2 and "shortage must be > 0" in bad.stderr and not (tmp_path / "b").exists()
