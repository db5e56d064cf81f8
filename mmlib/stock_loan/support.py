"""What a book's files support: every KPI and chapter, whether it can be computed, and what is missing where it cannot.

    >>> support.report(sources.open("my/folder"))

A KPI is supported where `kpis` gives a number for the whole book; the report says so beforehand, and why not.
"""

import pandas as pd

from mmlib.stock_loan._book import Book
from mmlib.stock_loan.tables import RETURNS

_WHOLE = ("utilisation_quantity", "utilisation_value", "flow_turnover", "fee_accrual", "source_accrual", "vwaf",
          "return_to_lendable", "spread_capture", "idle")  # fmt: skip
_OF_STOCK = ("utilisation_quantity", "utilisation_value", "flow_turnover", "return_to_lendable", "idle")


def report(book: Book) -> pd.DataFrame:
    """One row a KPI or chapter.

    Parameters
    ----------
    book : Book
        As `sources.open` gives it.

    Returns
    -------
    DataFrame
        Indexed by kind ("KPI", "chapter") and name; supported (bool), missing (str, empty where nothing is): table or
        column, and what it would have to hold.
    """
    need, lacks = _needs(), _lacking(book)
    rows = []
    for (kind, name), needed in need.items():
        missing = [lacks[what] for what in needed if what in lacks]
        rows.append((kind, name, not missing, "; ".join(missing)))
    frame = pd.DataFrame(rows, columns=["kind", "name", "supported", "missing"])
    return frame.set_index(["kind", "name"])


def _needs():
    """What each KPI and chapter needs, by the keys of `_lacking`."""
    kpis: dict[str, tuple] = {name: ("stock",) if name in _OF_STOCK else ("loans",) for name in _WHOLE}
    kpis |= {
        "fee_accrual": (),
        "source_accrual": (),
        "days_on_loan": ("loans", "ages"),
        "fee_weighted_idle": ("stock", "indicative"),
        "internalisation": ("loans", "pools"),
        "recall_rate": ("loans", "recalls"),
        "bought_in_value": ("recalls returned",),
        "concentration": ("loans", "pools"),
        "holding_cost idle_longs": ("rates", "idle pools"),
        "holding_cost capital": ("weights",),
        "holding_cost over_borrow": ("shorts",),
        "days_to_cover": ("shorts", "volume"),
        "locates": ("locates",),
    }
    chapters = {
        "desk": ("loans",),
        "kpis": ("loans", "pools", "recalls", "shorts", "locates"),
        "allocation": ("loans", "stock"),
        "rehypothecation": ("loans", "debits", "margin pools", "shorts"),
    }
    return {("KPI", name): need for name, need in kpis.items()} | {("chapter", n): need for n, need in chapters.items()}


def _lacking(book):
    """What the book does not say, in a reader's words."""
    loans, positions = book.loans, book.positions
    unknown = book.pools.loc[book.pools["pool_type"] == "unknown", "pool_id"]
    recorded = loans.loc[loans["event"].isin(["recall", "buy-in"]), "pool_id"]
    unrecorded = unknown[~unknown.isin(recorded)]
    supply = book.inventory[book.inventory["quantity_available"] > 0]
    lent = loans[loans["pool_id"].isin(unrecorded)]
    clients = book.clients.loc[book.clients["risk_weight"].isna(), "client_id"]
    idle = supply["pool_id"].isin(unknown)
    own = supply["pool_id"].isin(book.pools.loc[book.pools["pool_type"] == "internal", "pool_id"])
    facts = {
        "loans": (loans.empty, "loans: no loan"),
        "stock": (loans.empty and supply.empty, "loans and inventory: nothing on loan or available"),
        "ages": ((loans["event"] == "opening").any(), "loans: since when the opening loans have been open"),
        "pools": (loans["pool_id"].isin(unknown).any(), "pools: the kind of pool the loans are from"),
        "recalls": (len(lent), "loans: recalls, of the pools whose kind is not known"),
        "recalls returned": (lent["event"].isin(RETURNS).any(), "loans: buy-ins, of the pools whose kind is not known"),
        "indicative": (book.closes["indicative_fee"].isna().any(), "closes: indicative_fee on every row"),
        "rates": (
            own.any() and book.rates[["benchmark_rate", "funding_rate"]].isna().any(axis=None),
            "rates: benchmark_rate and funding_rate on every trade date",
        ),
        "idle pools": (idle.any(), "pools: the kind of pool the idle shares are in"),
        "weights": (loans["client_id"].isin(clients).any(), "clients: risk_weight"),
        "shorts": (not (positions["side"] == "short").any(), "positions: the clients' short positions"),
        "volume": (not (book.securities["average_daily_volume"] > 0).any(), "securities: average_daily_volume"),
        "locates": (book.locates.empty, "locates: no request"),
        "debits": (book.debits.empty, "debits: the margin clients' net debits"),
        "margin pools": (
            not (book.pools["pool_type"] == "rehypothecation").any(),
            "pools: a rehypothecation pool for every margin client",
        ),
    }
    return {name: words for name, (is_missing, words) in facts.items() if is_missing}
