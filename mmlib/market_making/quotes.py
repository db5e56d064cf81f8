"""`Quotes`: bid and ask distances over time and inventory, what every model returns and every evaluator reads."""

from dataclasses import dataclass

import numpy as np

from mmlib.checks import finite, integer, nonnegative, positive


def time_grid(horizon, steps):
    """Left ends 0, dt, …, horizon − dt of `steps` equal time steps, shape (steps,)."""
    horizon = positive("horizon", horizon, "end of trading, time")
    steps = integer("steps", steps, least=1, meaning="number of time steps")
    return np.arange(steps) * (horizon / steps)


def inventory_grid(max_inventory):
    """The inventories −Q, …, Q for Q = `max_inventory`, shape (2Q + 1,)."""
    Q = integer("max_inventory", max_inventory, least=1, meaning="largest inventory, orders")
    return np.arange(-Q, Q + 1)


@dataclass(frozen=True, eq=False)
class Quotes:
    """Distances from the mid at which to quote, as a table over (time, inventory).

    Row i holds from ``times[i]`` until the next time (the last one until `horizon`). NaN means that this side is not
    quoted; at the ends of the inventory grid the side that would leave it must not be quoted, unless there is a hard
    `limit`: then a fill beyond the limit is followed at once by a trade at the mid less `cost` per unit that brings the
    position back to `target`.

    Parameters
    ----------
    times : array_like, shape (n,)
        Increasing times from 0, all below `horizon`.
    inventory : array_like, shape (m,)
        Consecutive integers; inventory in orders of `size` units.
    bid, ask : array_like, shape (n, m) or broadcastable to it
        Distance of the bid below and of the ask above the mid, price; may be negative.
    horizon : float
        End of trading, time.
    size : float
        Units traded by one fill, > 0.
    limit : int, optional
        Hard limit of |inventory|, in orders; then `inventory` is −limit, …, limit.
    cost : float
        Price per unit paid to cut the position back, >= 0; only with `limit`.
    target : int, optional
        |inventory| to which the position is cut back, on the side it is on, 0 … limit; `limit` by default.

    Raises
    ------
    ValueError
        If shapes do not fit, times or inventory are not ordered, a distance is infinite, or a side is quoted at the end
        of the grid without a limit.
    """

    times: np.ndarray
    inventory: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    horizon: float
    size: float = 1.0
    limit: int | None = None
    cost: float = 0.0
    target: int | None = None

    def __post_init__(self):
        horizon = positive("horizon", self.horizon, "end of trading, time")
        times = finite("times", np.atleast_1d(self.times), "time")
        if times.ndim != 1 or len(times) == 0 or times[0] != 0 or np.any(np.diff(times) <= 0) or times[-1] >= horizon:
            raise ValueError(f"times must increase from 0 and stay below horizon = {horizon:g}; got {times!r}")
        inventory = np.atleast_1d(np.array(self.inventory))  # a copy: it is made read-only below
        if inventory.ndim != 1 or inventory.dtype.kind not in "iu" or np.any(np.diff(inventory) != 1):
            raise ValueError(f"inventory must be consecutive integers, one row of them; got {self.inventory!r}")
        if len(inventory) < 2:
            raise ValueError(f"inventory must have at least two levels; got {self.inventory!r}")
        inventory = inventory.astype(int)
        positive("size", self.size, "units traded by one fill")
        bid, ask = (_table(name, getattr(self, name), times, inventory) for name in ("bid", "ask"))
        limit, target = self._check_limit(inventory, bid, ask)
        for array in (times, inventory, bid, ask):
            array.flags.writeable = False
        for name, value in dict(
            times=times, inventory=inventory, bid=bid, ask=ask, horizon=horizon, limit=limit, target=target
        ).items():
            object.__setattr__(self, name, value)

    def _check_limit(self, inventory, bid, ask):
        nonnegative("cost", self.cost, "price per unit paid to cut the position back")
        if self.limit is None:
            if self.cost != 0 or self.target is not None:
                raise ValueError("cost and target are those of a hard limit; limit must be given with them")
            for side, column, end in (("bid", bid[:, -1], inventory[-1]), ("ask", ask[:, 0], inventory[0])):
                if not np.all(np.isnan(column)):
                    raise ValueError(
                        f"{side} must be NaN at inventory {end}, the end of the grid, or limit be given;"
                        f" got {column[~np.isnan(column)][0]!r}"
                    )
            return None, None
        limit = integer("limit", self.limit, least=1, meaning="hard limit of |inventory|, orders")
        if inventory[0] != -limit or inventory[-1] != limit:
            raise ValueError(
                f"inventory must be -limit, ..., limit = {limit}; got {inventory[0]}, ..., {inventory[-1]}"
            )
        target = limit if self.target is None else self.target
        return limit, integer("target", target, least=0, most=limit, meaning="|inventory| after a cut, orders")

    @property
    def spread(self):
        """Bid distance plus ask distance, price, shape (n, m); NaN where a side is not quoted."""
        return self.bid + self.ask


def _table(name, values, times, inventory):
    table = np.asarray(values)
    if table.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers, or NaN where the side is not quoted (price); got {values!r}")
    shape = (len(times), len(inventory))
    try:
        table = np.broadcast_to(table, shape).astype(float)
    except ValueError:
        raise ValueError(f"{name} must have shape (times, inventory) = {shape}; got {table.shape}") from None
    if np.any(np.isinf(table)):
        raise ValueError(f"{name} must be finite, or NaN where the side is not quoted; got an infinite distance")
    return table


def one_sided(inventory, bid, ask):
    """`bid` and `ask`, arrays of shape (n, m), with the sides that would leave the inventory grid set to NaN.

    The last column of the bid and the first column of the ask; returns new float arrays of shape (n, m).
    """
    bid, ask = (np.array(np.broadcast_to(side, (len(side), len(inventory))), float) for side in (bid, ask))
    bid[:, -1] = np.nan
    ask[:, 0] = np.nan
    return bid, ask
