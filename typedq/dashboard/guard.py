"""Refuse requests of other sites, hosts and strangers; add the headers that restrict a browser."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Collection
from typing import final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGIN_S = 12 * 3600
MAX_BODY = 16 << 20  # of an upload; everything else is far smaller
MAX_LOGIN = 64 << 10  # of what a stranger may send
OPEN = ("/login", "/static/")  # what a browser needs to log in
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; form-action 'self';"
    " base-uri 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send no Origin with a form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Refuse = Callable[[Request, int, str, str], Response]


class TooLarge(Exception):
    """The body of a request is longer than `most` bytes."""

    def __init__(self, most: int) -> None:
        size = f"{most >> 20} MiB" if most >> 20 else f"{most >> 10} KiB"
        super().__init__(f"it has more than {size}")


@final
class Guard:
    """Wraps the dashboard.

    token: what a user must give, or None; hosts: names in `Host` that are accepted, or None for all
    refuse: makes an error page of (request, status, title, text)
    """

    def __init__(
        self, inner: ASGIApp, token: str | None, hosts: Collection[str] | None, refuse: Refuse
    ) -> None:
        self._inner, self._token, self._hosts, self._refuse = inner, token, hosts, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        length = 0

        async def bounded() -> Message:
            nonlocal length
            message = await receive()
            length += len(message.get("body", b""))
            if length > most:
                raise TooLarge(most)
            return message

        async def restricted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        request = Request(scope, bounded)
        most = MAX_LOGIN if local_path(request).startswith(OPEN) else MAX_BODY
        refused = self._check(request)
        await (refused or self._inner)(scope, bounded, restricted)

    def _check(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            text = (
                f"The address names the host {host!r}. Without a token, only"
                f" {', '.join(self._hosts)} may be used: another name may be an attack on this"
                " machine (DNS rebinding)."
            )
            return self._refuse(request, 421, "Unknown host", text)
        if request.method not in ("GET", "HEAD") and not is_same_origin(request):
            text = (
                "This request changes something, and does not come from a page of this dashboard."
                " Open the dashboard and use the button there. A program sends the header"
                " Sec-Fetch-Site: same-origin."
            )
            return self._refuse(request, 403, "Request of another site", text)
        path = local_path(request)
        if self._token is None or path.startswith(OPEN) or is_known(request, self._token):
            return None
        if request.method == "GET" and "authorization" not in request.headers:
            query = f"?{request.url.query}" if request.url.query else ""
            target = f"{root(request)}/login?next={quote(path + query, safe='')}"
            if "hx-request" in request.headers:
                return Response(status_code=401, headers={"HX-Redirect": target})
            return RedirectResponse(target, 303)
        text = "Give the token as Authorization: Bearer TOKEN, or log in with a browser."
        refused = self._refuse(request, 401, "Wrong token", text)
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused


def is_same_origin(request: Request) -> bool:
    """Return True if the browser says that a page of this origin sent the request."""
    sites, origin = request.headers.getlist("sec-fetch-site"), request.headers.get("origin")
    if sites:
        return set(sites) == {"same-origin"}
    # Without the scheme, because a proxy may have ended TLS.
    return origin is not None and origin.partition("://")[2] == request.headers.get("host")


def is_known(request: HTTPConnection, token: str) -> bool:
    """Return True if a request has the token, or the cookie that a login with it got."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return is_token(given.strip(), token)
    until, _, signature = request.cookies.get(cookie_name(token), "").partition(".")
    if not (until.isascii() and until.isdecimal() and len(until) < 20):
        return False
    expected = _sign(until, token)
    return hmac.compare_digest(signature.encode(), expected.encode()) and int(until) > time.time()


def is_token(given: str, token: str) -> bool:
    """Return True if it is the token, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode(errors="surrogatepass"), token.encode())


def log_in(response: Response, request: Request, token: str) -> None:
    """Set the cookie. It holds no token, only a signature by it, and ends after 12 hours."""
    until = str(int(time.time()) + LOGIN_S)
    response.set_cookie(
        cookie_name(token),
        f"{until}.{_sign(until, token)}",
        max_age=LOGIN_S,
        path=root(request) or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def log_out(response: Response, request: Request, token: str) -> None:
    """Delete the cookie."""
    response.delete_cookie(cookie_name(token), path=root(request) or "/")


def cookie_name(token: str) -> str:
    """Return the name of the cookie; dashboards on other ports of a host get each other's."""
    return f"typedq-dashboard-{_sign('name', token)[:8]}"


def root(request: HTTPConnection) -> str:
    """Return the prefix under which the dashboard is mounted, quoted for a URL."""
    return quote(str(request.scope.get("root_path", "")).rstrip("/"))


def local_path(request: HTTPConnection) -> str:
    """Return the path below the prefix."""
    path, prefix = str(request.scope["path"]), str(request.scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path


def _sign(until: str, token: str) -> str:
    return hmac.new(token.encode(), f"typedq {until}".encode(), hashlib.sha256).hexdigest()


def _name(host: str) -> str:
    """Return a host without its port."""
    return (
        host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    ).lower()
