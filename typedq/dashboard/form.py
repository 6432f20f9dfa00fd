"""Make a form from a JSON Schema, and a payload from what was typed into it.

A field is named by its JSON path. What a form cannot show well is typed as JSON: the task's own
codec checks the payload in the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import msgspec

from typedq.contracts.json_tree import is_array, is_object

MAX_DEPTH: Final = 4  # of fieldsets; what is deeper is typed as JSON
_MAX_CHOICES = 500
_TYPES = {"date": "date", "email": "email", "uri": "url"}
_ABSENT: Final = object()
Kind = Literal["text", "number", "choice", "lines", "json", "union", "group"]


@final
@dataclass(frozen=True)
class Field:
    """One input. `choices`: JSON texts, or the names of a union's members; `parts`: of a group.

    input: the type of the HTML element for text; default: JSON text or None
    """

    path: str
    label: str
    kind: Kind
    required: bool
    hint: str = ""
    input: str = "text"
    choices: tuple[str, ...] = ()
    default: str | None = None
    parts: tuple[Field, ...] = ()


class NotJson(ValueError):
    """A field that should hold JSON does not. Fields: `path`, `reason`."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


def fields(schema: Mapping[str, Any]) -> Field:
    """Return the form of a whole payload."""
    return _Forms(schema).field(schema, "$", "arguments", required=True, depth=0)


@final
class _Forms:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = document.get("$defs") or {}

    def field(self, schema: Any, path: str, label: str, *, required: bool, depth: int) -> Field:
        schema = self._resolve(schema)
        about: dict[str, Any] = {
            "path": path,
            "label": label,
            "required": required,
            "hint": _hint(schema),
            "default": json.dumps(schema["default"]) if "default" in schema else None,
        }
        members = schema.get("anyOf") or schema.get("oneOf")
        kind, properties = schema.get("type"), schema.get("properties")
        constants = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
        if kind == "boolean":
            constants = [True, False]
        if constants and len(constants) <= _MAX_CHOICES:
            return Field(kind="choice", choices=tuple(map(json.dumps, constants)), **about)
        if is_array(kind) or members:
            return Field(kind="union", choices=tuple(self._names(kind, members)), **about)
        if kind == "object" and properties and depth < MAX_DEPTH:
            needed = schema.get("required", ())
            parts = tuple(
                self.field(part, f"{path}.{name}", name, required=name in needed, depth=depth + 1)
                for name, part in properties.items()
            )
            return Field(kind="group", parts=parts, **about)
        hidden = "password" if schema.get("writeOnly") else ""
        if kind == "string":
            input = hidden or _TYPES.get(schema.get("format", ""), "text")
            return Field(kind="text", input=input, **about)
        if kind in ("integer", "number"):
            return Field(kind="number", input=hidden or "text", **about)
        if kind == "array" and self._resolve(schema.get("items")).get("type") == "string":
            return Field(kind="lines", **about)
        return Field(kind="json", **about)

    def _resolve(self, schema: Any) -> Mapping[str, Any]:
        for _ in range(20):
            if not is_object(schema) or "$ref" not in schema:
                break
            name = str(schema["$ref"]).removeprefix("#/$defs/")
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**self._definitions.get(name, {}), **rest}
        return schema if is_object(schema) else {}

    def _names(self, kinds: Any, members: Any) -> Iterator[str]:
        names = [str(kind) for kind in kinds] if is_array(kinds) else []
        resolved = [self._resolve(member) for member in members or ()]
        names += [str(m.get("type", m.get("title", "JSON"))) for m in resolved]
        for name in dict.fromkeys(names):
            yield name if name in ("string", "null") else "JSON"


def _hint(schema: Mapping[str, Any]) -> str:
    known = ("format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems")
    kind = schema.get("type")
    words = [kind] if isinstance(kind, str) and kind != "object" else []
    words += [f"{name} {schema[name]}" for name in known if name in schema]
    return ", ".join([*words, *filter(None, [str(schema.get("description", ""))[:200]])])


def payload(field: Field, given: Mapping[str, str]) -> Any:
    """Return the payload that was typed, to be checked by the codec. Raises NotJson."""
    made = _value(field, given)
    return {} if made is _ABSENT else made


def _value(field: Field, given: Mapping[str, str]) -> Any:
    if field.kind == "group":
        values = {part.label: _value(part, given) for part in field.parts}
        present = {name: value for name, value in values.items() if value is not _ABSENT}
        return present if present or field.required else _ABSENT
    text = given.get(field.path, "")
    if field.kind == "union":
        chosen = given.get(f"{field.path}?", "")
        if not chosen:
            return _ABSENT
        if chosen != "JSON":
            return text if chosen == "string" else None
    if not text and not (field.kind == "text" and field.required and field.path in given):
        return _ABSENT
    if field.kind == "text":
        return text
    if field.kind == "lines":
        return text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return _json(field.path, text)


def _json(path: str, text: str) -> Any:
    try:
        json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotJson(path, f"expected JSON: {error}") from None
    return msgspec.Raw(text.encode())  # as it was typed: no digit of a number is lost


def _no_constant(word: str) -> Sequence[str]:
    raise ValueError(f"{word} is not JSON")
