"""Autoregressions of every order at once, from one matrix of products of lags."""

import numpy as np
from numba import njit


@njit(cache=True)
def products(y, skip):
    """Gram matrix of (1, y_t−1 … y_t−skip, y_t) over t >= skip, shape (skip + 2, skip + 2)."""
    size, n = skip + 2, y.size
    gram = np.zeros((size, size))
    row = np.empty(size)
    row[0] = 1.0
    for t in range(skip, n):
        for j in range(skip):
            row[1 + j] = y[t - 1 - j]
        row[size - 1] = y[t]
        for i in range(size):
            for j in range(i + 1):
                gram[i, j] += row[i] * row[j]
    for i in range(size):
        for j in range(i):
            gram[j, i] = gram[i, j]
    return gram


@njit(cache=True)
def squares(gram, lags):
    """Coefficients (constant first) of the regression on `lags` lags, and its sum of squares, by Gaussian elimination.

    A pivot that vanishes against its diagonal (a lag that the others determine) leaves its coefficient at 0.
    """
    k, last = lags + 1, gram.shape[0] - 1
    a, right = gram[:k, :k].copy(), gram[:k, last].copy()
    for i in range(k):
        if a[i, i] <= 1e-12 * gram[i, i]:
            a[i, :] = 0.0
            a[:, i] = 0.0
            a[i, i], right[i] = 1.0, 0.0
        for j in range(i + 1, k):
            factor = a[j, i] / a[i, i]
            for m in range(i, k):
                a[j, m] -= factor * a[i, m]
            right[j] -= factor * right[i]
    coefficients = np.zeros(k)
    for i in range(k - 1, -1, -1):
        value = right[i]
        for m in range(i + 1, k):
            value -= a[i, m] * coefficients[m]
        coefficients[i] = value / a[i, i]
    sse = gram[last, last]
    for i in range(k):
        sse -= coefficients[i] * gram[i, last]
    return coefficients, sse


@njit(cache=True)
def best_order(y, most):
    """Number of lags from 0 to `most` with the lowest AIC, all on t >= most; and that AIC, n log(SSE/n) + 2 (p + 1)."""
    gram, n = products(y, most), y.size - most
    best, at = np.inf, 0
    for lags in range(most + 1):
        sse = squares(gram, lags)[1]
        aic = n * np.log(max(sse, 1e-300) / n) + 2 * (lags + 1)
        if aic < best:
            best, at = aic, lags
    return at, best


@njit(cache=True)
def fitted(y, lags):
    """Constant and coefficients on all the data, and the one-step errors of t >= lags."""
    coefficients = squares(products(y, lags), lags)[0]
    errors = y[lags:] - coefficients[0]
    for j in range(lags):
        errors -= coefficients[1 + j] * y[lags - 1 - j : y.size - 1 - j]
    return coefficients, errors
