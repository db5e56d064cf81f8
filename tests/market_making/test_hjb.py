"""HJB solvers: against the exact solution, manufactured solutions, decision processes, brute force and each other."""

import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from quantecon.markov import DiscreteDP
from scipy.linalg import expm

from mmlib.market_making import Market, TwoSidedMarket, _hjb_equation, cartea_jaimungal, evaluate, glft, hjb, simulate
from mmlib.market_making.intensity import Exponential, Linear, Logistic, Measured, PowerLaw

AS = Market(sigma=2.0, A=140.0, k=1.5)
KNOTS = np.linspace(0.0, 3.0, 8)
POWER = TwoSidedMarket(sigma=2.0, bid=PowerLaw(140.0, 1.0, 3.0))
LOGISTIC = TwoSidedMarket(sigma=2.0, bid=Logistic(140.0, 3.0, 0.5), ask=Logistic(120.0, 3.0, 0.4), mu=0.2, fee=-0.01)
MARKETS = {
    "exponential": Market(2.0, 140.0, 1.5, fee=0.02, impact=0.01, mu=0.3),
    "power law": POWER,
    "logistic": LOGISTIC,
    "linear": TwoSidedMarket(2.0, Linear(140.0, 70.0), Linear(120.0, 70.0)),
    "measured": TwoSidedMarket(2.0, Measured(KNOTS, 140 * np.exp(-KNOTS) / (1 + KNOTS) ** 2, extend=True)),
}
ORDERS = {"explicit": 1, "implicit": 1, "crank-nicolson": 2, "extrapolated": 4}


def order(errors):
    """Observed order of the last halving of the step."""
    return np.log2(errors[-2] / errors[-1])


@pytest.mark.parametrize("scheme", ORDERS)
def test_schemes_converge_to_the_exact_value_at_their_order(scheme):
    """v(0) = exp(−M T) v(T) by SciPy's expm, θ = ln v/k, with fee, impact and drift; Q = 5, where expm is safe.

    Halving the step divides the error by 2^p. The observed exponent differs from p by O(dt), here < 0.1.
    """
    market, gamma, Q = Market(2.0, 14.0, 1.5, mu=0.4, impact=0.05, fee=-0.03), 0.1, 5
    q, k = np.arange(-Q, Q + 1), market.k
    eta = market.A * (1 + gamma / k) ** (-1 - k / gamma) * np.exp(-k * (market.fee + market.impact / 2))
    M = np.diag(0.5 * k * gamma * market.sigma**2 * q**2 - k * market.mu * q)
    M -= eta * (np.eye(2 * Q + 1, k=1) + np.eye(2 * Q + 1, k=-1))
    exact = np.log(expm(-M) @ np.exp(-0.5 * k * market.impact * q**2)) / k + 0.5 * market.impact * q**2
    errors = []
    for steps in {"crank-nicolson": (20, 40), "extrapolated": (160, 320)}.get(scheme, (160, 320)):
        found = hjb.solve(market, gamma=gamma, horizon=1.0, max_inventory=Q, steps=steps, scheme=scheme)
        errors.append(np.max(np.abs(found.value[0] - exact)))
    assert order(errors) == pytest.approx(ORDERS[scheme], abs=0.1)


