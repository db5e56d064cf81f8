"""Makes the built book self-contained: MathJax from its own folder, no third-party scripts.

- copies MathJax's TeX-to-CHTML bundle and fonts from the wheel sphinx-mathjax-offline into ``_static/mathjax``;
- drops the tags of sphinx-thebe, which the theme loads even when live code is off: its script throws on every page.
"""

import shutil
from importlib.metadata import distribution
from pathlib import Path


def copy_mathjax(app, exception):
    if exception or app.builder.format != "html":
        return
    source = Path(distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax"))
    target = Path(app.outdir) / "_static" / "mathjax"
    fonts = "output/chtml/fonts/woff-v2"
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)
    for extension in (source / "input/tex/extensions").glob("*.js"):
        (target / "input/tex/extensions").mkdir(parents=True, exist_ok=True)
        shutil.copy(extension, target / "input/tex/extensions")
    shutil.copy(source / "tex-chtml.js", target)


def drop_thebe(app, pagename, templatename, context, doctree):
    for key in ("script_files", "css_files"):
        context[key] = [
            file for file in context.get(key, []) if "thebe" not in f"{file.filename} {file.attributes}".lower()
        ]


def setup(app):
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
