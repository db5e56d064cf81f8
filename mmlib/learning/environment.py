"""Avellaneda & Stoikov's chain as an environment, and its exact optimum.

Each step the maker quotes at the inventory q; each side fills with probability min(1, A exp(−k δ) dt), independently;
then the mid moves ± sigma √dt on the new inventory. The optimum of this chain is not that of continuous time, which
pays less (a side fills at most once a step, but the mid moves after the fills): an agent is judged on the chain in
which it was trained. Any policy, read off on the grid (`quotes`), has an exact value V (`evaluate.penalised`,
`evaluate.certainty_equivalent`, scheme "bernoulli"), and a proven distance to the optimum V*: with T the Bellman
operator of the chain, applied to the values of the policy itself (`bracket`),

    penalty    V_0(q0)  <=  V*_0(q0)  <=  V_0(q0) + Σ_i max_q (T V_{i+1} − V_i)(q)
    CARA       the same for the certainty equivalents V = −ln(w)/gamma, since T(c w) = c T w for a constant c > 0.

The environments are Gymnasium's (extra ``rl``); `optimum` and `bracket` do without. Importing this module registers
the id "mmlib/MarketMaking-v0":

    env = gymnasium.make("mmlib/MarketMaking-v0", market=market, horizon=1.0, steps=200, max_inventory=30, phi=0.2)
    envs = gymnasium.make_vec("mmlib/MarketMaking-v0", num_envs=1024, vectorization_mode="vector_entry_point", …)

`reward` is "realised" (the change of wealth at the mid), "expected" (fills count by their probability, the mid's move
by its mean; under CARA fills as drawn, and the mid integrated out: −ln E exp(−gamma q ΔS)/gamma) or "centred" (expected
less the risk-neutral income 2A dt/(e k), the same constant each step, which changes no optimum). The penalty is
subtracted from each: phi q² dt a step, alpha q² at the end. The rewards of an episode add up to what the objective
counts, but for the constant.

`actions` is "distances" (bid, ask), "spread_skew" (h, s: bid h + s, ask h − s), "residual" (added to the bid and ask of
`base`, a `Quotes`) or "gamma" (the risk aversion of `glft.tanh_quotes`). `low` and `high` bound the box; an action
outside it is an error. What a box of distances costs: the value of `optimum(…, low=low, high=high)` against that
without.
"""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from mmlib import optional
from mmlib.learning import _bellman
from mmlib.market_making._fills import start_index
from mmlib.market_making.quotes import Quotes, inventory_grid, one_sided, time_grid

__all__ = ["MarketMakingEnv", "MarketMakingVectorEnv", "bracket", "optimum", "quotes"]


def optimum(
    market, *, horizon, steps, max_inventory, gamma=None, phi=None, alpha=0.0, low=-np.inf, high=np.inf
) -> Quotes:
    """The optimal quotes of the chain, by dynamic programming.

    Parameters
    ----------
    market : Market
        Without impact.
    horizon : float
        End of trading, time, > 0.
    steps : int
        Number of steps of the chain, at least A·horizon.
    max_inventory : int
        Q: largest |inventory|, orders, >= 1.
    gamma : float, optional
        Risk aversion, 1/currency, > 0: the objective is the certainty equivalent.
    phi, alpha : float
        Running (currency/(units² time)) and final (currency/units²) penalty, >= 0: the objective is
        E[profit − phi Σ q² dt − alpha q_T²]. Either `gamma` or `phi` is given.
    low, high : float
        Bounds of the distances, price.

    Returns
    -------
    Quotes
        Distances of shape (steps, 2Q + 1), price, never below ln(A dt)/k, where a fill is sure.

    Raises
    ------
    ValueError
        If an argument is out of range, the market has an impact or is no `Market`, or A·dt > 1.
    """
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory)
    dt = _bellman.step_length(market, horizon, len(times))
    rule = _bellman.objective(market, gamma, phi, alpha)
    if not low < high:
        raise ValueError(f"low must be below high (distances, price); got {low!r} and {high!r}")
    value, held = rule.final(q.astype(float)), rule.held(q.astype(float), dt)
    bid, ask = np.empty((2, len(times), len(q)))
    for i in range(len(times) - 1, -1, -1):
        bid[i], ask[i] = _bellman.best(rule, value + held, dt, low, high)
        value = rule.step(value + held, bid[i], ask[i], dt)
    return Quotes(times, q, bid, ask, float(horizon))