def test_quotes_are_those_of_the_linear_equation():
    """glft solves for log-ratios of v by other means; both claim better than 1e-8 at 200 steps of order 4."""
    ours = hjb.solve(AS, gamma=0.1, horizon=1.0, max_inventory=30, steps=400, scheme="extrapolated").quotes
    theirs = glft.quotes(AS, gamma=0.1, horizon=1.0, max_inventory=30, steps=400)
    for side, other in ((ours.bid, theirs.bid), (ours.ask, theirs.ask)):
        np.testing.assert_allclose(side[0], other[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize("scheme", ORDERS)
@pytest.mark.parametrize("shape", [PowerLaw(0.5, 2.0, 3.0), Logistic(0.5, 1.5, 0.5)], ids=["power law", "logistic"])
def test_a_manufactured_solution_comes_back_at_the_schemes_order(shape, scheme):
    """θ*(t, q) = sin(t + q/3) − 0.02 q² is made exact by a source, F(θ*) being maximised here by thirds, not by Newton.

    45 thirds leave 1e-7 of the bracket, and 1e-14 of the maximum. Quotes stay above the mid, where F is smooth.
    """
    market, gamma, q = TwoSidedMarket(1.0, shape), 0.2, np.arange(-3, 4)

    def star(t):
        return np.sin(t + q / 3) - 0.02 * q**2

    def worth(distance, rise):
        return shape.rate(distance) * (1 - np.exp(-gamma * (distance + rise))) / gamma

    def most(rise):
        lo, hi = -rise, 8.0 - rise
        for _ in range(45):
            a, b = (2 * lo + hi) / 3, (lo + 2 * hi) / 3
            left = worth(a, rise) > worth(b, rise)
            lo, hi = np.where(left, lo, a), np.where(left, b, hi)
        return worth(lo, rise)

    def source(t, inventories):
        rise = np.diff(star(t))
        fills = np.append(most(rise), 0.0) + np.append(0.0, most(-rise))
        return -np.cos(t + q / 3) + 0.5 * gamma * q**2 - fills

    errors = []
    options = dict(gamma=gamma, horizon=1.0, max_inventory=3, terminal=-star(1.0), source=source)
    for steps in (8, 16) if scheme == "extrapolated" else (16, 32):
        found = hjb.solve(market, steps=steps, scheme=scheme, **options)
        errors.append(np.max(np.abs(found.value[0] - star(0.0))))
    assert order(errors) == pytest.approx(ORDERS[scheme], abs=0.1)


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize("taker", [None, "limit"])
def test_the_quotes_are_worth_the_solved_value(name, taker):
    """evaluate solves linear equations for these fixed quotes, and shares nothing with the maximisation.

    Best quotes are held for a step: the loss is of order dt² a step, and Crank–Nicolson's error too. Halving dt must
    divide the difference by 4, or nearly; a wrong Hamiltonian would leave a difference.
    """
    market, gamma, Q = MARKETS[name], 0.1, 4
    options = dict(taker=taker, taker_cost=0.3, target=1) if taker else {}
    differences = []
    for steps in (100, 200):
        found = hjb.solve(
            market, gamma=gamma, horizon=0.5, max_inventory=Q, steps=steps, scheme="crank-nicolson", **options
        )
        worth = evaluate.certainty_equivalent(market, found.quotes, gamma, inventory=1)
        differences.append(found.value[0, Q + 1] - worth)
    assert abs(differences[1]) < 5e-3
    assert 0.15 < differences[1] / differences[0] < 0.35 or abs(differences[0]) < 1e-7


@pytest.mark.parametrize("name", MARKETS)
def test_a_long_horizon_is_the_stationary_problem(name):
    """Far from the horizon the slope in time of the finite-horizon value is the gain, and the quotes are stationary."""
    found = hjb.solve(MARKETS[name], gamma=0.1, horizon=12.0, max_inventory=12, steps=120, scheme="extrapolated")
    limit = hjb.policy_iteration(MARKETS[name], gamma=0.1, max_inventory=12)
    assert (found.value[0, 12] - found.value[1, 12]) / 0.1 == pytest.approx(limit.gain, rel=1e-9)
    np.testing.assert_allclose(found.bid[0], limit.bid, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.ask[0], limit.ask, rtol=0, atol=1e-8)


@pytest.mark.parametrize("market", [POWER, LOGISTIC], ids=["power law", "logistic"])
def test_simulated_profit_less_the_penalty_is_the_value_and_the_gain(market):
    """Risk-neutral, no penalty but the hard bound: the value is expected profit. Monte Carlo, 4 standard errors.

    The gain is met by the stationary quotes at two horizons, whose difference is free of the start's part.
    """
    Q, T = 5, 2.0
    found = hjb.solve(market, horizon=T, max_inventory=Q, steps=400, scheme="crank-nicolson")
    profit = simulate.run(market, found.quotes, paths=20_000, seed=11, scheme="continuous").profit
    assert abs(profit.mean() - found.value[0, Q]) < 4 * profit.std() / np.sqrt(20_000)

    limit = hjb.policy_iteration(market, max_inventory=Q)
    runs = [
        simulate.run(market, replace(limit, horizon=h).quotes, paths=20_000, seed=s, scheme="continuous").profit
        for h, s in ((1.0, 3), (3.0, 4))
    ]
    slope = (runs[1].mean() - runs[0].mean()) / 2
    error = np.hypot(runs[0].std(), runs[1].std()) / np.sqrt(20_000) / 2
    assert abs(slope - limit.gain) < 4 * error


def decision_process(market, penalty, Q, distances, rho):
    """QuantEcon's DiscreteDP of the discounted problem, uniformised at a rate that no policy exceeds."""
    m, n = 2 * Q + 1, len(distances)
    bid_rate, ask_rate = market.bid_rate(distances), market.ask_rate(distances)
    uniform = bid_rate.max() + ask_rate.max()
    state, bid, ask = (x.ravel() for x in np.meshgrid(np.arange(m), np.arange(n), np.arange(n), indexing="ij"))
    up, down = np.where(state < m - 1, bid_rate[bid], 0.0), np.where(state > 0, ask_rate[ask], 0.0)
    income = up * (distances[bid] - market.fee) + down * (distances[ask] - market.fee) + (market.mu * (state - Q))
    income -= penalty(state - Q) + market.impact * (up * (state - Q + 1) - down * (state - Q - 1))
    pair = np.arange(len(state))
    weights = np.concatenate([1 - (up + down) / uniform, up / uniform, down / uniform])
    to = np.concatenate([state, np.minimum(state + 1, m - 1), np.maximum(state - 1, 0)])
    moves = sparse.csr_matrix((weights, (np.tile(pair, 3), to)), shape=(len(state), m))
    reward, factor = income / (uniform + rho), uniform / (uniform + rho)
    return DiscreteDP(reward, moves, factor, s_indices=state, a_indices=bid * n + ask)


STAIRS = TwoSidedMarket(2.0, Measured([-3, -1, -0.9, 0, 0.1, 2, 4], [140, 130, 70, 60, 25, 20, 1e-3], extend=True))


@pytest.mark.parametrize(
    "market",
    [AS, LOGISTIC, MARKETS["linear"], STAIRS, Market(2.0, 140.0, 1.5, mu=0.4, impact=0.05, fee=-0.1)],
    ids=["exponential", "logistic", "linear, nobody trades beyond 2", "stairs, several local best quotes", "frictions"],
)
def test_a_grid_of_prices_gives_the_value_of_quantecons_decision_process(market):
    """The same problem as a Markov decision process; rounding only: 1e-10 of the value."""
    distances = np.linspace(-2.5, 3.5, 25)
    oracle = decision_process(market, lambda q: 0.3 * q**2, 6, distances, rho=0.5).solve(method="policy_iteration")
    ours = hjb.policy_iteration(
        market, max_inventory=6, running=lambda q: 0.3 * q**2, discount=0.5, distances=distances
    )
    assert ours.value == pytest.approx(oracle.v, rel=1e-10, abs=0)


def test_all_distances_are_worth_more_than_a_grid_and_a_grid_converges_to_them():
    """The loss of a grid of step s is of order s² (the objective is flat at its best): 4 × finer, about 16 × less."""
    exact = hjb.policy_iteration(AS, max_inventory=8, gamma=0.1, xi=0.0).gain
    losses = [
        exact - hjb.policy_iteration(AS, max_inventory=8, gamma=0.1, xi=0.0, distances=np.linspace(-2, 4, n)).gain
        for n in (31, 121, 481, 1921)
    ]
    assert all(loss > 0 for loss in losses)
    assert losses[0] / losses[3] == pytest.approx(64**2, rel=0.5)  # where best quotes fall between points varies


def test_gain_is_the_perron_eigenvalue_of_the_linear_equation():
    """v ~ exp(−λ τ) with λ the smallest eigenvalue of GLFT's matrix: gain = −λ/k by NumPy's eigvalsh."""
    gamma, Q = 0.1, 10
    q, k = np.arange(-Q, Q + 1), AS.k
    eta = AS.A * (1 + gamma / k) ** (-1 - k / gamma)
    M = np.diag(0.5 * k * gamma * AS.sigma**2 * q**2.0) - eta * (np.eye(2 * Q + 1, k=1) + np.eye(2 * Q + 1, k=-1))
    assert hjb.policy_iteration(AS, gamma=gamma, max_inventory=Q).gain == pytest.approx(
        -np.linalg.eigvalsh(M)[0] / k, rel=1e-12
    )


def brute_force(penalty, cost, kind, Q, horizon, steps, A=9.0, k=1.5):
    """Value and taker region of the risk-neutral taker problem by a plain dynamic programme, without NumPy.

    In a step a bid and an ask may fill with probability Λ dt each, after a choice to trade at once; the best quote is
    r + 1/k. Order dt.
    """
    from math import exp

    dt, value = horizon / steps, {q: -cost * abs(q) for q in range(-Q, Q + 1)}

    def trade(v):
        if kind == "flatten":
            return {q: max(v[q], v[0] - cost * abs(q)) for q in v}
        best = dict(v)
        for q in range(1, Q + 1):
            best[q], best[-q] = max(best[q], best[q - 1] - cost), max(best[-q], best[1 - q] - cost)
        return best

    for _ in range(steps):
        new = {}
        for q in value:
            new[q] = value[q] - dt * penalty(q)
            for after in (q - 1, q + 1):
                if abs(after) <= Q:
                    r = value[q] - value[after]
                    new[q] += dt * A * exp(-k * (r + 1 / k)) / k
        value = trade(new)
    return [value[q] for q in sorted(value)]


@pytest.mark.parametrize("kind", ["flatten", "lot"])
def test_the_taker_option_agrees_with_a_plain_dynamic_programme(kind):
    """Non-convex penalty with a steep wall. Both are first order in the step, from different sides: extrapolate both.

    The explicit scheme *is* that programme, to rounding. Implicit and Crank–Nicolson agree with it to O(dt): the
    difference halves with the step.
    """
    market, Q = Market(1.0, 9.0, 1.5), 8

    def penalty(q):
        return 0.4 * abs(q) + 3.0 * (abs(q) >= 5)

    def solve(steps, scheme):
        return hjb.solve(
            market, horizon=1.0, max_inventory=Q, steps=steps, scheme=scheme, taker=kind, taker_cost=0.25,
            running=penalty, terminal=lambda q: 0.25 * np.abs(q),
        )  # fmt: skip

    plain = brute_force(penalty, 0.25, kind, Q, 1.0, 200)
    assert solve(200, "explicit").value[0] == pytest.approx(plain, abs=1e-12)
    for scheme in ("implicit", "crank-nicolson"):
        coarse, fine = (
            np.max(np.abs(solve(n, scheme).value[0] - brute_force(penalty, 0.25, kind, Q, 1.0, n))) for n in (200, 400)
        )
        assert coarse < 0.02
        assert fine / coarse == pytest.approx(0.5, abs=0.1)


def test_the_quotes_of_a_stationary_solution_need_a_horizon():
    found = hjb.policy_iteration(AS, max_inventory=3, gamma=0.5, horizon=2.0, steps=4)
    assert found.quotes.bid.shape == (4, 7) and found.quotes.horizon == 2.0
    np.testing.assert_array_equal(found.quotes.ask[3], found.ask)
    with pytest.raises(ValueError, match="horizon must be given to policy_iteration"):
        replace(found, horizon=None).quotes  # noqa: B018
    for change, name in ((dict(horizon=0.0), "horizon"), (dict(steps=0), "steps")):
        with pytest.raises(ValueError, match=f"^{name} must be"):
            hjb.policy_iteration(AS, max_inventory=3, gamma=0.5, **change)


@pytest.mark.parametrize(("kind", "target"), [("flatten", 0), ("lot", 2)])
def test_a_constant_taker_region_is_a_hard_limit(kind, target):
    """The free boundary found by the option is the limit L; the fixed-limit problem at L has the same gain."""
    option = hjb.policy_iteration(AS, max_inventory=12, gamma=0.5, taker=kind, taker_cost=0.1, horizon=1.0)
    quotes = option.quotes
    assert (quotes.limit, quotes.target, quotes.cost) == (2, target, 0.1)
    fixed = [
        hjb.policy_iteration(
            AS, max_inventory=limit, gamma=0.5, taker="limit", taker_cost=0.1, target=0 if kind == "flatten" else limit
        ).gain
        for limit in (1, 2, 3)
    ]
    assert option.gain == pytest.approx(fixed[1], rel=1e-12)
    assert fixed[1] > max(fixed[0], fixed[2])


def test_a_hard_limit_solved_is_the_hard_limit_evaluated():
    """With a terminal penalty cost·|q| the value is evaluate's certainty equivalent with that liquidation cost."""
    options = dict(horizon=1.0, max_inventory=3, gamma=0.2, taker="limit", taker_cost=0.4, target=0)
    losses = []
    for steps in (200, 400):
        found = hjb.solve(AS, steps=steps, terminal=lambda q: 0.4 * np.abs(q), scheme="crank-nicolson", **options)
        worth = evaluate.certainty_equivalent(AS, found.quotes, 0.2, liquidation_cost=0.4)
        losses.append(found.value[0, 3] - worth)
    assert losses[1] == pytest.approx(losses[0] / 4, rel=0.1)  # quotes held for a step: order dt², and nothing else


def test_a_limit_that_changes_with_time_is_not_passed_off_as_quotes():
    found = hjb.solve(AS, horizon=1.0, max_inventory=10, steps=50, gamma=0.5, taker="flatten", taker_cost=0.1)
    assert found.taker[0].any() and not found.taker[-1].any()
    assert np.all(np.isnan(found.bid[found.taker[:-1]]))
    with pytest.raises(ValueError, match="solve with taker='limit' for the best quotes under a constant limit"):
        _ = found.quotes


def test_the_option_to_take_is_worth_nothing_if_dear_and_something_if_cheap():
    """More choice is never worse, a lower cost neither; at a cost above all values the equation is the plain one."""
    plain = hjb.solve(AS, horizon=1.0, max_inventory=6, steps=60, gamma=0.5)
    values = [
        hjb.solve(AS, horizon=1.0, max_inventory=6, steps=60, gamma=0.5, taker="lot", taker_cost=cost).value[0]
        for cost in (100.0, 0.5, 0.1)
    ]
    np.testing.assert_allclose(values[0], plain.value[0], rtol=0, atol=1e-11)
    assert np.all(values[1] >= values[0] - 1e-11) and np.all(values[2] >= values[1] - 1e-11)
    assert values[2][6] > values[0][6] + 1


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    shape=st.sampled_from([Exponential(30.0, 1.5), PowerLaw(30.0, 1.0, 3.0), Logistic(30.0, 2.0, 0.5), Linear(30, 15)]),
    gamma=st.floats(0, 1),
    sigma=st.floats(0, 3),
    fee=st.floats(-0.1, 0.1),
    scheme=st.sampled_from(["implicit", "crank-nicolson", "extrapolated"]),
)  # fmt: skip
def test_quotes_are_symmetric_and_steer_the_inventory(shape, gamma, sigma, fee, scheme):
    """Without drift bid(q) = ask(−q),; as inventory grows, bids recede and asks approach."""
    found = hjb.solve(
        TwoSidedMarket(sigma, shape, fee=fee), horizon=0.5, max_inventory=4, steps=20, gamma=gamma, scheme=scheme
    )
    np.testing.assert_allclose(found.bid, found.ask[:, ::-1], rtol=0, atol=1e-9)
    assert np.all(np.diff(found.bid[:, :-1], axis=1) >= -1e-9)
    assert np.all(np.diff(found.ask[:, 1:], axis=1) <= 1e-9)


@settings(deadline=None, max_examples=10, derandomize=True)
@given(price=st.floats(0.01, 100), time=st.floats(0.1, 10))
def test_units_of_price_and_time_do_not_matter(price, time):
    """Currency × price, time × time: value and distances scale with price and are blind to the unit of time."""

    def solve(p, t):
        bid, ask = Logistic(30.0 / t, 2.0 / p, 0.5 * p), PowerLaw(30.0 / t, p, 3.0)
        market = TwoSidedMarket(2.0 * p / np.sqrt(t), bid, ask, mu=0.3 * p / t, fee=0.02 * p, impact=0.01 * p)
        return hjb.solve(
            market, horizon=0.5 * t, max_inventory=3, steps=10, gamma=0.3 / p, running=lambda q: 0.1 * p / t * np.abs(q)
        )

    one, other = solve(1.0, 1.0), solve(price, time)
    np.testing.assert_allclose(other.value, price * one.value, rtol=1e-9, atol=1e-9 * price)
    np.testing.assert_allclose(other.bid, price * one.bid, rtol=1e-9, atol=1e-9 * price)


def test_a_maker_without_aversion_to_risk_divides_by_none():
    """No bound A/xi is asked for where xi is 0: nothing is divided by it, and numpy has nothing to warn of."""
    with np.errstate(all="raise"):
        assert hjb.policy_iteration(LOGISTIC, max_inventory=4).gain > 0


@pytest.mark.parametrize("taker", ["lot", "flatten"])
def test_a_slow_market_is_a_fast_one_in_other_time(taker):
    """Time in units 10,000 times as long: less than one fill a unit, gains and volatility to scale, the same taker."""
    problem = dict(max_inventory=6, gamma=0.1, taker=taker, taker_cost=0.05)
    fast = hjb.policy_iteration(AS, **problem)
    slow = hjb.policy_iteration(Market(sigma=AS.sigma / 100, A=AS.A / 1e4, k=AS.k), **problem)
    assert fast.taker.any()
    np.testing.assert_array_equal(slow.taker, fast.taker)
    assert 1e4 * slow.gain == pytest.approx(fast.gain, rel=1e-9)
    np.testing.assert_allclose(slow.value, fast.value, rtol=0, atol=1e-9)


def test_order_size_is_a_unit_too():
    """Orders of 10 units at gamma/10 with currency counted per 10 units: θ × 10, distances the same."""
    one = hjb.solve(POWER, horizon=1.0, max_inventory=5, steps=50, gamma=0.5)
    ten = hjb.solve(POWER, horizon=1.0, max_inventory=5, steps=50, gamma=0.05, size=10.0)
    np.testing.assert_allclose(ten.value, 10 * one.value, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(ten.bid, one.bid, rtol=0, atol=1e-9)


def test_xi_and_gamma_meet_glfts_general_model():
    """xi = 0 with the running penalty ½γσ²q² is the same whether said by gamma or by `running`; glft solves it too."""
    options = dict(horizon=1.0, max_inventory=8, steps=400, scheme="extrapolated")
    by_gamma = hjb.solve(AS, gamma=0.1, xi=0.0, **options)
    by_running = hjb.solve(AS, running=lambda q: 0.2 * q**2, **options)
    np.testing.assert_allclose(by_gamma.value, by_running.value, rtol=1e-12)
    exact = glft.value(AS, gamma=0.1, horizon=1.0, max_inventory=8, xi=0.0)
    np.testing.assert_allclose(by_gamma.value[0], exact, rtol=0, atol=1e-7)  # 5e-6 at 100 steps, over 4⁴


@pytest.mark.parametrize("market", [AS, POWER], ids=["exponential", "power law"])
def test_an_explicit_step_beyond_its_bound_is_refused_with_the_number_that_works(market):
    options = dict(horizon=1.0, max_inventory=8, gamma=0.1, scheme="explicit")
    with pytest.raises(ValueError, match=r"steps must be >= \d+ for scheme 'explicit'.*; got 50") as caught:
        hjb.solve(market, steps=50, **options)
    enough = int(re.search(r">= (\d+)", str(caught.value))[1])
    value = hjb.solve(market, steps=enough, **options).value[0]
    implicit = hjb.solve(market, steps=enough, **(options | {"scheme": "implicit"})).value[0]
    assert np.max(np.abs(value - implicit)) < 0.1  # both first order; nothing has blown up
    with pytest.raises(ValueError, match=f"steps must be >= {enough} "):
        hjb.solve(market, steps=enough - 1, **options)


def test_the_number_of_explicit_steps_beyond_a_low_wall_is_the_smallest():
    """The bound binds at the wall alone, whatever the step: the first number tried works; smaller are searched."""
    wall = 2.0 * (np.abs(np.arange(-6, 7)) > 3)
    options = dict(horizon=1.0, max_inventory=6, gamma=0.1, terminal=wall, scheme="explicit")
    with pytest.raises(ValueError, match=r"steps must be >= \d+ ") as caught:
        hjb.solve(AS, steps=20, **options)
    enough = int(re.search(r">= (\d+)", str(caught.value))[1])
    assert np.isfinite(hjb.solve(AS, steps=enough, **options).value).all()
    with pytest.raises(ValueError, match=f"steps must be >= {enough} "):
        hjb.solve(AS, steps=enough - 1, **options)


def test_the_largest_number_of_explicit_steps_that_is_tried_is_tried(monkeypatch):
    """With that number as the most allowed the message is as exact as ever; with one less it is not."""
    options = dict(horizon=1.0, max_inventory=3, gamma=0.1, scheme="explicit", steps=50)
    tried, right = [], hjb._explicit_march
    monkeypatch.setattr(hjb, "_explicit_march", lambda *a: tried.append(a[3]) or right(*a))
    for most, about in ((20_000, ""), (0, ""), (-1, "about ")):
        monkeypatch.setattr(hjb, "MOST_TRIED", most if most > 0 else max(tried) + most)
        with pytest.raises(ValueError, match=rf"steps must be >= {about}\d+ "):
            hjb.solve(AS, **options)


def test_a_steep_wall_is_solved_implicitly_and_refused_explicitly():
    """A wall of 40 in θ between two inventories makes fills at a rate of 140 exp(60): only implicit steps cope."""

    def wall(q):
        return np.where(np.abs(q) > 3, 40.0, 0.0)

    found = hjb.solve(AS, horizon=0.5, max_inventory=6, steps=50, gamma=0.1, terminal=wall)
    assert np.all(np.isfinite(found.value)) and np.all(np.diff(found.value[0, 6:]) <= 0)
    with pytest.raises(ValueError, match="steps must be >= about"):
        hjb.solve(AS, horizon=0.5, max_inventory=6, steps=50, gamma=0.1, terminal=wall, scheme="explicit")
    with pytest.raises(ValueError, match=r"penalties, .* must leave fill rates .*; at inventory -4"):
        hjb.solve(AS, horizon=0.5, max_inventory=6, steps=50, gamma=0.1, terminal=lambda q: 20 * wall(q))


@pytest.mark.parametrize("scheme", ORDERS)
def test_income_alike_at_every_inventory_adds_its_integral_and_moves_no_quote(scheme):
    """Of the income 3 t + 1 the trapezoidal and the extrapolated step integrate exactly; Euler's steps take it at the
    end (explicit) or the start (implicit) of each step of dt, which adds or takes away 3 dt/2 a unit of time."""
    options = dict(horizon=0.5, max_inventory=3, steps=100, gamma=0.1, scheme=scheme)
    plain = hjb.solve(AS, **options)
    found = hjb.solve(AS, **options, source=lambda t, q: np.full(len(q), 3 * t + 1))
    t = np.linspace(0.0, 0.5, 101)
    integral = 1.5 * (0.25 - t**2) + 0.5 - t
    integral += {"explicit": 1.5, "implicit": -1.5}.get(scheme, 0.0) * 0.005 * (0.5 - t)
    np.testing.assert_allclose(found.value - plain.value, np.tile(integral[:, None], 7), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.bid, plain.bid, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scheme", ["implicit", "crank-nicolson"])
def test_an_income_of_ten_billion_ends_the_iterations_and_moves_no_quote(scheme):
    """Alike at every inventory. The value is then 1e10, known to its rounding of 2e-6 alone, far above what iterations
    settle to without it. In each of 20 steps some tens of roundings, 1e-4, go into the differences that make quotes."""
    options = dict(horizon=1.0, max_inventory=30, steps=20, gamma=0.1, scheme=scheme)
    found = hjb.solve(AS, **options, source=lambda t, q: np.full(len(q), 1e10))
    np.testing.assert_allclose(found.value[0], 1e10, rtol=1e-7)
    np.testing.assert_allclose(found.bid, hjb.solve(AS, **options).bid, rtol=0, atol=20 * 1e-4)


def test_a_running_wall_of_a_hundred_billion_costs_what_the_way_out_takes():
    """At ±5 and ±6, with fills inwards at the logistic's most of 140 a unit of time: 1e11/140 for each order beyond ±4,
    to what quotes earn, some tens. Twenty steps forget the wall at the end, 1/(1 + 140/20) of it left by each."""

    def wall(q):
        return 1e11 * (np.abs(q) >= 5)

    market = TwoSidedMarket(2.0, Logistic(140.0, 3.0, 0.5))
    options = dict(horizon=1.0, max_inventory=6, steps=20, gamma=0.1, xi=0.0)
    found = hjb.solve(market, **options, running=wall, terminal=wall)
    np.testing.assert_allclose(found.value[0, [0, 1, -2, -1]] / (1e11 / 140), [-2, -1, -1, -2], rtol=1e-6)
    assert np.all(np.abs(found.value[0, 2:-2]) < 1e3)


@pytest.mark.parametrize("scheme", ORDERS)
def test_evaluations_are_counted(scheme, monkeypatch):
    """By counting the calls; one more at each time is for the quotes."""
    calls, right = [], _hjb_equation.hamiltonian
    for module in (hjb, _hjb_equation):
        monkeypatch.setattr(module, "hamiltonian", lambda eq, theta: calls.append(1) or right(eq, theta))
    found = hjb.solve(AS, horizon=0.1, max_inventory=3, steps=30, gamma=0.1, scheme=scheme)
    assert found.evaluations == len(calls) - 30


@pytest.mark.parametrize("scheme", ORDERS)
def test_a_day_in_nanoseconds_has_the_same_quotes(scheme):
    """Rates of 1e12 a unit of time are no concern: what counts is how many fills a step has."""
    options = dict(max_inventory=3, steps=30, gamma=0.1, scheme=scheme)
    one = hjb.solve(AS, horizon=0.1, **options)
    two = hjb.solve(Market(sigma=2e5, A=140e10, k=1.5), horizon=1e-11, **options)
    np.testing.assert_allclose(two.bid, one.bid, rtol=1e-9)
    np.testing.assert_allclose(two.value, one.value, rtol=1e-9, atol=1e-12)


SOLVE = dict(horizon=1.0, max_inventory=3, steps=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(horizon=0.0), "horizon must be > 0"),
        (dict(max_inventory=0), "max_inventory must be an integer and >= 1"),
        (dict(max_inventory=2.5), "max_inventory must be an integer"),
        (dict(steps=0), "steps must be an integer and >= 1"),
        (dict(gamma=-1.0), "gamma must be >= 0"),
        (dict(xi=np.nan), "xi must be >= 0"),
        (dict(size=0.0), "size must be > 0"),
        (dict(scheme="euler"), "scheme must be one of 'explicit', 'implicit', 'crank-nicolson', 'extrapolated'"),
        (dict(running=[0, 1, 2]), "running must have one value for each of the 7 inventories"),
        (dict(running=lambda q: np.where(q > 2, np.inf, 0.0)), "running must be finite"),
        (dict(terminal=[0, 0, 0, np.nan, 0, 0, 0]), "terminal must be finite"),
        (dict(source=lambda t, q: q * np.nan), "source must be finite"),
        (dict(taker="cut"), "taker must be one of 'limit', 'lot', 'flatten'"),
        (dict(taker_cost=1.0), "taker_cost must be 0 without a taker option"),
        (dict(taker="lot", taker_cost=-1.0), "taker_cost must be >= 0"),
        (dict(taker="lot", target=1), "target must be None unless taker is 'limit'"),
        (dict(taker="limit", target=4), "target must be an integer and >= 0 and <= 3"),
        (dict(taker="lot", scheme="extrapolated"), "scheme must not be 'extrapolated' with a taker option"),
    ],
)
def test_bad_input_of_solve_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        hjb.solve(AS, **(SOLVE | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(discount=-1.0), "discount must be >= 0"),
        (dict(gamma=0.1, discount=0.1), "xi must be 0 with a discount"),
        (dict(gamma=0.1, distances=[0, 1, 2]), "xi must be 0 with a discount or a grid"),
        (dict(distances=[0, 2, 1]), "distances must be one increasing row"),
        (dict(distances=[0, np.inf, 1]), "distances must be finite"),
        (dict(distances=[0.0, 0.3, 0.6]), "distances must reach beyond the best quotes (price); at inventory"),
        (dict(distances=[0, 1, 2], taker="lot"), "taker must be None with a grid of distances"),
    ],
)
def test_bad_input_of_policy_iteration_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        hjb.policy_iteration(AS, **(dict(max_inventory=3) | change))


