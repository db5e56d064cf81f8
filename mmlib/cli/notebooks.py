"""`mmlib chapters`: every chapter and its parameters."""

import typer

from mmlib import _notebooks


def chapters() -> None:
    """List every chapter and its parameters: name, default, meaning with unit and range.

    \b
    mmlib chapters
    """
    for name, path in _notebooks.paths().items():
        notebook = _notebooks.read(path)
        rows = [(p.name, repr(p.default), p.comment) for p in _notebooks.parameters(path, notebook)]
        typer.echo(f"{name}: {_notebooks.title(notebook)}")
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
        for parameter, default, comment in rows:
            typer.echo(f"    {parameter:{widths[0]}}  {default:{widths[1]}}  {comment}".rstrip())
        typer.echo()
