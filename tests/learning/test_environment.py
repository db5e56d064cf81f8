"""The chain's optimum, its bracket, and the environments against exact laws; no route shares code with `_bellman`."""

import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import chi2

from mmlib.learning import environment
from mmlib.learning._kernels import steps as kernel
from mmlib.market_making import Market, Quotes, TwoSidedMarket, evaluate, glft
from mmlib.market_making.intensity import Exponential
from mmlib.numerics.streams import words

AS = Market(2.0, 140.0, 1.5)
CHAIN = dict(horizon=1.0, steps=200, max_inventory=30)
SMALL = dict(horizon=0.02, steps=3, max_inventory=2)


@pytest.mark.parametrize(
    ("objective", "value", "bid"),
    [
        (dict(gamma=0.1), 65.24898027, 0.65838870),
        (dict(gamma=1.0), 50.15365752, None),
        (dict(phi=0.2), 66.87495904, 0.679451),
    ],
)
def test_the_optimum_of_the_chain_is_the_reference_value_by_the_evaluator(objective, value, bid):
    """`evaluate` steps forwards laws and backwards values of its own; half a unit of the last printed digit."""
    quotes = environment.optimum(AS, **CHAIN, **objective)
    if "phi" in objective:
        found = evaluate.penalised(AS, quotes, 0.2, scheme="bernoulli")
    else:
        found = evaluate.certainty_equivalent(AS, quotes, objective["gamma"], scheme="bernoulli")
    assert found == pytest.approx(value, abs=5e-9)
    if bid is not None:
        assert quotes.bid[0, 30] == pytest.approx(bid, abs=5e-7)
    assert quotes.ask[:, ::-1] == pytest.approx(quotes.bid, abs=1e-10, nan_ok=True)


def by_enumeration(market, dt, steps, Q, worth):
    """Best value from inventory 0 by a numerical search in each step and state; `worth(outcomes, after)` values a step.

    Outcomes are (probability, cash, inventory); the search is over both distances jointly, from nine starts.
    """
    after = {q: worth.end(q) for q in range(-Q, Q + 1)}
    for _ in range(steps):
        value = {}
        for q in range(-Q, Q + 1):

            def cost(x, q=q, after=after):
                pb = min(1.0, market.A * math.exp(-market.k * x[0]) * dt) if q < Q else 0.0
                pa = min(1.0, market.A * math.exp(-market.k * x[1]) * dt) if q > -Q else 0.0
                gb, ga = x[0] - market.fee, x[1] - market.fee
                outcomes = [((1 - pb) * (1 - pa), 0.0, q)]
                outcomes += [(pb * (1 - pa), gb, q + 1)] * (q < Q) + [((1 - pb) * pa, ga, q - 1)] * (q > -Q)
                outcomes += [(pb * pa, gb + ga, q)] * (abs(q) < Q)
                return -worth.step(outcomes, after)

            starts = [(b, a) for b in (0.2, 0.7, 1.5) for a in (0.2, 0.7, 1.5)]
            options = dict(xatol=1e-9, fatol=1e-15, maxiter=4000)
            value[q] = -min(minimize(cost, x, method="Nelder-Mead", options=options).fun for x in starts)
        after = value
    return after[0]


class PenaltyWorth:
    def __init__(self, market, dt, phi, alpha):
        self.market, self.dt, self.phi, self.alpha = market, dt, phi, alpha

    def end(self, q):
        return -self.alpha * q * q

    def step(self, outcomes, after):
        hold = self.market.mu * self.dt
        return sum(p * (g + hold * q - self.phi * q * q * self.dt + after[q]) for p, g, q in outcomes)


class CaraWorth:
    """Certainty equivalents; the two moves of the mid are written out as outcomes."""

    def __init__(self, market, dt, gamma):
        self.market, self.dt, self.gamma = market, dt, gamma

    def end(self, q):
        return 0.0

    def step(self, outcomes, after):
        up, down = (self.market.mu * self.dt + s * self.market.sigma * math.sqrt(self.dt) for s in (1, -1))
        utility = sum(
            0.5 * p * math.exp(-self.gamma * (g + q * move + after[q])) for p, g, q in outcomes for move in (up, down)
        )
        return -math.log(utility) / self.gamma


