"""A glass box: volatility switches between regimes, and an agent that only sets the risk aversion of a known formula.

The regime r is a Markov chain with a known generator, seen by the maker; its volatility is sigma_r. A step of the chain
of Avellaneda & Stoikov (2008, section 3.3) fills, moves the mid by ± sigma_r √dt, then the regime by P = exp(dt·G):

    W_r(q) = cosh(gamma sigma_r √dt q) Σ_s P_rs w_s(q)

and the best quotes of each regime follow as without regimes (`_bellman`). So the optimum, and the value of any rule,
are computed. Values are averaged over the regime in which trading starts, by its stationary law.

The agent keeps the formula of `glft.tanh_quotes` with one fixed volatility, the stationary mean
sigma̅² = Σ π_r sigma_r², and sets its gamma by regime: an agent with as many numbers as there are regimes, each with a
meaning. `learn` (an evolution strategy) and `bandit` (a contextual bandit on a grid) find them from simulated episodes
alone.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.linalg import expm, null_space
from scipy.optimize import minimize

from mmlib.checks import finite, integer, positive
from mmlib.learning import _bellman
from mmlib.learning._bandit import choose
from mmlib.learning._evolution import climb
from mmlib.learning._kernels.regimes import episodes as simulate
from mmlib.learning._rules import tanh_law
from mmlib.market_making._fills import start_index
from mmlib.market_making.quotes import inventory_grid, one_sided, time_grid


@dataclass(frozen=True, eq=False)
class Regimes:
    """Volatilities and the generator of the chain that switches between them.

    Parameters
    ----------
    sigma : array_like, shape (R,)
        Volatility of each regime, price/√time, > 0.
    generator : array_like, shape (R, R)
        Rates of switching, 1/time: >= 0 off the diagonal, rows that sum to 0, every regime reached from every other.

    Raises
    ------
    ValueError
        If a value is out of range or the shapes do not fit.
    """

    sigma: np.ndarray
    generator: np.ndarray

    def __post_init__(self):
        sigma = np.atleast_1d(positive("sigma", self.sigma, "volatility of each regime, price/√time", array=True))
        generator = np.atleast_2d(finite("generator", self.generator, "rates of switching, 1/time"))
        R = len(sigma)
        if sigma.ndim != 1 or generator.shape != (R, R):
            raise ValueError(
                f"generator must have shape {(R, R)}, as there are {R} volatilities; got {generator.shape}"
            )
        rates = generator - np.diag(np.diag(generator))
        if np.any(rates < 0) or np.any(np.abs(generator.sum(1)) > 1e-12 * np.abs(generator).max(initial=1)):
            raise ValueError(f"generator must be >= 0 off its diagonal and its rows sum to 0; got {generator!r}")
        if null_space(generator.T).shape[1] != 1:
            raise ValueError(f"generator must reach every regime from every other; got {generator!r}")
        object.__setattr__(self, "sigma", sigma)
        object.__setattr__(self, "generator", generator)

    @property
    def stationary(self):
        """Law of the regime in the long run, shape (R,)."""
        law = null_space(self.generator.T)[:, 0]
        return law / law.sum()

    @property
    def mean_sigma(self):
        """√Σ π sigma², price/√time."""
        return float(np.sqrt(self.stationary @ self.sigma**2))


@dataclass(frozen=True, eq=False)
class StateQuotes:
    """Bid and ask distances over time, state and inventory; NaN where a side is not quoted.

    Attributes
    ----------
    times : ndarray, shape (n,)
    inventory : ndarray, shape (m,)
    bid, ask : ndarray, shape (n, R, m)
        Price.
    horizon : float
    """

    times: np.ndarray
    inventory: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    horizon: float


def _chain(market, regimes, gamma, horizon, steps, q):
    """Length of a step; transitions of the regimes (R, R); the objective of each, and what holding q adds (R, m)."""
    if not isinstance(regimes, Regimes):
        raise ValueError(f"regimes must be Regimes; got {type(regimes).__name__}")
    dt = _bellman.step_length(market, horizon, steps)
    rules = [_bellman.objective(replace(market, sigma=float(s)), gamma, None, 0.0) for s in regimes.sigma]
    return dt, expm(dt * regimes.generator), rules, np.stack([rule.held(q.astype(float), dt) for rule in rules])


def _mix(log, switch):
    """ln Σ_s P_rs exp(log_s), shape of `log` (R, m)."""
    top = log.max(0)
    return top + np.log(switch @ np.exp(log - top))


def optimum(market, regimes, *, horizon, steps, max_inventory, gamma) -> StateQuotes:
    """The optimal quotes of each regime, for the certainty equivalent, by dynamic programming.

    Parameters
    ----------
    market : Market
        Its sigma is not used.
    regimes : Regimes
    horizon, steps, max_inventory, gamma
        As in `environment.optimum`.

    Raises
    ------
    ValueError
        If an argument is out of range, or A·dt > 1.
    """
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory)
    dt, switch, rules, held = _chain(market, regimes, gamma, horizon, len(times), q)
    log = np.zeros(held.shape)
    bid, ask = np.empty((2, len(times), *held.shape))
    for i in range(len(times) - 1, -1, -1):
        after = _mix(log, switch) + held
        bid[i], ask[i] = _bellman.best(rules[0], after, dt)
        log = rules[0].step(after, bid[i], ask[i], dt)
    return StateQuotes(times, q, bid, ask, float(horizon))


def certainty_equivalent(market, regimes, quotes, gamma):
    """Exact certainty equivalent of `quotes` from inventory 0, averaged over the stationary law of the first regime.

    Parameters
    ----------
    market : Market
        Its sigma is not used.
    regimes : Regimes
    quotes : StateQuotes
    gamma : float
        Risk aversion, 1/currency, > 0.

    Returns
    -------
    float
        Currency.

    Raises
    ------
    ValueError
        If an argument is out of range, the quotes have another number of states, or A·dt > 1.
    """
    n, q = len(quotes.times), quotes.inventory
    dt, switch, rules, held = _chain(market, regimes, gamma, quotes.horizon, n, q)
    if quotes.bid.shape[1] != len(rules):
        raise ValueError(f"quotes must have the {len(rules)} states of regimes; got {quotes.bid.shape[1]}")
    log = np.zeros(held.shape)
    for i in range(n - 1, -1, -1):
        log = rules[0].step(_mix(log, switch) + held, quotes.bid[i], quotes.ask[i], dt)
    return float(regimes.stationary @ (-log[:, start_index(quotes, 0)] / gamma))


def formula(market, sigma, gammas, *, horizon, steps, max_inventory) -> StateQuotes:
    """Quotes of `glft.tanh_quotes` with the volatility `sigma` and the risk aversion `gammas` of each regime.

    Parameters
    ----------
    market : Market
        Its sigma is not used.
    sigma : array_like, shape (R,) or one number
        Volatility that the formula believes in, price/√time.
    gammas : array_like, shape (R,)
        Risk aversions, 1/currency, > 0.
    horizon, steps, max_inventory
        As in `environment.optimum`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    gammas = np.atleast_1d(positive("gammas", gammas, "risk aversion of each regime, 1/currency", array=True))
    sigma = np.broadcast_to(positive("sigma", sigma, "volatility, price/√time", array=True), gammas.shape)
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory)
    tau = (horizon - times)[:, None]
    sides = [
        one_sided(q, *tanh_law(replace(market, sigma=float(s)), np.array(gamma), tau, q.astype(float)))
        for s, gamma in zip(sigma, gammas, strict=True)
    ]
    bid, ask = (np.stack(side, 1) for side in zip(*sides, strict=True))
    return StateQuotes(times, q, bid, ask, float(horizon))


