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
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache, partial
from random import Random
from typing import Any, TypeAlias

import msgspec

from tests.compat.fuzz import Report, Writing, searched
from tests.compat.msgspec_fuzz import part_of
from tests.contracts.fuzz_specs import Maker, Spec, build, edited, value_of
from typedq.contracts import document, fingerprint
from typedq.contracts.codec import Codec
from typedq.contracts.equality import change
from typedq.contracts.inhabited import dead_end
from typedq.contracts.type_tree import NoSchema
from typedq.errors import InvalidBody

FAMILY = 8  # types: 28 pairs
VALUES = 20
Written: TypeAlias = tuple[Any, bytes, Any]  # a value, its body, and that as JSON
_PLAIN = frozenset((str, int, bool, bytes, type(None), uuid.UUID, dt.date))
_RECORDS = ("__pydantic_fields__", "__dataclass_fields__", "__struct_fields__")


class Side(Writing[Written]):
    """One type of a family: its schema and codec. Raises `NoSchema`."""

    def __init__(self, spec: Spec, random: Random) -> None:
        super().__init__()
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

    def drawn(self) -> list[Written]:
        """Values that the contract takes, with what is written of them, and that as JSON.

        A member that is not required may be missing, so some bodies lack one.
        """
        found = dict[bytes, Written]()
        for _ in range(VALUES):
            try:
                value = value_of(self.spec, self._random)
                body = self.codec.write(value, 1 << 20, 64)
            except (InvalidBody, ValueError, TypeError):
                continue
            plain = json.loads(body)
            found.setdefault(body, (value, body, plain))
            self._add_shorter(plain, found)
        return list(found.values())

    def _add_shorter(self, plain: Any, found: dict[bytes, Written]) -> None:
        less = _thinned(plain, self._random)
        body = json.dumps(less, separators=(",", ":")).encode()
        if less == plain or body in found:
            return
        try:
            value = self.codec.read(body, 1 << 20, 64)
            whole = json.loads(self.codec.write(value, 1 << 20, 64))
        except InvalidBody:
            return
        if part_of(less, whole):
            found[body] = value, body, less


def _thinned(plain: Any, random: Random) -> Any:
    if isinstance(plain, list):
        return [_thinned(item, random) for item in plain]
    if not isinstance(plain, dict):
        return plain
    return {key: _thinned(item, random) for key, item in plain.items() if random.random() < 0.6}


def counterexample(reader: Side, values: Sequence[Written]) -> str | None:
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
    if type(sent) is type(read) and type(sent) in _PLAIN and sent == read:
        return True
    left, right = _members(sent), _members(read)
    if left is not None and right is not None and isinstance(body, dict):
        if isinstance(sent, Mapping) and isinstance(read, Mapping) and left.keys() == right.keys():
            bodies = {key.removesuffix(".0"): item for key, item in body.items()} | body
            return all(means_the_same(left[k], right[k], bodies.get(k)) for k in left)
        texts = isinstance(read, Mapping) and not any(isinstance(key, bytes) for key in read)
        if texts and right.keys() - body.keys():
            return False  # a key that was changed
        shared = left.keys() & right.keys() & body.keys()
        return all(means_the_same(left[name], right[name], body[name]) for name in shared)
    if _is_row(sent) and _is_row(read) and (body is None or isinstance(body, list)):
        parts = itertools.repeat(None) if body is None else body
        return len(sent) == len(read) and all(map(means_the_same, sent, read, parts))
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
    cls: Any = type(value)
    if (names := _names_of(cls)) is None:
        return None
    extra: Any = getattr(value, "__pydantic_extra__", None) or {}
    return {**{written: getattr(value, name) for name, written in names}, **extra}


@lru_cache(maxsize=500)
def _names_of(cls: Hashable) -> list[tuple[str, str]] | None:
    """The fields of a record, each with the name under which it travels; None of what is none."""
    fields: Any = getattr(cls, "__pydantic_fields__", None)
    if fields:
        return [(name, field.serialization_alias or name) for name, field in fields.items()]
    for place in _RECORDS:
        if (names := getattr(cls, place, None)) is not None:
            return [(name, name) for name in names]
    return None


def _key(key: Any) -> str:
    if type(key) is str:
        return key
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
                against = counterexample(reader, writer.batch(0))
                if not getattr(found, way):
                    against = searched(against, writer, partial(counterexample, reader))
                report.judge(found, way, against, (old.schema, new.schema))
                if against is not None and old.fingerprint == new.fingerprint:
                    report.dangerous.add(f"{report.at}: the same fingerprint; {against}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
            report.crash(error, old.schema, new.schema)


def _built(spec: Spec, random: Random, report: Report) -> Side | None:
    try:
        return Side(spec, random)
    except NoSchema:
        report.refused += 1
    except Exception as error:  # noqa: BLE001 - a type must be taken or refused
        report.crash(error, spec, None)
    return None
