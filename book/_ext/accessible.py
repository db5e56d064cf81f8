"""Small repairs of the built pages: what scrolls can be focused, and entries of the bibliography are list items."""

import re


def repair(app, pagename, templatename, context, doctree):
    if body := context.get("body"):
        body = re.sub(r"<table\b", '<table tabindex="0"', body)
        body = body.replace('<div class="math ', '<div tabindex="0" class="math ')
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    app.connect("html-page-context", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
