"""`typedq check-schemas` and `typedq export-schemas`: the gate for contracts that change."""

from __future__ import annotations

import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from typedq.addresses import project
from typedq.cli.application import AsJson, Placed, show_trace
from typedq.cli.console import complain, tell_json
from typedq.cli.tasks import declared
from typedq.cli.verdicts import facts, shown, tell, tell_live, tell_written
from typedq.errors import AppNotFound, ConfigurationError

if TYPE_CHECKING:
    from typedq.app import TypedQ
    from typedq.registry import History

FORMATS = ("text", "json", "github")
_TABLE = "[tool.typedq.schemas]"

Schemas = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        metavar="DIR",
        help="The history.",
        show_default="schemas beside the nearest pyproject.toml",
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        help="backward, forward or full, each also with _transitive; for all tasks, whatever they"
        " ask for.",
        show_default="backward_transitive",
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="What is deployed: git:REF, a directory, or redis://... "
        "(every contract that server was told of). Else the history itself.",
    ),
]


def check_schemas(
    app: Placed,
    *,
    schemas: Schemas = None,
    against: Against = None,
    mode: Mode = None,
    format: Annotated[str, typer.Option(help="text, json or github (annotations).")] = "text",
    live: Annotated[
        bool, typer.Option("--live", help="Ask the server what waits and runs.")
    ] = False,
    no_app: Annotated[
        bool, typer.Option("--no-app", help="Take the newest files for the code; imports nothing.")
    ] = False,
) -> None:
    """Say whether contracts changed safely. Exit code 0: yes, 1: no or not exported, 2: cannot say.

    A contract changed safely if the new code reads every message the old code wrote (the mode
    backward), the old code every message of the new (forward), or both (full); against the version
    before, or against all (transitive). It takes no server, but for --live.
    """
    if no_app and live:
        raise typer.BadParameter("--live needs the app")
    if format not in FORMATS:
        problem = f"{format!r} is not one of {', '.join(FORMATS)}"
        raise typer.BadParameter(problem, param_hint="--format")
    with _gate():
        from typedq import registry

        where, local, default_mode = _history(schemas)
        loaded = None if no_app else app.load()
        tasks = registry.newest(local) if loaded is None else declared(loaded)
        if not (tasks or local):
            raise ConfigurationError([f"there are no tasks, and no history in {shown(where)}"])
        if live and loaded is not None:
            fresh_s = 2 * loaded.settings.lease
            queues = [queue.name for queue in loaded.settings.queues]
            tell_live(registry.look(loaded.broker, tasks, queues, fresh_s), format)
            return
        base = _base(against, where, local, loaded) if against else None
        own_mode = mode and _checked(mode, "--mode")
        verdicts = registry.judge(tasks, local, base, mode=own_mode, default_mode=default_mode)
    tell(verdicts, where, format)
    if any(verdict.fails for verdict in verdicts):
        raise typer.Exit(1)


def export_schemas(app: Placed, *, schemas: Schemas = None, json: AsJson = False) -> None:
    """Write the next version of each contract that changed, and say how safe the change is."""
    with _gate():
        from typedq import registry

        where, local, default_mode = _history(schemas)
        tasks = {task.name: task for task in declared(app.load())}
        verdicts = registry.judge([*tasks.values()], local, default_mode=default_mode)
        written = dict[str, Path]()
        for verdict in verdicts:
            if not verdict.exported:
                before = local[verdict.task].versions if verdict.task in local else ()
                number, own_mode = len(before) + 1, before[-1].mode if before else None
                file = written[verdict.task] = where / verdict.task / f"{number}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                schema = tasks[verdict.task].schema
                text = registry.next_version(verdict.task, number, schema, own_mode)
                file.write_text(text, encoding="utf-8")
    if json:
        files = {task: shown(file) for task, file in written.items()}
        tell_json([{**facts(v), "written": files.get(v.task)} for v in verdicts])
        return
    tell_written(verdicts, written, where)


@contextmanager
def _gate() -> Generator[None]:
    """Whatever hinders the check ends it with exit code 2."""
    try:
        yield
    except AppNotFound as error:
        if error.__cause__ is not None:
            show_trace(error.__cause__)
        complain(str(error))
        raise typer.Exit(2) from None
    except ConfigurationError as error:
        complain("\n  - ".join(["cannot check the schemas:", *error.problems]))
        raise typer.Exit(2) from None


def _history(given: Path | None) -> tuple[Path, dict[str, History], str]:
    """Where the files are, what they say, and the mode of the app."""
    from typedq import registry

    directory, mode = _configured()
    where = given or directory
    return where, registry.parse(registry.in_directory(where), shown(where)), mode


def _base(
    against: str, where: Path, local: dict[str, History], app: TypedQ | None
) -> dict[str, History]:
    from typedq import registry

    if "://" in against:
        from typedq.broker import Broker

        if app is None:
            raise typer.BadParameter("a server needs the app, for its namespace")
        return registry.published(Broker(against, app.settings.namespace), local)
    if against.startswith("git:"):
        files = registry.at_git(against.removeprefix("git:"), where)
    elif Path(against).is_dir():
        files = registry.in_directory(Path(against))
    else:
        problem = f"there is no directory {against}; for a git ref, git:{against}"
        raise ConfigurationError([f"--against: {problem}"])
    base = registry.parse(files, against)
    if problems := registry.tampered(local, base, shown(where), against):
        raise ConfigurationError(problems)
    if not base:
        typer.echo(f"note: {against} has no history, so that all tasks count as new", err=True)
    return base


def _configured() -> tuple[Path, str]:
    """The directory of the history and the mode: [tool.typedq.schemas], or the defaults."""
    root = project() or Path.cwd()
    table: dict[str, Any] = {"directory": "schemas", "mode": "backward_transitive"}
    known = set(table)
    try:
        text = (root / "pyproject.toml").read_text(encoding="utf-8") if project() else ""
        table |= tomllib.loads(text).get("tool", {}).get("typedq", {}).get("schemas", {})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        problem = f"{_TABLE} in {root / 'pyproject.toml'} cannot be read: {error}"
        raise ConfigurationError([problem]) from None
    if unknown := sorted(table.keys() - known):
        raise ConfigurationError([f"{_TABLE} has no {name!r}" for name in unknown])
    return root / str(table["directory"]), _checked(table["mode"], f"mode in {_TABLE}")


def _checked(mode: str, where: str) -> str:
    from typedq.registry import MODES

    if mode not in MODES:
        raise ConfigurationError([f"{where}: {mode!r} is not one of {', '.join(MODES)}"])
    return mode