def best_gammas(market, regimes, gamma, *, horizon, steps, max_inventory, shared=False, arms=None):
    """The gammas of `formula` on the mean volatility with the highest exact certainty equivalent, shape (R,).

    Parameters
    ----------
    gamma : float
        Risk aversion of the objective, from which the search starts.
    shared : bool
        One number for all regimes.
    arms : array_like, shape (K,), optional
        Risk aversions that rise, 1/currency, > 0, of which each choice (K^R; K if shared) is computed instead.
    market, regimes, horizon, steps, max_inventory
        As in `optimum`.

    Raises
    ------
    ValueError
        As `optimum`.
    """
    R, grid = len(regimes.sigma), dict(horizon=horizon, steps=steps, max_inventory=max_inventory)

    def loss(x):
        quotes = formula(market, regimes.mean_sigma, np.exp(np.broadcast_to(x, R)), **grid)
        return -certainty_equivalent(market, regimes, quotes, gamma)

    if arms is not None:
        choices = product(_arms(arms), repeat=1 if shared else R)
        return np.ones(R) * min(choices, key=lambda choice: loss(np.log(choice)))
    start = np.full(1 if shared else R, np.log(gamma))
    found = minimize(loss, start, method="L-BFGS-B", options=dict(ftol=1e-14))
    return np.exp(np.broadcast_to(found.x, R))