@pytest.mark.parametrize("market", [AS, Market(3.0, 100.0, 2.0, mu=5.0, fee=0.05)])
def test_no_search_over_both_distances_finds_a_better_step(market):
    """By Nelder–Mead from nine starts in every state: equal values to its own accuracy, for both objectives."""
    dt = SMALL["horizon"] / SMALL["steps"]
    best = by_enumeration(market, dt, 3, 2, PenaltyWorth(market, dt, 2.0, 0.3))
    quotes = environment.optimum(market, **SMALL, phi=2.0, alpha=0.3)
    assert evaluate.penalised(market, quotes, 2.0, 0.3) == pytest.approx(best, abs=1e-12)
    best = by_enumeration(market, dt, 3, 2, CaraWorth(market, dt, 1.0))
    quotes = environment.optimum(market, **SMALL, gamma=1.0)
    assert evaluate.certainty_equivalent(market, quotes, 1.0, scheme="bernoulli") == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("objective", [dict(phi=0.2), dict(phi=1.0, alpha=0.5), dict(gamma=0.1), dict(gamma=1.0)])
def test_an_optimum_table_closes_its_bracket(objective):
    """The Bellman residual of the optimum is rounding; for the penalty every step is known to be concave."""
    found = environment.bracket(AS, environment.optimum(AS, **CHAIN, **objective), **objective)
    assert 0 <= found.bound - found.value < 1e-8
    assert found.proven == ("phi" in objective)


@given(seed=st.integers(0, 2**32 - 1), skew=st.floats(-0.5, 0.5), phi=st.floats(0, 20), gamma=st.floats(0.01, 3))
@settings(max_examples=40, deadline=None)
def test_the_optimum_lies_in_the_bracket_of_any_quotes(seed, skew, phi, gamma):
    """Random tables; the optimum's value by `evaluate`. Rounding: 1e-10."""
    rng, q = np.random.default_rng(seed), np.arange(-2, 3)
    bid, ask = 0.7 + skew * q + rng.normal(0, 0.5, (2, 3, 5))
    bid[:, -1], ask[:, 0] = np.nan, np.nan
    quotes = Quotes(np.arange(3) * 0.02 / 3, q, bid, ask, 0.02)
    best = evaluate.penalised(AS, environment.optimum(AS, **SMALL, phi=phi), phi)
    low, high, _ = environment.bracket(AS, quotes, phi=phi)
    assert low == pytest.approx(evaluate.penalised(AS, quotes, phi), abs=1e-10)
    assert low <= best + 1e-10 and best <= high + 1e-10
    best = evaluate.certainty_equivalent(AS, environment.optimum(AS, **SMALL, gamma=gamma), gamma, scheme="bernoulli")
    low, high, _ = environment.bracket(AS, quotes, gamma=gamma)
    assert low == pytest.approx(evaluate.certainty_equivalent(AS, quotes, gamma, scheme="bernoulli"), abs=1e-10)
    assert low <= best + 1e-10 and best <= high + 1e-10


def test_what_a_box_costs_is_not_what_clipping_the_optimum_costs():
    """The reference: [0, 1.5] costs 4e-12 under the penalty; at gamma 1 the optimum clipped to >= 0 loses 291.

    The best quotes >= 0 lose two thousandths: they stay away from positions that only a negative distance can leave.
    """
    free = evaluate.penalised(AS, environment.optimum(AS, **CHAIN, phi=0.2), 0.2)
    boxed = evaluate.penalised(AS, environment.optimum(AS, **CHAIN, phi=0.2, low=0.0, high=1.5), 0.2)
    assert 0 <= free - boxed < 1e-11
    best, at_least_0 = (environment.optimum(AS, **CHAIN, gamma=1.0, low=low) for low in (-np.inf, 0.0))
    clipped = Quotes(best.times, best.inventory, np.maximum(best.bid, 0), np.maximum(best.ask, 0), 1.0)
    free, boxed, cut = (
        evaluate.certainty_equivalent(AS, quotes, 1.0, scheme="bernoulli") for quotes in (best, at_least_0, clipped)
    )
    assert free - cut == pytest.approx(291, abs=0.5)
    assert 0 < free - boxed < 0.0021


