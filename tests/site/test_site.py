"""The documentation site builds strictly, each link leads somewhere, and a browser shows it."""

from __future__ import annotations

import html
import http.server
import re
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import expect

from tests.dashboard.browser import chromium, executable
from tests.site import build as module

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
if TYPE_CHECKING:
    from playwright.sync_api import ViewportSize

WIDE: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 320, "height": 800}
# What is wider than the page, unless something around it scrolls by itself.
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"

LINKED = re.compile(r'<(a|link|script|img)\b[^>]*?\s(?:href|src)="([^"]*)"')
ANCHOR = re.compile(r'<[^>]*?\sid="([^"]*)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    directory = tmp_path_factory.mktemp("site")
    assert module.build(directory) == 0
    return directory / "html"


class Links:
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, page: Path) -> None:
        text = page.read_text("utf-8")
        found = [(tag, html.unescape(link)) for tag, link in LINKED.findall(text)]
        self.links = [link for tag, link in found if tag == "a"]
        self.loads = [link for tag, link in found if tag != "a"]
        self.anchors = {*ANCHOR.findall(text)}


def broken(site: Path) -> Iterator[str]:
    """Yield each link of a site that leads nowhere, and each thing that another host would send."""
    pages = {page: Links(page) for page in site.rglob("*.html")}
    for page, found in pages.items():
        where = page.relative_to(site).as_posix()
        for link in found.links + found.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in found.loads:
                    yield f"{where}: loads {link}"
                continue
            start = site if parts.path.startswith("/") or page.name == "404.html" else page.parent
            target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{where}: {link}: there is no such page"
            elif parts.fragment and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where}: {link}: that page has no such anchor"


def test_each_link_of_the_site_leads_somewhere_on_it(site: Path) -> None:
    assert list(broken(site)) == []


def test_broken_links_and_other_hosts_are_found(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<p id="here"><a href="../#gone"></a>')
    (tmp_path / "index.html").write_text(
        '<a href="b/#here"></a><a href="c/"></a><script src="https://cdn.example/x.js"></script>'
    )
    assert sorted(broken(tmp_path)) == [
        "b/index.html: ../#gone: that page has no such anchor",
        "index.html: c/: there is no such page",
        "index.html: loads https://cdn.example/x.js",
    ]


def test_each_page_has_its_place_in_the_navigation() -> None:
    nav = tomllib.loads(module.CONFIG.read_text("utf-8"))["project"]["nav"]

    def pages(entries: list[dict[str, object]]) -> Iterator[str]:
        for entry in entries:
            for value in entry.values():
                yield from pages(value) if isinstance(value, list) else [str(value)]

    listed = sorted(pages(nav))
    written = {path.name for path in (ROOT / "docs").glob("*.md")}
    wanted = sorted(written | {"changelog.md", "contributing.md"})
    assert listed == wanted, f"give it its place in {module.CONFIG.name}"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(site))
    ) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.process
@pytest.mark.skipif(executable() is None, reason="no Chromium: apt-get install chromium")
def test_a_browser_searches_and_reads_it_wide_and_narrow(site: Path, url: str) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport=WIDE)
        requests, wrong = list[str](), list[str]()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(url)
        page.keyboard.press("/")
        page.get_by_role("combobox", name="Search").fill("upcaster")
        page.get_by_role("listbox").get_by_text("Contracts over time").first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Contracts over time")
        assert wrong == []
        assert {each for each in requests if not each.startswith((url, "data:", "blob:"))} == set()
        page.close()
        # A page that does not need to scroll sideways when narrow does not when wide.
        page = browser.new_context(java_script_enabled=False, viewport=NARROW).new_page()
        for path in sorted(site.glob("*/index.html")):
            page.goto(f"{url}/{path.parent.name}/")
            assert not page.evaluate(TOO_WIDE), path.parent.name
        page.set_viewport_size(WIDE)
        assert not page.evaluate(TOO_WIDE)
