"""An allocation in whole lots, with no loan below a ticket: a mixed-integer programme for each name that needs one."""

import numpy as np
from scipy import sparse

from mmlib.stock_loan._allocation.linear_program import EXTERNAL, OVER_BORROW, maximise

WHOLE = 1e-6  #: a loan this near to whole lots, relative to a lot, is whole


def in_lots(problem, program, x, lot, ticket):
    """Columns (n,) in lots of `lot` (S,) shares, no loan below `ticket`.

    Names whose loans comply stay as they are. Of the coupling rows each of the others may use what it used before and
    what nobody uses, one after another.
    """
    x = x.copy()
    room = program.limit - program.use(x)
    for s in range(program.size):
        own, rows = slice(*program.columns[s : s + 2]), slice(*program.rows[s : s + 2])
        lanes, place = _lanes(program, own)
        total = np.bincount(place[place >= 0], x[own][place >= 0], len(lanes))
        whole = lot[s] * np.round(total / lot[s])
        if np.all((np.abs(total - whole) <= WHOLE * lot[s]) & ((whole == 0) | (whole >= ticket))):
            whole_columns = _columns(program, own, place, whole)
        else:
            W = program.W[:, own] * program.price[own]
            room = room + W @ x[own]
            lots = _best(program, own, rows, W, room, place, len(lanes), lot[s], ticket)
            if lots is None:
                name = problem.securities[s]
                raise ValueError(
                    f"mandatory demand of {name} cannot be met in lots of {lot[s]:g} and tickets of {ticket:g}"
                )
            whole_columns = _columns(program, own, place, lot[s] * lots)
            room = room - W @ whole_columns
        x[own] = whole_columns
    return x


def _lanes(program, own):
    """Lanes (pool, client) of a name, and the lane of each of its columns, −1 for over-borrow."""
    key = np.where(program.client[own] == OVER_BORROW, -1, program.pool[own] * 10**6 + program.client[own] - EXTERNAL)
    lanes, place = np.unique(key, return_inverse=True)
    none = int(len(lanes) > 0 and lanes[0] < 0)
    return lanes[none:], place - none


def _columns(program, own, place, total):
    """Columns that hold `total` shares a lane: yesterday's piece, which comes first, as far as it goes; over-borrow."""
    x, left = np.zeros(len(place)), total.copy()
    for j in np.flatnonzero(place >= 0):
        last = not np.any(place[j + 1 :] == place[j])
        x[j] = left[place[j]] if last else min(left[place[j]], program.upper[own][j])
        left[place[j]] -= x[j]
    for j in np.flatnonzero(place < 0):  # what the loans leave of a committed borrow
        pool = program.pool[own] == program.pool[own][j]
        x[j] = max(0.0, program.upper[own][j] - x[pool & (place >= 0)].sum())
    return x


def _best(program, own, rows, W, room, place, m, lot, ticket):
    """Best number of lots of each lane (m,) of one name, within its rows and `room`; None if there is none.

    The variables are the name's columns, then lots and a yes or no for each lane.
    """
    n, columns = len(place), np.flatnonzero(place >= 0)
    gather = sparse.csr_array((np.ones(len(columns)), (place[columns], columns)), shape=(m, n))
    most = np.zeros(m)
    np.maximum.at(most, place[columns], program.upper[own][columns])
    zero, one = sparse.csr_array((m, m)), sparse.eye_array(m)
    blank = sparse.csr_array((rows.stop - rows.start + len(room), 2 * m))
    A = sparse.vstack(
        [
            sparse.hstack([sparse.vstack([program.A[rows][:, own], W]), blank]),
            sparse.hstack([gather, -lot * one, zero]),
            sparse.hstack([-gather, lot * one, zero]),
            sparse.hstack([gather, zero, -sparse.diags_array(most)]),
            sparse.hstack([-gather, zero, ticket * one]),
        ]
    ).tocsr()
    x, _ = maximise(
        np.concatenate([program.gain[own], np.zeros(2 * m)]),
        A,
        np.concatenate([program.b[rows], np.maximum(room, 0), np.zeros(4 * m)]),
        np.concatenate([np.where(program.capped[own], program.upper[own], np.inf), np.full(m, np.inf), np.ones(m)]),
        integer=np.repeat([False, True], [n, 2 * m]),
    )
    return None if x is None else np.round(x[n : n + m])
