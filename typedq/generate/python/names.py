"""Python names and literals for what a bundle holds. Nothing in a bundle can become code."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, final
from zlib import crc32

# Names that generated modules use themselves, in annotations above all.
BUILTINS = frozenset(
    ("bool", "bytes", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple", "type")
)
STANDARD = (
    *("datetime", "decimal", "enum", "functools", "ipaddress", "operator", "pathlib", "re"),
    *("typing", "uuid", "zoneinfo"),
)
_OTHERS = ("msgspec", "pydantic", "typedq", "typing_extensions")
RESERVED = BUILTINS.union(
    ("app", "annotations", "Annotated", "Literal"), (f"_{name}" for name in (*STANDARD, *_OTHERS))
)
_MAX_NAME = 100
Refuse = Callable[[str], NoReturn]


def is_name(text: str) -> bool:
    """Return True for a Python name that Python does not normalize to another one."""
    known = text.isidentifier() and unicodedata.normalize("NFKC", text) == text
    return known and not keyword.iskeyword(text) and len(text) <= _MAX_NAME


def name_of(text: str, otherwise: str) -> str:
    """Return a Python name that resembles a text: itself, if it is one."""
    if not is_name(text):
        text = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")[: _MAX_NAME - 1] or otherwise
        text = f"_{text}" if text[0].isdigit() else text
    text = text.lstrip("_") or otherwise if text.startswith("__") else text
    return f"{text}_" if keyword.iskeyword(text) or text in RESERVED else text


def literal(value: Any) -> str:
    """Return Python source of a JSON value; whatever is not printable is escaped."""
    if isinstance(value, str):
        return f'"{"".join(map(_shown, value))}"'.replace("\n", "\\n")
    return repr(value)


def docstring(text: str, indent: str) -> str:
    """Return a docstring of any text, which ends nowhere but at its end."""
    escaped = "".join(map(_shown, text.strip().replace("\r\n", "\n")))
    lines = [line.rstrip() for line in escaped.split("\n")]
    return f'{indent}"""{f"{chr(10)}{indent}".join(lines)}"""\n'.replace(f"\n{indent}\n", "\n\n")


def _shown(character: str) -> str:
    if character == "\n":
        return character
    if character in '\\"':
        return f"\\{character}"
    return character if character.isprintable() else ascii(character)[1:-1]


class Inexpressible(Exception):
    """A contract that no Python types have. Fields: `task`, `path` (JSON path), `reason`."""

    def __init__(self, task: str, path: str, reason: str) -> None:
        self.task, self.path, self.reason = task, path, reason
        super().__init__(f"{task}: {path}: {reason}")


@final
class Names:
    """Gives each thing of one scope a name of its own."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def take(self, *wanted: str) -> str:
        """Return the first name that is free, or the last one with a number."""
        numbered = (f"{wanted[-1]}_{n}" for n in range(2, 1 << 30))
        name = next(n for names in (wanted, numbered) for n in names if n not in self._taken)
        self._taken.add(name)
        return name

    def take_each(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Return a name for each text, which depends on no order. wanted: by text.

        What several texts want is given to none of them. If a new text took the name of another,
        callers who use it would not notice.
        """
        count = Counter(wanted.values())
        return {
            text: self.take(
                name if count[name] == 1 else f"{name}_{crc32(ascii(text).encode()):08x}"
            )
            for text, name in wanted.items()
        }

    def give_back(self, name: str) -> None:
        """Make a name free again."""
        self._taken.discard(name)
