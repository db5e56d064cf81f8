"""Checks of arguments, with one form of message: the argument, the rule, what was given.

ValueError: gamma must be > 0 and finite (risk aversion, 1/currency); got -1.0

One number is meant unless a caller asks for an array with ``array=True``; `finite` takes both, `number` is its scalar.
"""

import numpy as np


def in_interval(name, value, low, high, open=False, meaning="", array=False):
    """`value` as float if it is one finite number between `low` and `high`; with `array` also as a float array.

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
    array : bool
        Whether arrays of such numbers, of any shape, are accepted too.

    Raises
    ------
    ValueError
        If an element is not a number, not finite or outside, or an array is given where one number is meant.
    """
    if type(value) in (int, float) and low < value < high and abs(value) < 1e300:  # the common case, ten times as fast
        return float(value)
    left_open, right_open = open in (True, "left"), open in (True, "right")
    numbers = _as_float(value)
    one = numbers is None or numbers.ndim == 0
    if numbers is not None and (array or one):
        inside = np.isfinite(numbers) & (numbers > low if left_open else numbers >= low)
        inside &= numbers < high if right_open else numbers <= high
        if inside.all():
            return float(numbers) if one else numbers
        value = numbers if one else numbers[~inside].flat[0]
        one = True
    rule = " and ".join(
        ([f"{'>' if left_open else '>='} {low:g}"] if low > -np.inf else [])
        + ([f"{'<' if right_open else '<='} {high:g}"] if high < np.inf else ["finite"])
    )
    raise _error(name, rule if one or array else f"one number, {rule}", meaning, value)


def positive(name, value, meaning="", array=False):
    """`value` as float if > 0 and finite, with `array` also as float array; ValueError otherwise."""
    return in_interval(name, value, 0, np.inf, open="left", meaning=meaning, array=array)


def nonnegative(name, value, meaning="", array=False):
    """`value` as float if >= 0 and finite, with `array` also as float array; ValueError otherwise."""
    return in_interval(name, value, 0, np.inf, meaning=meaning, array=array)


def finite(name, value, meaning=""):
    """`value` as float, or as float array, if finite; ValueError otherwise."""
    return in_interval(name, value, -np.inf, np.inf, meaning=meaning, array=True)


def number(name, value, meaning=""):
    """`value` as float if it is one finite number; ValueError otherwise."""
    return in_interval(name, value, -np.inf, np.inf, meaning=meaning)


def integer(name, value, least=None, most=None, meaning=""):
    """`value` as int if it is a whole number (2.0 is, True and 2.5 are not) from `least` to `most`; else ValueError.

    Beyond 64 bits it is refused in any case.
    """
    number = _as_float(value)
    if type(value) is int or (
        number is not None and number.ndim == 0 and np.isfinite(number) and number == np.floor(number)
    ):
        whole = int(value)
        least = -(2**63) if least is None and whole < -(2**63) else least
        most = 2**63 - 1 if most is None and whole >= 2**63 else most
        if (least is None or whole >= least) and (most is None or whole <= most):
            return whole
    limits = [(sign, limit) for sign, limit in ((">=", least), ("<=", most)) if limit is not None]
    bounds = [f"{sign} {limit if abs(limit) < 2**64 else f'{limit:.3g}'}" for sign, limit in limits]
    raise _error(name, " and ".join(["an integer", *bounds]), meaning, value)


def choice(name, value, options):
    """`value` if it is one of `options`; ValueError otherwise."""
    if not isinstance(value, str) or value not in options:
        raise _error(name, "one of " + ", ".join(map(repr, options)), "", value)
    return value


def _as_float(value):
    """`value` as an array of floats; None if it is not made of numbers, as booleans, strings and None are not.

    An integer too large for 64 bits is a number; too large for a float, it is infinite.
    """
    if type(value) is int:
        try:
            return np.array(float(value))
        except OverflowError:
            return np.array(np.inf if value > 0 else -np.inf)
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return array.astype(float) if array.dtype.kind in "iuf" else None


def _error(name, rule, meaning, value):
    shown = value.item() if isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0 else value
    return ValueError(f"{name} must be {rule}{f' ({meaning})' if meaning else ''}; got {shown!r}")
