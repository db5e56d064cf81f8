"""A day of a desk's tables as an allocation `Problem`: balances, demand, fees, and what stands in for unknown ones."""

from dataclasses import replace

import numpy as np
import pandas as pd

from mmlib.checks import nonnegative
from mmlib.stock_loan._allocation.problem import Problem

IDLE_COST = 25.0  #: bp a year; what a pool costs of which no table tells a rate: about general collateral
CELL = {"source_cost": ["security_id", "pool_id"], "client_fee": ["security_id", "client_id"]}
CELL["demand"] = CELL["client_fee"]


def problem(book, date, *, fills=False, idle_cost=IDLE_COST, **terms):
    """The `Problem` of a day of a desk's `tables.Book`, as if all loans were made anew at its close.

    Demand is what each client has on loan (loans at fee 0 are over-borrow, which nobody wants) and what it wanted that
    day: the shares it requested times the part that is sold short if all are approved, estimated by bucket on the days
    up to this one (`demand.requests`), whole or not. Without locates it is the loans alone. `Problem.demand_basis`
    says which.

    Supply is what is available or on loan, less what is under recall. Fees are today's indicative fee plus the client's
    markup and today's borrow fee of the pool, or where a feed does not say, the average of the loans in force (of a
    pool's loans those that a client pays for; over-borrow, which goes back, counts where there are no others). Where
    there are none either, the first of these that is known stands in, and `Problem.assumed` lists the cell:

        "sold short"  that day, where the bucket has had no day yet on which all was approved (demand only)
        "last rate"   of this pool's (or this client's) latest loan in the name
        "market fee"  the name's indicative fee today, else the average fee of all its loans in force
        "idle cost"   the parameter (costs only; a wanted fee that nobody knows is an error)

    The limits are the margin customers' debits, the clients' credit limits and the pools' concentration limits. Names
    without a close that day hold nothing and are left out.

    Parameters
    ----------
    book : tables.Book
    date : datetime-like
        A trade date of the book.
    fills : bool
        What clients sold short that day in place of what they wanted: less wherever not all was approved.
    idle_cost : float
        bp a year, >= 0: cost of a pool's shares of a name of which no table tells a rate.
    terms
        Fields of `Problem` that tables do not hold (capital, penalty, turnover_cost, ...) or that replace theirs.

    Raises
    ------
    ValueError
        If the date is not a trade date, or a client's fee or a debit that is needed is nowhere to be found.
    """
    from mmlib.stock_loan import tables  # pandera is needed for a desk's tables only

    if not isinstance(fills, bool):
        raise ValueError(f"fills must be True or False (what was sold short, or wanted); got {fills!r}")
    idle_cost = nonnegative("idle_cost", idle_cost, "bp a year")
    given, date = date, pd.to_datetime(date, errors="coerce")
    if date not in book.dates:
        raise ValueError(
            f"date must be a trade date of the book, {book.dates[0]:%F} to {book.dates[-1]:%F}; got {str(given)!r}"
        )
    closes = book.closes[book.closes["trade_date"] == date]
    grid = _Grid(closes["security_id"], book.pools["pool_id"], book.clients["client_id"])
    events = book.loans[book.loans["trade_date"] <= date]
    events = events.assign(quantity=tables.signed_quantity(events), recalled=tables.under_recall(events))
    loans = _open_loans(events)
    wanted = loans[loans["loan_fee"] > 0]
    previous = grid.sums(wanted, "quantity", "security_id", "pool_id", "client_id")
    inventory = tables.as_of(book.inventory, date, CELL["source_cost"])
    inventory = inventory[inventory["security_id"].isin(closes["security_id"])]
    lent = loans.assign(quantity=loans["quantity"] - loans["recalled"])
    supply = sum(grid.sums(frame, column, *CELL["source_cost"])
                 for frame, column in ((inventory, "quantity_available"), (lent, "quantity")))  # fmt: skip
    asked, basis, stood_in = _asked(grid, book, date, fills)
    demand = previous.sum(1) + asked
    market = closes["indicative_fee"].to_numpy()
    quoted = grid.last(inventory, "borrow_fee", *CELL["source_cost"])
    cost, costs = _known(grid, quoted, events, (wanted, loans), "borrow_fee", CELL["source_cost"], market, idle_cost)
    marked = market[:, None] + book.clients["markup"].to_numpy()
    paying = events[events["loan_fee"] > 0]
    fee, fees = _known(grid, marked, paying, (wanted,), "loan_fee", CELL["client_fee"], market, np.nan)
    if np.any(unknown := np.isnan(fee) & (demand > 0)):
        s, c = np.argwhere(unknown)[0]
        raise ValueError(
            f"client_fee of {grid.names[0][s]}, {grid.names[2][c]} must be known on {date:%F} (it wants"
            f" {demand[s, c]:g} shares); got no indicative fee and no loan of the name"
        )
    owner = book.pools["client_id"].to_numpy()
    read = dict(
        price=closes["close"].to_numpy(),
        client_fee=np.nan_to_num(fee),  # what is not wanted and never was
        source_cost=cost,
        demand=demand,
        supply=supply,
        eligible=grid.sums(book.eligibility.assign(one=1.0), "one", "pool_id", "client_id") > 0,
        previous=previous,
        # a client whose risk weight is not known counts in full, where the terms limit capital
        capital_weight=np.broadcast_to(book.clients["risk_weight"].fillna(1.0), (len(owner), len(book.clients))),
        concentration=book.pools["concentration_limit"].to_numpy(),
        round_lot=grid.names[0].map(book.securities.set_index("security_id")["round_lot"]).to_numpy(),
        debit=_debits(tables.as_of(book.debits, date, ["client_id"]), owner, supply, book.pools["pool_id"], date),
        credit=book.clients["credit_limit"].fillna(np.inf).to_numpy(),
        customer=np.where(owner == "", book.pools["pool_id"], owner),
        assumed=pd.concat([_listed(grid, "source_cost", cost, costs, supply > 0),
                           _listed(grid, "client_fee", fee, fees, demand > 0),
                           _listed(grid, "demand", demand, stood_in, asked > 0)], ignore_index=True),
        demand_basis="the caller's" if "demand" in terms else basis,
    )  # fmt: skip
    return Problem(**dict(zip(("securities", "pools", "clients"), grid.names, strict=True)) | read | terms)


