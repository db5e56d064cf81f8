"""What clients wanted to borrow, when only what they got is on the books.

A locate asks for r shares, a ≤ r of them are approved and s ≤ a are sold short. A series of s alone is censored: on a
day on which the desk approves less than is asked for, it says what there was and not what was wanted. Uncensored is
what would have been sold short had everything been approved,

    demand = r · κ_b,      κ_b = Σ s / Σ r  over the uncensored days of the names of bucket b (GC, warm, special)

where a name's day is uncensored if all that was asked for in it was approved. κ is taken to be the same on the other
days; that cannot be seen in the data. A client who asks several brokers for the same shares is counted by each of them:
κ absorbs that as far as it is as usual on scarce days as on others.

    demand.series(book)                    # shares a day, dates × names
    demand.series(book, "S0006")           # one name
    demand.series(book, fills=True)        # what was sold short, censored
"""

import numpy as np
import pandas as pd

from mmlib.stock_loan.tables import Book


def conversion(book: Book) -> pd.Series:
    """Part of the requested shares that is sold short if all are approved, by bucket.

    Parameters
    ----------
    book : tables.Book

    Returns
    -------
    Series
        κ in [0, 1] for every bucket of `book.securities`; NaN where no name has an uncensored day.
    """
    found = _requests(book)
    cut = found["quantity_approved"] < found["quantity_requested"]
    censored = cut.groupby([found["trade_date"], found["security_id"]]).transform("any")
    sums = found[~censored].groupby("bucket")[["quantity_shorted", "quantity_requested"]].sum()
    kept = sums["quantity_shorted"] / sums["quantity_requested"]
    return kept.reindex(pd.Index(np.unique(book.securities["bucket"]), name="bucket")).rename("conversion")


def requests(book: Book, fills: bool = False) -> pd.DataFrame:
    """Every locate with the shares that its client wanted to sell short.

    Parameters
    ----------
    book : tables.Book
    fills : bool
        What was sold short instead, which is censored where less was approved than asked for.

    Returns
    -------
    DataFrame
        trade_date, security_id, client_id and demand, shares (not whole numbers); NaN where the conversion of the
        bucket is not known.
    """
    found = _requests(book)
    kept = found["quantity_requested"] * found["bucket"].map(conversion(book))
    found["demand"] = found["quantity_shorted"].astype(float) if fills else kept
    return found[["trade_date", "security_id", "client_id", "demand"]]


def series(book: Book, name: str | None = None, fills: bool = False) -> pd.DataFrame | pd.Series:
    """Daily demand by name, shares.

    Parameters
    ----------
    book : tables.Book
    name : str, optional
        A security id; all of them if not given.
    fills : bool
        What was sold short instead, which is censored.

    Returns
    -------
    DataFrame, shape (days, names); with `name` a Series
        Indexed by the book's trade dates. A day without a request is 0; NaN where the conversion is not known.

    Raises
    ------
    ValueError
        If the book has no locates, or no such name.
    """
    if book.locates.empty:
        raise ValueError("book must have locates (requests to borrow): demand is not known without; got none")
    ids = pd.Index(book.securities["security_id"], name="security_id")
    if name is not None and name not in ids:
        raise ValueError(f"name must be a security id of the book, like {ids[0]!r}; got {name!r}")
    each = requests(book, fills)
    total = np.zeros((len(book.dates), len(ids)))
    at = book.dates.get_indexer(each["trade_date"]), ids.get_indexer(each["security_id"])
    np.add.at(total, at, each["demand"].to_numpy())
    wide = pd.DataFrame(total, index=book.dates.rename("trade_date"), columns=ids)
    return wide if name is None else wide[name]


def _requests(book):
    return book.locates.merge(book.securities[["security_id", "bucket"]], on="security_id", how="left")
