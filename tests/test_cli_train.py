"""`mmlib train`: what it prints is what the library finds; interrupted it goes on; what it refuses."""

import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmlib import cli
from mmlib.cli import learners
from mmlib.learning import book_environment, environment, glass_box, policy_gradient, ppo, saved
from mmlib.market_making import Market, evaluate
from mmlib.order_book import lobster, replay

AS = Market(2.0, 140.0, 1.5)
SMALL = dict(horizon=0.1, steps=20, max_inventory=4)
OPTIONS = [part for name, value in SMALL.items() for part in ("-p", name, value)]
GRADIENT = ["train", "environment", "--algorithm", "gradient", "--timesteps", 20, *OPTIONS]
PAIR = ["--lobster", lobster.SAMPLE, lobster.SAMPLE]
ABSENT = importlib.util.find_spec("stable_baselines3") is None


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def mmlib(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def printed(*arguments):
    outcome = mmlib(*arguments)
    assert outcome.exit_code == 0, outcome
    return outcome.stdout


def rows(text):
    """Regret, gap closed and value by the row's name; fields are two blanks apart at least."""
    split = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {fields[0]: [float(f) if f != "—" else np.nan for f in fields[1:]] for fields in split if len(fields) == 4}


@pytest.mark.parametrize("gamma", [None, 0.5])
def test_the_gradients_policy_is_judged_as_the_evaluator_does(gamma):
    """The file read again and judged by `evaluate`; the optimum likewise; regrets from the two by hand."""
    found = rows(printed(*GRADIENT, *(() if gamma is None else ("-p", "gamma", gamma))))
    aims = dict(phi=0.2) if gamma is None else dict(gamma=gamma)

    def worth(quotes):
        if gamma is None:
            return evaluate.penalised(AS, quotes, 0.2)
        return evaluate.certainty_equivalent(AS, quotes, gamma, scheme="bernoulli")

    learned = worth(saved.unpack_quotes("policy.npz", AS))
    top = worth(environment.optimum(AS, **SMALL, **aims))
    assert found["learned"][2] == pytest.approx(learned, abs=5.1e-5)
    assert found["optimum"] == [0, 100, pytest.approx(top, abs=5.1e-5)]
    assert found["learned"][0] == pytest.approx(100 * (1 - learned / top), abs=5.1e-5)
    bottom = found["best constant spread"]
    assert bottom[1] == 0 and bottom[2] < found["learned"][2] < top
    classical = found["Cartea–Jaimungal–Penalva" if gamma is None else "Guéant–Lehalle–Fernandez-Tapia"]
    assert bottom[2] < classical[2] < top
    assert Path("policy.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_best_constant_is_the_best():
    """No half-spread of a fine grid is worth more; a grid step costs less than the printed digits."""
    from mmlib.market_making import strategies

    found = rows(printed(*GRADIENT))["best constant spread"][2]
    worth = [evaluate.penalised(AS, strategies.constant_spread(x, 0.1, 4, 20), 0.2) for x in np.arange(0.3, 1.5, 0.002)]
    assert found == pytest.approx(max(worth), abs=1e-4)


def test_the_glass_box_is_the_strategys(tmp_path):
    """19,200 steps are one round of eight policies × 400 episodes × 6 steps: as `glass_box.learn` does it."""
    options = ["-p", "A", 60, "-p", "horizon", 0.1, "-p", "steps", 6, "-p", "max_inventory", 3]
    found = rows(printed("train", "glass_box", "--timesteps", 3 * 19_200, "--seed", 4, *options, "-o", "gammas.npz"))
    regimes = glass_box.Regimes(np.array([1.0, 6.0]), np.array([[-2.0, 2.0], [8.0, -8.0]]))
    market, grid = Market(regimes.mean_sigma, 60.0, 1.5), dict(horizon=0.1, steps=6, max_inventory=3)
    learned = glass_box.learn(market, regimes, 0.1, rounds=3, seed=4, **grid)
    arrays, about = saved.unpack("gammas.npz", "gammas")
    assert np.array_equal(arrays["gammas"], learned.gammas) and about["episodes"] == 3 * 8 * 400
    quotes = glass_box.formula(market, regimes.mean_sigma, learned.gammas, **grid)
    value = glass_box.certainty_equivalent(market, regimes, quotes, 0.1)
    assert found["learned"][2] == pytest.approx(value, abs=5.1e-5)
    assert found["learned"][0] >= found["best pair of gammas"][0] >= 0


def test_the_glass_boxs_bandit_is_the_librarys():
    """4,801 steps of an arm are three batches of 400 episodes × 6 steps, the last one begun."""
    options = ["-p", "A", 60, "-p", "horizon", 0.1, "-p", "steps", 6, "-p", "max_inventory", 3, "--seed", 4]
    text = printed("train", "glass_box", "--algorithm", "bandit", "--timesteps", 4801, *options)
    regimes = glass_box.Regimes(np.array([1.0, 6.0]), np.array([[-2.0, 2.0], [8.0, -8.0]]))
    market, grid = Market(regimes.mean_sigma, 60.0, 1.5), dict(horizon=0.1, steps=6, max_inventory=3)
    learned = glass_box.bandit(market, regimes, 0.1, rounds=3, seed=4, **grid)
    arrays, about = saved.unpack("policy.npz", "gammas")
    assert np.array_equal(arrays["gammas"], learned.gammas) and about["episodes"] == learned.episodes
    adds = " and ".join(f"{bound:.2g}" for bound in learned.bounds)
    assert f"another arm in one regime alone adds at most {adds}, at 4 standard errors" in text
    quotes = glass_box.formula(market, regimes.mean_sigma, learned.gammas, **grid)
    value = glass_box.certainty_equivalent(market, regimes, quotes, 0.1)
    assert rows(text)["learned"][2] == pytest.approx(value, abs=5.1e-5)


@pytest.mark.deep
def test_what_was_learned_from_books_is_tested_on_the_part_after_them():
    """Two parts of half an hour, one round. The scores are those of the replay on the second part, by the library."""
    text = printed("train", "book_environment", *PAIR, "-p", "parts", 2, "--timesteps", 1, "--fee", "-0.2")
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    (learned,) = (line[1:] for line in lines if line[0] == "learned")
    table = saved.unpack_quotes("policy.npz")
    feed = replay.feed(lobster.read(lobster.SAMPLE), 0.01, 1)
    days = book_environment.parts(feed, float(feed["ts"][-1] - feed["ts"][0]) / 2e9 * (1 - 1e-9), lot=1)[:2]
    grid = dict(tick=0.01, lot=1, order_size=table.size, horizon=table.horizon, steps=1798, max_inventory=5)
    env = book_environment.BookEnv(days, **grid, latency=1_000_000, maker_fee=-0.2e-4)
    back, front = (book_environment.episode(env, table, 1, queue) for queue in ("back", "front"))
    scores = [back.score, front.score, book_environment.episode(env, table, 0).score]
    assert [float(x) for x in learned[:3]] == pytest.approx(scores, abs=0.051)
    assert int(learned[3]) == back.fills > 50
    assert "one part is one sample" in text and "2 parts of 1800 s" in text


@pytest.mark.parametrize("command", [GRADIENT, ["train", "glass_box", "--timesteps", 5 * 64_000, *OPTIONS]])
def test_an_interrupted_training_goes_on_to_the_same_policy(command, monkeypatch):
    """Interrupted after its third step; the same command continues at the fourth, and ends in the same bytes."""
    printed(*command, "-o", "whole.npz")
    module, name = (policy_gradient, "network") if command is GRADIENT else (glass_box, "learn")
    real, steps = getattr(module, name), []

    def interrupted(*arguments, watch, **options):
        def count(done, total, state):
            watch(done, total, state)
            steps.append(done)
            if len(steps) == 3:
                raise KeyboardInterrupt

        return real(*arguments, watch=count, **options)

    monkeypatch.setattr(getattr(learners, module.__name__.rpartition(".")[2]), name, interrupted)
    outcome = mmlib(*command)
    assert outcome.exit_code != 0 and "goes on from policy.npz.part" in outcome.stderr
    assert sorted(os.listdir()) == ["policy.npz.part", "whole.npz", "whole.png"]
    other = mmlib(*command, "--seed", 1)
    assert other.exit_code == 2 and "policy.npz.part is of another training (seed); remove it" in other.stderr
    printed(*command)
    assert steps[3] == 4
    assert Path("policy.npz").read_bytes() == Path("whole.npz").read_bytes()
    assert not os.path.exists("policy.npz.part")


def test_a_state_that_is_none_is_refused():
    for content in (b"nothing", saved.pack("policy", {}, {})):
        with open("policy.npz.part", "wb") as out:
            out.write(content)
        outcome = mmlib(*GRADIENT)
        assert outcome.exit_code == 2 and "policy.npz.part must be" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["enviroment"], "no environment 'enviroment'; did you mean 'environment'?; ENV is one of environment,"),
        (["glass_box", "--algorithm", "ppo"], "--algorithm must be one of es, bandit for glass_box; got 'ppo'"),
        (["environment", "--algorithm", "es"], "--algorithm must be one of ppo, gradient for environment; got 'es'"),
        (
            ["environment", "--algorithm", "bandit"],
            "--algorithm must be one of ppo, gradient for environment; got 'ban",
        ),
        (["book_environment", *PAIR, "--algorithm", "bandit"], "--algorithm must be one of es, ppo for book_env"),
        (["environment", "--timesteps", "0"], "Invalid value for '--timesteps'"),
        (["environment", "--seed", "-1"], "Invalid value for '--seed'"),
        (["environment", "-o", "x.zip"], "OUT must end in .npz; got 'x.zip'"),
        (["environment", "-o", "no/x.npz"], "cannot write no/x.npz: its folder does not exist"),
        (["environment", "-p", "sigm", "1"], "environment has no parameter 'sigm'; did you mean 'sigma'?"),
        (["environment", "-p", "steps", "100"], "steps must be >= 140, so that the fill probability A·dt at the mid"),
        (["environment", "-p", "sigma", "-1"], "sigma must be >= 0"),
        (["environment", "-p", "phi", "nan"], "phi must be >= 0"),
        (["environment", "-p", "gamma", "1", "-p", "phi", "1"], "gamma (risk aversion) or phi and alpha (penalties)"),
        (["environment", "-p", "reward", "utility"], "reward must be one of 'centred', 'realised'; got 'utility'"),
        (["environment", "-p", "high", "-1"], "low must be below high"),
        (["environment", "--algorithm", "gradient", "-p", "high", "1"], "reward and high are parameters of ppo"),
        (["glass_box", "-p", "rate_up", "-1"], "generator must be >= 0 off its diagonal"),
        (["glass_box", "-p", "low", "0"], "sigma must be > 0"),
        (["book_environment"], "book_environment needs --lobster or --binance, and no other ENV takes them"),
        (["environment", *PAIR], "book_environment needs --lobster or --binance, and no other ENV takes them"),
        (["environment", "--fee", "1"], "--fee is for data: give --lobster or --binance"),
        (["book_environment", "--lobster", "a", "b"], "no file at a"),
        (["book_environment", *PAIR, "--algorithm", "gradient"], "--algorithm must be one of es, ppo for book_env"),
        (["book_environment", *PAIR, "--queue", "orders"], "queue must be back, power or front: the parts of a day"),
        (["book_environment", *PAIR, "--queue", "side"], "queue must be one of"),
        (["book_environment", *PAIR, "-p", "parts", "1"], "parts must be an integer and >= 2"),
        (["book_environment", *PAIR, "-p", "decide", "300"], "decide must be at most a third of a part's 600 s"),
        (["book_environment", *PAIR, "-p", "decide", "0"], "decide must be > 0"),
        ([], "Missing argument 'ENV'"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(arguments, line):
    outcome = mmlib("train", *arguments)
    assert (outcome.exit_code, outcome.stdout, os.listdir()) == (2, "", [])
    (said,) = outcome.stderr.splitlines()
    assert said.startswith(f"mmlib: {line}"), said


@pytest.mark.skipif(not ABSENT, reason="Stable-Baselines3 is installed")
def test_without_torch_the_extra_is_named():
    outcome = mmlib("train", "environment", *OPTIONS)
    assert outcome.exit_code == 2 and 'pip install "mmlib[deep]"' in outcome.stderr and os.listdir() == []


@pytest.mark.deep
@pytest.mark.skipif(ABSENT, reason="Stable-Baselines3 is not installed (extra deep)")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reward", ["centred", "realised"])
def test_ppos_policy_is_judged_as_the_evaluator_does(reward):
    text = printed("train", "environment", "--timesteps", 100_000, *OPTIONS, "-p", "reward", reward)
    env = environment.MarketMakingEnv(AS, phi=0.2, scale=1.0, low=0.0, high=1.5, **SMALL)
    value = evaluate.penalised(AS, environment.quotes(env, ppo.load("policy.npz", env)), 0.2)
    assert rows(text)["learned"][2] == pytest.approx(value, abs=5.1e-5)
    assert "the best quotes in the box 0 to 1.5 lose" in text


@pytest.mark.deep
@pytest.mark.skipif(ABSENT, reason="Stable-Baselines3 is not installed (extra deep)")
@pytest.mark.filterwarnings("ignore")
def test_ppo_learns_from_recorded_books_and_stable_baselines_accepts_them():
    """The shipped hour in two parts, two rollouts: the file is a policy of that environment, judged on the second."""
    from stable_baselines3.common.env_checker import check_env

    options = ["-p", "parts", 2, "-p", "decide", 60, "--timesteps", 1600, "--algorithm", "ppo"]
    text = printed("train", "book_environment", *PAIR, *options)
    (score,) = re.findall(r"^learned +(\S+)", text, re.MULTILINE)
    policy = ppo.load("policy.npz")
    rules = policy.about["environment"]
    feed = replay.feed(lobster.read(lobster.SAMPLE), 0.01, 1)
    days = book_environment.parts(feed, float(feed["ts"][-1] - feed["ts"][0]) / 2e9 * (1 - 1e-9), lot=1)[:2]
    box = dict(low=rules["low"][0], high=rules["high"][0], scale=rules["scale"])
    grid = {name: rules[name] for name in ("tick", "lot", "order_size", "horizon", "steps", "max_inventory")}
    env = book_environment.BookEnv(days, **grid, **box, latency=1_000_000)
    check_env(env)
    table = book_environment.quotes(env, ppo.load("policy.npz", env))
    assert float(score) == pytest.approx(book_environment.episode(env, table, 1).score, abs=0.051)
