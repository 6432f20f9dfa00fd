"""Metadata: what is refused, and how it travels in the options of the header."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from typedq.errors import InvalidOptions
from typedq.message import (
    KIND_AT,
    META,
    decode_message,
    encode_message,
    is_message,
    kind_of,
    payload_at,
    shared_text,
)
from typedq.policy import check_options, decode_meta, encode_meta, merge_meta, read_meta

NOW = datetime(2027, 1, 1, tzinfo=UTC)
ID = "0195f0a1b2c0123456789abcde"
LIMITS: Any = {"soft_timeout": 5, "hard_timeout": 10}


class Tenant(str, Enum):  # noqa: UP042
    ACME = "acme"


def header(meta: Any, **limits: Any) -> bytes:
    """The options in a header, as a message gets them."""
    options: Any = {"meta": meta, **limits}
    timeouts, encoded = check_options("mail", options, now=NOW).timeouts, encode_meta("mail", meta)
    _, after_id, before_meta, after_meta = shared_text("mail@0", "q", timeouts)
    return (before_meta + encoded + after_meta if encoded else after_id).split(b" ")[3]


def encoded(options: bytes, body: bytes = b'{"a": 1}') -> bytes:
    return encode_message(id=ID, contract="mail@0", queue="q", options=options, body=body)


KEYS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", min_size=1, max_size=20)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.dictionaries(KEYS, TEXTS, max_size=8), st.booleans())
def test_any_text_comes_back_from_a_header_that_the_scripts_read(
    meta: dict[str, str], limited: bool
) -> None:
    options = header(meta, **(LIMITS if limited else {}))
    message = encoded(options)
    assert decode_meta(options) == meta
    assert is_message(message)
    assert decode_message(message).body == b'{"a": 1}'
    assert options == b"-" or json.loads(options).get("m", {}) == meta


@given(st.dictionaries(KEYS, TEXTS, min_size=1, max_size=4), TEXTS)
def test_messages_that_differ_only_in_metadata_are_of_one_kind(
    meta: dict[str, str], other: str
) -> None:
    one, two = (encoded(header(m, **LIMITS)) for m in (meta, {"trace": other}))
    assert kind_of(one) == kind_of(two) == b'mail@0 q {"soft":5.0,"hard":10.0,"m":{'
    assert one[payload_at(one, KIND_AT + len(kind_of(one))) :] == b'{"a": 1}'


@pytest.mark.parametrize(
    "options",
    [
        b"-",
        b'{"soft":5.0}',
        b'{"m":5}',
        b'{"m":{"a":"b"},"soft":5}',  # not the last option, so the rest counts
        b'{"m":{"a":"b"},"x":{}}',
        b'{"m":{"a":{}}}',
        b'{"m":{"a":"}"}}',
        b'{"x":{"m":{}}}',
        b'{"m":{',
        b'{"m":{}',
    ],
)
def test_metadata_that_is_not_the_last_and_flat_option_is_part_of_the_kind(options: bytes) -> None:
    message = encoded(options)
    assert kind_of(message) == b"mail@0 q " + options + b" "


def test_braces_in_the_payload_are_none_of_the_options() -> None:
    message = encoded(b'{"soft":1.0}', b'{"m":{"a":"b"}} "m":{"a":"b"}} ')
    assert kind_of(message) == b'mail@0 q {"soft":1.0} '
    assert META not in kind_of(message)


@pytest.mark.parametrize(
    "options",
    [
        *(b"-", b"{", b"\xff", b'{"m":5}', b'{"m":null}', b'{"m":["a"]}', b'{"m":{"a":1}}'),
        *(b'{"m":{"a":"b"', b'{"m":{"a":"\\ud800"}}', b'"m":', b'[{"m":{"a":"b"}}]'),
        b'{"x":' + b"[" * 100_000 + b',"m":{}}',
    ],
)
def test_options_that_hold_no_metadata_give_none_and_raise_nothing(options: bytes) -> None:
    assert decode_meta(options) == {}


def test_metadata_is_read_only_and_subclasses_of_str_are_text() -> None:
    options = header(MappingProxyType({"b": Tenant.ACME, "a": ""}))
    assert options == b'{"m":{"a":"","b":"acme"}}'
    meta: Any = decode_meta(options)
    with pytest.raises(TypeError):
        meta["c"] = "d"
    assert header({}) == b"-"
    assert header({"b": "acme", "a": ""}) == options


@given(st.dictionaries(KEYS, TEXTS | st.text("a\"\\{}/ \x7f,:'", max_size=9), max_size=20))
def test_a_dict_and_any_other_mapping_are_encoded_alike(meta: dict[str, str]) -> None:
    results: list[object] = []
    for given_as in (meta, MappingProxyType(meta)):
        try:
            results.append(encode_meta("mail", given_as))
        except InvalidOptions as error:
            results.append(error.reason)
    assert results[0] == results[1]


@given(
    st.lists(st.dictionaries(KEYS, TEXTS, max_size=4), min_size=1, max_size=4),
)
def test_merged_metadata_has_the_last_value_of_each_key(parts: list[dict[str, str]]) -> None:
    merged, expected = b"", dict[str, str]()
    for part in parts:
        merged, expected = merge_meta("mail", merged, part), expected | part
    assert read_meta(merged) == expected
    assert merged == encode_meta("mail", expected)


def test_sixteen_keys_and_1024_bytes_are_the_limits() -> None:
    for fits in ({f"{number:02}": "x" * 62 for number in range(16)}, {"a": "ü" * 511 + "x"}):
        assert decode_meta(header(fits)) == fits


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ([("a", "b")], "it takes a mapping of str to str, not list"),
        ("a=b", "it takes a mapping of str to str, not str"),
        ({"A": "b"}, "key 'A' is not 1 to 64 of a-z 0-9 _ . -"),
        ({"": "b"}, "key '' is not 1 to 64 of a-z 0-9 _ . -"),
        ({"a b": "c"}, "key 'a b' is not 1 to 64 of a-z 0-9 _ . -"),
        ({"a\n": "c"}, r"key 'a\n' is not 1 to 64 of a-z 0-9 _ . -"),
        ({"a" * 65: ""}, f"key '{'a' * 65}' is not 1 to 64 of a-z 0-9 _ . -"),
        ({1: "b"}, "key 1 is not 1 to 64 of a-z 0-9 _ . -"),
        ({"a": 1}, "the value of 'a' is int; make it text with str()"),
        ({"a": None}, "the value of 'a' is NoneType; make it text with str()"),
        ({"a": b"c"}, "the value of 'a' is bytes; make it text with str()"),
        ({"a": "\ud800"}, "the value of 'a' has a surrogate, which UTF-8 cannot encode"),
        (
            {str(number): "" for number in range(17)},
            "17 keys; the limit is 16; put large data into the arguments",
        ),
        (
            {"a": "ü" * 512},
            "1,025 bytes of keys and values; the limit is 1,024; put large data into the arguments",
        ),
    ],
)
def test_bad_metadata_is_refused(meta: Any, reason: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        encode_meta("mail", meta)
    assert (caught.value.task, caught.value.option, caught.value.reason) == ("mail", "meta", reason)
