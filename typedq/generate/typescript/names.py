"""Text of a bundle as TypeScript: literals, names and comments, which are never code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import chain, count
from typing import Any

# What a module cannot declare, or what the written one already has or refers to.
TAKEN = frozenset(
    re.findall(
        r"\w+",
        """
    any arguments as async await bigint boolean break case catch class const continue debugger
    declare default delete do else enum eval export exports extends false finally for from
    function get if implements import in infer instanceof interface is keyof let module
    namespace never new null number object of package private protected public readonly require
    return satisfies set static string super switch symbol this throw true try type typeof
    undefined unique unknown var void while with yield bundle connect t Call Client
    EnqueueUncertain InvalidArguments InvalidOptions Map Options Queue ReadonlySet Receipt
    Server ServerRefused ServerUnavailable Tasks AwareDateTime AwareTime Bytes CalendarDate
    DateTime Decimal Duration HexBytes Int Json NaiveDateTime NaiveTime Time UrlBytes Uuid
    awareDateTime awareTime bytes calendarDate decimal duration hexBytes ioredis naiveDateTime
    naiveTime nodeRedis toJson urlBytes uuid
        """,
    )
)
_EXACT = 1 << 53


def literal(value: Any) -> str:
    """Return JSON text, number or constant as a TypeScript literal; big integers as bigint."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _EXACT:
        return f"{value}n"
    return json.dumps(value)  # ASCII, so there is no line break of Unicode in it either


def member(name: str) -> str:
    """Return the name of a property in a type."""
    return name if re.fullmatch(r"[A-Za-z_$][\w$]*", name, re.ASCII) else literal(name)


def pascal(name: str) -> str:
    """Return a name such as `SendEmail` for `send_email`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


class Names:
    """Gives each type one name that no other has. `owners`: names of the owner's classes."""

    def __init__(self, owners: Iterable[str]) -> None:
        self._given = set[str]()
        self._owners = frozenset(map(_usable, owners))

    def give(self, *wanted: str, is_owners: bool) -> str:
        """Return the first of some names that is free, or the last one with a number.

        is_owners: it is of one of the owner's classes
        """
        usable = [*map(_usable, wanted)]
        numbered = (f"{usable[-1]}{number}" for number in count(2))
        taken = TAKEN | self._given if is_owners else TAKEN | self._given | self._owners
        name = next(name for name in chain(usable, numbered) if name not in taken)
        self._given.add(name)
        return name


def _usable(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    return plain if plain[:1].isalpha() else f"T{plain}"


def comment(lines: Iterable[str], indent: str = "") -> str:
    """Return a doc comment, or nothing. No text ends it, or talks to the compiler."""
    text = "\n".join(line for line in lines if line)
    # Line breaks of Unicode and control characters become spaces.
    plain = "".join(c if c == "\n" or c.isprintable() else " " for c in text)
    inert = plain.replace("*/", "*\\/").replace("@", "@\u200b" if "@ts-" in plain else "@")
    found = [line.rstrip() for line in inert.strip().split("\n")]
    if not any(found):
        return ""
    if len(found) == 1:
        return f"{indent}/** {found[0]} */\n"
    return "".join(
        [f"{indent}/**\n", *(f"{indent} * {line}".rstrip() + "\n" for line in found)]
    ) + (f"{indent} */\n")
