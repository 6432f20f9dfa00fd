"""Put the pages together as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Final

try:
    from starlette.applications import Starlette
except ModuleNotFoundError:
    why = "typedq.dashboard needs starlette: pip install 'typedq[dashboard]'"
    raise ModuleNotFoundError(why, name="starlette") from None
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from typedq.app import TypedQ
from typedq.dashboard import changes, contracts, cron, deploy, enqueue, failed, message, pages
from typedq.dashboard.guard import Guard, TooLarge, is_token, log_in, log_out, root
from typedq.dashboard.poll import Comparing, Poll
from typedq.dashboard.view import Rejected, Site, View
from typedq.errors import ServerError, ServerRefused, TypedQError
from typedq.telemetry import event

Page = Callable[[View], Response]
_FILES = 5_000  # of one upload
_STATIC: Final = {
    "style.css": "text/css",
    "refresh.js": "text/javascript",
    "htmx.min.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_PAGES: Final[dict[str, Page]] = {
    "/": pages.now,
    "/workers": pages.workers,
    "/cron": cron.cron,
    "/doctor": pages.doctor,
    "/contracts": contracts.contracts,
    "/contracts/{task}": contracts.contract,
    "/matrix": contracts.matrix,
    "/deploy": deploy.deploy,
    "/dead": failed.dead,
    "/dead/confirm": partial(changes.confirm, changes.dead),
    "/dead/{id}": failed.letter,
    "/parked": failed.parked,
    "/parked/confirm": partial(changes.confirm, changes.parked),
    "/enqueue": enqueue.enqueue,
    "/message": message.message,
}
_FORMS: Final[dict[str, Page]] = {
    "/deploy": deploy.deploy,
    "/enqueue": enqueue.send,
    "/queues/{queue}/pause": partial(changes.switch, "pause"),
    "/queues/{queue}/resume": partial(changes.switch, "resume"),
    "/dead/change": partial(changes.change, changes.dead),
    "/parked/change": partial(changes.change, changes.parked),
    "/cron/run": cron.run,
    "/cron/pause": cron.pause,
    "/cron/resume": cron.resume,
    "/message/cancel": message.cancel,
}


def asgi(
    app: TypedQ,
    *,
    write: bool = False,
    token: str | None = None,
    user_header: str | None = None,
    schemas: str | Path | None = None,
    hosts: Sequence[str] | None = None,
) -> ASGIApp:
    """Return the dashboard of an app, to be mounted under any path or served by itself.

    Nothing is read before the first request. Who may see it is decided by `token` or by the
    application that mounts it; without either, everybody may.
    write: allow changes, as far as the ACL user of the app's connection may make them
    token: what a user must give, at the login page or as `Authorization: Bearer TOKEN`
    user_header: a header with the user's name, which a proxy in front sets; it is logged
    schemas: the directory of contracts (default: as `typedq check-schemas`)
    hosts: names that may be in the `Host` header (default: any)
    """
    site = Site(app, write, token, user_header, Path(schemas) if schemas else None, Poll(app))

    routes = [Route(p, _endpoint(site, answer), methods=["POST"]) for p, answer in _FORMS.items()]
    routes += [Route(p, _endpoint(site, answer), methods=["GET"]) for p, answer in _PAGES.items()]
    routes += [
        Route("/static/{name}", static),
        Route("/login", _endpoint(site, login), methods=["GET", "POST"]),
        Route("/logout", _endpoint(site, logout), methods=["POST"]),
    ]

    def refuse(request: Request, status: int, title: str, text: str) -> Response:
        return View(site, request).refuse(status, title, text)

    async def absent(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        answer = refuse(request, status, "Not here", "There is no such page.")
        if isinstance(error, HTTPException):
            answer.headers.update(error.headers or {})
        return answer

    inner = Starlette(routes=routes, exception_handlers={404: absent, 405: absent})
    inner.router.redirect_slashes = False  # it would lead to whatever `Host` says
    return Guard(inner, token, hosts, refuse)


def _endpoint(site: Site, answer: Page) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        if request.method != "POST":
            return await run_in_threadpool(_answer, answer, View(site, request))
        try:
            form = await request.form(max_files=_FILES)
        except ClientDisconnect:
            return Response(status_code=400)  # for nobody
        except (TooLarge, MultiPartException, HTTPException) as error:
            status = 413 if isinstance(error, TooLarge) else 400
            text = f"What was sent is refused: {error}"
            return View(site, request).refuse(status, "Not accepted", text)
        try:
            return await run_in_threadpool(_answer, answer, View(site, request, form))
        finally:
            await form.close()

    return endpoint


def _answer(answer: Page, view: View) -> Response:
    try:
        return answer(view)
    except Rejected as error:
        return view.refuse(error.status, error.title, error.text)
    except Comparing as error:
        waiting = view.render("comparing.html", done=error.done)
        waiting.headers["Refresh"] = "1"
        return waiting
    except ServerRefused as error:
        return view.refuse(403, "The server refused this", str(error))
    except ServerError as error:
        return view.refuse(503, "The server does not answer", str(error))
    except TypedQError as error:
        return view.refuse(500, "This cannot be shown", str(error))
    except Exception as error:  # noqa: BLE001 - one page must not take the others with it
        event(logging.ERROR, "dashboard: page failed", error=error, path=view.request.url.path)
        text = f"{type(error).__name__}; the traceback is in the log"
        return view.refuse(500, "This page failed", text)


async def static(request: Request) -> Response:
    """Return one of the few files of this package."""
    name = str(request.path_params["name"])
    if name not in _STATIC:
        raise HTTPException(404)
    content = files("typedq.dashboard").joinpath("static", name).read_bytes()
    return Response(content, media_type=_STATIC[name])


def login(view: View) -> Response:
    """Ask for the token, or check it and set the cookie."""
    token, target = view.site.token, view.request.query_params.get("next", "/")
    if token is None:
        return view.go("/")
    if view.request.method == "GET":
        return view.render("login.html", wrong=False)
    if not is_token(view.text("token").strip(), token):
        view.log("login refused")
        return view.render("login.html", 401, wrong=True)
    # Below the prefix, whatever is asked for, so that no other site can be meant.
    answer = RedirectResponse(f"{root(view.request)}/{target.lstrip('/')}", 303)
    log_in(answer, view.request, token)
    return answer


def logout(view: View) -> Response:
    """Delete the cookie."""
    answer = view.go("/login")
    if view.site.token is not None:
        log_out(answer, view.request, view.site.token)
    return answer