def test_a_measured_range_too_small_for_the_quotes_is_refused():
    market = TwoSidedMarket(2.0, Measured([0.2, 1.0, 2.0], [100.0, 30.0, 5.0]))
    with pytest.raises(ValueError, match=r"distances must reach the best quotes .* measured are 0.2 \.\.\. 2"):
        hjb.solve(market, horizon=1.0, max_inventory=20, steps=50, gamma=0.5)
    with pytest.raises(ValueError, match="distances must reach the best quotes"):
        hjb.policy_iteration(market, max_inventory=20, gamma=0.5)


def test_a_market_of_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="market must be a Market or a TwoSidedMarket"):
        hjb.solve(object.__new__(type("Other", (), {"sigma": 1.0, "mu": 0.0})), **SOLVE)


def test_a_market_that_never_pays_is_left_or_never_entered():
    """A fee above A/k: no fill earns. Without risk inventory is kept for ever, and there is no one gain: refused. With
    it, a position costs more for ever than leaving costs once, and the gain is that of holding nothing: 0."""
    market = TwoSidedMarket(0.0, Linear(10.0, 10.0), fee=1.5)
    with pytest.raises(ValueError, match="market must fill some order worth filling at every inventory; none at -3"):
        hjb.policy_iteration(market, max_inventory=3)
    risky = hjb.policy_iteration(TwoSidedMarket(2.0, Linear(10.0, 10.0), fee=1.5), max_inventory=3, gamma=0.01)
    assert risky.gain == pytest.approx(0.0, abs=1e-12)
    assert np.all(risky.ask[4:] < 1) and np.all(risky.ask[:4][1:] >= 1)


