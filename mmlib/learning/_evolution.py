"""An evolution strategy: the slope of a noisy function from pairs of opposite steps, followed by Adam."""

import numpy as np

from mmlib.checks import integer, positive
from mmlib.learning import saved


def climb(estimate, first, *, rounds, spread, seed, watch=None, start=None):
    """The path of x, shape (rounds + 1, n), up the function `estimate(x, round)`.

    A round draws four directions ε (standard normal), and follows Σ ε (f(x + spread·ε) − f(x − spread·ε))/(2 spread)
    (the antithetic estimate of Salimans, Ho, Chen, Sidor & Sutskever 2017) by Adam, with a rate that falls from 0.3 to
    0. All eight of a round should be estimated on the same random numbers. `watch` is called after each round with the
    rounds done, those to do, and the state as arrays by name; from such a state, `start`, it is continued.

    Raises
    ------
    ValueError
        If an argument is out of range, or `start` is no such state.
    """
    rounds = integer("rounds", rounds, least=1, meaning="rounds of the strategy")
    spread = positive("spread", spread, "width of the search in logarithms")
    rng = np.random.default_rng(integer("seed", seed, least=0, meaning="seed of directions and episodes"))
    x = np.array(first, float)
    mean, square, path = np.zeros(len(x)), np.zeros(len(x)), [x]
    if start is not None:
        rows = len(start["path"]) if np.ndim(start.get("path")) == 2 else 0
        saved.check("start", start, {"mean": x.shape, "square": x.shape, "path": (max(rows, 1), *x.shape)})
        mean, square, path = np.array(start["mean"]), np.array(start["square"]), list(start["path"])
        x = path[-1]
    directions = rng.standard_normal((rounds, 4, len(x)))
    for step in range(len(path), rounds + 1):
        slope = np.zeros(len(x))
        for direction in directions[step - 1]:
            ends = [estimate(x + sign * spread * direction, step - 1) for sign in (1, -1)]
            slope += direction * (ends[0] - ends[1]) / (8 * spread)
        mean += 0.3 * (slope - mean)
        square += 0.1 * (slope**2 - square)
        pull = (mean / (1 - 0.7**step)) / np.sqrt(square / (1 - 0.9**step) + 1e-16)
        x = x + 0.3 * (1 - step / rounds) * pull
        path.append(x)
        if watch is not None:
            watch(step, rounds, {"mean": mean.copy(), "square": square.copy(), "path": np.array(path)})
    return np.array(path)
