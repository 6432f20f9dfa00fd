"""The pages in a real browser: what a person sees, by mouse and keyboard, narrow and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect

from tests.dashboard.browser import chromium, executable
from tests.dashboard.conftest import HOSTILE, Order, Shop, history, served
from typedq.dashboard import asgi
from typedq.dashboard.view import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(executable() is None, reason="no Chromium: apt-get install chromium"),
]
TOKEN = "correct-horse-battery-staple"
# Contrast of every text with what is behind it, by the formula of WCAG 2; the lowest first.
CONTRAST = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(".skip")) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0];
}"""
# Fields without a label, tables without headers or caption, pictures without text, jumps of heads.
UNNAMED = """() => [
  ...[...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
    .filter((e) => !e.labels.length && !e.ariaLabel),
  ...[...document.querySelectorAll("table")]
    .filter((e) => !e.caption || !e.querySelector("thead th[scope=col]")),
  ...[...document.querySelectorAll("tbody tr")].filter((e) => !e.querySelector("th[scope=row]")),
  ...[...document.querySelectorAll("[style], [onclick], script:not([src]), style")],
].map((e) => e.outerHTML.slice(0, 120))"""

# Labels of a narrow table that reach into the next row.
OVERLAPS = """() => [...document.querySelectorAll("td[data-head]")]
  .filter((e) => parseFloat(getComputedStyle(e, "::before").height) > e.clientHeight)
  .map((e) => e.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test on an error of a script or of the policy."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    made, wrong = context.new_page(), list[str]()
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda line: wrong.append(line.text) if _is_wrong(line) else None)
    made.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
    yield made
    context.close()
    assert not wrong


def _is_wrong(line: ConsoleMessage) -> bool:
    """Return True for an error, but not for the answer to a form that has one.

    Nor for a refresh after the server of the test has ended.
    """
    expected = ("400 (Bad Request)", "ERR_CONNECTION_REFUSED")
    return line.type == "error" and not any(text in line.text for text in expected)


def paths(shop: Shop) -> list[str]:
    (id,) = shop.bury(HOSTILE * 30, f"Error: {HOSTILE * 5}")
    return [
        *PAGES,
        "/contracts/ship",
        "/deploy?path=",
        f"/dead/{id}?payload=1",
        "/dead?task=report",
    ]


def test_pages_are_readable_wide_and_narrow_dark_and_light(
    shop: Shop, browser: Browser, page: Page, tmp_path: Path
) -> None:
    places = paths(shop)
    shop.fill()
    requests = list[str]()
    page.on("request", lambda request: requests.append(request.url))
    with served(asgi(shop.app, schemas=history(tmp_path, shop.app))) as url:
        for place in places:
            page.goto(url + place)
            assert page.evaluate(UNNAMED) == [], place
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                ratio, what = page.evaluate(CONTRAST)
                assert ratio >= 4.5, (place, scheme, what)
            for width in (320, 1200):
                page.set_viewport_size({"width": width, "height": 800})
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, (place, width, wide)
                assert width > 320 or page.evaluate(OVERLAPS) == [], place
    assert {each[: len(url)] for each in requests} == {url}


def test_pages_work_with_the_keyboard_alone(shop: Shop, page: Page) -> None:
    shop.fill()
    with served(asgi(shop.app)) as url:
        page.goto(url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        assert page.locator(".skip").is_visible()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        outlines = page.evaluate(
            """() => [...document.querySelectorAll("a, button, input")].map((e) => {
                 e.focus({focusVisible: true}); return getComputedStyle(e).outlineStyle; })"""
        )
        assert set(outlines) == {"solid"}
        page.goto(f"{url}/contracts")
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name") == "q":
                break
        page.keyboard.type("resize")
        page.keyboard.press("Enter")
        page.wait_for_url("**/contracts?q=resize")
        assert page.locator("tbody tr").count() == 1


def test_a_page_refreshes_by_itself_but_not_under_a_reader(
    shop: Shop, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typedq.dashboard.poll.REFRESH_S", 0)  # the clock of the browser is faked
    with served(asgi(shop.app)) as url:
        page.clock.install()
        page.goto(url)
        assert page.locator("td").first.inner_text() == "0"
        shop.ship.enqueue(Order(number=1, customer="ada"))
        assert page.evaluate("typeof htmx") == "object"
        page.clock.run_for(6_000)
        expect(page.locator("td").first).to_have_text("1")
        asked = list[str]()
        page.on("request", lambda r: asked.append(r.url) if "/static/" not in r.url else None)
        page.locator("#live a").first.focus()
        page.clock.run_for(20_000)
        assert asked == []
        page.goto(f"{url}/?refresh=off")
        asked.clear()
        page.clock.run_for(20_000)
        assert asked == []


def test_a_page_works_without_javascript(shop: Shop, browser: Browser) -> None:
    shop.fill()
    context = browser.new_context(java_script_enabled=False)
    try:
        with served(asgi(shop.app, token=TOKEN)) as url:
            page = context.new_page()
            page.goto(f"{url}/dead")
            page.get_by_label("Token").fill("wrong")
            page.get_by_role("button", name="Log in").click()
            assert page.get_by_text("This is not the token.").is_visible()
            page.get_by_label("Token").fill(TOKEN)
            page.get_by_role("button", name="Log in").click()
            assert page.get_by_role("heading", level=1).inner_text() == "Dead letters"
            page.get_by_role("link", name="ValueError: no such report").click()
            assert page.get_by_role("heading", name="Messages").is_visible()
            page.get_by_role("button", name="Log out").click()
            assert page.get_by_label("Token").is_visible()
    finally:
        context.close()


def test_a_directory_is_uploaded_and_checked(shop: Shop, page: Page, tmp_path: Path) -> None:
    shop.fill()
    schemas = history(tmp_path / "schemas", shop.app)
    with served(asgi(shop.app)) as url:
        page.goto(f"{url}/deploy")
        page.locator("input[type=file]").set_input_files(schemas)
        page.get_by_role("button", name="Upload and check").click()
        verdict = page.locator(".verdict").inner_text()
    assert "Not safe: 37 messages that wait now cannot be read" in verdict


def test_every_change_is_made_with_the_keyboard_alone(shop: Shop, page: Page) -> None:
    shop.fill()

    def press(role: Literal["button", "link"], name: str) -> None:
        page.get_by_role(role, name=name, exact=True).focus()
        page.keyboard.press("Enter")

    with served(asgi(shop.app, write=True)) as url:
        page.goto(url)
        press("button", "Pause low")
        expect(page.get_by_role("status").first).to_have_text("Paused: low")
        press("button", "Resume low")
        expect(page.get_by_role("button", name="Pause low")).to_be_visible()
        page.goto(f"{url}/cron")
        press("button", "Run now thumbs")
        expect(page.get_by_role("status").first).to_have_text("Enqueued: thumbs")
        press("button", "Pause thumbs")
        expect(page.get_by_role("status").first).to_have_text("Paused: thumbs")
        expect(page.get_by_text("paused", exact=True)).to_be_visible()
        press("button", "Resume thumbs")
        expect(page.get_by_role("button", name="Pause thumbs")).to_be_visible()
        page.goto(f"{url}/dead")
        press("link", "Retry report ValueError: no such report")
        press("button", "Retry 2")
        expect(page.get_by_role("status").first).to_have_text("Retried: 2")
        page.goto(f"{url}/parked")
        press("link", f"Drop {shop.old_contract} in high")
        press("button", "Drop 37")
        expect(page.get_by_role("status").first).to_have_text("Dropped: 37")
        page.goto(f"{url}/enqueue?task=ship")
        page.get_by_label("customer").fill("ada")
        press("button", "Enqueue")
        field = page.get_by_label("number")
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_text("missing required field")).to_be_visible()
        expect(page.get_by_label("customer")).to_have_value("ada")
        field.fill("7")
        press("button", "Enqueue")
        expect(page.get_by_role("status").first).to_contain_text("Enqueued: ")
    assert shop.client.llen(shop.app.broker.keys.ready("high")) == 13
