"""Today's lent and lendable by name, kept up to date while updates arrive.

    for balances, changed in intraday.follow(store):      # the state so far, then after every update
        balances.table(changed)                           # as kpis.table(book, ["security_id"], "day") has it

With b the balance of a loan, the sum of what its events up to today add and take, and AV what a pool has free,

    OL = Σ b over the loans with b > 0,    L = OL + Σ AV,    utilisation = OL / L,  by value V(OL) / V(L)

An update changes the loans and the pools' rows that it names and nothing else: the work is that of the update and not
that of the book. What is kept is each key's last row, so the state after an update depends on the rows sent so far and
not on how they were cut into updates; a correction is the row again, a row twice is a row once. Sums are of whole
numbers, shares and ten-thousandths of a dollar, and so equal to those of the batch.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmlib.stock_loan._schemas import EVENTS
from mmlib.stock_loan.tables import RETURNS, STARTS

SIGNS = dict.fromkeys(STARTS, 1) | dict.fromkeys(RETURNS, -1)  # what an event does to the balance of its loan
TABLES = {
    "rates": ["trade_date"],
    "closes": ["trade_date", "security_id", "close"],
    "inventory": ["trade_date", "security_id", "pool_id", "quantity_available"],
    "loans": ["trade_date", "loan_id", "event", "security_id", "quantity"],
}


class Balances:
    """What is lent and lendable at the last trade date of `rates`, by name.

    Attributes
    ----------
    seq : int
        The last update that has been taken.
    date : Timestamp or None
        Today: the last trade date that `rates` has; None before there is one. Rows of later days wait for theirs.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.date: pd.Timestamp | None = None
        self._closes: dict[tuple, int] = {}
        self._events: defaultdict[Any, dict] = defaultdict(dict)  # of a loan, by (date, event)
        self._stock: defaultdict[Any, dict] = defaultdict(dict)  # of a name and pool, by date
        self._lent: dict[Any, tuple[str, int] | None] = {}  # loan -> its name and what is out of it today
        self._free: dict[Any, tuple[str, int] | None] = {}  # name and pool -> the name and what is free today
        self._on_loan: defaultdict[str, int] = defaultdict(int)
        self._available: defaultdict[str, int] = defaultdict(int)

    def take(self, tables: Mapping[str, pd.DataFrame], seq: int) -> list[str]:
        """Take the update number `seq`, and say which names changed; one that was taken before changes nothing.

        Parameters
        ----------
        tables : mapping of str to DataFrame
            Rows of `rates`, `closes`, `inventory` and `loans`; other tables are not looked at.
        seq : int

        Raises
        ------
        ValueError
            If one of the four lacks a column, a value other than a close is missing, a price or a quantity is negative,
            infinite or no number, a quantity is not whole, or an event is none; nothing of the update is taken then.
        """
        if seq <= self.seq:
            return []
        rows = {name: _rows(name, tables[name]) if name in tables else [] for name in TABLES}
        before = self.date
        self.date = max([day for (day,) in rows["rates"]] + ([] if before is None else [before]), default=None)
        changed = set()
        for day, name, close in rows["closes"]:
            self._closes[day, name] = 0 if pd.isna(close) else round(close * 1e4)
            changed |= {name}
        for day, name, pool, quantity in rows["inventory"]:
            self._stock[name, pool][day] = (name, quantity)
        for day, loan, event, name, quantity in rows["loans"]:
            self._events[loan][day, EVENTS.index(event)] = (name, SIGNS.get(event, 0) * quantity)
        new_day = self.date != before
        stock = self._stock if new_day else {(name, pool) for _, name, pool, _ in rows["inventory"]}
        loans = self._events if new_day else {loan for _, loan, _, _, _ in rows["loans"]}
        for key in stock:
            changed |= self._move(self._free, self._available, key, self._in_force(key))
        for loan in loans:
            changed |= self._move(self._lent, self._on_loan, loan, self._balance(loan))
        if new_day:
            changed |= {*self._on_loan, *self._available}  # they have another close
        self.seq = seq
        return sorted(changed & {*self._on_loan, *self._available})

    def table(self, names: Iterable[str] | None = None) -> pd.DataFrame:
        """The KPIs of today, of all names or of some.

        Returns
        -------
        DataFrame
            Indexed by security_id: on_loan, available, lendable, shares; on_loan_value, lendable_value, dollars;
            utilisation_quantity, utilisation_value. Values are NaN before the name has a close of today, a utilisation
            where nothing is lendable.
        """
        ids = sorted({*self._on_loan, *self._available} if names is None else names)
        on_loan, available = ([kept.get(name, 0) for name in ids] for kept in (self._on_loan, self._available))
        closes = [self._closes.get((self.date, name), 0) for name in ids]
        index = pd.Index(ids, name="security_id")
        found = pd.DataFrame({"on_loan": on_loan, "available": available}, index, dtype="int64")
        found["lendable"] = found["on_loan"] + found["available"]
        for name in ("on_loan", "lendable"):
            worth = [q * c / 1e4 if c else np.nan for q, c in zip(found[name].tolist(), closes, strict=True)]
            found[f"{name}_value"] = worth
        found["utilisation_quantity"] = found["on_loan"] / found["lendable"].where(found["lendable"] > 0)
        found["utilisation_value"] = found["on_loan_value"] / found["lendable_value"].where(found["lendable_value"] > 0)
        return found

    def _balance(self, loan):
        """The name of a loan and what is out of it today; what has come back before it went out counts as nothing."""
        past = {when: event for when, event in self._events[loan].items() if self.date and when[0] <= self.date}
        if not past:
            return None
        return past[max(past)][0], max(sum(quantity for _, quantity in past.values()), 0)

    def _in_force(self, key):
        """The name and the last row on or before today of what a pool has free of it."""
        past = [day for day in self._stock[key] if self.date and day <= self.date]
        return self._stock[key][max(past)] if past else None

    @staticmethod
    def _move(parts, totals, key, part):
        """Put a part in the place of the one before, in its total; the names that changed."""
        before = parts.get(key)
        if part == before:
            return set()
        if before:
            totals[before[0]] -= before[1]
        if part:
            totals[part[0]] += part[1]
        parts[key] = part
        return {name for name, _ in filter(None, (before, part))}


