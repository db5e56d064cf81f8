"""Regimes: the reference's exact values, a simulation with its own stream, and what an agent of two numbers learns."""

import math

import numpy as np
import pytest
from scipy.linalg import expm

from mmlib.learning import environment, glass_box
from mmlib.learning._bandit import choose
from mmlib.market_making import Market, evaluate, glft

AS = Market(2.0, 140.0, 1.5)
CHAIN = dict(horizon=1.0, steps=200, max_inventory=30)
#: regimes, optimum, then regret in % of: gamma on the mean, rule of today's volatility, gamma by regime; its gammas
TABLE = [
    ((1, 4), (4, 4), 64.50414257, 0.322, 0.199, 0.041, (0.0353, 0.1612)),
    ((1, 6), (2, 8), 64.80540431, 0.749, 0.328, 0.057, (0.0360, 0.3104)),
    ((1, 4), (40, 40), 64.36348951, 0.071, 0.576, 0.039, (0.0775, 0.1233)),
]


def two(sigma, rates):
    """Regimes low and high, with the rates from low to high and back."""
    up, down = rates
    return glass_box.Regimes(sigma, [[-up, up], [down, -down]])


@pytest.mark.parametrize(("sigma", "rates", "best", "fixed", "today", "learned", "gammas"), TABLE)
def test_the_reference_table_of_regrets(sigma, rates, best, fixed, today, learned, gammas):
    """Half a unit of the last digit; .057 of the second row is .0565 here, where the search has ended lower."""
    regimes = two(sigma, rates)
    optimum = glass_box.certainty_equivalent(AS, regimes, glass_box.optimum(AS, regimes, gamma=0.1, **CHAIN), 0.1)
    assert optimum == pytest.approx(best, abs=5.1e-9)

    def regret(believed, risk):
        quotes = glass_box.formula(AS, believed, risk, **CHAIN)
        return 100 * (1 - glass_box.certainty_equivalent(AS, regimes, quotes, 0.1) / optimum)

    assert regret(regimes.mean_sigma, [0.1, 0.1]) == pytest.approx(fixed, abs=5e-4)
    assert regret(regimes.sigma, [0.1, 0.1]) == pytest.approx(today, abs=5e-4)
    found = glass_box.best_gammas(AS, regimes, 0.1, **CHAIN)
    assert found == pytest.approx(gammas, abs=6e-5)
    assert regret(regimes.mean_sigma, found) == pytest.approx(learned, abs=6e-4)


def test_equal_volatilities_are_no_regimes():
    regimes = two((2, 2), (4, 4))
    quotes = glass_box.optimum(AS, regimes, gamma=0.1, **CHAIN)
    assert glass_box.certainty_equivalent(AS, regimes, quotes, 0.1) == pytest.approx(65.24898027, abs=5e-9)
    alone = environment.optimum(AS, gamma=0.1, **CHAIN)
    assert quotes.bid[:, 1] == pytest.approx(alone.bid, abs=1e-9, nan_ok=True)


def test_one_regime_is_the_evaluators_chain():
    regimes = glass_box.Regimes([2.0], [[0.0]])
    quotes = glass_box.formula(AS, 2.0, [0.3], **CHAIN)
    table = glft.tanh_quotes(AS, gamma=0.3, **CHAIN)
    assert quotes.ask[:, 0] == pytest.approx(table.ask, abs=1e-12, nan_ok=True)
    exact = evaluate.certainty_equivalent(AS, table, 0.1, scheme="bernoulli")
    assert glass_box.certainty_equivalent(AS, regimes, quotes, 0.1) == pytest.approx(exact, abs=1e-9)


def test_simulated_regimes_have_the_exact_certainty_equivalent():
    """NumPy's generator, the mid drawn, from each regime apart: 60,000 paths, within 4 standard errors."""
    regimes = two((1, 6), (2, 8))
    quotes = glass_box.optimum(AS, regimes, gamma=0.1, **CHAIN)
    switch, rng, dt = expm(regimes.generator / 200), np.random.default_rng(8), 1 / 200
    found, errors = [], []
    for first in (0, 1):
        q, r, profit = np.zeros(60_000, int), np.full(60_000, first), np.zeros(60_000)
        for i in range(200):
            bid, ask = np.nan_to_num(quotes.bid[i])[r, q + 30], np.nan_to_num(quotes.ask[i])[r, q + 30]
            got_bid = rng.random(len(q)) < 140 * dt * np.exp(-1.5 * bid) * (q < 30)
            got_ask = rng.random(len(q)) < 140 * dt * np.exp(-1.5 * ask) * (q > -30)
            q += got_bid.astype(int) - got_ask
            sign = rng.choice([-1, 1], len(q))
            profit += got_bid * bid + got_ask * ask + sign * q * regimes.sigma[r] * math.sqrt(dt)
            r = (rng.random(len(q)) < switch[r, 1]).astype(int)
        utility = np.exp(-0.1 * (profit - profit.mean()))
        found.append(profit.mean() - 10 * math.log(utility.mean()))
        errors.append(10 * utility.std() / utility.mean() / math.sqrt(60_000))
    exact = glass_box.certainty_equivalent(AS, regimes, quotes, 0.1)
    law = np.array([0.8, 0.2])  # 8 : 2
    assert abs(law @ found - exact) < 4 * math.hypot(*(law * errors))


