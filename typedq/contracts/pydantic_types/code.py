"""Core schemas that call code: validators, serializers, defaults.

What users write cannot be shown in a schema: validators are documented as code, and a serializer
must say what it writes. What pydantic ships is known by name, and is shown.
"""

from __future__ import annotations

import inspect
import ipaddress
import operator
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from pydantic_core import to_jsonable_python

from typedq.contracts.fragments import ANNOTATION_KEYS, READER_KEYWORDS, Schema
from typedq.contracts.json_tree import is_array, is_object, text_of
from typedq.contracts.pydantic_types.walk import Core, Node, Walk, json_kinds, parts_in, refuse
from typedq.contracts.type_tree import NoSchema

_IP = (
    ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network,
    ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network,
)  # fmt: skip
_TEXT: Schema = {"type": "string"}
_TOLD = (str, int, float)  # of what a function holds; of anything else, its class
# Functions of pydantic's that make one type of another: by name, the schema of what they write.
_FORMATS: dict[str, Schema] = {
    **{cls.__name__: {"format": cls.__name__.lower().removesuffix("address")} for cls in _IP},
    "path_validator": {"format": "path"},
    "EmailStr._validate": {"format": "email"},
    "NameEmail._validate": {"format": "name-email"},
    "IPvAnyAddress._validate": {**_TEXT, "format": "ipvanyaddress"},
    "IPvAnyInterface._validate": {**_TEXT, "format": "ipvanyinterface"},
    "IPvAnyNetwork._validate": {**_TEXT, "format": "ipvanynetwork"},
    "validate_str_is_valid_iana_tz": {**_TEXT, "format": "zoneinfo"},
    "pattern_either_validator": {**_TEXT, "format": "regex"},
    "pattern_str_validator": {**_TEXT, "format": "regex"},
    "ByteSize._validate": {"type": "integer", "minimum": 0, "x-typedq-type": "byte-size"},
}
# Functions of pydantic's that change neither what is read nor what is written as JSON.
_HARMLESS = frozenset(
    ("sequence_validator", "defaultdict_validator", "wrap_val", "attrgetter('value')")
)
_LENGTHS = {
    "min_length_validator": {"array": "minItems", "object": "minProperties"},
    "max_length_validator": {"array": "maxItems", "object": "maxProperties"},
}
_ENCODINGS = {"Base64Encoder": "base64", "Base64UrlEncoder": "base64url"}
_MASKED = "it is written as asterisks; write Annotated[str, typedq.Secret]"
_SECRETS = ("_serialize_secret", "_serialize_secret_field")
_OWN_SERIALIZERS = frozenset(
    ("serialize_url", "encode", "encode_str", "ser_ip", "ser_path", "serialize_sequence_via_list")
) | {"<lambda>", "int", "attrgetter"}
_NO_FORM = ANNOTATION_KEYS | READER_KEYWORDS | frozenset(
    (
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "minLength", "maxLength", "pattern", "minItems", "maxItems",
    )
)  # fmt: skip


def _validator(walk: Walk, node: Core, path: str) -> Schema:
    """A function before, after or around another schema."""
    function = node["function"]["function"]
    check, name = _check_of(function)
    if name in ("SecretStr", "SecretBytes", "Secret"):
        refuse(path, _MASKED)
    form = _FORMATS.get(name, {}) if check else {}
    if "path_constructor='PureWindowsPath'" in check:
        form = {"format": "windows-path"}
    if form.get("type") == "integer":
        return {**form}
    written = walk.schema(node["schema"], path)
    if "type" in form:
        return {**written, **form} if written.get("type") == "string" else {**form}
    if not check and "x-typedq-written" not in written and is_serialized(walk, node["schema"]):
        return as_written(walk, written)
    if form or not check or name in _HARMLESS:
        return {**written, **form}
    if (encoder := _encoder(function)) is not None:
        text = {key: value for key, value in written.items() if key != "format"}
        inner = written.get("contentEncoding")  # by config, so that it is encoded twice
        kind = f"pydantic-{encoder}{f' in {inner}' if inner else ''}"
        named = {"contentEncoding": _ENCODINGS[encoder]} if encoder in _ENCODINGS else {}
        return {**text, **named, "x-typedq-type": kind}
    keyword = _LENGTHS.get(name, {}).get(written.get("type", ""))
    if keyword and keyword not in written:
        return {**written, keyword: next(iter(function.keywords.values()))}
    return {**written, "x-typedq-check": sorted({*written.get("x-typedq-check", ()), check})}


