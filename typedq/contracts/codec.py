"""Encode a payload as the body of a message, and decode it; strict in both directions."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from collections.abc import Callable
from typing import Any, cast

import msgspec

from typedq.contracts.conversions import adapter_for, decode_value, encode_value
from typedq.contracts.encoded_types import Encoding, encoded_type
from typedq.contracts.equality import (
    change,
    has_fold,
    inexpressible,
    is_partial,
    leaves,
    overlooked,
)
from typedq.contracts.guards import runs_code, too_deep
from typedq.contracts.type_tree import parts_of
from typedq.errors import InvalidBody

# Kept as they are while arguments are checked as Python values: JSON makes them all strings, so
# the bytes alone would not show that a UUID was given for a str.
_TEXTUAL = (
    bytes, bytearray, memoryview, dt.datetime, dt.date, dt.time,
    dt.timedelta, uuid.UUID, decimal.Decimal,
)  # fmt: skip
LEVEL = 2  # bytes of a level of nesting, at least: the levels of short bodies are not counted
_PLACED = re.compile(
    r"(?P<reason>.*?)(?:\0(?P<inner>.*?))?(?: - at (?:`key` in )?`(?P<path>\$.*)`)?", re.DOTALL
)
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError)
_MISSING = re.compile(r"Object missing required field `(.+)`")


class Codec:
    """Writes and reads one payload type. Whatever it rejects is an `InvalidBody` with a path.

    `parse` is `read` without its limits, and raises anything. `runs_code`: of the payload's types.
    """

    def __init__(self, kind: Any) -> None:
        self._encoded: Encoding = encoded_type(kind)
        adapter = adapter_for(self._encoded.kind)
        self._by_pydantic = adapter is not None
        if adapter is not None:
            self.parse: Callable[[bytes], Any] = adapter.read
            self._encode: Callable[[Any], bytes] = adapter.write
        else:
            decoder = msgspec.json.Decoder(self._encoded.kind, strict=True, dec_hook=decode_value)
            self.parse = _after(decoder.decode, self._encoded.load)
            dump, encode = self._encoded.dump, msgspec.json.Encoder(enc_hook=encode_value).encode
            self._encode = encode if dump is None else lambda payload: encode(dump(payload))
        by_msgspec = adapter is None and self._encoded.load is None
        self.runs_code = not by_msgspec or runs_code(self._encoded.kind)
        partly, float_keys, self._decimals, moments = overlooked(self._encoded.kind)
        self._infinities = (b'inf":',) * float_keys + (b'Infinity"',) * self._decimals
        walks = [one.walked[1] for one in _adapters_in(self._encoded.kind)]
        self._exact = any(walk.ambiguous for walk in walks)
        partly = partly or any(is_partial(cls) for walk in walks for cls in walk.classes)
        self._moments = moments or any(walk.moments for walk in walks)
        self._closely = partly or self._exact or any(walk.times for walk in walks)

    def read(self, body: bytes, max_body: int, max_depth: int) -> Any:
        """Return the payload in `body`."""
        return self.reader(max_body, max_depth)(body)

    def reader(self, max_body: int, max_depth: int) -> Callable[[bytes], Any]:
        """Return `read` with its limits bound, to read many bodies."""
        parse, surely_fits = self.parse, min(max_body, LEVEL * max_depth)

        def read(body: bytes) -> Any:
            if len(body) > surely_fits:
                _check_size(body, max_body, max_depth)
            try:
                return parse(body)
            except Exception as error:
                raise _unreadable(error, body) from error

        return read

    def write(self, payload: Any, max_body: int, max_depth: int) -> bytes:
        """Return the body of `payload`, which `read` accepts and gives back unchanged."""
        try:
            encode, parse = self._encode, self.parse  # calling them as attributes takes longer
            body = encode(payload)
            size = len(body)
            fits = size <= max_body and (size <= LEVEL * max_depth or not too_deep(body, max_depth))
            same = fits and not self._closely and parse(body) == payload
            infinite = self._infinities and any(text in body for text in self._infinities)
            if same and not (infinite or (self._moments and has_fold(payload))):
                return body
        except Exception:  # noqa: BLE001, S110  `_write` raises it with its path
            pass
        return self._write(payload, max_body, max_depth)

    def _write(self, payload: Any, max_body: int, max_depth: int) -> bytes:
        """Do as `write`, with every check, and find the path of what is invalid."""
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
                self._refuse_inexpressible(payload)
            raise
        self._refuse_inexpressible(payload)
        self._check_types(payload)
        try:
            changed = change(payload, read, exact=self._exact)
        except Exception as error:  # the `==` of a class, or of a signaling NaN
            reason = f"it cannot be compared with what would arrive: {_reason(error)}"
            raise InvalidBody("$", reason) from error
        if changed is not None:
            raise InvalidBody(changed.path, str(changed))
        return body

    def encoded(self, payload: Any) -> bytes | None:
        """Return the body of a payload that need not be valid; None if it has none."""
        try:
            return self._encode(payload)
        except Exception:  # noqa: BLE001  whatever its classes raise
            return None

    def _unwritable(self, payload: Any) -> str:
        for path, leaf in leaves(payload):
            try:
                msgspec.json.encode(leaf, enc_hook=encode_value)
                _ = self._by_pydantic and isinstance(leaf, bytes) and leaf.decode()
            except Exception:  # noqa: BLE001  only the path is wanted
                return path
        return "$"

    def _refuse_inexpressible(self, payload: Any) -> None:
        if found := inexpressible(payload, decimals=self._decimals):
            raise InvalidBody(*found)

    def _check_types(self, payload: Any) -> None:
        """Raise `InvalidBody` for a value that decodes, but is not of the declared type."""
        if self._by_pydantic:
            return
        try:
            kind, dump = self._encoded.kind, self._encoded.dump
            encoded = payload if dump is None else dump(payload)
            plain = msgspec.to_builtins(encoded, builtin_types=_TEXTUAL, enc_hook=encode_value)
            msgspec.convert(plain, kind, builtin_types=_TEXTUAL, strict=True, dec_hook=decode_value)
        except Exception as error:
            raise _placed(error) from error


def _check_size(body: bytes, max_body: int, max_depth: int) -> None:
    if len(body) > max_body:
        raise InvalidBody("$", f"{len(body):,} bytes; the limit is {max_body:,}")
    if too_deep(body, max_depth):
        raise InvalidBody("$", f"nested more than {max_depth} levels deep")


def _after(decode: Callable[[bytes], Any], load: Callable[[Any], Any] | None) -> Any:
    def read(body: bytes) -> Any:
        return None if load is None else load(decode(body))

    return decode if load is None else read


def _adapters_in(kind: Any) -> list[Any]:
    classes = (getattr(part, "cls", None) for part in parts_of(kind) or ())
    return [adapter for cls in classes if (adapter := adapter_for(cls)) is not None]


def _reason(error: Exception) -> str:
    cause: Any = error.__cause__
    if cause.__class__ in (ValueError, TypeError) and len(cause.args) > 1:  # of attrs
        return str(error).replace(str(cause), str(cause.args[0]))
    if isinstance(error, (msgspec.MsgspecError, UnicodeError, TypeError)):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _unreadable(error: Exception, body: bytes) -> InvalidBody:
    if type(error).__module__.startswith("pydantic"):
        from typedq.contracts.pydantic_types.adapter import problem_in

        try:
            return InvalidBody(*problem_in(cast("Any", error), msgspec.json.decode(body)))
        except _NOT_JSON as broken:
            error = broken
    # A ValidationError is a DecodeError, but its body is valid JSON.
    if isinstance(error, msgspec.ValidationError) or not isinstance(error, _NOT_JSON):
        return _placed(error)
    return InvalidBody("$", f"the body is not valid JSON: {error}")


def _placed(error: Exception) -> InvalidBody:
    """Return path and reason from a message such as ``Expected `int`, got `str` - at `$.to` ``."""
    match = _PLACED.fullmatch(_reason(error))
    assert match is not None  # noqa: S101  every part is optional
    reason, path = match["reason"], (match["path"] or "$") + (match["inner"] or "")
    if missing := _MISSING.fullmatch(reason):
        return InvalidBody(f"{path}.{missing[1]}", "missing required field")
    return InvalidBody(path, reason)