def test_the_discounted_value_tends_to_the_gain():
    """ρ θ(q) → gain as ρ → 0, with a difference ρ · relative value (first-order expansion of the resolvent)."""
    options = dict(max_inventory=5, running=lambda q: 0.2 * q**2)
    limit = hjb.policy_iteration(POWER, **options)
    rates = (1e-2, 1e-3)
    gaps = [rho * hjb.policy_iteration(POWER, discount=rho, **options).value[5] - limit.gain for rho in rates]
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05)
    assert abs(gaps[1]) < 1e-3 * limit.gain


@pytest.mark.parametrize("mu", [200.0, 500.0, -500.0, 1000.0, 5000.0])
def test_a_steep_drift_is_solved_although_the_maker_hardly_ever_returns_to_zero(mu):
    """Against the largest eigenvalue of the linear equation, which has neither a march nor an anchor."""
    market = replace(AS, mu=mu)
    got = hjb.policy_iteration(market, max_inventory=5, gamma=0.1, xi=0.0)
    assert got.gain == pytest.approx(cartea_jaimungal.gain(market, phi=0.2, max_inventory=5), rel=1e-13)
    assert got.value[5] == 0
    averse = hjb.policy_iteration(market, max_inventory=5, gamma=0.1)
    assert averse.gain < got.gain


