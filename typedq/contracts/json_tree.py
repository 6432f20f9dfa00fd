"""Parsed JSON: what a piece of it is, its canonical text, and what references in it point to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

NOTHING: Any = object()


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether `value` is a JSON object."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Whether `value` is a JSON array."""
    return isinstance(value, list)


def text_of(value: Any) -> str:
    """Canonical JSON, in which 1, 1.0, true and "1" all differ."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def redirect(value: Any, refs: Mapping[str, str]) -> Any:
    """`value` with each `$ref` exchanged for its new address."""
    if is_array(value):
        return [redirect(item, refs) for item in value]
    if not is_object(value):
        return value
    return {
        key: refs.get(inner, inner)
        if key == "$ref" and isinstance(inner, str)
        else redirect(inner, refs)
        for key, inner in value.items()
    }


def target(root: Any, ref: object) -> Any:
    """What a `$ref` within the document `root` points to; NOTHING if it is not there."""
    if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
        return NOTHING
    here = root
    for part in _unquote(ref).split("/")[1:]:
        step = part.replace("~1", "/").replace("~0", "~")
        if is_object(here) and step in here:
            here = here[step]
        elif is_array(here) and step.isdecimal() and int(step) < len(here):
            here = here[int(step)]
        else:
            return NOTHING
    return here


def reachable(start: Any, target_of: Callable[[str], Any]) -> dict[str, Any]:
    """What the references in `start` point to, and those in there, by reference."""
    found: dict[str, Any] = {}
    waiting: list[Any] = [start]
    while waiting:
        part = waiting.pop()
        if is_object(part):
            ref: Any = part.get("$ref")
            if isinstance(ref, str) and ref not in found and target_of(ref) is not NOTHING:
                found[ref] = target_of(ref)
                waiting.append(found[ref])
            waiting.extend(part.values())
        elif is_array(part):
            waiting.extend(part)
    return found


def _unquote(ref: str) -> str:
    def byte(found: re.Match[bytes]) -> bytes:
        return bytes.fromhex(found[1].decode())

    raw = re.sub(rb"%([0-9A-Fa-f]{2})", byte, ref.encode("utf-8", "surrogatepass"))
    return raw.decode("utf-8", "replace")
