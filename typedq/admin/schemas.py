"""Check and export contracts: what `check-schemas` and `export-schemas` compute."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from typedq import registry
from typedq.addresses import project
from typedq.admin.tasks import declared
from typedq.app import TypedQ
from typedq.broker import Broker
from typedq.errors import ConfigurationError
from typedq.registry import Finding, History, LiveCheck, Verdict, Version

_TABLE = "[tool.typedq.schemas]"


class Schemas(NamedTuple):
    """The committed contracts of a project: directory, histories and default mode."""

    directory: Path
    histories: dict[str, History]
    mode: str


class Check(NamedTuple):
    """The verdicts on all tasks; `note` is a warning about the comparison, or ""."""

    verdicts: list[Verdict]
    directory: Path
    note: str = ""

    @property
    def fails(self) -> bool:
        """Return True if a change is unsafe or a contract is not exported."""
        return any(verdict.fails for verdict in self.verdicts)


def read(directory: Path | None = None, start: Path | None = None) -> Schemas:
    """Read the committed contracts. Raises ConfigurationError.

    directory: where they are; else TYPEDQ_SCHEMAS, else what [tool.typedq.schemas] says in the
        project that contains `start`
    """
    where, mode = locate(directory, start)
    return Schemas(where, registry.parse(registry.in_directory(where), short(where)), mode)


def locate(directory: Path | None = None, start: Path | None = None) -> tuple[Path, str]:
    """Return the directory of the contracts, as in `read`, and the default mode."""
    configured, mode = _configured(start)
    from_environment = os.environ.get("TYPEDQ_SCHEMAS")
    return directory or (Path(from_environment) if from_environment else configured), mode


def check(
    app: TypedQ | None,
    schemas: Schemas,
    *,
    against: str | None = None,
    mode: str | None = None,
) -> Check:
    """Compare the contracts of the code with the committed ones. Raises ConfigurationError.

    app: None checks the newest committed contracts instead of the code
    against: the deployed contracts: `git:REF`, a directory or the URL of a server
    """
    own_mode = mode and _checked(mode, "--mode")
    local = schemas.histories
    tasks = registry.newest(local) if app is None else declared(app)
    if not (tasks or local):
        nothing = f"there are no tasks, and no contracts in {short(schemas.directory)}"
        raise ConfigurationError([nothing])
    base, note = _base(against, schemas, app) if against else (None, "")
    verdicts = registry.check_histories(
        tasks,
        local,
        base,
        mode=own_mode,
        default_mode=schemas.mode,
        app=None if app is None else app.settings.namespace,
    )
    return Check(verdicts, schemas.directory, note)


def check_live(app: TypedQ) -> LiveCheck:
    """Read waiting messages and live workers from the server. Raises ServerError."""
    queues = [queue.name for queue in app.settings.queues]
    return registry.check_server(app.broker, declared(app), queues, app.settings.lease)


def export(app: TypedQ, schemas: Schemas) -> tuple[Check, dict[str, Path]]:
    """Write the next version of each contract that changed; return the files by task."""
    tasks = {task.name: task for task in declared(app)}
    local, where = schemas.histories, schemas.directory
    name = app.settings.namespace
    verdicts = registry.check_histories(
        [*tasks.values()], local, default_mode=schemas.mode, app=name
    )
    written = dict[str, Path]()
    for verdict in verdicts:
        if verdict.task not in tasks or not verdict.is_new_version:
            continue
        before = local[verdict.task].versions if verdict.task in local else ()
        number, own_mode = len(before) + 1, before[-1].mode if before else None
        file = written[verdict.task] = where / verdict.task / f"{number}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        schema = tasks[verdict.task].schema
        text = registry.next_version(verdict.task, number, schema, own_mode, name)
        file.write_text(text, encoding="utf-8")
    return Check(verdicts, where), written


def report(checked: Check) -> dict[str, Any]:
    """Return the output of `check-schemas --format json`."""
    order = registry.common_order(verdict.order for verdict in checked.verdicts)
    tasks = [describe(verdict) for verdict in checked.verdicts]
    return {"safe": not checked.fails, "order": order, "tasks": tasks}


def report_live(live: LiveCheck) -> dict[str, Any]:
    """Return the output of `check-schemas --live --format json`."""
    return {
        "safe": all(waiting.read is not None for waiting in live.waiting),
        "order": live.order,
        "workers": live.workers,
        "due_until": day(live.due_ms),
        "waiting": [
            {"contract": w.contract, "messages": w.count, "read": w.read, "why": w.why}
            for w in live.waiting
        ],
    }


def describe(verdict: Verdict) -> dict[str, Any]:
    """Return the JSON object of one task in that output."""
    findings = [
        {
            "history": f.history,
            "rule": f.change.rule,
            "path": f.change.path,
            "breaks": sides(f),
            "fails": f.fails,
            "accepted": f.accepted,
            "versions": numbers(f.versions),
            "message": f.change.message,
            "example": f.change.example,
            "fix": fix(f),
            "old": f.change.old,
            "new": f.change.new,
        }
        for f in verdict.findings
    ]
    return {
        "task": verdict.task,
        "status": verdict.status,
        "exported": verdict.exported,
        "mode": verdict.mode,
        "order": verdict.order,
        "findings": findings,
        "read_by_upcaster": numbers(verdict.upcast),
        "no_longer_needed": [
            {"rule": a.rule, "path": a.path, "from": a.version}
            for _, a in verdict.stale_acceptances
        ],
    }


def sides(finding: Finding) -> list[str]:
    """Return which of backward and forward compatibility a finding breaks."""
    return [side for side in ("backward", "forward") if getattr(finding, side)]


def numbers(versions: Sequence[Version]) -> list[int | str]:
    """Return the numbers of versions, or the fingerprint of one without a file."""
    return [version.number or version.fingerprint for version in versions]


def fix(finding: Finding) -> str:
    """Return how to fix a finding."""
    return finding.change.fix.replace("the old version", str(finding.versions[-1]))


def day(ms: int | None) -> str | None:
    """Return ms since the epoch as date and minute in UTC."""
    return None if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def short(path: Path) -> str:
    """Return a path relative to the current directory if it is below it."""
    here, full = Path.cwd(), path.resolve()
    return (full.relative_to(here) if full.is_relative_to(here) else path).as_posix()


def histories_at(place: str, directory: Path, option: str) -> dict[str, History]:
    """Return the contracts in a directory, in `directory` at `git:REF`, or at `git:DIR#REF`."""
    if place.startswith("git:"):
        folder, ref = registry.repository(place.removeprefix("git:"))
        files = registry.at_git(ref, _configured(Path(folder))[0] if folder else directory)
    elif place and Path(place).is_dir():
        files = registry.in_directory(Path(place))
    else:
        problem = f"there is no directory {place}; for a git ref, git:{place}"
        raise ConfigurationError([f"{option}: {problem}"])
    return registry.parse(files, place)


def _base(against: str, schemas: Schemas, app: TypedQ | None) -> tuple[Mapping[str, History], str]:
    """Return the deployed contracts, and a note if there are none."""
    where, local = schemas.directory, schemas.histories
    if "://" in against:
        if app is None:
            raise ConfigurationError(["--against: a server needs the app, for its namespace"])
        server = Broker(against, app.settings.namespace)
        return registry.published_histories(server, local), ""
    base = histories_at(against, where, "--against")
    if problems := registry.modified_versions(local, base, short(where), against):
        raise ConfigurationError(problems)
    return base, "" if base else f"{against} has no contracts, so all tasks count as new"


def _configured(start: Path | None) -> tuple[Path, str]:
    """Return the directory and the mode of [tool.typedq.schemas], or the defaults."""
    root = project(start)
    table: dict[str, Any] = {"directory": "schemas", "mode": "backward_transitive"}
    known = set(table)
    if root is not None:
        file = root / "pyproject.toml"
        try:
            text = file.read_text(encoding="utf-8")
            table |= tomllib.loads(text).get("tool", {}).get("typedq", {}).get("schemas", {})
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise ConfigurationError([f"{_TABLE} in {file} cannot be read: {error}"]) from None
    if unknown := sorted(table.keys() - known):
        raise ConfigurationError([f"{_TABLE} has no {name!r}" for name in unknown])
    directory = (root or start or Path.cwd()) / str(table["directory"])
    return directory, _checked(table["mode"], f"mode in {_TABLE}")


def _checked(mode: str, where: str) -> str:
    if mode not in registry.MODES:
        expected = ", ".join(registry.MODES)
        raise ConfigurationError([f"{where}: {mode!r} is not one of {expected}"])
    return mode
