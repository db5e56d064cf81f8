"""Books in a tick store: an update holds the rows of some tables; a key sent again replaces its row."""

from pathlib import Path
from typing import Any

import pandas as pd

from mmlib import tick_store
from mmlib.stock_loan import tables
from mmlib.stock_loan._book import Book, TableError
from mmlib.stock_loan._schemas import COLUMNS, KEYS

NOTES, NOTE = "notes", "note"  # table and column of a book's notes
SOURCE = "book"  # what the writer calls itself; its numbers count trade dates


def write(book: Book, folder: str | Path) -> None:
    """An update a trade date; the first has every table, so that its form is known."""
    dated = [name for name in COLUMNS if "trade_date" in COLUMNS[name]]
    frames = {name: getattr(book, name) for name in COLUMNS}
    with tick_store.open(folder) as store:
        for number, date in enumerate(book.dates):
            today = {name: frames[name][frames[name]["trade_date"] == date] for name in dated}
            if number == 0:
                notes = pd.DataFrame({NOTE: pd.Series(list(book.notes), dtype="str")})
                today = frames | today | {NOTES: notes}
            sent = {name: rows.reset_index(drop=True) for name, rows in today.items() if number == 0 or len(rows)}
            store.publish(sent, source=SOURCE, number=number)
            if date < book.dates[-1]:
                store.end_of_day(f"{date:%Y-%m-%d}")


def read(folder: str | Path) -> Book:
    """The book of all updates of a store, checked.

    Raises
    ------
    TableError
        If the folder is no store, is damaged, lacks a table, or the book breaks a rule.
    """
    try:
        with tick_store.open(folder, read_only=True) as store:
            snapshot = store.snapshot()
            sent = {name: snapshot.rows(name) for name in COLUMNS}
            notes = list(snapshot.rows(NOTES)[NOTE]) if NOTES in snapshot.names else []
    except tick_store.StoreError as error:
        raise TableError(f"ticks:{folder}: {error}") from error
    frames: dict[str, Any] = {name: newest(rows, KEYS[name]).drop(columns="seq") for name, rows in sent.items()}
    for name, rows in sent.items():
        if replaced := len(rows) - len(frames[name]):
            notes.append(f"{name}: {replaced} rows were sent again later and replaced")
    return tables.check(Book(**frames, notes=tuple(notes)), {name: (f"{name} (tick store)", 0) for name in COLUMNS})


def newest(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The rows of each key's last update; a key twice within one update stays, for the check to see."""
    if not set(keys) <= set(rows) or not rows.duplicated(keys).any():
        return rows
    return rows[rows["seq"] == rows.groupby(keys, dropna=False)["seq"].transform("max")]
