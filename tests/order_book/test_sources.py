"""One path, the right loader; ticks and lots from the prices; blocks of time drawn again."""

import numpy as np
import pytest

from mmlib.order_book import calibrate, lobster, resampling, sources, synthetic, toxicity
from mmlib.order_book.events import EventError

RANGE = {"low": 0.01, "high": 0.1, "step": 0.01}


@pytest.fixture(scope="module")
def hour():
    return synthetic.lobster_events(sigma=0.008, A=0.25, seconds=3600, levels=1, depth=12, churn=0.0, seed=4)


def test_each_kind_of_path_reaches_its_loader(hour, tmp_path):
    few = hour.iloc[:200]
    message, book = tmp_path / "X_message_1.csv", tmp_path / "X_orderbook_1.csv"
    lobster.write(few, message, book)
    synthetic.write_capture(few.iloc[30:], tmp_path / "capture.gz")
    assert sources.open(message).equals(few)
    assert sources.open(str(tmp_path / "capture.gz"), levels=2).attrs["report"]["gaps"] == []
    book.unlink()
    with pytest.raises(EventError, match=r"X_orderbook_1\.csv: cannot be read"):
        sources.open(message)


@pytest.mark.parametrize("name", ["none.zip", "", "x\0y", "n" * 5000])
def test_what_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(EventError, match="data must be a LOBSTER zip or message file, or a Binance capture"):
        sources.open(tmp_path / name if "\0" not in name else name)


def test_an_archive_without_a_book_is_refused(tmp_path):
    path = tmp_path / "BTCUSDT-aggTrades-2026-09-15.csv"
    path.write_text("1,100.5,2.0,1,1,1758874297571,true\n")
    with pytest.raises(EventError, match="data must hold a book"):
        sources.open(path)


@pytest.mark.parametrize(("tick", "seconds"), [(0.01, 60), (0.05, 60)])
def test_tick_and_lot_are_those_of_the_flow(tick, seconds):
    events = synthetic.lobster_events(tick=tick, seconds=seconds, seed=1)
    assert sources.steps(events) == (pytest.approx(tick, abs=1e-12), 1.0)
    assert sources.period(events)[0] == 34_200.0
    assert 34_200 < sources.period(events)[1] <= 34_200 + seconds


def test_steps_of_a_book_that_is_never_filled_are_refused(hour):
    events = hour.iloc[:50].copy()
    for name in [name for name in events if name[:4] in ("ask_", "bid_")]:
        events[name] = np.nan if "price" in name else 0.0
    with pytest.raises(EventError, match="events must have a book: all its levels are empty"):
        sources.steps(events)


def test_the_period_of_one_row_and_of_none(hour):
    """Of LOBSTER's rows the whole second around them; a time is not taken from a file of mixed kinds as if it were."""
    row = hour.iloc[:1].copy()
    row["time_ns"] = 34_200_500_000_000
    assert sources.period(row) == (34_200.0, 34_201.0)
    with pytest.raises(EventError):
        sources.period(hour.iloc[:0])


def test_the_period_of_a_capture_is_that_of_all_its_kinds(hour, tmp_path):
    synthetic.write_capture(hour.iloc[30:1000], tmp_path / "c.gz")
    events = sources.open(tmp_path / "c.gz")
    start, end = sources.period(events)
    for kind in (11, 12, 13):
        time = events.loc[events["kind"] == kind, "time_ns"]
        assert time.min() <= start * 1e9 < end * 1e9 <= time.max()


def test_every_block_once_is_the_calibration_itself(hour):
    """Row 0 against `calibrate.market`, which has its own kernel and its own counts."""
    period = {"start": 34_200, "end": 37_800}
    drawn = resampling.markets(hour, **RANGE, **period, draws=3)
    whole = calibrate.market(hour, **RANGE, **period)
    assert drawn.iloc[0].tolist() == pytest.approx([whole.sigma, whole.A, whole.k], rel=1e-12)


def test_the_spread_of_the_draws_is_that_of_poisson_hits(hour):
    """sd of k̂/k is 1/√n, of Â/A √((1 + (k low)²)/n), of a bootstrap of 12 blocks √(11/12) of it, itself known to a
    quarter (1/√24, and the draws): three of these."""
    drawn = resampling.markets(hour, **RANGE, start=34_200, end=37_800, draws=2000)
    hits = calibrate.aggressors(hour)
    n = np.sum(hits["depth"] > 0.005)
    spread = drawn.iloc[1:].std() / drawn.iloc[0]
    assert spread["k"] == pytest.approx(1 / np.sqrt(n), rel=0.75)
    assert spread["A"] == pytest.approx(np.sqrt((1 + 0.3**2) / n), rel=0.75)


