"""Types that hold no other types, as source, with what `msgspec.Meta` says beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typedq.contracts.scalars import PYTHON_RE, is_portable
from typedq.generate.python import pydantics
from typedq.generate.python.names import Refuse, literal
from typedq.generate.python.pydantics import BYTES, NUMBERS

_TEXTS = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
_FINER = {
    "bytes": "bytes",
    "date": "_datetime.date",
    "timedelta": "_datetime.timedelta",
    "uuid": "_uuid.UUID",
    "decimal": "_decimal.Decimal",
    "datetime": "_datetime.datetime",
    "time": "_datetime.time",
}
_SCALARS = {"null": "None", "boolean": "bool", "integer": "int", "number": "float"}


def of(plain: Mapping[str, Any], refuse: Refuse) -> tuple[str, list[str]]:
    """Return a type and its notes for a schema without annotations."""
    if plain["type"] == "string":
        return _text(plain, refuse)
    if plain.keys() & {"x-typedq-type", "x-typedq-nearly"}:
        return pydantics.of(plain, refuse)
    known = NUMBERS if plain["type"] in ("integer", "number") else {}
    only(plain, set(known), refuse)
    return _SCALARS[plain["type"]], meta(plain, known)


def _text(plain: Mapping[str, Any], refuse: Refuse) -> tuple[str, list[str]]:
    finer: str = plain.get("x-typedq-type", "")
    # msgspec reads patterns with Python's engine; pydantic with another, unless it is told.
    same = "x-typedq-text" not in plain and is_portable(plain.get("pattern", ""))
    plainly = same or plain.get("x-typedq-text") == {"engine": PYTHON_RE}
    if not finer and plainly and not plain.keys() - {"type", *_TEXTS, "x-typedq-text"}:
        return "str", meta(plain, _TEXTS)
    zone, _, moment = finer.rpartition("-")
    lengths = {"minLength", "maxLength", "contentEncoding"} if finer == "bytes" else set[str]()
    known = {"type", "format", "x-typedq-type", *BYTES, *lengths}
    if moment in _FINER and zone in ("", "aware", "naive") and not plain.keys() - known:
        zones = [f"_msgspec.Meta(tz={zone == 'aware'})"] if zone else []
        return _FINER[moment], [*zones, *meta(plain, BYTES)]
    return pydantics.of(plain, refuse)


def only(plain: Mapping[str, Any], known: set[str], refuse: Refuse) -> None:
    """Refuse keywords that are not known."""
    if strange := sorted(plain.keys() - known - {"type"}):
        refuse(f"no Python type says {', '.join(strange)}")


def meta(plain: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """Return a `msgspec.Meta` for those keywords that are there, or nothing."""
    facts = [f"{name}={literal(plain[key])}" for key, name in names.items() if key in plain]
    return [f"_msgspec.Meta({', '.join(facts)})"] if facts else []
