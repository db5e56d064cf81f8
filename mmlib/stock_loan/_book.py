"""What a book is, without the checks it passes (`tables` has those, and the meaning of its columns)."""

from dataclasses import dataclass

import pandas as pd

from mmlib.textfiles import FileError


class TableError(FileError):
    """A table breaks a rule; the message names the table or file, the column, the first bad rows and how many."""


@dataclass(frozen=True)
class Book:
    """The eleven tables: DataFrames with the columns of `COLUMNS`, in that order, sorted by `KEYS`.

    `notes` are sentences: what was assumed where the files did not say it.
    """

    securities: pd.DataFrame
    closes: pd.DataFrame
    rates: pd.DataFrame
    clients: pd.DataFrame
    debits: pd.DataFrame
    pools: pd.DataFrame
    eligibility: pd.DataFrame
    inventory: pd.DataFrame
    positions: pd.DataFrame
    loans: pd.DataFrame
    locates: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def dates(self) -> pd.DatetimeIndex:
        """The trade dates, a DatetimeIndex: those of `rates`."""
        return pd.DatetimeIndex(self.rates["trade_date"].array)