@pytest.mark.parametrize(("realised", "seeds"), [(False, 2), (True, 1), pytest.param(False, 8, marks=pytest.mark.deep)])
def test_what_is_learned_from_100_000_episodes_loses_little(realised, seeds):
    """At most .12 % of the optimum, from every seed; a gamma for both regimes loses .736 %."""
    regimes = two((1, 6), (2, 8))
    optimum = TABLE[1][2]
    for seed in range(seeds):
        found = glass_box.learn(AS, regimes, 0.1, seed=seed, realised=realised, **CHAIN)
        assert found.episodes <= 100_000 and found.path.shape == (31, 2)
        quotes = glass_box.formula(AS, regimes.mean_sigma, found.gammas, **CHAIN)
        assert 0 < 1 - glass_box.certainty_equivalent(AS, regimes, quotes, 0.1) / optimum < 1.2e-3


def test_the_same_seed_learns_the_same():
    regimes, few = two((1, 6), (2, 8)), dict(rounds=3, batch=50, seed=2)
    one, other = (glass_box.learn(AS, regimes, 0.1, **few, **CHAIN) for _ in range(2))
    assert np.array_equal(one.path, other.path) and len(one.path) == 4


def worth_of_every_pair(regimes, arms):
    """−ln E[exp(−.1 profit)]/.1 of a low arm and a high one, the first regime drawn: plain powers, nothing shared."""
    pairs = [(low, high) for low in range(len(arms)) for high in range(len(arms))]
    tables = glass_box.formula(AS, regimes.mean_sigma, arms, **CHAIN)  # an arm's quotes hang on no other
    switch, q, w = expm(regimes.generator / 200), np.arange(-30, 31), np.ones((len(pairs), 2, 61))
    for bid, ask in zip(tables.bid[::-1], tables.ask[::-1], strict=True):
        w = np.cosh(0.1 * np.outer(regimes.sigma, q) * math.sqrt(1 / 200)) * np.einsum("rs,psq->prq", switch, w)
        odds = [np.minimum(1, np.nan_to_num(0.7 * np.exp(-1.5 * side))) for side in (bid, ask)]
        pays = [np.nan_to_num(np.exp(-0.1 * side)) for side in (bid, ask)]
        both = (1 - odds[0]) * (1 - odds[1]) + odds[0] * odds[1] * pays[0] * pays[1]
        only_bid, only_ask = odds[0] * (1 - odds[1]) * pays[0], odds[1] * (1 - odds[0]) * pays[1]
        w = both[pairs] * w + only_bid[pairs] * np.roll(w, -1, 2) + only_ask[pairs] * np.roll(w, 1, 2)
    return -10 * np.log(w[:, :, 30] @ regimes.stationary).reshape(len(arms), len(arms))


@pytest.mark.parametrize(("realised", "seeds"), [(False, 2), pytest.param(True, 8, marks=pytest.mark.deep)])
def test_the_bandit_ends_nearly_on_the_best_pair_of_its_arms(realised, seeds):
    """Every pair is computed. Each regime's arm is within its bound of the best beside the other's; the best pair adds
    at most both bounds and what the two arms do only together. From a single gamma, more than the bounds is gained."""
    regimes, arms = two((1, 6), (2, 8)), 0.1 * np.sqrt(2) ** np.arange(-4, 5)
    worth = worth_of_every_pair(regimes, arms)
    top = np.unravel_index(worth.argmax(), worth.shape)
    for seed in range(seeds):
        found = glass_box.bandit(AS, regimes, 0.1, seed=seed, realised=realised, **CHAIN)
        low, high = (int(np.flatnonzero(arms == gamma)[0]) for gamma in found.gammas)
        mine = worth[low, high]
        assert worth[:, high].max() - mine <= found.bounds[0] and worth[low].max() - mine <= found.bounds[1]
        together = worth[top] - worth[top[0], high] - worth[low, top[1]] + mine
        assert worth[top] - mine <= found.bounds.sum() + together
        assert realised or worth[top] - worth[4, 4] > found.bounds.sum()
        assert found.path[0] == pytest.approx([0.1, 0.1]) and np.array_equal(found.path[-1], found.path[-3])
        quotes = glass_box.formula(AS, regimes.mean_sigma, found.gammas, **CHAIN)
        assert 1 - glass_box.certainty_equivalent(AS, regimes, quotes, 0.1) / TABLE[1][2] < (
            2e-3 if realised else 1.2e-3
        )