def test_price_and_time_have_units_only():
    """Cents for dollars and minutes for hours: distances and values change by the unit, to rounding."""
    cents = Market(100 * 2.0 / math.sqrt(60), 140.0 / 60, 1.5 / 100)
    one = environment.optimum(AS, **CHAIN, phi=0.2, alpha=0.1)
    other = environment.optimum(cents, horizon=60.0, steps=200, max_inventory=30, phi=100 * 0.2 / 60, alpha=10.0)
    assert other.bid == pytest.approx(100 * one.bid, rel=1e-9, nan_ok=True)
    assert environment.bracket(cents, other, phi=100 * 0.2 / 60, alpha=10.0).value == pytest.approx(
        100 * environment.bracket(AS, one, phi=0.2, alpha=0.1).value, rel=1e-12
    )


def policy_of(quotes, rules):
    """The table as a policy of observations, rows and columns recovered from what is seen."""

    def policy(seen):
        i = np.rint(seen[:, 0] * rules.steps).astype(int)
        at = np.rint(seen[:, 1] * rules.scale).astype(int) + rules.max_inventory
        return np.stack([np.nan_to_num(quotes.bid[i, at]), np.nan_to_num(quotes.ask[i, at])], 1)

    return policy


def episodes(env, policy, seed):
    """Sums of the rewards, and last inventories, of one episode in every environment."""
    seen, _ = env.reset(seed=seed)
    total = np.zeros(env.num_envs)
    for _ in range(env.rules.steps):
        seen, reward, ended, truncated, info = env.step(policy(seen))
        total += reward
    assert ended.all() and not truncated.any()
    return total, info["inventory"]


def wide(quotes):
    """Box that holds the table, as nothing outside it may be done; NaN of one side is an action of 0."""
    return dict(low=min(0.0, float(np.nanmin(quotes.bid))) - 1, high=float(np.nanmax(quotes.bid)) + 1)


@pytest.mark.parametrize("reward", ["realised", "expected", "centred"])
def test_rewards_add_up_to_the_exact_objective(reward):
    """40,000 episodes on the kernel against `evaluate`, within 4 standard errors; centred by hand from 2 A/(e k)."""
    quotes = environment.optimum(AS, **CHAIN, phi=0.2, alpha=0.3)
    env = environment.MarketMakingVectorEnv(40_000, AS, **CHAIN, phi=0.2, alpha=0.3, reward=reward, **wide(quotes))
    total, _ = episodes(env, policy_of(quotes, env.rules), seed=3)
    total = total + (2 * 140 / math.e / 1.5 if reward == "centred" else 0.0)
    exact = evaluate.penalised(AS, quotes, 0.2, 0.3)
    assert abs(total.mean() - exact) < 4 * total.std() / 200
    assert total.std() < (1.5 if reward != "realised" else 9)


@pytest.mark.parametrize("reward", ["realised", "centred"])
def test_cara_rewards_have_the_exact_certainty_equivalent(reward):
    """E exp(−gamma Σ reward) with the mid drawn or integrated out, by the delta method within 4 standard errors."""
    market = Market(2.0, 140.0, 1.5, mu=0.5, fee=0.05)
    quotes = environment.optimum(market, **CHAIN, gamma=0.1)
    env = environment.MarketMakingVectorEnv(40_000, market, **CHAIN, gamma=0.1, reward=reward, **wide(quotes))
    total, _ = episodes(env, policy_of(quotes, env.rules), seed=4)
    total = total + (2 * 140 * math.exp(-0.05 * 1.5) / math.e / 1.5 if reward == "centred" else 0.0)
    utility = np.exp(-0.1 * (total - total.mean()))
    found = total.mean() - 10 * math.log(utility.mean())
    exact = evaluate.certainty_equivalent(market, quotes, 0.1, scheme="bernoulli")
    assert abs(found - exact) < 4 * 10 * utility.std() / utility.mean() / 200


