"""What a page needs: the site, the request, and how to answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, final
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from typedq.admin.commands import with_app
from typedq.admin.deploy import Memory
from typedq.app import TypedQ
from typedq.dashboard.guard import local_path, root
from typedq.dashboard.poll import REFRESH_S, Facts, Poll
from typedq.dashboard.rendering import render
from typedq.policy import NAME
from typedq.telemetry import event

T = TypeVar("T")
PER_PAGE = 50
PAGES = {
    "/": "Now",
    "/contracts": "Contracts",
    "/matrix": "Matrix",
    "/deploy": "Deploy",
    "/message": "Message",
    "/enqueue": "Enqueue",
    "/dead": "Dead",
    "/parked": "Parked",
    "/workers": "Workers",
    "/cron": "Cron",
    "/doctor": "Doctor",
}
_TOLD = ("act", "done", "of")  # parameters that say what was changed, only once
# What a change says when it is done, on the page after it.
ACTED = {
    "run": "Enqueued",
    "pause": "Paused",
    "resume": "Resumed",
    "retry": "Retried",
    "drop": "Dropped",
}


@final
@dataclass(frozen=True)
class Site:
    """One dashboard. `schemas`: the directory of contracts; None for the configured one.

    memory: how contracts compare, for plans of deploys
    """

    app: TypedQ
    write: bool
    token: str | None
    user_header: str | None
    schemas: Path | None
    poll: Poll
    memory: Memory = field(default_factory=Memory)


class Rejected(Exception):
    """A request that cannot be answered. Fields: `status`, `title`, `text`."""

    def __init__(self, status: int, title: str, text: str) -> None:
        self.status, self.title, self.text = status, title, text
        super().__init__(text)


class Paged(NamedTuple):
    """The rows of one page; `number` and `pages` are counted from 1."""

    rows: Sequence[Any]
    number: int
    pages: int
    total: int


@final
@dataclass(frozen=True)
class View:
    """One request to one page."""

    site: Site
    request: Request
    form: FormData = field(default_factory=FormData)

    @cached_property
    def facts(self) -> Facts:
        """Return what the server says now. Raises ServerError, Comparing."""
        return self.site.poll.facts(refresh=self._refreshes)

    def shared(self, read: Callable[[], T]) -> T:
        """Return what this page reads; pages that refresh share it. Raises ServerError."""
        return self.site.poll.shared(self.here(), read, refresh=self._refreshes)

    @property
    def _refreshes(self) -> bool:
        return "hx-request" in self.request.headers

    def query(self, name: str) -> str:
        """Return a parameter of the URL, at most 400 characters."""
        return self.request.query_params.get(name, "")[:400]

    def one_of(self, names: Iterable[str]) -> str:
        """Return what was changed by the request before, if it is one of these names."""
        of = self.query("of")
        return of if of in names else ""

    def text(self, name: str) -> str:
        """Return a field of the form that was sent."""
        value = self.form.get(name)
        return value if isinstance(value, str) else ""

    def url(self, path: str, /, **query: object) -> str:
        """Return the URL of a page below the prefix; parameters that are empty are left out."""
        given = {k: v for k, v in query.items() if v not in (None, "") and v is not False}
        words = urlencode(given, errors="replace")
        return f"{root(self.request)}{path}{f'?{words}' if words else ''}"

    def here(self, **query: object) -> str:
        """Return the URL of this page with other parameters."""
        kept = {k: v for k, v in self.request.query_params.items() if k not in _TOLD}
        return self.url(local_path(self.request), **{**kept, **query})

    def is_name(self, text: object) -> bool:
        """Return True for what may be the name of a task: it has a page, and is safe in a path."""
        return isinstance(text, str) and NAME.fullmatch(text) is not None

    def page(self, rows: Sequence[Any], size: int = PER_PAGE) -> Paged:
        """Return the rows of the page that the URL asks for."""
        pages = max(1, -(-len(rows) // size))
        asked = self.query("page")
        number = min(int(asked), pages) if asked.isascii() and asked.isdecimal() else 1
        first = (max(1, number) - 1) * size
        return Paged(rows[first : first + size], max(1, number), pages, len(rows))

    def command(self, words: str) -> str:
        """Return a command of typedq, with the app that this dashboard was started for."""
        return with_app(self.site.app, f"typedq {words}")

    def render(self, template: str, status: int = 200, **values: object) -> Response:
        """Return a page."""
        about: dict[str, Any] = {
            "view": self,
            "pages": PAGES,
            "path": local_path(self.request),
            "namespace": self.site.app.settings.namespace,
            "refresh_s": 0 if self.query("refresh") == "off" else REFRESH_S,
            "acted": ACTED,
        }
        # The frame of a page is drawn by `about`, so no page may have other values of these names.
        return HTMLResponse(
            render(template, {"live": False, "changed": ""} | values | about), status
        )

    def refuse(self, status: int, title: str, text: str) -> Response:
        """Return a page that says what is wrong."""
        return self.render("error.html", status, title=title, text=text)

    def go(self, path: str, /, **query: object) -> Response:
        """Send the browser to another page after a change."""
        return RedirectResponse(self.url(path, **query), 303)

    @property
    def who(self) -> str:
        """Return the name of the user: of the mounting application's login, or of the header."""
        user = self.request.scope.get("user")
        name = getattr(user, "username", "") or getattr(user, "display_name", "")
        if self.site.user_header:
            name = self.request.headers.get(self.site.user_header, "") or name
        return str(name) or "-"

    def log(self, act: str, /, **about: Any) -> None:
        """Log a change, with who made it."""
        address = self.request.client.host if self.request.client else "-"
        event(logging.WARNING, f"dashboard: {act}", by=self.who, address=address, **about)
