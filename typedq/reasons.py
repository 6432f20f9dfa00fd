"""Reasons of dead letters: the line of JSON that is stored with each.

`kind` is one of a closed list, for programs; `error` is for people.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal[
    "failed",  # the task raised, and no retry was left
    "rejected",  # the task raised Reject
    "invalid_body",  # its contract refuses the arguments
    "bad_message",  # its header is invalid
    "garbage",  # the bytes are not a message
    "unknown_queue",
    "unreadable",  # it was parked for too long
    "crashed",  # its process died while it ran alone
    "hard_timeout",
    "lost",  # its worker was lost too often
]
_encode = msgspec.json.Encoder().encode


def reason(kind: Kind, error: str, **more: object) -> bytes:
    """Return the reason as JSON; `more`: fields that msgspec can encode."""
    fields = {"kind": kind, "error": error, **more}
    for name, value in fields.items():
        if isinstance(value, str):
            fields[name] = valid_text(value)
    return _encode(fields)


def valid_text(text: str) -> str:
    """Escape lone surrogates, as in names of files: JSON and spans cannot have them."""
    return text.encode(errors="backslashreplace").decode()


def is_rejection(line: bytes) -> bool:
    """Return True for a reason of the kind "rejected"."""
    return line.startswith(b'{"kind":"rejected"')


NO_MESSAGE = reason("garbage", "these bytes are not a message; see docs/protocol.md")
NO_QUEUE = reason("unknown_queue", "the session that held it did not serve its queue")
EXPIRED = reason("unreadable", "no worker could read its contract for too long")
CROWDED = reason("unreadable", "no worker can read it, and too many contracts are parked")
CRASHED = reason("crashed", "the process died while it ran this task alone, too often")
OUT_OF_MEMORY = reason("crashed", "the kernel killed it, probably for its memory, too often")
HARD_TIMEOUT = reason("hard_timeout", "it ran beyond its hard timeout, too often")
LOST = reason("lost", "its worker was lost while it held this message, too often")
