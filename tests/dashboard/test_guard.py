"""Strangers: other sites, other hosts, no token, tricks with paths, another role of the server."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from tests.dashboard.conftest import SAME, Shop, history
from typedq.dashboard import asgi
from typedq.dashboard.guard import MAX_BODY, MAX_LOGIN, cookie_name
from typedq.dashboard.view import PAGES

if TYPE_CHECKING:
    from starlette.types import Message, Scope

    from typedq.embedded import OwnServer

TOKEN = "correct-horse-battery-staple"
EVERYWHERE = [*PAGES, "/dead/x", "/contracts/ship", "/login", "/static/style.css", "/none"]


@pytest.mark.parametrize("path", EVERYWHERE)
def test_every_answer_restricts_the_browser(shop: Shop, path: str) -> None:
    headers = shop.site().get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", [*PAGES, "/dead/x", "/contracts/ship", "/none"])
def test_nothing_is_shown_without_the_token(shop: Shop, path: str) -> None:
    site = shop.site(token=TOKEN)
    answer = site.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=")
    assert shop.namespace not in answer.text
    wrong = site.get(path, headers={"Authorization": "Bearer wrong"})
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Bearer")
    assert "<table" not in wrong.text


def test_the_token_is_taken_from_a_header_or_a_login(shop: Shop) -> None:
    site = shop.site(token=TOKEN)
    assert site.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    wrong = site.post("/login", data={"token": "nope"}, headers=SAME)
    assert wrong.status_code == 401
    assert "This is not the token." in wrong.text
    right = site.post("/login?next=%2Fdead%3Ftask%3Dx", data={"token": TOKEN}, headers=SAME)
    assert (right.status_code, right.headers["location"]) == (303, "/dead?task=x")
    cookie = right.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()
    assert site.get("/").status_code == 200
    site.post("/logout", headers=SAME)
    assert site.get("/").status_code == 303


@pytest.mark.parametrize(
    "cookie",
    ["", ".", "99999999999.", "99999999999.00", "x.y", "²²²²²²²².00", "0.00", "9" * 5000 + ".00"],
)
def test_made_up_cookies_are_refused(shop: Shop, cookie: str) -> None:
    site = shop.site(token=TOKEN)
    headers = [(b"cookie", f"{cookie_name(TOKEN)}={cookie}".encode())]
    assert site.get("/", headers=headers).status_code == 303


def test_a_cookie_ends_and_follows_the_token(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    site = shop.site(token=TOKEN)
    site.post("/login", data={"token": TOKEN}, headers=SAME)
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in site.cookies.items())}
    assert shop.site(token=TOKEN).get("/", headers=headers).status_code == 200
    assert shop.site(token=f"{TOKEN}2").get("/", headers=headers).status_code == 303
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert shop.site(token=TOKEN).get("/", headers=headers).status_code == 303


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "/a\r\nb: c"],
)
def test_a_login_leads_nowhere_else(shop: Shop, target: str) -> None:
    site = shop.site(token=TOKEN)
    answer = site.post("/login", params={"next": target}, data={"token": TOKEN}, headers=SAME)
    location = answer.headers["location"]
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))
    assert "b" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://evil.example"}, True),
        ({"Origin": "http://testserver.evil.example"}, True),
        ({"Origin": "http://testserver:81"}, True),
        ({"Origin": "http://["}, True),
        ({"Origin": "http://testserver"}, False),
        ({"Origin": "https://testserver"}, False),
        (SAME, False),
    ],
)
def test_posts_of_other_sites_are_refused(
    shop: Shop, headers: dict[str, str], is_refused: bool
) -> None:
    answer = shop.site().post("/deploy", headers=headers)
    assert (answer.status_code == 403) == is_refused, answer.text


def test_a_site_that_is_named_twice_is_another(shop: Shop) -> None:
    both = [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")]
    assert shop.site().post("/deploy", headers=both).status_code == 403


def test_a_login_of_another_site_is_refused(shop: Shop) -> None:
    answer = shop.site(token=TOKEN).post("/login", data={"token": TOKEN})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_other_names_of_this_host_are_refused(shop: Shop, host: str) -> None:
    site = shop.site(hosts=("127.0.0.1", "localhost", "[::1]"))
    assert site.get("/", headers={"Host": host}).status_code == 421
    for name in ("127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080"):
        assert site.get("/", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("../", "..", "/etc", "a/../../..", "link", "..\\..", "\0", "%2e%2e/", "ship/../.."),
        "/" * 3000,
    ],
)
def test_no_path_leaves_the_directory_of_contracts(shop: Shop, tmp_path: Path, path: str) -> None:
    schemas = history(tmp_path / "schemas", shop.app)
    outside = history(tmp_path / "outside", shop.app)
    (schemas / "link").symlink_to(outside)
    answer = shop.site(schemas=schemas).get("/deploy", params={"path": path})
    assert answer.status_code in (403, 404), answer.text


def test_links_to_files_outside_are_not_read(shop: Shop, tmp_path: Path) -> None:
    schemas = tmp_path / "schemas"
    (schemas / "ship").mkdir(parents=True)
    (secret := tmp_path / "secret.json").write_text('{"secret": "s3cr3t"}')
    (schemas / "ship" / "1.json").symlink_to(secret)
    site = shop.site(schemas=schemas)
    assert "s3cr3t" not in site.get("/deploy?path=").text
    assert "s3cr3t" not in site.get("/contracts/ship").text


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/static/../site.py",
            "/static/..%2fsite.py",
            "/static/%2e%2e/site.py",
            "/static//style.css",
        ),
        *(
            "/static/htmx.LICENSE.txt",
            "/contracts/..",
            "/contracts/%2e%2e%2fetc",
            "/contracts/a%00",
        ),
        *("/static/../contracts", "/login/../contracts", "/loginx", "/dead/../../etc/passwd"),
        *("/login/", "/static/", "/contracts/"),
    ],
)
def test_tricks_with_paths_find_nothing(shop: Shop, path: str) -> None:
    for site in (shop.site(), shop.site(token=TOKEN)):
        answer = site.get(path, follow_redirects=False)
        assert answer.status_code in (303, 404) or answer.url.path in PAGES, path
        assert "Guard" not in answer.text


def test_an_upload_has_a_bound(shop: Shop) -> None:
    big = [("files", ("a/1.json", b"x" * (MAX_BODY + 1)))]
    answer = shop.site().post("/deploy", files=big, headers=SAME)
    assert answer.status_code == 413
    assert "16 MiB" in answer.text


@pytest.mark.parametrize("body", [b"&" * (MAX_LOGIN + 1), b"token=" + b"a" * MAX_LOGIN])
def test_a_stranger_may_send_little(shop: Shop, body: bytes) -> None:
    headers = SAME | {"Content-Type": "application/x-www-form-urlencoded"}
    site = shop.site(token=TOKEN)
    answer = site.post("/login", content=body, headers=headers)
    assert answer.status_code == 413
    assert "64 KiB" in answer.text
    assert site.post("/login", content=body[: MAX_LOGIN // 2], headers=headers).status_code == 401


def test_a_client_that_leaves_while_it_sends_is_no_error(shop: Shop) -> None:
    """Each would leave a traceback in the log, and anybody can leave."""
    given = [{"type": "http.request", "body": b"token=", "more_body": True}]

    async def receive() -> Message:
        return given.pop() if given else {"type": "http.disconnect"}

    async def send(message: Message) -> None: ...

    kind = (b"content-type", b"application/x-www-form-urlencoded")
    headers = [(b"host", b"localhost"), (b"sec-fetch-site", b"same-origin"), kind]
    about: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/login",
        "headers": headers,
        "query_string": b"",
        "scheme": "http",
        "server": ("localhost", 80),
    }

    async def leave() -> None:
        await asgi(shop.app, token=TOKEN)(about, receive, send)

    asyncio.run(leave())
    assert not given


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
@pytest.mark.parametrize("path", ["/", "/contracts", "/dead/x"])
def test_other_methods_do_nothing(shop: Shop, method: str, path: str) -> None:
    answer = shop.site(write=True).request(method, path, headers=SAME)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("prefix", ["", "/queue", "/a/b c/ü"])
def test_it_works_under_any_prefix(shop: Shop, prefix: str) -> None:
    app = Starlette(routes=[Mount(prefix or "/", asgi(shop.app, token=TOKEN))])
    site = TestClient(app, follow_redirects=False)
    login = site.get(f"{prefix}/contracts?q=x")
    assert login.status_code == 303
    where = login.headers["location"]
    page = site.get(where)
    assert "Log in" in page.text
    answer = site.post(where, data={"token": TOKEN}, headers=SAME)
    there = site.get(answer.headers["location"])
    assert there.status_code == 200
    assert "<h1>Contracts</h1>" in there.text
    for link in set(re.findall(r'(?:href|src)="([^"#]+)"', there.text)):
        assert site.get(link).status_code == 200, link
    left = site.post(f"{prefix}/logout", headers=SAME)
    # A browser deletes only the cookie of the name and path that were set.
    given, gone = (each.headers["set-cookie"].lower() for each in (answer, left))
    assert "max-age=0" in gone
    for part in (r"^[^=]*", r"path=[^;]*"):
        assert re.findall(part, given) == re.findall(part, gone)
    assert site.get(f"{prefix}/contracts").status_code == 303


def test_dashboards_of_one_host_do_not_log_each_other_out(shop: Shop) -> None:
    """A browser sends the cookies of all ports of a host to each."""
    tokens = [TOKEN, f"{TOKEN}2"]
    sites = [shop.site(token=token) for token in tokens]
    for site, token in zip(sites, tokens, strict=True):
        site.post("/login", data={"token": token}, headers=SAME)
    both = dict(item for site in sites for item in site.cookies.items())
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in both.items())}
    for token in tokens:
        assert shop.site(token=token).get("/", headers=headers).status_code == 200


def test_failed_logins_are_logged_with_the_address(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "typedq"):
        shop.site(token=TOKEN).post("/login", data={"token": "guess"}, headers=SAME)
    (record,) = [r for r in caplog.records if "login refused" in r.message]
    fields = vars(record)["typedq"]
    assert fields["address"] == "testclient"
    assert "guess" not in str(fields)


def test_a_user_that_may_not_read_gets_the_servers_reason(server: OwnServer, shop: Shop) -> None:
    from typedq import TypedQ

    name = f"u{shop.namespace}"
    shop.client.acl_setuser(name, enabled=True, passwords=["+p"], commands=["+ping"], keys=["x"])
    host = shop.client.connection_pool.connection_kwargs
    url = shop.url.replace("://", f"://{name}:p@") if "path" not in host else ""
    if not url:
        url = shop.url + ("&" if "?" in shop.url else "?") + f"username={name}&password=p"
    app = TypedQ(shop.namespace, url=url)
    try:
        answer = TestClient(asgi(app)).get("/")
    finally:
        app.close()
        shop.client.acl_deluser(name)
    assert answer.status_code == 403
    assert "The server refused this" in answer.text
    assert ">p<" not in answer.text
