"""The book that a LOBSTER message leaves, compiled."""

import numpy as np
from numba import njit

_ASK, _BID = 0, 2  # a level's columns: ask price, ask size, bid price, bid size


@njit(cache=True, nogil=True)
def disagreements(kind, price, size, side, book, levels):
    """Where `book` (n, 4·levels) is not what the message makes of the row before: rows, columns, expected, found."""
    rows, columns, expected, found = [np.int64(0)], [np.int64(0)], [0.0], [0.0]
    after = np.empty(4 * levels)
    for row in range(1, len(kind)):
        if kind[row] >= 6 or kind[row - 1] >= 6:
            continue
        for j in range(4 * levels):
            after[j] = book[row - 1, j]
        compared = levels
        at = _BID if side[row] == 1 else _ASK
        if kind[row] == 1:
            _add(after, at, price[row], size[row], levels)
        elif kind[row] <= 4:
            compared = _remove(after, at, price[row], size[row], levels)
        for j in range(4 * levels):
            if j % 4 - j % 2 == at and j // 4 >= compared:
                continue
            same = after[j] == book[row, j] or (np.isnan(after[j]) and np.isnan(book[row, j]))
            if not same:
                rows.append(row)
                columns.append(j)
                expected.append(after[j])
                found.append(book[row, j])
    return np.array(rows)[1:], np.array(columns)[1:], np.array(expected)[1:], np.array(found)[1:]


@njit(cache=True, inline="always")
def _add(book, at, price, size, levels):
    """Add an order; a new level moves the others down, and the last out of view."""
    for n in range(levels):
        here = book[4 * n + at]
        if here == price:
            book[4 * n + at + 1] += size
            return
        if np.isnan(here) or (price > here if at == 2 else price < here):
            for j in range(levels - 1, n, -1):
                book[4 * j + at], book[4 * j + at + 1] = book[4 * j + at - 4], book[4 * j + at - 3]
            book[4 * n + at], book[4 * n + at + 1] = price, size
            return


@njit(cache=True, inline="always")
def _remove(book, at, price, size, levels):
    """Take an order away; the number of levels that are still known, fewer by one where a level went."""
    for n in range(levels):
        if book[4 * n + at] == price:
            book[4 * n + at + 1] -= size
            if book[4 * n + at + 1] > 0:
                return levels
            for j in range(n, levels - 1):
                book[4 * j + at], book[4 * j + at + 1] = book[4 * j + at + 4], book[4 * j + at + 5]
            return levels - 1
    return levels