@pytest.mark.parametrize("fee", [-100.0, 100.0, 1000.0])
def test_extreme_fees_are_solved_while_rates_can_be_represented(fee):
    gain = hjb.policy_iteration(replace(AS, fee=fee), max_inventory=5, gamma=0.1, xi=0.0).gain
    expected = cartea_jaimungal.gain(replace(AS, fee=fee), phi=0.2, max_inventory=5) if fee < 200 else 0.0
    assert gain == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_a_rebate_whose_rates_overflow_is_named():
    with pytest.raises(ValueError, match="mu, impact, fee and gamma must leave fill rates that can be represented"):
        hjb.policy_iteration(replace(AS, fee=-1000.0), max_inventory=5, gamma=0.1, xi=0.0)


@pytest.mark.parametrize("discount", [1e-4, 1e-6, 1e-8, 1e-10, 1e-12])
def test_a_small_discount_loses_no_digits(discount):
    """discount·value and the quotes tend to the long-run gain and quotes at the rate of the discount; and the solver
    on a fine grid of distances, which starts from no march, agrees. It went round for ever at 1e-10."""
    problem = dict(max_inventory=5, gamma=0.1, xi=0.0)
    never, got = (hjb.policy_iteration(AS, discount=d, **problem) for d in (0.0, discount))
    assert discount * got.value[5] == pytest.approx(never.gain, abs=0.15 * discount + 1e-12)
    np.testing.assert_allclose(got.bid, never.bid, rtol=0, atol=0.01 * discount + 1e-13)
    grid = hjb.policy_iteration(AS, discount=discount, distances=np.linspace(-1, 3, 40_001), **problem)
    np.testing.assert_allclose(got.value, grid.value, rtol=1e-8)
    assert got.gain == grid.gain == 0


