"""Learning by the exact gradient: the value of quotes, differentiated in every quote, and learners that climb it.

The chain is known, so nothing is sampled. With p_i(q) the probability of the inventory q before step i (forwards from
the first step) and U the value after the fills (backwards from the last, `_bellman`), the value V of
E[profit − phi Σ q² dt − alpha q_T²] moves with a bid by

    ∂V/∂δb(i, q) = p_i(q) pb (1 − k [δb − fee + (1−pa)(U(q+1) − U(q)) + pa (U(q) − U(q−1))]),

the policy gradient theorem (Sutton, McAllester, Singh & Mansour 2000, theorem 1) with its expectations computed. For
the certainty equivalent p is the law tilted by exp(−gamma profit), and with f the tilted probability that the bid fills

    ∂V/∂δb(i, q) = p_i(q) [f + (k/gamma)(f − (1 − f) pb/(1 − pb))].

The ask mirrors the bid. Below ln(A dt)/k a fill is sure, and the terms with k drop out. A policy with parameters takes
the chain rule:

    law      δb = c + ½ (2q + 1) s tanh(omega tau),  δa = c − ½ (2q − 1) s tanh(omega tau): three parameters, L-BFGS
    table    every quote for itself, L-BFGS
    network  two layers of tanh from (t/T, q/Q) to (δb, δa), Adam (Kingma & Ba 2015, algorithm 1)
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from mmlib.checks import integer, positive
from mmlib.learning import _bellman, saved
from mmlib.learning.environment import check_quotes
from mmlib.market_making._fills import start_index
from mmlib.market_making.quotes import Quotes, inventory_grid, one_sided, time_grid


def gradient(market, quotes, *, gamma=None, phi=None, alpha=0.0, inventory=0):
    """Exact value of `quotes` in the chain and its derivative in every quote.

    Parameters
    ----------
    market : Market
    quotes : Quotes, tables of shape (n, m)
        At equal steps from 0, of orders of one unit, without a hard limit.
    gamma, phi, alpha, inventory
        As in `environment.bracket`.

    Returns
    -------
    value : float
        Currency.
    bid, ask : ndarray, shape (n, m)
        Derivatives, currency/price; 0 where a side is not quoted.

    Raises
    ------
    ValueError
        As `environment.bracket`.
    """
    dt = check_quotes(market, quotes)
    rule = _bellman.objective(market, gamma, phi, alpha)
    at = start_index(quotes, inventory)
    value = _bellman.values(rule, quotes, dt)
    after = value[1:] + rule.held(quotes.inventory.astype(float), dt)
    up, down, by_bid, by_ask = rule.slopes(after, quotes.bid, quotes.ask, dt)
    law = np.zeros(by_bid.shape)
    law[0, at] = 1.0
    for i in range(len(law) - 1):
        law[i + 1] = law[i] * (1 - up[i] - down[i])
        law[i + 1, 1:] += law[i, :-1] * up[i, :-1]
        law[i + 1, :-1] += law[i, 1:] * down[i, 1:]
    return float(rule.currency(value[0])[at]), law * by_bid, law * by_ask


@dataclass(frozen=True, eq=False)
class Learned:
    """What a learner ended with.

    Attributes
    ----------
    quotes : Quotes
        The last policy.
    values : ndarray
        Exact value after each evaluation of the gradient, currency; the last one is that of `quotes`.
    parameters : ndarray
        Of the policy.
    """

    quotes: Quotes
    values: np.ndarray
    parameters: np.ndarray

    @property
    def value(self):
        """Exact value of `quotes`, currency."""
        return float(self.values[-1])


def law(market, *, horizon, steps, max_inventory, gamma=None, phi=None, alpha=0.0) -> Learned:
    """The best quotes of the three-parameter law c, s, omega, by L-BFGS on the exact gradient.

    Starts without skew, at c = 1/k, s = 0 and omega = 1/horizon.

    Parameters
    ----------
    market, horizon, steps, max_inventory, gamma, phi, alpha
        As in `environment.optimum`.

    Returns
    -------
    Learned
        `parameters` are c, s (price) and omega (1/time).

    Raises
    ------
    ValueError
        As `environment.optimum`.
    """
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory)
    tau = (horizon - times)[:, None]
    bid_lean, ask_lean = q + 0.5, q - 0.5

    def policy(x):
        lean = x[1] * np.tanh(x[2] * tau)
        return x[0] + bid_lean * lean, x[0] - ask_lean * lean

    def pull(x, by_bid, by_ask):
        by_lean = by_bid * bid_lean - by_ask * ask_lean
        tanh = np.tanh(x[2] * tau)
        return np.array([np.sum(by_bid + by_ask), np.sum(by_lean * tanh), np.sum(by_lean * x[1] * tau * (1 - tanh**2))])

    start = np.array([1 / market.k, 0.0, 1 / horizon])
    return _climb(policy, pull, start, market, times, q, horizon, dict(gamma=gamma, phi=phi, alpha=alpha))


def table(market, *, horizon, steps, max_inventory, gamma=None, phi=None, alpha=0.0, rounds=500) -> Learned:
    """Every quote for itself, by L-BFGS on the exact gradient, from 1/k everywhere.

    Quotes at inventories that are hardly ever held have hardly any gradient: they are learned last, or not at all.

    Parameters
    ----------
    market, horizon, steps, max_inventory, gamma, phi, alpha
        As in `environment.optimum`.
    rounds : int
        Most iterations of L-BFGS.

    Returns
    -------
    Learned
        `parameters` are the quotes.

    Raises
    ------
    ValueError
        As `environment.optimum`.
    """
    rounds = integer("rounds", rounds, least=1, meaning="most iterations")
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory)
    shape = (2, len(times), len(q))

    def pull(_, by_bid, by_ask):
        return np.ravel([by_bid, by_ask])

    start = np.full(np.prod(shape), 1 / market.k)
    options = dict(gamma=gamma, phi=phi, alpha=alpha)
    return _climb(lambda x: x.reshape(shape), pull, start, market, times, q, horizon, options, rounds)


def _climb(policy, pull, start, market, times, q, horizon, options, rounds=500):
    """L-BFGS (Byrd, Lu, Nocedal & Zhu 1995, as SciPy has it) on minus the value, in units of 1/k of the gradient."""
    values = []

    def table(x):
        return Quotes(times, q, *one_sided(q, *policy(x)), horizon)

    def loss(x):
        value, by_bid, by_ask = gradient(market, table(x), **options)
        values.append(value)
        return -value, -pull(x, by_bid, by_ask)

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=dict(maxiter=rounds, ftol=1e-14, gtol=1e-10))
    values.append(-found.fun)
    return Learned(table(found.x), np.array(values), found.x)


def network(
    market,
    *,
    horizon,
    steps,
    max_inventory,
    gamma=None,
    phi=None,
    alpha=0.0,
    width=32,
    rounds=60,
    rate=0.02,
    seed=0,
    watch=None,
    start=None,
) -> Learned:
    """A network of two hidden layers of tanh, by Adam on the exact gradient; it starts near 1/k everywhere.

    Parameters
    ----------
    market, horizon, steps, max_inventory, gamma, phi, alpha
        As in `environment.optimum`.
    width : int
        Units of a hidden layer.
    rounds : int
        Steps of Adam.
    rate : float
        Its first learning rate; it falls linearly to a tenth.
    seed : int
        Of the first weights.
    watch : callable, optional
        Called after each step of Adam with the steps done, those to do, and the state as arrays by name.
    start : dict of ndarray, optional
        A state to continue from, as `watch` was given it, under the same arguments.

    Returns
    -------
    Learned
        `parameters` are weights and biases, layer by layer.

    Raises
    ------
    ValueError
        As `environment.optimum`; if `start` is no state of such a network.
    """
    width = integer("width", width, least=1, meaning="units of a hidden layer")
    rounds = integer("rounds", rounds, least=1, meaning="steps of Adam")
    rate = positive("rate", rate, "learning rate")
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory)
    t, held = np.meshgrid(times / horizon, q / max_inventory, indexing="ij")
    inputs = np.stack([t.ravel(), held.ravel()], 1)
    rng = np.random.default_rng(integer("seed", seed, least=0, meaning="seed of the first weights"))
    sizes = (2, width, width, 2)
    first = [rng.standard_normal((a, b)) / np.sqrt(a) for a, b in pairwise(sizes)]
    first[-1] *= 0.1
    x = np.concatenate([*(W.ravel() for W in first), np.zeros(sum(sizes[1:]))])
    mean, square, values = np.zeros(len(x)), np.zeros(len(x)), []
    if start is not None:
        saved.check("start", start, {"x": x.shape, "mean": x.shape, "square": x.shape, "values": start["values"].shape})
        x, mean, square = (start[name].copy() for name in ("x", "mean", "square"))
        values = list(start["values"])
    parts = np.split(x, np.cumsum([*(W.size for W in first), *sizes[1:]])[:-1])  # views
    weights, biases = [part.reshape(W.shape) for part, W in zip(parts, first, strict=False)], parts[len(first) :]

    def forward():
        layers = [inputs]
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            layers.append(np.tanh(layers[-1] @ W + b))
        distances = (1 + layers[-1] @ weights[-1] + biases[-1]) / market.k
        bid, ask = np.moveaxis(distances.reshape(len(times), len(q), 2), 2, 0)
        return layers, Quotes(times, q, *one_sided(q, bid, ask), horizon)

    for step in range(len(values) + 1, rounds + 1):
        layers, quotes = forward()
        value, by_bid, by_ask = gradient(market, quotes, gamma=gamma, phi=phi, alpha=alpha)
        values.append(value)
        back = np.stack([by_bid.ravel(), by_ask.ravel()], 1) / market.k
        slopes = []
        for layer, W in zip(layers[::-1], weights[::-1], strict=True):
            slopes.append((layer.T @ back, back.sum(0)))
            back = back @ W.T * (1 - layer**2)
        by_weights, by_biases = zip(*slopes[::-1], strict=True)
        slope = np.concatenate([g.ravel() for g in (*by_weights, *by_biases)])
        mean += 0.1 * (slope - mean)
        square += 0.001 * (slope**2 - square)
        size = rate * (1 - 0.9 * (step - 1) / rounds)
        x += size * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        if watch is not None:
            state = {"x": x.copy(), "mean": mean.copy(), "square": square.copy(), "values": np.array(values)}
            watch(step, rounds, state)
    _, quotes = forward()
    values.append(gradient(market, quotes, gamma=gamma, phi=phi, alpha=alpha)[0])
    return Learned(quotes, np.array(values), x)