def test_the_last_inventory_has_the_exact_law():
    """χ² over the inventories expected at least five times; at the 99.99th percentile."""
    quotes = environment.optimum(AS, **CHAIN, phi=0.2)
    env = environment.MarketMakingVectorEnv(40_000, AS, **CHAIN, phi=0.2, **wide(quotes))
    _, last = episodes(env, policy_of(quotes, env.rules), seed=5)
    expected = 40_000 * evaluate.moments(AS, quotes).inventory_law
    seen, often = np.bincount(last + 30, minlength=61), expected >= 5
    statistic = np.sum((seen - expected)[often] ** 2 / expected[often])
    assert statistic < chi2.ppf(0.9999, often.sum())


@pytest.mark.parametrize("expected", [True, False])
def test_a_step_of_the_kernel_is_its_word_read_by_hand(expected):
    """Bit 63 the mid, bits 32–62 and 0–30 the uniforms, of the streams' own words; rewards with math.exp to 1e-13."""
    N, carry = 700, np.linspace(-1, 2, 7)
    rng = np.random.default_rng(0)
    before, (bid, ask) = rng.integers(-3, 4, N), rng.uniform(-1.0, 3.0, (2, N))
    held, reward = before.copy(), np.empty(N)
    money = (1.5 / math.log(2), math.log2(0.7), 0.1, 0.25)
    kernel.step(held, bid, ask, kernel.states(11, N), money, carry, expected, reward)
    for j in range(N):
        bits = int(words(11, j, 0, 1)[0])
        pb = min(1.0, 0.7 * math.exp(-1.5 * bid[j])) * (before[j] < 3)
        pa = min(1.0, 0.7 * math.exp(-1.5 * ask[j])) * (before[j] > -3)
        got_bid, got_ask = (bits >> 32 & 0x7FFFFFFF) < round(pb * 2**31), (bits & 0x7FFFFFFF) < round(pa * 2**31)
        q = before[j] + got_bid - got_ask
        assert held[j] == q
        b, a = (pb, pa) if expected else (got_bid, got_ask)
        paid = b * (bid[j] - 0.1) + a * (ask[j] - 0.1) + (0.25 if bits >> 63 else -0.25) * q + carry[q + 3]
        assert reward[j] == pytest.approx(paid, abs=1e-13)


def test_realised_rewards_are_changes_of_wealth():
    """One episode by hand, from the same generator: cash of the fills and the inventory times the move of the mid."""
    env = environment.MarketMakingEnv(AS, **CHAIN, gamma=0.1, reward="realised")
    env.reset(seed=1)
    draws, q = np.random.Generator(type(env.np_random.bit_generator)()), 0
    draws.bit_generator.state = env.np_random.bit_generator.state
    for _ in range(200):
        _, reward, *_, info = env.step(np.array([0.6, 0.7]))
        uniform = draws.random(2)
        got = uniform < 140 * np.exp(-1.5 * np.array([0.6, 0.7])) / 200
        q += int(got[0]) - int(got[1])
        move = 2 / math.sqrt(200) * (1 if draws.random() < 0.5 else -1)
        assert info["inventory"] == q
        assert reward == pytest.approx(0.6 * got[0] + 0.7 * got[1] + q * move, abs=1e-12)


def test_one_environment_and_many_have_the_same_rules():
    """What one pays in expectation from an inventory is what the other does: from 0, the first step's mean."""
    options = dict(phi=0.2, alpha=0.1, reward="centred", actions="spread_skew")
    one, many = (
        gymnasium.make("mmlib/MarketMaking-v0", market=AS, **CHAIN, **options).unwrapped,
        environment.MarketMakingVectorEnv(50_000, AS, **CHAIN, **options),
    )
    rewards = []
    for seed in range(4000):
        one.reset(seed=seed)
        rewards.append(one.step(np.array([0.7, 0.1]))[1])
    many.reset(seed=0)
    others = many.step(np.tile([0.7, 0.1], (50_000, 1)))[1]
    assert abs(np.mean(rewards) - others.mean()) < 4 * np.std(rewards) / math.sqrt(4000)


def test_the_gamma_action_quotes_the_tanh_law():
    env = environment.MarketMakingEnv(Market(2.0, 140.0, 1.5, mu=0.4, fee=0.02), **CHAIN, phi=0.2, actions="gamma")
    read = environment.quotes(env, lambda seen: np.full((len(seen), 1), 0.3))
    law = glft.tanh_quotes(env.rules.market, gamma=0.3, **CHAIN)
    assert read.bid == pytest.approx(law.bid, abs=1e-12, nan_ok=True)
    assert read.ask == pytest.approx(law.ask, abs=1e-12, nan_ok=True)


