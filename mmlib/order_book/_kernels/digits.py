"""A strict reader of lines of whole numbers, compiled: every byte is accounted for, or the line is refused."""

import numpy as np
from numba import njit

#: Why a line was refused.
WHY = (
    "",
    "must be a whole number",
    "must end the line, or be followed by a comma",
    "has more than 18 digits",
    "must be followed by more fields",
    "is cut short: the file does not end with its line",
)
_COMMA, _MINUS, _POINT, _RETURN, _NEWLINE, _ZERO = 44, 45, 46, 13, 10, 48


@njit(cache=True, nogil=True)
def parse(data, start, rows, fields, places):
    """Whole numbers of the `rows` lines of `data` from byte `start` on, each of `fields` numbers between commas.

    Parameters
    ----------
    data : ndarray of uint8
        The file's bytes; lines end in LF or CRLF.
    start, rows, fields : int
    places : int
        Decimals of the first field, which is multiplied by 10^places; further ones are cut off. 0: it has none.

    Returns
    -------
    table : ndarray of int64, shape (fields, rows)
    fault : tuple of int
        Index into `WHY` (0: none), row, field.
    seen : tuple of int
        Most decimals in a first field, lines in which some were cut off, lines that end in CRLF.
    """
    table = np.zeros((fields, rows), np.int64)
    at, end = start, len(data)
    most, cut, returns = 0, 0, 0
    for row in range(rows):
        for field in range(fields):
            negative = at < end and data[at] == _MINUS
            if negative:
                at += 1
            number, digits, decimals = np.int64(0), 0, -1
            while at < end:
                byte = data[at]
                if byte == _POINT and field == 0 and places > 0 and decimals < 0 and digits > 0:
                    decimals = 0
                elif _ZERO <= byte <= _ZERO + 9:
                    if decimals < places:
                        number = 10 * number + (byte - _ZERO)
                        digits += 1
                    if decimals >= 0:
                        decimals += 1
                else:
                    break
                at += 1
            if digits == 0 or decimals == 0:
                return table, (5 if at >= end else 1, row, field), (most, cut, returns)
            if field == 0:
                most = max(most, decimals)
                cut += decimals > places
                for _ in range(places - max(min(decimals, places), 0)):
                    number *= 10
                    digits += 1
            if digits > 18:
                return table, (3, row, field), (most, cut, returns)
            table[field, row] = -number if negative else number
            if at >= end:
                return table, (5, row, field), (most, cut, returns)
            if field < fields - 1:
                if data[at] != _COMMA:
                    return table, (4 if data[at] in (_NEWLINE, _RETURN) else 2, row, field), (most, cut, returns)
                at += 1
        if data[at] == _RETURN:
            returns += 1
            at += 1
            if at >= end:
                return table, (5, row, fields - 1), (most, cut, returns)
        if data[at] != _NEWLINE:
            return table, (2, row, fields - 1), (most, cut, returns)
        at += 1
    return table, (0, 0, 0), (most, cut, returns)


@njit(cache=True, nogil=True)
def count_lines(data, start):
    """Line ends from byte `start` on, and whether the last byte is one."""
    lines = 0
    for at in range(start, len(data)):
        lines += data[at] == _NEWLINE
    return lines, len(data) == start or data[-1] == _NEWLINE
