"""The chapters as files: which there are, the parameters that each declares, and values for them.

A chapter is a notebook whose cell tagged `parameters` holds plain literals, each with a comment that says what it is.
What is not there, or not as it should be, is `Refused` in one line.
"""

import ast
import difflib
import io
import json
import os
import tokenize
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


class Refused(ValueError):
    """No such chapter, parameter or value; a command says it in one line and ends."""


class Parameter(NamedTuple):
    """A parameter of a chapter: its name, its default and the comment beside it."""

    name: str
    default: object
    comment: str


def paths() -> dict[str, Path]:
    """Paths of the chapters by name, `part/name`."""
    found = sorted(NOTEBOOKS.glob("[!.]*/[!.]*.ipynb"))
    if not found:
        raise Refused(
            f"no chapters at {NOTEBOOKS}: mmlib was installed without the book; clone its repository, run"
            " `pip install -e .` there, or give `run` the path of a notebook"
        )
    return {f"{path.parent.name}/{path.stem}": path for path in found}


def find(chapter: str) -> tuple[str, Path]:
    """Name and path of a chapter from what the user typed."""
    if chapter.endswith(".ipynb"):
        if not os.path.isfile(chapter):
            raise Refused(f"no notebook at {chapter}")
        return Path(chapter).stem, Path(chapter).resolve()
    chapters = paths()
    matches = [name for name in chapters if chapter in (name, name.split("/")[1])]
    if len(matches) == 1:
        return matches[0], chapters[matches[0]]
    if matches:
        raise Refused(f"{chapter!r} could be any of {', '.join(matches)}")
    known = {name.split("/")[1]: name for name in chapters} | {name: name for name in chapters}
    raise Refused(f"no chapter {chapter!r}{did_you_mean(chapter, known)}; `mmlib chapters` lists them")


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
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Refused(f"{path} is not a notebook") from None
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
        raise Refused(f"the cell tagged parameters of {path} is not a list of `name = literal`") from None
    return found


def values(chapter: str, parameters: list[Parameter], pairs: list[str]) -> dict[str, Any]:
    """Values by name from `NAME\\0VALUE` texts, each of the type of its parameter's default."""
    defaults = {parameter.name: parameter.default for parameter in parameters}
    found: dict[str, Any] = {}
    for name, text in (pair.split("\0") for pair in pairs):
        if name not in defaults:
            has = f"; it has {', '.join(defaults)}" if defaults else ""
            raise Refused(f"{chapter} has no parameter {name!r}{did_you_mean(name, defaults)}{has}")
        if name in found:
            raise Refused(f"parameter {name!r} is given twice")
        found[name] = convert(name, defaults[name], text)
    return found


def convert(name: str, default: object, text: str) -> Any:
    """The value that `text` says, of the type of `default`."""
    kinds: dict[type, tuple[str, Callable[[str], Any]]] = {
        bool: ("true or false", lambda text: {"true": True, "false": False}[text.lower()]),
        int: ("a whole number", int),
        float: ("a number", float),
        str: ("a text", str),
        list: (f"a list as JSON, like {json.dumps(default, default=str)}", lambda text: _json_like(default, text)),
    }
    if type(default) not in kinds:
        raise Refused(f"{name} cannot be set from the command line: its default is {default!r}")
    kind, parse = kinds[type(default)]
    try:
        value = parse(text)
        json.dumps(value, ensure_ascii=False).encode()  # bytes that are not UTF-8 cannot be kept in a notebook
        return value
    except (ValueError, KeyError, RecursionError):
        raise Refused(f"{name} must be {kind}; got {text!r}") from None


def _json_like(default: object, text: str) -> Any:
    value = json.loads(text)
    if not alike(value, default):
        raise ValueError
    return value


def alike(value: object, default: object) -> bool:
    """Whether `value` has the type of `default`; elements of a list those of any element of it, if it has some."""
    if isinstance(default, list):
        return isinstance(value, list) and all(not default or any(alike(v, d) for d in default) for v in value)
    return type(value) is type(default) or (type(value), type(default)) == (int, float)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to end a refusal of `word` with; "" where nothing known is close."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