def _plain_validator(walk: Walk, node: Core, path: str) -> Schema:
    check, name = _check_of(node["function"]["function"])
    form = _FORMATS.get(name, {}) if check else {}
    if "type" in form:
        return {**form}
    if name == "import_string":
        refuse(path, "an object to import has no JSON form; take its dotted name as a str")
    if "json_schema_input_schema" in node and not check:
        return walk.schema(node["json_schema_input_schema"], path)
    hint = "use AfterValidator or BeforeValidator, which keep it"
    return refuse(path, f"the validator {name} hides the type that is read; {hint}")


def _check_of(function: Any) -> tuple[str, str]:
    """What to record of a validator, or nothing if a user wrote it, and its name."""
    arguments: dict[str, Any] = {**getattr(function, "keywords", {})}
    function = getattr(function, "func", function)  # of a functools.partial
    name = _name(function)
    owner: Any = function if isinstance(function, type) else getattr(function, "__self__", None)
    own_type = isinstance(owner, type) and not hasattr(owner, "__pydantic_decorators__")
    if not own_type and not _is_pydantics(function):
        return "", name
    if isinstance(function, FunctionType):
        for key, value in inspect.getclosurevars(function).nonlocals.items():
            shown = getattr(value, "__name__", value.__class__.__name__)
            inside = _check_of(value)[0] if isinstance(value, FunctionType) else ""
            arguments[key] = value if isinstance(value, _TOLD) else inside or shown
    told = [f"{key}={value!r}" for key, value in arguments.items() if not callable(value)]
    return f"{name}({', '.join(told)})" if told else name, name


def _encoder(function: Any) -> str | None:
    """The encoder of a Base64Bytes or its like, whose text stands for other text or bytes."""
    encoder: Any = getattr(getattr(function, "__self__", None), "encoder", None)
    return encoder.__name__ if isinstance(encoder, type) else None


def _is_pydantics(function: Any) -> bool:
    """Whether pydantic ships a function, or the object whose method it is."""
    owner: Any = getattr(function, "__self__", None)
    holder = owner if isinstance(owner, type) else owner.__class__
    modules = (str(getattr(one, "__module__", "")) for one in (function, holder))
    return any(module.partition(".")[0] == "pydantic" for module in modules)


def _name(function: Any) -> str:
    if function.__class__ is operator.attrgetter:
        return repr(function).removeprefix("operator.")
    name: str = getattr(function, "__qualname__", function.__class__.__name__)
    return name.rpartition("<locals>.")[2]


def _serialized(walk: Walk, node: Core, path: str) -> Schema:
    """What a node writes, where a serializer is given: recorded, where it is not what it reads."""
    read: Schema = node[""]
    serializer: Core = node["serialization"]
    kind = serializer["type"]
    if kind == "to-string" and read.get("type") == "string":
        return read
    if kind in ("to-string", "format"):
        written: Schema = {**_TEXT}
    elif kind in ("function-plain", "function-wrap"):
        function = serializer["function"]
        if _is_own(function):
            if _name(function) in _SECRETS:
                refuse(path, _MASKED)
            return read
        written = _returned(walk, serializer, _name(function), path)
    elif kind in (node["type"], "any"):
        return read
    else:
        refuse(path, f"a serializer of the kind {kind!r} is not understood; leave it out")
    return _compared(walk, node, read, written, path)


def _is_own(function: Any) -> bool:
    name = _name(function).rpartition(".")[2]
    if function is int or isinstance(function, operator.attrgetter):
        return True
    return _is_pydantics(function) and (name in _OWN_SERIALIZERS or name in _SECRETS)


def _returned(walk: Walk, serializer: Core, name: str, path: str) -> Schema:
    told = serializer.get("return_schema", {"type": "any"})
    try:
        return walk.schema(told, path)
    except NoSchema:
        hint = "annotate the type that it returns, or leave it out"
        refuse(path, f"the serializer {name} does not say what it writes; {hint}")


