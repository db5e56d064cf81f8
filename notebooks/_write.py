"""The one writer of committed outputs: execute notebooks in place, keep nothing that changes from run to run.

    python notebooks/_write.py [NOTEBOOK ...]     (all chapters by default)

Each notebook is written only after it ran to its end. Two runs of the same commit give the same bytes.
"""

import base64
import io
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent
#: The picture of the README is the book's: this figure of this chapter.
PICTURE = (
    "glft.ipynb",
    "fig-glft-exact",
    FOLDER.parent / "book" / "_static" / "picture.png",
)


def write(path):
    """Execute the notebook at `path` in its own folder and write it back."""
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02d}"
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if any(output.get("name") == "stderr" for output in cell.get("outputs", [])):
            raise SystemExit(
                f"{path}: {cell.id} writes to stderr; a chapter's outputs carry no warnings"
            )
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = with_palette(output.data["image/png"])
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    if path.name == PICTURE[0]:
        PICTURE[2].write_bytes(figure(notebook, PICTURE[1]))
    nbformat.write(notebook, path)


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
            return next(
                base64.b64decode(output.data["image/png"])
                for output in cell.outputs
                if "image/png" in output.get("data", {})
            )
    raise SystemExit(f"no figure named {name}")


if __name__ == "__main__":
    for chapter in [Path(argument).resolve() for argument in sys.argv[1:]] or sorted(
        FOLDER.glob("*/*.ipynb")
    ):
        print(chapter.relative_to(FOLDER.resolve()), flush=True)
        write(chapter)
