"""Check contracts between repositories: what producers elsewhere write, and what workers read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from typedq import registry
from typedq.admin.bundles import of_place, read_file
from typedq.admin.tasks import declared
from typedq.app import TypedQ
from typedq.bundle import PINS_FILE, Bundle, parse
from typedq.compat import Change, compare
from typedq.errors import ConfigurationError
from typedq.registry import Declared

GONE = "TASK_REMOVED"


class Written(NamedTuple):
    """A contract that somebody elsewhere writes. `by`: where that is said."""

    by: str
    contract: str
    schema: Mapping[str, Any]


class Verdict(NamedTuple):
    """How tasks read a contract from elsewhere: `equal`, `upcaster`, `compatible`, or None if not.

    problems: what breaks it; none if there is no task of that name
    """

    written: Written
    read: str | None
    problems: Sequence[Change] = ()


def check(tasks: Sequence[Declared], written: Iterable[Written]) -> list[Verdict]:
    """Return how tasks read what is written elsewhere."""
    by_name = {name: task for task in tasks for name in (task.name, *task.aliases)}
    found = list[Verdict]()
    for each in written:
        name, _, fingerprint = each.contract.partition("@")
        task, schema = by_name.get(name), dict(each.schema)
        read = task.reads(fingerprint, schema) if task else None
        changes = compare(schema, task.schema).changes if task and not read else ()
        found.append(Verdict(each, read, [change for change in changes if not change.backward]))
    return found


def pins(places: Sequence[str], namespaces: Collection[str]) -> list[Written]:
    """Return the contracts that are pinned in files, folders, or at `git:REF[:PATH]`.

    namespaces: of the owner, if they are known; pins of others are left out
    Raises ConfigurationError, InvalidBundle.
    """
    found = list[Written]()
    for place in places:
        locks = _locks(place)
        if not locks:
            raise ConfigurationError([f"--pins: there is no {PINS_FILE} in {place}"])
        parsed = {where: parse(data, where, kind="pins") for where, data in locks.items()}
        ours = {w: b for w, b in parsed.items() if not namespaces or b.namespace in namespaces}
        if not ours:
            others = ", ".join(sorted({bundle.namespace for bundle in parsed.values()}))
            own = ", ".join(sorted(namespaces))
            problem = f"{place} pins contracts of {others}, and not of {own}"
            raise ConfigurationError([f"--pins: {problem}"])
        found += [w for where, bundle in ours.items() for w in _written(where, bundle)]
    return found


def _locks(place: str) -> dict[str, bytes]:
    if place.startswith("git:"):
        return registry.files_at_git(place.removeprefix("git:"), PINS_FILE)
    if not place:
        raise ConfigurationError([f"--pins: give the place of a {PINS_FILE}"])
    path = Path(place)
    files = [path] if path.is_file() else sorted(path.rglob(PINS_FILE))
    return {str(file): registry.content(file) for file in files}


def _written(where: str, bundle: Bundle) -> list[Written]:
    return [Written(where, task.contract, task.schema) for task in bundle.tasks.values()]


def stubs(app: TypedQ) -> list[Written]:
    """Return the contracts of an app's remote tasks. Raises ConfigurationError if it has none."""
    found = [
        Written("this code", task.contract.id, task.contract.schema)
        for task in app.declarations.remote.values()
    ]
    if not found:
        raise ConfigurationError(["--producer: this app has no remote tasks; see app.remote"])
    return found


def readers(place: str, namespace: str) -> list[Declared]:
    """Return the tasks that the workers run.

    place: a bundle, also at `git:REF:PATH`; contracts in a directory or at `git:REF`; or a server
    Raises ConfigurationError, InvalidBundle, ServerError.
    """
    at_git = place.removeprefix("git:") if place.startswith("git:") else ""
    if ":" in registry.repository(at_git)[1]:
        if not (files := registry.files_at_git(at_git)):
            problem = f"there is no file {place}; of contracts, give git:REF"
            raise ConfigurationError([f"--against: {problem}"])
        ((where, data),) = files.items()
        bundle = parse(data, where, namespace=namespace)
    elif Path(place).is_file():
        bundle = read_file(Path(place), namespace=namespace)
    else:
        bundle = of_place(place, namespace, "--against").bundle
    return [
        Declared(task.name, task.contract.partition("@")[2], task.schema)
        for task in bundle.tasks.values()
    ]


def namespaces(app: TypedQ | None, histories: Mapping[str, registry.History]) -> set[str]:
    """Return the namespaces of the owner: of its code, or as the committed contracts say."""
    if app is not None:
        return {app.settings.namespace}
    last = [history.versions[-1].app for history in histories.values() if history.versions]
    return set[str]() if None in last else {name for name in last if name}


def owned(app: TypedQ | None, histories: Mapping[str, registry.History]) -> list[Declared]:
    """Return the tasks of the owner: of its code, or the newest committed contracts."""
    return registry.newest(histories) if app is None else declared(app)


def report(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return the keys of `pins` and `producer` in `check-schemas --format json`."""
    return [
        {
            "by": each.written.by,
            "contract": each.written.contract,
            "read": each.read,
            "problems": [
                {"rule": p.rule, "path": p.path, "message": p.message, "fix": p.fix}
                for p in each.problems
            ]
            or ([] if each.read else [{"rule": GONE, "path": "$", "message": _GONE, "fix": _KEEP}]),
        }
        for each in verdicts
    ]


_GONE = "the workers have no task of that name, and park its messages"
_KEEP = "keep the task, or name it in aliases= of the one that took over, until nobody pins it"
