"""Monte Carlo against dense exact moments, a plain Python replay, published numbers and itself on other threads.

Statistical comparisons allow 4 standard errors; chi-square and Kolmogorov tests are refused below the same probability,
`FOUR_SIGMA`. Seeds are fixed, so that the outcome is always the same.
"""

import csv
import json
import math
import resource
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft, stats
from scipy.linalg import expm

from mmlib import risk
from mmlib.market_making import Market, Quotes, avellaneda_stoikov, evaluate, glft, simulate
from mmlib.market_making.quotes import inventory_grid, one_sided, time_grid
from mmlib.numerics import streams

FOUR_SIGMA = 2 * stats.norm.sf(4)
SCHEMES = pytest.mark.parametrize("scheme", simulate.SCHEMES)
DATA = Path(__file__).parents[2] / "data/published/avellaneda_stoikov_2008.csv"
AS = Market(sigma=2.0, A=140.0, k=1.5)
AS_QUOTES = avellaneda_stoikov.quotes(AS, gamma=0.1, horizon=1.0, max_inventory=30, steps=200)


def table(seed, inventory, rows=12, horizon=0.6, uneven=False, low=-0.2, high=1.0, **hard):
    """Random distances; without a hard limit the ends of the grid are one-sided."""
    random = np.random.default_rng(seed)
    times = np.arange(rows) * horizon / rows
    if uneven:
        times[1:] = np.sort(random.uniform(0.01 * horizon, 0.99 * horizon, rows - 1))
    bid, ask = random.uniform(low, high, (2, rows, len(inventory)))
    if not hard.get("limit"):
        bid, ask = one_sided(inventory, bid, ask)
    ask[rows // 2, len(inventory) // 2] = np.nan
    return Quotes(times, inventory, bid, ask, horizon, **hard)


CALM = Market(sigma=1.3, A=10.0, k=0.8)
ROUGH = Market(sigma=1.3, A=10.0, k=0.8, mu=0.7, fee=-0.03)
CASES = {
    "plain": (CALM, table(1, inventory_grid(3)), {}),
    "one side of zero": (CALM, table(2, np.arange(-4, 2)), {"inventory": -3}),
    "frictions": (ROUGH, table(3, inventory_grid(3), size=2.5), {"inventory": 2, "liquidation_cost": 0.4}),
    "limit": (ROUGH, table(4, inventory_grid(2), limit=2, cost=0.3), {}),
    "cut to one": (ROUGH, table(5, inventory_grid(3), limit=3, target=1, cost=0.3, size=0.5), {"inventory": -1}),
    "cut to zero": (ROUGH, table(6, inventory_grid(2), limit=2, target=0, cost=0.3), {"liquidation_cost": 0.1}),
}
cases = pytest.mark.parametrize("market, quotes, options", CASES.values(), ids=CASES.keys())


# --- exact moments by dense matrices, from the model's sentences -----------------------------------------------------


def fill(market, quotes, row, q, side):
    """(rate, profit, inventory after) of a fill of side +1 (bid) or −1 (ask) from inventory q; None if not quoted."""
    distance = (quotes.bid if side == 1 else quotes.ask)[row, q - quotes.inventory[0]]
    if np.isnan(distance):
        return None
    after = q + side
    profit = quotes.size * (distance - market.fee - side * market.impact * after)
    if quotes.limit is not None and abs(after) > quotes.limit:
        landed = int(math.copysign(quotes.target, after))
        profit -= quotes.size * quotes.cost * abs(after - landed)
        after = landed
    return market.A * math.exp(-market.k * distance), profit, after


def bernoulli_moments(market, quotes, inventory=0, liquidation_cost=0.0):
    """Mean, std and law of q_T of the scheme: all eight outcomes of a step enumerated, backwards and forwards."""
    low, m, n = quotes.inventory[0], len(quotes.inventory), len(quotes.times)
    dt = quotes.horizon / n
    first = -liquidation_cost * quotes.size * np.abs(quotes.inventory)
    second, transitions = first**2, []
    for row in reversed(range(n)):
        new_first, new_second, transition = np.zeros(m), np.zeros(m), np.zeros((m, m))
        for q in quotes.inventory:
            sides = [fill(market, quotes, row, q, side) for side in (1, -1)]
            p = [0.0 if side is None else min(1.0, side[0] * dt) for side in sides]
            for bid in (0, 1):
                for ask in (0, 1):
                    chance = (p[0] if bid else 1 - p[0]) * (p[1] if ask else 1 - p[1])
                    if chance == 0:
                        continue
                    if bid and ask:  # the position never leaves q: no cut
                        distances = quotes.bid[row, q - low] + quotes.ask[row, q - low]
                        gain, after = quotes.size * (distances - 2 * market.fee), q
                    else:
                        _, gain, after = sides[0] if bid else sides[1] if ask else (None, 0.0, q)
                    transition[q - low, after - low] += chance
                    for sign in (1, -1):
                        g = gain + after * quotes.size * (market.mu * dt + sign * market.sigma * math.sqrt(dt))
                        new_first[q - low] += chance / 2 * (g + first[after - low])
                        new_second[q - low] += chance / 2 * (g * g + 2 * g * first[after - low] + second[after - low])
        first, second = new_first, new_second
        transitions.append(transition)
    law = np.zeros(m)
    law[inventory - low] = 1
    for transition in reversed(transitions):
        law = law @ transition
    return first[inventory - low], math.sqrt(second[inventory - low] - first[inventory - low] ** 2), law


def continuous_moments(market, quotes, inventory=0, liquidation_cost=0.0):
    """Mean, std and law of q_T: one exponential a row of the block triangular generator of (1, W, W²)."""
    q, m = quotes.inventory, len(quotes.inventory)
    start = inventory - q[0]
    first = -liquidation_cost * quotes.size * np.abs(q)
    value = np.concatenate([first**2, first, np.ones(m)])
    law = np.eye(m)
    lengths = np.diff(np.append(quotes.times, quotes.horizon))
    for row in reversed(range(len(lengths))):
        generator, gain, square = np.zeros((m, m)), np.diag(market.mu * quotes.size * q), np.zeros((m, m))
        square += np.diag((market.sigma * quotes.size * q) ** 2)
        for i, side in ((i, side) for i in range(m) for side in (1, -1)):
            event = fill(market, quotes, row, q[i], side)
            if event is not None:
                rate, profit, after = event
                generator[i, i] -= rate
                generator[i, after - q[0]] += rate
                gain[i, after - q[0]] += rate * profit
                square[i, after - q[0]] += rate * profit**2
        zero = np.zeros((m, m))
        block = np.block([[generator, 2 * gain, square], [zero, generator, gain], [zero, zero, generator]])
        value = expm(block * lengths[row]) @ value
        law = expm(generator * lengths[row]) @ law
    second, first = value[start], value[m + start]
    return first, math.sqrt(second - first**2), law[start]


def assert_agrees(outcome, quotes, mean, std, law):
    for estimate, exact in ((risk.mean(outcome.profit), mean), (risk.std(outcome.profit), std)):
        assert abs(estimate.value - exact) < 4 * estimate.standard_error
    seen = np.bincount(outcome.inventory - quotes.inventory[0], minlength=len(law))
    expected = law * len(outcome.inventory)
    assert np.all(seen[expected == 0] == 0)
    usual = expected >= 5  # below, the chi-square law is no good approximation: pool the rest, if it is worth a cell
    cells = np.where(usual, np.arange(len(law)), len(law))
    observed, wanted = (np.bincount(cells, part) for part in (seen, expected))
    observed, wanted = observed[wanted > 0.5], wanted[wanted > 0.5]
    statistic = np.sum((observed - wanted) ** 2 / wanted)
    assert stats.chi2.sf(statistic, len(wanted) - 1) > FOUR_SIGMA


@cases
def test_the_bernoulli_scheme_has_the_moments_and_the_law_of_its_markov_chain(market, quotes, options):
    """The chain enumerated outcome by outcome, from the model's sentences; no code shared but Market and Quotes."""
    outcome = simulate.run(market, quotes, paths=60_000, seed=11, drawdown=False, **options)
    assert_agrees(outcome, quotes, *bernoulli_moments(market, quotes, **options))


@cases
def test_the_continuous_scheme_has_the_moments_and_the_law_of_its_markov_process(market, quotes, options):
    """Dense matrix exponentials of SciPy, row by row."""
    outcome = simulate.run(market, quotes, paths=60_000, seed=12, scheme="continuous", **options)
    assert_agrees(outcome, quotes, *continuous_moments(market, quotes, **options))


@pytest.mark.parametrize("hard", [{}, {"limit": 3, "target": 1, "cost": 0.2}], ids=["soft", "hard"])
def test_continuous_time_has_the_right_moments_with_impact_and_rows_of_unequal_length(hard):
    """The impact moves the mid against the position held; SciPy's exponentials know the rows' lengths."""
    market = Market(sigma=0.8, A=12.0, k=0.8, mu=-0.5, impact=0.15, fee=0.02)
    quotes = table(7, inventory_grid(3), rows=7, uneven=True, **hard)
    outcome = simulate.run(market, quotes, paths=60_000, seed=13, scheme="continuous", inventory=1)
    assert_agrees(outcome, quotes, *continuous_moments(market, quotes, inventory=1))


@SCHEMES
@cases
def test_attribution_agrees_with_exact_evaluation(market, quotes, options, scheme):
    """`evaluate` works with recursions and quadrature on the same fills; it draws nothing."""
    exact = evaluate.moments(market, quotes, scheme=scheme, **options)
    outcome = simulate.run(market, quotes, paths=40_000, seed=14, scheme=scheme, **options)
    for name in ("spread", "revaluation", "tolls"):
        estimate = risk.mean(getattr(outcome, name))
        assert abs(estimate.value - getattr(exact, name)) <= 4 * estimate.standard_error
    assert_agrees(outcome, quotes, exact.mean, exact.std, exact.inventory_law)


def exact_rows():
    with DATA.open() as file:
        rows = [row for row in csv.DictReader(file) if row["key"].startswith("exact_")]
    return [pytest.param(row, id=row["key"]) for row in rows]


@pytest.mark.parametrize("row", exact_rows())
def test_the_scheme_of_avellaneda_and_stoikov_gives_its_exact_values(row):
    """Values derived elsewhere for Tables 1 and 2 of the paper, without Monte Carlo."""
    parameters = json.loads(row["parameters"])
    symmetric = parameters["strategy"] == "symmetric"
    model = avellaneda_stoikov.symmetric_quotes if symmetric else avellaneda_stoikov.quotes
    market = Market(parameters["sigma"], parameters["A"], parameters["k"])
    quotes = model(market, max_inventory=60, **{name: parameters[name] for name in ("gamma", "horizon", "steps")})
    outcome = simulate.run(market, quotes, paths=50_000, seed=3, drawdown=False)
    column, statistic = row["quantity"].split("_")
    estimate = getattr(risk, statistic)(getattr(outcome, column))
    assert abs(estimate.value - float(row["value"])) < 4 * estimate.standard_error + float(row["tolerance"])


# --- streams ---------------------------------------------------------------------------------------------------------

MASK = 2**64 - 1


def splitmix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def rotate(x, by):
    return ((x << by) | (x >> (64 - by))) & MASK


def xoroshiro(s0, s1):
    """Words of xoroshiro128++ on Python's integers, as Blackman & Vigna (2021) define it."""
    while True:
        yield (rotate((s0 + s1) & MASK, 17) + s0) & MASK
        s1 ^= s0
        s0, s1 = rotate(s0, 49) ^ s1 ^ ((s1 << 21) & MASK), rotate(s1, 28)


def stream(seed, path, number):
    golden = 0x9E3779B97F4A7C15
    x = splitmix((splitmix((seed + golden) & MASK) + golden * (4 * path + number)) & MASK)
    return xoroshiro(x, splitmix((x + golden) & MASK))


def test_the_generator_is_xoroshiro128_plus_plus_seeded_by_splitmix64():
    """The reference words of both generators for known states pin the Python version; the kernel must equal that."""
    golden = 0x9E3779B97F4A7C15
    first = [splitmix((1234567 + golden * i) & MASK) for i in (1, 2, 3)]
    assert first == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    words = xoroshiro(1, 2)
    assert [next(words) for _ in range(4)] == [393217, 669327710093319, 1732421326133921491, 11394790081659126983]
    for seed, path, number in ((0, 0, 0), (7, 12345, 2), (2**63 - 1, 10**9, 1)):
        expected = stream(seed, path, number)
        assert streams.words(seed, path, number, 50).tolist() == [next(expected) for _ in range(50)]


@pytest.mark.parametrize("first_bit, bits", [(63, 1), (54, 8), (32, 8), (23, 8), (0, 8)])
def test_every_part_of_the_words_is_uniform_over_seeds_and_paths(first_bit, bits):
    """1000 seeds × 16 paths × 8 words; the top and bottom of each of the three draws."""
    words = np.array([streams.words(seed, path, 0, 8) for seed in range(1000) for path in range(16)])
    counts = np.bincount(((words >> np.uint64(first_bit)) & np.uint64(2**bits - 1)).ravel().astype(int))
    assert len(counts) == 2**bits
    assert stats.chisquare(counts).pvalue > FOUR_SIGMA


@pytest.mark.parametrize("shift", [(1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=["seed", "path", "stream"])
def test_neighbouring_streams_are_uncorrelated(shift):
    """Correlation of n independent pairs has standard error 1/√n; also within a word, between its draws."""
    ours = np.array([streams.words(s, p, 0, 20) for s in range(50) for p in range(50)]).ravel()
    theirs = np.array(
        [streams.words(s + shift[0], p + shift[1], shift[2], 20) for s in range(50) for p in range(50)]
    ).ravel()
    low = np.uint64(2**31 - 1)
    draws = [draw for w in (ours, theirs) for draw in (w & low, (w >> np.uint64(32)) & low, w >> np.uint64(63))]
    correlation = np.corrcoef(np.array(draws, float))
    off_diagonal = correlation[np.triu_indices(6, 1)]
    assert np.max(np.abs(off_diagonal)) < 4.5 / math.sqrt(len(ours))  # the largest of 15: 4.5, not 4


def test_a_plain_replay_of_the_same_words_gives_the_same_profits():
    """One path at a time with Python's floats and if-statements; the draws read from the words with their bits."""
    market, quotes, options = CASES["cut to one"]
    outcome = simulate.run(market, quotes, paths=200, seed=5, **options)
    dt, low = quotes.horizon / len(quotes.times), quotes.inventory[0]
    for path in range(200):
        words, q = stream(5, path, 0), options["inventory"]
        profit, peak, fall, bids = 0.0, 0.0, 0.0, 0
        for row in range(len(quotes.times)):
            word = next(words)
            uniform = {1: (word >> 32) % 2**31 / 2**31, -1: word % 2**31 / 2**31}
            events = {side: fill(market, quotes, row, q, side) for side in (1, -1)}
            filled = [side for side in (1, -1) if events[side] and uniform[side] < events[side][0] * dt]
            bids += 1 in filled
            if len(filled) == 1:
                profit += events[filled[0]][1]
                q = events[filled[0]][2]
            elif len(filled) == 2:
                profit += quotes.size * (quotes.bid[row, q - low] + quotes.ask[row, q - low] - 2 * market.fee)
            sign = 1 if word >> 63 else -1
            profit += q * quotes.size * (market.mu * dt + sign * market.sigma * math.sqrt(dt))
            peak = max(peak, profit)
            fall = max(fall, peak - profit)
        assert (q, bids) == (outcome.inventory[path], outcome.bid_fills[path])
        # a dozen sums of numbers of order 1: rounding
        assert outcome.profit[path] == pytest.approx(profit, abs=1e-12)
        assert outcome.drawdown[path] == pytest.approx(fall, abs=1e-12)


def arrays(outcome):
    """All arrays of an outcome, of its sample too."""
    fields = [value for name, value in vars(outcome).items() if name != "sample"]
    return fields + list(outcome.sample or ())


@SCHEMES
def test_one_thread_and_two_give_the_same_bits(scheme):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine runs numba on one thread only")
    outcomes = []
    before = numba.get_num_threads()
    for threads in (1, 2):
        numba.set_num_threads(threads)
        outcomes.append(simulate.run(AS, AS_QUOTES, paths=1000, seed=8, scheme=scheme, sample_paths=200))
    numba.set_num_threads(before)
    for one, two in zip(*map(arrays, outcomes), strict=True):
        assert np.array_equal(one, two, equal_nan=True)


@SCHEMES
def test_a_path_is_the_same_whatever_the_number_of_paths_recorded_or_not(scheme):
    many = simulate.run(AS, AS_QUOTES, paths=300, seed=8, scheme=scheme)
    few = simulate.run(AS, AS_QUOTES, paths=131, seed=8, scheme=scheme, sample_paths=129)
    for name in ("profit", "inventory", "bid_fills", "ask_fills", "spread", "revaluation", "drawdown"):
        assert np.array_equal(getattr(many, name)[:131], getattr(few, name))


@SCHEMES
def test_following_the_drawdown_changes_nothing_else(scheme):
    followed = simulate.run(AS, AS_QUOTES, paths=300, seed=8, scheme=scheme)
    bare = simulate.run(AS, AS_QUOTES, paths=300, seed=8, scheme=scheme, drawdown=False)
    assert np.array_equal(followed.profit, bare.profit)
    assert np.all(np.isnan(bare.drawdown))
    assert "drawdown" in followed.summary().index
    assert "drawdown" not in bare.summary().index


@SCHEMES
def test_different_seeds_and_paths_give_different_profits(scheme):
    profits = [simulate.run(AS, AS_QUOTES, paths=200, seed=seed, scheme=scheme).profit for seed in (0, 1)]
    assert len(np.unique(np.concatenate(profits))) == 400


# --- drawdown in continuous time -------------------------------------------------------------------------------------


def held(rows, inventory=1, sigma=1.5, mu=0.0, size=2.0, horizon=0.7, paths=40_000):
    """Nothing is quoted: wealth is a Brownian motion with drift q·size·mu and volatility |q|·size·sigma."""
    quotes = Quotes(time_grid(horizon, rows), inventory_grid(3), np.nan, np.nan, horizon, size=size)
    market = Market(sigma, 1.0, 1.0, mu)
    return simulate.run(market, quotes, paths, seed=5, scheme="continuous", inventory=inventory).drawdown


def below(x):
    """P(largest |B| over a unit of time <= x), Feller's series: max − B is |B| in law (Lévy), so is the drawdown."""
    n = np.arange(40)
    return (
        4
        / np.pi
        * np.sum((-1) ** n / (2 * n + 1) * np.exp(-((2 * n + 1) ** 2) * np.pi**2 / (8 * x[..., None] ** 2)), -1)
    )


@pytest.mark.parametrize("inventory", [1, -2])
def test_the_drawdown_of_a_held_position_is_the_largest_value_of_a_reflected_brownian_motion(inventory):
    """Its law is known; 400 rows miss little, but looking at the 400 times alone would be 3 % short.

    Kolmogorov's distance at 40,000 paths is refused beyond four sigma; the steps alone would be 50 times too far.
    """
    scale = abs(inventory) * 2.0 * 1.5 * math.sqrt(0.7)
    drawdown = held(400, inventory)
    assert stats.kstest(drawdown / scale, lambda x: below(np.maximum(x, 0.05))).pvalue > FOUR_SIGMA
    error = drawdown.std() / math.sqrt(len(drawdown))
    assert abs(drawdown.mean() - math.sqrt(math.pi / 2) * scale) < 4 * error


def test_in_one_row_the_extremes_have_the_laws_of_a_brownian_bridge():
    """From one row alone the drawdown is the larger of −min and max − end; each has the law of |N|·scale (Lévy).

    Here they are drawn independently given the end: P(both <= x | end) is the product of two bridge probabilities,
    integrated over the end by quadrature.
    """
    nodes = np.linspace(-8, 8, 4001)
    weights = stats.norm.pdf(nodes) * (nodes[1] - nodes[0])

    def law(x):  # a bridge from 0 to b stays above −x: 1 − exp(−2x(x + b)), and below b + x: the same
        stays = -np.expm1(-2 * x[:, None] * np.maximum(x[:, None] + nodes, 0))
        return np.sum(weights * (nodes > -x[:, None]) * stays**2, -1)

    drawdown = held(1) / (2.0 * 1.5 * math.sqrt(0.7))
    x = np.array([0.3, 0.6, 1.0, 1.5, 2.0])
    seen = np.mean(drawdown <= x[:, None], axis=1)
    error = np.sqrt(seen * (1 - seen) / len(drawdown))
    assert np.all(np.abs(seen - law(x)) < 4 * error)


def test_a_drift_moves_the_drawdown_as_it_moves_a_brownian_motion():
    """Without volatility a long position in a falling market loses size·mu·T, a short one never falls."""
    assert held(3, inventory=2, sigma=0.0, mu=-1.5, paths=10) == pytest.approx(2 * 2.0 * 1.5 * 0.7)
    assert held(3, inventory=-2, sigma=0.0, mu=-1.5, paths=10) == pytest.approx(0.0)


@pytest.mark.parametrize("quotes", [glft.closed_form_quotes, avellaneda_stoikov.quotes], ids=["closed form", "AS"])
def test_a_finer_table_of_the_same_quotes_has_the_same_drawdown(quotes):
    """What the bridges miss vanishes with their length: eight times as many rows must not move the mean by more than
    .01 and four standard errors of the difference of two runs (independent: other numbers of draws a path)."""
    coarse = quotes(AS, gamma=0.1, horizon=1.0, max_inventory=20, steps=200)
    fine = Quotes(time_grid(1.0, 1600), coarse.inventory, *(np.repeat(x, 8, 0) for x in (coarse.bid, coarse.ask)), 1.0)
    a, b = (risk.mean(simulate.run(AS, q, 20_000, seed=6, scheme="continuous").drawdown) for q in (coarse, fine))
    assert abs(a.value - b.value) < 0.01 + 4 * math.hypot(a.standard_error, b.standard_error)


def expected_drawdown(market, quotes, top=12.0, n=64, parts=4, nodes=24):
    """E[drawdown] = ∫ P(drawdown >= d) dd without sampling, by the equation of the fall D from the peak.

    Between fills D is a Brownian motion of volatility |q|·sigma reflected at 0; a fill that earns g takes it to
    max(D − g, 0); a path ends where D reaches d. The waves cos((j + ½)πD/d) diffuse exactly; fills take Runge–Kutta
    steps before and after (Strang), with values between the nodes of D by straight lines.
    """
    x, weight = np.polynomial.legendre.leggauss(nodes)
    d = top * (1 + x) / 2
    m, dt = len(quotes.inventory), quotes.horizon / len(quotes.times) / parts
    wave = np.pi * (np.arange(n) + 0.5) / d[:, None, None]
    decay = np.exp(-0.5 * dt * (market.sigma * quotes.inventory[:, None] * wave) ** 2)
    alive = np.ones((len(d), m, n))
    for row in reversed(range(len(quotes.times))):
        sides = []
        for distance, step in ((quotes.bid[row], 1), (quotes.ask[row], -1)):
            rate = np.where(np.isnan(distance), 0.0, market.A * np.exp(-market.k * np.nan_to_num(distance)))
            to = np.clip(np.arange(m) + step, 0, m - 1)[:, None]
            place = np.maximum(np.arange(n) - np.nan_to_num(distance)[:, None] * n / d[:, None, None], 0)
            below = np.where(place > n, n + 1, np.floor(place)).astype(int)
            sides.append((rate[:, None], to, below, np.where(place < n, place - below, 0.0)))
        for _ in range(parts):
            alive = _with_fills(alive, sides, dt / 2)
            alive = fft.dct(fft.idct(alive, axis=-1) * decay, axis=-1)
            alive = _with_fills(alive, sides, dt / 2)
    return top / 2 * weight @ (1 - alive[:, m // 2, 0])


def _with_fills(alive, sides, dt):
    """`alive` after a Runge–Kutta step of the fills alone; beyond d it is 0, but at d a flat maker is still alive."""
    last, each = alive.shape[1] // 2, np.arange(len(alive))[:, None, None]

    def slope(u):
        ends = np.zeros((*u.shape[:-1], 3))
        ends[:, last, 0] = 2 * u[:, last, -1] - u[:, last, -2]
        u, out = np.concatenate([u, ends], axis=-1), 0.0
        for rate, to, below, part in sides:
            out += rate * ((1 - part) * u[each, to, below] + part * u[each, to, below + 1] - u[..., :-3])
        return out

    one = slope(alive)
    two = slope(alive + dt / 2 * one)
    three = slope(alive + dt / 2 * two)
    return alive + dt / 6 * (one + 2 * two + 2 * three + slope(alive + dt * three))


@pytest.mark.deep
@pytest.mark.parametrize("quotes", [glft.closed_form_quotes, avellaneda_stoikov.quotes], ids=["closed form", "AS"])
def test_the_drawdown_is_that_of_its_equation(quotes):
    """The bridges miss at most .01 of it, as `Outcome` says, and add nothing.

    The equation's numbers are .0015 too large: steps half as long take .0008 off, intervals half as long .0004.
    """
    quotes = quotes(AS, gamma=0.1, horizon=1.0, max_inventory=6, steps=200)
    found = risk.mean(simulate.run(AS, quotes, 200_000, seed=6, scheme="continuous").drawdown)
    apart = found.value - expected_drawdown(AS, quotes)
    assert -0.012 - 4 * found.standard_error < apart < 4 * found.standard_error


# --- common random numbers -------------------------------------------------------------------------------------------


@SCHEMES
def test_any_quotes_meet_the_same_mid_and_closer_quotes_are_filled_where_wider_ones_were(scheme):
    """The grid is too wide to be left, so that rates do not depend on the path, and fills are monotone in distance."""
    q = inventory_grid(60)
    closer, wider = (
        Quotes(np.arange(40) / 40, q, *one_sided(q, np.full((40, 121), d), np.full((40, 121), d)), 1.0)
        for d in (0.5, 0.7)
    )
    market = Market(sigma=1.0, A=20.0, k=1.5)
    a, b = (simulate.run(market, x, paths=500, seed=4, scheme=scheme, sample_paths=500) for x in (closer, wider))
    assert np.array_equal(a.sample.mid, b.sample.mid)
    assert not np.array_equal(a.inventory, b.inventory)
    for narrow, wide in ((a.bid_fills, b.bid_fills), (a.ask_fills, b.ask_fills)):
        assert np.all(narrow >= wide)
        assert np.any(narrow > wide)


@SCHEMES
def test_common_random_numbers_make_a_comparison_of_two_rules_sharper(scheme):
    """The difference of two rules' profits on one seed must vary less than on two seeds: the point of sharing draws."""
    other = avellaneda_stoikov.quotes(AS, gamma=0.05, horizon=1.0, max_inventory=30, steps=200)
    mine, same, fresh = (
        simulate.run(AS, quotes, paths=4000, seed=seed, scheme=scheme).profit
        for quotes, seed in ((AS_QUOTES, 1), (other, 1), (other, 2))
    )
    # the ratio of two sample variances of 4000 has relative standard error about √(4/4000)·(kurtosis factor) < 0.1
    assert np.var(mine - same) < 0.6 * np.var(mine - fresh)


# --- sample paths ----------------------------------------------------------------------------------------------------


@SCHEMES
@cases
def test_sample_paths_end_where_the_outcome_says(market, quotes, options, scheme):
    outcome = simulate.run(market, quotes, paths=150, seed=6, scheme=scheme, sample_paths=140, **options)
    sample = outcome.sample
    n = len(quotes.times)
    assert sample.mid.shape == sample.inventory.shape == sample.cash.shape == sample.wealth.shape == (140, n + 1)
    assert sample.bid.shape == sample.ask.shape == (140, n)
    assert np.array_equal(sample.times, [*quotes.times, quotes.horizon])
    assert np.all(sample.inventory[:, 0] == options.get("inventory", 0))
    assert np.all(sample.wealth[:, 0] == 0)
    assert np.array_equal(sample.inventory[:, -1], outcome.inventory[:140])
    rounding = 1e-12  # sums of at most some hundred numbers of order 1
    np.testing.assert_allclose(sample.wealth[:, -1], outcome.profit[:140], atol=rounding)
    np.testing.assert_allclose(sample.cash + quotes.size * sample.inventory * sample.mid, sample.wealth, atol=rounding)
    seen = risk.drawdowns(sample.wealth)
    if scheme == "bernoulli":  # the steps are all its times
        np.testing.assert_allclose(seen, outcome.drawdown[:140], atol=rounding)
    assert np.all(outcome.drawdown[:140] >= seen - rounding)
    rows, columns = np.arange(n), sample.inventory[:, :-1] - quotes.inventory[0]
    assert np.array_equal(sample.bid, quotes.bid[rows, columns], equal_nan=True)
    assert np.array_equal(sample.ask, quotes.ask[rows, columns], equal_nan=True)


def test_bernoulli_sample_cash_is_that_of_trades_at_the_quotes():
    """Cash is rebuilt from what a trader's statement shows: the mid before the move, the quotes, the net trade."""
    market, quotes, options = CASES["frictions"]
    options = options | {"liquidation_cost": 0.0}
    sample = simulate.run(market, quotes, paths=100, seed=6, sample_paths=100, **options).sample
    dt = quotes.horizon / len(quotes.times)
    moves = np.diff(sample.mid, axis=1) - market.mu * dt
    np.testing.assert_allclose(np.abs(moves), market.sigma * math.sqrt(dt), atol=1e-12)
    bought = -quotes.size * (sample.mid[:, :-1] - sample.bid + market.fee)
    sold = quotes.size * (sample.mid[:, :-1] + sample.ask - market.fee)
    net, paid = np.diff(sample.inventory, axis=1), np.diff(sample.cash, axis=1)
    both = (net == 0) & (np.abs(paid) > 1e-9)
    expected = np.select([net == 1, net == -1, both], [bought, sold, bought + sold], 0.0)
    np.testing.assert_allclose(paid, expected, atol=1e-12)
    assert {-1, 0, 1} == set(net.ravel())
    assert np.any(both)


def test_the_continuous_mid_is_a_brownian_motion_on_the_times_of_the_table():
    """Kolmogorov–Smirnov on standardised increments of rows of unequal length."""
    market = Market(sigma=1.7, A=30.0, k=1.0, mu=3.0)
    quotes = table(9, inventory_grid(3), rows=9, uneven=True)
    sample = simulate.run(market, quotes, paths=3000, seed=2, scheme="continuous", sample_paths=3000).sample
    lengths = np.diff(sample.times)
    z = (np.diff(sample.mid, axis=1) - market.mu * lengths) / (market.sigma * np.sqrt(lengths))
    assert stats.kstest(z.ravel(), "norm").pvalue > FOUR_SIGMA
    assert np.max(np.abs(np.corrcoef(z.T)[np.triu_indices(9, 1)])) < 4.5 / math.sqrt(3000)  # the largest of 36


def test_mid_and_wealth_on_the_table_are_drawn_from_their_joint_law():
    """E[W_T·S_T] = σ²·size·∫E q dt without drift, spread or rates that depend on q: here E q_t = q_0 + (λb − λa)t."""
    q = inventory_grid(40)
    bid, ask = one_sided(q, np.zeros((1, 81)), np.full((1, 81), 0.3))
    market = Market(sigma=1.5, A=6.0, k=1.0)
    quotes = Quotes([0.0], q, bid, ask, 1.0, size=2.0)
    outcome = simulate.run(market, quotes, paths=40_000, seed=21, scheme="continuous", inventory=1, sample_paths=40_000)
    product = risk.mean(outcome.revaluation * outcome.sample.mid[:, -1])
    exact = 1.5**2 * 2.0 * (1 + 6.0 * (1 - math.exp(-0.3)) / 2)
    assert abs(product.value - exact) < 4 * product.standard_error


def test_impact_moves_the_sampled_mid_against_the_maker():
    market = Market(sigma=0.0, A=30.0, k=1.0, impact=0.25)
    quotes = table(10, inventory_grid(3))
    outcome = simulate.run(market, quotes, paths=50, seed=2, scheme="continuous", sample_paths=50)
    np.testing.assert_allclose(outcome.sample.mid[:, -1], 0.25 * (outcome.ask_fills - outcome.bid_fills), atol=1e-12)
    assert np.all(outcome.revaluation == 0)


# --- invariants ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    seed=st.integers(0, 2**63 - 1),
    scheme=st.sampled_from(simulate.SCHEMES),
    hard=st.sampled_from([{}, {"limit": 2}, {"limit": 2, "target": 0, "cost": 0.5}]),
    size=st.floats(0.1, 100),
    mu=st.floats(-3, 3),
    start=st.integers(-2, 2),
    liquidation_cost=st.floats(0, 1),
)
def test_profit_is_spread_plus_revaluation_less_tolls(seed, scheme, hard, size, mu, start, liquidation_cost):
    market = Market(sigma=1.3, A=10.0, k=0.8, mu=mu, fee=0.05)
    quotes = table(seed % 1000, inventory_grid(2), size=size, **hard)
    outcome = simulate.run(
        market, quotes, paths=40, seed=seed, scheme=scheme, inventory=start, liquidation_cost=liquidation_cost
    )
    np.testing.assert_allclose(
        outcome.spread + outcome.revaluation - outcome.tolls, outcome.profit, atol=1e-12 * size * 50
    )
    assert np.all(np.abs(outcome.inventory) <= 2)
    if not hard:
        assert np.array_equal(start + outcome.bid_fills - outcome.ask_fills, outcome.inventory)
        np.testing.assert_allclose(outcome.tolls, liquidation_cost * size * np.abs(outcome.inventory), rtol=1e-12)
    # the wealth starts at 0: the drawdown is at least the loss
    assert np.all(outcome.drawdown >= -outcome.profit - 1e-12 * size * 50)


def test_certain_fills_happen_at_every_step_and_unquoted_sides_never_fill():
    """Probability exactly 1 and exactly 0: the ends of the thresholds."""
    q = inventory_grid(2)
    bid, ask = one_sided(q, np.zeros((50, 5)), np.zeros((50, 5)))
    market = Market(sigma=1.0, A=50.0, k=1.0)
    always = simulate.run(market, Quotes(np.arange(50) / 50, q, bid, ask, 1.0), paths=2000)
    assert np.all(always.bid_fills == 50)
    assert np.all(always.ask_fills == 50)
    never = simulate.run(market, Quotes(np.arange(50) / 50, q, np.nan, np.nan, 1.0), paths=2000, inventory=1)
    assert np.all(never.bid_fills == 0)
    assert np.all(never.ask_fills == 0)
    assert np.all(never.spread == 0)


def test_fills_of_probability_below_one_in_a_million_happen_as_often_as_they_should():
    """4e-7 a side and step, 10⁸ chances: 40 fills, Poisson. Draws of 20 bits would know 0 and 9.5e-7 only."""
    q = inventory_grid(2)
    distance = np.full((100, 5), math.log(1 / 4e-5))
    quotes = Quotes(np.arange(100) / 100, q, *one_sided(q, distance, distance), 1.0)
    outcome = simulate.run(Market(1.0, 1.0, 1.0), quotes, paths=500_000, seed=9, drawdown=False)
    assert abs(np.sum(outcome.bid_fills + outcome.ask_fills) - 40) < 4 * math.sqrt(40)


@SCHEMES
def test_memory_does_not_grow_with_the_number_of_steps(scheme):
    """2,000 paths × 10,000 steps: one 8-byte number a path-step would take 160 MB; the tables take 3 MB."""
    market = Market(sigma=1.0, A=1.0, k=1.0)
    q = inventory_grid(1)
    nan = np.nan
    quotes = {n: Quotes(np.arange(n) / n, q, [0.0, 0.0, nan], [nan, 0.0, 0.0], 1.0) for n in (10, 10_000)}
    short = simulate.run(market, quotes[10], paths=2000, scheme=scheme)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    long = simulate.run(market, quotes[10_000], paths=2000, scheme=scheme)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # kilobytes, of the peak
    assert grown < 40_000
    assert sum(array.nbytes for array in arrays(long)) == sum(array.nbytes for array in arrays(short))


# --- summary and bad input -------------------------------------------------------------------------------------------


def test_the_summary_gives_each_quantity_with_its_standard_error():
    """NumPy's own statistics of the arrays."""
    outcome = simulate.run(AS, AS_QUOTES, paths=5000, seed=1)
    summary = outcome.summary(level=0.9)
    assert list(summary.columns) == ["value", "standard error"]
    value, error = summary["value"], summary["standard error"]
    assert value["mean"] == pytest.approx(np.mean(outcome.profit))
    assert error["mean"] == pytest.approx(np.std(outcome.profit, ddof=1) / math.sqrt(5000))
    assert value["std"] == pytest.approx(np.std(outcome.profit, ddof=1))
    assert value["Sharpe"] == pytest.approx(value["mean"] / value["std"])
    assert value["VaR"] == pytest.approx(np.quantile(-outcome.profit, 0.9, method="inverted_cdf"))
    assert value["CVaR"] == pytest.approx(np.mean(np.sort(-outcome.profit)[-500:]))
    assert value["spread"] + value["revaluation"] - value["tolls"] == pytest.approx(value["mean"])
    assert value["drawdown"] == pytest.approx(np.mean(outcome.drawdown))
    assert value["bid fills"] == pytest.approx(np.mean(outcome.bid_fills))
    assert value["inventory std"] == pytest.approx(np.std(outcome.inventory, ddof=1))
    assert np.all(error >= 0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"paths": 0}, r"paths must be an integer and >= 1 .*; got 0"),
        ({"paths": 2.5}, r"paths must be an integer .*; got 2.5"),
        ({"seed": -1}, r"seed must be an integer and >= 0 .*; got -1"),
        ({"seed": 1.5}, r"seed must be an integer .*; got 1.5"),
        ({"seed": None}, r"seed must be an integer .*; got None"),
        ({"seed": 2**63}, r"seed must be an integer and >= 0 and <= 9223372036854775807 .*; got 9223372036854775808"),
        ({"seed": 2**64}, r"seed must be an integer .*; got 18446744073709551616"),
        ({"scheme": "euler"}, r"scheme must be one of 'bernoulli', 'continuous'; got 'euler'"),
        ({"inventory": 31}, r"inventory must be one of -30, ..., 30 .*; got 31"),
        ({"liquidation_cost": -0.1}, r"liquidation_cost must be >= 0 .*; got -0.1"),
        ({"liquidation_cost": math.nan}, r"liquidation_cost must be >= 0 and finite .*; got nan"),
        ({"paths": 5, "sample_paths": 6}, r"sample_paths must be an integer and >= 0 and <= 5 .*; got 6"),
    ],
)
def test_a_bad_argument_is_refused_with_its_name_value_and_rule(options, message):
    with pytest.raises(ValueError, match=message):
        simulate.run(AS, AS_QUOTES, **options)


def test_what_is_not_given_is_100_000_paths_of_seed_7_in_steps_from_nothing_held():
    quotes = Quotes([0.0], [-1, 0, 1], 0.2, 0.2, 0.5, limit=1)
    bare = simulate.run(Market(1.0, 1.0, 1.0), quotes)
    full = simulate.run(Market(1.0, 1.0, 1.0), quotes, 100_000, 7, "bernoulli", 0, 0.0, True, 0)
    assert np.ptp(bare.inventory) == 2 and not np.isnan(bare.drawdown).any() and bare.sample is None
    np.testing.assert_array_equal(bare.profit, full.profit)


def test_a_step_too_long_for_the_bernoulli_scheme_is_refused_with_the_smallest_number_that_works():
    quotes = avellaneda_stoikov.quotes(AS, gamma=0.1, horizon=1.0, max_inventory=5, steps=139)
    with pytest.raises(ValueError, match=r"steps must be >= 140 .*; got 139"):
        simulate.run(AS, quotes)
    enough = avellaneda_stoikov.quotes(AS, gamma=0.1, horizon=1.0, max_inventory=5, steps=140)
    assert len(simulate.run(AS, enough, paths=3).profit) == 3


def test_uneven_times_impact_and_overflowing_rates_are_refused():
    uneven = table(7, inventory_grid(3), uneven=True)
    with pytest.raises(ValueError, match="times must be 12 equal steps"):
        simulate.run(CALM, uneven)
    with pytest.raises(ValueError, match="impact must be 0"):
        simulate.run(Market(sigma=1.0, A=10.0, k=0.8, impact=0.1), CASES["plain"][1])
    q = inventory_grid(1)
    far_below = Quotes(time_grid(1.0, 12), q, [[-1e6, -1e6, np.nan]] * 12, [[np.nan, 1.0, 1.0]] * 12, 1.0)
    for scheme in ("bernoulli", "continuous"):
        with pytest.raises(ValueError, match="bid must be a distance at which the fill rate is finite"):
            simulate.run(CALM, far_below, scheme=scheme)


def test_the_samples_are_100_000_of_seed_7_unless_asked_otherwise():
    """Printed numbers of chapters and of others rest on these."""
    quotes = Quotes(np.zeros(1), inventory_grid(1), [[0.5, 0.5, np.nan]], [[np.nan, 0.5, 0.5]], 0.01)
    plain, told = simulate.run(CALM, quotes), simulate.run(CALM, quotes, paths=100_000, seed=7)
    np.testing.assert_array_equal(plain.profit, told.profit)
