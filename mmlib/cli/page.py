"""An executed notebook as one HTML page."""

import sys
from pathlib import Path
from typing import Any


def page(executed: Any, title: str) -> str:
    """The notebook as HTML that loads nothing; formulas need MathJax, which the `book` extra brings."""
    from importlib.util import find_spec

    from nbconvert import HTMLExporter

    offline = find_spec("sphinx-mathjax-offline")
    if offline is None or not offline.submodule_search_locations:
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
    text, _ = exporter.from_notebook_node(executed, {"metadata": {"name": title}, "mathjax": mathjax})
    return text
