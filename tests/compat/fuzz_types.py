"""Random types as trees: how to build, edit, and write values of them."""

from __future__ import annotations

import base64
import copy
import dataclasses
import datetime as dt
import enum
import string
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from random import Random
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional, TypedDict, Union

import msgspec
import pydantic
from msgspec import Meta

Json = Any
NO_DEFAULT: Any = ...  # survives a deep copy
RECORDS = ("struct", "dataclass", "typeddict", "namedtuple", "model")


@dataclasses.dataclass
class Field:
    name: str
    kind: Node
    default: Any = NO_DEFAULT  # as JSON


@dataclasses.dataclass
class Node:
    name: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    parts: list[Node] = dataclasses.field(default_factory=list)
    fields: list[Field] = dataclasses.field(default_factory=list)

    def __iter__(self) -> Iterator[Node]:
        yield self
        for part in [*self.parts, *(field.kind for field in self.fields)]:
            yield from part


# --- making trees -------------------------------------------------------------------------------

SCALARS: tuple[str, ...] = (
    "int",
    "float",
    "str",
    "bool",
    "bytes",
    "datetime",
    "date",
    "time",
    "timedelta",
    "uuid",
)
SCALARS += ("decimal", "literal", "enum")
KEYS = ("str", "str", "int", "uuid", "date", "enum", "literal", "float", "bytes")
NAMES = "abcdef"


class Maker:
    """`models`: everything must be understood by pydantic too."""

    def __init__(self, random: Random, *, models: bool) -> None:
        self.random, self.models = random, models

    def scalar(self, names: tuple[str, ...] = SCALARS) -> Node:
        random = self.random
        node = Node(random.choice(names))
        if node.name in ("literal", "enum"):
            pool: list[Any] = random.choice([["a", "b", "c", "1"], [1, 2, 3]])
            if node.name == "literal" and not self.models and random.random() < 0.2:
                pool = ["a", 1, "1", 2]
            node.options["values"] = random.sample(pool, random.randint(1, 3))
        if random.random() < 0.25:
            self.constrain(node)
        return node

    def constrain(self, node: Node) -> None:
        random = self.random
        low, high = random.randint(0, 3), random.randint(3, 6)
        if node.name in ("int", "float"):
            node.options = random.choice(
                [{"ge": low}, {"gt": low}, {"le": high}, {"lt": high}, {"ge": low, "lt": high + 1}]
                + ([{"multiple_of": random.choice([2, 3, 6])}] if node.name == "int" else [])
            )
        elif node.name in ("str", "bytes", "list", "set", "dict", "vartuple"):
            node.options |= random.choice(
                [{"min_length": low}, {"max_length": high}, {"min_length": low, "max_length": high}]
            )
            if node.name == "str" and random.random() < 0.3:
                node.options = {"pattern": random.choice(["^a", "b$"])}
        elif node.name in ("datetime", "time") and not self.models:
            node.options = {"tz": random.choice([True, False])}

    def node(self, depth: int = 0) -> Node:
        random, roll = self.random, self.random.random()
        if depth > 2 or roll < 0.45:
            return self.scalar()
        if roll < 0.62:
            return self.collection(depth)
        if roll < 0.8:
            return self.union(depth)
        if self.models:
            return self.record(depth, "model")
        return self.record(depth, random.choice(("struct",) * 5 + RECORDS[1:4]))

    def collection(self, depth: int) -> Node:
        name = self.random.choice(("list", "list", "set", "vartuple", "tuple", "dict", "dict"))
        if name == "set":
            made = Node("set", {}, [self.scalar(("int", "str", "uuid", "date", "enum"))])
        elif name == "tuple":
            made = Node(
                "tuple", {}, [self.node(depth + 1) for _ in range(self.random.randint(1, 3))]
            )
        elif name == "dict":
            keys = KEYS[:4] if self.models else KEYS
            made = Node("dict", {}, [self.scalar(keys), self.node(depth + 1)])
        else:
            made = Node(name, {}, [self.node(depth + 1)])
        if self.random.random() < 0.2:
            self.constrain(made)
        return made

    def union(self, depth: int) -> Node:
        random = self.random
        if random.random() < 0.35:
            if self.models:
                made = [self.record(depth + 1, "model") for _ in range(random.randint(2, 3))]
                return Node("union", {}, made)
            tags = random.sample(["A", "B", "C"], random.randint(2, 3))
            array_like = random.random() < 0.25
            return Node("union", {}, [self.variant(depth, tag, array_like) for tag in tags])
        members = [self.node(depth + 1) for _ in range(random.randint(1, 3))]
        return flattened([*members, Node("none")] if random.random() < 0.7 else members)

    def variant(self, depth: int, tag: str, array_like: bool) -> Node:
        made = self.record(depth + 1, "struct")
        made.options = {"tag": tag, "array_like": array_like}
        return made

    def record(self, depth: int, name: str) -> Node:
        random = self.random
        made = Node(name)
        made.fields = [self.field(n, depth) for n in random.sample(NAMES, random.randint(0, 4))]
        if name == "struct":
            chance = random.random()
            made.options = {
                "forbid": random.random() < 0.15,
                "array_like": chance < 0.2,
                "tag": random.choice(["A", "B"]) if chance > 0.9 else None,
                "recursive": chance > 0.2 and random.random() < 0.2,
            }
        if name == "model":
            extra = random.choice(["ignore"] * 4 + ["forbid", "allow"])
            made.options = {"extra": extra, "recursive": random.random() < 0.2}
        return made

    def field(self, name: str, depth: int) -> Field:
        kind = self.node(depth + 1)
        field = Field(name, kind)
        if self.random.random() < 0.4:
            self.give_default(field)
        return field

    def give_default(self, field: Field) -> None:
        if any(node.name in RECORDS for node in field.kind):
            if field.kind.name != "union":
                return
            if not any(part.name == "none" for part in field.kind.parts):
                return
            field.default = None
        else:
            field.default = Writer(self.random).value(field.kind)


