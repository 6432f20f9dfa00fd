"""Core schemas of models, dataclasses, TypedDicts and NamedTuples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET
from pydantic_core import (
    PydanticSerializationError,
    SchemaError,
    SchemaSerializer,
    SchemaValidator,
    ValidationError,
    core_schema,
)

from typedq.contracts.equality import change
from typedq.contracts.fragments import Schema, about, elements, members
from typedq.contracts.json_tree import is_array, text_of
from typedq.contracts.pydantic_types.code import as_written, is_serialized
from typedq.contracts.pydantic_types.walk import Core, Node, Walk, notes_of, parts_in, refuse
from typedq.contracts.records import PURE_FACTORIES

# Keys of a model's config that say nothing about the message, and those that are read where they
# matter; coerce_numbers_to_str and strict change nothing, since messages are read strictly.
_CONFIG = frozenset(
    (
        "title", "strict", "extra_fields_behavior", "typed_dict_total", "from_attributes",
        "loc_by_alias", "revalidate_instances", "validate_default", "hide_input_in_errors",
        "validation_error_cause", "cache_strings", "coerce_numbers_to_str", "allow_inf_nan",
        "str_max_length", "str_min_length", "str_strip_whitespace", "str_to_lower", "str_to_upper",
        "ser_json_timedelta", "ser_json_temporal", "ser_json_bytes", "val_json_bytes",
        "regex_engine", "validate_by_alias", "validate_by_name", "serialize_by_alias",
        "url_preserve_empty_path",
    )
)  # fmt: skip
_HARMLESS = {"ser_json_inf_nan": "null", "polymorphic_serialization": False}
_Field = tuple[str, Core]


def _config(node: Core, path: str) -> Core:
    config: Core = node.get("config") or {}
    for key, value in config.items():
        if key not in _CONFIG and (key not in _HARMLESS or value != _HARMLESS[key]):
            refuse(path, f"the config {key}={value!r} is not understood; leave it out")
    return config


def _model(walk: Walk, node: Core, path: str) -> Schema:
    cls = node["cls"]
    walk.classes.append(cls)
    config = dict(_config(node, path))
    if "extra_behavior" in node:
        config["extra_fields_behavior"] = node["extra_behavior"]

    def write() -> Schema:
        with walk.within(config, cls):
            written = walk.schema(node["schema"], path)
        if (node.get("custom_init") or node.get("post_init")) and is_serialized(walk, node):
            written = as_written(walk, written)
        return {**about(cls), **written} if node.get("root_model") else written

    return walk.named(node, cls.__name__, write)


def _model_fields(walk: Walk, node: Core, path: str) -> Schema:
    return _object(walk, node, node["fields"].items(), path)


def _dataclass_fields(walk: Walk, node: Core, path: str) -> Schema:
    return _object(walk, node, [(field["name"], field) for field in node["fields"]], path)


def _typed_dict(walk: Walk, node: Core, path: str) -> Schema:
    cls: Any = node.get("cls")
    config = {**_config(node, path)}
    if "extra_behavior" in node:
        config["extra_fields_behavior"] = node["extra_behavior"]

    def write() -> Schema:
        with walk.within(config, cls):
            return _object(walk, node, node["fields"].items(), path)

    return walk.named(node, str(node.get("cls_name") or cls.__name__), write)


def _named_tuple(walk: Walk, node: Core, path: str) -> Schema:
    cls, fields = node["cls"], node["fields"]
    walk.classes.append(cls)

    def write() -> Schema:
        schemas = [walk.schema(f["schema"], f"{path}[{i}]") for i, f in enumerate(fields)]
        required = sum(not _has_default(walk, f["schema"]) for f in fields)
        return elements(cls, [f["name"] for f in fields], schemas, required, len(fields))

    return walk.named(node, cls.__name__, write)


def _object(walk: Walk, node: Core, fields: Iterable[_Field], path: str) -> Schema:
    extra = node.get("extra_behavior") or walk.config.get("extra_fields_behavior", "ignore")
    if extra == "allow" and node["type"] == "dataclass-args":
        refuse(path, "a pydantic dataclass never writes its extra fields; make it a model")
    found = _Members(walk, extra)
    for name, field in fields:
        found.add(name, field, f"{path}.{name}")
    for computed in node.get("computed_fields", ()):
        name = computed["property_name"]
        member = computed.get("alias", name) if walk.by_alias else name
        found.add_written_only(member, computed["return_schema"], f"{path}.{name}")
    if len(set(found.names)) < len(found.names):
        refuse(path, "two fields are read or written under one name; give each its own aliases")
    return {
        **members(walk.owner, found.names, found.schemas, found.required),
        **_extras(walk, node, extra, path),
    }


class _Members:
    """The members of an object, in the making."""

    def __init__(self, walk: Walk, extra: str) -> None:
        self._walk, self._extra = walk, extra
        self.names: list[str] = []
        self.schemas: list[Schema] = []
        self.required: list[str] = []

    def add(self, name: str, field: Core, path: str) -> None:
        """Add a field. Raises `NoSchema` if what is written could not be read."""
        if unknown := field.keys() - _FIELD_KEYS:
            refuse(path, f"{min(unknown)} of a pydantic field is not understood; leave it out")
        if field.get("init_only"):
            refuse(path, "an InitVar is not kept, so it cannot be sent; make it a field")
        if field.get("init") is False:
            self.add_written_only(name, field["schema"], path)
            return
        needed = field.get("required", not _has_default(self._walk, field["schema"]))
        excluded = field.get("serialization_exclude", False)
        if excluded and needed:
            refuse(path, "Field(exclude=True) keeps it out of messages; give it a default")
        _check_unset(field, path)
        member, read = _names(self._walk, name, field)
        plain = [one for one in read if isinstance(one, str)]
        if member not in read and not excluded:
            ways = (one if isinstance(one, str) else ".".join(map(str, one)) for one in read)
            reason = f"it is written as {member!r}, but read as {' or '.join(ways)}"
            refuse(path, f"{reason}; give it one alias for both, Field(alias=...)")
        if member not in read:
            member = plain[0] if plain else member
        written = {**self._walk.schema(field["schema"], path), **notes_of(field)}
        _check_default(self._walk, field["schema"], path)
        never = {"x-typedq-excluded": True} if excluded else {}
        self._add(member, {**written, **never})
        self.required += [member] if needed else []
        for way in read:
            if way != member:
                name = way if isinstance(way, str) else str(way[0])
                self._add(name, {**written, "x-typedq-alias": [member, way]})

    def add_written_only(self, name: str, node: Core, path: str) -> None:
        """Add what is always written and never read, such as a computed field.

        A reader that has a field of that name must not take it for its own.
        """
        if self._extra != "ignore":
            reason = f"it is written, but extra={self._extra!r} would not let it be read back"
            refuse(path, f"{reason}; take extra off, or make it a plain property")
        self._add(name, {**self._walk.schema(node, path), "x-typedq-computed": True})

    def _add(self, name: str, schema: Schema) -> None:
        self.names.append(name)
        self.schemas.append(schema)


def _extras(walk: Walk, node: Core, extra: str, path: str) -> Schema:
    if extra == "forbid":
        return {"additionalProperties": False}
    if extra == "ignore":
        return {}
    keys: Core = node.get("extras_keys_schema", {"type": "str"})
    names = walk.schema(keys, f"{path}[key]")
    if names != {"type": "string"}:
        refuse(path, "the keys of extra fields are text; leave their constraint out")
    values: Any = node.get("extras_schema", {"type": "any"})
    free = values["type"] == "any"
    return {"additionalProperties": True if free else walk.schema(values, f"{path}[...]")}


def _has_default(walk: Walk, node: Core) -> bool:
    node = walk.target(node)
    if node["type"] in ("function-before", "function-after", "function-wrap"):
        return _has_default(walk, node["schema"])
    return bool(node["type"] == "default")


def _names(walk: Walk, name: str, field: Core) -> tuple[str, list[Any]]:
    """The name under which a field is written; and all names, or paths, under which it is read."""
    config: Core = walk.config
    alias: Any = field.get("validation_alias")
    read: list[Any] = []
    if alias is None or config.get("validate_by_name", False):
        read.append(name)
    if alias is not None and config.get("validate_by_alias", True):
        read += [_simplest(way) for way in (alias if _is_choice(alias) else [alias])]
    read = sorted({text_of(way): way for way in read}.values(), key=text_of)
    return field.get("serialization_alias", name) if walk.by_alias else name, read


def _is_choice(alias: Any) -> bool:
    return is_array(alias) and is_array(alias[0])


def _simplest(way: Any) -> Any:
    return way[0] if is_array(way) and len(way) == 1 else way


def _check_unset(field: Core, path: str) -> None:
    ways = ("serialization_exclude", "serialization_exclude_if")
    if field["schema"].get("default") is UNSET and not any(map(field.get, ways)):
        refuse(path, "UNSET is only left out by Field(exclude_if=...), of pydantic 2.12 or later")


def _check_default(walk: Walk, node: Core, path: str) -> None:
    """Refuse a default that the field's own type refuses, unless validators have a say in it."""
    if node["type"] != "default":
        return
    factory: Any = node.get("default_factory")
    if "default" not in node and factory not in PURE_FACTORIES:
        return
    parts = parts_in(node["schema"], frozenset(("metadata",)))
    if any(str(part.get("type", "")).startswith("function-") for part in parts):
        return
    inner = dict(node["schema"])
    default: Any = node["default"] if "default" in node else factory()
    if default is UNSET or (default is None and inner["type"] in ("nullable", "none")):
        return
    targets: Any = [one for ref, one in walk.targets.items() if ref != inner.get("ref")]
    plain: Any = inner
    whole: Any = core_schema.definitions_schema(plain, targets) if targets else inner
    config: Any = dict(walk.config)
    try:
        body = SchemaSerializer(whole, config).to_json(default, warnings=False)
        read = SchemaValidator(whole, config).validate_json(body, strict=True)
        if (changed := change(default, read)) is not None:
            refuse(path, f"its type refuses its default {default!r}: {changed}")
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        refuse(path, f"its type refuses its default {default!r}: {reason}")
    except PydanticSerializationError:
        refuse(path, f"its default {default!r} has no JSON form; write another, or None")
    except SchemaError:
        pass  # found when it is sent


_FIELDS = frozenset(
    ("fields", "computed_fields", "extras_schema", "extras_keys_schema", "extra_behavior")
) | frozenset(("from_attributes", "model_name", "dataclass_name", "collect_init_only"))
_CLASS = frozenset(
    ("cls", "schema", "config", "generic_origin", "custom_init", "root_model", "post_init")
) | frozenset(("revalidate_instances", "frozen", "extra_behavior", "fields", "cls_name", "slots"))
RECORDS: dict[str, Node] = {
    "model": Node(_model, _CLASS),
    "dataclass": Node(_model, _CLASS),
    "model-fields": Node(_model_fields, _FIELDS),
    "dataclass-args": Node(_dataclass_fields, _FIELDS),
    "typed-dict": Node(_typed_dict, _FIELDS | {"cls", "cls_name", "total", "config"}),
    "named-tuple": Node(_named_tuple, frozenset(("cls", "fields", "cls_name"))),
}
# What a field may say: each key is read above, or says nothing about the message.
_FIELD_KEYS = frozenset(
    (
        "type", "schema", "name", "required", "validation_alias", "serialization_alias",
        "serialization_exclude", "serialization_exclude_if", "frozen", "metadata", "kw_only",
        "init", "init_only",
    )
)  # fmt: skip
