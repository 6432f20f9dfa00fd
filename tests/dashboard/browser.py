"""A headless Chromium: Debian's, because a browser build of Playwright's own is a download."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str | None:
    """The path of Chromium; TYPEDQ_CHROMIUM names another one. None if there is none."""
    names = [os.environ.get("TYPEDQ_CHROMIUM") or "", *NAMES]
    return next(filter(None, map(shutil.which, filter(None, names))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that ends with the block. Without a sandbox as root, where it has none."""
    path = executable()
    assert path is not None, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            browser.close()
