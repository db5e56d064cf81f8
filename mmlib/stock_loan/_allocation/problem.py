"""The data of a day's allocation, checked: arrays over securities, pools and clients; `allocation` has the model."""

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from mmlib.checks import in_interval

BP_DAY = 1e-4 / 360  #: a day of one basis point a year, act/360

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
    "concentration": ("K", (0, 1, "left"), "largest share of a lender in a name"),
}
_LIMITS = {  # axes and meaning; inf: no limit
    "capital": ("", "risk-weighted assets, dollars"),
    "debit": ("K", "net debit of the margin client behind the pool, dollars"),
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
        Risk weights.
    concentration : array_like, shape (K,)
        Largest share of a pool in what is drawn of a name, in (0, 1]; 1: no limit.
    capital : float;  debit : array_like, shape (K,);  credit : array_like, shape (C,)
        Limits of the coupling rows, dollars; inf: no such row.

    Raises
    ------
    ValueError
        If a name repeats, a value is missing or out of range, mandatory exceeds demand or committed supply, or a pool
        with supply may serve nobody; the message names the cell.
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
    penalty: np.ndarray = 0.0
    mandatory: np.ndarray = 0.0
    committed: np.ndarray = 0.0
    external_fee: np.ndarray = 0.0
    previous: np.ndarray | None = None
    recall_probability: np.ndarray = 0.0
    buy_in_cost: np.ndarray = 0.0
    turnover_cost: np.ndarray = 0.0
    capital_weight: np.ndarray = 1.0
    external_weight: np.ndarray = 0.0
    concentration: np.ndarray = 1.0
    capital: float = np.inf
    debit: np.ndarray = np.inf
    credit: np.ndarray = np.inf

    def __post_init__(self):
        for name in ("securities", "pools", "clients"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        for name, (axes, bounds, meaning) in _FIELDS.items():
            self._set(name, axes, getattr(self, name), bounds, meaning)
        for name, (axes, meaning) in _LIMITS.items():
            given = np.asarray(getattr(self, name), float)
            self._set(name, axes, np.where(np.isposinf(given), 0.0, given), (0, np.inf, False), meaning)
            object.__setattr__(self, name, np.where(np.isposinf(given), np.inf, getattr(self, name)))
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

    def constant(self):
        """Part of the objective that no decision changes: penalty of all demand, Σ p τ x⁰; bp-dollars a year."""
        unmet = self.price @ (self.penalty * self.demand).sum(1)
        kept = 0.0 if self.previous is None else 360 * (self.price * self.turnover_cost) @ self.previous.sum((1, 2))
        return -float(unmet + kept)

    def _axes(self, axes):
        return [{"S": self.securities, "K": self.pools, "C": self.clients}[axis] for axis in axes]

    def _set(self, name, axes, given, bounds, meaning):
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


def replaced(problem, **changes):
    """The problem with some fields replaced, checked again."""
    return Problem(**{field.name: getattr(problem, field.name) for field in fields(problem)} | changes)


def problem(book, date, **terms):
    """The `Problem` of a day of a desk's `tables.Book`, as if all loans were made anew at its close.

    Demand is what each client has on loan (loans at fee 0 are over-borrow, which nobody wants) and what it sold short
    that day; supply is what is available or on loan, less what is under recall. Fees are today's indicative fee plus
    the client's markup and today's borrow fee of the pool, or where a feed does not say, those of the loans in force.
    The limits are the margin clients' debits, the clients' credit limits and the pools' concentration limits. Names
    without a close that day hold nothing and are left out.

    Parameters
    ----------
    book : tables.Book
    date : datetime-like
        A trade date of the book.
    terms
        Fields of `Problem` that tables do not hold (capital, penalty, turnover_cost, ...) or that replace theirs.

    Raises
    ------
    ValueError
        If the date is not a trade date, or a fee or a debit that is needed is nowhere to be found.
    """
    from mmlib.stock_loan import tables  # pandera is needed for a desk's tables only

    given, date = date, pd.to_datetime(date, errors="coerce")
    if date not in book.dates:
        raise ValueError(
            f"date must be a trade date of the book, {book.dates[0]:%F} to {book.dates[-1]:%F}; got {str(given)!r}"
        )
    closes = book.closes[book.closes["trade_date"] == date]
    index = {
        "security_id": pd.Index(closes["security_id"]),
        "pool_id": pd.Index(book.pools["pool_id"]),
        "client_id": pd.Index(book.clients["client_id"]),
    }
    S, K, C = map(len, index.values())

    def grid(frame, value, *columns):
        """Sum of `value` over cells, an array over the given columns."""
        total = np.zeros([len(index[column]) for column in columns])
        np.add.at(total, tuple(index[column].get_indexer(frame[column]) for column in columns), value)
        return total

    loans = _open_loans(book.loans[book.loans["trade_date"] <= date], tables)
    wanted = loans[loans["loan_fee"] > 0]
    previous = grid(wanted, wanted["quantity"], "security_id", "pool_id", "client_id")
    inventory = tables.as_of(book.inventory, date, ["security_id", "pool_id"])
    inventory = inventory[inventory["security_id"].isin(index["security_id"])]
    free = grid(inventory, inventory["quantity_available"], "security_id", "pool_id")
    supply = free + grid(loans, loans["quantity"] - loans["recalled"], "security_id", "pool_id")
    locates = book.locates[book.locates["trade_date"] == date]
    demand = previous.sum(1) + grid(locates, locates["quantity_shorted"], "security_id", "client_id")
    known = inventory[inventory["borrow_fee"].notna()]
    quoted = np.full((S, K), np.nan)
    quoted[tuple(index[column].get_indexer(known[column]) for column in ("security_id", "pool_id"))] = known[
        "borrow_fee"
    ]
    fee = closes["indicative_fee"].to_numpy()[:, None] + book.clients["markup"].to_numpy()
    allowed = book.eligibility
    debits = tables.as_of(book.debits, date, ["client_id"]).set_index("client_id")["net_debit"]
    owner = book.pools["client_id"]
    unknown = (owner != "").to_numpy() & owner.map(debits).isna().to_numpy() & (supply.sum(0) > 0)
    if unknown.any():
        raise ValueError(
            f"debits must have a row of {owner[unknown].iloc[0]} on or before {date:%F}: its shares are in pool"
            f" {book.pools['pool_id'][unknown].iloc[0]}"
        )
    read = dict(
        price=closes["close"].to_numpy(),
        client_fee=_filled(fee, wanted, "loan_fee", grid, ("security_id", "client_id"), demand),
        source_cost=_filled(quoted, loans, "borrow_fee", grid, ("security_id", "pool_id"), supply),
        demand=demand,
        supply=supply,
        eligible=grid(allowed, 1.0, "pool_id", "client_id") > 0,
        previous=previous,
        capital_weight=np.broadcast_to(book.clients["risk_weight"].fillna(1.0).to_numpy(), (K, C)),
        concentration=book.pools["concentration_limit"].to_numpy(),
        debit=np.where(owner == "", np.inf, owner.map(debits).fillna(0.0)),
        credit=book.clients["credit_limit"].fillna(np.inf).to_numpy(),
    )
    return Problem(**dict(zip(("securities", "pools", "clients"), index.values(), strict=True)) | read | terms)


def _open_loans(events, tables):
    """Loans open after `events`: ids, quantity, fees in force, and what of the quantity is under recall."""
    events = events.assign(quantity=tables.signed_quantity(events), recalled=tables.under_recall(events))
    by_loan = events.groupby("loan_id")
    loans = by_loan[["security_id", "client_id", "pool_id", "loan_fee", "borrow_fee", "recalled"]].last()
    loans["quantity"] = by_loan["quantity"].sum()
    return loans[loans["quantity"] > 0]


def _filled(fees, loans, column, grid, axes, needed):
    """`fees`; where they are missing the average of the loans in force; else 0 where nothing is needed."""
    weight = grid(loans, loans["quantity"], *axes)
    average = np.divide(
        grid(loans, loans["quantity"] * loans[column], *axes), weight, where=weight > 0, out=fees * np.nan
    )
    fees = np.where(np.isnan(fees), average, fees)
    return np.where(np.isnan(fees) & (needed == 0), 0.0, fees)