def test_the_best_pair_of_a_grid_is_computed():
    """The two averages over the first regime differ by ½·.1·variance of its values, here by less than .01 of 64.8."""
    regimes, arms = two((1, 6), (2, 8)), np.array([0.03, 0.1, 0.3])
    worth = worth_of_every_pair(regimes, arms)
    best = arms[list(np.unravel_index(worth.argmax(), worth.shape))]
    found = glass_box.best_gammas(AS, regimes, 0.1, arms=arms, **CHAIN)
    assert found == pytest.approx(best, rel=1e-12)
    assert glass_box.best_gammas(AS, regimes, 0.1, arms=arms, shared=True, **CHAIN) == pytest.approx([0.1, 0.1])


def test_a_choice_is_within_its_bounds():
    """Costs 1 + (distance from the arms 1 and 5)²/50 that work on each other, with noise: of 100 runs with four bounds'
    errors of 3e-5 each, none may fail; without noise the best pair and bounds of 0."""
    rng, best = np.random.default_rng(5), np.array([1, 5])
    for noise in [0.0] + 100 * [0.2]:
        draws = rng.normal(size=(7, 7, 1600))

        def mean(choice):
            away = np.array(choice) - best
            return 1 + (away @ away + 0.5 * away[0] * away[1]) / 50

        def costs(choice, first, count, noise=noise, draws=draws):
            return mean(choice) + noise * draws[choice[0], choice[1], first : first + count]

        path, bounds, played = choose(costs, 7, [3, 3], rounds=8, batch=100)
        low, high = path[-1]
        for r, others in enumerate(([(arm, high) for arm in range(7)], [(low, arm) for arm in range(7)])):
            assert np.log(mean((low, high))) - min(np.log(mean(other)) for other in others) <= bounds[r] + 1e-15
        assert 0 < played - 2 * 7 * 800 <= 100 * 8 * 7 * (len(path) - 1)
        if noise == 0:
            assert (low, high) == (1, 5) and np.all(bounds == 0)


def test_equal_arms_are_not_left():
    path, bounds, _ = choose(lambda choice, first, count: np.ones(count), 4, [3, 2], rounds=1, batch=100)
    assert path.tolist() == [[3, 2], [3, 2], [3, 2]] and np.all(bounds == 0)


@pytest.mark.parametrize("gamma", [2.0, 20.0])
def test_where_a_few_losses_carry_the_mean_no_bound_is_claimed(gamma):
    """At gamma 2 two or three of 800 episodes do; at 20 some costs are beyond a float."""
    found = glass_box.bandit(AS, two((1, 6), (2, 8)), gamma, rounds=2, **CHAIN)
    assert np.isinf(found.bounds).all()


def test_a_bound_rests_on_a_hundred_episodes():
    """Of 200 costs all are 1 but one: (Σ c)²/Σ c² is 61 where that is 25, and 186 where it is 5."""
    for large, known in ((25.0, False), (5.0, True)):
        row = np.ones(200)
        row[0] = large

        def costs(choice, first, count, row=row):
            return np.resize(row, count) * (1.0 + choice[0])

        _, bounds, _ = choose(costs, 2, [0], rounds=1, batch=200)
        assert np.isfinite(bounds[0]) == known


def test_a_bound_is_four_standard_errors_of_a_paired_difference():
    """Arm 1 costs 1 ± .1 in turn, arm 0 always 1: no difference, a standard error of .1/√400, and so ln(1 + .02)."""

    def costs(choice, first, count):
        return 1 + 0.1 * choice[0] * np.where(np.arange(first, first + count) % 2, 1.0, -1.0)

    path, bounds, played = choose(costs, 2, [0], rounds=2, batch=200)
    assert path.tolist() == [[0], [0]] and played == 2 * 400 + 2 * 400
    assert bounds == pytest.approx([np.log1p(0.02)], rel=1e-9)


def test_a_state_that_is_none_is_refused():
    options = dict(rounds=1, batch=100, arms=[0.05, 0.1, 0.2])
    for path in (np.empty((0, 2)), [[0, 3]], [[-1, 0]], [[0.5, 0]]):
        with pytest.raises(ValueError, match=r"start must have a path of arms 0 to 2 and played >= 0"):
            glass_box.bandit(AS, two((1, 6), (2, 8)), 0.1, start={"path": path, "played": 5}, **options, **CHAIN)
    with pytest.raises(ValueError, match="path must have shape"):
        glass_box.bandit(AS, two((1, 6), (2, 8)), 0.1, start={"path": 1, "played": 5}, **options, **CHAIN)
    nothing = {"mean": np.zeros(2), "square": np.zeros(2), "path": np.empty((0, 2))}
    with pytest.raises(ValueError, match=r"path must have shape \(1, 2\); got \(0, 2\)"):
        glass_box.learn(AS, two((1, 6), (2, 8)), 0.1, start=nothing, **CHAIN)


