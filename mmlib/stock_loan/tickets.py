"""Tickets: what to do this morning so that the desk's loans become the best allocation.

Today's book and a solution differ lane by lane (security, pool, client). Where the solution has fewer shares, loans are
returned, those that earn least first; where it has more, a loan is new; what stays is re-rated where its fees are not
today's. A borrow that its client no longer needs (loan fee 0) is returned. With price p, quantity q, client fee f and
pool fee g now, f⁰ and g⁰ in force, bp a year, act/360, a ticket earns, in dollars a day,

    new        p q (f − g) / 360
    return   − p q (f⁰ − g⁰) / 360
    re-rate    p q (f − f⁰ − g + g⁰) / 360

so that the tickets' dollars and what today's book earns add up to what the solution earns: client fees less source
costs, before the cost of moving, the risk of recalls and penalties, which `bridge` shows apart.

    solution = tickets.whole(allocation.round_lots(allocation.solve(problem)))
    table = tickets.table(book, date, solution)
    tickets.write(table, "tickets.csv");  tickets.read("tickets.csv")     # equal to `table`
    tickets.bridge(book, date, solution)                                  # from today's value to the solution's
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib.checks import nonnegative
from mmlib.stock_loan import _csv_tables, _schemas, allocation, tables
from mmlib.stock_loan.allocation import BP_DAY

KINDS = ("new", "return", "re-rate")
STREET = "street"  #: the client of a loan to the street
NEVER = 1e9  #: bp a year: no fee changes by as much
LANE = ["security_id", "pool_id", "client_id"]
_NUMBER = _schemas.pa.Column("float64")
COLUMNS = {
    "ticket": _schemas.pa.Column("str", _schemas.pa.Check.isin(KINDS, error=f"must be one of {', '.join(KINDS)}")),
    "dollars_a_day": _NUMBER,
    **{name: _schemas.COLUMNS["loans"][name] for name in LANE},
    "quantity": _schemas.pa.Column("int64", _schemas.pa.Check.gt(0, error="must be > 0 (shares)")),
    "loan_fee": _NUMBER,
    "borrow_fee": _NUMBER,
    "loan_id": _schemas.pa.Column("str"),
    "trade_date": _schemas.COLUMNS["loans"]["trade_date"],
}
KEY = ["trade_date", "ticket", *LANE, "loan_id"]


def table(book: tables.Book, date, solution: allocation.Solution, rerate: float = 0.0) -> pd.DataFrame:
    """The tickets that turn the loans open on `date` into a solution of that day's problem.

    Parameters
    ----------
    book : tables.Book
    date : datetime-like
        A trade date of the book.
    solution : allocation.Solution
        In whole shares: `allocation.round_lots` makes it so.
    rerate : float
        Smallest change of a fee that is worth a ticket, bp a year, >= 0; smaller ones stay as they are. Where one pool
        of unknown kind stands for all lenders no fee is changed: the pool's fee is the average of what the lenders of
        a name get, and no offer.

    Returns
    -------
    DataFrame
        ticket (new, return, re-rate), dollars_a_day, security_id, pool_id, client_id ("street" where it is lent
        there), quantity (shares), loan_fee and borrow_fee (bp a year: from now on; those in force for a return),
        loan_id ("" for a new loan), trade_date. Largest dollars first.

    Raises
    ------
    ValueError
        If the solution has fractions of shares, or is not of this book and date.
    """
    rerate = nonnegative("rerate", rerate, "bp a year")
    return _table(book, date, solution, NEVER if one_lender(book) else rerate)


def one_lender(book: tables.Book) -> bool:
    """Whether one pool of unknown kind stands for all lenders, as in a desk's two exports."""
    return len(book.pools) == 1 and bool((book.pools["pool_type"] == "unknown").all())


