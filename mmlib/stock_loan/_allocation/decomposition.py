"""Dantzig–Wolfe decomposition of the allocation: securities answer to prices of the coupling rows.

At prices π of the coupling rows the problem falls apart: security s maximises Σ (gain − Wᵀπ) p x over its own rows. The
master problem mixes the answers v of each security with weights λ to respect the coupling rows, and its duals are the
next prices (Dantzig & Wolfe 1960; one convexity row per security, "multi-cut"):

    max Σ_sv value_sv λ_sv   subject to   Σ_sv use_rsv λ_sv <= limit_r,   Σ_v λ_sv = 1,   λ >= 0

It is written in differences to each security's best known answer, so that Σ_v λ = 1 becomes Σ λ <= 1 over the others
and a security without others leaves it. Any feasible mix is a lower bound, the duals of all answers give an upper one
(`Program.bound`).

Three things keep the number of linear programmes small:

- prices may move only within a box, which grows where they press on it (Marsten, Hogan & Blankenship 1975, "boxstep");
- answers are first guessed by `greedy`, on a sample and then on all securities; linear programmes come when guesses no
  longer improve the master (any feasible answer is a valid column, so nothing is lost);
- a security is asked again only if `best_duals` cannot show from its last duals that a known answer is its best, and
  those with the widest gaps first.
"""

import numpy as np
from scipy import sparse

from mmlib.stock_loan._allocation.linear_program import Rows, maximise

SAMPLE = 500  #: securities in the sample that gives the first prices
TOGETHER = 8  #: securities in one PuLP model; they share nothing, but a model costs as much as a security's lanes
SMALL = {"presolve": "off", "simplex_strategy": 4}  #: HiGHS for such a model: primal simplex, from x = 0
OPEN = 0.97  #: part of the open gap that a round asks about; the rest often closes by itself


def best_responses(program, pi, which=None, solver="HiGHS", together=TOGETHER):
    """The best allocation of each security alone, at coupling prices `pi` (R,), bp a year.

    Parameters
    ----------
    program : Program
    pi : ndarray, shape (R,)
        Prices of the coupling rows, bp a year.
    which : ndarray of int, optional
        Numbers of the securities asked, increasing; by default all.
    solver : {"HiGHS", "CBC"}
    together : int
        Securities in one PuLP model.

    Returns
    -------
    x, y : ndarray, shapes (n,) and (m,)
        Shares, and duals of the rows in bp a year; 0 where not asked. x is NaN for a security whose own rows contradict
        each other.
    """
    x, y = np.zeros(len(program.gain)), np.zeros(len(program.b))
    if which is not None:
        if len(which):
            asked = np.isin(program.security, which), np.isin(program.row_security, which)
            x[asked[0]], y[asked[1]] = best_responses(program.part(which), pi, None, solver, together)
        return x, y
    A, b, columns, rows = program.A, program.b, program.columns, program.rows
    gain = program.gain - program.W.T @ pi
    gain = np.where((gain > 0) | program.helps, gain, np.nan)
    upper = np.where(program.capped, program.upper, np.inf)
    for s in range(0, program.size, together):
        e = min(s + together, program.size)
        own, mine = slice(columns[s], columns[e]), slice(rows[s], rows[e])
        entries = slice(A.indptr[mine.start], A.indptr[mine.stop])
        part = Rows(
            A.indptr[mine.start : mine.stop + 1] - entries.start, A.indices[entries] - own.start, A.data[entries]
        )
        answer, y[mine] = maximise(gain[own], part, b[mine], upper[own], solver=solver, options=SMALL)
        if answer is not None:
            x[own] = answer
        elif e == s + 1:
            x[own] = np.nan
        else:
            alone = best_responses(program, pi, np.arange(s, e), solver, together=1)
            x[own], y[mine] = alone[0][own], alone[1][mine]
    return x, y


def greedy(program, gain):
    """Fill lanes in the order of their `gain` (n,), each as far as its supply and demand last.

    Optimal where supply is abundant, or eligibility nested and gains are fee minus cost; feasible wherever supply and
    demand are the only rows. Returns x, shares, shape (n,).
    """
    order = np.flatnonzero(gain > 0)
    order = order[np.lexsort((-gain[order], program.security[order]))]
    _, first, place = np.unique(program.security[order], return_index=True, return_inverse=True)
    rank = np.arange(len(order)) - first[place]
    order = order[np.argsort(rank, kind="stable")]  # the best lane of every security, then the second, ...
    left = np.append(program.b, np.inf)
    x = np.zeros(len(gain))
    for lanes in np.split(order, np.cumsum(np.bincount(rank))[:-1]):
        supply, demand = program.supply_row[lanes], program.demand_row[lanes]
        x[lanes] = np.minimum(program.upper[lanes], np.minimum(left[supply], left[demand]))
        left[supply] -= x[lanes]
        left[demand] -= x[lanes]
    return x


