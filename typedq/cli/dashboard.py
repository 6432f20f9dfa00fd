"""`typedq dashboard`: the dashboard of an app, served by itself."""

from __future__ import annotations

import ipaddress
import signal
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from typedq.cli.application import AppOrArgument
from typedq.cli.console import print_line
from typedq.errors import ConfigurationError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_MIN_TOKEN = 16

Host = Annotated[str, Option(help="Address to listen on; any but loopback needs --token-file.")]
Port = Annotated[int, Option(min=0, max=65535, help="Port to listen on; 0 for a free one.")]
Write = Annotated[bool, Option("--write", help="Allow changes; else the pages are read-only.")]
TokenFile = Annotated[
    Path | None,
    Option(dir_okay=False, exists=True, help="File with the token that users must give."),
]
UserHeader = Annotated[
    str | None,
    Option(metavar="NAME", help="Header with the user's name that your proxy sets, for the log."),
]
RootPath = Annotated[str, Option(metavar="PATH", help="Prefix that a proxy in front removes.")]
Schemas = Annotated[
    Path | None,
    Option(file_okay=False, help="Directory of contracts.", show_default="as check-schemas"),
]


def dashboard(
    app: AppOrArgument,
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    write: Write = False,
    token_file: TokenFile = None,
    user_header: UserHeader = None,
    root_path: RootPath = "",
    schemas: Schemas = None,
) -> None:
    """Serve pages that show queues, contracts, workers and failed messages.

    It stores nothing, and reads the server only while somebody looks at a page.
    """
    token = _token(token_file)
    local = _is_local(host)
    if not local and token is None:
        reason = f"{host} can be reached by others: give --token-file, or --host 127.0.0.1"
        raise typer.BadParameter(reason, param_hint="--host")
    loaded = app.load()
    try:
        import_module("uvicorn")
        from typedq.dashboard import asgi
    except ModuleNotFoundError as error:
        fix = "pip install 'typedq[dashboard]'"
        raise ConfigurationError([f"the dashboard needs {error.name}: {fix}"]) from None
    site = asgi(
        loaded,
        write=write,
        token=token,
        user_header=user_header,
        schemas=schemas,
        hosts=_LOCAL if local and token is None else None,
    )
    _serve(site, host, port, root_path.rstrip("/"), "changes are allowed" if write else "read-only")


def _serve(site: ASGIApp, host: str, port: int, root_path: str, mode: str) -> None:
    import uvicorn

    from typedq.cli.slow_clients import STOP_S, BoundedConnection

    config = uvicorn.Config(
        site,
        host,
        port,
        root_path=root_path,
        log_config=None,
        http=BoundedConnection,
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
        ws="none",
        lifespan="off",
    )
    listener = config.bind_socket()
    listener.listen()  # from here on, connections wait until the server has started
    name = f"[{host}]" if ":" in host else host
    # uvicorn finishes its requests at SIGTERM, and raises the signal again for this handler.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        print_line(f"http://{name}:{listener.getsockname()[1]}{root_path}/ ({mode})")
        uvicorn.Server(config).run(sockets=[listener])


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError([f"--token-file: {file} cannot be read: {error}"]) from None
    if len(token) < _MIN_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        reason = f"expected one line of {_MIN_TOKEN} printable ASCII characters or more"
        fix = f"openssl rand -hex 24 > {file}"
        raise ConfigurationError([f"--token-file: {file} holds no token: {reason}, as by `{fix}`"])
    return token