def _table(book, date, solution, rerate):
    loans, new = _compared(book, date, solution)
    moved = loans[["loan_fee", "borrow_fee"]].to_numpy() - loans[["fee", "cost"]].to_numpy()
    rated = loans[(loans["kept"] > 0) & (np.abs(moved).max(axis=1, initial=0) > max(rerate, 1e-9))]
    back = loans[loans["quantity"] > loans["kept"]]
    back = back.assign(quantity=back["quantity"] - back["kept"])
    back["dollars_a_day"] = -_earned(back, "quantity", "loan_fee", "borrow_fee")
    rated = rated.assign(dollars_a_day=_earned(rated, "kept", "fee", "cost") - _earned(rated, "kept", *_FORCE))
    rated = rated.assign(quantity=rated["kept"], loan_fee=rated["fee"], borrow_fee=rated["cost"])
    new = new.assign(dollars_a_day=_earned(new, "quantity", *_FORCE))
    found = pd.concat([part.assign(ticket=kind) for kind, part in zip(KINDS, (new, back, rated), strict=True)])
    found = _typed(found.assign(trade_date=pd.Timestamp(date)))
    order = [-found["dollars_a_day"].abs().round(6), *(found[name] for name in reversed(KEY))]
    return found.iloc[np.lexsort([column.to_numpy() for column in reversed(order)])].reset_index(drop=True)


def whole(solution: allocation.Solution) -> allocation.Solution:
    """The solution without fractions of a share: less than a share of each lane is dropped.

    Every limit is a most, so it stays feasible.

    Raises
    ------
    ValueError
        If mandatory demand needs the fractions.
    """
    found = replace(solution, x=np.floor(solution.x + 1e-6))
    short = solution.problem.mandatory - found.allocation.sum(1)
    if np.any(short > 1e-6):
        s, c = np.argwhere(short > 1e-6)[0]
        p = solution.problem
        raise ValueError(f"mandatory demand of {p.securities[s]}, {p.clients[c]} must be met in whole shares")
    return found


def bridge(book: tables.Book, date, solution: allocation.Solution, rerate: float = 0.0) -> pd.Series:
    """From what today's loans earn to the value of the solution, dollars a day.

    Parameters
    ----------
    As those of `table`.

    Returns
    -------
    Series
        "today" (client fees less pool fees in force, the over-borrow's among them), "new", "return", "re-rate" (what
        the tickets earn), "not re-rated" (what fees left as they are forgo, with its sign turned), "penalties and risk"
        (recall risk, unmet demand and unused term borrow), "turnover" (one-off), and "solution", their sum.
    """
    loans, _ = _compared(book, date, solution)
    found = table(book, date, solution, rerate)
    every = _table(book, date, solution, 0.0)
    items = allocation.income(solution.problem, np.round(solution.allocation), np.round(solution.external))
    steps = {"today": _earned(loans, "quantity", *_FORCE).sum()}
    steps |= {kind: found.loc[found["ticket"] == kind, "dollars_a_day"].sum() for kind in KINDS}
    steps["not re-rated"] = every.loc[every["ticket"] == "re-rate", "dollars_a_day"].sum() - steps["re-rate"]
    steps["penalties and risk"] = items[["recall risk", "unmet demand", "over-borrow"]].sum()
    steps["turnover"] = items["turnover"]
    steps["solution"] = sum(steps.values())
    return pd.Series(steps, name="dollars a day")


def write(found: pd.DataFrame, path: str | Path) -> None:
    """Write tickets as CSV; `read` gives the same table.

    Raises
    ------
    tables.TableError
        If a name begins as a formula does: a spreadsheet that opens the file would compute it.
    """
    _csv_tables.refuse_formulas(found, [*LANE, "loan_id"], Path(path).name)
    _typed(found).to_csv(path, index=False, date_format="%Y-%m-%d", lineterminator="\n")