def flattened(members: list[Node]) -> Node:
    """A union that msgspec can tell apart: at most one member of each JSON kind."""
    taken, kept = set[str](), list[Node]()
    flat = [p for m in members for p in (m.parts if m.name == "union" else [m])]
    for member in flat:
        kinds = json_kinds(member)
        if not kinds & taken and not (member.name == "struct" and member.options.get("tag")):
            taken |= kinds
            kept.append(member)
    kept = kept or [Node("int")]
    return kept[0] if len(kept) == 1 else Node("union", {}, kept)


def json_kinds(node: Node) -> set[str]:
    if node.name in ("literal", "enum"):
        return {"str" if isinstance(v, str) else "int" for v in node.options["values"]}
    array = ("list", "set", "vartuple", "tuple", "namedtuple")
    if node.name in array or node.options.get("array_like"):
        return {"array"}
    if node.name in ("struct", "dataclass", "typeddict", "model", "dict"):
        return {"object"}
    return {node.name if node.name in ("int", "float", "bool", "none") else "str"} | (
        {"int", "float"} if node.name == "decimal" else set()
    )


# --- editing trees ------------------------------------------------------------------------------


def edited(node: Node, maker: Maker) -> Node:
    """A copy with one to three random edits."""
    new = copy.deepcopy(node)
    for _ in range(maker.random.choice((1, 1, 1, 2, 3))):
        targets = list(new)
        maker.random.choice(EDITS)(maker.random.choice(targets), maker)
    return new


def _replace(node: Node, maker: Maker) -> None:
    if node.name == "model" or (node.name == "struct" and node.options.get("tag")):
        return
    new = maker.node(2)
    node.name, node.options, node.parts, node.fields = new.name, new.options, new.parts, new.fields


