"""The chapters as files: which there are, and the parameters that each declares.

A chapter is a notebook whose cell tagged `parameters` holds plain literals, each with a comment that says what it is.
"""

import ast
import io
import json
import os
import tokenize
from pathlib import Path
from typing import Any, NamedTuple

import typer

from mmlib.cli.ending import did_you_mean, refuse

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


class Parameter(NamedTuple):
    """A parameter of a chapter: its name, its default and the comment beside it."""

    name: str
    default: object
    comment: str


def chapters() -> None:
    """List every chapter and its parameters: name, default, meaning with unit and range."""
    for name, path in paths().items():
        notebook = read(path)
        rows = [(p.name, repr(p.default), p.comment) for p in parameters(path, notebook)]
        typer.echo(f"{name}: {title(notebook)}")
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
        for parameter, default, comment in rows:
            typer.echo(f"    {parameter:{widths[0]}}  {default:{widths[1]}}  {comment}".rstrip())
        typer.echo()


def paths() -> dict[str, Path]:
    """Paths of the chapters by name, `part/name`."""
    found = sorted(NOTEBOOKS.glob("[!.]*/[!.]*.ipynb"))
    if not found:
        refuse(
            f"no chapters at {NOTEBOOKS}: mmlib was installed without the book; clone its repository, run"
            " `pip install -e .` there, or give `run` the path of a notebook"
        )
    return {f"{path.parent.name}/{path.stem}": path for path in found}


def find(chapter: str) -> tuple[str, Path]:
    """Name and path of a chapter from what the user typed."""
    if chapter.endswith(".ipynb"):
        if not os.path.isfile(chapter):
            refuse(f"no notebook at {chapter}")
        return Path(chapter).stem, Path(chapter).resolve()
    chapters = paths()
    matches = [name for name in chapters if chapter in (name, name.split("/")[1])]
    if len(matches) == 1:
        return matches[0], chapters[matches[0]]
    if matches:
        refuse(f"{chapter!r} could be any of {', '.join(matches)}")
    known = {name.split("/")[1]: name for name in chapters} | {name: name for name in chapters}
    refuse(f"no chapter {chapter!r}{did_you_mean(chapter, known)}; `mmlib chapters` lists them")


def read(path: Path) -> dict[str, Any]:
    """A notebook as plain JSON: nbformat checks more, but takes seconds to import."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        kernel = notebook["metadata"].get("kernelspec", {}).get("name", "")
        right = [notebook["nbformat"] == 4, type(notebook["nbformat_minor"]) is int, isinstance(kernel, str)]
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
            right += [isinstance(cell["cell_type"], str), isinstance(cell["metadata"].get("tags", []), list)]
        if not all(right):
            raise ValueError
    except OSError as error:
        refuse(f"cannot read {path}: {error.strerror}")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        refuse(f"{path} is not a notebook")
    return notebook


def title(notebook: dict[str, Any]) -> str:
    """Its first heading; "" if it has none."""
    lines = (
        line for cell in notebook["cells"] if cell["cell_type"] == "markdown" for line in cell["source"].split("\n")
    )
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "")


def parameters(path: Path, notebook: dict[str, Any]) -> list[Parameter]:
    """The `Parameter`s of a notebook, in order; [] if no cell is tagged `parameters`."""
    tagged = [cell["source"] for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    if not tagged:
        return []
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(tagged[0]).readline))
        comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
        found = []
        for node in ast.parse(tagged[0]).body:
            target: Any = node.targets[0] if isinstance(node, ast.Assign) else node.target  # type: ignore[attr-defined]
            value = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            found.append(Parameter(target.id, value, comments.get(node.end_lineno or 0, "")))
    except (SyntaxError, tokenize.TokenError, AttributeError, ValueError, RecursionError, MemoryError):
        refuse(f"the cell tagged parameters of {path} is not a list of `name = literal`")
    return found