def read(path: str | Path) -> pd.DataFrame:
    """Tickets as `write` wrote them.

    Raises
    ------
    tables.TableError
        If the file is missing, cut short or breaks a rule; names the file and the line.
    """
    path = Path(path)
    text = _csv_tables.read(path)
    return _typed(tables.validate(text, COLUMNS, KEY, path.name, 2).sort_index())


_FORCE = ("loan_fee", "borrow_fee")


def _earned(frame, quantity, fee, cost):
    """Dollars a day."""
    return frame["price"] * frame[quantity] * (frame[fee] - frame[cost]) * BP_DAY


def _typed(found):
    types = {name: str(rule.dtype) for name, rule in COLUMNS.items() if name != "trade_date"}
    return found[list(COLUMNS)].astype(types | {"trade_date": "datetime64[us]"}).reset_index(drop=True)


def _compared(book, date, solution):
    """Open loans with what of each is kept and today's terms, and the new loans."""
    p = solution.problem
    shares = np.concatenate([solution.allocation, solution.external[:, :, None]], axis=2)
    if np.any(np.abs(shares - np.round(shares)) > 1e-6):
        s, k, c = np.argwhere(np.abs(shares - np.round(shares)) > 1e-6)[0]
        raise ValueError(
            f"solution must be in whole shares (allocation.round_lots or tickets.whole makes it so); got"
            f" {shares[s, k, c]:g} of {p.securities[s]} from {p.pools[k]}"
        )
    shares = np.round(shares).astype(np.int64)
    loans = _open_loans(book, date)
    names = {"security_id": p.securities, "pool_id": p.pools, "client_id": p.clients}
    at = {name: pd.Index(known).get_indexer(loans[name]) for name, known in names.items()}
    lost = np.min(list(at.values()), axis=0, initial=0) < 0 if len(loans) else np.zeros(0, dtype=bool)
    if lost.any():
        loan = loans[lost].iloc[0]
        raise ValueError(
            f"solution must be of this book and date: loan {loan['loan_id']} of {loan['security_id']} from"
            f" {loan['pool_id']} to {loan['client_id']} is not in its problem"
        )
    s, k, c = at.values()
    loans = loans.assign(price=p.price[s], fee=p.client_fee[s, c], cost=p.source_cost[s, k])
    wanted = np.where(loans["loan_fee"] > 0, loans["quantity"], 0)
    lane = np.ravel_multi_index((s, k, c), shares.shape)
    order = np.lexsort((loans["loan_id"], loans["borrow_fee"] - loans["loan_fee"], lane))
    before = np.cumsum(wanted[order]) - wanted[order]
    before -= before[np.searchsorted(lane[order], lane[order])]
    kept = np.zeros(len(loans), dtype=np.int64)
    kept[order] = np.clip(shares.ravel()[lane[order]] - before, 0, wanted[order])
    held = np.bincount(lane, wanted, shares.size).reshape(shares.shape)
    s, k, c = np.nonzero(shares > held)
    fee = np.concatenate([np.broadcast_to(p.client_fee[:, None, :], p.shape), p.external_fee[:, :, None]], axis=2)
    new = pd.DataFrame({
        "security_id": np.array(p.securities, object)[s], "pool_id": np.array(p.pools, object)[k],
        "client_id": np.array([*p.clients, STREET], object)[c], "loan_id": "", "price": p.price[s],
        "quantity": (shares - held)[s, k, c].astype(np.int64), "loan_fee": fee[s, k, c],
        "borrow_fee": p.source_cost[s, k]})  # fmt: skip
    return loans.assign(kept=kept), new


def _open_loans(book, date):
    """Loans open at the close of `date`, with the fees in force."""
    events = book.loans[book.loans["trade_date"] <= pd.Timestamp(date)]
    events = events.assign(quantity=tables.signed_quantity(events)).groupby("loan_id")
    loans = events[[*LANE, "loan_fee", "borrow_fee"]].last().assign(quantity=events["quantity"].sum())
    return loans[loans["quantity"] > 0].reset_index()
