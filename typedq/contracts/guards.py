"""How deep JSON text may nest."""

from __future__ import annotations

import re

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_SQUARE = bytes(set(range(256)) - set(b"[]"))


def too_deep(body: bytes, limit: int) -> bool:
    """Whether JSON text nests more than `limit` levels. Cheap for texts with few brackets."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    brackets = _STRING.sub(b"", body).translate(_AS_SQUARE).translate(None, _ALL_BUT_SQUARE)
    for _ in range(limit):  # each round takes the innermost level away
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    # Cut-off text keeps its open brackets: few of them are for the parser to report.
    return brackets.count(b"[") > (0 if brackets.count(b"]") else limit)