def _swap_scalar(node: Node, maker: Maker) -> None:
    near = {
        "int": ["float", "decimal", "str"], "float": ["int", "decimal"], "uuid": ["str"],
        "date": ["str", "datetime"], "datetime": ["str"], "time": ["str"], "timedelta": ["str"],
        "decimal": ["str", "float"], "bytes": ["str"], "str": ["uuid", "bytes", "date"],
        "list": ["set", "vartuple"], "set": ["list"], "vartuple": ["list"],
        "dataclass": ["struct", "typeddict"], "typeddict": ["dataclass"],
        "namedtuple": ["struct"],
    }  # fmt: skip
    if node.name in near:
        if node.name == "namedtuple":
            node.options = {"array_like": True}
        elif node.name in SCALARS:
            node.options = {}
        node.name = maker.random.choice(near[node.name])


def _constrain(node: Node, maker: Maker) -> None:
    if node.options and node.name in ("int", "float", "str", "list", "dict", "datetime", "time"):
        node.options = {}
    else:
        maker.constrain(node)


def _values(node: Node, maker: Maker) -> None:
    values = node.options.get("values")
    if values is None:
        return
    if len(values) > 1 and maker.random.random() < 0.5:
        values.pop(maker.random.randrange(len(values)))
    else:
        extra = "z" if isinstance(values[0], str) else 9
        if extra not in values:
            values.append(extra)


def _nullable(node: Node, maker: Maker) -> None:
    if node.name == "union" and len(node.parts) > 2:
        node.parts.pop(maker.random.randrange(len(node.parts)))
    elif node.name == "union" and not any(p.name == "none" for p in node.parts):
        node.parts.append(Node("none"))
    elif node.name not in ("union", "none"):
        inner = copy.copy(node)
        new = flattened([inner, Node("none")])
        node.name, node.options, node.parts, node.fields = new.name, new.options, new.parts, []
        if new is inner:
            node.fields = inner.fields


def _fields(node: Node, maker: Maker) -> None:
    random = maker.random
    if node.name not in RECORDS:
        return
    free = [n for n in NAMES + "ghijk" if n not in {f.name for f in node.fields}]
    action = random.randrange(5)
    if action == 0 or not node.fields:
        node.fields.insert(random.randint(0, len(node.fields)), maker.field(random.choice(free), 2))
    elif action == 1:
        node.fields.pop(random.randrange(len(node.fields)))
    elif action == 2:
        random.choice(node.fields).name = random.choice(free)
    elif action == 3:
        random.shuffle(node.fields)
    else:
        field = random.choice(node.fields)
        if field.default is NO_DEFAULT:
            maker.give_default(field)
        else:
            field.default = NO_DEFAULT


def _options(node: Node, maker: Maker) -> None:
    if node.name == "struct":
        if node.options.get("tag") and maker.random.random() < 0.3:
            node.options["tag"] = maker.random.choice(["A", "B", "C", "D"])
        else:
            node.options["forbid"] = not node.options.get("forbid")
    if node.name == "model":
        node.options["extra"] = maker.random.choice(["ignore", "forbid", "allow"])


def _variants(node: Node, maker: Maker) -> None:
    if node.name != "union" or not node.parts[0].options.get("tag"):
        return
    if len(node.parts) > 2 and maker.random.random() < 0.5:
        node.parts.pop(maker.random.randrange(len(node.parts)))
    else:
        like = node.parts[0].options.get("array_like", False)
        node.parts.append(maker.variant(1, maker.random.choice("DEF"), like))


EDITS: tuple[Callable[[Node, Maker], None], ...] = (
    _replace, _swap_scalar, _swap_scalar, _constrain, _values, _nullable, _fields, _fields,
    _fields, _options, _variants,
)  # fmt: skip


# --- building Python types ----------------------------------------------------------------------

_SIMPLE = {
    "int": int, "float": float, "str": str, "bool": bool, "none": None, "bytes": bytes,
    "datetime": dt.datetime, "date": dt.date, "time": dt.time, "timedelta": dt.timedelta,
    "uuid": uuid.UUID, "decimal": Decimal,
}  # fmt: skip

_GENERIC: dict[str, Any] = {
    "list": list, "set": set, "vartuple": tuple, "tuple": tuple, "dict": dict, "union": Union,
}  # fmt: skip


