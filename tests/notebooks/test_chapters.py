"""What holds for every committed chapter, read from its file: nbval compares outputs only where these hold."""

import json
import re
from pathlib import Path

import _contents
import nbformat
import pytest
import yaml

from mmlib import chapter

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("[!.]*/[!.]*.ipynb"))
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def code_cells(path):
    return [
        cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code" and cell.source.strip()
    ]


@each_chapter
def test_every_code_cell_was_run_in_order(path):
    """Without execution counts strict nbval runs a cell but compares nothing."""
    assert [cell.execution_count for cell in code_cells(path)] == list(range(1, len(code_cells(path)) + 1))


@each_chapter
def test_the_first_code_cell_holds_the_parameters_and_the_last_the_results(path):
    cells = code_cells(path)
    assert cells[0].metadata.get("tags") == ["parameters"]
    assert all(re.match(r"\w+ = .+  # .+", line) for line in cells[0].source.splitlines()), "name = literal  # meaning"
    assert any("chapter.validating()" in cell.source for cell in cells[1:3])
    assert "chapter.results(" in cells[-1].source
    assert chapter.read_results(nbformat.read(path, as_version=4)) != {}


@each_chapter
def test_the_anatomy_is_kept(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    assert text.startswith("# ")
    for part in ("**Question.**", "*You will be able to*", "**Check", "What breaks it", "Exercises", "References"):
        assert part in text, part
    assert text.count("<details>") == text.count("</details>") >= 1


@each_chapter
def test_cells_are_short_and_files_small(path):
    assert max(len(cell.source.splitlines()) for cell in code_cells(path)) <= 25
    assert path.stat().st_size <= 300_000


@each_chapter
def test_outputs_carry_no_warning_no_error_and_no_path(path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    assert re.search(r"/(home|root|tmp|work|usr)/", json.dumps(outputs)) is None


@each_chapter
def test_every_figure_has_alt_text_and_a_caption(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            shown = cell.metadata.get("mystnb", {})
            assert len(shown.get("image", {}).get("alt", "")) > 20
            assert len(shown.get("figure", {}).get("caption", "")) > 20


@each_chapter
def test_only_the_writer_touched_the_file(path):
    notebook = nbformat.read(path, as_version=4)
    assert [cell.id for cell in notebook.cells] == [f"cell-{n:02d}" for n in range(1, len(notebook.cells) + 1)]
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all("execution" not in cell.metadata for cell in notebook.cells)


@each_chapter
def test_markdown_reads_well_in_jupyterlab_too(path):
    """No MyST role, directive, target or comment: JupyterLab shows them as they are typed. Code spans may hold any."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"^(```|~~~)[\w ]*\n.*?^\1\s*$", "", cell.source, flags=re.MULTILINE | re.DOTALL)
            raw = re.findall(r"\{[\w:+.-]+\}`|^\s*:::|^\s*```\{|^\([\w-]+\)=$|^% ", text, flags=re.MULTILINE)
            assert raw == [], cell.id


@each_chapter
def test_cells_that_only_draw_or_validate_are_folded(path):
    for cell in code_cells(path):
        if "plt.show()" in cell.source or "chapter.validating()" in cell.source:
            assert "hide-input" in cell.metadata.get("tags", []), cell.id


@each_chapter
def test_no_number_is_printed_whose_sign_may_be_that_of_a_zero(path):
    """`:+.1f` of an exact zero is +0.0 on one processor and -0.0 on another; `:z` or no plus keeps it."""
    for cell in code_cells(path):
        assert re.findall(r""":[^\w\s{}"']{0,2}\+[\d,._]*[a-zA-Z%]?\}|%\+""", cell.source) == [], cell.id
        for output in cell.outputs:
            text = "".join([output.get("text", ""), output.get("data", {}).get("text/plain", "")])
            assert re.findall(r"(?<![\w.])[-+]0(?:\.0*)?(?![\w.])", text) == [], cell.id


@each_chapter
def test_bid_and_ask_have_their_colours_by_name(path):
    """No colour of its own for a side: plotting.BID and plotting.ASK."""
    for cell in code_cells(path):
        assert re.findall(r"""color=["'](?:C\d|#\w+|red|blue|green)["']""", cell.source) == [], cell.id


def test_the_book_has_every_chapter():
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    listed = {entry["file"] for part in toc["parts"] for entry in part["chapters"]}
    assert {str(path.relative_to(ROOT).with_suffix("")) for path in CHAPTERS} <= listed


def test_the_page_that_jupyterlab_opens_on_links_every_chapter_in_reading_order():
    """Links read from the page itself; the order from the table of contents."""
    linked = re.findall(r"\]\((.+?)\.ipynb\)", _contents.contents())
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    listed = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    assert linked == [file.removeprefix("notebooks/") for file in listed if file.startswith("notebooks/")]
    assert set(linked) == {str(path.relative_to(ROOT / "notebooks").with_suffix("")) for path in CHAPTERS}


@each_chapter
def test_the_contents_show_the_chapters_question(path):
    line = _contents.line(str(path.relative_to(ROOT).with_suffix("")))
    assert line.startswith("- [") and line.endswith("?")


def test_the_picture_of_the_readme_is_the_books():
    """It is cut from a chapter's output by the program that writes outputs."""
    import base64

    images = {
        base64.b64decode(output["data"]["image/png"])
        for path in CHAPTERS
        for cell in code_cells(path)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    }
    assert (ROOT / "book" / "_static" / "picture.png").read_bytes() in images
