"""A contextual bandit: in each context an arm of a grid, by successive elimination on common random numbers."""

import numpy as np

from mmlib.checks import integer
from mmlib.learning import saved

ERRORS = 4  # standard errors of a mean difference that tell two arms apart
FEWEST = 100  # episodes that a mean of costs must rest on to have a standard error, (Σ cost)²/Σ cost²


def choose(costs, arms, first, *, rounds, batch, watch=None, start=None):
    """The path of choices, shape (turns + 1, R), to low means of `costs(choice, first, count)`; bounds; episodes.

    A choice is an arm (0 … `arms` − 1) in each of R contexts, and is played for whole episodes, which cost > 0. The
    contexts take turns, the others' arms held: all arms are played on the same episodes, and after each of `rounds`
    batches those go whose mean is above the lowest by more than four standard errors of the paired difference. The arm
    held never goes, and stays unless another's mean is lower, by however little. Every turn has the same episodes, so
    that a change lowers their mean, and there is an end: when every context has kept its arm in turn.

    Then all arms of each context are played once more, on as many episodes that no choice has seen: another arm in
    context r alone lowers the logarithm of the expected cost by at most bounds[r] = max ln(1 + (4 s − d)/mean), d and s
    the difference to the arm chosen and its error. Infinite where fewer than a hundred episodes carry the mean.

    `watch` and `start` as in `_evolution.climb`, by turns.

    Raises
    ------
    ValueError
        If an argument is out of range, or `start` is no state.
    """
    rounds = integer("rounds", rounds, least=1, meaning="batches of a turn")
    batch = integer("batch", batch, least=100, meaning="episodes of an arm in a batch")
    R = len(first)
    path, played = [np.array(first)], 0
    if start is not None:
        path, played = _state(start, R, arms)
    while len(path) <= R or np.any(path[-1] != path[-1 - R]):
        r, held, left, n = (len(path) - 1) % R, path[-1], np.arange(arms), 0
        cost = np.empty((arms, 0))
        while n < rounds * batch and len(left) > 1:
            cost = np.hstack([cost, _played(costs, held, r, left, n, batch)])
            n, played = n + batch, played + batch * len(left)
            gap, error = _differences(cost, cost.mean(1).argmin())
            stay = ~(gap > ERRORS * error) | (left == held[r])
            left, cost = left[stay], cost[stay]
        mean = cost.mean(1)
        choice = held.copy()
        if not mean[left == held[r]] <= mean.min():
            choice[r] = left[mean.argmin()]
        path.append(choice)
        if watch is not None:
            watch(len(path) - 1, len(path) - 1 + R, {"path": np.array(path), "played": np.array(played)})
    n = rounds * batch
    fresh = (_played(costs, path[-1], r, np.arange(arms), n, n) for r in range(R))
    bounds = np.array([_bound(cost, arm) for cost, arm in zip(fresh, path[-1], strict=True)])
    return np.array(path), bounds, played + R * arms * n


def _played(costs, held, r, left, first, count):
    """Costs of `count` episodes with each arm of `left` in context r, shape (len(left), count)."""
    choices = np.tile(held, (len(left), 1))
    choices[:, r] = left
    return np.stack([costs(choice, first, count) for choice in choices])


def _differences(cost, arm):
    """Mean costs less that of `arm`, and the standard errors of these paired differences."""
    with np.errstate(over="ignore", invalid="ignore"):  # costs may be infinite: the difference is unknown, and so said
        paired = cost - cost[arm]
        return paired.mean(1), paired.std(1) / np.sqrt(cost.shape[1])


def _bound(cost, arm):
    """The most by which the logarithm of a row's expected cost is below that of `arm`."""
    gap, error = _differences(cost, arm)
    with np.errstate(over="ignore", invalid="ignore"):
        most = np.log1p(np.max((ERRORS * error - gap) / cost[arm].mean()))
        carried = cost[arm].sum() ** 2 / (cost[arm] ** 2).sum()
    return most if carried >= FEWEST and np.isfinite(most) else np.inf


def _state(start, R, arms):
    """The path and the number of episodes of a state that `watch` was given."""
    start = {name: np.asarray(value) for name, value in start.items()}
    rows = len(start["path"]) if np.ndim(start.get("path")) == 2 else 0
    saved.check("start", start, {"path": (rows, R), "played": ()})
    path = start["path"]
    if rows < 1 or np.any((path != np.rint(path)) | (path < 0) | (path >= arms)) or not start["played"] >= 0:
        raise ValueError(f"start must have a path of arms 0 to {arms - 1} and played >= 0; got {start!r}")
    return list(path.astype(int)), int(start["played"])