def test_a_discount_that_leaves_no_finite_value_is_named():
    with pytest.raises(ValueError, match="discount must leave a value that can be represented"):
        hjb.policy_iteration(AS, max_inventory=5, gamma=0.1, xi=0.0, discount=1e-307)


@pytest.mark.parametrize("taker, target", [("limit", 0), ("limit", 1), ("lot", None), ("flatten", None)])
def test_a_steep_drift_with_a_taker_is_a_long_horizon(taker, target):
    """The gain is the growth of the finite-horizon value, which no anchor enters."""
    problem = dict(max_inventory=4, gamma=0.1, xi=0.0, taker=taker, taker_cost=0.3, target=target)
    market = replace(AS, mu=60.0)
    value = hjb.solve(market, horizon=4.0, steps=8000, **problem).value
    growth = (value[0, 4] - value[4000, 4]) / 2.0
    assert hjb.policy_iteration(market, **problem).gain == pytest.approx(growth, rel=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(source=3), "source must be a function of time and inventories"),
        (dict(source=lambda t, q: np.ones(3)), "source must give one value for each of the 7 inventories"),
        (dict(taker="lot", taker_cost=np.ones(7)), "taker_cost must be one number"),
        (dict(gamma=[0.1]), "gamma must be one number"),
    ],
)
def test_a_source_or_an_array_that_does_not_fit_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        hjb.solve(**dict(market=AS, horizon=1.0, max_inventory=3, steps=2) | change)


