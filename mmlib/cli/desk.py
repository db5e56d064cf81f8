"""`mmlib desk`: a desk's files to tickets, KPIs and one page, in one command."""

from pathlib import Path
from typing import Annotated

import typer

from mmlib.cli.ending import by_signal, refuse


def desk(
    folder: Annotated[str, typer.Argument(help="CSV files of a desk (two exports or eleven tables), or parquet:DIR.")],
    date: Annotated[str, typer.Option("--date", metavar="YYYY-MM-DD", help="By default the last trade date.")] = "",
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the report.")] = Path(
        "report"
    ),
    rerate: Annotated[float, typer.Option(help="Smallest change of a fee worth a ticket, bp a year.")] = 1.0,
) -> None:
    """Write the morning report of a stock-loan desk: tickets.csv, kpis.csv and report.html.

    The tickets turn the loans of the day's close into its best allocation. The page needs no network.
    """
    with by_signal():
        try:
            from mmlib.stock_loan import report, sources

            book = sources.open(folder)
        except OSError as error:
            refuse(f"cannot read {folder}: {error.strerror or error}")
        except (ValueError, ImportError) as error:
            refuse(str(error))
        try:
            found = report.write(book, date or book.dates[-1], output, rerate=rerate)
        except OSError as error:
            refuse(f"cannot write {output}: {error.strerror or error}")
        except (ValueError, ImportError) as error:
            refuse(str(error))
    typer.echo(f"written: {found}, tickets.csv, kpis.csv")
