"""What to write instead of a type that cannot be sent, for types of Python itself."""

from __future__ import annotations

import inspect
import typing
from typing import Any, cast

from typedq.contracts.type_tree import NoSchema, name_of

_NOT_HERE = "it says something of a class or a function, not of a value; name the type of the value"
_STAYS = "it stays in its process; pass what the task needs to make its own"
# What to write, and the names of classes and forms of typing, typing_extensions, collections.abc
# and the like that it is for.
_ADVICE: dict[str, str] = {
    "it is no type by itself; name the type of the values": "Annotated Generic Literal NamedTuple"
    " Optional Protocol Sentinel TypeAlias TypedDict Union",
    _NOT_HERE: "ClassVar Concatenate InitVar NotRequired ParamSpec ReadOnly Required Self TypeForm"
    " TypeGuard TypeIs TypeVarTuple Unpack",
    "no value fits it; take it off": "Never NoReturn",
    "only type checkers know it; take str": "LiteralString",
    "it stands for several types; name one of them": "AnyStr TypeVar",
    "a class has no JSON form; take its name as a str": "Type type",
    _STAYS: "AbstractAsyncContextManager AbstractContextManager AsyncContextManager AsyncGenerator"
    " AsyncIterable AsyncIterator Awaitable ContextManager Coroutine",
    "an open file stays in its process; pass its path, or what is in it": "BinaryIO IO Reader"
    " TextIO Writer",
    "take a list": "Container ItemsView Iterator KeysView MappingView Reversible Sized UserList"
    " ValuesView",
    "take a dict": "ChainMap MappingProxyType UserDict mappingproxy",
    "take bytes": "Buffer ByteString array",
    "take str": "UserString",
    "take int, float or Decimal": "Complex Integral Number Rational Real",
    "take its bounds, as ints": "range slice",
    "take a ZoneInfo": "timezone tzinfo",
    "take the text that was found": "Match",
    "take a Struct, a dataclass or a pydantic model": "SimpleNamespace",
}
_INSTEAD = {name: advice for advice, names in _ADVICE.items() for name in names.split()}
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
        return _INSTEAD["Union"]
    names = (getattr(one, name, None) for one in (whole, base) for name in ("_name", "__name__"))
    name = next((name for name in names if isinstance(name, str)), base.__class__.__name__)
    if _MODULES.isdisjoint((getattr(base, "__module__", None), base.__class__.__module__)):
        return None
    if name.startswith("Supports"):
        return "it says what values can do, and not what they are; name their type"
    return _INSTEAD.get(name, None if is_class else _INSTEAD.get(base.__class__.__name__))
