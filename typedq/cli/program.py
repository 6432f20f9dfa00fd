"""The program `typedq`: its commands, and what becomes of an error.

Exit codes: 0 done, 1 the answer is no, 2 it could not be done. Modules of commands import what is
heavy (redis, pydantic, the worker) when they run, so that `--help` costs little.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from typedq.cli import dead, doctor, info, parked, queues, schemas, server, tasks, worker
from typedq.cli.console import complain
from typedq.errors import AppNotFound, TypedQError

program = typer.Typer(
    help="A task queue whose jobs have contracts, on Redis or Valkey.",
    epilog="Example: typedq worker myapp.tasks:app",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[Callable[..., None], str] = {
    worker.worker: "worker myapp.tasks:app -c cores*2 -Q high,default",
    tasks.tasks: "tasks myapp.tasks:app",
    tasks.enqueue: """enqueue send_email '{"to": "a@b.c"}' -A myapp.tasks:app --delay 1h""",
    info.info: "info myapp.tasks:app --watch 2",
    doctor.doctor: "doctor myapp.tasks:app --json",
    queues.peek: "peek low -n 5 --payload -A myapp.tasks:app",
    queues.purge: "purge low -A myapp.tasks:app",
    queues.pause: "pause low -A myapp.tasks:app",
    queues.resume: "resume low -A myapp.tasks:app",
}
for command, example in _COMMANDS.items():
    program.command(epilog=f"Example: typedq {example}")(command)
program.command(epilog=schemas.EXAMPLE)(schemas.check_schemas)
program.command(epilog=schemas.EXPORT_EXAMPLE)(schemas.export_schemas)
program.add_typer(dead.program, name="dead")
program.add_typer(parked.program, name="parked")
program.add_typer(server.program, name="server")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"typedq {version('typedq')}")
        raise typer.Exit


@program.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit."),
    ] = False,
) -> None:
    """Options of the program as a whole."""


def main() -> None:
    """Run the command line; it ends by SystemExit."""
    try:
        program(prog_name="typedq")
    except AppNotFound as error:
        if error.__cause__ is not None:
            from typedq.cli.application import show_trace

            show_trace(error.__cause__)
        complain(str(error))
        sys.exit(1 if error.__cause__ else 2)
    except TypedQError as error:
        complain(str(error))
        sys.exit(2)
