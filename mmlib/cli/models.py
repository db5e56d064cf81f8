"""The models that `simulate` and `backtest` know by name, and their parameters from the command line.

A model is a function of a market and of the parameters that its signature has, all of which have defaults: those of
Avellaneda & Stoikov's market in the model, of the calibrated one on data. It returns `Quotes`.
"""

import inspect
from collections.abc import Callable
from typing import Any

from mmlib._notebooks import Parameter, did_you_mean, values
from mmlib.cli.ending import refuse

#: Avellaneda & Stoikov's (2008) market: price/√time, orders/time, 1/price, price/time, price, price.
MARKET = {"sigma": 2.0, "A": 140.0, "k": 1.5, "mu": 0.0, "impact": 0.0, "fee": 0.0}
#: Risk aversion, 1/(price × order); end of trading, time; largest inventory, orders; rows of the table.
COMMON = {"gamma": 0.1, "horizon": 1.0, "max_inventory": 30, "steps": 200}


def _avellaneda_stoikov(market, gamma, **grid):
    from mmlib.market_making import avellaneda_stoikov

    return avellaneda_stoikov.quotes(market, gamma=gamma, **grid)


def _symmetric(market, gamma, **grid):
    from mmlib.market_making import avellaneda_stoikov

    return avellaneda_stoikov.symmetric_quotes(market, gamma=gamma, **grid)


def _glft(market, gamma, **grid):
    from mmlib.market_making import glft

    return glft.quotes(market, gamma=gamma, **grid)


def _tanh(market, gamma, **grid):
    from mmlib.market_making import glft

    return glft.tanh_quotes(market, gamma=gamma, **grid)


def _closed_form(market, gamma, **grid):
    from mmlib.market_making import glft

    return glft.closed_form_quotes(market, gamma=gamma, **grid)


def _hjb(market, gamma, **grid):
    from mmlib.market_making import hjb

    return hjb.solve(market, gamma=gamma, **grid).quotes


def _cartea_jaimungal(market, gamma, phi=None, alpha=0.0, **grid):
    from mmlib.market_making import cartea_jaimungal

    phi = 0.5 * gamma * market.sigma**2 if phi is None else phi
    return cartea_jaimungal.quotes(market, phi=phi, alpha=alpha, **grid)


def _constant_spread(market, gamma, half_spread=None, **grid):
    from mmlib.market_making import strategies

    return strategies.constant_spread(_wide(market, half_spread), **grid)


def _linear_skew(market, gamma, half_spread=None, skew=None, **grid):
    from mmlib.market_making import strategies

    half_spread = _wide(market, half_spread)
    return strategies.linear_skew(half_spread, 0.1 * half_spread if skew is None else skew, **grid)


def _hard_boundary(market, gamma, half_spread=None, cost=None, target=None, **grid):
    from mmlib.market_making import strategies

    half_spread = _wide(market, half_spread)
    return strategies.hard_boundary(half_spread, half_spread if cost is None else cost, target=target, **grid)


def _wide(market, half_spread):
    """1/k, the best half-spread of a maker who minds no risk, where none is given."""
    return 1 / market.k if half_spread is None else half_spread


#: Functions of (market, gamma, horizon, max_inventory, steps, own parameters) to `Quotes`.
MODELS: dict[str, Callable[..., Any]] = {
    "avellaneda_stoikov": _avellaneda_stoikov,
    "symmetric": _symmetric,
    "glft": _glft,
    "tanh": _tanh,
    "closed_form": _closed_form,
    "hjb": _hjb,
    "cartea_jaimungal": _cartea_jaimungal,
    "constant_spread": _constant_spread,
    "linear_skew": _linear_skew,
    "hard_boundary": _hard_boundary,
}
LISTED = f"MODEL is one of {', '.join(MODELS)}."
_WHOLE = {"target"}  # the rest of a model's own parameters are numbers


def own(model: str) -> list[str]:
    """Names of the parameters that only some models have."""
    found = inspect.signature(MODELS[model]).parameters.values()
    return [p.name for p in found if p.default is not p.empty]


def checked(models: list[str], pairs: list[str], extra: dict[str, Any]) -> dict[str, Any]:
    """What `-p` gives, converted; a model, a name or a value that is none is refused.

    `extra` are further parameters with defaults.
    """
    for model in models:
        if model not in MODELS:
            refuse(f"no model {model!r}{did_you_mean(model, MODELS)}; {LISTED}")
    if twice := [model for model in dict.fromkeys(models) if models.count(model) > 1]:
        refuse(f"model {twice[0]!r} is given twice")
    names = dict.fromkeys(name for model in models for name in own(model))
    defaults = MARKET | COMMON | extra | {name: 0 if name in _WHOLE else 0.0 for name in names}
    return values(" and ".join(models), [Parameter(name, value, "") for name, value in defaults.items()], pairs)


def quotes(model: str, market: Any, given: dict[str, Any], horizon: float = COMMON["horizon"]) -> Any:
    """Quotes of a model in a market, with what was given of its parameters."""
    names = [*COMMON, *own(model)]
    return MODELS[model](market, **COMMON | {"horizon": horizon} | {n: given[n] for n in names if n in given})