def _same(value: Any) -> Any:
    return value


class Builder:
    """Classes get names of their own in this module, so that forward references find them."""

    count = 0

    def __init__(self, *, models: bool) -> None:
        self.models = models
        self.classes: dict[int, Any] = {}
        self.names: list[str] = []

    def build(self, node: Node) -> Any:
        if node.name in _SIMPLE:
            return self._constrained(_SIMPLE[node.name], node)
        if node.name in RECORDS:
            return self._record(node)
        parts: Any = [self.build(part) for part in node.parts]
        if node.name == "literal":
            return Literal[tuple(node.options["values"])]
        if node.name == "enum":
            return enum.Enum("E", [(f"M{i}", v) for i, v in enumerate(node.options["values"])])
        if node.name == "union":
            self._spare_msgspec(node)
            return _GENERIC["union"][tuple(parts)]
        if node.name == "set" and node.parts[0].name not in SCALARS:
            raise TypeError("elements of a set must be hashable")
        if node.name == "dict" and node.parts[0].name not in KEYS:
            raise TypeError("keys of a dict must be text or numbers")
        inner = (*parts, ...) if node.name == "vartuple" else tuple(parts)
        return self._constrained(_GENERIC[node.name][inner], node)

    def _spare_msgspec(self, node: Node) -> None:
        """msgspec 0.22 dies of some unions of a collection and what has bounds or a pattern."""
        members = list[Node]()
        todo = [node]
        while todo:
            part = todo.pop()
            todo += part.parts if part.name == "union" else []
            members.append(part)
        collections = {"tuple", "list", "set", "vartuple", "dict"}
        bounded = (p for p in members if p.options.keys() - {"tz", "values"})
        if collections & {p.name for p in members} and any(p.name not in RECORDS for p in bounded):
            raise TypeError("a collection beside bounds")

    def _constrained(self, kind: Any, node: Node) -> Any:
        if not node.options:
            return kind
        meta = pydantic.Field(**node.options) if self.models else Meta(**node.options)
        return Annotated[kind, meta]

    def _record(self, node: Node) -> Any:
        Builder.count += 1
        name = f"T{Builder.count}"
        self.names.append(name)
        fields = list(node.fields)
        if node.name == "namedtuple" or node.options.get("array_like"):
            fields.sort(key=lambda f: f.default is not NO_DEFAULT)
            node.fields = fields
        built = [(f.name, self.build(f.kind), f.default) for f in fields]
        cls = getattr(self, f"_{node.name}")(name, built, node.options)
        cls.__module__ = __name__
        setattr(sys.modules[__name__], name, cls)
        self.classes[id(node)] = cls
        return cls

    def _default(self, kind: Any, value: Json) -> Any:
        if self.models:
            raw = msgspec.json.encode(value)
            return pydantic.TypeAdapter(kind).validate_json(raw, strict=True)
        return msgspec.json.decode(msgspec.json.encode(value), type=kind)

    def _struct(self, name: str, fields: list[Any], options: dict[str, Any]) -> Any:
        made: list[Any] = []
        for field, kind, default in fields:
            if default is NO_DEFAULT:
                made.append((field, kind))
            else:
                given = self._default(kind, default)
                made.append((field, kind, msgspec.field(default_factory=partial(_same, given))))
        if options.get("recursive"):
            made.append(("next", Optional[name], None))  # noqa: UP045
        return msgspec.defstruct(
            name, made, kw_only=not options.get("array_like"), module=__name__,
            array_like=options.get("array_like", False), tag=options.get("tag"),
            forbid_unknown_fields=bool(options.get("forbid")),
        )  # fmt: skip

    def _dataclass(self, name: str, fields: list[Any], options: dict[str, Any]) -> Any:
        made: list[Any] = []
        for field, kind, default in fields:
            if default is NO_DEFAULT:
                made.append((field, kind))
            else:
                given = self._default(kind, default)
                made.append((field, kind, dataclasses.field(default_factory=partial(_same, given))))
        return dataclasses.make_dataclass(name, made, kw_only=True)

    def _typeddict(self, name: str, fields: list[Any], options: dict[str, Any]) -> Any:
        made = {f: k if d is NO_DEFAULT else NotRequired[k] for f, k, d in fields}
        return TypedDict(name, made)  # type: ignore[operator]

    def _namedtuple(self, name: str, fields: list[Any], options: dict[str, Any]) -> Any:
        cls: Any = NamedTuple(name, [(f, k) for f, k, _ in fields])  # type: ignore[misc]
        defaults = [self._default(k, d) for _, k, d in fields if d is not NO_DEFAULT]
        cls.__new__.__defaults__ = tuple(defaults)
        cls._field_defaults = dict(zip(cls._fields[::-1], defaults[::-1], strict=False))
        return cls

    def _model(self, name: str, fields: list[Any], options: dict[str, Any]) -> Any:
        made: dict[str, Any] = {}
        for field, kind, default in fields:
            if default is NO_DEFAULT:
                made[field] = (kind, ...)
            else:
                given = self._default(kind, default)
                made[field] = (kind, pydantic.Field(default_factory=partial(_same, given)))
        if options.get("recursive"):
            made["next"] = (Optional[name], None)  # noqa: UP045
        config = pydantic.ConfigDict(strict=True, extra=options["extra"])
        cls = pydantic.create_model(name, __config__=config, __module__=__name__, **made)
        setattr(sys.modules[__name__], name, cls)
        cls.model_rebuild(_types_namespace={name: cls})
        return cls

    def forget(self) -> None:
        for name in self.names:
            vars(sys.modules[__name__]).pop(name, None)  # not there if it could not be built


