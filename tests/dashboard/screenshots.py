"""Picture every page of the dashboard, light and dark, wide and narrow.

    python -m tests.dashboard.screenshots [DIRECTORY]

Look at the pictures after each change of a template or of the style sheet.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.dashboard.browser import chromium
from tests.dashboard.conftest import HOSTILE, Shop, history, served
from typedq.dashboard import asgi
from typedq.dashboard.view import PAGES
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTHS = {"wide": 1200, "narrow": 360}


def main(directory: Path) -> None:
    """Fill a server with one of everything and picture each page."""
    directory.mkdir(parents=True, exist_ok=True)
    with OwnServer() as server, tempfile.TemporaryDirectory() as place, chromium() as browser:
        shop = Shop(server.url, "shop")
        (id,) = shop.bury(HOSTILE, f"Error: {HOSTILE}")
        shop.fill()
        schemas = Path(place, "schemas")
        history(schemas, shop.old)
        history(schemas, shop.app)
        site = asgi(shop.app, schemas=schemas, token="x" * 16, write=True)
        pages = {path.strip("/") or "now": path for path in PAGES}
        pages |= {"contract": "/contracts/ship", "deploy-plan": "/deploy?path="}
        pages |= {"form": "/enqueue?task=ship", "confirm": "/dead/confirm?act=retry&task=report"}
        waiting = shop.report.enqueue("weekly").id
        pages |= {"waiting": f"/message?id={waiting}&payload=1"}
        pages |= {"parked-group": f"/parked?queue=high&contract={shop.old_contract}"}
        pages |= {"letter": f"/dead/{id}?payload=1", "group": "/dead?task=report", "absent": "/x"}
        with served(site) as url:
            for scheme in ("light", "dark"):
                for width in WIDTHS:
                    picture(browser, url, pages, directory, (scheme, width))
        shop.close()
    sys.stdout.write(f"{len(list(directory.glob('*.png')))} pictures in {directory}\n")


def picture(
    browser: Browser, url: str, pages: dict[str, str], directory: Path, kind: tuple[str, str]
) -> None:
    """Picture all pages in one colour scheme and width."""
    size = {"width": WIDTHS[kind[1]], "height": 700}
    context = browser.new_context(viewport=size, color_scheme=kind[0])  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    page.screenshot(path=directory / f"login-{'-'.join(kind)}.png")
    page.get_by_label("Token").fill("x" * 16)
    page.get_by_role("button").click()
    for name, path in pages.items():
        page.goto(url + path)
        page.screenshot(path=directory / f"{name}-{'-'.join(kind)}.png", full_page=True)
    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"))