class _Grid:
    """Where a row of a table lies in arrays over securities, pools and clients."""

    def __init__(self, securities, pools, clients):
        self.names = tuple(pd.Index(names) for names in (securities, pools, clients))
        self.index = dict(zip(("security_id", "pool_id", "client_id"), self.names, strict=True))

    def cells(self, frame, columns):
        return tuple(self.index[column].get_indexer(frame[column]) for column in columns)

    def sums(self, frame, value, *columns):
        """Sum of the column `value` over cells, an array over the given columns."""
        total = np.zeros([len(self.index[column]) for column in columns])
        np.add.at(total, self.cells(frame, columns), frame[value])
        return total

    def last(self, frame, value, *columns):
        """The last known `value` of each cell, NaN where there is none."""
        found = np.full([len(self.index[column]) for column in columns], np.nan)
        known = frame[frame[value].notna() & frame["security_id"].isin(self.names[0])].drop_duplicates(
            list(columns), keep="last"
        )
        found[self.cells(known, columns)] = known[value]
        return found

    def average(self, loans, value, *columns):
        """Average of `value` over the loans of each cell, weighted by quantity, NaN where there is none."""
        weight = self.sums(loans, "quantity", *columns)
        total = self.sums(loans.assign(total=loans["quantity"] * loans[value]), "total", *columns)
        return np.divide(total, weight, where=weight > 0, out=np.full_like(total, np.nan))


def _asked(grid, book, date, fills):
    """Shares (S, C) that clients wanted to sell short on `date`, what this is, and the places that stood in (S, C)."""
    from mmlib.stock_loan import demand

    past = replace(book, locates=book.locates[book.locates["trade_date"] <= date])
    nothing = np.full([len(grid.index[column]) for column in CELL["demand"]], "", object)
    if past.locates.empty:
        return np.zeros(nothing.shape), f"today's loans alone: there are no locates up to {date:%F}", nothing
    sold = demand.requests(past, fills=True)
    wanted = sold if fills else demand.requests(past)
    today = (sold["trade_date"] == date) & sold["security_id"].isin(grid.names[0])
    sold, wanted = sold[today], wanted[today]
    unknown = wanted["demand"].isna()
    if unknown.any():
        nothing[grid.cells(wanted[unknown], CELL["demand"])] = "sold short"
        wanted = wanted.assign(demand=wanted["demand"].fillna(sold["demand"]))
    kept = demand.conversion(past).dropna()
    parts = ", ".join(f"{bucket} {part:.2f}" for bucket, part in kept.items()) or "not known yet"
    basis = "what was sold short" if fills else f"the part of the requests that is sold short if approved ({parts})"
    return grid.sums(wanted, "demand", *CELL["demand"]), f"today's loans and {basis}", nothing


def _open_loans(events):
    """Loans open after `events`: ids, quantity, fees in force, and what of the quantity is under recall."""
    by_loan = events.groupby("loan_id")
    loans = by_loan[["security_id", "client_id", "pool_id", "loan_fee", "borrow_fee", "recalled"]].last()
    loans["quantity"] = by_loan["quantity"].sum()
    return loans[loans["quantity"] > 0]


def _known(grid, quoted, events, in_force, column, cell, market, otherwise):
    """Fees on the grid of `cell`, each from the first place that knows it, and the names of the places that stood in.

    The name is "" where today's quote or the loans `in_force` tell the fee: a sequence of them, each asked where those
    before it are silent, the last one of all loans.
    """
    name_average = grid.average(in_force[-1], column, "security_id")
    places = [
        ("", quoted),
        *(("", grid.average(loans, column, *cell)) for loans in in_force),
        ("last rate", grid.last(events.sort_values("trade_date", kind="stable"), column, *cell)),
        ("market fee", np.broadcast_to(np.where(np.isnan(market), name_average, market)[:, None], quoted.shape)),
        ("idle cost", np.full_like(quoted, otherwise)),
    ]
    fees, origin = np.full_like(quoted, np.nan), np.full(quoted.shape, "", object)
    for place, values in places:
        new = np.isnan(fees) & ~np.isnan(values)
        fees[new], origin[new] = values[new], place
    return fees, origin


def _listed(grid, field, values, origin, needed):
    """The cells of `field` for which something stood in, as the rows of `Problem.assumed`."""
    s, i = np.nonzero(needed & (origin != ""))
    other = grid.index[CELL[field][1]]
    return pd.DataFrame(
        {"field": field, "security": grid.names[0][s], "party": other[i], "value": values[s, i], "from": origin[s, i]}
    )


def _debits(debits, owner, supply, pools, date):
    """Net debit of the customer behind each pool, inf where there is none, shape (K,)."""
    known = pd.Series(owner).map(debits.set_index("client_id")["net_debit"])
    unknown = (owner != "") & known.isna().to_numpy() & (supply.sum(0) > 0)
    if unknown.any():
        k = np.argmax(unknown)
        raise ValueError(
            f"debits must have a row of {owner[k]} on or before {date:%F}: its shares are in pool {pools.iloc[k]}"
        )
    return np.where(owner == "", np.inf, known.fillna(0.0))
