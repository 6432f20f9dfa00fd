"""The file of a bundle: deterministic, strict, without secrets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest

from typedq import InvalidBundle, Secret
from typedq.bundle import Bundle, BundledTask, dump, parse, secret_paths, without_secret_values
from typedq.bundle.document import MAX_BYTES, _hash
from typedq.contracts import document, fingerprint

Pin = Annotated[str, Secret]


class Card(msgspec.Struct, frozen=True):
    number: Pin = "4111"
    owner: str = "Ada"


class Order(msgspec.Struct):
    card: Card = Card("5500")
    cards: list[Card] = []
    codes: dict[str, Pin] = {}
    odd: Annotated[int, Secret] = msgspec.field(name="a b", default=7)
    again: Order | None = None
    note: str = "kept"


def bundle(**more: Any) -> Bundle:
    schema = without_secret_values(document(Order))
    tasks = {name: BundledTask(name, "high", schema) for name in ("ship", "pack")}
    return Bundle("shop", ("high", "low"), "low", tasks, **more)


WHOLE = dump(bundle())


def edited(change: Callable[[Any], object], *, signed: bool = True) -> bytes:
    """The file with a change; `signed`: with the hash that fits it."""
    content = json.loads(WHOLE)
    change(content)
    if signed:
        content["sha256"] = _hash({k: v for k, v in content.items() if k != "sha256"})
    return json.dumps(content).encode()


def refused(data: bytes, **more: Any) -> str:
    with pytest.raises(InvalidBundle) as error:
        parse(data, "b.json", **more)
    assert str(error.value) == f"b.json: {error.value.reason}"
    return error.value.reason


def test_the_same_bundle_gives_the_same_bytes_in_the_order_of_names() -> None:
    other = bundle()
    assert dump(Bundle(**{f: getattr(other, f) for f in Bundle.__slots__})) == WHOLE
    assert list(json.loads(WHOLE)["tasks"]) == ["pack", "ship"]


def test_a_bundle_that_nobody_could_read_is_not_written() -> None:
    queues = tuple(f"q{number}" for number in range(1_001))
    with pytest.raises(InvalidBundle, match="the bundle of shop: queues has a value"):
        dump(dataclasses.replace(bundle(), queues=(*queues, "high", "low")))


def test_a_bundle_is_read_back_equal_also_if_a_formatter_changed_its_whitespace() -> None:
    compact = json.dumps(json.loads(WHOLE), ensure_ascii=True).replace("\n", "\r\n").encode()
    for data in (WHOLE, compact):
        assert parse(data, "b.json", namespace="shop") == bundle()
    assert dump(parse(WHOLE, "b.json")) == WHOLE


def test_secret_paths_are_kept_and_values_of_secrets_are_not() -> None:
    schema = document(Order)
    task = parse(WHOLE, "b").tasks["ship"]
    assert json.loads(WHOLE)["tasks"]["ship"]["secrets"] == [
        "$.card.number",
        "$.cards[*].number",
        "$.codes.*",
        '$["a b"]',
    ]
    for secret in ("4111", "5500", '"default": 7'):
        assert secret.encode() not in WHOLE
    assert b'"Ada"' in WHOLE
    assert b'"kept"' in WHOLE
    assert task.contract == f"ship@{fingerprint(schema)}"


def test_a_member_named_like_a_keyword_is_no_keyword() -> None:
    class Odd(msgspec.Struct):
        default: Pin = "4111"
        examples: str = "kept"
        writeOnly: bool = True  # noqa: N815

    made = without_secret_values(document(Odd))
    assert fingerprint(made) == fingerprint(document(Odd))
    assert "4111" not in str(made)
    assert made["properties"]["examples"]["default"] == "kept"
    assert secret_paths(made) == ["$.default"]


def test_what_cannot_be_searched_counts_as_secret_as_a_whole() -> None:
    levels = {
        f"d{i}": {"properties": {n: {"$ref": f"#/$defs/d{i + 1}"} for n in "ab"}} for i in range(40)
    }
    assert secret_paths({"$ref": "#/$defs/d0", "$defs": {**levels, "d40": {}}}) == ["$"]
    assert secret_paths({"if": {"writeOnly": True}}) == ["$"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda b: b.update(namespace="other"), "it was edited, because its hash does not fit"),
        (lambda b: b["tasks"].pop("pack"), "it was edited"),
        (lambda b: b["tasks"]["ship"]["schema"].update(title="x"), "it was edited"),
        (lambda b: b.update(sha256="0" * 64), "it was edited"),
        (lambda b: b.pop("sha256"), "it was edited"),
    ],
)
def test_an_edited_bundle_is_refused(change: Callable[[Any], object], reason: str) -> None:
    found = refused(edited(change, signed=False))
    assert found.startswith(reason)
    assert "make it again with `typedq bundle`" in found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda b: b.update(format=2, more=1), "its format is 2, and this typedq knows 1: upgrade"),
        (lambda b: b.update(protocol=9), "its protocol is 9, and this typedq knows 1: upgrade"),
        (lambda b: b.update(format=True), "format is not a number from 1 upward"),
        (lambda b: b.update(typedq="pins"), "it is not a bundle, which `typedq bundle` writes"),
        (lambda b: b.update(url="redis://"), "it has an unknown member 'url'"),
        (lambda b: b.pop("ordered"), "ordered is missing"),
        (lambda b: b.update(namespace="a b"), "namespace has a value that it cannot have"),
        (lambda b: b.update(queues=["high", "high"]), "queues has a value that it cannot have"),
        (lambda b: b.update(queues=["x\n"]), "queues has a value that it cannot have"),
        (lambda b: b.update(default_queue="none"), "default_queue is not one of the queues"),
        (lambda b: b.update(tasks={}), "tasks has a value that it cannot have"),
        (lambda b: b.update(max_body=-1), "max_body has a value"),
        (lambda b: b["tasks"].update({"a b": {}}), "'a b' is not the name of a task"),
        (lambda b: b["tasks"]["ship"].update(code=""), "task ship: it has contract, queue, schema"),
        (lambda b: b["tasks"]["ship"].update(queue="x"), "task ship: its queue is not one of"),
        (lambda b: b["tasks"]["ship"].update(secrets=[]), "task ship: its secrets are not those"),
        (
            lambda b: b["tasks"]["ship"]["schema"]["$defs"]["Order"]["properties"].pop("note"),
            "task ship: its schema is that of ship@",
        ),
        (
            lambda b: b["tasks"]["ship"].update(contract=b["tasks"]["pack"]["contract"]),
            "task ship: its schema is that of ship@",
        ),
    ],
)
def test_a_bundle_with_a_good_hash_and_wrong_content_is_refused(
    change: Callable[[Any], object], reason: str
) -> None:
    assert refused(edited(change)).startswith(reason)


@pytest.mark.parametrize("size", [0, 1, 100, len(WHOLE) - 3])
def test_a_truncated_bundle_is_refused(size: int) -> None:
    assert refused(WHOLE[:size]).startswith("it is not JSON, or not all of it")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", "it is not a bundle"),
        (b"\xff", "it is not JSON"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":1,"a":2}', "a member stands there twice"),
        (b"[" * 200_000, "nested too deep"),
        (b" " * (MAX_BYTES + 1), "16,777,217 bytes; 16,777,216 are allowed"),
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes, reason: str) -> None:
    assert reason in refused(data)


def test_a_bundle_of_another_namespace_is_refused() -> None:
    assert refused(WHOLE, namespace="mail") == "it is of the namespace 'shop', not of 'mail'"
