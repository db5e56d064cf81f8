"""`mmlib store`: what a tick store lacks, and the end of its day."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from mmlib.cli.ending import by_signal, refuse

app = typer.Typer(help="Look after a tick store.", no_args_is_help=True, rich_markup_mode=None)
Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="Folder of a tick store.")]


@app.command()
def gaps(folder: Folder) -> None:
    """Print the numbers that a source has not sent, a line a gap: source, first and last; nothing where none are.

    \b
    mmlib store gaps my/store
    """
    with _refusing(folder):
        from mmlib import tick_store

        with tick_store.open(folder, read_only=True) as store:
            found = store.gaps()
    for source, first, last in found:
        typer.echo(f"{source}  {first}" + (f" to {last}" if last > first else ""))


@app.command()
def end_of_day(
    folder: Folder, date: Annotated[str, typer.Argument(metavar="YYYY-MM-DD", help="The day that ends.")]
) -> None:
    """Close a day: what has arrived since the last one goes to the history. Broken off, it is called again.

    \b
    mmlib store end-of-day my/store 2026-01-02
    """
    with _refusing(folder):
        from mmlib import tick_store

        tick_store.open(folder, read_only=True).close()  # a store is not made by a folder's name with a slip
        with tick_store.open(folder) as store:
            files = store.end_of_day(date)
    for file in files:
        typer.echo(f"written: {file}")


@contextmanager
def _refusing(folder: str) -> Iterator[None]:
    """A block whose errors end the command in one line: 1 if the disk fails, 2 if it cannot be done."""
    with by_signal():
        try:
            yield
        except OSError as error:
            refuse(f"{folder}: {error.strerror or error}", code=1)
        except (ValueError, ImportError) as error:
            refuse(str(error), code=1 if isinstance(error.__cause__, OSError | sqlite3.OperationalError) else 2)
