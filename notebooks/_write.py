"""The one writer of committed outputs: what any x86-64 processor gives, and nothing that changes from run to run.

    python notebooks/_write.py [NOTEBOOK ...]     (all chapters by default)

Each notebook is executed twice, as this processor computes and as an old one does
(`_old_processor`); where a text differs, or a figure by more than `_pixels` allows,
nothing is written and the cell and line are named. Two runs of the same commit give the
same bytes.
"""

import base64
import io
import os
import sys
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

import _old_processor
import _pixels
from mmlib import chapter

FOLDER = Path(__file__).resolve().parent
#: The picture of the README is the book's: this figure of this chapter.
PICTURE = (
    "glft.ipynb",
    "fig-glft-exact",
    FOLDER.parent / "book" / "_static" / "picture.png",
)


def write(path):
    """Execute the notebook at `path` in its own folder, twice, and write it back."""
    notebook = executed(path, os.environ)
    old = executed(path, os.environ | _old_processor.environment())
    if found := differences(notebook, old):
        raise SystemExit("\n".join([f"{path}: not written", *found]))
    keep_common_digits(notebook, old)
    for output in outputs(notebook):
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = with_palette(output.data["image/png"])
    if path.name == PICTURE[0]:
        PICTURE[2].write_bytes(figure(notebook, PICTURE[1]))
    nbformat.write(notebook, path)


def executed(path, environment):
    """The notebook at `path` with its outputs, run in a kernel with `environment`."""
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02d}"
    client = NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env=dict(environment))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if any(output.get("name") == "stderr" for output in cell.get("outputs", [])):
            raise SystemExit(
                f"{path}: {cell.id} writes to stderr; a chapter's outputs carry no warnings"
            )
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    return notebook


def outputs(notebook):
    """All outputs of a notebook, in order."""
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def differences(notebook, old):
    """Where the outputs of two runs differ, a text each; [] if nowhere."""
    found = []
    for one, other in zip(notebook.cells, old.cells, strict=True):
        if kinds(one) != kinds(other):
            found.append(
                f"{one.id}: {kinds(one)} here, {kinds(other)} on an old processor"
            )
            continue
        for figure, old_figure in zip(pictures(one), pictures(other), strict=True):
            if difference := _pixels.difference(figure, old_figure):
                found.append(f"{one.id}, figure: {difference}")
        for number, (line, old_line) in enumerate(
            zip_longest(lines(one), lines(other)), start=1
        ):
            if line != old_line:
                found.append(
                    f"{one.id}, line {number} of its output:"
                    f"\n    here               {line}\n    on an old processor {old_line}"
                )
                break
    return found


def kinds(cell):
    """What a cell's outputs are, in order."""
    return [
        (output.output_type, *sorted(output.get("data", {})))
        for output in cell.get("outputs", [])
    ]


def pictures(cell):
    """The PNG images of a cell's outputs, as base64 text."""
    return [
        output.data["image/png"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]


def lines(cell):
    """The lines of a cell's outputs but for its images: what strict nbval compares."""
    found = []
    for output in cell.get("outputs", []):
        for mime, text in {
            "text": output.get("text", ""),
            **output.get("data", {}),
        }.items():
            if mime != "image/png":
                found += text.splitlines() if isinstance(text, str) else [repr(text)]
    return found


def keep_common_digits(notebook, old):
    """Of the stored results' digits keep those that both runs agree on, 8 at most."""
    for one, other in zip(outputs(notebook), outputs(old), strict=True):
        stored = one.get("metadata", {}).get(chapter.RESULTS, {})
        for name, value in stored.items():
            if isinstance(value, float):
                old_value = other.metadata[chapter.RESULTS][name]
                stored[name] = common(value, old_value)


def common(value, other):
    """`value` to the most significant digits, of 8 to 4, at which `other` is the same."""
    texts = [(f"{value:.{n}g}", f"{other:.{n}g}") for n in range(8, 3, -1)]
    return float(next((a for a, b in texts if a == b), texts[-1][0]))


def with_palette(image):
    """The PNG `image`, as base64 text, in at most 128 colours: a third of the size, and looks the same."""
    figure = (
        Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB").quantize(128)
    )
    file = io.BytesIO()
    figure.save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def figure(notebook, name):
    """PNG bytes of the figure called `name` in its cell's metadata."""
    for cell in notebook.cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            return base64.b64decode(pictures(cell)[0])
    raise SystemExit(f"no figure named {name}")


if __name__ == "__main__":
    for notebook_path in [
        Path(argument).resolve() for argument in sys.argv[1:]
    ] or sorted(FOLDER.glob("[!.]*/[!.]*.ipynb")):
        print(notebook_path.relative_to(FOLDER), flush=True)
        write(notebook_path)