def test_residual_actions_of_nothing_are_the_base():
    base = glft.quotes(AS, gamma=0.1, **CHAIN)
    env = environment.MarketMakingEnv(AS, **CHAIN, phi=0.2, actions="residual", base=base)
    read = environment.quotes(env, lambda seen: np.zeros((len(seen), 2)))
    assert np.array_equal(read.bid, base.bid, equal_nan=True) and np.array_equal(read.ask, base.ask, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space")
@pytest.mark.parametrize("actions", ["distances", "spread_skew", "gamma"])
def test_gymnasium_accepts_the_environment(actions):
    """Its own checker; the recommendation of a box [-1, 1] is not followed, prices have units."""
    check_env(gymnasium.make("mmlib/MarketMaking-v0", market=AS, **CHAIN, phi=0.2, actions=actions).unwrapped)


def test_a_finished_episode_starts_again_in_the_same_step_and_keeps_its_last_observation():
    env = gymnasium.make_vec(
        "mmlib/MarketMaking-v0", num_envs=3, vectorization_mode="vector_entry_point", market=AS, **SMALL, phi=0.2
    )
    assert env.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.SAME_STEP
    env.reset(seed=0)
    for _ in range(3):
        seen, _, ended, _, info = env.step(np.full((3, 2), 0.5))
    assert ended.all() and np.array_equal(seen, np.zeros((3, 2)))
    assert np.array_equal(info["final_obs"][:, 0], np.ones(3))
    assert np.array_equal(np.rint(2 * info["final_obs"][:, 1]), info["inventory"])


def test_an_environment_of_many_draws_the_same_as_of_few():
    few, many = (environment.MarketMakingVectorEnv(n, AS, **CHAIN, phi=0.2) for n in (3, 300))
    few.reset(seed=9), many.reset(seed=9)
    for _ in range(50):
        one, other = few.step(np.full((3, 2), 0.4)), many.step(np.full((300, 2), 0.4))
        assert np.array_equal(one[1], other[1][:3]) and np.array_equal(one[0], other[0][:3])


BAD = [
    (dict(reward="utility"), "reward must be one of"),
    (dict(actions="ticks"), "actions must be one of"),
    (dict(gamma=0.1), "gamma .CARA. or phi .penalty. must be given, one of them"),
    (dict(steps=100), "steps must be >= 140"),
    (dict(low=1.0, high=0.5), "low must be below high"),
    (dict(actions="residual"), "base must be given for residual actions"),
    (dict(scale=0.0), "scale must be > 0"),
    (dict(alpha=-1.0), "alpha must be >= 0"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_arguments_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        environment.MarketMakingEnv(AS, **{**CHAIN, "phi": 0.2, **change})


def test_bad_actions_markets_and_quotes_are_refused_by_name():
    env = environment.MarketMakingEnv(AS, **CHAIN, phi=0.2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="in the box"):
        env.step(np.array([0.5, 5.0]))
    with pytest.raises(ValueError, match="in the box"):
        env.step(np.array([0.5, np.nan]))
    with pytest.raises(ValueError, match="shape"):
        env.step(np.array([0.5]))
    with pytest.raises(ValueError, match="market must be a Market"):
        environment.optimum(TwoSidedMarket(2.0, Exponential(140.0, 1.5)), **CHAIN, phi=0.2)
    with pytest.raises(ValueError, match="impact must be 0"):
        environment.optimum(Market(2.0, 140.0, 1.5, impact=0.1), **CHAIN, phi=0.2)
    with pytest.raises(ValueError, match="low must be below high"):
        environment.optimum(AS, **CHAIN, phi=0.2, low=1.0, high=1.0)
    with pytest.raises(ValueError, match="hard limit"):
        hard = Quotes([0.0], np.arange(-1, 2), 0.5, 0.5, 0.005, limit=1)
        environment.bracket(AS, hard, phi=0.2)
    with pytest.raises(ValueError, match="in the box"):
        environment.quotes(env, lambda seen: np.full((len(seen), 2), 9.0))
