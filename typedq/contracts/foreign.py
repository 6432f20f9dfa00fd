"""Classes that msgspec does not read or write by itself.

pydantic is heavy, so it is looked for among the loaded modules, and imported for its users only.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final


class StandIn(type):
    """A class that msgspec meets in place of a type it does not know. `load` reads its values."""

    load: Callable[[Any], Any]
    adapter: Any  # a pydantic_types.adapter.Adapter, or None

    def __instancecheck__(cls, instance: object) -> bool:
        return True  # whatever `load` returned


if TYPE_CHECKING:
    Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
else:

    class Json(metaclass=StandIn):
        """Any JSON value: None, bool, int, float, str, or lists and dicts of these.

        A dict has str keys. Nothing is converted: a datetime or a set inside is refused, and a
        tuple arrives as a list.
        """

        load = staticmethod(lambda value: value)
        adapter = None

        @classmethod
        def __get_pydantic_core_schema__(cls, _source: Any, handler: Any) -> Any:
            from pydantic import JsonValue

            return handler.generate_schema(JsonValue)


@final
class PydanticMark:
    """Beside a type in `Annotated`: pydantic reads and checks the value, in any record.

    `Annotated[Decimal, Field(max_digits=6), ByPydantic]`; see docs/types.md.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "ByPydantic"


ByPydantic: Final = PydanticMark()


def is_pydantic(kind: Any) -> bool:
    """Return True for a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def is_pydantic_dataclass(kind: Any) -> bool:
    """Return True for a dataclass of pydantic's or with a config for it, which msgspec ignores."""
    config = hasattr(kind, "__pydantic_config__") and hasattr(kind, "__dataclass_fields__")
    return isinstance(kind, type) and (config or "__is_pydantic_dataclass__" in vars(kind))


def is_foreign(kind: Any) -> bool:
    """Return True for a class whose values conversions.py converts."""
    odd_enum = isinstance(kind, enum.EnumMeta) and type(kind) is not enum.EnumMeta
    return isinstance(kind, StandIn) or is_pydantic(kind) or odd_enum
