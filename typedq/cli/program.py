"""The program `typedq`: its commands and exit codes.

Exit codes: 0 success, 1 a negative result, 2 an error. Only the command that is called is
imported; heavy imports (broker, worker) happen when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from typedq.cli.console import print_error
from typedq.cli.shared_options import with_shared_options
from typedq.errors import AppNotFound, TypedQError

_APP = "-A myapp.tasks:app"
_ENQUEUE = f"""send_email '{{"to": "a@b.c"}}' {_APP} --delay 1h --meta tenant=acme"""
_COMMANDS = {  # name -> module, function, example
    "worker": ("worker", "worker", "myapp.tasks:app -c cores*2 -Q high,default"),
    "health": ("health", "health", "--ready"),
    "tasks": ("tasks", "tasks", "myapp.tasks:app"),
    "enqueue": ("tasks", "enqueue", _ENQUEUE),
    "info": ("info", "info", "myapp.tasks:app --watch 2"),
    "exporter": ("exporter", "exporter", "myapp.tasks:app --port 9101"),
    "doctor": ("doctor", "doctor", "myapp.tasks:app --json"),
    "dashboard": ("dashboard", "dashboard", "myapp.tasks:app --port 8080 --write"),
    "show": ("single", "show", f"019ad0f3c1e5d1c0ffee000007 --payload {_APP}"),
    "cancel": ("single", "cancel", f"019ad0f3c1e5d1c0ffee000007 {_APP}"),
    "peek": ("queues", "peek", f"low -n 5 --payload {_APP}"),
    "purge": ("queues", "purge", f"low {_APP}"),
    "pause": ("queues", "pause", f"low {_APP}"),
    "resume": ("queues", "resume", f"low {_APP}"),
    "check-schemas": (
        "schemas",
        "check_schemas",
        "myapp.tasks:app --against git:origin/main\n\ntypedq check-schemas myapp.tasks:app --live",
    ),
    "export-schemas": ("schemas", "export_schemas", "myapp.tasks:app"),
    "bundle": (
        "bundle",
        "bundle",
        "myapp.tasks:app -o shop.typedq.json\n\ntypedq bundle --from schemas/ -o shop.typedq.json",
    ),
    "asyncapi": ("bundle", "asyncapi", "myapp.tasks:app -o asyncapi.json"),
    "generate python": ("generate", "python", "shop.typedq.json -o shop_tasks/"),
    "generate typescript": ("generate", "typescript", "shop.typedq.json -o src/shop/"),
    "dead list": (
        "dead",
        "list_",
        f"--since 2h -n 50 {_APP}\n\ntypedq dead list --groups {_APP}",
    ),
    "dead show": ("dead", "show", f"019ad0f3c1e5d1c0ffee000007 --payload {_APP}"),
    "dead retry": (
        "dead",
        "retry",
        f"--error ConnectionError --dry-run {_APP}\n\ntypedq dead retry --since 1d -y {_APP}",
    ),
    "dead drop": ("dead", "drop", f"--task send_email -y {_APP}"),
    "parked list": (
        "parked",
        "list_",
        f"--task send_email {_APP}\n\ntypedq parked list --groups {_APP}",
    ),
    "parked show": ("parked", "show", f"send_email@0123456789abcdef -n 5 --payload {_APP}"),
    "parked retry": ("parked", "retry", f"--task send_email -y {_APP}"),
    "parked drop": ("parked", "drop", f"send_email@0123456789abcdef -y {_APP}"),
    "cron list": ("cron", "list_", _APP),
    "cron run": ("cron", "run", f"nightly {_APP}"),
    "cron pause": ("cron", "pause", "nightly --namespace shop"),
    "cron resume": ("cron", "resume", f"nightly {_APP}"),
    "server status": ("server", "status", _APP),
    "server stop": ("server", "stop", _APP),
}
_GROUPS = {
    "generate": (
        "Write code for producers in other repositories: python, typescript.",
        "python shop.typedq.json -o shop_tasks/",
    ),
    "dead": (
        "Dead letters, which are messages that failed for good: list, show, retry, drop.",
        f"list --task send_email --since 1h {_APP}",
    ),
    "parked": (
        "Messages that wait for a worker that can read them: list, show, retry, drop.",
        f"list {_APP}",
    ),
    "cron": (
        "Calls that are enqueued on a schedule: list, run, pause, resume.",
        f"list {_APP}",
    ),
    "server": (
        "The embedded server of this project. It starts by itself if no URL is configured.",
        f"status {_APP}",
    ),
}


class _Command(TyperCommand):
    """A command that tells who gives the app in a wrong place where it goes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        apps = [word for word in args if re.fullmatch(r"[\w.]+:[\w.]+", word)]
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            text = str(getattr(error, "message", ""))
            if "extra argument" in text and apps:
                vars(error)["message"] = f"{text}; this command takes the app with -A"
            raise


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"typedq {version('typedq')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None: ...


def _program(word: str) -> typer.Typer:
    """Return the program, with only the commands that begin with `word` if there are any."""
    program = typer.Typer(
        help="A task queue whose jobs have contracts, on Redis or Valkey.",
        epilog="Example: typedq worker myapp.tasks:app",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    program.callback()(_options)
    parents = {"": program}
    for name in [name for name in _COMMANDS if name.split()[0] == word] or _COMMANDS:
        group, _, last = name.rpartition(" ")
        if group not in parents:
            purpose, example = _GROUPS[group]
            epilog = f"Example: typedq {group} {example}"
            parents[group] = typer.Typer(help=purpose, epilog=epilog, no_args_is_help=True)
            program.add_typer(parents[group], name=group)
        module, function, example = _COMMANDS[name]
        command = getattr(import_module(f"typedq.cli.{module}"), function)
        epilog = f"Example: typedq {name} {example}".rstrip()
        parents[group].command(last, cls=_Command, epilog=epilog)(with_shared_options(command))
    return program


def _fill_standard_streams() -> None:
    """Open /dev/null for each standard stream that is closed.

    Otherwise the next file or socket gets the number of stderr, and what a library prints there
    ends up in it; and Python has None for the stream.
    """
    with suppress(OSError):  # no /dev
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        os.close(number)
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:
                setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - kept open


def main() -> None:
    """Run the command line. Raises SystemExit with the exit code."""
    _fill_standard_streams()
    try:
        _program("".join(sys.argv[1:2]))(prog_name="typedq")
    except AppNotFound as error:
        if error.__cause__ is not None:
            from typedq.cli.application import show_trace

            show_trace(error.__cause__)
        print_error(str(error))
        sys.exit(1 if error.__cause__ else 2)
    except TypedQError as error:
        print_error(str(error))
        sys.exit(2)
