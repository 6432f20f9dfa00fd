"""The file of a bundle: written with the same bytes for the same app, and read strictly.

docs/elsewhere.md describes the format. Whitespace and line ends may be changed on the way; any
other edit changes the hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, NoReturn

from typedq.bundle.secret_paths import secret_paths
from typedq.contracts import fingerprint
from typedq.contracts.json_tree import is_array, is_object
from typedq.errors import InvalidBundle
from typedq.message import PROTOCOL
from typedq.policy import NAME

FORMAT: Final = 1
MAX_BYTES: Final = 16 << 20
MAX_TASKS: Final = 2_000
MAX_QUEUES: Final = 1_000
Kind = Literal["bundle", "pins"]
PINS_FILE: Final = "typedq.lock.json"
_AGAIN = "make it again with `typedq bundle`"


@dataclass(frozen=True, slots=True)
class BundledTask:
    """One task. `schema`: its JSON Schema; `queue`: where its messages go unless a call says so."""

    name: str
    queue: str
    schema: dict[str, Any]

    @property
    def contract(self) -> str:
        """Return the contract id, `task@fingerprint`."""
        return f"{self.name}@{fingerprint(self.schema)}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The contracts of one namespace, tasks by name. `queues`: in strict priority.

    ordered: the members of the schemas are in the order of the owner's code
    max_body (bytes), max_depth (levels): what the workers accept
    kind: `bundle`, or `pins` for the contracts that one producer writes
    """

    namespace: str
    queues: tuple[str, ...]
    default_queue: str
    tasks: Mapping[str, BundledTask]
    ordered: bool = True
    max_body: int = 1 << 20
    max_depth: int = 64
    protocol: int = PROTOCOL
    kind: Kind = "bundle"


