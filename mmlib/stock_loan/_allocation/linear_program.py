"""The allocation problem as arrays, and the one place where a linear programme meets a solver.

    max Σ_j gain_j p_j x_j   subject to   A x <= b,   Σ_j W_rj p_j x_j <= limit_r,   0 <= x <= upper

Column j is a lane (security, pool, client) in shares, p_j the price of its security, gain_j in bp a year. The rows of A
belong to one security each, so A is block diagonal; the few rows of W couple the securities. Everything is measured per
dollar of value: the dual y_i of a row of A is in bp a year per dollar, π_r of a coupling row too, and the reduced gain

    r_j = gain_j − Σ_i A_ij y_i − Σ_r W_rj π_r

needs no price. For any y, π >= 0, optimal or not, weak duality gives the bound (Dantzig & Thapa 1997, section 2.3)

    value <= Σ_i p_i b_i y_i + Σ_r limit_r π_r + Σ_j p_j upper_j max(r_j, 0)

which `bound` computes from the duals alone: the certificate of every answer.

PuLP reports duals of maximisation problems with opposite signs for CBC and HiGHS; `maximise` therefore always hands the
solver a minimisation, where both agree, and returns the duals of the maximisation, ∂objective/∂rhs >= 0.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse

try:
    import pulp
except ImportError as error:
    raise ImportError("the allocation needs PuLP and HiGHS: pip install 'mmlib[loan]'") from error

EXTERNAL, OVER_BORROW = -1, -2  #: in place of a client: lent to the street, borrowed but not used


class Rows(NamedTuple):
    """Rows of a matrix in compressed form, what `maximise` needs of a csr_array."""

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray


@dataclass(frozen=True, eq=False)
class Program:
    """Columns, rows and coupling rows of an allocation; columns and rows are sorted by security.

    Attributes
    ----------
    security, pool, client : ndarray of int, shape (n,)
        What a column is; `client` may be EXTERNAL or OVER_BORROW.
    gain, upper, price : ndarray, shape (n,)
        bp a year, shares, currency.
    capped : ndarray of bool, shape (n,)
        Columns whose upper bound does not follow from the rows, so that the solver must be told.
    helps : ndarray of bool, shape (n,)
        Columns that loosen some row, so that even a loss may be worth taking.
    A, b : csr_array, shape (m, n), and ndarray, shape (m,)
        Rows within a security, shares.
    kind, row_security, row_index, row_price : ndarray, shape (m,)
        "supply", "demand", "mandatory", "committed" or "concentration"; the row's security, its pool or client, and
        the price of its security.
    W, limit : csr_array, shape (R, n), and ndarray, shape (R,)
        Coupling rows, use per dollar, and their limits, dollars.
    names : tuple of str
        Names of the coupling rows.
    columns, rows : ndarray of int, shape (S + 1,)
        Security s owns columns[s]:columns[s + 1] and rows[s]:rows[s + 1].
    """

    security: np.ndarray
    pool: np.ndarray
    client: np.ndarray
    gain: np.ndarray
    upper: np.ndarray
    capped: np.ndarray
    price: np.ndarray
    helps: np.ndarray
    A: sparse.csr_array
    b: np.ndarray
    kind: np.ndarray
    row_security: np.ndarray
    row_index: np.ndarray
    row_price: np.ndarray
    W: sparse.csr_array
    limit: np.ndarray
    names: tuple
    columns: np.ndarray
    rows: np.ndarray

    @property
    def size(self):
        """Number of securities."""
        return len(self.columns) - 1

    @cached_property
    def supply_row(self):
        """Supply row of each column, shape (n,); m where it has none."""
        return self._row_of("supply")

    @cached_property
    def demand_row(self):
        """Demand row of each column, shape (n,); m where it has none."""
        return self._row_of("demand")

    @cached_property
    def plain(self):
        """Securities whose only rows are supply and demand, shape (S,)."""
        other = ~np.isin(self.kind, ("supply", "demand"))
        return np.bincount(self.row_security, other, self.size) == 0

    def _row_of(self, kind):
        rows = np.flatnonzero(self.kind == kind)
        entries = self.A[rows]
        found = np.full(len(self.gain), len(self.b))
        found[entries.indices] = np.repeat(rows, np.diff(entries.indptr))
        return found

    def value(self, x):
        """Σ gain·price·x, bp-dollars a year."""
        return float(self.gain @ (self.price * x))

    def use(self, x):
        """Dollars used of each coupling row, shape (R,)."""
        return self.W @ (self.price * x)

    def answers(self, x):
        """Value of each security's part of `x`, bp-dollars, shape (S,), and its use of the coupling rows, (S, R)."""
        dollars = sparse.csr_array((self.price * x, np.arange(len(x)), self.columns), shape=(self.size, len(x)))
        return dollars @ self.gain, (dollars @ self.W.T).toarray()

    def reduced(self, y, pi):
        """Reduced gains of all columns at duals `y` (m,) and `pi` (R,), bp a year."""
        return self.gain - self.A.T @ y - self.W.T @ pi

    def bounds(self, y, pi):
        """Upper bound on Σ (gain − Wᵀπ) p x of each security by weak duality, bp-dollars a year, shape (S,)."""
        rows = np.bincount(self.row_security, self.row_price * self.b * y, self.size)
        excess = self.price * self.upper * np.maximum(self.reduced(y, pi), 0)
        return rows + np.bincount(self.security, excess, self.size)

    def bound(self, y, pi):
        """Upper bound on the value, bp-dollars a year."""
        return float(self.bounds(y, pi).sum() + self.limit @ pi)

    def violation(self, x):
        """Largest violation of any row or bound by `x`, relative to the larger of 1 and the row's right-hand side."""
        rows = (self.A @ x - self.b) / np.maximum(np.abs(self.b), 1)
        coupling = (self.use(x) - self.limit) / np.maximum(self.limit, 1)
        bounds = np.maximum(-x, x - self.upper) / np.maximum(self.upper, 1)
        return float(max(0.0, rows.max(initial=0), coupling.max(initial=0), bounds.max(initial=0)))

    def part(self, which):
        """The program of the securities in `which`, with limits in proportion to their number."""
        column = np.concatenate([np.arange(*self.columns[s : s + 2]) for s in which])
        row = np.concatenate([np.arange(*self.rows[s : s + 2]) for s in which])
        by_column = ("pool", "client", "gain", "upper", "capped", "price", "helps")
        by_row = ("b", "kind", "row_index", "row_price")
        security, row_security = (np.searchsorted(which, v) for v in (self.security[column], self.row_security[row]))
        return replace(
            self,
            **{name: getattr(self, name)[column] for name in by_column},
            **{name: getattr(self, name)[row] for name in by_row},
            security=security,
            row_security=row_security,
            A=self.A[row][:, column],
            W=self.W[:, column],
            limit=self.limit * len(which) / self.size,
            columns=np.searchsorted(security, np.arange(len(which) + 1)),
            rows=np.searchsorted(row_security, np.arange(len(which) + 1)),
        )


