"""The points of a sweep: from text as on the command line, or from lists; each checked before any is run."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation, localcontext
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from mmlib._notebooks import Parameter, Refused, alike, convert, did_you_mean

#: Runs of one sweep: more is refused, with the count.
MOST = 1_000_000


class Grid(NamedTuple):
    """Values of each swept parameter, and those that are the same in every run."""

    swept: dict[str, list]
    fixed: dict[str, Any]
    paired: bool

    def __len__(self) -> int:
        """Number of runs."""
        lengths = [len(values) for values in self.swept.values()]
        return (lengths[0] if lengths else 1) if self.paired else math.prod(lengths)

    def points(self) -> Iterator[dict[str, Any]]:
        """Swept values by name, the last name's changing first."""
        columns = self.swept.values()
        for values in zip(*columns, strict=True) if self.paired and self.swept else itertools.product(*columns):
            yield dict(zip(self.swept, values, strict=True))


def checked(chapter: str, parameters: list[Parameter], given: Mapping[str, Any], paired: bool = False) -> Grid:
    """The grid of values by name: a list, array or range is swept, anything else is fixed.

    A parameter that is a list itself is swept by a list of lists.

    Raises
    ------
    Refused
        Naming the parameter, the rule and the value, or the number of runs.
    """
    defaults = {parameter.name: parameter.default for parameter in parameters}
    swept: dict[str, list] = {}
    fixed: dict[str, Any] = {}
    for name, value in given.items():
        if name not in defaults:
            has = f"; it has {', '.join(defaults)}" if defaults else ""
            raise Refused(f"{chapter} has no parameter {name!r}{did_you_mean(str(name), defaults)}{has}")
        default = defaults[name]
        if type(default) not in (bool, int, float, str, list):
            raise Refused(f"{name} cannot be set: its default is {default!r}")
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) or hasattr(value, "to_numpy") else value
        if isinstance(value, range | tuple):
            value = list(value)
        if isinstance(value, list) and not (isinstance(default, list) and value and _fits(value, default)):
            if not value:
                raise Refused(f"{name} must have at least one value; got none")
            swept[name] = [_typed(name, each, default) for each in value]
        else:
            fixed[name] = _typed(name, value, default)
    lengths = {name: len(values) for name, values in swept.items()}
    if paired and len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise Refused(f"--zip pairs grids of one length; got {counts}")
    grid = Grid(swept, fixed, paired)
    count = next(iter(lengths.values()), 1) if paired else math.prod(lengths.values())
    if count > MOST:
        raise Refused(f"a sweep has at most {MOST:,} runs; got {count:,}")
    return grid


def _fits(value, default):
    return alike(value, default)


def _typed(name, value, default):
    """`value` as the type of `default`; a whole number is one of 64 bits, since a table holds it."""
    value = value.item() if isinstance(value, np.generic) else value
    kind = type(default)
    if kind is float and type(value) is int:
        value = float(value)
    if kind is int and type(value) is float and value.is_integer():
        value = int(value)
    if kind is int and type(value) is int and not -(2**63) <= value < 2**63:
        raise Refused(f"{name} must be a whole number of 64 bits; got {value}")
    if not alike(value, default):
        raise Refused(f"{name} must be {_kind(default)}; got {value!r}")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        raise Refused(f"{name} must be {_kind(default)}; got {value!r}") from None
    return value


def _kind(default):
    kinds: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return kinds.get(type(default)) or f"a list like {json.dumps(default)}"


def read(name: str, default: object, text: str) -> Any:
    """The values that `text` says for a parameter, a list where it is swept.

    ``a:b:n`` is n values from a to b, both included, evenly spaced; ``log:a:b:n`` evenly spaced in the logarithm;
    ``a,b,c`` those; a list of lists, as JSON, for a parameter that is a list; anything else is one value.

    Decimal fractions are meant exactly: 0.05:0.5:10 has 0.15, not 0.15000000000000002.
    """
    kind = type(default)
    if kind in (int, float) and ":" in text:
        return _spaced(name, text, whole=kind is int)
    if kind is list:
        return _lists(name, default, text)
    if kind in (int, float, bool, str) and "," in text:
        return [convert(name, default, part.strip()) for part in text.split(",")]
    return convert(name, default, text)


def _lists(name, default, text):
    try:
        value = json.loads(text)
        if isinstance(value, list) and value and not alike(value, default):
            if all(alike(each, default) for each in value):
                return value
            raise ValueError
    except (ValueError, RecursionError):
        like = json.dumps(default)
        raise Refused(
            f"{name} must be a list as JSON, like {like}, or a list of such, like [{like}]; got {text!r}"
        ) from None
    return value if value else convert(name, default, text)


def _spaced(name, text, whole):
    form = f"{name} must be a:b:n or log:a:b:n, as 0.1:0.5:5; got {text!r}"
    logarithmic, _, rest = text.rpartition("log:")
    parts = rest.split(":")
    if logarithmic or len(parts) != 3:
        raise Refused(form)
    try:
        first, last = (Decimal(part.strip()) for part in parts[:2])
        count = int(parts[2])
    except (InvalidOperation, ValueError):
        raise Refused(form) from None
    if not (first.is_finite() and last.is_finite()) or max(abs(first.adjusted()), abs(last.adjusted())) > 300:
        raise Refused(f"{name} must have finite ends; got {text!r}")
    if count < 2:
        raise Refused(f"{name} must have at least 2 values from {parts[0]} to {parts[1]}; got {count}")
    if first >= last:
        raise Refused(f"{name} must go from the smaller end to the larger; got {text!r}")
    if count > MOST:
        raise Refused(f"a sweep has at most {MOST:,} runs; got {count:,} values of {name}")
    is_log = text.startswith("log:")
    if is_log and first <= 0:
        raise Refused(f"{name} must have ends > 0 in log:a:b:n; got {text!r}")
    exact = _logarithmic(first, last, count) if is_log else _linear(first, last, count)
    if whole:
        for value in exact:
            if value != int(value):
                raise Refused(f"{name} must be whole numbers; got {float(value):g} in {text!r}")
        return [int(value) for value in exact]
    return [float(value) for value in exact]


def _linear(first, last, count):
    a, b = Fraction(first), Fraction(last)
    return [a + (b - a) * i / (count - 1) for i in range(count)]


def _logarithmic(first, last, count):
    """By decimals of 40 digits, rounded to 30: the same floats on every processor, and powers of ten exactly."""
    with localcontext() as context:
        context.prec = 40
        step = (last / first).ln() / (count - 1)
        inner = [first * (step * i).exp() for i in range(1, count - 1)]
        context.prec = 30
        return [first, *(+value for value in inner), last]
