"""What the readers of published files share: fields of lines, numbers, dates, trailers, and how each is refused.

`name` is the file's, `first` the line of the first value, `word` what a message calls a line. Numbers and dates are
taken in one spelling only: what a parser would guess at is refused.
"""

import re

import numpy as np
import pandas as pd

from mmlib.stock_loan._book import TableError

_NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)


def header(name, number, line, columns):
    """Refuse a line `number` that is not the columns between bars."""
    if line.split("|") != columns:
        raise TableError(f"{name}: line {number} must be {'|'.join(columns)}; got {line!r}")


def trailer(name, lines, place, prefix):
    """The whole number behind `prefix` in line `place`, counted from the end."""
    if len(lines) <= -place:
        raise TableError(
            f"{name}: line {len(lines)} must be followed by the trailer {prefix}N (cut short?); got no line"
        )
    line, number = lines[place], len(lines) + place + 1
    if not (line.startswith(prefix) and _WHOLE.fullmatch(line.removeprefix(prefix))):
        raise TableError(f"{name}: line {number} must be the trailer {prefix}N (cut short?); got {line!r}")
    return int(line.removeprefix(prefix))


def agrees(name, what, stated, found):
    """Refuse rows that give another number than the trailer states."""
    if stated != found:
        raise TableError(f"{name}: trailer's {what} must match the rows above it; got {stated}, rows give {found}")


def fields(name, lines, first, width):
    """Lines of fields between bars as `width` columns."""
    return columns(name, [line.split("|") for line in lines], first, width)


def columns(name, rows, first, width):
    """Rows of fields as columns; every row must have `width` of them."""
    for number, row in enumerate(rows, first):
        if len(row) != width:
            raise TableError(f"{name}: line {number} must have {width} fields; got {len(row)}")
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def refuse(name, bad, shown, first, column, rule, word="line"):
    """Refuse the values `shown` where the boolean array `bad` is true, with how many and the first three."""
    where = np.flatnonzero(np.asarray(bad))
    if len(where):
        shown = list(shown)
        examples = "; ".join(f"{word} {i + first}: {'nothing' if shown[i] == '' else shown[i]}" for i in where[:3])
        raise TableError(f"{name}: {column} must be {rule}; {len(where)} bad, first {examples}")


def numbers(name, values, first, column, low=0.0, word="line", missing=None):
    """Finite numbers >= `low` as a float Series; NaN where the text is `missing`."""
    given = np.array([value != missing for value in values], dtype=bool)
    readable = [_NUMBER.fullmatch(value) is not None for value in values]
    refuse(name, given & ~np.array(readable, dtype=bool), values, first, column, "a number", word)
    found = pd.Series([float(value) if value != missing else np.nan for value in values], dtype="float64")
    refuse(name, np.isinf(found), values, first, column, "a number below 1e308", word)
    refuse(name, found < low, values, first, column, f">= {low:g}", word)
    return found


def whole(name, values, first, column, word="line"):
    """Whole numbers >= 0 of at most 18 digits as an int64 array."""
    bad = [_WHOLE.fullmatch(value) is None for value in values]
    refuse(name, bad, values, first, column, "a whole number >= 0", word)
    return np.array([int(value) for value in values], dtype=np.int64)


def dates(name, values, first, form, word="line"):
    """Dates written exactly as `form` writes them, zeros included."""
    text = pd.Series(values, dtype="str")
    parsed = pd.to_datetime(text, format=form, errors="coerce")
    refuse(name, parsed.isna() | (parsed.dt.strftime(form) != text), values, first, "date", f"of the form {form}", word)
    return parsed.astype("datetime64[us]")
