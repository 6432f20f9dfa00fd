"""Patterns of Python's `re` and of Rust's regex, as a pattern of JavaScript with the same meaning.

A closed list of syntax: whatever is not in it is not translated.
"""

from __future__ import annotations

import re
from typing import Final

_SPACE: Final = r"\p{White_Space}"
# By engine, what a class stands for inside of brackets.
_CLASSES: Final = {
    "rust": {
        "d": r"\p{Nd}",
        "s": _SPACE,
        "w": r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}",
    },
    "python": {"d": r"\p{Nd}", "s": rf"{_SPACE}\x1c-\x1f", "w": r"\p{L}\p{N}_"},
}
_END: Final = {"rust": "$", "python": r"(?=\n?$)"}
_PUNCTUATION = re.compile(r"[^\w\s]", re.ASCII)
_CONTROL: Final = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\f", "v": r"\v"}
_QUANTIFIER = re.compile(r"(?:[*+?]|\{\d{1,4}(?:,\d{0,4})?\})\??(?![*+?{])")
_SYNTAX: Final = "^$\\.*+?()[]{}|/"


class NotTranslated(ValueError):
    """The pattern has syntax outside of the list."""


def to_javascript(pattern: str, engine: str) -> str:
    """Return the pattern for a RegExp with the flag `u`. engine: `python-re`, or that of Rust.

    Raises NotTranslated.
    """
    if engine not in ("python-re", "rust-regex"):
        raise NotTranslated(f"flags or the engine {engine}")
    translated = _Translator(pattern, "python" if engine == "python-re" else "rust").whole()
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise NotTranslated(str(error)) from None
    return translated


class _Translator:
    def __init__(self, pattern: str, engine: str) -> None:
        self._left, self._engine = pattern, engine

    def _take(self, size: int = 1) -> str:
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def whole(self) -> str:
        parts = list[str]()
        repeatable = False
        while self._left:
            quantifier = _QUANTIFIER.match(self._left)
            if quantifier and repeatable:
                parts.append(self._take(quantifier.end()))
                repeatable = False
                continue
            part, repeatable = self._atom()
            parts.append(part)
        return "".join(parts)

    def _atom(self) -> tuple[str, bool]:
        """Return the next part, and whether a quantifier may follow."""
        if self._left.startswith("(?:"):
            return self._take(3), False
        character = self._take()
        if character == "(" and not self._left.startswith("?"):
            return "(?:", False
        if character == ")":
            return ")", True
        if character in "|^":
            return character, False
        if character == "$":
            return _END[self._engine], False
        if character == ".":
            return r"[^\n]", True
        if character == "[":
            return self._set(), True
        if character == "\\":
            return self._escape(inside=False)
        if character in _SYNTAX and character != "/":
            raise NotTranslated(f"{character!r} here")
        return _quoted(character), True

    def _escape(self, *, inside: bool) -> tuple[str, bool]:
        character = self._take()
        known = _CLASSES[self._engine].get(character.lower())
        if character in _CONTROL:
            return _CONTROL[character], True
        if known and character.islower():
            return (known if inside else f"[{known}]"), True
        if known and not inside:
            return f"[^{known}]", True
        if character == "A" and not inside:
            return "^", False
        if character == ("Z" if self._engine == "python" else "z") and not inside:
            return "$", False
        if character and _PUNCTUATION.fullmatch(character):
            return _quoted(character, inside=inside), True
        raise NotTranslated(f"\\{character}")

    def _set(self) -> str:
        parts = ["["]
        if self._left.startswith("^"):
            parts.append(self._take())
        if self._left.startswith("]"):
            raise NotTranslated("']' at the start of a set")
        while not self._left.startswith("]"):
            character = self._take()
            after = self._left[:1]
            if not character or character == "[" or (character in "&~|-" and after == character):
                raise NotTranslated("a set within a set")
            if character == "\\":
                parts.append(self._escape(inside=True)[0])
            elif character == "-" and (len(parts) == 1 or parts[-1] == "^" or after == "]"):
                parts.append(r"\-")
            else:
                parts.append("-" if character == "-" else _quoted(character, inside=True))
        self._take()
        return "".join(parts) + "]"


def _quoted(character: str, *, inside: bool = False) -> str:
    """Return one character as a pattern; inside: of a set."""
    if character in _SYNTAX or (inside and character == "-"):
        return f"\\{character}"
    return character
