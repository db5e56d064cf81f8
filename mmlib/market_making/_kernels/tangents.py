"""The log-ratios and the tangents of the linear equation that `sensitivities` differentiates, in one march."""

import numpy as np
from numba import njit


@njit(cache=True)
def tangents(start, tangent, diagonal, eta, diagonal_p, log_eta_p, tau):
    """u (n, m − 1) and s (n, p, m) at the increasing times to go `tau` (n,), from `start` and `tangent`.

    Steps of length h, at most one over the norm of N = D⁻¹ M D, D = diag(v): exp(h N)·1 and its tangent by Taylor
    series. With c = −min diagonal added to the diagonal, the terms of v are positive, so that v keeps its relative
    accuracy; the factor exp(c h) drops out of u and s.
    """
    m, n, p = len(diagonal), len(tau), len(log_eta_p)
    ratios, slopes = np.empty((n, m - 1)), np.empty((n, p, m))
    u, s = start.copy(), tangent.copy()
    shifted = diagonal - np.min(diagonal)
    below, above = np.zeros(m), np.zeros(m)  # flows into q from q − 1 and from q + 1
    v, flow = np.empty(m), np.empty(m)
    term, s_term, x = np.zeros(m + 2), np.zeros((p, m + 2)), np.zeros(m + 2)  # padded by 0 beyond the ends
    t = 0.0
    for j in range(n):
        while t < tau[j]:
            norm = 0.0
            for q in range(m - 1):
                below[q + 1] = eta * np.exp(u[q])
                above[q] = eta * np.exp(-u[q])
            for q in range(m):
                norm = max(norm, shifted[q] + below[q] + above[q])
                v[q] = 1.0
                term[q + 1] = 1.0
                for a in range(p):
                    s_term[a, q + 1] = s[a, q]
            h = min(tau[j] - t, 1.0 / norm)
            i = 0
            largest = 1.0
            while largest > 1e-20:
                i += 1
                for q in range(m):
                    flow[q] = below[q] * term[q] + above[q] * term[q + 2]
                for a in range(p):
                    for q in range(m):
                        x[q + 1] = shifted[q] * s_term[a, q + 1] + below[q] * s_term[a, q] + above[q] * s_term[a, q + 2]
                        x[q + 1] += diagonal_p[a, q] * term[q + 1] + log_eta_p[a] * flow[q]
                    for q in range(m):
                        s_term[a, q + 1] = x[q + 1] * h / i
                        s[a, q] += s_term[a, q + 1]
                largest = 0.0
                for q in range(m):
                    term[q + 1] = (shifted[q] * term[q + 1] + flow[q]) * h / i
                    v[q] += term[q + 1]
                    largest = max(largest, term[q + 1])
            for q in range(m):
                for a in range(p):
                    s[a, q] /= v[q]
            for q in range(m - 1):
                u[q] += np.log(v[q] / v[q + 1])
            t = tau[j] if h == tau[j] - t else t + h
        ratios[j] = u
        slopes[j] = s
    return ratios, slopes
