"""Metadata of a message: text beside the arguments, outside of the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from typedq.errors import InvalidOptions

Meta = Mapping[str, str]
NO_META: Final[Meta] = MappingProxyType({})
MAX_KEYS, MAX_BYTES = 16, 1024
_KEY, _SURROGATE = re.compile(r"[a-z0-9_.-]{1,64}"), re.compile(r"[\ud800-\udfff]")
_encode = json.JSONEncoder(separators=(",", ":")).encode
# A header has no spaces. Without braces in them, values end where the first brace closes.
_ESCAPED = ((" ", r"\u0020"), ("{", r"\u007b"), ("}", r"\u007d"))


class _Options(msgspec.Struct):
    m: dict[str, str] = {}


_read_options = msgspec.json.Decoder(_Options).decode


def check_meta(task: str, meta: object) -> dict[str, str]:
    """Return checked metadata, sorted by key. Raises InvalidOptions."""
    given: Any = meta
    if not issubclass(type(meta), Mapping):
        reason = f"it takes a mapping of str to str, not {type(meta).__name__}"
        raise InvalidOptions(task, "meta", reason)
    for key, value in given.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise InvalidOptions(task, "meta", f"key {key!r} is not 1 to 64 of a-z 0-9 _ . -")
        if not isinstance(value, str):
            reason = f"the value of {key!r} is {type(value).__name__}; make it text with str()"
            raise InvalidOptions(task, "meta", reason)
        if not value.isascii() and _SURROGATE.search(value):
            reason = f"the value of {key!r} has a surrogate, which UTF-8 cannot encode"
            raise InvalidOptions(task, "meta", reason)
    instead = "put large data into the arguments"
    if len(given) > MAX_KEYS:
        reason = f"{len(given)} keys; the limit is {MAX_KEYS}; {instead}"
        raise InvalidOptions(task, "meta", reason)
    size = sum([len(key) + len(value.encode()) for key, value in given.items()])
    if size > MAX_BYTES:
        reason = f"{size:,} bytes of keys and values; the limit is {MAX_BYTES:,}; {instead}"
        raise InvalidOptions(task, "meta", reason)
    return {key: given[key] for key in sorted(given)}


def encode_meta(meta: Meta) -> bytes:
    """Return checked metadata as a JSON object in ASCII, without spaces and inner braces."""
    if not meta:
        return b""
    pairs = _encode(meta)[1:-1]
    for character, escaped in _ESCAPED:
        pairs = pairs.replace(character, escaped)
    return b"{%b}" % pairs.encode()


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