def dump(bundle: Bundle) -> bytes:
    """Return the file of a bundle: the same bytes for the same bundle.

    Raises InvalidBundle if nobody could read it: more tasks, queues or bytes than are allowed.
    """
    document = {
        "typedq": bundle.kind,
        "format": FORMAT,
        "protocol": bundle.protocol,
        "namespace": bundle.namespace,
        "queues": list(bundle.queues),
        "default_queue": bundle.default_queue,
        "max_body": bundle.max_body,
        "max_depth": bundle.max_depth,
        "ordered": bundle.ordered,
        "tasks": {
            name: {
                "contract": task.contract,
                "queue": task.queue,
                "secrets": secret_paths(task.schema),
                "schema": task.schema,
            }
            for name, task in sorted(bundle.tasks.items())
        },
    }
    whole = document | {"sha256": _hash(document)}
    data = (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()
    parse(data, f"the {bundle.kind} of {bundle.namespace}", kind=bundle.kind)
    return data


def parse(
    data: bytes, where: str, *, namespace: str | None = None, kind: Kind = "bundle"
) -> Bundle:
    """Read the file of a bundle. Raises InvalidBundle with the reason.

    where: its name, for the error; namespace: the one that is expected
    """
    try:
        return _Reader(where, kind).read(data, namespace)
    except RecursionError:
        raise InvalidBundle(where, f"it is nested too deep; {_AGAIN}") from None


class _Reader:
    def __init__(self, where: str, kind: Kind) -> None:
        self._where = where
        self._kind: Kind = kind

    def _refuse(self, reason: str) -> NoReturn:
        raise InvalidBundle(self._where, reason)

    def _check(self, holds: object, reason: str) -> None:
        if not holds:
            self._refuse(reason)

    def read(self, data: bytes, namespace: str | None) -> Bundle:
        document = self._json(data)
        self._check(
            is_object(document) and document.get("typedq") == self._kind,
            f"it is not {_NAMES[self._kind]}",
        )
        for name, known in (("format", FORMAT), ("protocol", PROTOCOL)):
            number: Any = document.get(name)
            self._check(type(number) is int and number > 0, f"{name} is not a number from 1 upward")
            newer = f"its {name} is {number}, and this typedq knows {known}: upgrade typedq"
            self._check(number <= known, newer)
        fields = {key: value for key, value in document.items() if key != "sha256"}
        self._check(
            document.get("sha256") == _hash(fields),
            f"it was edited, because its hash does not fit; {_AGAIN}",
        )
        for name in (*_FIELDS, *fields):
            self._check(name in fields, f"{name} is missing; {_AGAIN}")
            self._check(name in _FIELDS, f"it has an unknown member {name!r}; {_AGAIN}")
            self._check(_FIELDS[name](fields[name]), f"{name} {_LIMITS.get(name, _ODD)}")
        own, queues = fields["namespace"], fields["queues"]
        other = f"it is of the namespace {own!r}, not of {namespace!r}"
        self._check(namespace in (None, own), other)
        self._check(fields["default_queue"] in queues, "default_queue is not one of the queues")
        return Bundle(
            own,
            tuple(queues),
            fields["default_queue"],
            {name: self._task(name, task, queues) for name, task in fields["tasks"].items()},
            fields["ordered"],
            fields["max_body"],
            fields["max_depth"],
            fields["protocol"],
            self._kind,
        )

    def _task(self, name: str, task: Any, queues: list[str]) -> BundledTask:
        self._check(_is_name(name), f"{name!r:.80} is not the name of a task")
        expected = {"contract", "queue", "secrets", "schema"}
        self._check(
            is_object(task) and task.keys() == expected and is_object(task["schema"]),
            f"task {name}: it has {', '.join(sorted(expected))}, and nothing else",
        )
        self._check(task["queue"] in queues, f"task {name}: its queue is not one of the queues")
        made = BundledTask(name, task["queue"], task["schema"])
        try:
            contract = made.contract
        except ValueError as error:
            self._refuse(f"task {name}: {error}")
        self._check(
            contract == task["contract"],
            f"task {name}: its schema is that of {contract}, not of {task['contract']!r:.120};"
            f" {_AGAIN}",
        )
        self._check(
            task["secrets"] == secret_paths(made.schema),
            f"task {name}: its secrets are not those of its schema; {_AGAIN}",
        )
        return made

    def _json(self, data: bytes) -> Any:
        self._check(len(data) <= MAX_BYTES, f"{len(data):,} bytes; {MAX_BYTES:,} are allowed")
        try:
            return json.loads(
                data.decode(), object_pairs_hook=_members, parse_constant=_not_a_number
            )
        except ValueError as error:
            self._refuse(f"it is not JSON, or not all of it: {error}; {_AGAIN}")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member stands there twice")
    return found


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _hash(document: Any) -> str:
    """Return 64 hex digits of compact JSON in the order of the file."""
    compact = json.dumps(document, separators=(",", ":"))
    return sha256(compact.encode()).hexdigest()


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_limit(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 53


def _are_queues(value: Any) -> bool:
    names = value if is_array(value) and all(map(_is_name, value)) else []
    return 0 < len(names) == len(set(names)) <= MAX_QUEUES


_ODD = "has a value that it cannot have"
_LIMITS = {
    "tasks": f"{_ODD}; there are 1 to {MAX_TASKS:,}",
    "queues": f"{_ODD}; there are 1 to {MAX_QUEUES:,}, each once",
}
_NAMES = {
    "bundle": "a bundle, which `typedq bundle` writes",
    "pins": f"a {PINS_FILE}, which `typedq generate` writes",
}
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "typedq": lambda _: True,
    "format": lambda _: True,
    "protocol": lambda _: True,
    "namespace": _is_name,
    "queues": _are_queues,
    "default_queue": _is_name,
    "max_body": _is_limit,
    "max_depth": _is_limit,
    "ordered": lambda value: isinstance(value, bool),
    "tasks": lambda value: is_object(value) and 0 < len(value) <= MAX_TASKS,
}
