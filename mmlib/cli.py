"""The command line: run a chapter of the book with parameters of your own.

    mmlib chapters
    mmlib run glft -p gamma 0.5 -p max_inventory 20 -o wide.ipynb --html

A chapter is a notebook whose cell tagged `parameters` holds plain literals, each with a comment that says what it is.
`run` reads that cell first and refuses an unknown name or a value of the wrong type before a kernel starts; then
papermill executes a copy with the values written in as literals, never as code. Exit codes: 0 done; 1 the chapter
refused a value or failed; 2 the command was wrong; 130 interrupted. An output file is replaced only by a finished run.
"""

import ast
import difflib
import io
import json
import logging
import os
import sys
import tokenize
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from typer.core import TyperCommand

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

app = typer.Typer(
    help="Run the chapters of the book with parameters of your own.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Parameter(NamedTuple):
    """A parameter of a chapter: its name, its default and the comment beside it."""

    name: str
    default: object
    comment: str


_OPTIONS = ("-p", "--parameter", "-o", "--output", "--html", "--help")


class _RunCommand(TyperCommand):
    """typer has no option that takes two values and repeats, so `-p NAME VALUE` is joined by a NUL before it parses."""

    def parse_args(self, ctx, args):
        joined, rest = [], iter(args)
        for token in rest:
            if token in ("-p", "--parameter"):
                name, value = next(rest, None), next(rest, None)
                if name is not None and "=" in name:
                    _refuse(f"-p takes a NAME and a VALUE, as in -p {name.replace('=', ' ', 1)}; got {name!r}")
                if value is None or value in _OPTIONS:
                    _refuse("-p takes a NAME and a VALUE" + (f"; got {name} and no value" if name else ""))
                token = f"--parameter={name}\0{value}"
            joined.append(token)
        try:
            return super().parse_args(ctx, joined)
        except Exception as error:  # click's UsageError, of which typer may have a copy of its own
            if not hasattr(error, "format_message"):
                raise
            _refuse(f"{error.format_message().rstrip('.')}; see mmlib run --help")


@app.command()
def chapters():
    """List every chapter and its parameters: name, default, meaning with unit and range."""
    for name, path in _chapters().items():
        notebook = _read(path)
        rows = [(p.name, repr(p.default), p.comment) for p in _parameters(path, notebook)]
        typer.echo(f"{name}: {_title(notebook)}")
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
        for parameter, default, comment in rows:
            typer.echo(f"    {parameter:{widths[0]}}  {default:{widths[1]}}  {comment}".rstrip())
        typer.echo()


@app.command(cls=_RunCommand)
def run(
    chapter: Annotated[str, typer.Argument(help="A chapter, like glft or market_making/glft, or a notebook's path.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Set a parameter; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT.ipynb", help="By default the chapter's file name, in this folder."),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Also write OUT.html, a page that needs no network.")] = False,
):
    """Execute a chapter with parameters, print its results and keep the executed notebook.

    A list is given as JSON, true or false as such. Chapters themselves are never overwritten.
    """
    name, path = _find(chapter)
    notebook = _read(path)
    values = _values(name, _parameters(path, notebook), parameter or [])
    output = Path(path.name) if output is None else output
    _check_output(output, path)
    written = [output, output.with_suffix(".html")] if html else [output]
    temporary = [_temporary(file) for file in written]
    try:
        executed = _execute(name, path, notebook, values)
        import nbformat

        from mmlib import chapter as stored

        nbformat.write(executed, temporary[0])
        if html:
            temporary[1].write_text(_page(executed, name), encoding="utf-8")
        for source, target in zip(temporary, written, strict=True):
            os.replace(source, target)
    finally:
        for file in temporary:
            file.unlink(missing_ok=True)
    results = stored.read_results(executed)
    width = max(map(len, results), default=0)
    for result, value in results.items():
        typer.echo(f"{result:{width}}  {stored.shown(value)}")
    typer.echo(f"written: {', '.join(map(str, written))}")


def _refuse(message, code=2):
    typer.echo(f"mmlib: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


def _chapters():
    """Paths of the chapters by name, `part/name`."""
    paths = sorted(path for path in NOTEBOOKS.glob("*/*.ipynb") if not path.name.startswith("."))
    if not paths:
        _refuse(
            f"no chapters at {NOTEBOOKS}: mmlib was installed without the book; clone its repository, run"
            " `pip install -e .` there, or give `run` the path of a notebook"
        )
    return {f"{path.parent.name}/{path.stem}": path for path in paths}


def _find(chapter):
    """Name and path of a chapter from what the user typed."""
    if chapter.endswith(".ipynb"):
        path = Path(chapter)
        if not path.is_file():
            _refuse(f"no notebook at {chapter}")
        return path.stem, path.resolve()
    paths = _chapters()
    matches = [name for name in paths if chapter in (name, name.split("/")[1])]
    if len(matches) == 1:
        return matches[0], paths[matches[0]]
    if matches:
        _refuse(f"{chapter!r} could be any of {', '.join(matches)}")
    known = {name.split("/")[1]: name for name in paths} | {name: name for name in paths}
    _refuse(f"no chapter {chapter!r}{_did_you_mean(chapter, known)}; `mmlib chapters` lists them")


def _did_you_mean(word, known):
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _read(path):
    """A notebook as plain JSON: nbformat checks more, but takes seconds to import."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
    except OSError as error:
        _refuse(f"cannot read {path}: {error.strerror}")
    except (ValueError, LookupError, TypeError):
        _refuse(f"{path} is not a notebook")
    return notebook


def _title(notebook):
    lines = (
        line for cell in notebook["cells"] if cell["cell_type"] == "markdown" for line in cell["source"].split("\n")
    )
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "")


def _parameters(path, notebook):
    """The `Parameter`s of a notebook, in order; [] if no cell is tagged `parameters`."""
    tagged = [cell["source"] for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    if not tagged:
        return []
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(tagged[0]).readline))
        comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
        found = []
        for node in ast.parse(tagged[0]).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            found.append(Parameter(target.id, ast.literal_eval(node.value), comments.get(node.end_lineno, "")))
    except (SyntaxError, tokenize.TokenError, AttributeError, ValueError):
        _refuse(f"the cell tagged parameters of {path} is not a list of `name = literal`")
    return found


def _values(chapter, parameters, pairs):
    """Values by name from `NAME\\0VALUE` texts, each of the type of its parameter's default."""
    defaults = {parameter.name: parameter.default for parameter in parameters}
    values = {}
    for name, text in (pair.split("\0") for pair in pairs):
        if name not in defaults:
            has = f"; it has {', '.join(defaults)}" if defaults else ""
            _refuse(f"{chapter} has no parameter {name!r}{_did_you_mean(name, defaults)}{has}")
        if name in values:
            _refuse(f"parameter {name!r} is given twice")
        values[name] = _convert(name, defaults[name], text)
    return values


def _convert(name, default, text):
    kinds = {
        bool: ("true or false", lambda text: {"true": True, "false": False}[text.lower()]),
        int: ("a whole number", int),
        float: ("a number", float),
        str: ("a text", str),
        list: (f"a list as JSON, like {json.dumps(default, default=str)}", lambda text: _json_like(default, text)),
    }
    if type(default) not in kinds:
        _refuse(f"{name} cannot be set from the command line: its default is {default!r}")
    kind, parse = kinds[type(default)]
    try:
        value = parse(text)
        json.dumps(value, ensure_ascii=False).encode()  # bytes that are not UTF-8 cannot be kept in a notebook
        return value
    except (ValueError, KeyError, RecursionError):
        _refuse(f"{name} must be {kind}; got {text!r}")


def _json_like(default, text):
    value = json.loads(text)
    if not _alike(value, default):
        raise ValueError
    return value


def _alike(value, default):
    """Whether `value` has the type of `default`; elements of a list those of any element of it, if it has some."""
    if isinstance(default, list):
        return isinstance(value, list) and all(not default or any(_alike(v, d) for d in default) for v in value)
    return type(value) is type(default) or (type(value), type(default)) == (int, float)


def _check_output(output, notebook):
    if output.suffix != ".ipynb":
        _refuse(f"OUT must end in .ipynb; got {str(output)!r}")
    if output.is_dir() or not output.parent.is_dir():
        _refuse(f"cannot write {output}: {'it is a folder' if output.is_dir() else 'its folder does not exist'}")
    if output.resolve() == notebook:
        _refuse(f"{output} is the notebook to run; name another file with -o")
    if NOTEBOOKS in output.resolve().parents:
        _refuse(f"{output} would lie among the book's chapters; name a file elsewhere with -o")


def _temporary(file):
    """An empty file beside `file`, which shows that its folder can be written to."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.touch()
    except OSError as error:
        _refuse(f"cannot write {file}: {error.strerror}")
    return temporary


def _execute(name, path, notebook, values):
    """The executed notebook, an nbformat node; ends the command if it cannot be executed."""
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # or every kernel prints a warning about it
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # all it says is said here
    sys.modules["rfc3987_syntax"] = None  # jsonschema does without it, and it takes seconds to import
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel

    kernel = notebook["metadata"].get("kernelspec", {}).get("name", "python3")
    try:
        return papermill.execute_notebook(
            str(path).replace("{", "{{").replace("}", "}}"),  # papermill formats paths
            None,
            values,
            kernel_name=kernel,
            language="python",
            progress_bar={"desc": name, "disable": None, "leave": False},
            extra_arguments=["--log-level=CRITICAL"],
        )
    except papermill.PapermillExecutionError as error:
        where = "" if error.ename == "BadParameter" else f"cell {error.exec_count} failed with {error.ename}: "
        _refuse(f"{name}: {where}{error.evalue}", code=1)
    except NoSuchKernel:
        _refuse(
            f"{name} needs the Jupyter kernel {kernel!r}, which is not installed; `pip install ipykernel` has python3"
        )
    except RuntimeError as error:  # the kernel died
        _refuse(f"{name}: {error} (out of memory?)", code=1)


def _page(executed, title):
    """The notebook as one HTML page that loads nothing; formulas need MathJax, which the `book` extra brings."""
    from importlib.util import find_spec

    from nbconvert import HTMLExporter

    offline = find_spec("sphinx-mathjax-offline")
    if offline is None:
        print("mmlib: formulas stay TeX in the page: `pip install mmlib[book]` brings MathJax", file=sys.stderr)
        mathjax = ""
    else:
        script = Path(offline.submodule_search_locations[0], "static", "mathjax", "tex-svg-full.js")
        mathjax = (
            "<script>MathJax = {tex: {inlineMath: [['$', '$']], tags: 'ams'}};</script>"
            f"<script>{script.read_text(encoding='utf-8')}</script>"
        )
    exporter = HTMLExporter(
        raw_template="{% extends 'lab/index.html.j2' %}{% block html_head_js %}{% endblock %}"
        "{% block html_head_js_mathjax %}{{ resources.mathjax }}{% endblock %}"
        "{% block html_head_js_mermaidjs %}{% endblock %}"
    )
    page, _ = exporter.from_notebook_node(executed, {"metadata": {"name": title}, "mathjax": mathjax})
    return page


if __name__ == "__main__":
    app()