def _arms(arms):
    arms = np.atleast_1d(positive("arms", arms, "risk aversions to choose from, 1/currency", array=True))
    if arms.ndim != 1 or len(arms) < 2 or np.any(np.diff(arms) <= 0):
        raise ValueError(f"arms must be two numbers or more that rise; got {arms!r}")
    return arms


@dataclass(frozen=True, eq=False)
class Learned:
    """What an agent found.

    Attributes
    ----------
    gammas : ndarray, shape (R,)
        Last risk aversions, 1/currency.
    path : ndarray, shape (rounds + 1, R)
        Of the risk aversions, the first ones included.
    episodes : int
        Simulated in all.
    bounds : ndarray, shape (R,), or None
        Of the bandit: the most that another arm in one regime alone adds, currency; infinite where it is not known.
    """

    gammas: np.ndarray
    path: np.ndarray
    episodes: int
    bounds: np.ndarray | None = None


def _player(market, regimes, gamma, seed, realised, *, horizon, steps, max_inventory):
    """The function `profits(gammas, first, count)` of episodes of a seed."""
    seed = integer("seed", seed, least=0, meaning="seed of directions and episodes")
    if market.mu != 0:
        raise ValueError(f"mu must be 0 for what is learned from episodes (price/time); got {market.mu!r}")
    zero = integer("max_inventory", max_inventory, least=2, meaning="largest inventory, orders")
    q = inventory_grid(zero)
    dt, switch, rules, held = _chain(market, regimes, gamma, horizon, integer("steps", steps, least=1), q)
    held = np.sqrt(dt) * np.outer(regimes.sigma, q) if realised else rules[0].currency(held)
    switch, begin = np.cumsum(switch, 1), np.cumsum(regimes.stationary)

    def profits(gammas, first, count):
        quotes = formula(market, regimes.mean_sigma, gammas, horizon=horizon, steps=steps, max_inventory=zero)
        mark, slope = quotes.bid[:, :, zero], quotes.bid[:, :, zero + 1] - quotes.bid[:, :, zero]
        side = (market.A * dt, market.k, market.fee)
        return simulate(seed, first, count, mark, slope, side, held, switch, begin, realised)

    return profits