class Bracket(NamedTuple):
    """Between these the optimum lies.

    Attributes
    ----------
    value : float
        Exact value of the quotes, currency.
    bound : float
        Upper bound of the optimum, currency.
    proven : bool
        Whether each step's best answers are known to be its global maximum, as the bound needs: under the penalty where
        a step is jointly concave in the two fill probabilities that can be best. Where it is not known, the bound takes
        each side's best for itself, and is wide. Under CARA it is not decided: False.
    """

    value: float
    bound: float
    proven: bool


def bracket(market, quotes, *, gamma=None, phi=None, alpha=0.0, inventory=0) -> Bracket:
    """Exact value of `quotes` in the chain and an upper bound of its optimum, by the Bellman residual of their values.

    Parameters
    ----------
    market : Market
    quotes : Quotes
        At equal steps from 0, of orders of one unit, without a hard limit.
    gamma, phi, alpha
        As in `optimum`.
    inventory : int
        Orders held at the start.

    Returns
    -------
    Bracket

    Raises
    ------
    ValueError
        As `optimum`, and if the quotes are not those of a chain.
    """
    dt = check_quotes(market, quotes)
    rule = _bellman.objective(market, gamma, phi, alpha)
    at = start_index(quotes, inventory)
    value = _bellman.values(rule, quotes, dt)
    held = rule.held(quotes.inventory.astype(float), dt)
    residual, proven = 0.0, phi is not None
    for i in range(len(quotes.times)):
        after = value[i + 1] + held
        improved = rule.currency(rule.step(after, *_bellman.best(rule, after, dt), dt))
        if phi is not None:
            loose = _bellman.bound_apart(rule, after, dt)
            concave = _bellman.jointly_concave(rule, after, dt)
            improved, proven = np.where(concave, improved, loose), proven and bool(np.all(concave))
        residual += max(float(np.max(improved - rule.currency(value[i]))), 0.0)
    start = float(rule.currency(value[0])[at])
    return Bracket(start, start + residual, proven)


def quotes(env, policy) -> Quotes:
    """The policy as `Quotes`: what it would quote at every time and inventory of the environment.

    Parameters
    ----------
    env : MarketMakingEnv or MarketMakingVectorEnv
    policy : callable
        Observations (N, 2), float32, to actions (N, d); e.g. ``lambda x: model.predict(x, deterministic=True)[0]``.

    Returns
    -------
    Quotes

    Raises
    ------
    ValueError
        If an action is not finite or outside the box.
    """
    rules = env.unwrapped.rules
    bid, ask = np.empty((2, rules.steps, len(rules.inventory)))
    for i in range(rules.steps):
        observed = rules.observe(i, rules.inventory)
        bid[i], ask[i] = rules.distances(i, rules.inventory, policy(observed))
    bid, ask = one_sided(rules.inventory, bid, ask)
    return Quotes(rules.times, rules.inventory, bid, ask, rules.horizon)


def check_quotes(market, quotes):
    """Length of a step; ValueError unless `quotes` are those of a chain of one-unit orders."""
    if not isinstance(quotes, Quotes):
        raise ValueError(f"quotes must be Quotes; got {type(quotes).__name__}")
    n = len(quotes.times)
    dt = _bellman.step_length(market, quotes.horizon, n)
    if not np.allclose(quotes.times, np.arange(n) * dt, rtol=0, atol=1e-9 * dt):
        raise ValueError(f"times must be {n} equal steps from 0 to horizon; got {quotes.times!r}")
    if quotes.limit is not None or quotes.size != 1:
        raise ValueError(f"quotes must be of one unit and without a hard limit; got {quotes.size!r}, {quotes.limit!r}")
    return dt


def __getattr__(name):
    if name in ("MarketMakingEnv", "MarketMakingVectorEnv"):  # only where the import below was not made
        optional.load("gymnasium", "rl", "the environments")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if find_spec("gymnasium") is not None:  # registers the ids
    from mmlib.learning._environments import MarketMakingEnv, MarketMakingVectorEnv
