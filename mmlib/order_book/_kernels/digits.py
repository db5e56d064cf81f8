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
def parse(data, start, end, table, first, last, places):
    """Whole numbers of the lines of `data[start:end]`, which go to the columns `first` … `last` − 1 of `table`.

    Parameters
    ----------
    data : ndarray of uint8
        The file's bytes; lines end in LF or CRLF.
    start, end : int
        Where the first line begins, and the byte after the last one.
    table : ndarray of int64, shape (fields, rows)
        A row for each of the numbers between commas; written.
    first, last : int
    places : int
        Decimals of the first field, which is multiplied by 10^places; further ones are cut off. 0: it has none.

    Returns
    -------
    fault : tuple of int
        Index into `WHY` (0: none), row, field.
    seen : tuple of int
        Most decimals in a first field, lines in which some were cut off, lines that end in CRLF.
    """
    fields = len(table)
    at = start
    most, cut, returns = 0, 0, 0
    for row in range(first, last):
        for field in range(fields):
            negative = at < end and data[at] == _MINUS
            if negative:
                at += 1
            begin, number = at, np.int64(0)
            while at < end:
                digit = np.int64(data[at]) - _ZERO
                if digit < 0 or digit > 9:
                    break
                number = 10 * number + digit
                at += 1
            digits = at - begin
            if field == 0 and places > 0 and digits > 0:
                decimals = -1
                if at < end and data[at] == _POINT:
                    at += 1
                    begin = at
                    while at < end:
                        digit = np.int64(data[at]) - _ZERO
                        if digit < 0 or digit > 9:
                            break
                        if at - begin < places:
                            number = 10 * number + digit
                        at += 1
                    decimals = at - begin
                    if decimals == 0:
                        digits = 0
                most = max(most, decimals)
                cut += decimals > places
                for _ in range(places - max(min(decimals, places), 0)):
                    number *= 10
                if digits > 0:
                    digits += places
            if digits == 0:
                return (5 if at >= end else 1, row, field), (most, cut, returns)
            if digits > 18:
                return (3, row, field), (most, cut, returns)
            table[field, row] = -number if negative else number
            if at >= end:
                return (5, row, field), (most, cut, returns)
            if field < fields - 1:
                if data[at] != _COMMA:
                    return (4 if data[at] in (_NEWLINE, _RETURN) else 2, row, field), (most, cut, returns)
                at += 1
        if data[at] == _RETURN:
            returns += 1
            at += 1
            if at >= end:
                return (5, row, fields - 1), (most, cut, returns)
        if data[at] != _NEWLINE:
            return (2, row, fields - 1), (most, cut, returns)
        at += 1
    return (0, 0, 0), (most, cut, returns)