# --- writing values -----------------------------------------------------------------------------


class Writer:
    """JSON values of a tree, as its writer would write them; now and then without defaults."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def value(self, node: Node, depth: int = 0) -> Json:
        made: Json = getattr(self, f"_{node.name}")(node, depth)
        return made

    def _none(self, node: Node, depth: int) -> Json:
        return None

    def _bool(self, node: Node, depth: int) -> Json:
        return self.random.random() < 0.5

    def _int(self, node: Node, depth: int) -> Json:
        o = node.options
        low = o.get("ge", o.get("gt", -2 - 1) + 1 if "gt" in o else None)
        high = o.get("le", o["lt"] - 1 if "lt" in o else None)
        low = (high - 12 if high is not None else -4) if low is None else low
        high = max(low + 14, 0) if high is None else high
        value = self.random.choice([low, high, self.random.randint(low, high)])
        if "multiple_of" in o:
            return o["multiple_of"] * self.random.randint(-3, 3)
        return value

    def _float(self, node: Node, depth: int) -> Json:
        o = node.options
        low, high = o.get("ge", o.get("gt", -3)), o.get("le", o.get("lt", 9))
        edges = [o[k] for k in ("ge", "le") if k in o] or [low + 0.5]
        return float(self.random.choice([*edges, (low + high) / 2, low + 0.25]))

    def _length(self, node: Node, most: int = 4) -> int:
        low: int = node.options.get("min_length", 0)
        most = 8 if self.random.random() < 0.15 else most
        high: int = node.options.get("max_length", max(most, low))
        return self.random.choice([low, high, self.random.randint(low, high)])

    def _str(self, node: Node, depth: int) -> Json:
        if "pattern" in node.options:
            rest = "".join(self.random.choices("abc", k=self.random.randint(0, 3)))
            return f"a{rest}" if node.options["pattern"] == "^a" else f"{rest}b"
        plain = [s for s in ("1", "a", "YQ==", "b") if self._allows(node, s)]
        if plain and self.random.random() < 0.3:
            return self.random.choice(plain)
        return "".join(self.random.choices(string.ascii_lowercase, k=self._length(node, 7)))

    def _allows(self, node: Node, text: str) -> bool:
        o = node.options
        return bool(o.get("min_length", 0) <= len(text) <= o.get("max_length", 99))

    def _bytes(self, node: Node, depth: int) -> Json:
        return base64.b64encode(self.random.randbytes(self._length(node))).decode()

    def _datetime(self, node: Node, depth: int) -> Json:
        day = f"20{self.random.randint(10, 40)}-03-0{self.random.randint(1, 9)}T0{depth % 9}:00:00"
        return day + self._zone(node)

    def _zone(self, node: Node) -> str:
        tz = node.options.get("tz")
        return "Z" if (self.random.random() < 0.5 if tz is None else tz) else ""

    def _date(self, node: Node, depth: int) -> Json:
        return f"20{self.random.randint(10, 40)}-03-0{self.random.randint(1, 9)}"

    def _time(self, node: Node, depth: int) -> Json:
        return f"1{self.random.randint(0, 9)}:30:00" + self._zone(node)

    def _timedelta(self, node: Node, depth: int) -> Json:
        return f"PT{self.random.randint(1, 50)}S"

    def _uuid(self, node: Node, depth: int) -> Json:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def _decimal(self, node: Node, depth: int) -> Json:
        return self.random.choice(["1.5", "3", "-2.25"])

    def _literal(self, node: Node, depth: int) -> Json:
        return self.random.choice(node.options["values"])

    _enum = _literal

    def _list(self, node: Node, depth: int) -> Json:
        made = [self.value(node.parts[0], depth + 1) for _ in range(self._length(node, 3))]
        return made[:1] * len(made) if self.random.random() < 0.2 else made

    _vartuple = _list

    def _set(self, node: Node, depth: int) -> Json:
        found = list[Json]()
        for _ in range(40):
            value = self.value(node.parts[0], depth + 1)
            if value not in found:
                found.append(value)
            if len(found) >= self._length(node, 3) and self._fits(node, found):
                break
        return found if self._fits(node, found) else []

    def _fits(self, node: Node, value: Any) -> bool:
        o = node.options
        return bool(o.get("min_length", 0) <= len(value) <= o.get("max_length", 99))

    def _tuple(self, node: Node, depth: int) -> Json:
        return [self.value(part, depth + 1) for part in node.parts]

    def _dict(self, node: Node, depth: int) -> Json:
        made: dict[str, Json] = {}
        for _ in range(40):
            if len(made) >= self._length(node, 3) and self._fits(node, made):
                break
            names = node.parts[0]
            if names.name == "str" and not names.options and self.random.random() < 0.4:
                key = self.random.choice(NAMES)
            else:
                key = str(self.value(names, depth + 1))
            made[key] = self.value(node.parts[1], depth + 1)
        return made

    def _union(self, node: Node, depth: int) -> Json:
        return self.value(self.random.choice(node.parts), depth + 1)

    def _object(self, node: Node, depth: int) -> Json:
        made: dict[str, Json] = {}
        if node.options.get("tag"):
            made["type"] = node.options["tag"]
        for field in node.fields:
            if field.default is NO_DEFAULT or self.random.random() < 0.6:
                made[field.name] = self.value(field.kind, depth + 1)
        if node.options.get("recursive") and depth < 6 and self.random.random() < 0.4:
            made["next"] = self._object(node, depth + 3)
        if node.options.get("extra") == "allow" and self.random.random() < 0.5:
            declared = {field.name for field in node.fields}
            name = self.random.choice([n for n in NAMES if n not in declared] or ["z"])
            made[name] = self.random.choice([1, "x", None, [1], {"q": 1}, 0.5])
        return made

    _dataclass = _typeddict = _model = _object

    def _struct(self, node: Node, depth: int) -> Json:
        return (
            self._row(node, depth) if node.options.get("array_like") else self._object(node, depth)
        )

    def _row(self, node: Node, depth: int) -> Json:
        made = [self.value(field.kind, depth + 1) for field in node.fields]
        if node.options.get("recursive"):
            made.append(None)
        return [node.options["tag"], *made] if node.options.get("tag") else made

    _namedtuple = _row