def best_duals(program, y, pi):
    """Duals that bound each security at coupling prices `pi` (R,), from the duals `y` (m,) at other prices.

    One sweep of coordinate descent. With the other supply duals held, client c would pay t_c = gain − (its best
    alternative elsewhere) for a share of a pool; the best λ of the pool is the price at which the demand of those
    who would pay more no longer exceeds its supply b: it minimises b λ + Σ_c d_c max(t_c − λ, 0). Demand duals are then
    the smallest feasible ones; duals of other rows stay. Where the sweep makes a security's bound worse, its duals stay
    as they were. Any result is a bound; a good one spares a linear programme.

    Returns
    -------
    y : ndarray, shape (m,)
    bounds : ndarray, shape (S,)
        Upper bound on Σ (gain − Wᵀπ) p x of each security, bp-dollars.
    """
    m, supply, demand = len(program.b), program.supply_row, program.demand_row
    lam, others = np.zeros(m + 1), np.append(y, 0.0)
    lam[supply] = others[supply]
    others[supply] = others[demand] = 0.0
    gain = program.reduced(others[:m], pi)
    lam[m] = others[m] = 0.0
    b, most = np.append(program.b, np.inf), np.append(program.b, np.inf)[demand]
    for pool in np.unique(program.pool):
        mine = np.flatnonzero((program.pool == pool) & (supply < m))
        elsewhere = np.flatnonzero((program.pool != pool) & (demand < m))
        alternative = np.zeros(m + 1)
        np.maximum.at(alternative, demand[elsewhere], (gain - lam[supply])[elsewhere])
        pays = gain[mine] - alternative[demand[mine]]
        lam[supply[mine]] = 0.0
        mine, pays = mine[pays > 0], pays[pays > 0]
        order = np.lexsort((-pays, supply[mine]))
        row, pays = supply[mine][order], pays[order]
        wanted = np.cumsum(np.minimum(most[mine][order], 2 * b[row]))
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        before = np.append(0.0, wanted)[starts]
        short = wanted - np.repeat(before, np.diff(np.append(starts, len(row)))) > b[row] * (1 + 1e-12)
        np.maximum.at(lam, row[short], pays[short])
    others[supply] = lam[supply]
    np.maximum.at(others, demand, program.reduced(others[:m], pi))
    tried = np.array([y, others[:m]])
    bounds = np.array([program.bounds(duals, pi) for duals in tried])
    return tried[bounds.argmin(0)[program.row_security], np.arange(m)], bounds.min(0)


def _unproven(known, bounds):
    """Securities whose known answer may be improved; those with the widest gaps, which hold most of what is open."""
    gap = np.where(bounds > known + 1e-9 * np.maximum(np.abs(known), 1), bounds - known, 0.0)
    order = np.argsort(-gap, kind="stable")
    before = np.cumsum(gap[order]) - gap[order]
    return np.sort(order[(gap[order] > 0) & (before < OPEN * gap.sum())])