def test_too_few_blocks_are_refused(hour):
    with pytest.raises(ValueError, match="block must leave 10 blocks at least of 3600 s; 400 s leaves 9"):
        resampling.markets(hour, **RANGE, start=34_200, end=37_800, block=400)


def test_the_mid_follows_informed_takers(hour):
    """informed·tick·(1 − e^{−h/lag}) after h seconds, within four standard errors; the volatility stays."""
    flow = dict(sigma=0.008, A=0.25, k=30.0, seconds=7200, levels=1, depth=12, churn=0.0)
    told = synthetic.lobster_events(**flow, informed=0.6, lag=2.0, seed=5)
    moves = toxicity.markout(told, (1, 5))
    for h in (1, 5):
        found = moves[f"move_{h}s"].dropna()
        expected = 0.6 * 0.01 * (1 - np.exp(-h / 2.0))
        assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(len(found)))
        assert found.mean() > 5 * found.std() / np.sqrt(len(found))
    rv = np.diff(calibrate.grid(told, 34_200, 41_400, 10.0))
    assert np.mean(rv**2) / 10 == pytest.approx(0.008**2, rel=4 * np.sqrt(2 / len(rv)))
    plain = toxicity.markout(hour, (5,))["move_5s"].dropna()
    assert abs(plain.mean()) < 4 * plain.std() / np.sqrt(len(plain))


def test_too_many_informed_are_refused():
    with pytest.raises(ValueError, match=r"informed must be >= 0 and <= 0\.17"):
        synthetic.lobster_events(sigma=0.008, A=2.5, informed=0.5)


@pytest.mark.parametrize(
    ("hits", "kept"), [([50, 50, 50, 40, 30, 10], 5), ([50, 40, 30, 30, 30, 10], 3), ([50, 40], 2)]
)
def test_a_flat_rate_stays_flat_in_the_measured_intensity(hits, kept):
    """Equal rates in the near stay, since that is where a maker would quote too close; at the far end they cannot."""
    rate = np.array(hits) / 100
    fit = calibrate.Intensity("ask", *[np.nan] * 2, *[(np.nan, np.nan)] * 4, hits[0], np.nan, 0, np.nan,
                              0.01 * np.arange(1, len(hits) + 1), rate)  # fmt: skip
    found = calibrate.measured(fit, least=20)
    assert found.rates.tolist() == rate[:kept].tolist()
    assert found.rate(fit.distance[:kept]) == pytest.approx(rate[:kept], rel=1e-12)
    if hits[0] == hits[1]:
        assert found.rate(0.001) == pytest.approx(rate[0], rel=1e-12)


def test_one_rate_alone_is_no_intensity(hour):
    fit = calibrate.intensity(hour, "ask", **RANGE, start=34_200, end=37_800, resamples=0)
    with pytest.raises(ValueError, match="least must leave two different rates at least; 100000 hits leave 0"):
        calibrate.measured(fit, least=100_000)


def test_the_best_prices_are_the_books_and_those_sent(hour, tmp_path):
    """Of a capture written from a book: its touches, as the book's rows have them; rows without a side are left out."""
    part = hour.iloc[30:400]
    found = sources.best(part)
    names = ["bid_price_1", "bid_size_1", "ask_price_1", "ask_size_1"]
    assert found[["bid", "bid_size", "ask", "ask_size"]].to_numpy().tolist() == part[names].dropna().to_numpy().tolist()
    synthetic.write_capture(part, tmp_path / "c.gz")
    sent = sources.best(sources.open(tmp_path / "c.gz"))
    changed = part[names][part[names].ne(part[names].shift()).any(axis=1)].iloc[1:].dropna()
    assert sent[["bid", "bid_size", "ask", "ask_size"]].to_numpy().tolist() == changed.to_numpy(float).tolist()
    torn = part.copy()
    torn.loc[torn.index[5], "bid_price_1"] = np.nan
    assert len(sources.best(torn)) == len(found) - 1
