"""What the numbers of LOBSTER's files must be, a pass over each table; the rules' words are in `lobster`."""

import numpy as np
from numba import njit

HALT = 7
NONE = 1 << 30  #: The rule of a table without a fault: after all others.


@njit(cache=True, nogil=True)
def message_fault(table):
    """The first rule of `lobster.RULES` that a message breaks (`NONE`: none is), and the first row that does."""
    time, kind, order, size, price, side = table[0], table[1], table[2], table[3], table[4], table[5]
    rule, at = NONE, -1
    for row in range(table.shape[1]):
        wrong = NONE
        if row > 0 and time[row] < time[row - 1]:
            wrong = 0
        elif time[row] < 0:
            wrong = 1
        elif kind[row] < 1 or kind[row] > 7:
            wrong = 2
        elif order[row] < 0:
            wrong = 3
        elif size[row] < 0:
            wrong = 4
        elif abs(side[row]) != 1:
            wrong = 5
        elif price[row] <= 0 and kind[row] != HALT:
            wrong = 6
        elif abs(price[row]) > 1 and kind[row] == HALT:
            wrong = 7
        if wrong < rule:
            rule, at = wrong, row
    return rule, at


@njit(cache=True, nogil=True)
def book_prices(table, prices, first, last, empty):
    """Prices of the rows `first` … `last` − 1 of a book in place: whole numbers become currency, NaN where `empty`.

    Parameters
    ----------
    table, prices : ndarray of int64 and of float64, shape (4·levels, rows)
        The same memory: price and size of ask and bid by level. A price that breaks its rule stays as it is.
    first, last, empty : int

    Returns
    -------
    rule, row : int
        The first rule that is broken, and the first row that does: j = 0 … 2·levels − 1 for the price in row 2j of the
        table, then 2·levels for asks and one more for bids that do not go outward; `NONE` where none is.
    empties, crossed : int
        Levels that are empty, rows whose bid reaches the ask.
    """
    columns = len(table) // 2
    rule, at, empties, crossed = NONE, -1, 0, 0
    for row in range(first, last):
        wrong = NONE
        for j in range(columns):
            raw, size = table[2 * j, row], table[2 * j + 1, row]
            is_empty = abs(raw) == empty
            if (size != 0 or (raw > 0) != (j % 2 == 0)) if is_empty else (raw <= 0 or size <= 0):
                wrong = j
                break
            prices[2 * j, row] = np.nan if is_empty else raw / 1e4
            empties += is_empty
        if wrong == NONE:
            crossed += prices[2, row] >= prices[0, row]
            for j in range(2, columns):
                here, better = prices[2 * j, row], prices[2 * j - 4, row]
                outward = here > better if j % 2 == 0 else here < better
                if not (outward or np.isnan(here)):
                    wrong = min(wrong, columns + j % 2)
        if wrong < rule:
            rule, at = wrong, row
    return rule, at, empties, crossed