def learn(
    market,
    regimes,
    gamma,
    *,
    horizon,
    steps,
    max_inventory,
    rounds=30,
    batch=400,
    spread=0.3,
    seed=0,
    realised=False,
    watch=None,
    start=None,
) -> Learned:
    """Gammas by regime from simulated profits alone, by an evolution strategy on their logarithms.

    Each of the eight policies of a round (`_evolution`: Adam on antithetic estimates, Salimans, Ho, Chen, Sidor &
    Sutskever 2017) is simulated for `batch` episodes, on the same random numbers. What is climbed is the certainty
    equivalent of the profits of a batch.

    Parameters
    ----------
    market, regimes, gamma, horizon, steps, max_inventory
        As in `best_gammas`.
    rounds, batch : int
        Rounds, and episodes of each of the eight policies of a round.
    spread : float
        Width of the search in ln gamma.
    seed : int
        Of directions and episodes.
    realised : bool
        Whether the move of the mid is drawn instead of integrated out.
    watch : callable, optional
        Called after each round with the rounds done, those to do, and the state as arrays by name.
    start : dict of ndarray, optional
        A state to continue from, as `watch` was given it, under the same arguments.

    Raises
    ------
    ValueError
        As `optimum`; if the mid drifts, or `max_inventory` is below 2.
    """
    batch = integer("batch", batch, least=10, meaning="episodes of each policy of a round")
    grid = dict(horizon=horizon, steps=steps, max_inventory=max_inventory)
    profits = _player(market, regimes, gamma, seed, realised, **grid)

    def estimate(x, round):
        got = profits(np.exp(x), batch * round, batch)
        return -np.log(np.mean(np.exp(-gamma * (got - got.mean())))) / gamma + got.mean()

    options = dict(rounds=rounds, spread=spread, seed=seed, watch=watch, start=start)
    path = np.exp(climb(estimate, np.full(len(regimes.sigma), np.log(gamma)), **options))
    return Learned(path[-1], path, 8 * batch * (len(path) - 1))


def bandit(
    market,
    regimes,
    gamma,
    *,
    horizon,
    steps,
    max_inventory,
    arms=None,
    rounds=8,
    batch=400,
    seed=0,
    realised=False,
    watch=None,
    start=None,
) -> Learned:
    """Gammas by regime from simulated profits alone, by a contextual bandit: the regime is the context, a gamma an arm.

    An episode is played with one arm in each regime, and costs exp(−gamma·profit). The regimes take turns to choose an
    arm on the same episodes, by successive elimination (`_bandit`; Even-Dar, Mannor & Mansour 2006), until none changes
    its arm. What is estimated is −ln E[cost]/gamma: the certainty equivalent from a regime that is drawn. On as many
    fresh episodes, no other arm in one regime alone adds more to it than `bounds`, at four standard errors of each
    difference. Where gamma times the deviation of the profit is large, a few losses carry the mean of the costs, the
    choice is little better than chance, and `bounds` is infinite (`_bandit.FEWEST`).

    Parameters
    ----------
    market, regimes, gamma, horizon, steps, max_inventory
        As in `best_gammas`.
    arms : array_like, shape (K,), optional
        Risk aversions that rise, 1/currency, > 0; the nearest to gamma comes first. By default gamma/4 to 4 gamma, each
        √2 times the last.
    rounds, batch : int
        Batches of a turn, at most, and episodes of an arm in each.
    seed, realised, watch, start
        As in `learn`; `watch` is called after each turn.

    Raises
    ------
    ValueError
        As `learn`, or if `arms` do not rise.
    """
    grid = dict(horizon=horizon, steps=steps, max_inventory=max_inventory)
    profits = _player(market, regimes, gamma, seed, realised, **grid)
    arms = _arms(gamma * np.sqrt(2.0) ** np.arange(-4, 5) if arms is None else arms)
    first = np.full(len(regimes.sigma), np.argmin(np.abs(np.log(arms / gamma))))
    level = profits(arms[first], 0, 1000).mean()  # of the exponent only

    def costs(choice, begin, count):
        with np.errstate(over="ignore"):
            return np.exp(gamma * (level - profits(arms[choice], begin, count)))

    options = dict(rounds=rounds, batch=batch, watch=watch, start=start)
    path, bounds, played = choose(costs, len(arms), first, **options)
    return Learned(arms[path[-1]], arms[path], played + 1000, bounds / gamma)
