"""Internal links of the built book, read from its HTML: every target file and anchor exists."""

from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

HTML = Path(__file__).parents[2] / "_build" / "html"
PAGES = sorted(page for folder in ("book", "notebooks") for page in HTML.glob(f"{folder}/**/*.html"))


@cache
def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path):
    return {tag["id"] for tag in soup(path).find_all(id=True)} | {""}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HTML)))
def test_every_internal_link_leads_somewhere(page):
    broken = []
    for link in soup(page).find_all("a", href=True):
        parts = urlsplit(link["href"])
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.exists() or (target.suffix == ".html" and unquote(parts.fragment) not in anchors(target)):
            broken.append(link["href"])
    assert broken == []


def test_the_book_is_built():
    assert PAGES, "the book is not built: run make book"
