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
    shortage: Annotated[float, typer.Option(help="Cost of a dollar of tomorrow's demand too few, bp a year.")] = 300.0,
    excess: Annotated[float, typer.Option(help="Cost of a dollar borrowed for nothing, bp a year.")] = 60.0,
) -> None:
    """Write the morning report of a stock-loan desk: tickets.csv, kpis.csv, forecast.csv, report.html.

    The tickets turn the loans of the day's close into its best allocation; tomorrow's demand
    and what to borrow for it are printed too. The page needs no network.

    \b
    mmlib desk my/exports --date 2025-10-02 -o report
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
            found = report.write(book, date or book.dates[-1], output, rerate=rerate, shortage=shortage, excess=excess)
        except OSError as error:
            refuse(f"cannot write {output}: {error.strerror or error}")
        except (ValueError, ImportError) as error:
            refuse(str(error))
    typer.echo(_ahead(found.with_name("forecast.csv")))
    typer.echo(f"written: {found}, tickets.csv, kpis.csv, forecast.csv")


def _ahead(path: Path) -> str:
    """Tomorrow's demand and pre-borrow of the five names that need most."""
    import pandas as pd

    table = pd.read_csv(path, keep_default_na=False, na_values={"low": [""]})
    table = table[table["error"] == ""]
    if table.empty:
        return "tomorrow's demand is not forecast: it takes 30 days with locates"
    total = f"{table['dollars'].sum():,.0f} dollars"
    lines = [f"tomorrow, shares: demand (90 % interval), free, to borrow ({total} in all)"]
    table = table[table["pre_borrow"] > 0]
    for row in table.sort_values("dollars", ascending=False, kind="stable").head(5).itertuples():
        lines.append(
            f"  {row.security:8s}{row.median:10,.0f} ({row.low:,.0f} to {row.high:,.0f}){row.free:12,.0f}"
            f"{row.pre_borrow:10,.0f}"
        )
    return "\n".join(lines)
