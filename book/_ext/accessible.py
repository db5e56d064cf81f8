"""Small repairs of the built pages, for readers who use a keyboard or a screen reader.

What scrolls can be focused, the empty corner of a table is no header, entries of the bibliography are list items.
"""

import re


def repair(app, pagename, templatename, context, doctree):
    if body := context.get("body"):
        body = re.sub(r"<table\b", '<table tabindex="0"', body)
        body = re.sub(r"<th\b([^>]*)>(?:\s|</?p>)*</th>", r"<td\1></td>", body)
        body = body.replace('<div class="math ', '<div tabindex="0" class="math ')
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    app.connect("html-page-context", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
