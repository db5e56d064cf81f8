"""`mmlib simulate` and `mmlib backtest`: they print what the library finds; what they refuse, and how they end."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mmlib import cli
from mmlib.cli import league, models, simulate
from mmlib.market_making import Market, evaluate, glft
from mmlib.order_book import binance, lobster, replay, synthetic

ROOT = Path(__file__).parents[1]
PAIR = ("--lobster", lobster.SAMPLE, lobster.SAMPLE)
TRUTH = [part for name in ("sigma", "A", "k") for part in ("-p", name, synthetic.SAMPLE[name])]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))


def mmlib(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def printed(*arguments):
    outcome = mmlib(*arguments)
    assert (outcome.exit_code, outcome.stderr) == (0, ""), outcome
    return outcome.stdout


def rows(text):
    """Fields by the row's name, of a printed table whose fields are two blanks apart at least."""
    split = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {fields[0]: fields[1:] for fields in split if len(fields) > 1}


def number(text):
    """The number and the standard error of 67.55(3)."""
    value, _, error = text.replace(",", "").rstrip(")").partition("(")
    decimals = len(value.partition(".")[2])
    return float(value), float(error or "nan") * 10**-decimals


def refused(*arguments):
    before = sorted(os.listdir())
    outcome = mmlib(*arguments)
    assert (outcome.exit_code, outcome.stdout) == (2, ""), outcome
    assert sorted(os.listdir()) == before
    (line,) = outcome.stderr.splitlines()
    return line


@pytest.mark.deep
def test_the_common_market_alone():
    """64.13348915 is the optimum's certainty equivalent at Avellaneda & Stoikov's parameters."""
    found = rows(printed("simulate", "hjb", "--seed", 42, "--paths", 4000))
    assert found["certainty equivalent"][0] == "64.13"
    for name in ("mean", "std", "VaR", "CVaR", "inventory std", "certainty equivalent"):
        estimate, error = number(found[name][1])
        assert abs(estimate - float(found[name][0])) < 4 * error, name


