"""The exact GLFT quotes against three ways to solve the same equation, in one run: time, ratio and error.

    python benchmarks/glft.py

The problem is that of figures 1–3 of Guéant, Lehalle & Fernandez-Tapia (2013) at three sizes, quotes at t = 0. Errors
are the largest over the inventories, in price, against a reference that only adds and multiplies positive numbers; the
reference itself is first held to 60-digit arithmetic. "bad" counts quotes that are not finite or off by more than 0.01.
"""

import time
from itertools import pairwise

import mpmath
import numpy as np
from numba import njit
from scipy.integrate import solve_ivp
from scipy.linalg import eigh_tridiagonal, expm
from scipy.sparse import diags

from mmlib.market_making import Market, glft

MARKET = Market(sigma=0.3, A=0.9, k=0.3)
GAMMA, HORIZON = 0.01, 600.0


def problem(max_inventory):
    """Diagonal of the matrix M of dv/dtau = −M v, and its off-diagonal −eta."""
    k, x = MARKET.k, GAMMA / MARKET.k
    q = np.arange(-max_inventory, max_inventory + 1.0)
    return 0.5 * k * GAMMA * MARKET.sigma**2 * q**2, MARKET.A * (1 + x) ** -(1 + 1 / x)


def bids(log_ratios):
    return np.log1p(GAMMA / MARKET.k) / GAMMA + log_ratios / MARKET.k


@njit
def _positive_series(diagonal, eta, horizon):
    m = len(diagonal)
    u = np.zeros(m - 1)
    t = 0.0
    top = np.max(diagonal)
    while t < horizon:
        up, down = eta * np.exp(-u), eta * np.exp(u)
        size = top + np.max(down) + np.max(up)
        h = min(30.0 / size, horizon - t)
        v, term, new = np.ones(m), np.ones(m), np.empty(m)
        n = 0
        while True:
            n += 1
            for i in range(m):
                x = (top - diagonal[i]) * term[i]
                if i < m - 1:
                    x += up[i] * term[i + 1]
                if i > 0:
                    x += down[i - 1] * term[i - 1]
                new[i] = x * h / n
            term, new = new, term
            v += term
            if n > size * h and np.max(term) < 1e-18 * np.min(v):
                break
        u += np.log(v[:-1]) - np.log(v[1:])
        t += h
    return u


def reference(max_inventory):
    """ln(v_q/v_{q+1}) by Taylor's series of exp(h (c − M)), c the largest of M's diagonal, on v scaled to 1 every h.

    All terms are positive, so no digit is lost: each quote has a relative error of rounding.
    """
    diagonal, eta = problem(max_inventory)
    return _positive_series(diagonal, eta, HORIZON)


def in_60_digits(max_inventory):
    """The same ratios from one Taylor series over the whole horizon in 60-digit arithmetic."""
    diagonal, _ = problem(max_inventory)
    with mpmath.workdps(60):
        x = mpmath.mpf(GAMMA) / mpmath.mpf(MARKET.k)
        eta = MARKET.A * (1 + x) ** -(1 + 1 / x)
        stay = [mpmath.mpf(max(diagonal)) - mpmath.mpf(d) for d in diagonal]
        term = [mpmath.mpf(1)] * len(stay)
        v, n = list(term), 0
        while n < HORIZON * (max(diagonal) + 2 * eta) or max(term) > mpmath.mpf(10) ** -40 * min(v):
            n += 1
            padded = [mpmath.mpf(0), *term, mpmath.mpf(0)]
            term = [
                (s * b + eta * (a + c)) * HORIZON / n
                for s, a, b, c in zip(stay, padded, padded[1:], padded[2:], strict=False)
            ]
            v = [a + b for a, b in zip(v, term, strict=True)]
        return np.array([float(mpmath.log(a / b)) for a, b in pairwise(v)])


def by_mmlib(max_inventory, steps=1):
    return glft.quotes(MARKET, gamma=GAMMA, horizon=HORIZON, max_inventory=max_inventory, steps=steps).bid[0, :-1]


def by_expm(max_inventory):
    diagonal, eta = problem(max_inventory)
    beside = np.full(len(diagonal) - 1, eta)
    v = expm(HORIZON * (np.diag(beside, 1) + np.diag(beside, -1) - np.diag(diagonal))) @ np.ones(len(diagonal))
    return bids(np.log(v[:-1] / v[1:]))


def by_eigh(max_inventory):
    diagonal, eta = problem(max_inventory)
    values, vectors = eigh_tridiagonal(diagonal, np.full(len(diagonal) - 1, -eta))
    v = vectors @ (np.exp(-(values - values[0]) * HORIZON) * vectors.sum(axis=0))
    return bids(np.log(v[:-1] / v[1:]))


def by_bdf(max_inventory):
    """ln v by SciPy's BDF with the sparse Jacobian."""
    diagonal, eta = problem(max_inventory)

    def slope(_, log_v):
        rise = np.diff(log_v)
        return eta * (np.append(np.exp(rise), 0) + np.insert(np.exp(-rise), 0, 0)) - diagonal

    def jacobian(_, log_v):
        rise = np.diff(log_v)
        up, down = eta * np.exp(rise), eta * np.exp(-rise)
        return diags([down, -np.append(up, 0) - np.insert(down, 0, 0), up], [-1, 0, 1], format="csc")

    start = np.zeros(len(diagonal))
    end = solve_ivp(slope, (0, HORIZON), start, "BDF", jac=jacobian, rtol=1e-8, atol=1e-10, t_eval=[HORIZON]).y[:, -1]
    return bids(-np.diff(end))


def timed(function, *arguments):
    """Milliseconds, best of up to five runs within about two seconds, and the result."""
    best, spent = np.inf, 0.0
    for _ in range(5):
        start = time.perf_counter()
        with np.errstate(all="ignore"):
            result = function(*arguments)
        elapsed = time.perf_counter() - start
        best, spent = min(best, elapsed), spent + elapsed
        if spent > 2:
            break
    return 1e3 * best, result


def main():
    by_mmlib(30), _positive_series(*problem(3), 1.0)  # compile
    print(f"reference against 60 digits, Q = 30: {np.max(np.abs(reference(30) - in_60_digits(30))):.0e}\n")
    print(f"{'':28}{'Q':>6}{'ms':>10}{'ratio':>8}{'error':>9}{'bad':>12}")
    for max_inventory in (30, 300, 3000):
        exact = bids(reference(max_inventory))
        ours = None
        for name, solve in (
            ("mmlib glft.quotes", by_mmlib),
            ("mmlib, table of 200 times", lambda Q: by_mmlib(Q, 200)),
            ("scipy.linalg.expm", by_expm),
            ("scipy eigh_tridiagonal", by_eigh),
            ("scipy BDF on ln v, 1e-8", by_bdf),
        ):
            if solve is by_expm and max_inventory == 3000:
                print(f"{name:28}{max_inventory:6d}   left out: a dense matrix of 6,001 rows takes about two minutes")
                continue
            ms, bid = timed(solve, max_inventory)
            ours = ours or ms
            error = np.abs(bid - exact)
            bad = ~(error < 0.01)  # NaN counts
            worst = f"{np.max(error[~bad]):9.0e}" if not bad.all() else f"{'':9}"
            print(f"{name:28}{max_inventory:6d}{ms:10.2f}{ms / ours:8.1f}{worst}{bad.sum():6d} of {len(bid)}")


if __name__ == "__main__":
    main()
