"""The schema of a pydantic model, with what pydantic's own leaves out. Imports pydantic."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema as core

from typedq.contracts.fragments import Schema, as_text
from typedq.contracts.json_tree import is_array, is_object
from typedq.contracts.scalars import moment
from typedq.contracts.type_tree import NoSchema

_DECIMAL_BOUNDS = frozenset(("ge", "gt", "le", "lt", "multiple_of")) | {
    *("max_digits", "decimal_places", "allow_inf_nan")
}
_ZONES: dict[object, bool] = {"aware": True, "naive": False}


def schema_of(model: type[BaseModel], path: str) -> Schema:
    """The model's strict schema, by alias; its own `$defs` inside. Raises `NoSchema`."""
    try:
        schema = model.model_json_schema(schema_generator=_Generator)
    except NoSchema as error:
        raise NoSchema(path, f"{model.__name__}: {error.reason}") from None
    except Exception as error:
        raise NoSchema(path, f"{model.__name__}: {error}") from error
    _check_secrets(schema, path)
    return schema


def _check_secrets(schema: Any, path: str) -> None:
    if is_object(schema):
        if schema.get("writeOnly") is True:
            raise NoSchema(path, "a secret is written as asterisks; pass a reference to it")
        for value in schema.values():
            _check_secrets(value, path)
    elif is_array(schema):
        for value in schema:
            _check_secrets(value, path)


class _Generator(GenerateJsonSchema):
    """Names the finer types as the rest of typedq does."""

    def any_schema(self, schema: core.AnySchema) -> JsonSchemaValue:
        raise NoSchema("$", "Any, or a collection without element types, says nothing")

    def datetime_schema(self, schema: core.DatetimeSchema) -> JsonSchemaValue:
        return moment("datetime", "date-time", _ZONES.get(schema.get("tz_constraint")))

    def time_schema(self, schema: core.TimeSchema) -> JsonSchemaValue:
        return moment("time", "time", _ZONES.get(schema.get("tz_constraint")))

    def date_schema(self, schema: core.DateSchema) -> JsonSchemaValue:
        return {**super().date_schema(schema), "x-typedq-type": "date"}

    def timedelta_schema(self, schema: core.TimedeltaSchema) -> JsonSchemaValue:
        return {"type": "string", "format": "duration", "x-typedq-type": "timedelta"}

    def uuid_schema(self, schema: core.UuidSchema) -> JsonSchemaValue:
        return {**super().uuid_schema(schema), "x-typedq-type": "uuid"}

    def bytes_schema(self, schema: core.BytesSchema) -> JsonSchemaValue:
        return {**super().bytes_schema(schema), "x-typedq-type": "utf8-bytes"}

    def decimal_schema(self, schema: core.DecimalSchema) -> JsonSchemaValue:
        bounds = {key: str(value) for key, value in schema.items() if key in _DECIMAL_BOUNDS}
        finer = {"x-typedq-decimal": bounds} if bounds else {}
        return {"type": "string", "format": "decimal", "x-typedq-type": "decimal", **finer}

    def set_schema(self, schema: core.SetSchema) -> JsonSchemaValue:
        return {**super().set_schema(schema), "x-typedq-type": "set"}

    def frozenset_schema(self, schema: core.FrozenSetSchema) -> JsonSchemaValue:
        return {**super().frozenset_schema(schema), "x-typedq-type": "set"}

    def dict_schema(self, schema: core.DictSchema) -> JsonSchemaValue:
        written = super().dict_schema(schema)
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        if keys.get("type") in ("integer", "number") or "x-typedq-type" in keys:
            written["propertyNames"] = as_text(keys, "$")
        # pydantic says that of other names nothing is known, but it refuses them.
        for pattern, values in written.pop("patternProperties", {}).items():
            names = {**written.get("propertyNames", {}), "pattern": pattern}
            written |= {"propertyNames": names, "additionalProperties": values}
        return written

    def tagged_union_schema(self, schema: core.TaggedUnionSchema) -> JsonSchemaValue:
        written = super().tagged_union_schema(schema)
        # Only OpenAPI knows this keyword, and its mapping names `$defs`. Besides, a tag must be
        # there to decide, even where its variant has a default for it.
        if tag := written.pop("discriminator", None):
            written["required"] = [tag["propertyName"]]
        return written