class _Master:
    """The restricted master: all answers of the securities so far, and the best mix of them.

    Column j is an answer of security `member[j]`, part of the x in `answers[number[j]]`; `value` and `use` are its own.
    """

    def __init__(self, program, x):
        self.program, self.answers = program, [x]
        self.member, self.number = np.arange(program.size), np.zeros(program.size, int)
        self.value, self.use = program.answers(x)

    def known(self, pi):
        """Best value of each security's answers at prices `pi`, bp-dollars, shape (S,)."""
        best = np.full(self.program.size, -np.inf)
        np.maximum.at(best, self.member, self.value - self.use @ pi)
        return best

    def add(self, x, pi, asked):
        """Add the answers in `x` of the securities `asked` that are better at `pi` than all known; returns how many."""
        value, use = self.program.answers(x)
        gained = (value - use @ pi - self.known(pi))[asked]
        better = asked[gained > 1e-9 * np.maximum(np.abs(value[asked]), 1)]
        self.member = np.concatenate([self.member, better])
        self.number = np.concatenate([self.number, np.full(len(better), len(self.answers))])
        self.value = np.concatenate([self.value, value[better]])
        self.use = np.concatenate([self.use, use[better]])
        self.answers.append(x)
        return len(better)

    def solve(self, pi, width, solver):
        """Best mix when the coupling rows have prices within `width` of `pi`, both of shape (R,).

        Only answers that can be a security's best somewhere in this box enter the programme, in differences to the
        best at its centre; a row's limit may be bought at the upper end of the box and sold at the lower one.

        Returns
        -------
        pi : ndarray, shape (R,)
        pressed : ndarray of bool, shape (R,)
            Prices that the box holds back.
        x : ndarray, shape (n,)

        or None if the solver, wrongly, calls the programme infeasible.
        """
        program, R = self.program, len(pi)
        low, high = np.maximum(pi - width, 0), pi + width
        at_centre = self.value - self.use @ pi
        order = np.lexsort((at_centre, self.member))
        best = order[np.append(np.flatnonzero(np.diff(self.member[order])), len(order) - 1)]  # the last of each member
        first = best[self.member]
        value, use = self.value - self.value[first], self.use - self.use[first]
        reach = at_centre - at_centre[first] + np.abs(use) @ np.maximum(high - pi, pi - low)
        enters = np.flatnonzero((reach >= 0) & (np.arange(len(first)) != first))
        active, place = np.unique(self.member[enters], return_inverse=True)
        n, limit = len(enters), np.maximum(program.limit, 1.0)
        scale = max(1.0, np.abs(value[enters]).max(initial=1.0))
        box = sparse.hstack([-sparse.eye_array(R), sparse.eye_array(R)])
        coupling = sparse.hstack([sparse.csr_array(use[enters].T / limit[:, None]), box])
        convexity = sparse.csr_array((np.ones(n), (place, np.arange(n))), shape=(len(active), n + 2 * R))
        weight, dual = maximise(
            np.concatenate([value[enters], -high * limit, low * limit]) / scale,
            sparse.vstack([coupling, convexity]).tocsr(),
            np.concatenate([(program.limit - self.use[best].sum(0)) / limit, np.ones(len(active))]),
            solver=solver,
        )
        if weight is None:
            return None
        bought, sold = weight[n : n + R] > 1e-9, weight[n + R :] > 1e-9
        share = np.zeros(len(first))
        share[best] = 1.0
        share[enters] = weight[:n]
        np.subtract.at(share, first[enters], weight[:n])
        share = np.maximum(share, 0.0)  # 1 − Σ λ may be −1e-16
        return dual[:R] * scale / limit, bought | (sold & (low > 0)), self._mix(share)

    def _mix(self, share):
        x = np.zeros(len(self.program.gain))
        for number, answer in enumerate(self.answers):
            mine = np.flatnonzero(self.number == number)
            part = np.zeros(self.program.size)
            part[self.member[mine]] = share[mine]
            x += part[self.program.security] * answer
        return x


def decompose(program, solver="HiGHS", tolerance=1e-9, rounds=100):
    """Solve a coupled `Program` by Dantzig–Wolfe decomposition.

    Returns
    -------
    x, y, pi : ndarray, shapes (n,), (m,), (R,); or None
        Shares and duals in bp a year, with a relative gap <= `tolerance` and prices that no longer move; None if that
        is not reached in `rounds` rounds.
    """
    pi, width = np.zeros(len(program.names)), np.full(len(program.names), program.gain.max(initial=1.0))
    if program.size >= 2 * SAMPLE:
        sample = program.part(np.arange(0, program.size, program.size // SAMPLE))
        pi = _generate(sample, pi, width, solver, tolerance, rounds, guesses_only=True)
        width = 0.1 * pi + 1
    return _generate(program, pi, width, solver, tolerance, rounds)


def _generate(program, pi, width, solver, tolerance, rounds, guesses_only=False):
    """Column generation from prices `pi` in a box of half-width `width`; the prices alone if `guesses_only`."""
    everyone = np.arange(program.size)
    master, y, guessing = None, None, True
    for _ in range(rounds):
        asked = np.flatnonzero(~program.plain) if guessing else everyone
        if y is not None:
            proof, bounds = best_duals(program, y, pi)
            known = master.known(pi)
            asked = _unproven(known, bounds)
        x, duals = best_responses(program, pi, asked, solver)
        if guessing:
            guess = greedy(program, program.gain - program.W.T @ pi)
            x, asked = np.where(program.plain[program.security], guess, x), everyone
        else:
            y = duals if y is None else np.where(np.isin(program.row_security, asked), duals, proof)
        if master is None:
            master, added = _Master(program, x), program.size
        else:
            added = master.add(x, pi, asked)
        step = master.solve(pi, width, solver)
        if step is None:
            return pi if guesses_only else None
        new_pi, pressed, mix = step
        moved = np.abs(new_pi - pi)
        if guessing:
            guessing = bool(added > 0.05 * program.size or pressed.any())
            if guesses_only and not guessing:
                break
        elif not pressed.any():
            upper, lower = program.bound(y, pi), program.value(mix)
            settled = added == 0 or moved.max(initial=0.0) <= 1e-6 * max(1, pi.max())
            if upper - lower <= tolerance * max(1, abs(upper)) and settled:
                return mix, y, pi
        width = np.where(pressed, 2 * width, 4 * moved + 0.03 * new_pi + 0.5)
        pi = new_pi
    return new_pi if guesses_only else None
