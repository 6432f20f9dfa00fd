"""`typedq check-schemas` and `typedq export-schemas`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from typedq.cli.application import HERE, AppOrArgument, AsJson, show_trace
from typedq.cli.console import print_error
from typedq.errors import AppNotFound, ConfigurationError, InvalidBundle

if TYPE_CHECKING:
    from typedq.app import TypedQ

FORMATS = ("text", "json", "github")

Directory = Annotated[
    Path | None,
    typer.Option(
        "--schemas",
        file_okay=False,
        metavar="DIR",
        help="Directory of the committed contracts.",
        show_default="schemas beside the app's pyproject.toml",
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        help="backward, forward or full, each also with _transitive. It overrides the mode of"
        " every task.",
        show_default="backward_transitive",
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="Compare with what is deployed: git:REF, a directory, or the URL of a server.",
        show_default="the committed contracts",
    ),
]
Pins = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PLACE",
        help="Also check what producers elsewhere write: a typedq.lock.json, a directory with"
        " some, or git:REF[:PATH]. May be given several times.",
    ),
]
Producer = Annotated[
    bool,
    typer.Option(
        "--producer",
        help="Check the remote tasks of this app against the contracts of their workers. --against"
        " says where those are: a bundle, a directory, git:REF or the URL of a server.",
    ),
]
Live = Annotated[
    bool,
    typer.Option(
        "--live", help="Check against the waiting messages and live workers of the server."
    ),
]
NoApp = Annotated[
    bool, typer.Option("--no-app", help="Check the newest committed contracts; import nothing.")
]


def check_schemas(
    app: AppOrArgument,
    *,
    schemas: Directory = None,
    against: Against = None,
    mode: Mode = None,
    format: Annotated[str, typer.Option(help="text, json or github (annotations).")] = "text",
    live: Live = False,
    pins: Pins = None,
    producer: Producer = False,
    no_app: NoApp = False,
) -> None:
    """Check that contracts changed safely. Exit code 0: yes. 1: no, or not exported. 2: error.

    backward: the new code reads every message of the old code. forward: the old code reads every
    message of the new code. full: both. Plain modes compare with the last version, transitive modes
    with all. Only --live needs a server.
    """
    if no_app and (live or producer):
        raise typer.BadParameter(f"--{'live' if live else 'producer'} needs the app")
    if producer and (against is None or live or pins):
        raise typer.BadParameter("--producer takes --against, and neither --live nor --pins")
    if pins and live:
        raise typer.BadParameter("--pins needs no server; leave --live out")
    if format not in FORMATS:
        problem = f"{format!r} is not one of {', '.join(FORMATS)}"
        raise typer.BadParameter(problem, param_hint="--format")
    with _exits_with_2():
        loaded = None if no_app else app.load()
        from typedq.admin import consumers
        from typedq.admin.schemas import check, check_live, read
        from typedq.cli.schema_report import print_check, print_live

        if producer and loaded is not None:
            _check_producer(loaded, str(against), format)
        committed = read(schemas, _start(app))
        if live and loaded is not None:
            found = check_live(loaded)
            print_live(found, format)
            raise typer.Exit(any(waiting.read is None for waiting in found.waiting))
        tasks = consumers.owned(loaded, committed.histories)
        ours = consumers.namespaces(loaded, committed.histories)
        pinned = consumers.check(tasks, consumers.pins(pins or [], ours))
        checked = check(loaded, committed, against=against, mode=mode)
    if checked.note:
        typer.echo(f"note: {checked.note}", err=True)
    print_check(checked, format, pinned)
    if checked.fails or any(each.read is None for each in pinned):
        raise typer.Exit(1)


def _check_producer(app: TypedQ, against: str, format: str) -> NoReturn:
    """Check the remote tasks of an app, and end the command."""
    from typedq.admin import consumers
    from typedq.cli.schema_report import print_consumers

    tasks = consumers.readers(against, app.settings.namespace)
    verdicts = consumers.check(tasks, consumers.stubs(app))
    print_consumers(verdicts, format, "producer")
    raise typer.Exit(any(each.read is None for each in verdicts))


def export_schemas(app: AppOrArgument, *, schemas: Directory = None, json: AsJson = False) -> None:
    """Write the next version of each contract that changed, and print if the change is safe."""
    with _exits_with_2():
        loaded = app.load()
        from typedq.admin.schemas import export, read
        from typedq.cli.schema_report import print_export

        check, written = export(loaded, read(schemas, _start(app)))
    print_export(check, written, as_json=json)


def _start(app: AppOrArgument) -> Path | None:
    """Return the directory to search for pyproject.toml from; None for the current one."""
    return None if app.app_dir == HERE else app.app_dir


@contextmanager
def _exits_with_2() -> Generator[None]:
    """End the command with exit code 2 if the check cannot be made."""
    try:
        yield
    except AppNotFound as error:
        if error.__cause__ is not None:
            show_trace(error.__cause__)
        print_error(str(error))
        raise typer.Exit(2) from None
    except InvalidBundle as error:
        print_error(f"cannot check the schemas: {error}")
        raise typer.Exit(2) from None
    except ConfigurationError as error:
        print_error("\n  - ".join(["cannot check the schemas:", *error.problems]))
        raise typer.Exit(2) from None
