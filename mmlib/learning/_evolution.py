"""An evolution strategy: the slope of a noisy function from pairs of opposite steps, followed by Adam."""

import numpy as np

from mmlib.checks import integer, positive


def climb(estimate, start, *, rounds, spread, seed):
    """The path of x, shape (rounds + 1, n), up the function `estimate(x, round)`.

    A round draws four directions ε (standard normal), and follows Σ ε (f(x + spread·ε) − f(x − spread·ε))/(2 spread)
    (the antithetic estimate of Salimans, Ho, Chen, Sidor & Sutskever 2017) by Adam, with a rate that falls from 0.3 to
    0. All eight of a round should be estimated on the same random numbers.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    rounds = integer("rounds", rounds, least=1, meaning="rounds of the strategy")
    spread = positive("spread", spread, "width of the search in logarithms")
    rng = np.random.default_rng(integer("seed", seed, least=0, meaning="seed of directions and episodes"))
    x = np.array(start, float)
    mean, square, path = np.zeros(len(x)), np.zeros(len(x)), [x]
    for step in range(1, rounds + 1):
        slope = np.zeros(len(x))
        for direction in rng.standard_normal((4, len(x))):
            ends = [estimate(x + sign * spread * direction, step - 1) for sign in (1, -1)]
            slope += direction * (ends[0] - ends[1]) / (8 * spread)
        mean += 0.3 * (slope - mean)
        square += 0.1 * (slope**2 - square)
        pull = (mean / (1 - 0.7**step)) / np.sqrt(square / (1 - 0.9**step) + 1e-16)
        x = x + 0.3 * (1 - step / rounds) * pull
        path.append(x)
    return np.array(path)
