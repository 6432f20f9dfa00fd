"""Does a value that was read mean what was written? For `msgspec_fuzz`."""

from __future__ import annotations

import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from tests.compat.fuzz_types import RECORDS, Node

View: TypeAlias = Callable[[Any], tuple[str, Any]]


def viewer(node: Node, classes: dict[int, Any]) -> View:
    """What makes (form, content) of a decoded value, so that those of two types compare."""
    parts = [viewer(part, classes) for part in node.parts]
    if node.name == "union":
        tests = [*zip((member_test(p, classes) for p in node.parts), parts, strict=True)]
        return lambda value: next((see for fits, see in tests if fits(value)), scalar)(value)
    if node.name in RECORDS:
        return _record_viewer(node, classes)
    if node.name == "dict":
        key, item = parts
        return lambda value: (
            "map", {key_text(k): (key(k), item(v)) for k, v in value.items()}
        )  # fmt: skip
    if node.name == "tuple":
        return lambda value: ("list", [see(v) for see, v in zip(parts, value, strict=True)])
    if node.name in ("list", "vartuple", "set"):
        form, (one,) = "set" if node.name == "set" else "list", parts
        return lambda value: (form, [*map(one, value)])
    return scalar


def _record_viewer(node: Node, classes: dict[int, Any]) -> View:
    fields = [(field.name, viewer(field.kind, classes)) for field in node.fields]
    tag = {"type": ("text", node.options["tag"])} if node.options.get("tag") else {}
    is_dict, is_row = node.name == "typeddict", node.name == "namedtuple"
    is_row = is_row or bool(node.options.get("array_like"))

    def view(value: Any) -> tuple[str, Any]:
        if is_dict:
            found = {name: see(value[name]) for name, see in fields if name in value}
        else:
            found = {name: see(getattr(value, name)) for name, see in fields}
        if node.options.get("recursive"):
            found["next"] = ("null", None) if value.next is None else view(value.next)
        kept_as_it_is = getattr(value, "__pydantic_extra__", None) or {}
        found = {**tag, **found, **{name: ("json", part) for name, part in kept_as_it_is.items()}}
        return ("row", [*found.items()]) if is_row else ("record", found)

    return view


def member_test(node: Node, classes: dict[int, Any]) -> Callable[[Any], bool]:
    """What tells whether a value is of this member of a union."""
    if node.name == "union":
        tests = [member_test(part, classes) for part in node.parts]
        return lambda value: any(fits(value) for fits in tests)
    if id(node) in classes and node.name not in ("typeddict", "namedtuple"):
        return lambda value: isinstance(value, classes[id(node)])
    if node.name in ("literal", "enum"):
        listed = {(type(value), value) for value in node.options["values"]}
        if node.name == "enum":
            return lambda value: (
                isinstance(value, enum.Enum) and (type(value.value), value.value) in listed
            )
        return lambda value: type(value) in (str, int) and (type(value), value) in listed
    name = _PYTHON.get(node.name, node.name)
    is_row = node.name == "namedtuple"
    return lambda value: type(value).__name__ == name or (is_row and isinstance(value, tuple))


_PYTHON = {
    "none": "NoneType", "uuid": "UUID", "decimal": "Decimal", "vartuple": "tuple",
    "typeddict": "dict", "model": "",
}  # fmt: skip


def key_text(key: Any) -> str:
    if type(key) is str:
        return key
    return str(next(iter(msgspec.json.decode(msgspec.json.encode({key: None})))))


def scalar(value: Any) -> tuple[str, Any]:
    if (form := _FORMS.get(type(value))) is not None:
        return form, value
    if isinstance(value, enum.Enum):
        return scalar(value.value)
    if isinstance(value, bool) or value is None:
        return "null" if value is None else "bool", value
    if isinstance(value, int | float | Decimal):
        return "decimal" if isinstance(value, Decimal) else "number", value
    if isinstance(value, bytes):
        return "bytes", value
    return "text", msgspec.to_builtins(value)


_FORMS = {
    str: "text", int: "number", float: "number", bool: "bool", bytes: "bytes",
    Decimal: "decimal", type(None): "null",
}  # fmt: skip


def kept(old: tuple[str, Any], new: tuple[str, Any], body: Any) -> bool:  # noqa: C901, PLR0912
    """Whether a value of the view `old`, which wrote `body`, was read as one of the view `new`."""
    (form, was), (other, now) = old, new
    match form, other:
        case "record", "record":
            return all(kept(was[k], now[k], body[k]) for k in body if k in was and k in now)
        case "record", "map":
            written = [k for k in body if k in was]
            return all(k in now and kept(was[k], now[k][1], body[k]) for k in written)
        case "map", "record":  # a model that keeps what it does not declare
            return all(k in now and kept(w[1], now[k], body[k]) for k, w in was.items())
        case _, "json":
            return bool(now == body)
        case "map", "map":
            return len(was) == len(now) and all(
                any(kept(w[0], n[0], None) and kept(w[1], n[1], body.get(k)) for n in now.values())
                for k, w in was.items()
            )
        case "row", "row":
            return all(
                name == other_name and kept(w, n, b)
                for (name, w), (other_name, n), b in zip(was, now, body, strict=False)
            )
        case "row", ("list" | "set"):
            listed = [w for _, w in was][: len(body)]
            return len(body) == len(now) and kept(("list", listed), new, body)
        case "list", "row":
            fits = zip(was, now, body, strict=False)
            return len(was) <= len(now) and all(kept(w, n, b) for w, (_, n), b in fits)
        case "list", "list":
            return len(was) == len(now) and all(
                kept(w, n, b) for w, n, b in zip(was, now, body, strict=True)
            )
        case (("list" | "set"), ("list" | "set")):
            return len(was) == len(now) == len(body) and all(
                any(kept(w, n, b) for n in now) for w, b in zip(was, body, strict=True)
            )
        case (("number" | "decimal"), ("number" | "decimal")):
            return float(was) == float(now)
        case "decimal", "text":
            return bool(str(was) == now)
        case "text", "text":
            return now in (was, body)  # a duration may be spelled otherwise
        case _:
            return form == other and was == now
