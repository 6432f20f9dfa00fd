"""What to write instead of a type that cannot be sent, for types of Python itself."""

from __future__ import annotations

import inspect
import typing
from typing import Any, cast

from typedq.contracts.type_tree import NoSchema, name_of

_NO_TYPE = "it is no type by itself; name the type of the values"
_NOT_HERE = "it says something of a class or a function, not of a value; name the type of the value"
_STAYS = "it stays in its process; pass what the task needs to make its own"
_FILE = "an open file stays in its process; pass its path, or what is in it"
_LIST, _DICT, _BYTES = "take a list", "take a dict", "take bytes"
_PROTOCOL = "it says what values can do, and not what they are; name their type"
_NUMBER = "take int, float or Decimal"
_LIKE_NOTHING = "no value fits it; take it off"
# By the name of a class or form of typing, typing_extensions, collections.abc and the like.
_INSTEAD: dict[str, str] = {
    **dict.fromkeys(("Never", "NoReturn"), _LIKE_NOTHING),
    "LiteralString": "only type checkers know it; take str",
    **dict.fromkeys(("AnyStr", "TypeVar"), "it stands for several types; name one of them"),
    **dict.fromkeys(
        ("Annotated", "Generic", "Literal", "Optional", "Protocol", "TypeAlias", "Union"), _NO_TYPE
    ),
    **dict.fromkeys(("NamedTuple", "TypedDict", "Sentinel"), _NO_TYPE),
    **dict.fromkeys(
        ("ClassVar", "Concatenate", "InitVar", "NotRequired", "ParamSpec", "ReadOnly", "Required"),
        _NOT_HERE,
    ),
    **dict.fromkeys(
        ("Self", "TypeForm", "TypeGuard", "TypeIs", "TypeVarTuple", "Unpack"), _NOT_HERE
    ),
    **dict.fromkeys(("Type", "type"), "a class has no JSON form; take its name as a str"),
    **dict.fromkeys(
        ("AsyncGenerator", "AsyncIterable", "AsyncIterator", "AsyncContextManager", "Awaitable"),
        _STAYS,
    ),
    **dict.fromkeys(("AbstractAsyncContextManager", "AbstractContextManager"), _STAYS),
    **dict.fromkeys(("ContextManager", "Coroutine"), _STAYS),
    **dict.fromkeys(("BinaryIO", "IO", "Reader", "TextIO", "Writer"), _FILE),
    **dict.fromkeys(("Container", "ItemsView", "Iterator", "KeysView"), _LIST),
    **dict.fromkeys(("MappingView", "Reversible", "Sized", "UserList", "ValuesView"), _LIST),
    **dict.fromkeys(("ChainMap", "MappingProxyType", "UserDict", "mappingproxy"), _DICT),
    **dict.fromkeys(("Buffer", "ByteString", "array"), _BYTES),
    "UserString": "take str",
    **dict.fromkeys(("Complex", "Integral", "Number", "Rational", "Real"), _NUMBER),
    **dict.fromkeys(("range", "slice"), "take its bounds, as ints"),
    **dict.fromkeys(("timezone", "tzinfo"), "take a ZoneInfo"),
    "Match": "take the text that was found",
    "SimpleNamespace": "take a Struct, a dataclass or a pydantic model",
}
_MODULES = frozenset(
    ("_collections_abc", "_io", "array", "builtins", "collections", "contextlib", "dataclasses")
) | {"collections.abc", "datetime", "io", "numbers", "re", "types", "typing", "typing_extensions"}


def refuse(kind: Any) -> None:
    """Raise `NoSchema` for a type of Python's that is known not to travel."""
    if (advice := way_out(kind)) is not None:
        raise NoSchema("$", f"{name_of(kind)} cannot be sent; {advice}")


def way_out(kind: object) -> str | None:
    """Return what to write instead of `kind`, or None if there is no advice for it in here."""
    if isinstance(kind, typing.TypeVar):
        return _INSTEAD["TypeVar"]
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return "an exception has no JSON form; take its message as a str"
    whole = cast("Any", kind)
    base = typing.get_origin(whole) or whole
    is_class = inspect.isclass(base)
    if base.__class__.__module__ == "builtins" and not (is_class or base.__class__ is str):
        return _NO_TYPE
    names = (getattr(one, name, None) for one in (whole, base) for name in ("_name", "__name__"))
    name = next((name for name in names if isinstance(name, str)), base.__class__.__name__)
    if _MODULES.isdisjoint((getattr(base, "__module__", None), base.__class__.__module__)):
        return None
    if name.startswith("Supports"):
        return _PROTOCOL
    return _INSTEAD.get(name, None if is_class else _INSTEAD.get(base.__class__.__name__))
