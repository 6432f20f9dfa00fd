"""The program `typedq`: its commands, and what becomes of an error.

Exit codes: 0 done, 1 the answer is no, 2 it could not be done. Modules of commands import what is
heavy (redis, pydantic, the worker) when they run, so that `--help` costs little.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from typedq.cli import dead, info, parked, queues, schemas, server, tasks, worker
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
program.command(epilog=worker.EXAMPLE)(worker.worker)
program.command(epilog=tasks.EXAMPLE)(tasks.tasks)
program.command(epilog=tasks.ENQUEUE_EXAMPLE)(tasks.enqueue)
program.command(epilog=info.EXAMPLE)(info.info)
program.command(epilog=schemas.EXAMPLE)(schemas.check_schemas)
program.command(epilog=schemas.EXPORT_EXAMPLE)(schemas.export_schemas)
program.command(epilog=queues.PEEK_EXAMPLE)(queues.peek)
program.command(epilog=queues.PURGE_EXAMPLE)(queues.purge)
program.command(epilog=queues.PAUSE_EXAMPLE)(queues.pause)
program.command(epilog=queues.RESUME_EXAMPLE)(queues.resume)
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
