"""What a comparison of two alternatives yields: incompatibilities, and parts left to compare."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from typedq.compat.rules import VERDICTS, Kind
from typedq.contracts.dialect import Schema
from typedq.contracts.json_tree import NOTHING
from typedq.errors import escape

_MAX_QUOTED = 200  # characters
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Step:
    """One step from a value to a part of it. `index` and `member` name the part."""

    to: Literal["member", "value", "key", "item", "index"]
    name: str | int = ""

    def __str__(self) -> str:
        if self.to == "member":
            plain = re.fullmatch(r"[A-Za-z_]\w{,99}", str(self.name))
            return f".{self.name}" if plain else f"[{quoted(self.name)}]"
        return {"value": ".*", "key": "", "item": "[*]", "index": f"[{self.name}]"}[self.to]


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """Something the reader misses. `at` leads to it from the values compared.

    `example` is a value the writer may write and the reader refuses; NOTHING: any value of it.
    `reaches`: only those are, which have a part there.
    `writer_schema` and `reader_schema` are the schemas concerned; old and new are not known here.
    """

    kind: Kind
    at: Step | None = None
    what: str = ""
    writer: str = ""
    reader: str = ""
    example: Any = NOTHING
    reaches: Step | None = None
    writer_schema: Schema = NOTHING
    reader_schema: Schema = NOTHING

    @property
    def breaks(self) -> bool:
        """Return True unless this is only a warning."""
        return VERDICTS[self.kind].breaks


@dataclass(frozen=True, slots=True)
class Link:
    """Parts to compare too. `report_as`: report any incompatibility in them as this one."""

    step: Step
    writer: Schema
    reader: Schema
    report_as: Incompatibility | None = None


@dataclass(slots=True)
class Difference:
    """All that stands between two alternatives, here and in the parts that links name."""

    incompatibilities: list[Incompatibility] = field(default_factory=list[Incompatibility])
    links: list[Link] = field(default_factory=list[Link])

    def add(self, kind: Kind, at: Step | None = None, **evidence: Any) -> None:
        """Add an incompatibility."""
        self.incompatibilities.append(Incompatibility(kind, at, **evidence))

    @property
    def refused(self) -> bool:
        """Return True if something in here breaks, whatever the links say."""
        found = self.incompatibilities
        return bool(found) and any(incompatibility.breaks for incompatibility in found)


def quoted(name: object) -> str:
    """Return a name or a value as a person expects to see it, cut if it is long."""
    return shown(_encode(name), _MAX_QUOTED)


def shown(text: str, most: int) -> str:
    """Return text of a stranger's for a terminal: without control characters, cut if it is long."""
    return escape(text if len(text) <= most else f"{text[:most]}...")
