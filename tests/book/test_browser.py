"""The built book in a real browser: every page at desktop and phone width.

Labels are those of `plotting.style`; a figure that sets smaller ones is not noticed here.

Needs Chromium; skipped with that reason where none is found, unless MMLIB_REQUIRE_BROWSER is set.
"""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

HTML = Path(__file__).parents[2] / "_build" / "html"
PAGES = sorted(
    str(page.relative_to(HTML)) for folder in ("book", "notebooks") for page in HTML.glob(f"{folder}/**/*.html")
)
PAGES += ["search.html", "genindex.html"]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Rules that the theme itself breaks; no other violation is accepted.
THEME_RULES = {"label-content-name-mismatch", "region"}
WIDTHS = {"desktop": 1280, "phone": 390}
#: Height of a figure's smallest label in its own pixels, of which it has 144 to an inch: 12 points.
LABEL = 12 / 72 * 144

#: What to look for on a page, as JavaScript.
LOOK = """() => {
    const all = selector => [...document.querySelectorAll(selector)];
    return {
        plain: all('.math').filter(m => !m.querySelector('mjx-container')).map(m => m.textContent),
        broken: all('mjx-merror, mjx-mtext[style*=red]').map(m => m.textContent),
        noAlt: all('img').filter(i => !(i.alt || '').trim() || /[.]png$/.test(i.alt)).map(i => i.src),
        unloaded: all('img').filter(i => i.loading !== 'lazy' && i.naturalWidth === 0).map(i => i.src),
        overflow: document.documentElement.scrollWidth - window.innerWidth,
        wide: all('.bd-article table').filter(t => t.scrollWidth > t.clientWidth + 1).map(
            t => `${t.scrollWidth} px in ${t.clientWidth}: ${t.innerText.slice(0, 60)}`),
        drawn: all('.cell_output img').map(i => [i.alt.slice(0, 60), i.naturalWidth, i.clientWidth]),
    };
}"""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("MMLIB_REQUIRE_BROWSER"), reason="no Chromium on this machine"
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    assert (HTML / "index.html").exists(), "the book is not built: run make book"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "MMLIB_REQUIRE_BROWSER is set and no Chromium was found"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS, scope="module")
def page(request, browser):
    page = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900})
    yield page
    page.close()


@pytest.mark.parametrize(
    "path",
    # those of the API are large and made of docstrings: the heaviest of all, and for make deep
    [pytest.param(path, marks=[pytest.mark.deep] if path.startswith("book/api/") else []) for path in PAGES],
)
def test_page_is_whole_self_contained_and_accessible(site, page, path):
    errors, requests = [], []
    listeners = {
        "console": lambda message: message.type == "error" and errors.append(message.text),
        "pageerror": lambda error: errors.append(str(error)),
        "request": lambda request: requests.append(request.url),
        "response": lambda response: response.status >= 400 and errors.append(f"{response.status} {response.url}"),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto(f"{site}/{path}", wait_until="networkidle")
    page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every(i => i.complete)", timeout=30_000)
    if page.locator(".math").count():
        page.evaluate("MathJax.startup.promise")
    found = page.evaluate(LOOK)
    violations = {
        rule["id"]: rule["nodes"] for rule in Axe().run(page, options={"preload": False}).response["violations"]
    }
    for event, listener in listeners.items():
        page.remove_listener(event, listener)

    assert errors == []
    assert [url for url in requests if not url.startswith((site, "data:", "blob:"))] == []
    assert found["plain"] == [], "formulas not rendered"
    assert found["broken"] == [], "formulas with errors"
    assert found["noAlt"] == [], "images without alt text"
    assert found["unloaded"] == [], "images that did not load"
    assert found["overflow"] <= 0, "the page is wider than the window"
    if page.viewport_size["width"] == WIDTHS["desktop"]:
        assert found["wide"] == [], "tables wider than the column of text"
    else:
        small = [(alt, LABEL * shown / own) for alt, own, shown in found["drawn"] if LABEL * shown < 8 * own]
        assert small == [], "labels of less than 8 pixels"
    assert {rule: [n["html"] for n in nodes] for rule, nodes in violations.items() if rule not in THEME_RULES} == {}