def follow(store: Any, timeout: float | None = None) -> Iterator[tuple[Balances, list[str]]]:
    """The balances of a tick store, as they are and then after every update, each with the names that changed.

    Parameters
    ----------
    store : mmlib.tick_store.Store
    timeout : float, optional
        Seconds without an update after which the iteration ends; by default it goes on for ever.
    """
    balances, snapshot = Balances(), store.snapshot()
    known = [name for name in TABLES if name in snapshot.names]
    yield balances, balances.take({name: snapshot.rows(name) for name in known}, snapshot.seq)
    for update in store.follow(since=snapshot.seq, timeout=timeout):
        yield balances, balances.take(update.tables, update.seq)


def _rows(name, frame):
    columns = TABLES[name]
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(f"{name} must have the columns {', '.join(columns)}; got no {', '.join(missing)}")
    empty = [column for column in columns if column != "close" and frame[column].isna().any()]
    if empty:
        raise ValueError(f"{name}: {', '.join(empty)} must not be missing")
    for column in {"close", "quantity", "quantity_available"} & set(columns):
        known = frame[column].dropna()
        if len(known) and not (
            pd.api.types.is_numeric_dtype(known) and np.isfinite(known).all() and (known >= 0).all()
        ):
            raise ValueError(f"{name}: {column} must be numbers >= 0, and finite")
        if len(known) and column != "close" and (known % 1 != 0).any():
            raise ValueError(f"{name}: {column} must be whole shares")
    if "event" in columns and not frame["event"].isin(EVENTS).all():
        raise ValueError(f"{name}: event must be one of {', '.join(EVENTS)}; got {sorted(set(frame['event']))}")
    return list(zip(*(frame[column].tolist() for column in columns), strict=True))
