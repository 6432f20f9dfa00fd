"""`typedq health`: check that the workers of this machine are live."""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Argument, Option

from typedq.cli.application import AsJson
from typedq.cli.entry import health as answer

_APP_HELP = "Only workers that were started with this APP. \\[default: every worker of this user]"
_N_HELP = "Only workers of this namespace. \\[default: TYPEDQ_NAMESPACE, else all]"
_R_HELP = "Also require that each can take tasks: a child has started, and the server answers."


def health(
    app: Annotated[str, Argument(metavar="APP", help=_APP_HELP, show_default=False)] = "",
    *,
    ready: Annotated[bool, Option("--ready", help=_R_HELP)] = False,
    namespace: Annotated[str, Option(metavar="NAME", help=_N_HELP, show_default=False)] = "",
    pid: Annotated[
        int | None, Option(min=1, help="Only the worker with this process id.", show_default=False)
    ] = None,
    json: AsJson = False,
    option: Annotated[
        str, Option("-A", "--app", metavar="APP", help=_APP_HELP, show_default=False)
    ] = "",
) -> None:
    """Exit with 0 if each worker of this machine is live, else with 1.

    It takes milliseconds: it reads a file of the worker, imports no app and asks no server.
    """
    if app and option and app != option:
        raise typer.BadParameter(f"{app!r} and {option!r}: give only one of them", param_hint="APP")
    chosen = {"namespace": namespace, "app": app or option}
    raise typer.Exit(answer(ready=ready, as_json=json, pid=pid or 0, **chosen))