def test_the_optimum_of_a_maker_who_hardly_minds_risk_is_found():
    """As gamma falls the certainty equivalent rises to the mean that the penalty 0 has, by O(gamma)."""
    regimes = two((1.0, 2.0), (2, 8))
    gammas, values = (3e-3, 1e-3, 1e-4, 1e-5), []
    for gamma in gammas:
        best = glass_box.optimum(AS, regimes, gamma=gamma, **CHAIN)
        values.append(glass_box.certainty_equivalent(AS, regimes, best, gamma))
    flat = environment.optimum(AS, phi=0.0, **CHAIN)
    limit = evaluate.penalised(AS, flat, 0.0, scheme="bernoulli")
    slopes = (limit - np.array(values)) / gammas
    assert np.all(np.diff(values) > 0) and slopes[-1] == pytest.approx(slopes[-2], rel=0.05)


def test_an_interrupted_bandit_goes_on_to_the_same_choice():
    regimes, few, states = two((1, 6), (2, 8)), dict(rounds=2, batch=100, arms=[0.05, 0.1, 0.2]), []
    turns = []

    def watch(done, total, state):
        states.append(state)
        turns.append((done, total))

    whole = glass_box.bandit(AS, regimes, 0.1, watch=watch, **few, **CHAIN)
    assert turns == [(n, n + 2) for n in range(1, len(whole.path))]  # two regimes must yet keep theirs
    assert whole.path[0].tolist() == [0.1, 0.1]
    again = glass_box.bandit(AS, regimes, 0.1, start=states[0], **few, **CHAIN)
    assert np.array_equal(again.path, whole.path) and np.array_equal(again.bounds, whole.bounds)
    assert again.episodes == whole.episodes and len(states) == len(whole.path) - 1
    with pytest.raises(ValueError, match="start must have the arrays path, played"):
        glass_box.bandit(AS, regimes, 0.1, start={"path": states[0]["path"]}, **few, **CHAIN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arms=[0.1]), "arms must be two numbers or more that rise"),
        (dict(arms=[0.2, 0.1]), "arms must be two numbers or more that rise"),
        (dict(arms=[-0.1, 0.1]), "arms must be > 0"),
        (dict(rounds=0), "rounds must be an integer and >= 1"),
        (dict(batch=10), "batch must be an integer and >= 100"),
        (dict(seed=-1), "seed must be an integer and >= 0"),
    ],
)
def test_a_bandit_that_cannot_choose_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        glass_box.bandit(AS, two((1, 4), (4, 4)), 0.1, **options, **CHAIN)


BAD = [
    (([1.0, -4.0], [[-1, 1], [1, -1]]), "sigma must be > 0"),
    (([1.0, 4.0], [[-1, 1]]), "generator must have shape"),
    (([1.0, 4.0], [[-1, 2], [1, -1]]), "rows sum to 0"),
    (([1.0, 4.0], [[1, -1], [1, -1]]), "generator must be >= 0"),
    (([1.0, 4.0], [[0, 0], [0, 0]]), "reach every regime"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_regimes_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        glass_box.Regimes(*arguments)


def test_bad_quotes_are_refused_by_name():
    regimes = two((1, 4), (4, 4))
    quotes = glass_box.formula(AS, 2.0, [0.1], **CHAIN)
    with pytest.raises(ValueError, match="the 2 states of regimes; got 1"):
        glass_box.certainty_equivalent(AS, regimes, quotes, 0.1)
    with pytest.raises(ValueError, match="gammas must be > 0"):
        glass_box.formula(AS, 2.0, [0.1, 0.0], **CHAIN)
    with pytest.raises(ValueError, match="regimes must be Regimes"):
        glass_box.optimum(AS, [1, 4], gamma=0.1, **CHAIN)


def test_what_the_episodes_do_not_simulate_is_not_learned():
    regimes = two((1, 4), (4, 4))
    for agent in (glass_box.learn, glass_box.bandit):
        with pytest.raises(ValueError, match="mu must be 0"):
            agent(Market(2.0, 140.0, 1.5, mu=0.1), regimes, 0.1, **CHAIN)
    with pytest.raises(ValueError, match="max_inventory must be an integer and >= 2"):
        glass_box.learn(AS, regimes, 0.1, horizon=1.0, steps=200, max_inventory=1)
