"""The chapters on real files, by the results they store; the numbers are those of another program."""

import nbformat
import papermill
import pytest

from mmlib import _notebooks as notebooks
from mmlib import chapter
from mmlib.order_book import sources

FILES = {
    "amzn": "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_1.zip",
    "goog": "lobster/LOBSTER_SampleFile_GOOG_2012-06-21_1.zip",
    "btc": "binance/usdm_btcusdt_20240808.gz",
}


@pytest.fixture(scope="module")
def copies(real, tmp_path_factory):
    """Copies, since a reader keeps its cache beside the file where it may."""
    folder = tmp_path_factory.mktemp("real")
    found = {}
    for name, file in FILES.items():
        found[name] = folder / (real / file).name
        found[name].write_bytes((real / file).read_bytes())
    return found


def results(name, folder, **parameters):
    path = notebooks.NOTEBOOKS / f"order_book/{name}.ipynb"
    out = folder / "out.ipynb"
    papermill.execute_notebook(str(path), str(out), parameters, progress_bar=False)
    return chapter.read_results(nbformat.read(out, as_version=4))


@pytest.mark.parametrize(
    ("which", "spread", "sizes"),
    [("amzn", 12.848502, (128.99419, 228.20405)), ("goog", 27.330526, (147.81380, 165.54459)), ("btc", 1.1405, None)],
)
def test_spread_and_sizes_weighted_by_time(copies, which, spread, sizes):
    """The last row counts to the end of the session here, not there: less than a second of 23,400."""
    events = sources.open(copies[which])
    tick, lot = sources.steps(events)
    assert (tick, lot) == ((0.01, 1.0) if which != "btc" else (pytest.approx(0.1), pytest.approx(0.001)))
    start, end = sources.period(events)
    assert (start, end) == ((34_200, 57_600) if which != "btc" else (1_723_161_257, 1_723_161_599))
    best = sources.best(events)
    ends = best["time_ns"].shift(-1, fill_value=int(end * 1e9)).clip(int(start * 1e9), int(end * 1e9))
    weight = ends - best["time_ns"].clip(int(start * 1e9), int(end * 1e9))
    mean = {name: (best[name] * weight).sum() / weight.sum() for name in ("ask", "bid", "ask_size", "bid_size")}
    assert (mean["ask"] - mean["bid"]) / tick == pytest.approx(spread, rel=2e-4 if which == "btc" else 5e-5)
    if sizes:
        assert (mean["ask_size"], mean["bid_size"]) == pytest.approx(sizes, rel=5e-5)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("which", "every", "volatility", "spread"),
    [
        ("amzn", 1800.0, 0.019817813, 12.848502),
        ("goog", 1800.0, 0.040278266, 27.330526),
        ("btc", 30.0, 7.4859293, 1.1405),
    ],
)
def test_the_chapter_of_events(copies, tmp_path, which, every, volatility, spread):
    """Volatility at a second and mean spread of another program; no message unexplained."""
    found = results("events", tmp_path, data=str(copies[which]), far=40, every=every)
    assert found["volatility_of_mid"] == pytest.approx(volatility, rel=1e-6)
    assert found["spread_ticks"] == pytest.approx(spread, rel=2e-4)
    assert found["not_explained"] == 0


@pytest.mark.deep
@pytest.mark.parametrize(
    ("which", "parameters", "expected"),
    [
        (
            "amzn",
            {"low": 5.0, "high": 40.0, "step": 0.5},
            {"sigma": 0.021872816, "A_ask": 0.33672377, "k_ask": 31.196772, "k_ask_regression": 35.63},
        ),
        (
            "btc",
            {"low": 5.5, "high": 30.5, "order": 0.01},
            {"A_ask": 1.3590231, "k_ask": 0.44940731, "k_ask_regression": 0.4462},
        ),
    ],
)
def test_the_chapter_of_calibration(copies, tmp_path, which, parameters, expected):
    """Estimates of another program; and that orders left ten seconds give half of k and less."""
    found = results("calibrate", tmp_path, data=str(copies[which]), days=10, draws=60, **parameters)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-4 if "regression" in name else 1e-6)
    assert found["k_ask_fixed_10s"] < 0.6 * found["k_ask"]


@pytest.mark.deep
def test_the_chapter_of_replay_on_a_real_day(copies, tmp_path):
    """What the chapter's text says of Amazon: promised 15,050, lost 7,870 and 8,150, and the mid's 5.4 cents.

    The last is a number of another program (and so are replays of the library, in test_real).
    """
    found = results("replay", tmp_path, data=str(copies["amzn"]), low=5.0, high=40.0, step=0.5)
    assert found["markout_of_takers_ticks"] == pytest.approx(5.401363, rel=1e-6)
    assert found["model"] == pytest.approx(15_050, abs=10)
    assert found["back"] == pytest.approx(-7_870, abs=10)
    assert found["front"] == pytest.approx(-8_150, abs=10)


@pytest.mark.deep
def test_the_chapter_of_replay_on_a_capture(copies, tmp_path):
    found = results("replay", tmp_path, data=str(copies["btc"]), low=5.5, high=30.5, order=0.01)
    assert found["model"] > 0 > found["back"]
