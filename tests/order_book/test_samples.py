"""The shipped hour: made by its script, read back exactly, and with the truth in its intervals."""

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mmlib import textfiles
from mmlib.order_book import binance, calibrate, events, lobster, synthetic

TRUTH = synthetic.SAMPLE
PERIOD = {"start": 34_200.0, "end": 34_200.0 + TRUTH["seconds"]}


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_order_book", Path(lobster.SAMPLE).parent / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hour():
    return lobster.read(lobster.SAMPLE, cache=False)


def contents(archive):
    with zipfile.ZipFile(archive) as found:
        return {name: found.read(name) for name in found.namelist()}


def test_the_script_makes_the_shipped_files(make, tmp_path):
    """Compared unpacked: two builds of zlib pack differently."""
    archive, capture = tmp_path / Path(lobster.SAMPLE).name, tmp_path / Path(binance.SAMPLE).name
    make.write(archive, capture)
    assert contents(archive) == contents(lobster.SAMPLE)
    assert textfiles.content(capture) == textfiles.content(binance.SAMPLE)


def test_what_was_written_is_read(make, hour):
    whole, half = make.sample()
    assert hour.equals(whole)
    found = binance.read_capture(binance.SAMPLE, levels=TRUTH["levels"], cache=False)
    names = events.book_columns(TRUTH["levels"])
    assert np.array_equal(found[names].iloc[-1].to_numpy(), half[names].iloc[-1].to_numpy(float), equal_nan=True)
    trades, made = found[found["kind"] == events.TRADE], half[half["kind"] == events.EXECUTE]
    for name in ("size", "price", "side"):
        assert trades[name].tolist() == made[name].tolist()
    assert (trades["time_ns"].to_numpy() == (made["time_ns"] // 10**6 + make.MIDNIGHT * 1000) * 10**6).all()


def test_they_are_small_and_their_messages_explain_their_books(hour):
    assert max(Path(path).stat().st_size for path in (lobster.SAMPLE, binance.SAMPLE)) < 300_000
    assert events.validate(hour).empty


@pytest.mark.parametrize("side", ["ask", "bid"])
def test_the_truth_lies_in_the_intervals(hour, side):
    """Of 95 %; the seed is fixed, so this is no test of the level but of the data being what they say."""
    fit = calibrate.intensity(hour, side, low=0.01, high=0.1, step=0.01, **PERIOD)
    assert fit.count > 500
    for name in ("A", "k"):
        low, high = getattr(fit, f"{name}_interval")
        assert low < TRUTH[name] < high
    assert fit.p_value > 0.05


def test_the_mid_has_its_volatility(hour):
    """rv over 60-second returns of the mid: n = 60 squares, so the standard error of σ̂ is σ/√120; three of them."""
    found = calibrate.volatility(hour, "rv5", window=60, **PERIOD)
    assert found == pytest.approx(TRUTH["sigma"], abs=3 * TRUTH["sigma"] / np.sqrt(120))
