"""Random types of pydantic, annotated-types and typedq, through contracts.

The types of a family come of one another by random edits. Values that one contract accepts at
enqueue are read by another.
"""

from __future__ import annotations

import datetime as dt
import enum
import itertools
import json
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from random import Random
from typing import Any

import msgspec

from tests.compat.fuzz import Report, searched
from tests.compat.msgspec_fuzz import part_of
from tests.contracts.fuzz_specs import Maker, Spec, build, edited, value_of
from typedq.contracts import document, fingerprint
from typedq.contracts.codec import Codec
from typedq.contracts.equality import change
from typedq.contracts.inhabited import dead_end
from typedq.contracts.type_tree import NoSchema
from typedq.errors import InvalidBody

FAMILY = 4  # types
VALUES = 32
_RECORDS = ("__pydantic_fields__", "__dataclass_fields__", "__struct_fields__")


class Side:
    """One type of a family: its schema and codec. Raises `NoSchema`."""

    def __init__(self, spec: Spec, random: Random) -> None:
        self._random = random
        try:
            self.spec, self.kind = spec, build(spec)
        except Exception as error:  # whatever pydantic and msgspec have against it
            raise NoSchema("$", str(error)) from error
        self.schema = document(self.kind)
        if dead_end(self.schema) is not None:
            raise NoSchema("$", "no value fits")
        self.codec = Codec(self.kind)
        self.fingerprint = fingerprint(self.schema)

    @cached_property
    def values(self) -> list[tuple[Any, bytes, Any]]:
        return self.drawn()

    def drawn(self) -> list[tuple[Any, bytes, Any]]:
        """Values that the contract takes, with what is written of them, and that as JSON.

        A member that is not required may be missing, so some bodies lack one.
        """
        found = list[tuple[Any, bytes, Any]]()
        for _ in range(VALUES):
            try:
                value = value_of(self.spec, self._random)
                body = self.codec.write(value, 1 << 20, 64)
            except (InvalidBody, ValueError, TypeError):
                continue
            plain = json.loads(body)
            found.append((value, body, plain))
            if (shorter := self._without_some(plain)) is not None:
                found.append(shorter)
        return found

    def _without_some(self, plain: Any) -> tuple[Any, bytes, Any] | None:
        less = _thinned(plain, self._random)
        if less == plain:
            return None
        body = json.dumps(less).encode()
        try:
            value = self.codec.read(body, 1 << 20, 64)
            whole = json.loads(self.codec.write(value, 1 << 20, 64))
        except InvalidBody:
            return None
        return (value, body, less) if part_of(less, whole) else None


def _thinned(plain: Any, random: Random) -> Any:
    if isinstance(plain, list):
        return [_thinned(item, random) for item in plain]
    if not isinstance(plain, dict):
        return plain
    return {key: _thinned(item, random) for key, item in plain.items() if random.random() < 0.6}


def counterexample(reader: Side, values: Sequence[tuple[Any, bytes, Any]]) -> str | None:
    """A value that was sent, and the reader refuses or takes for another one."""
    for value, body, plain in values:
        try:
            read = reader.codec.read(body, 1 << 20, 64)
        except InvalidBody as error:
            return f"{body!r} is refused: {error}"
        if not means_the_same(value, read, plain):
            return f"{body!r}: {value!r} becomes {read!r}"
    return None


# --- does a value mean the same -------------------------------------------------------------------


def means_the_same(sent: Any, read: Any, body: Any) -> bool:
    """Whether what was read is what was sent, or a part of it, or its text."""
    left, right = _members(sent), _members(read)
    if left is not None and right is not None and isinstance(body, dict):
        if isinstance(sent, Mapping) and isinstance(read, Mapping) and left.keys() == right.keys():
            return all(means_the_same(left[k], right[k], body.get(k)) for k in left)
        texts = isinstance(read, Mapping) and not any(isinstance(key, bytes) for key in read)
        if texts and right.keys() - body.keys():
            return False  # a key that was changed
        shared = left.keys() & right.keys() & body.keys()
        return all(means_the_same(left[name], right[name], body[name]) for name in shared)
    if _is_row(sent) and _is_row(read) and isinstance(body, list):
        return len(sent) == len(read) and all(map(means_the_same, sent, read, body))
    if isinstance(sent, set) or isinstance(read, set):
        both = _is_row(read) or isinstance(read, set)
        return (
            both
            and len(sent) == len(read)
            and all(any(means_the_same(one, other, None) for other in read) for one in sent)
        )
    sent, read = (getattr(one, "value", one) for one in (sent, read))
    if change(sent, read) is None:
        return True
    if isinstance(sent, (int, float)) and not isinstance(sent, bool):
        return type(read).__name__ in ("float", "Decimal", "int") and float(read) == float(sent)
    if type(read).__name__.endswith(("Url", "Dsn")) and type(sent).__name__.endswith("Url"):
        return str(sent) == str(read)
    # Text that stood for a date, a URL or the like, read as that text.
    return type(read) is str and not isinstance(sent, (str, bytes)) and body in (read, None)


def _is_row(value: Any) -> bool:
    return type(value).__name__ in ("list", "tuple", "deque")


def _members(value: Any) -> dict[str, Any] | None:
    """The members of a record or dict, by the names under which they travel."""
    if isinstance(value, Mapping):
        return {_key(key): item for key, item in value.items()}
    if not any(hasattr(type(value), name) for name in _RECORDS):
        return None
    fields: Any = getattr(type(value), "__pydantic_fields__", None)
    names = fields or getattr(type(value), "__struct_fields__", None) or value.__dataclass_fields__
    wires = {name: (fields[name].serialization_alias or name) if fields else name for name in names}
    extra: Any = getattr(value, "__pydantic_extra__", None) or {}
    return {**{wire: getattr(value, name) for name, wire in wires.items()}, **extra}


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, enum.Enum):
        return str(key.value)
    if isinstance(key, float) and key.is_integer():
        return str(int(key))  # as which a whole number was written
    plain = msgspec.json.encode({_text(key): None})
    return str(next(iter(msgspec.json.decode(plain))))


def _text(key: Any) -> Any:
    return (
        key
        if isinstance(key, (str, bytes, uuid.UUID, dt.date, dt.time, dt.timedelta))
        else str(key)
    )


# --- the run --------------------------------------------------------------------------------------


def one_round(random: Random, report: Report) -> None:
    """Compare all types of a family with each other."""
    maker = Maker(random)
    specs = [maker.record(0) if random.random() < 0.7 else maker.spec(0)]
    while len(specs) < FAMILY:
        specs.append(edited(random.choice(specs), maker))
    sides = [side for spec in specs if (side := _built(spec, random, report))]
    for old, new in itertools.combinations(sides, 2):
        found = report.compared(old.schema, new.schema)
        if found is None:
            continue
        try:
            for way, writer, reader in (("backward", old, new), ("forward", new, old)):
                against = counterexample(reader, writer.values)
                if not getattr(found, way):
                    against = searched(against, partial(_drawn_again, reader, writer))
                report.judge(found, way, against, (old.schema, new.schema))
                if against is not None and old.fingerprint == new.fingerprint:
                    report.dangerous.add(f"{report.at}: the same fingerprint; {against}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
            report.crash(error, old.schema, new.schema)


def _drawn_again(reader: Side, writer: Side) -> str | None:
    return counterexample(reader, writer.drawn())


def _built(spec: Spec, random: Random, report: Report) -> Side | None:
    try:
        return Side(spec, random)
    except NoSchema:
        report.refused += 1
    except Exception as error:  # noqa: BLE001 - a type must be taken or refused
        report.crash(error, spec, None)
    return None
