"""Read and write a history: `<task>/<n>.json`, one contract each, and `<task>/accepted.json`.

A version is a JSON Schema document with an `x-typedq` block. Committed versions are never changed;
the hash in `document` detects changes. Only `mode` in the block may be edited: one of MODES for
this task, or null for the mode of the app.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from typedq.compat import Rule
from typedq.contracts import document_hash, fingerprint
from typedq.contracts.json_tree import is_array, is_object
from typedq.errors import ConfigurationError, meant

MODES: Final = tuple(
    f"{m}{far}" for m in ("backward", "forward", "full") for far in ("", "_transitive")
)
_CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")  # of a version; a path of an upload may say anything
_TOO_HIGH = re.compile(r"[1-9][0-9]{9,}")
_RESTORE = (
    "history is never changed: restore the file, and run typedq export-schemas for a next version"
)

_COPY = "copy the entry that typedq check-schemas prints"


@dataclass(frozen=True, slots=True)
class Version:
    """One contract that a task had.

    number: of its file, from 1; 0 if it has none
    app: the namespace of the app that exported it; None if the file does not say
    """

    number: int
    fingerprint: str
    schema: dict[str, Any]
    mode: str | None = None
    app: str | None = None

    def __str__(self) -> str:
        return f"version {self.number}" if self.number else f"contract {self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A break that a person allowed, for messages of version `version` and before."""

    rule: str
    path: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class History:
    """All contracts of one task name, oldest first; `ordered`: False if the order is unknown."""

    task: str
    versions: tuple[Version, ...]
    accepted: tuple[Accepted, ...] = ()
    ordered: bool = True

    @property
    def removed(self) -> bool:
        """Return True if a person accepted that the task is gone."""
        last = self.versions[-1].number if self.versions else 0
        return any(a.rule == "TASK_REMOVED" and a.version >= last for a in self.accepted)


def next_version(
    task: str, number: int, schema: dict[str, Any], mode: str | None, app: str | None = None
) -> str:
    """Return the text of a version's file; equal arguments give equal text."""
    block = {
        "task": task,
        "version": number,
        "fingerprint": fingerprint(schema),
        "document": document_hash(schema),
        "mode": mode,
        **({"app": app} if app else {}),
    }
    head = {"$schema": schema["$schema"]} if "$schema" in schema else {}
    return json.dumps(head | {"x-typedq": block} | schema, indent=2, ensure_ascii=False) + "\n"


def parse(files: Mapping[str, bytes], where: str) -> dict[str, History]:
    """Parse files by path into histories by task name. Raises ConfigurationError."""
    problems, histories = list[str](), dict[str, History]()
    tasks: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        task, _, name = path.partition("/")
        tasks.setdefault(task, {})[name] = content
    for task, named in sorted(tasks.items()):
        versions, accepted = list[Version](), tuple[Accepted, ...]()
        for name, content in named.items():
            try:
                if name == "accepted.json":
                    accepted = _accepted(_json(content))
                else:
                    versions.append(_version(task, _stem(name), _json(content)))
            except (ValueError, RecursionError) as error:
                problems.append(f"{where}/{task}/{name}: {error}")
        versions.sort(key=lambda version: version.number)
        histories[task] = History(task, tuple(versions), accepted)
        numbers = sorted(int(n) for n in map(_stem, named) if _NUMBER.fullmatch(n))
        if missing := list(_gaps(numbers)):
            gap = f"there is version {numbers[-1]}, but not {', '.join(missing)}"
            problems.append(f"{where}/{task}: {gap}; restore it; a history has no gaps")
    if problems:
        raise ConfigurationError(problems)
    return histories


def _stem(name: str) -> str:
    return name.removesuffix(".json")


def _gaps(numbers: Iterable[int]) -> Iterator[str]:
    """Yield what is missing between sorted numbers, a longer gap by its ends."""
    before = 0
    for number in numbers:
        first, last = before + 1, number - 1
        if last - first < 2:
            yield from map(str, range(first, number))
        else:
            yield f"{first} to {last}"
        before = number


def _json(content: bytes) -> Any:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8; restore the file") from None
    if _CONFLICT.search(text):
        raise ValueError(
            "holds a merge conflict: two branches wrote it; keep the file of the branch you merge"
            " into, and run typedq export-schemas again"
        )
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error}); restore the file") from None
    except RecursionError:
        raise ValueError("is nested too deeply; restore the file") from None


def _version(task: str, name: str, document: Any) -> Version:
    block: Any = document.get("x-typedq") if is_object(document) else None
    if not is_object(document) or not is_object(block):
        raise ValueError(
            "has no x-typedq block, so typedq export-schemas did not write it; restore it, or"
            " remove it if it never was a contract"
        )
    schema = {key: value for key, value in document.items() if key != "x-typedq"}
    number, mode, app = block.get("version"), block.get("mode"), block.get("app")
    checks = [
        (block.get("task") == task, f"says that its task is {block.get('task')!r}, not {task!r}"),
        (
            not _TOO_HIGH.fullmatch(name),
            "has a number above 999999999; versions are counted from 1",
        ),
        (
            _NUMBER.fullmatch(name) and str(number) == name,
            f"says that it is version {number!r}; the name disagrees",
        ),
        (block.get("document") == document_hash(schema), f"was edited; {_RESTORE}"),
        (block.get("fingerprint") == fingerprint(schema), f"has a wrong fingerprint; {_RESTORE}"),
        (
            mode is None or mode in MODES,
            f"has the mode {mode!r}, which is not one of {', '.join(MODES)}",
        ),
        (app is None or isinstance(app, str), f"has the app {app!r}, which is not a name"),
    ]
    for holds, problem in checks:
        if not holds:
            raise ValueError(problem)
    return Version(int(name), block["fingerprint"], schema, mode, app)


def _accepted(entries: Any) -> tuple[Accepted, ...]:
    form = 'an entry is {"rule": ..., "path": "$...", "from": version number, "reason": "..."}'
    if not is_array(entries):
        raise ValueError(f"is not a list; {form}")
    found = list[Accepted]()
    for number, entry in enumerate(entries, 1):
        match entry:
            case {
                "rule": str(rule),
                "path": str(path),
                "from": int(version),
                "reason": str(reason),
            }:
                found.append(Accepted(rule, path, version, reason.strip()))
            case _:
                raise ValueError(f"entry {number} cannot be read; {form}")
        if rule not in (rules := get_args(Rule)):
            unknown = f"there is no rule {rule!r}{meant(rule, rules)}"
            raise ValueError(f"entry {number}: {unknown}; {_COPY}")
        if not reason.strip(" ."):
            raise ValueError(f"entry {number} has no reason; say why this may break")
    return tuple(found)
