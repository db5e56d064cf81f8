"""No lender too large: at the generated desk a pool lends at most its part of what a name's clients have on loan.

    Σ_c x_skc <= α_k Σ_k' Σ_c x_sk'c        where another pool has shares of the name

New loans keep the limit. When other loans come back, a pool may find itself above it: then the desk takes the newest of
that pool's loans from other pools, as far as they have shares, and asks the clients to cover the rest.
"""

import numpy as np

LOT = 100
SHARE = 1e-9  # of a share: rounding of α times a whole number


def newest(lane, size, wanted):
    """What to take of each entry so that every lane gives `wanted` of it, its last entries first, as far as it has.

    Parameters
    ----------
    lane, size : ndarray of int, shape (m,)
        Entries in order of age.
    wanted : ndarray, one number a lane
    """
    order = np.lexsort((-np.arange(len(lane)), lane))
    before = np.cumsum(size[order]) - size[order]
    before -= before[np.searchsorted(lane[order], lane[order])]
    take = np.zeros(len(lane), dtype=np.int64)
    take[order] = np.clip(wanted[lane[order]] - before, 0, size[order])
    return take


class Limits:
    """The limits of one day.

    Parameters
    ----------
    ledger : _desk_flow._Ledger
    due : ndarray of int
        Loans whose recall ends today: they leave their pools whatever happens.
    shares : ndarray of bool, shape (n, K)
        Whether a pool has shares of a name, free or on loan.
    limit : ndarray, shape (K,)
    """

    def __init__(self, ledger, due, shares, limit):
        self.ledger, self.limit, self.shape = ledger, limit, shares.shape
        self.applies = (limit < 1) & (shares.sum(axis=1, keepdims=True) - shares > 0)
        self.lane = ledger["security"] * shares.shape[1] + ledger["pool"]
        self.held = np.where(ledger["covered"] == 0, ledger["balance"], 0)
        self.held[due] = 0

    def over(self, security, want):
        """Loans above a limit even if all that is wanted, `want` shares of `security`, is borrowed; the shares above.

        Sets `headroom` (n, K): what may be borrowed from each pool besides, nothing where loans are above its limit.
        """
        total = self._grid(self.held)
        demand = total.sum(axis=1) + np.bincount(security, want, self.shape[0])
        most = np.floor(self.limit * demand[:, None] / LOT + SHARE).astype(np.int64) * LOT
        excess = np.where(self.applies, np.maximum(total - most, 0), 0).ravel()
        part = newest(self.lane, np.where(self.ledger["touched"] == 0, self.held, 0), excess)
        loans = np.flatnonzero(part)
        self.headroom = np.where(self.applies, np.maximum(most - total, 0), np.iinfo(int).max)
        return loans, part[loans]

    def enforce(self, security, pool, quantity, replaces):
        """New loans cut, and open ones closed, until no pool is above its limit.

        Parameters
        ----------
        security, pool, quantity : ndarray of int, shape (m,)
            The new loans.
        replaces : ndarray of int, shape (m,)
            The open loan that a new one takes the place of, −1 for none.

        Returns
        -------
        quantity : ndarray of int, shape (m,)
        back : ndarray of int, one number an open loan
            Shares that leave it: replaced, or covered by its client.
        """
        lane, quantity = security * self.shape[1] + pool, quantity.copy()
        covered, moved = np.zeros_like(self.held), replaces >= 0
        while True:
            replaced = np.bincount(replaces[moved], quantity[moved], len(self.held)).astype(np.int64)
            held = self.held - replaced - covered
            total = self._grid(held) + np.bincount(lane, quantity, self.applies.size).reshape(self.shape)
            excess = np.where(self.applies, total - self.limit * total.sum(axis=1, keepdims=True), 0.0)
            worst = np.arange(self.shape[1]) == np.argmax(excess, axis=1)[:, None]
            excess = np.where(worst & (excess > SHARE), excess, 0.0)
            if not excess.any():
                return quantity, replaced + covered
            cut = np.divide(excess, 1 - self.limit, where=self.limit < 1, out=np.zeros_like(excess))
            cut = np.ceil(cut / LOT - SHARE).astype(np.int64).ravel() * LOT
            taken = newest(lane, quantity, cut)
            quantity -= taken
            cut -= np.bincount(lane, taken, len(cut)).astype(np.int64)
            take = newest(self.lane, held, cut)
            # a loan has one partial return a day at most: one that had its own today is closed
            covered += np.where((self.ledger["touched"] == 1) & (take > 0), held, take)

    def _grid(self, shares):
        return np.bincount(self.lane, shares, self.applies.size).reshape(self.shape).astype(np.int64)
