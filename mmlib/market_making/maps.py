"""Certainty equivalents over grids of parameters: what a model's quotes are worth in thousands of markets.

    worth = maps.certainty_equivalents(
        glft.closed_form_quotes, sigma=np.geomspace(0.5, 8, 100)[:, None], A=np.geomspace(10, 1000, 100),
        k=1.5, gamma=0.1, horizon=1.0, max_inventory=30, steps=200,
    )                                                                   # shape (100, 100)

Parameters broadcast against each other as arrays do. A set is one table of quotes and one exact evaluation; sets are
shared among threads, since the kernels that take the time run without Python's lock. A number depends on its own set
alone, so on any number of threads the numbers are the same.
"""

import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from mmlib.checks import choice, integer, nonnegative
from mmlib.market_making import evaluate
from mmlib.market_making.market import Market
from mmlib.market_making.quotes import Quotes

MARKET = tuple(field.name for field in fields(Market))
#: What three formulas lose over (omega T, k s Q), written by `data/maps/make.py` of the source tree.
SHIPPED = Path(__file__).parents[2] / "data" / "maps" / "losses.csv"


def certainty_equivalents(
    model: Callable[..., Quotes], *, workers: int | None = None, beyond: str = "raise", **parameters: Any
) -> np.ndarray:
    """Certainty equivalents, in continuous time and from inventory 0, of a model's quotes in each of many markets.

    Parameters
    ----------
    model : callable
        Makes `Quotes` of a `Market` and keywords, as `glft.quotes`.
    workers : int, optional
        Threads; one a core by default.
    beyond : {"raise", "nan"}
        What becomes of a set whose quotes cannot be judged, because they lie so far through the mid that fills or
        losses grow without bound (see `evaluate.certainty_equivalent`).
    **parameters : float, int or array_like
        The market's (sigma, A, k; mu, impact, fee) and the model's, by name. Whole numbers stay whole. `gamma` is the
        risk aversion of the judge, too.

    Returns
    -------
    ndarray, of the shape to which the parameters broadcast
        Currency.

    Raises
    ------
    ValueError
        Before any evaluation: if a parameter is unknown or missing, the shapes do not broadcast, or a set is refused by
        its market or model; the message names the set. Later, for a set beyond judging, unless `beyond` is "nan".
    """
    choice("beyond", beyond, ("raise", "nan"))
    workers = integer("workers", os.cpu_count() if workers is None else workers, least=1, meaning="threads")
    sets, shape = _sets(model, parameters)
    markets = [_named(one, _cheaply_made, model, one) for one in sets]

    def worth(at: int) -> float:
        one, market = sets[at], markets[at]
        table = model(market, **_of_model(one))
        try:
            return evaluate.certainty_equivalent(market, table, one["gamma"])
        except ValueError as error:
            if beyond == "nan":
                return np.nan
            raise ValueError(f"{error}, {_told(one)}") from None

    from tqdm import tqdm

    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(worth, range(len(sets)))
        worths = list(tqdm(found, "sets", total=len(sets), disable=None, leave=False))
    return np.array(worths).reshape(shape)


def _sets(model: Callable[..., Quotes], parameters: dict[str, Any]) -> tuple[list[dict[str, Any]], tuple[int, ...]]:
    """The sets of parameters by name, in the order of the result, and its shape."""
    takes = inspect.signature(model).parameters
    own = {name: p.default is p.empty for name, p in takes.items() if p.kind is p.KEYWORD_ONLY}
    needed = [*MARKET[:3], *(name for name, must in own.items() if must)]
    if unknown := [name for name in parameters if name not in (*MARKET, *own, "gamma")]:
        raise ValueError(
            f"parameters must be of {', '.join(dict.fromkeys([*MARKET, *own, 'gamma']))}; got {unknown[0]!r}"
        )
    if missing := [name for name in dict.fromkeys([*needed, "gamma"]) if name not in parameters]:
        raise ValueError(f"parameters must have {', '.join(dict.fromkeys([*needed, 'gamma']))}; missing {missing[0]!r}")
    arrays = {name: np.asarray(value) for name, value in parameters.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "iuf":
            raise ValueError(f"{name} must be numbers; got {parameters[name]!r}")
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items() if array.shape)
        raise ValueError(f"parameters must broadcast to one shape; got {shapes}") from None
    columns = {name: np.broadcast_to(array, shape).ravel().tolist() for name, array in arrays.items()}
    count = int(np.prod(shape))
    return [{name: column[at] for name, column in columns.items()} for at in range(count)], shape


def _of_model(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name not in MARKET}


def _cheaply_made(model: Callable[..., Quotes], one: dict[str, Any]) -> Market:
    """The market of a set, once the model has made of it the smallest table there is: it refuses what it would."""
    market = Market(**{name: one[name] for name in MARKET if name in one})
    nonnegative("gamma", one["gamma"], "risk aversion, 1/currency")
    small = {name: integer(name, one[name], least=1, meaning=what) and 1 for name, what in SIZES.items() if name in one}
    model(market, **_of_model(one) | small)
    return market


#: Parameters that make a table large, and what they are.
SIZES = {"max_inventory": "largest inventory, orders", "steps": "number of time steps"}


def _named(one: dict[str, Any], make: Callable[..., Market], *arguments: Any) -> Market:
    try:
        return make(*arguments)
    except ValueError as error:
        raise ValueError(f"{error}, {_told(one)}") from None


def _told(one: dict[str, Any]) -> str:
    return "in the set " + ", ".join(f"{name} {value:g}" for name, value in one.items())