def assemble(problem, everything=False):
    """The `Program` of an allocation `Problem`; with `everything` also lanes that no shares or no demand close today.

    Those have upper bound 0 and change no optimum; their rows tell what a first share would be worth.
    """
    lanes = _columns(problem, everything)
    order = np.argsort(lanes["security"], kind="stable")
    lanes = {name: values[order] for name, values in lanes.items()}
    A, b, labels = _rows(problem, lanes)
    W, limit, names = _coupling(problem, lanes)
    kind, row_security, row_index = labels
    edges = np.arange(len(problem.securities) + 1)
    return Program(
        **lanes,
        price=problem.price[lanes["security"]],
        helps=np.bincount(A.indices, A.data < 0, len(lanes["gain"])) > 0,
        A=A,
        b=b,
        kind=kind,
        row_security=row_security,
        row_index=row_index,
        row_price=problem.price[row_security],
        W=W,
        limit=limit,
        names=names,
        columns=np.searchsorted(lanes["security"], edges),
        rows=np.searchsorted(row_security, edges),
    )


def _columns(problem, everything):
    """Lanes to clients (those of yesterday in two pieces, see `Problem`), to the street, and over-borrow."""
    p = problem
    parts = []

    def add(mask, gain, upper, client=None, capped=False):
        s, k, *c = np.nonzero(mask)
        c = c[0] if client is None else np.full(len(s), client)
        parts.append((s, k, c, gain, upper, np.broadcast_to(capped, s.shape)))

    most = np.minimum(p.supply[:, :, None], p.demand[:, None, :])
    lane = p.eligible & (everything | (most > 0))
    gain, move = p.lane_gain(), 360 * p.turnover_cost[:, None, None]
    if p.previous is not None:
        kept = lane & (p.previous > 0) & (move > 0)
        add(kept, (gain + move)[kept], np.minimum(p.previous, most)[kept], capped=(p.previous <= most)[kept])
    add(lane, (gain - move)[lane], most[lane])
    street = (p.external_fee > 0) & (everything | (p.supply > 0))
    add(street, (p.external_fee - p.source_cost)[street], p.supply[street], EXTERNAL)
    over = p.committed > 0
    add(over, -p.source_cost[over], p.committed[over], OVER_BORROW)
    names = ("security", "pool", "client", "gain", "upper", "capped")
    return dict(zip(names, (np.concatenate(piece) for piece in zip(*parts, strict=True)), strict=True))