@pytest.mark.parametrize(
    ("shape", "Q", "gamma"),
    [(Logistic(5.7, 0.3, -1.5), 2, 3.0), (Logistic(140.0, 1.5, 0.0), 12, 1.0), (Logistic(20.0, 1.5, 0.0), 3, 1.0)],
)
def test_where_no_stationary_solution_exists_it_is_said(shape, Q, gamma):
    """A side of rate at most A is worth at most A/gamma under CARA; the edge costs ½ gamma sigma² Q², 24, 288 and 18.

    In the third case 18 < 20; but Q = 2, without the edge, already earns more than 2: by brute force below.
    """
    market = TwoSidedMarket(2.0, shape)
    with pytest.raises(ValueError, match="there is no stationary solution"):
        hjb.policy_iteration(market, max_inventory=Q, gamma=gamma)
    if Q == 3:
        found = hjb.solve(market, horizon=4.0, max_inventory=2, steps=2000, gamma=gamma, scheme="explicit")
        assert (found.value[0, 2] - found.value[1000, 2]) / 2.0 > shape.A / gamma - 18.0


def test_just_inside_the_bound_the_stationary_solution_is_found():
    """At A = 21 the gain is below 21 − 18; explicit marching, which knows no stationary equation, has it too."""
    market = TwoSidedMarket(2.0, Logistic(21.0, 1.5, 0.0))
    found = hjb.policy_iteration(market, max_inventory=3, gamma=1.0)
    assert found.gain < 3.0
    march = hjb.solve(market, horizon=10.0, max_inventory=3, steps=4000, gamma=1.0, scheme="explicit")
    assert (march.value[0, 3] - march.value[400, 3]) / 1.0 == pytest.approx(found.gain, rel=1e-5)


