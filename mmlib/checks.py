"""Checks of arguments, with one form of message: the argument, the rule, what was given.

ValueError: gamma must be > 0 and finite (risk aversion, 1/currency); got -1.0
"""

import numpy as np


def in_interval(name, value, low, high, open=False, meaning=""):
    """`value` as float (or float array) if every element is finite and between `low` and `high`.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : float or array_like
    low, high : float
        Ends of the interval; ±inf for none.
    open : bool or {"left", "right"}
        Which ends are excluded: none, both, or one.
    meaning : str
        What the argument is and its unit, for the message.

    Raises
    ------
    ValueError
        If an element is not a number, not finite or outside.
    """
    if type(value) in (int, float) and low < value < high:  # the common case, ten times as fast
        return float(value)
    left_open, right_open = open in (True, "left"), open in (True, "right")
    array = _as_float(value)
    if array is not None:
        inside = np.isfinite(array) & (array > low if left_open else array >= low)
        inside &= array < high if right_open else array <= high
        if inside.all():
            return float(array) if array.ndim == 0 else array
        value = array if array.ndim == 0 else array[~inside].flat[0]
    rule = " and ".join(
        ([f"{'>' if left_open else '>='} {low:g}"] if low > -np.inf else [])
        + ([f"{'<' if right_open else '<='} {high:g}"] if high < np.inf else ["finite"])
    )
    raise _error(name, rule, meaning, value)


def positive(name, value, meaning=""):
    """`value` as float (or array) if > 0 and finite; ValueError otherwise."""
    return in_interval(name, value, 0, np.inf, open="left", meaning=meaning)


def nonnegative(name, value, meaning=""):
    """`value` as float (or array) if >= 0 and finite; ValueError otherwise."""
    return in_interval(name, value, 0, np.inf, meaning=meaning)


def finite(name, value, meaning=""):
    """`value` as float (or array) if finite; ValueError otherwise."""
    return in_interval(name, value, -np.inf, np.inf, meaning=meaning)


def integer(name, value, least=None, most=None, meaning=""):
    """`value` as int if it is a whole number (2.0 is, True and 2.5 are not) from `least` to `most`; else ValueError."""
    number = _as_float(value)
    whole = number is not None and number.ndim == 0 and np.isfinite(number) and number == np.floor(number)
    if whole and (least is None or number >= least) and (most is None or number <= most):
        return int(value)
    bounds = ([f">= {least}"] if least is not None else []) + ([f"<= {most}"] if most is not None else [])
    raise _error(name, " and ".join(["an integer", *bounds]), meaning, value)


def choice(name, value, options):
    """`value` if it is one of `options`; ValueError otherwise."""
    if not isinstance(value, str) or value not in options:
        raise _error(name, "one of " + ", ".join(map(repr, options)), "", value)
    return value


def _as_float(value):
    """`value` as an array of floats; None if it is not made of numbers, as booleans, strings and None are not."""
    array = np.asarray(value)
    return array.astype(float) if array.dtype.kind in "iuf" else None


def _error(name, rule, meaning, value):
    shown = value.item() if isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0 else value
    return ValueError(f"{name} must be {rule}{f' ({meaning})' if meaning else ''}; got {shown!r}")
