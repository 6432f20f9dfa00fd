"""Metadata of a message: text beside the arguments, outside of the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec

from typedq.errors import InvalidOptions

Meta = Mapping[str, str]
NO_META: Final[Meta] = MappingProxyType({})
MAX_KEYS, MAX_BYTES = 16, 1024
_KEY, _SURROGATE = re.compile(r"[a-z0-9_.-]{1,64}"), re.compile(r"[\ud800-\udfff]")
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
# A header has no spaces. Without braces in them, values end where the first brace closes.
_ESCAPED = ((" ", r"\u0020"), ("{", r"\u007b"), ("}", r"\u007d"))
# Most metadata is unique to its message, and nothing in it is escaped.
_encode_plain = msgspec.json.Encoder(order="sorted").encode
_PAIR = rb'"[a-z0-9_.-]{1,64}":"[!#-\[\]-z|~]*"'
_PLAIN = re.compile(rb"\{%b(?:,%b){0,%d}\}" % (_PAIR, _PAIR, MAX_KEYS - 1))


class _Options(msgspec.Struct):
    m: dict[str, str] = {}


_read_options = msgspec.json.Decoder(_Options).decode


def _checked(task: str, meta: object) -> dict[str, str]:
    if not issubclass(type(meta), Mapping):
        reason = f"it takes a mapping of str to str, not {type(meta).__name__}"
        raise InvalidOptions(task, "meta", reason)
    given: dict[Any, Any] = dict(cast("Mapping[Any, Any]", meta))
    for key, value in given.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise InvalidOptions(task, "meta", f"key {key!r} is not 1 to 64 of a-z 0-9 _ . -")
        if not isinstance(value, str):
            reason = f"the value of {key!r} is {type(value).__name__}; make it text with str()"
            raise InvalidOptions(task, "meta", reason)
        if not value.isascii() and _SURROGATE.search(value):
            reason = f"the value of {key!r} has a surrogate, which UTF-8 cannot encode"
            raise InvalidOptions(task, "meta", reason)
    size = sum([len(key) + len(value.encode()) for key, value in given.items()])
    limits = (len(given), "keys", MAX_KEYS), (size, "bytes of keys and values", MAX_BYTES)
    for number, what, limit in limits:
        if number > limit:
            reason = f"{number:,} {what}; the limit is {limit:,}; put large data into the arguments"
            raise InvalidOptions(task, "meta", reason)
    return given


def encode_meta(task: str, meta: object) -> bytes:
    """Return metadata as a JSON object in ASCII, without spaces and inner braces, or empty.

    Raises InvalidOptions.
    """
    given: Any = meta
    if type(meta) is dict and {*map(type, given), *map(type, given.values())} == {str}:
        try:
            plain = _encode_plain(given)
        except UnicodeEncodeError:
            plain = b""
        if len(plain) <= MAX_BYTES and _PLAIN.fullmatch(plain):
            return plain
    pairs = _encode(_checked(task, given))[1:-1]
    for character, escaped in _ESCAPED:
        pairs = pairs.replace(character, escaped)
    return b"{%b}" % pairs.encode() if pairs else b""


def merge_meta(task: str, encoded: bytes, more: Meta) -> bytes:
    """Return encoded metadata with more, which replaces that of the same keys.

    Raises InvalidOptions.
    """
    return encode_meta(task, {**read_meta(encoded), **_checked(task, more)} if encoded else more)


def read_meta(encoded: bytes) -> Meta:
    """Return encoded metadata as a mapping, read-only."""
    return decode_meta(b'{"m":%b}' % encoded) if encoded else NO_META


def decode_meta(options: bytes) -> Meta:
    """Return the metadata in the options of a header, read-only.

    Whatever is not an object of texts is ignored, as it may come from anyone.
    """
    if b'"m":' not in options:
        return NO_META
    try:
        return MappingProxyType(_read_options(options).m)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return NO_META
