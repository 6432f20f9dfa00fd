"""Between a payload and the bytes of a message's body, strict in both directions."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from typing import Any

import msgspec

from typedq.contracts.equality import overlooked
from typedq.contracts.fragments import builtins_of, is_pydantic
from typedq.contracts.guards import changed, leaves, not_finite, too_deep
from typedq.errors import InvalidBody

# Kept as they are while arguments are checked as Python values: JSON makes them all strings, so
# the bytes alone would not show that a UUID was given where a str is due.
_TEXTUAL = (
    bytes, bytearray, memoryview, dt.datetime, dt.date, dt.time,
    dt.timedelta, uuid.UUID, decimal.Decimal,
)  # fmt: skip
LEVEL = 2  # bytes that a level of nesting takes at least, so that most bodies are not counted
_INNER = "\0"  # between a pydantic reason and its path, inside a message of msgspec
_PLACED = re.compile(
    r"(?P<reason>.*?)(?:\0(?P<inner>.*?))?(?: - at (?:`key` in )?`(?P<path>\$.*)`)?", re.DOTALL
)
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError)
_MISSING = re.compile(r"Object missing required field `(.+)`")


class Codec:
    """Writes and reads one payload type. All refusals are `InvalidBody` with a path.

    `parse` is `read` without its bounds, and raises anything.
    """

    def __init__(self, kind: Any) -> None:
        self._kind, self._overlooked = kind, overlooked(kind)
        self._encode = msgspec.json.Encoder(enc_hook=builtins_of).encode
        self.parse = msgspec.json.Decoder(kind, strict=True, dec_hook=_from_builtins).decode

    def read(self, body: bytes, max_body: int, max_depth: int) -> Any:
        """The payload in `body`."""
        if len(body) > max_body:
            raise InvalidBody("$", f"{len(body):,} bytes; the limit is {max_body:,}")
        if len(body) > LEVEL * max_depth and too_deep(body, max_depth):
            raise InvalidBody("$", f"nested more than {max_depth} levels deep")
        try:
            return self.parse(body)
        except Exception as error:
            raise _unreadable(error) from error

    def write(self, payload: Any, max_body: int, max_depth: int) -> bytes:
        """The body of `payload`, which `read` accepts and gives back unchanged."""
        try:
            body = self._encode(payload)
            size = len(body)
            fits = size <= max_body and (size <= LEVEL * max_depth or not too_deep(body, max_depth))
            same = fits and not self._overlooked.fields and self.parse(body) == payload
            if same and not (self._overlooked.float_keys and b'inf":' in body):
                return body
        except Exception:  # noqa: BLE001, S110  found again, and said, below
            pass
        return self._write(payload, max_body, max_depth)

    def _write(self, payload: Any, max_body: int, max_depth: int) -> bytes:
        """The same, for what does not go through at once: why, unless it is all right after all."""
        try:
            body = self._encode(payload)
        except RecursionError as error:
            raise InvalidBody("$", "nested too deeply, or a value that contains itself") from error
        except Exception as error:
            raise InvalidBody(self._unwritable(payload), _reason(error)) from error
        try:
            read = self.read(body, max_body, max_depth)
        except InvalidBody:
            if len(body) <= max_body and not too_deep(body, max_depth):
                _refuse_not_finite(payload)
            raise
        self._explain(payload, read)
        return body

    def _unwritable(self, payload: Any) -> str:
        for path, leaf in leaves(payload):
            try:
                self._encode(leaf)
            except Exception:  # noqa: BLE001  only the place is wanted
                return path
        return "$"

    def _explain(self, payload: Any, read: Any) -> None:
        """Raises `InvalidBody` if the payload does not arrive as it was given.

        Unequal need not mean changed: a class may have no `==`, a tuple may stand for a list.
        """
        _refuse_not_finite(payload)
        try:
            plain = msgspec.to_builtins(payload, builtin_types=_TEXTUAL, enc_hook=builtins_of)
            msgspec.convert(
                plain, self._kind, builtin_types=_TEXTUAL, strict=True, dec_hook=_from_builtins
            )
        except Exception as error:
            raise _placed(error) from error
        if path := changed(_plain(payload), _plain(read)):
            raise InvalidBody(path, "would not arrive as it was given")


def _plain(value: Any) -> Any:
    """As JSON has it, parsed, with what is in a set in one order."""
    # In two steps, since to write in an order takes keys that are str already.
    plain = msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=builtins_of)
    return msgspec.json.decode(msgspec.json.encode(plain))


def _refuse_not_finite(payload: Any) -> None:
    if path := not_finite(payload):
        raise InvalidBody(path, "NaN and infinity cannot be said in JSON")


def _reason(error: Exception) -> str:
    if isinstance(error, (msgspec.MsgspecError, UnicodeError, TypeError)):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _unreadable(error: Exception) -> InvalidBody:
    # To msgspec, JSON that breaks a schema is a special case of JSON that breaks off.
    if isinstance(error, msgspec.ValidationError) or not isinstance(error, _NOT_JSON):
        return _placed(error)
    return InvalidBody("$", f"the body is not valid JSON: {error}")


def _placed(error: Exception) -> InvalidBody:
    """The path and reason inside a message such as ``Expected `int`, got `str` - at `$.to` ``."""
    match = _PLACED.fullmatch(_reason(error))
    assert match is not None  # noqa: S101  every part is optional
    reason, path = match["reason"], (match["path"] or "$") + (match["inner"] or "")
    if missing := _MISSING.fullmatch(reason):
        return InvalidBody(f"{path}.{missing[1]}", "missing required field")
    return InvalidBody(path, reason)


def _from_builtins(kind: Any, value: Any) -> Any:
    if not is_pydantic(kind):
        raise TypeError(f"{kind!r} cannot be read from JSON")
    # As JSON text, because pydantic's strict mode would refuse a datetime's string as a value.
    try:
        return kind.model_validate_json(msgspec.json.encode(value), strict=True)
    except ValueError as error:
        raise ValueError(_first_problem(error)) from error


def _first_problem(error: ValueError) -> str:
    problems = getattr(error, "errors", None)
    if problems is None:
        return str(error)
    first = problems(include_url=False, include_context=False, include_input=False)[0]
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    return f"{first['msg']}{_INNER}{''.join(steps)}"