def test_the_seed_decides():
    texts = [printed("simulate", "glft", "--paths", 50, "--seed", seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("model", models.MODELS)
def test_every_model_is_its_quotes(model):
    """The printed exact mean against simulation of the same quotes from the library, five standard errors."""
    found = rows(printed("simulate", model, "--paths", 200, "-p", "max_inventory", 5, "-p", "sigma", 1.5))
    estimate, error = number(found["mean"][1])
    assert abs(estimate - float(found["mean"][0])) < 5 * error


def test_parameters_reach_market_model_and_judge():
    options = ["-p", "sigma", "1.0", "-p", "A", "90", "-p", "k", "2.0", "-p", "gamma", "0.3", "-p", "horizon", "0.5"]
    text = printed("simulate", "glft", "--paths", 50, *options, "-p", "max_inventory", "4", "-p", "steps", "50")
    market = Market(sigma=1.0, A=90.0, k=2.0)
    quotes = glft.quotes(market, gamma=0.3, horizon=0.5, max_inventory=4, steps=50)
    assert rows(text)["certainty equivalent"][0] == f"{evaluate.certainty_equivalent(market, quotes, 0.3):.4g}"


def test_the_certainty_equivalents_error_is_the_jackknifes():
    """Which leaves out one path at a time, and differentiates nothing; both are of the order 1/n from the truth."""
    profit, gamma = np.random.default_rng(3).normal(60.0, 4.0, 500), 0.1
    mean = pd.DataFrame({"value": [60.1], "error": 0.2}, ["mean"])
    found = SimpleNamespace(profit=profit, summary=lambda level: mean)
    value, error = simulate._simulated(found, gamma)["certainty equivalent"]
    utility = np.exp(-gamma * profit)
    assert value == pytest.approx(-np.log(utility.mean()) / gamma, rel=1e-12)
    left = -np.log((utility.sum() - utility) / 499) / gamma
    assert error == pytest.approx(np.sqrt(499 / 500 * ((left - left.mean()) ** 2).sum()), rel=0.01)
    assert simulate._simulated(found, 0.0)["certainty equivalent"] == (60.1, 0.2)


def test_own_parameters_and_defaults_of_the_rules():
    market = Market(sigma=2.0, A=140.0, k=1.5)
    plain = models.quotes("linear_skew", market, {})
    assert np.nanmax(abs(plain.bid[0] - (1 + 0.1 * plain.inventory) / 1.5)) < 1e-15
    given = models.quotes("hard_boundary", market, {"half_spread": 0.4, "cost": 0.3, "target": 2, "max_inventory": 3})
    assert (given.limit, given.target, given.cost, given.bid[0, 0]) == (3, 2, 0.3, 0.4)


def test_the_league_in_the_model():
    found = rows(printed("backtest", "glft", "constant_spread", "--paths", 2000))
    assert list(found)[-2:] == ["glft", "constant_spread"]
    market = Market(sigma=2.0, A=140.0, k=1.5)
    for name in ("glft", "constant_spread"):
        exact = evaluate.moments(market, models.quotes(name, market, {}), "continuous")
        profit, error = number(found[name][0])
        assert abs(profit - exact.mean) < 4 * error


def test_the_league_on_lobster_files():
    """Against the library, and the parts against their sum, to the printed digits."""
    text = printed("backtest", "glft", "constant_spread", *PAIR, *TRUTH, "-p", "size", 50, "--fee", "-0.2")
    found = rows(text)
    events = lobster.read(lobster.SAMPLE, cache=False)
    market = Market(**{name: synthetic.SAMPLE[name] for name in ("sigma", "A", "k")})
    for name in ("glft", "constant_spread"):
        quotes = models.quotes(name, market, {}, 3600.0)
        quotes = type(quotes)(quotes.times, quotes.inventory, quotes.bid, quotes.ask, quotes.horizon, size=50.0)
        paid = replay.backtest(events, quotes, tick=0.01, lot=1, latency=1_000_000, maker_fee=-0.2e-4)
        profit, _, fall, trades, *parts = (float(field.replace(",", "")) for field in found[name][:8])
        assert abs(profit - paid.profit) <= 0.5
        assert int(trades) == len(paid.fills)
        assert abs(parts[0] + parts[1] + parts[2] - parts[3] - profit) < 1
        assert 0 < fall < abs(profit)
    assert "tick 0.01, lot 1, orders of 50, 3,600 s" in text


def test_what_is_not_given_is_calibrated():
    """σ, A and k of the sample within 20 % of its truth, and the order the median trade."""
    title = printed("backtest", "constant_spread", *PAIR).splitlines()[0]
    found = dict(zip(("sigma", "A", "k"), map(float, re.findall(r"\b(?:sigma|A|k) ([\d.]+)", title)), strict=True))
    for name, value in found.items():
        assert value == pytest.approx(synthetic.SAMPLE[name], rel=0.2)
    events = lobster.read(lobster.SAMPLE, cache=False)
    assert f"orders of {np.median(events.loc[events['kind'] == 4, 'size']):g}," in title
    assert "sigma 0.5, " in printed("backtest", "constant_spread", *PAIR, "-p", "sigma", 0.5)


def test_a_capture_and_a_folder_of_captures(tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    for name in ("btcusdt.gz", "ethusdt.gz"):
        (folder / name).write_bytes(Path(binance.SAMPLE).read_bytes())
    options = ["backtest", "constant_spread", *TRUTH]
    alone = printed(*options, "--binance", binance.SAMPLE)
    assert printed(*options, "--binance", folder, "--symbol", "BTC") == alone
    assert "it has 2: btcusdt.gz, ethusdt.gz" in refused(*options, "--binance", folder)
    assert "it has 0" in refused(*options, "--binance", folder, "--symbol", "sol")


def test_queue_and_latency_matter():
    options = ["backtest", "constant_spread", *PAIR, *TRUTH, "-p", "half_spread", 0.01]  # at the touch
    texts = [printed(*options, *more) for more in ((), ("--queue", "front"), ("--latency", 500))]
    assert len(set(texts)) == 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["simulate", "glf"], "mmlib: no model 'glf'; did you mean 'glft'?; MODEL is one of avellaneda_stoikov,"),
        (["backtest", "glft", "glft"], "mmlib: model 'glft' is given twice"),
        (["simulate", "glft", "-p", "gama", "1"], "mmlib: glft has no parameter 'gama'; did you mean 'gamma'?"),
        (["simulate", "glft", "-p", "half_spread", "1"], "mmlib: glft has no parameter 'half_spread'"),
        (["simulate", "glft", "-p", "gamma", "x"], "mmlib: gamma must be a number; got 'x'"),
        (["simulate", "glft", "-p", "steps", "1.5"], "mmlib: steps must be a whole number; got '1.5'"),
        (["simulate", "glft", "-p", "gamma", "nan"], "mmlib: gamma must be"),
        (["simulate", "glft", "-p", "sigma", "-1"], "mmlib: sigma must be >= 0"),
        (["simulate", "glft", "-p", "gamma"], "mmlib: -p takes a NAME and a VALUE; got gamma and no value"),
        (["simulate", "glft", "-p", "gamma", "--seed", "1"], "mmlib: -p takes a NAME and a VALUE; got gamma and no"),
        (["simulate", "glft", "--paths", "1"], "mmlib: Invalid value for '--paths'"),
        (["simulate", "glft", "--seed", "-1"], "mmlib: Invalid value for '--seed'"),
        (["simulate", "glft", "--plot", "x.pdf"], "mmlib: --plot must name a file that ends in .png; got 'x.pdf'"),
        (["simulate", "glft", "--plot", "no/x.png"], "mmlib: cannot write no/x.png: its folder does not exist"),
        (["backtest"], "mmlib: Missing argument 'MODEL...'; see mmlib backtest --help"),
        (["backtest", "glft", "--lobster", "a", "b"], "mmlib: no file at a"),
        (["backtest", "glft", "--binance", "a"], "mmlib: no file or folder at a"),
        (["backtest", "glft", "--binance", "a", *PAIR], "mmlib: give one of --lobster and --binance"),
        (["backtest", "glft", "--symbol", "a"], "mmlib: --symbol chooses a file of the folder"),
        (["backtest", "glft", "--fee", "1"], "mmlib: --fee is for data: give --lobster or --binance"),
        (["backtest", "glft", "--queue", "front"], "mmlib: --queue is for data"),
        (["backtest", "glft", *PAIR, "-p", "impact", "1"], "mmlib: impact is a parameter of the model market"),
        (["backtest", "glft", *PAIR, "--queue", "middle"], "mmlib: queue must be one of"),
        (["backtest", "glft", *PAIR, "--latency", "-1"], "mmlib: Invalid value for '--latency'"),
        (["backtest", "glft", *PAIR, "--latency", "1e9"], "mmlib: latency must be <= 60000 (ms); got 1000000000.0"),
        (["backtest", "glft", *PAIR, "--latency", "1e300"], "mmlib: latency must be <= 60000 (ms); got 1e+300"),
        (["backtest", "glft", *PAIR, "--lot", "1e-300"], "mmlib: order_size must be a whole number of lots (1e-300)"),
        (["backtest", "glft", *PAIR, "-p", "size", "1e308"], "mmlib: order_size must be a whole number of lots (1)"),
        (["backtest", "glft", *PAIR, "--tick", "1e308"], "mmlib: a parameter is too large or too small to compute"),
        (["backtest", "glft", *PAIR, "--lot", "1e308"], "mmlib: feed must have a bid and an ask at once, of a lot"),
        (["backtest", "constant_spread", *PAIR, "-p", "k", "1e-308"], "mmlib: a parameter is too large or too small"),
        (["simulate", "glft", "-p", "sigma", "1e308"], "mmlib: a parameter is too large or too small to compute with"),
        (["simulate", "glft", "-p", "A", "1e308"], "mmlib: A · horizon · paths must be <= 1e+10 (fills); got 1e+308"),
        (["backtest", "glft", "-p", "horizon", "1e4"], "mmlib: A · horizon · paths must be <= 1e+10 (fills); got 140"),
        (["simulate", "glft", "-p", "sigma", "1e150"], "mmlib: the log-ratios could not be integrated"),
        (["backtest", "glft", *PAIR, "--tick", "0"], "mmlib: tick must be > 0"),
        (["backtest", "glft", *PAIR, "--tick", "0.07"], "mmlib: tick must divide every price (0.07)"),
        (["backtest", "glft", *PAIR, "--lot", "nan"], "mmlib: lot must be > 0"),
        (["backtest", "glft", *PAIR, "-p", "size", "0"], "mmlib: size must be > 0"),
        (["backtest", "glft", *PAIR, "-p", "size", "0.5"], "mmlib: order_size must be a whole number of lots"),
        (["backtest", "glft", "--binance", __file__], "mmlib: test_cli_models.py, line 1: must begin with the local"),
        (["backtest", "glft", "--lobster", __file__, __file__], "mmlib: test_cli_models.py: orderbook_path must be"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(arguments, line):
    assert refused(*arguments).startswith(line)


def test_a_picture_is_drawn(tmp_path):
    for arguments in (["simulate", "glft"], ["backtest", "glft", "symmetric"]):
        assert printed(*arguments, "--paths", 30, "--plot", "a.png").endswith("written: a.png\n")
        assert Path("a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    printed("backtest", "constant_spread", *PAIR, *TRUTH, "--plot", "b.png")
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


def test_a_full_disk_leaves_the_old_picture(monkeypatch, tmp_path):
    Path("a.png").write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    outcome = mmlib("simulate", "glft", "--paths", 30, "--plot", "a.png")
    assert outcome.exit_code == 1
    assert outcome.stderr.splitlines()[-1].endswith("a.png: No space left on device")
    assert (os.listdir(tmp_path), Path("a.png").read_bytes()) == (["a.png"], b"old")
    assert "certainty equivalent" in outcome.stdout  # minutes of work are told all the same


def test_ctrl_c_ends_it_cleanly(tmp_path):
    """A process of its own, sent SIGINT while it simulates: no picture, no traceback, no output."""
    code = (
        "import pathlib, sys\n"
        "from mmlib.market_making import simulate\n"
        "run = simulate.run\n"
        "def slow(*a, **k):\n"
        "    pathlib.Path('started').touch()\n"
        "    while True: run(*a, **k)\n"
        "simulate.run = slow\n"
        "from mmlib.cli import app\n"
        "sys.argv = ['mmlib', 'simulate', 'glft', '--paths', '20', '--plot', 'a.png']\n"
        "app()\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, preexec_fn=restore, **pipes) as process:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "started").exists():
                assert process.poll() is None, process.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, stdout, stderr) == (130, b"", b"")
    assert os.listdir(tmp_path) == ["started"]


@pytest.mark.deep
def test_the_commands_of_the_readme_run(monkeypatch, tmp_path):
    """As written, from a copy of the folder they name."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    text = (ROOT / "README.md").read_text()
    lines = re.findall(r"^\.venv/bin/mmlib ((?:simulate|backtest|train) .*)$", text, re.MULTILINE)
    assert {line.split()[0] for line in lines} == {"simulate", "backtest", "train"}
    assert len(lines) >= 3
    for line in lines:
        printed(*shlex.split(line, comments=True))


def test_the_league_says_nan_of_what_has_no_value():
    """A maker too far away to be filled: no trades, no Sharpe ratio, a profit of 0."""
    found = rows(printed("backtest", "constant_spread", *PAIR, *TRUTH, "-p", "half_spread", 90))
    assert found["constant_spread"][:4] == ["0.000", "—", "0.000", "0"]
    assert league.estimate(1.0, float("nan")) == "1"