def _compared(walk: Walk, node: Core, read: Schema, written: Schema, path: str) -> Schema:
    left, right = (_form(walk.definitions.resolved(one)) for one in (read, written))
    converted = _is_converted(walk, node)
    text = text_of(read)  # what is read in lower case may have been written in upper case
    if text_of(left) == text_of(right) and not (
        converted or "x-typedq-text" in text or '"$ref"' in text
    ):
        return read
    kinds = json_kinds(read, walk.definitions), json_kinds(written, walk.definitions)
    if not kinds[0] & kinds[1] and not converted:
        wanted, got = (" or ".join(sorted(one)) for one in kinds)
        hint = "let it return the type of the field, or leave it out"
        refuse(path, f"its serializer writes {got}, but it reads {wanted}; {hint}")
    return {**read, "x-typedq-written": right}


def _form(schema: Any) -> Any:
    """The form of a value, without annotations and bounds: enqueue checks that those are kept."""
    if is_array(schema):
        return [_form(one) for one in schema]
    if not is_object(schema):
        return schema
    return {key: _form(value) for key, value in schema.items() if key not in _NO_FORM}


def _is_converted(walk: Walk, node: Core) -> bool:
    """Whether code of a user's has a say in what is read, and so may undo a serializer."""
    return any(
        part.get("custom_init")
        or part.get("post_init")
        or (
            str(part.get("type", "")).startswith("function-")
            and not _check_of(part["function"]["function"])[0]
        )
        for part in _reachable(walk, node, frozenset(("metadata", "serialization", "")))
    )


def is_serialized(walk: Walk, node: Core) -> bool:
    """Return True if a serializer of a user's writes a part of what a node reads."""
    return any(
        "function" in part.get("serialization", ())
        and not _is_own(part["serialization"]["function"])
        for part in _reachable(walk, node, frozenset(("metadata", "serialization")))
    )


def as_written(walk: Walk, read: Schema) -> Schema:
    """Mark what a serializer writes and other code reads, so that neither is taken for plain."""
    return {**read, "x-typedq-written": _form(walk.definitions.resolved(read))}


def _reachable(walk: Walk, node: Core, leave_out: frozenset[str]) -> Iterator[Core]:
    """Yield every node inside a node and in the definitions that it leads to."""
    waiting, seen = [node], set[str]()
    for start in waiting:  # the list grows while it is walked
        for part in parts_in(start, leave_out):
            yield part
            ref = part.get("schema_ref")
            if isinstance(ref, str) and ref not in seen and ref in walk.targets:
                seen.add(ref)
                waiting.append(walk.targets[ref])


def _default(walk: Walk, node: Core, path: str) -> Schema:
    if node.get("on_error", "raise") != "raise":
        refuse(path, "a default in place of a value that is wrong hides errors; leave it out")
    written = walk.schema(node["schema"], path)
    if "default" not in node:
        return written
    try:
        plain = to_jsonable_python(node["default"], by_alias=walk.by_alias)
        text_of(plain)
    except ValueError:
        return written
    return {**written, "default": walk.definitions.in_order(plain, written)}


def _chain(walk: Walk, node: Core, path: str) -> Schema:
    first, *others = node["steps"]
    written = walk.schema(first, path)
    for step in others:
        if not str(step["type"]).startswith("function-"):
            refuse(path, "a pipeline of schemas is not understood; use AfterValidator")
        check, name = _check_of(step["function"]["function"])
        if check and name not in _HARMLESS:
            checks = sorted({*written.get("x-typedq-check", ()), check})
            written = {**written, "x-typedq-check": checks}
    return written


_FUNCTION = frozenset(("function", "schema", "json_schema_input_schema"))
CODE: dict[str, Node] = {
    "function-before": Node(_validator, _FUNCTION),
    "function-after": Node(_validator, _FUNCTION),
    "function-wrap": Node(_validator, _FUNCTION),
    "function-plain": Node(_plain_validator, _FUNCTION),
    "serialization": Node(_serialized),
    "default": Node(
        _default,
        frozenset(("schema", "default", "default_factory", "default_factory_takes_data"))
        | {"on_error", "validate_default", "copy_default"},
    ),
    "chain": Node(_chain, frozenset(("steps",))),
}
