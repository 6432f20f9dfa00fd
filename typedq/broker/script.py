"""Load Lua scripts, and describe an operation on the server before it is sent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import msgspec

T = TypeVar("T")
Argument = str | bytes | int
_INCLUDE = re.compile(r"^ *--@include (\w+)$", re.MULTILINE)


@final
@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file with its parts included; `sha` is the name that EVALSHA takes."""

    name: str
    source: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return the script in `lua/<name>.lua`."""
    folder = Path(__file__).parent / "lua"

    def expanded(file: Path) -> str:
        return _INCLUDE.sub(
            lambda part: expanded(folder / "parts" / f"{part[1]}.lua"), file.read_text("utf-8")
        )

    source = expanded(folder / f"{name}.lua")
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


# A Struct, because one is made for every request and a dataclass takes four times as long.
class Operation(msgspec.Struct, Generic[T], eq=False):
    """One operation on the server as a value: built once, sent by `call` or by `acall`.

    script: or the name of a single command
    parse: turns the reply into the result
    repeated: others with the same keys and as many arguments follow, so their prefix is cached
    """

    script: Script | str
    keys: Sequence[str]
    args: Sequence[Argument]
    parse: Callable[[Any], T]
    repeated: bool = False


def command(name: str, *args: Argument) -> Operation[Any]:
    """Return the operation of one command without keys; its result is the reply."""
    return Operation(name, (), args, lambda reply: reply)


def text(raw: bytes) -> str:
    """Return bytes from the server as text; bytes that are not UTF-8 are escaped."""
    return raw.decode(errors="backslashreplace")


def number(raw: bytes | float) -> int:
    """Return a count or a time (ms) from the server; 0 for anything else."""
    try:
        value = int(float(raw))
    except (ValueError, OverflowError):
        return 0
    return value if abs(value) < 10**14 else 0


def as_map(reply: Any) -> dict[bytes, Any]:
    """Return a reply as a map: RESP 3 has maps, RESP 2 alternates keys and values."""
    return reply if hasattr(reply, "items") else dict(in_groups(reply, 2))


def as_pairs(reply: Any) -> list[Any]:
    """Return pairs of member and score: RESP 3 sends pairs, RESP 2 a flat list."""
    return reply if not reply or isinstance(reply[0], list) else list(in_groups(reply, 2))


def in_groups(flat: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Cut a flat reply into tuples of `size` items."""
    return zip(*[iter(flat)] * size, strict=True)
