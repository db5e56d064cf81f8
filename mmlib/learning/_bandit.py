"""A contextual bandit: in each context an arm of a grid, by successive elimination on common random numbers."""

import numpy as np

from mmlib.checks import integer
from mmlib.learning import saved

ERRORS = 4  # standard errors of a mean difference that tell two arms apart


def choose(costs, arms, first, *, rounds, batch, watch=None, start=None):
    """The path of choices, shape (turns + 1, R), to low means of `costs(choice, first, count)`; bounds; episodes.

    A choice is an arm (0 … `arms` − 1) in each of R contexts, and is played for whole episodes, which cost > 0. The
    contexts take turns, the others' arms held: all arms are played on the same episodes, and after each of `rounds`
    batches those go whose mean is above the lowest by more than four standard errors of the paired difference. The arm
    held never goes, and every turn has the same episodes: a change lowers their mean, and so there is an end, when
    every context has kept its arm in turn. Then another arm in context r alone lowers the logarithm of the expected
    cost by at most bounds[r] = max ln(1 + (4 s − d)/mean), d and s the difference and its error, over the arms left:
    as surely as each of the comparisons holds. `watch` and `start` as in `_evolution.climb`, by turns.

    Raises
    ------
    ValueError
        If an argument is out of range, or `start` is no state.
    """
    rounds = integer("rounds", rounds, least=1, meaning="batches of a turn")
    batch = integer("batch", batch, least=100, meaning="episodes of an arm in a batch")
    R = len(first)
    path, bounds, played = [np.array(first)], np.zeros(R), 0
    if start is not None:
        rows = len(start["path"]) if "path" in start else 0
        saved.check("start", start, {"path": (rows, R), "bounds": (R,), "played": ()})
        path, bounds, played = list(start["path"].astype(int)), np.array(start["bounds"]), int(start["played"])
    while len(path) <= R or np.any(path[-1] != path[-1 - R]):
        r, choice, left, n = (len(path) - 1) % R, path[-1].copy(), np.arange(arms), 0
        cost = np.empty((arms, 0))
        while n < rounds * batch and len(left) > 1:
            new = []
            for choice[r] in left:
                new.append(costs(choice, n, batch))
            cost, n, played = np.hstack([cost, new]), n + batch, played + batch * len(left)
            mean = cost.mean(1)
            gap = mean - mean.min()
            error = (cost - cost[mean.argmin()]).std(1) / np.sqrt(n)
            stay = (gap <= ERRORS * error) | (left == path[-1][r])
            left, cost, mean, gap, error = left[stay], cost[stay], mean[stay], gap[stay], error[stay]
        choice[r] = left[mean.argmin()]
        bounds[r] = np.log1p(np.max((ERRORS * error - gap) / mean))
        path.append(choice)
        if watch is not None:
            state = {"path": np.array(path), "bounds": bounds.copy(), "played": np.array(played)}
            watch(len(path) - 1, len(path) - 1 + R, state)
    return np.array(path), bounds, played
