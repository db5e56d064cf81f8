"""Tridiagonal linear systems, compiled."""

import numpy as np
from numba import njit


@njit(cache=True)
def tridiagonal(lower, diagonal, upper, rhs):
    """x with lower_i x_{i−1} + diagonal_i x_i + upper_i x_{i+1} = rhs_i, for each column of `rhs` (m, r).

    Elimination without pivoting (Thomas), which is stable here: every matrix of the solvers is diagonally dominant.
    """
    m, columns = rhs.shape
    ratio, x = np.empty(m), np.empty((m, columns))
    previous = 0.0
    for i in range(m):
        pivot = diagonal[i] - (lower[i] * previous if i > 0 else 0.0)
        previous = ratio[i] = upper[i] / pivot
        for j in range(columns):
            x[i, j] = (rhs[i, j] - (lower[i] * x[i - 1, j] if i > 0 else 0.0)) / pivot
    for i in range(m - 2, -1, -1):
        for j in range(columns):
            x[i, j] -= ratio[i] * x[i + 1, j]
    return x
