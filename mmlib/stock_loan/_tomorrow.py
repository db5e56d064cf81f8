"""Tomorrow's demand of every name of a book, and what to borrow for it tonight."""

from dataclasses import replace

import numpy as np
import pandas as pd

from mmlib.stock_loan import decisions, demand, panels
from mmlib.stock_loan.allocation import Solution
from mmlib.stock_loan.tables import Book

LEVELS = (0.05, 0.5, 0.95)
COLUMNS = ("low", "median", "high", "free", "pre_borrow", "dollars", "model", "error")


def tomorrow(book: Book, date: pd.Timestamp, solution: Solution, *, shortage: float, excess: float) -> pd.DataFrame:
    """What clients will ask for on the next trade date, by name, from the locates up to `date`.

    Parameters
    ----------
    solution : allocation.Solution
        The day's allocation: what it leaves in the pools is free for tomorrow.
    shortage, excess : float
        Cost of a dollar too few and too many, bp a year: the pre-borrow is for the quantile of level
        shortage/(shortage + excess).

    Returns
    -------
    DataFrame
        Indexed by security; shares (5 %, 50 % and 95 % of demand, free, to borrow), dollars at the last close, the
        model, and why there is none; empty without locates.
    """
    level = decisions.level(shortage, excess)
    past = replace(book, locates=book.locates[book.locates["trade_date"] <= date])
    problem = solution.problem
    names = pd.Index(problem.securities, name="security")
    if past.locates.empty:
        return pd.DataFrame(columns=COLUMNS, index=names[:0])
    history = pd.DataFrame(demand.series(past)).loc[:date].reindex(columns=names)
    table = panels.forecast(history, levels=[*LEVELS, level], workers=1, progress=False).set_axis(names)
    quantiles = [f"h1_q{p:g}" for p in (*LEVELS, level)]
    low, median, high, wanted = (table[column].clip(lower=0) for column in quantiles)
    free = problem.supply.sum(1) - solution.allocation.sum((1, 2)) - solution.external.sum(1)
    more = np.ceil((wanted - free).clip(lower=0))
    found = [low, median, high, free, more, more * problem.price, table["model"], table["error"]]
    return pd.DataFrame(dict(zip(COLUMNS, found, strict=True)), index=names)