def _rows(problem, lanes):
    """A, b and (kind, security, pool or client) of the rows within securities, sorted by security."""
    p, width = problem, max(len(problem.pools), len(problem.clients))
    s, k, c = lanes["security"], lanes["pool"], lanes["client"]
    client, drawn, served = np.maximum(c, 0), c != OVER_BORROW, c >= 0
    labels, entries, count = [], [], 0

    def add(kind, index, columns, coefficient, rhs, always=()):
        """A row for every (security, index) that has a column, and for the cells in `always` even without."""
        nonlocal count
        key = s[columns] * width + index[columns]
        keys, place = np.unique(np.concatenate([key, np.asarray(always, int)]), return_inverse=True)
        labels.append((np.full(len(keys), kind), keys // width, keys % width, rhs[keys // width, keys % width]))
        entries.append((np.broadcast_to(coefficient, s.shape)[columns], place[: len(key)] + count, columns))
        count += len(keys)

    def cells(mask):
        return np.ravel_multi_index(np.nonzero(mask), (len(mask), width))

    add("supply", k, np.flatnonzero(drawn), 1.0, p.supply)
    add("demand", client, np.flatnonzero(served), 1.0, p.demand)
    must = np.flatnonzero(served & (p.mandatory[s, client] > 0))
    add("mandatory", client, must, -1.0, -p.mandatory, cells(p.mandatory > 0))
    add("committed", k, np.flatnonzero(p.committed[s, k] > 0), -1.0, -p.committed)
    most = p.concentration_limit()
    add("concentration", k, np.flatnonzero(drawn & np.isfinite(most[s, k])), 1.0, most)
    kind, security, index, b = map(np.concatenate, zip(*labels, strict=True))
    value, row, column = map(np.concatenate, zip(*entries, strict=True))
    order = np.argsort(security, kind="stable")
    A = sparse.csr_array(sparse.coo_array((value, (row, column)), shape=(count, len(s))))[order]
    return A, b[order], (kind[order], security[order], index[order])


def _coupling(problem, lanes):
    """W, limits and names of the coupling rows whose limit is finite."""
    p, k, c = problem, lanes["pool"], lanes["client"]
    drawn = c != OVER_BORROW
    uses, limits, names = [], [], []
    if np.isfinite(p.capital):
        weight = np.where(c >= 0, p.capital_weight[k, np.maximum(c, 0)], p.external_weight[k])
        uses.append(np.where(drawn, weight, 0.0))
        limits.append(p.capital)
        names.append("capital")
    for customer, (limit, mine) in p.margin_customers().items():
        uses.append(np.where(drawn & mine[k], 1.0, 0.0))
        limits.append(limit)
        names.append(f"140 % of the debit behind {customer}")
    for client in np.flatnonzero(np.isfinite(p.credit)):
        uses.append(np.where(c == client, 1.0, 0.0))
        limits.append(p.credit[client])
        names.append(f"credit of {p.clients[client]}")
    W = sparse.csr_array(np.array(uses)) if uses else sparse.csr_array((0, len(k)))
    return W, np.array(limits, float), tuple(names)


def maximise(gain, A, b, upper=None, integer=None, solver="HiGHS", options=None):
    """Solve max gain·x, A x <= b, 0 <= x <= upper in PuLP.

    Parameters
    ----------
    gain : ndarray, shape (n,)
        NaN: the column is left out, x = 0.
    A : csr_array or Rows, shape (m, n)
    b : ndarray, shape (m,)
    upper : ndarray, shape (n,), optional
        inf: no bound.
    integer : ndarray of bool, shape (n,), optional
        Columns that are whole numbers; the optimum is then found to a relative gap of 1e-6.
    solver : {"HiGHS", "CBC"}
    options : dict, optional
        Of HiGHS, e.g. ``{"solver": "ipm"}``.

    Returns
    -------
    x : ndarray, shape (n,), or None if no x satisfies the rows
        Never negative: what the solver leaves below 0 within its tolerance is 0.
    y : ndarray, shape (m,)
        ∂objective/∂b, >= 0; zeros for a mixed-integer problem.

    Raises
    ------
    RuntimeError
        If the solver ends otherwise than optimal or infeasible.
    """
    model = pulp.LpProblem("allocation", pulp.LpMinimize)
    gains, n = gain.tolist(), len(gain)
    caps = [None] * n if upper is None else [u if u < np.inf else None for u in upper.tolist()]
    kinds = [pulp.LpContinuous] * n if integer is None else np.where(integer, "Integer", "Continuous").tolist()
    x = [None if gains[j] != gains[j] else model.add_variable(f"x{j:07d}", 0, caps[j], kinds[j]) for j in range(n)]
    model.setObjective(pulp.LpAffineExpression([(v, -g) for v, g in zip(x, gains, strict=True) if v is not None]))
    ends, columns, values = A.indptr.tolist(), A.indices.tolist(), A.data.tolist()
    rows = []
    for i, right in enumerate(b.tolist()):
        row = slice(ends[i], ends[i + 1])
        terms = [(x[j], a) for j, a in zip(columns[row], values[row], strict=True) if x[j] is not None]
        rows.append(pulp.LpConstraint(pulp.LpAffineExpression(terms), pulp.LpConstraintLE, f"r{i:07d}", right))
        model.addConstraint(rows[-1])
    gap = None if integer is None else 1e-6
    status = model.solve(cbc() if solver == "CBC" else pulp.HiGHS(msg=False, gapRel=gap, **(options or {})))
    if status == pulp.LpStatusInfeasible:
        return None, np.zeros(len(b))
    if status != pulp.LpStatusOptimal:
        raise RuntimeError(f"{solver} ended with status {pulp.LpStatus[status]!r}")
    y = np.array([0.0 if integer is not None else max(0.0, -(row.pi or 0.0)) for row in rows])
    return np.array([0.0 if v is None else max(0.0, v.varValue or 0.0) for v in x]), y


def cbc():
    """The CBC that PuLP ships, as a PuLP solver."""
    return pulp.COIN_CMD(path=pulp.PULP_CBC_CMD.pulp_cbc_path, msg=False)
