"""The Lua scripts, one a move, and the value that a move is before it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import msgspec

from typedq.digests import sha1

T = TypeVar("T")
Argument = str | bytes | int
_INCLUDE = re.compile(r"^ *--@include (\w+)$", re.MULTILINE)


@final
@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file with its parts put in; the server knows it by its `sha`."""

    name: str
    source: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return the script in `lua/<name>.lua`."""
    folder = Path(__file__).parent / "lua"

    def whole(file: Path) -> str:
        return _INCLUDE.sub(
            lambda part: whole(folder / "parts" / f"{part[1]}.lua"), file.read_text("utf-8")
        )

    source = whole(folder / f"{name}.lua")
    return Script(name, source, sha1(source.encode()))


# A Struct, because a dataclass takes four times as long to make, for every request.
class Operation(msgspec.Struct, Generic[T], eq=False):
    """One step of the state machine as a value: built once, sent by `call` or by `acall`.

    `script` is the name of a command where a single one does it.
    """

    script: Script | str
    keys: Sequence[str]
    args: Sequence[Argument]
    parse: Callable[[Any], T]

    def evalsha(self) -> tuple[Argument, ...]:
        """The command for a server that knows the script."""
        if isinstance(self.script, str):
            return (self.script, *self.keys, *self.args)
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    def eval_source(self) -> tuple[Argument, ...]:
        """The command for a server that does not: it runs the script and remembers it."""
        if isinstance(self.script, str):
            return self.evalsha()
        return ("EVAL", self.script.source, len(self.keys), *self.keys, *self.args)


def text(raw: bytes) -> str:
    """Text of the server; what is no UTF-8, and so not ours, is escaped."""
    return raw.decode(errors="backslashreplace")


def number(raw: bytes | float) -> int:
    """A count or a time (ms) of the server; 0 for what is neither."""
    try:
        found = int(float(raw))
    except (ValueError, OverflowError):
        return 0
    return found if abs(found) < 10**14 else 0


def in_groups(flat: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Cut a flat reply into tuples."""
    return zip(*[iter(flat)] * size, strict=True)
