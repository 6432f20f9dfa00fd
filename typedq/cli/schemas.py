"""`typedq check-schemas` and `typedq export-schemas`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from typedq.cli.application import HERE, AppOrArgument, AsJson, show_trace
from typedq.cli.console import print_error
from typedq.errors import AppNotFound, ConfigurationError

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


def check_schemas(
    app: AppOrArgument,
    *,
    schemas: Directory = None,
    against: Against = None,
    mode: Mode = None,
    format: Annotated[str, typer.Option(help="text, json or github (annotations).")] = "text",
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Check against the waiting messages and live workers of the server."
        ),
    ] = False,
    no_app: Annotated[
        bool, typer.Option("--no-app", help="Check the newest committed contracts; import nothing.")
    ] = False,
) -> None:
    """Check that contracts changed safely. Exit code 0: yes. 1: no, or not exported. 2: error.

    backward: the new code reads every message of the old code. forward: the old code reads every
    message of the new code. full: both. Plain modes compare with the last version, transitive modes
    with all. Only --live needs a server.
    """
    if no_app and live:
        raise typer.BadParameter("--live needs the app")
    if format not in FORMATS:
        problem = f"{format!r} is not one of {', '.join(FORMATS)}"
        raise typer.BadParameter(problem, param_hint="--format")
    with _exits_with_2():
        loaded = None if no_app else app.load()
        from typedq.admin.schemas import check, check_live, read
        from typedq.cli.schema_report import print_check, print_live

        committed = read(schemas, _start(app))
        if live and loaded is not None:
            found = check_live(loaded)
            print_live(found, format)
            raise typer.Exit(any(waiting.read is None for waiting in found.waiting))
        checked = check(loaded, committed, against=against, mode=mode)
    if checked.note:
        typer.echo(f"note: {checked.note}", err=True)
    print_check(checked, format)
    if checked.fails:
        raise typer.Exit(1)


def export_schemas(app: AppOrArgument, *, schemas: Directory = None, json: AsJson = False) -> None:
    """Write the next version of each contract that changed, and print whether it is safe."""
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
    except ConfigurationError as error:
        print_error("\n  - ".join(["cannot check the schemas:", *error.problems]))
        raise typer.Exit(2) from None
