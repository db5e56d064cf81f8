"""How the best income changes with a right-hand side: one-sided derivatives of an allocation's optimum.

The optimum V(b) is concave and piecewise linear. Where the solution is degenerate its duals are not unique and a
solver's dual is none of the two slopes. With optimal x and y and a change Δ of the right-hand sides, in dollars,

    V'(b; Δ) = yᵀΔ − min [ Σ_i y_i w_i + Σ_j |r_j| |v_j| ]     over v, w:  A_i v + w_i = Δ_i, w_i >= 0 on tight rows,
                                                              v_j >= 0 at 0, <= 0 at its bound, free between

(the linear programme of directions, Rockafellar 1970, theorem 23.4, written in what it loses against y; r is the
reduced gain). All costs are >= 0, so the programme is bounded whatever the rounding in x; its optimum is 0 where y is
the slope.
If no v exists the right-hand side cannot change that way, and V' is −inf.

If the prices π of the coupling rows are unique, they enter the reduced gains and each security has a small programme of
its own; only if they are not does a change concern the whole desk.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from mmlib.stock_loan._allocation.linear_program import EXTERNAL, assemble

TOGETHER = 64  #: changes in one linear programme; they share nothing


@dataclass(frozen=True)
class Change:
    """A change of right-hand sides: `rows` and `amounts`, coupling rows after the others; one security, or None.

    `receipts` is a demand row whose client must get one dollar more than it gets, whatever its demand.
    """

    security: int | None
    rows: tuple
    amounts: tuple
    receipts: int | None = None


class Derivatives:
    """The programme with a column and a row for everything that could be, and where an optimum of it is tight.

    Parameters
    ----------
    solution : Solution

    Attributes
    ----------
    program : Program
        As `assemble(problem, everything=True)` makes it.
    x, y, pi : ndarray
        The solution on it; duals of rows that the solution's programme did not have are filled with the smallest that
        keep every lane from gaining.
    reduced : ndarray, shape (n,)
        Reduced gains, bp a year.
    row : dict
        Kind -> row numbers, shape (S, K) or (S, C), −1 where there is none.
    """

    def __init__(self, solution):
        self.problem = solution.problem
        self.program = program = assemble(solution.problem, everything=True)
        S, K, C = self.problem.shape
        self.row = {kind: np.full((S, K), -1) for kind in ("supply", "committed", "concentration")}
        self.row |= {kind: np.full((S, C), -1) for kind in ("demand", "mandatory")}
        for kind, rows in self.row.items():
            mine = np.flatnonzero(program.kind == kind)
            rows[program.row_security[mine], program.row_index[mine]] = mine
        self.x = np.zeros(len(program.gain))
        self.x[program.upper > 0] = solution.x
        self.y, self.pi = np.zeros(len(program.b)), solution.pi
        for kind, rows in self.row.items():
            mine = solution.program.kind == kind
            place = rows[solution.program.row_security[mine], solution.program.row_index[mine]]
            self.y[place] = solution.y[mine]
        self._fill()
        self.reduced = program.reduced(self.y, self.pi)
        self._classify()

    def _fill(self):
        """Duals of empty pools, then of clients without demand, that leave no lane a gain."""
        program, m = self.program, len(self.program.b)
        wanted = (program.client == EXTERNAL) | (np.append(program.b, 0.0)[program.demand_row] > 0)
        for row, which in ((program.supply_row, wanted), (program.demand_row, np.True_)):
            which = which & (row < m) & (np.append(program.b, 1.0)[row] == 0)
            excess = program.reduced(self.y, self.pi)
            np.maximum.at(self.y, row[which], excess[which])

    def _classify(self):
        program, x = self.program, self.x
        small = self.small = 1e-7 * np.abs(program.gain).max(initial=1.0)
        used = x > 1e-7 * np.maximum(program.upper, 1)
        full = used & program.capped & (x >= program.upper * (1 - 1e-7))
        zero = ~used | (self.reduced < -small)
        spent = program.use(x)
        tight = program.A @ x >= program.b - 1e-7 * np.maximum(np.abs(program.b), 1)
        coupled = (spent >= program.limit - 1e-7 * np.maximum(program.limit, 1)) | (self.pi > small)
        self.tight = np.concatenate([tight | (self.y > small), coupled])
        self.low, self.high = np.where(zero, 0.0, -np.inf), np.where(full & ~zero, 0.0, np.inf)
        self.cost = np.where(zero, np.maximum(-self.reduced, 0), np.where(full, -np.maximum(self.reduced, 0), 0.0))
        self._cut = {}
        self.dead = program.limit <= 0  # such a row keeps its columns at 0

    @cached_property
    def unique(self):
        """Whether the prices of all coupling rows are unique (rows of limit 0 aside, which only close their lanes)."""
        rows = np.flatnonzero(self.tight[len(self.program.b) :] & ~self.dead)
        ends = [self.coupling(row, sign) for row in rows for sign in (1.0, -1.0)]
        widths = -np.array(ends[::2]) - np.array(ends[1::2])
        return bool(np.all(widths <= 10 * self.small))

    def coupling(self, row, amount):
        """V' for `amount` dollars more of coupling row `row`, bp a year."""
        change = Change(None, (len(self.program.b) + row,), (amount,))
        return self._slopes([change], everywhere=True)[0]

    def __call__(self, changes):
        """V' of each `Change`, bp a year per dollar, shape (len(changes),); −inf where it is impossible."""
        slopes, todo = np.zeros(len(changes)), []
        for i, change in enumerate(changes):
            rows, amounts = np.array(change.rows, int), np.array(change.amounts)
            gains = np.all(amounts >= 0) and np.all(self.y[rows] * amounts <= self.small)
            if self.tight[rows].any() and not gains:
                todo.append(i)
        if todo:
            slopes[todo] = self._slopes([changes[i] for i in todo], everywhere=not self.unique)
        return slopes

    def receipts(self):
        """V' for one dollar more that each client gets, whatever its demand, shape (S, C); −inf where impossible.

        A lane that no tight row holds gives it at its own cost; if none of the client's lanes is cheaper, that is it.
        """
        program, m, rows = self.program, len(self.program.b), self.row["demand"]
        row, up = program.demand_row, (program.demand_row < m) & (self.high > 0)
        least, direct, fed = np.full(m + 1, np.inf), np.full(m + 1, np.inf), np.zeros(m + 1, bool)
        np.minimum.at(least, row[up], self.cost[up])
        binding = np.flatnonzero(self.tight[:m] & (program.kind != "demand"))
        held = np.bincount(program.A[binding].indices, minlength=len(row)) > 0
        everywhere = self._sets_prices()
        easy = up & ~held & self._open(self.dead) & ~everywhere[row]
        np.minimum.at(direct, row[easy], self.cost[easy])
        np.logical_or.at(fed, row, np.append(program.b, 0.0)[program.supply_row] > 0)
        slopes = np.append(self.y, 0.0) - direct
        for together in (False, True):
            todo = np.flatnonzero(fed & (least < direct) & (everywhere == together))
            if len(todo):
                changes = [Change(int(program.row_security[row]), (), (), int(row)) for row in todo]
                slopes[todo] = self._slopes(changes, everywhere=together)
        slopes[~fed] = -np.inf
        return np.where(rows >= 0, slopes[rows], -np.inf)

    def _sets_prices(self):
        """Demand rows, shape (m + 1,), whose client may be the one that sets the price of a coupling row.

        If it must keep what it gets, that price is the next client's, so the whole desk is asked. It is not if its fee
        is strictly above or below what its next share costs.
        """
        program, m = self.program, len(self.program.b)
        coupled = np.flatnonzero(self.tight[m:] & ~self.dead)
        touched = np.bincount(program.security[program.W[coupled].indices], minlength=program.size) > 0
        best = np.full(m + 1, -np.inf)
        np.maximum.at(best, program.demand_row, self.reduced)
        clear = (self.y > self.small) | (best[:m] < -self.small)
        asked = touched[program.row_security] & (~clear | (not self.unique))
        return np.append(asked & (program.kind == "demand"), False)

    def _slopes(self, changes, everywhere):
        size = 1 if everywhere else TOGETHER
        parts = [self._solve(changes[i : i + size], everywhere) for i in range(0, len(changes), size)]
        return np.concatenate(parts)

    def _solve(self, changes, everywhere):
        """V' of a few changes in one programme; where that is infeasible, of each half of them."""
        blocks = [self._block(change, everywhere) for change in changes]
        A, b, c, low, high, slack, at_y = zip(*blocks, strict=True)
        prices, most = (np.concatenate(part) for part in zip(*slack, strict=True))
        found = linprog(
            np.concatenate([*c, prices]),
            A_eq=sparse.hstack([_diagonal(A), sparse.eye_array(len(prices))]),
            b_eq=np.concatenate(b),
            bounds=np.column_stack([np.concatenate([*low, 0 * prices]), np.concatenate([*high, most])]),
            method="highs",
        )
        if found.status == 2 and len(changes) > 1:
            half = len(changes) // 2
            return np.concatenate([self._solve(part, everywhere) for part in (changes[:half], changes[half:])])
        if found.status == 2:
            return np.array([-np.inf])
        if found.status != 0:
            raise RuntimeError(f"the programme of directions was not solved: {found.message}")
        owner = np.repeat(np.tile(np.arange(len(blocks)), 2), [len(part) for part in (*c, *b)])
        return np.array(at_y) - np.bincount(owner, np.concatenate([*c, prices]) * found.x, len(blocks))

    def _block(self, change, everywhere):
        """Rows, right-hand sides, costs and bounds of v, costs and bounds of w, and yᵀΔ of one change's programme."""
        program, m = self.program, len(self.program.b)
        if everywhere:
            columns, rows, A = np.arange(len(program.gain)), np.arange(m + len(program.names)), self._all
        else:
            s = change.security
            columns, rows = np.arange(*program.columns[s : s + 2]), np.arange(*program.rows[s : s + 2])
            A = self._rows(s)
        delta = np.zeros(m + len(program.names))
        delta[list(change.rows)] = change.amounts
        price = np.append(self.y, self.pi)
        closing = np.append(np.zeros(m, bool), self.dead)
        closing[list(change.rows)] = False
        columns = columns[self._open(closing[m:])[columns]]
        kept = self.tight[rows] & ~closing[rows]
        at_y = float(price @ delta)
        if change.receipts is not None:
            delta[change.receipts] = 1.0
            kept[rows == change.receipts] = True
            at_y += price[change.receipts]
            if self.problem.demand[program.row_security[change.receipts]].sum() == 0:
                ours = program.row_security[np.minimum(rows, m - 1)] == program.row_security[change.receipts]
                kept &= ~((rows < m) & ours & (program.kind[np.minimum(rows, m - 1)] == "concentration"))
        rows, A = rows[kept], A[np.flatnonzero(kept)]
        most = np.where(rows == change.receipts, 0.0, np.inf)  # no slack in receipts
        bounds = self.low[columns], self.high[columns]
        return A[:, columns], delta[rows], self.cost[columns], *bounds, (price[rows], most), at_y

    def _rows(self, s):
        """Rows of security `s`, on all columns; cached, since many changes ask for the same."""
        if s not in self._cut:
            self._cut[s] = self.program.A[np.arange(*self.program.rows[s : s + 2])]
        return self._cut[s]

    @cached_property
    def _all(self):
        return sparse.vstack([self.program.A, self.program.W]).tocsr()

    def _open(self, closing):
        """Columns that no coupling row among `closing` keeps at 0."""
        return np.bincount(self.program.W[np.flatnonzero(closing)].indices, minlength=len(self.program.gain)) == 0


def _diagonal(blocks):
    """Sparse blocks along a diagonal; as `sparse.block_diag`, whose cost for many small ones is its overhead."""
    blocks = [block.tocoo() for block in blocks]
    shapes = np.array([block.shape for block in blocks])
    row, column = (np.repeat(np.cumsum(size) - size, [block.nnz for block in blocks]) for size in shapes.T)
    row = row + np.concatenate([block.row for block in blocks])
    column = column + np.concatenate([block.col for block in blocks])
    data = np.concatenate([block.data for block in blocks])
    return sparse.csr_array((data, (row, column)), shape=tuple(shapes.sum(0)))
