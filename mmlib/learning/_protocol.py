"""Learn on the first days, choose on the next, test once: with what the error of a few days is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmlib.checks import in_interval, integer


@dataclass(frozen=True, eq=False)
class Verdict:
    """What `judge` found, by the learners' names.

    Attributes
    ----------
    chosen : str
        Candidate with the best mean of the validation days.
    policies : dict of str
        What each learner made of the training days.
    validation : dict of ndarray, shape (validation days,)
        Scores of the candidates.
    test : dict of ndarray, shape (test days,)
        Scores of the chosen one and of the baselines.
    interval : dict of (float, float)
        Bootstrap interval of the mean of each row of `test`; NaN for a single day, which has none.
    gain : dict of (float, float, float)
        Of the chosen one over each baseline: mean of the differences day by day, and its interval.
    """

    chosen: str
    policies: dict[str, Any]
    validation: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    interval: dict[str, tuple[float, float]]
    gain: dict[str, tuple[float, float, float]]


def judge(
    days: Sequence,
    candidates: Mapping[str, Callable],
    score: Callable,
    *,
    train: int,
    validate: int,
    baselines: Mapping[str, Callable] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Verdict:
    """The protocol for data that cannot be had again.

    The days are in order of time: the first `train` are for learning, the next `validate` for choosing, the rest for
    the test, on which the chosen candidate and the baselines are scored once. Intervals draw whole days with
    replacement (percentiles of the mean): days are taken as independent, what happens in one is not. With few days
    they are too narrow.

    Parameters
    ----------
    days : sequence
        Anything that `score` takes.
    candidates, baselines : mapping of str to callable
        Each is given the list of training days and returns a policy.
    score : callable
        ``score(day, policy)``: what a day paid, a number.
    train, validate : int
        Numbers of days, >= 1; at least one must be left for the test.
    level : float
        Of the intervals.
    resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    ValueError
        If the days are too few, there is no candidate, a name is used twice, or a score is not finite.
    """
    train, validate = (integer(n, v, least=1, meaning="days") for n, v in (("train", train), ("validate", validate)))
    level = in_interval("level", level, 0, 1, open=True, meaning="of the intervals")
    resamples = integer("resamples", resamples, least=100, meaning="of the bootstrap")
    baselines = {} if baselines is None else baselines
    if not candidates or set(candidates) & set(baselines):
        raise ValueError("candidates must be one at least, by names that no baseline has")
    days = list(days)
    if len(days) <= train + validate:
        raise ValueError(f"days must be more than train + validate = {train + validate}; got {len(days)}")
    learning, choosing, testing = days[:train], days[train : train + validate], days[train + validate :]
    policies = {name: learner(list(learning)) for name, learner in {**candidates, **baselines}.items()}

    def scores(name, on):
        found = np.array([float(score(day, policies[name])) for day in on])
        if not np.all(np.isfinite(found)):
            raise ValueError(f"score must be finite; {name!r} has {found}")
        return found

    validation = {name: scores(name, choosing) for name in candidates}
    chosen = max(validation, key=lambda name: validation[name].mean())
    test = {name: scores(name, testing) for name in [chosen, *baselines]}
    n = len(testing)
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n))

    def interval(x):
        if n == 1:
            return np.nan, np.nan
        low, high = np.quantile(x[drawn].mean(1), [0.5 - level / 2, 0.5 + level / 2])
        return float(low), float(high)

    ahead = {name: test[chosen] - test[name] for name in baselines}
    return Verdict(
        chosen=chosen,
        policies=policies,
        validation=validation,
        test=test,
        interval={name: interval(x) for name, x in test.items()},
        gain={name: (float(x.mean()), *interval(x)) for name, x in ahead.items()},
    )
