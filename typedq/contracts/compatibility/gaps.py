"""What a comparison of two alternatives yields: gaps, and links to parts still to be compared."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from typedq.contracts.compatibility.documents import Schema
from typedq.contracts.compatibility.rules import VERDICTS, Kind
from typedq.contracts.json_tree import NOTHING


@dataclass(frozen=True, slots=True)
class Step:
    """One step from a value to a part of it. `index` and `member` name the part."""

    to: Literal["member", "value", "key", "item", "index"]
    name: str | int = ""

    def __str__(self) -> str:
        if self.to == "member":
            plain = re.fullmatch(r"[A-Za-z_]\w*", str(self.name))
            return f".{self.name}" if plain else f"[{json.dumps(self.name, ensure_ascii=False)}]"
        return {"value": ".*", "key": "", "item": "[*]", "index": f"[{self.name}]"}[self.to]


@dataclass(frozen=True, slots=True)
class Gap:
    """Something the reader misses. `at` leads to it from the values compared.

    `example` is a value the writer may write and the reader refuses; NOTHING: any value of it.
    `reaches`: only those are, which have a part there.
    `old` and `new` are not known here: `writer_part` and `reader_part` are the schemas concerned.
    """

    kind: Kind
    at: Step | None = None
    what: str = ""
    writer: str = ""
    reader: str = ""
    example: Any = NOTHING
    reaches: Step | None = None
    writer_part: Schema = NOTHING
    reader_part: Schema = NOTHING

    @property
    def breaks(self) -> bool:
        return VERDICTS[self.kind].breaks


@dataclass(frozen=True, slots=True)
class Link:
    """Parts that must be compared too. `instead`: report any gap in them as this one."""

    step: Step
    writer: Schema
    reader: Schema
    instead: Gap | None = None


@dataclass(slots=True)
class Difference:
    """All that stands between two alternatives: gaps here, and links to parts of them."""

    gaps: list[Gap] = field(default_factory=list[Gap])
    links: list[Link] = field(default_factory=list[Link])

    def gap(self, kind: Kind, at: Step | None = None, **evidence: Any) -> None:
        self.gaps.append(Gap(kind, at, **evidence))

    @property
    def refused(self) -> bool:
        return any(gap.breaks for gap in self.gaps)


def quoted(name: object) -> str:
    """A name or a value as a person expects to see it."""
    return json.dumps(name, ensure_ascii=False)