@pytest.mark.parametrize("scheme", ["implicit", "crank-nicolson", "extrapolated"])
@pytest.mark.parametrize("taker", [None, "limit"])
@pytest.mark.parametrize("fee", [-10.0, -50.0, -300.0, -450.0])
def test_a_rebate_that_no_step_can_resolve_is_refused_by_name(scheme, taker, fee):
    """At a rebate R a fill rate of 140 exp(1.5 R) is wanted: 4e8 to 1e295 a unit of time."""
    options = {} if taker is None else dict(taker=taker, taker_cost=0.1, target=0)
    try:
        found = hjb.solve(
            Market(2.0, 140.0, 1.5, fee=fee), horizon=1.0, max_inventory=4, steps=1, gamma=0.1, scheme=scheme, **options
        )
    except ValueError as error:
        assert "fee" in str(error)
    else:
        assert np.isfinite(found.value).all()


def test_the_discounted_value_is_that_of_its_own_quotes():
    """A dense solve of (discount − L) V = reward for the quotes found. The drift carries the maker far from 0."""
    market, gamma, rho, Q = Market(2.0, 140.0, 1.5, mu=9.0), 0.1, 0.5, 20
    found = hjb.policy_iteration(market, max_inventory=Q, gamma=gamma, xi=0.0, discount=rho)
    q = np.arange(-Q, Q + 1)
    up, down = (np.nan_to_num(140.0 * np.exp(-1.5 * side)) for side in (found.bid, found.ask))
    reward = up * np.nan_to_num(found.bid) + down * np.nan_to_num(found.ask) + 9.0 * q - 0.5 * gamma * 4.0 * q**2
    L = np.diag(up[:-1], 1) + np.diag(down[1:], -1) - np.diag(up + down)
    value = np.linalg.solve(rho * np.eye(2 * Q + 1) - L, reward)
    np.testing.assert_allclose(found.value, value, rtol=1e-10)
    assert np.argmax(found.value) > Q + 5


@pytest.mark.parametrize("taker", ["lot", "flatten", "limit"])
def test_an_order_of_many_units_is_an_order_of_one_in_other_money(taker):
    """Without impact θ in units of currency·Δ solves the same equation with aversion gamma Δ, taker's cost included."""
    problem = dict(horizon=0.5, max_inventory=6, steps=50, taker=taker, taker_cost=0.3)
    one = hjb.solve(AS, gamma=0.5, **problem)
    many = hjb.solve(AS, gamma=0.5 / 2.5, size=2.5, **problem)
    np.testing.assert_allclose(many.value, 2.5 * one.value, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(many.taker, one.taker)
    steady, many = (
        hjb.policy_iteration(AS, gamma=0.5 / size, size=size, max_inventory=6, taker=taker, taker_cost=0.3)
        for size in (1.0, 2.5)
    )
    assert many.gain == pytest.approx(2.5 * steady.gain, rel=1e-10)
    np.testing.assert_array_equal(many.taker, steady.taker)
