"""`mmlib sweep`: a chapter at every point of a grid of its parameters."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmlib import _notebooks
from mmlib.cli import files, run
from mmlib.cli.ending import by_signal, refuse, unbroken
from mmlib.cli.simulate import picture

if TYPE_CHECKING:
    from pandas import DataFrame


def sweep(
    chapter: Annotated[str, typer.Argument(help="A chapter, like glft or market_making/glft, or a notebook's path.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME GRID", help="Values of a parameter; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="F.parquet", help="By default the chapter's name, in this folder."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of this machine; by default one a core, fewer for few runs.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT", help="A Dask cluster instead of this machine; by default that of mmlib.toml."
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds after which a run is killed; its row says so.")
    ] = None,
    paired: Annotated[bool, typer.Option("--zip", help="Pair the grids instead of crossing them.")] = False,
    render: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Also keep K runs, spread over the grid, as notebooks F-ROW.ipynb."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="F.png", help="Also draw the results over one or two swept parameters.")
    ] = None,
) -> None:
    """Run a chapter at every point of a grid, and keep one table of its results.

    \b
    A grid is one of
      0.05:0.5:10       10 values from 0.05 to 0.5, both included
      log:0.1:10:5      5 values, evenly spaced in the logarithm
      0.2,0.3,0.4       these (also texts, and true,false)
      [[0.1],[0.1,0.2]] lists, as JSON, for a parameter that is a list
      0.2               the same in every run

    Grids are crossed, the last changing first. `mmlib chapters` lists parameters.

    Interrupted or killed, the same command goes on where it was, and ends with the same bytes: finished runs are in
    F.parquet.journal until the table is written. A run that fails is a row with its error, and the exit code is then 1.

    \b
    mmlib sweep glft -p gamma 0.05:0.5:10 -p sigma 1,2,3 -o glft.parquet --plot glft.png
    mmlib sweep glft -p gamma log:0.01:1:200 --scheduler tcp://host:8786 --timeout 120

    Each worker of a cluster must have this version of mmlib; `dask worker` may have any number of threads.
    """
    name, path = _notebooks.find(chapter)
    notebook = _notebooks.read(path)
    declared = _notebooks.parameters(path, notebook)
    from mmlib import settings
    from mmlib._sweep import grid

    given = _given(name, declared, parameter or [])
    chosen = grid.checked(name, declared, given, paired)
    if workers is None and scheduler is None:
        scheduler = settings.read().scheduler or None
    if workers is not None and scheduler is not None:
        refuse("--workers is for this machine, and --scheduler for a cluster, which has its own: give one of them")
    if timeout is not None and not 0 < timeout < float("inf"):
        refuse(f"--timeout must be > 0 and finite, in seconds; got {timeout}")
    if plot is not None and len(chosen.swept) not in (1, 2):
        refuse(f"--plot draws results over one or two swept parameters; got {len(chosen.swept)}")
    output = Path(f"{path.stem}.parquet") if output is None else output
    if output.suffix != ".parquet":
        refuse(f"F.parquet must end in .parquet; got {str(output)!r}")
    target = files.target(output)
    drawing = plot and picture(plot)
    typer.echo(_announced(name, chosen))
    with by_signal():
        from mmlib import sweep

        warnings.showwarning = lambda message, *_: typer.echo(f"mmlib: {message}", err=True)
        try:
            table = sweep.run(
                str(path) if chapter.endswith(".ipynb") else name,
                given,
                path=target,
                paired=paired,
                timeout=timeout,
                workers=workers,
                scheduler=scheduler,
            )
        except KeyboardInterrupt:
            if Path(f"{target}.journal").exists():
                typer.echo(f"mmlib: interrupted; the same command goes on from {output}.journal", err=True)
            raise
        except (ImportError, ValueError) as error:  # no Dask, no scheduler that answers
            refuse(str(error))
        typer.echo(summary(table, list(chosen.swept)))
        written = [output]
        if plot and drawing:
            from mmlib.cli.sweep_figure import drawn

            files.save({drawing: drawn(table, list(chosen.swept))})
            written.append(plot)
        if render:
            written += _rendered(name, path, notebook, table, chosen, render, output)
    typer.echo(f"written: {', '.join(map(str, written))}")
    failed = table[table["error"] != ""]
    if len(failed):
        where = _where(table, list(chosen.swept), failed.index[0])
        refuse(f"{len(failed)} of {len(table)} runs failed; the first{where}: {failed['error'].iloc[0]}", code=1)


def _given(name, declared, pairs) -> dict[str, Any]:
    from mmlib._sweep import grid

    defaults = {parameter.name: parameter.default for parameter in declared}
    given: dict[str, Any] = {}
    for key, text in (pair.split("\0") for pair in pairs):
        if key in given:
            refuse(f"parameter {key!r} is given twice")
        given[key] = grid.read(key, defaults[key], text) if key in defaults else text
    return given


def _announced(name, chosen) -> str:
    sizes = (" with " if chosen.paired else " × ").join(f"{key} {len(values)}" for key, values in chosen.swept.items())
    return f"{len(chosen):,} run{'s' if len(chosen) > 1 else ''} of {name}" + (f": {sizes}" if sizes else "")


def summary(table: "DataFrame", swept: list[str]) -> str:
    """Smallest, median and largest of each result that is a number, and where; "" if there is none."""
    from pandas import DataFrame

    from mmlib.chapter import shown
    from mmlib.cli.sweep_figure import numbers

    rows = {}
    for name in numbers(table, swept):
        values = table[name].dropna()
        order = values.sort_values(kind="stable").index
        places = {"smallest": order[0], "median": order[(len(order) - 1) // 2], "largest": order[-1]}
        rows[name] = {
            heading: f"{shown(values[place].item())}{_where(table, swept, place)}" for heading, place in places.items()
        }
    return DataFrame.from_dict(rows, orient="index").to_string() if rows else "no run has a result that is a number"


def _where(table, swept, row) -> str:
    from mmlib.chapter import shown

    values = [(name, table[name][row]) for name in swept]
    texts = [f"{name} {shown(value.item() if hasattr(value, 'item') else value)}" for name, value in values]
    return f" at {', '.join(texts)}" if texts else ""


def _kept(cell: object, value: object) -> bool:
    """Whether the cell of a table holds the result, in the type of its column."""
    return str(cell) == str(value) or (type(value) is int and isinstance(cell, float) and cell == float(value))


def _rendered(name, path, notebook, table, chosen, count, output) -> list[Path]:
    """Executed notebooks of runs spread over those that succeeded, beside the table."""
    import nbformat

    from mmlib.chapter import read_results

    good = [int(row) for row in table.index[table["error"] == ""]]
    last = min(count, len(good)) - 1
    rows = sorted({good[round(i * (len(good) - 1) / max(last, 1))] for i in range(last + 1)})
    points = list(chosen.points())
    written = []
    for row in rows:
        executed = run.execute(name, notebook, chosen.fixed | points[row])
        found = {key: value for key, value in read_results(executed).items() if key in table.columns[:-1]}
        if not all(_kept(table[key][row], value) for key, value in found.items() if key not in chosen.swept):
            refuse(f"run {row} gives other results in a notebook than in the table, which is written", code=1)
        file = output.with_name(f"{output.stem}-{row}.ipynb")
        with unbroken():
            files.save({files.target(file): (nbformat.writes(executed) + "\n").encode()})
        written.append(file)
    return written
