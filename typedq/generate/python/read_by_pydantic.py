"""Classes that pydantic reads, for unions whose members it chooses by rank, as source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typedq.generate.python.classes import INDENT, UNSET, UNSET_TYPE, Field, doc
from typedq.generate.python.names import Refuse, is_name

_OF_MODELS = frozenset(
    ("construct", "copy", "dict", "from_orm", "json", "parse_file", "parse_obj", "parse_raw")
) | {"schema", "schema_json", "update_forward_refs", "validate"}
_IS_UNSET = f"_functools.partial(_operator.is_, {UNSET})"
_DEFAULT = f'_typing.cast("_typing.Any", {UNSET})'
_LEFT_OUT = f"_pydantic.Field(default={_DEFAULT}, exclude_if={_IS_UNSET})"


def record_source(
    schema: Mapping[str, Any], fields: Sequence[Field], refuse: Refuse
) -> tuple[str, str]:
    """Return the bases and the body of a TypedDict, or of a model if it minds other members."""
    others = schema.get("additionalProperties")
    for field in fields:
        name = field.wire_name
        taken = others is not None and (name in _OF_MODELS or name.startswith("model_"))
        if not is_name(name) or name[0] == "_" or taken:
            refuse(f"{name!r:.80} cannot be the name of an item")
    if others is None:
        head, rows = "_typing_extensions.TypedDict", [_item(field) for field in fields]
    else:
        extra = "allow" if others else "forbid"
        head, rows = "_pydantic.BaseModel", [_item_of_model(field) for field in fields]
        rows.insert(0, f'model_config = _pydantic.ConfigDict(extra="{extra}", frozen=True)')
    body = doc(schema) + "".join(f"{INDENT}{row}\n" for row in rows)
    return head, body or f"{INDENT}pass\n"


def _item(field: Field) -> str:
    kind = _plain(field)
    kind = kind if field.default is None else f"_typing_extensions.NotRequired[{kind}]"
    return f"{field.wire_name}: {kind}"


def _item_of_model(field: Field) -> str:
    default = _LEFT_OUT if field.default == UNSET else field.default
    return f"{field.wire_name}: {_plain(field)}" + (f" = {default}" if default else "")


def _plain(field: Field) -> str:
    return field.kind.removesuffix(f" | {UNSET_TYPE}")
