"""The data of a day's allocation, checked: arrays over securities, pools and clients; `allocation` has the model."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmlib.checks import in_interval

BP_DAY = 1e-4 / 360  #: a day of one basis point a year, act/360
REHYPOTHECATION_LIMIT = 1.4  #: of a margin customer's net debit may be lent or pledged (SEC 15c3-3(a)(5), 8c-1)

_FIELDS = {  # axes (security, pool, client); lowest and highest value, which ends are open; meaning
    "price": ("S", (0, np.inf, "left"), "price, currency"),
    "client_fee": ("SC", (0, np.inf, False), "fee a client pays, bp a year"),
    "source_cost": ("SK", (0, np.inf, False), "cost of a pool, bp a year"),
    "demand": ("SC", (0, np.inf, False), "shares wanted"),
    "supply": ("SK", (0, np.inf, False), "shares available"),
    "penalty": ("SC", (0, np.inf, False), "penalty for unmet demand, bp a year"),
    "mandatory": ("SC", (0, np.inf, False), "shares that must be delivered"),
    "committed": ("SK", (0, np.inf, False), "term borrow, shares"),
    "external_fee": ("SK", (0, np.inf, False), "fee paid by the street, bp a year, 0: no street"),
    "recall_probability": ("SK", (0, 1, False), "probability of a recall within the day"),
    "buy_in_cost": ("S", (0, np.inf, False), "cost of a buy-in, bp of value"),
    "turnover_cost": ("S", (0, np.inf, False), "cost of moving a loan, bp of value"),
    "capital_weight": ("KC", (0, np.inf, False), "risk weight of pool and client"),
    "external_weight": ("K", (0, np.inf, False), "risk weight of lending to the street"),
    "concentration": ("K", (0, 1, "left"), "largest part of a name's demand from one lender"),
    "round_lot": ("S", (0, np.inf, "left"), "shares in a round lot"),
}
_LIMITS = {  # axes and meaning; inf: no limit
    "capital": ("", "risk-weighted assets, dollars"),
    "debit": ("K", "net debit of the margin customer behind the pool, dollars"),
    "credit": ("C", "credit limit, dollars"),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """One day's allocation: arrays over securities (S), pools (K) and clients (C); scalars broadcast.

    Parameters
    ----------
    securities, pools, clients : sequence of str
        Unique names; K and C are their numbers.
    price : array_like, shape (S,)
        Currency.
    client_fee, penalty : array_like, shape (S, C)
        bp a year; the penalty is charged on unmet demand.
    source_cost, external_fee : array_like, shape (S, K)
        bp a year; a street fee of 0 means that the pool is not lent to the street.
    demand, mandatory : array_like, shape (S, C)
        Shares wanted, and the part of them that must be delivered.
    supply, committed : array_like, shape (S, K)
        Shares available, and the part of them borrowed on term, paid for whether used or not.
    eligible : array_like of bool, shape (K, C) or (S, K, C)
    previous : array_like, shape (S, K, C), optional
        Yesterday's allocation, shares.
    recall_probability : array_like, shape (S, K)
        Per day.
    buy_in_cost, turnover_cost : array_like, shape (S,)
        bp of value, one-off.
    capital_weight : array_like, shape (K, C);  external_weight : array_like, shape (K,)
        Risk weights; those of clients may be NaN, unknown, where `capital` is inf.
    concentration : array_like, shape (K,)
        Most of a name's demand that may come from a pool where another pool has shares too, in (0, 1]; 1: no limit.
    round_lot : array_like, shape (S,)
        Shares in a round lot, for `round_lots`.
    capital : float;  debit : array_like, shape (K,);  credit : array_like, shape (C,)
        Limits of the coupling rows, dollars; inf: no such row.
    customer : sequence of str, shape (K,), optional
        The margin customer behind each pool: the debit of a customer of several pools limits them together, and each
        of them carries it. By default each pool is a customer of its own.
    assumed : DataFrame, optional
        Report of a `problem(book, date)`: the fees that no quote and no loan in force told, and what stood in.

    Raises
    ------
    ValueError
        If a name repeats, a value is missing or out of range, mandatory exceeds demand or committed supply, two pools
        of a customer have different debits, or a pool with supply may serve nobody; the message names the cell.
    """

    securities: tuple
    pools: tuple
    clients: tuple
    price: np.ndarray
    client_fee: np.ndarray
    source_cost: np.ndarray
    demand: np.ndarray
    supply: np.ndarray
    eligible: np.ndarray
    penalty: ArrayLike = 0.0
    mandatory: ArrayLike = 0.0
    committed: ArrayLike = 0.0
    external_fee: ArrayLike = 0.0
    previous: ArrayLike | None = None
    recall_probability: ArrayLike = 0.0
    buy_in_cost: ArrayLike = 0.0
    turnover_cost: ArrayLike = 0.0
    capital_weight: ArrayLike = 1.0
    external_weight: ArrayLike = 0.0
    concentration: ArrayLike = 1.0
    round_lot: ArrayLike = 100.0
    capital: float = np.inf
    debit: ArrayLike = np.inf
    credit: ArrayLike = np.inf
    customer: tuple | None = None
    assumed: pd.DataFrame | None = None

    def __post_init__(self):
        for name in ("securities", "pools", "clients"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        unknown = ("capital_weight",) if np.all(np.isposinf(self.capital)) else ()  # then nobody asks for the weights
        for name, (axes, bounds, meaning) in _FIELDS.items():
            self._set(name, axes, getattr(self, name), bounds, meaning, unknown=name in unknown)
        for name, (axes, meaning) in _LIMITS.items():
            given = np.asarray(getattr(self, name), float)
            self._set(name, axes, np.where(np.isposinf(given), 0.0, given), (0, np.inf, False), meaning)
            object.__setattr__(self, name, np.where(np.isposinf(given), np.inf, getattr(self, name)))
        self._set_customer()
        if self.previous is not None:
            self._set("previous", "SKC", self.previous, (0, np.inf, False), "yesterday's allocation, shares")
        self._set_eligible()
        self._within("mandatory", self.mandatory, "demand", self.demand, "SC")
        self._within("committed", self.committed, "supply", self.supply, "SK")

    @property
    def shape(self):
        """(S, K, C)."""
        return len(self.securities), len(self.pools), len(self.clients)

    def lane_gain(self):
        """Gain of a dollar of each lane over leaving its demand unmet, before turnover, bp a year, shape (S, K, C).

        Fee + penalty − source cost − 360·(recall probability × buy-in cost).
        """
        cost = self.source_cost + 360 * self.recall_probability * self.buy_in_cost[:, None]
        return (self.client_fee + self.penalty)[:, None, :] - cost[:, :, None]

    def concentration_limit(self):
        """Most that may be drawn of each pool's shares, α_k Σ_c d_sc, shape (S, K); inf where no limit holds.

        A pool that is the only one with shares of a name has none: it takes nothing from the others.
        """
        has = self.supply > 0
        rivals = has.sum(1, keepdims=True) - has > 0
        limited = rivals & (self.concentration < 1)
        return np.where(limited, np.outer(self.demand.sum(1), self.concentration), np.inf)

    def margin_customers(self):
        """Customer -> its limit in dollars, 1.4 of the debit, and the pools (a boolean array) that share it."""
        behind, limited = np.array(self.customer, object), np.isfinite(self.debit)
        names = dict.fromkeys(behind[limited])
        pools = {name: limited & (behind == name) for name in names}
        return {name: (REHYPOTHECATION_LIMIT * self.debit[mine][0], mine) for name, mine in pools.items()}

    def constant(self):
        """Part of the objective that no decision changes: penalty of all demand, Σ p τ x⁰; bp-dollars a year."""
        unmet = self.price @ (self.penalty * self.demand).sum(1)
        kept = 0.0 if self.previous is None else 360 * (self.price * self.turnover_cost) @ self.previous.sum((1, 2))
        return -float(unmet + kept)

    def _axes(self, axes):
        return [{"S": self.securities, "K": self.pools, "C": self.clients}[axis] for axis in axes]

    def _set(self, name, axes, given, bounds, meaning, unknown=False):
        names = self._axes(axes)
        shape = tuple(map(len, names))
        values = np.asarray(given)
        if values.dtype.kind not in "iuf":
            raise ValueError(f"{name} must be numbers ({meaning}); got {given!r}")
        try:
            values = np.broadcast_to(values, shape).astype(float)
        except ValueError:
            raise ValueError(f"{name} must have shape {shape} ({meaning}); got {values.shape}") from None
        low, high, opened = bounds
        good = np.isfinite(values) & (values > low if opened else values >= low) & (values <= high)
        good |= unknown & np.isnan(values)
        if not np.all(good):
            cell = tuple(np.argwhere(~good)[0])
            in_interval(f"{name}{self._cell(axes, cell)}", values[cell], low, high, open=opened, meaning=meaning)
        values.flags.writeable = False
        object.__setattr__(self, name, values)

    def _cell(self, axes, cell):
        return f" of {', '.join(names[i] for names, i in zip(self._axes(axes), cell, strict=True))}" if axes else ""

    def _set_eligible(self):
        eligible, (S, K, C) = np.asarray(self.eligible), self.shape
        if eligible.dtype != bool or eligible.shape not in ((K, C), (S, K, C)):
            raise ValueError(
                f"eligible must be booleans of shape {(K, C)} or {(S, K, C)} (pool may serve client); got"
                f" {eligible.dtype} of shape {eligible.shape}"
            )
        eligible = np.broadcast_to(eligible, (S, K, C))
        useless = ~eligible.any((0, 2)) & (self.supply > 0).any(0) & ~(self.external_fee > 0).any(0)
        if np.any(useless):
            raise ValueError(f"eligible must let pool {self.pools[np.argmax(useless)]} serve a client; got none")
        object.__setattr__(self, "eligible", eligible)

    def _set_customer(self):
        customer = self.pools if self.customer is None else tuple(map(str, self.customer))
        if len(customer) != len(self.pools):
            raise ValueError(f"customer must have {len(self.pools)} names, one a pool; got {len(customer)}")
        object.__setattr__(self, "customer", customer)
        for name, (_, mine) in self.margin_customers().items():
            if np.ptp(self.debit[mine]) > 0:
                raise ValueError(
                    f"debit must be the same for all pools of customer {name} (the debit is the customer's); got"
                    f" {', '.join(f'{value:g}' for value in self.debit[mine])}"
                )

    def _within(self, name, values, other, most, axes):
        over = np.argwhere(values > most)
        if len(over):
            cell = tuple(over[0])
            where = self._cell(axes, cell)
            raise ValueError(f"{name}{where} must be <= {other} = {most[cell]:g}; got {values[cell]:g}")


def _names(name, given):
    names = tuple(map(str, given))
    repeated = sorted({entry for entry in names if names.count(entry) > 1}) if len(set(names)) < len(names) else []
    if not names or repeated:
        raise ValueError(f"{name} must be unique names, at least one; got {repeated[:3] if repeated else given!r}")
    return names
