"""`mmlib run`: execute a chapter with parameters, keep the executed notebook, print its results.

The cell of parameters is read first, and an unknown name or a value of the wrong type refused before a kernel starts;
then a copy is executed with the values written in as literals, never as code. An output file is replaced only by
a finished run: whole, with the mode of the file that was there, and through a link.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mmlib import _notebooks as notebooks
from mmlib.cli import files
from mmlib.cli.ending import by_signal, refuse, unbroken
from mmlib.cli.execution import execute, slowest


class Command(TyperCommand):
    """typer has no option that takes two values and repeats, so `-p NAME VALUE` is joined by a NUL before it parses."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Arguments with every `-p NAME VALUE` joined; a mistake is refused in one line."""
        if ctx.resilient_parsing:  # a shell asks what could come next
            return super().parse_args(ctx, args)
        joined, rest = [], iter(args)
        options = {"--help", *(option for parameter in self.params for option in parameter.opts if option[0] == "-")}
        for token in rest:
            if token in ("-p", "--parameter"):
                token = _joined(options, next(rest, None), next(rest, None))
            elif token.startswith("--parameter="):
                token = _joined(options, token.removeprefix("--parameter="), next(rest, None))
            elif token.startswith("-p"):
                token = _joined(options, token.removeprefix("-p"), next(rest, None))
            joined.append(token)
        try:
            return super().parse_args(ctx, joined)
        except Exception as error:  # click's UsageError, of which typer may have a copy of its own
            if not hasattr(error, "format_message"):
                raise
            refuse(f"{error.format_message().rstrip('.')}; see mmlib {ctx.info_name} --help")


def _joined(options: set[str], name: str | None, value: str | None) -> str:
    if name is not None and "=" in name:
        refuse(f"-p takes a NAME and a VALUE, as in -p {name.replace('=', ' ', 1)}; got {name!r}")
    if name is None or value is None or value in options:
        refuse("-p takes a NAME and a VALUE" + (f"; got {name} and no value" if name else ""))
    return f"--parameter={name}\0{value}"


def _chapters(incomplete: str) -> list[str]:
    """What a shell may complete."""
    return [name for path in notebooks.paths() for name in (path.split("/")[1], path) if name.startswith(incomplete)]


def run(
    chapter: Annotated[
        str,
        typer.Argument(
            help="A chapter, like glft or market_making/glft, or a notebook's path.", autocompletion=_chapters
        ),
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Set a parameter; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT.ipynb", help="By default the chapter's file name, in this folder."),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Also write OUT.html, a page that needs no network.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Also print the five cells that took longest.")] = False,
) -> None:
    """Execute a chapter with parameters, print its results and keep the executed notebook.

    A list is given as JSON, true or false as such. Chapters themselves are never overwritten.

    \b
    mmlib run glft -p gamma 0.05 -p sigma 3 -o mine.ipynb --html
    """
    name, path = notebooks.find(chapter)
    notebook = notebooks.read(path)
    given = notebooks.values(name, notebooks.parameters(path, notebook), parameter or [])
    output = Path(path.name) if output is None else output
    if output.suffix != ".ipynb":
        refuse(f"OUT must end in .ipynb; got {str(output)!r}")
    targets = {file: _target(file, path) for file in ([output, output.with_suffix(".html")] if html else [output])}
    with by_signal():
        executed = execute(name, notebook, given)
        import nbformat

        from mmlib.chapter import read_results, shown

        texts = {output: nbformat.writes(executed) + "\n"}
        if html:
            from mmlib.cli.page import page

            texts[output.with_suffix(".html")] = page(executed, name)
    with unbroken():
        files.save({targets[file]: text.encode() for file, text in texts.items()})
    results = read_results(executed)
    width = max(map(len, results), default=0)
    for result, value in results.items():
        typer.echo(f"{result:{width}}  {shown(value)}")
    if profile:
        for seconds, number, line in slowest(executed):
            typer.echo(f"{seconds:8.3f} s  cell {number}: {line}")
    typer.echo(f"written: {', '.join(map(str, targets))}")


def _target(file: Path, notebook: Path) -> Path:
    """The file that `file` is or leads to; refused if it may not be written, or is a chapter."""
    target = files.target(file)
    if target == notebook:
        refuse(f"{file} is the notebook to run; name another file with -o")
    if notebooks.NOTEBOOKS in target.parents:
        refuse(f"{file} would lie among the book's chapters; name a file elsewhere with -o")
    return target
