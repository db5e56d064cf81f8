"""The page on which `make lab` opens: the chapters in reading order, under their own titles.

    python notebooks/_contents.py

Written anew at every start into contents.ipynb, which git ignores.
"""

import re
from pathlib import Path

import nbformat
import yaml

from mmlib import _notebooks as notebooks

FOLDER = Path(__file__).resolve().parent


def contents():
    """The contents as Markdown: parts and titles in the order of book/_toc.yml."""
    toc = yaml.safe_load((FOLDER.parent / "book" / "_toc.yml").read_text("utf-8"))
    text = ["# Inventory in trading", "Open a chapter, then *Run → Run All Cells*."]
    for part in toc["parts"]:
        files = [chapter["file"] for chapter in part["chapters"]]
        files = [file for file in files if file.startswith("notebooks/")]
        if files:
            text += [f"## {part['caption']}", "\n".join(map(line, files))]
    return "\n\n".join(text)


def line(file):
    """A chapter's title, linked, with the question that it answers."""
    path = FOLDER.parent / f"{file}.ipynb"
    chapter = notebooks.read(path)
    text = "\n".join(
        cell["source"] for cell in chapter["cells"] if cell["cell_type"] == "markdown"
    )
    question = re.search(r"\*\*Question\.\*\*\s+((?:[^?]|\?(?!\s))+\?)", text)
    asked = " ".join(question[1].replace("\n>", " ").split()) if question else ""
    link = path.relative_to(FOLDER).as_posix()
    return f"- [{notebooks.title(chapter)}]({link})" + (
        f"  \n  {asked}" if asked else ""
    )


if __name__ == "__main__":
    cell = nbformat.v4.new_markdown_cell(contents(), id="contents")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(notebook, FOLDER / "contents.ipynb")
