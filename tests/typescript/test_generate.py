"""What is written, and what is refused, without Node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from typer.testing import CliRunner

from typedq.bundle import Bundle, BundledTask, dump
from typedq.cli.program import _program
from typedq.contracts import contract_of, document
from typedq.errors import CannotGenerate
from typedq.generate.typescript import typescript
from typedq.generate.typescript.module import INDEX
from typedq.generate.typescript.names import TAKEN
from typedq.generate.typescript.patterns import NotTranslated, to_javascript
from typedq.policy import Context


class Contact(pydantic.BaseModel):
    address: pydantic.EmailStr
    born: Annotated[str, pydantic.Field(pattern=r"^\d{4}$")] = "2000"


class Line(msgspec.Struct):
    sku: str


class Order(msgspec.Struct):
    lines: list[Line]


def bundle(kind: Any) -> Bundle:
    task = BundledTask("invite", "default", document(kind))
    return Bundle("shop", ("default",), "default", {"invite": task})


def contracts(kind: Any) -> str:
    files, problems = typescript(bundle(kind))
    assert not problems
    return files["contracts.ts"].decode()


def test_what_only_a_worker_checks_is_refused_and_can_be_allowed(tmp_path: Path) -> None:
    file = tmp_path / "shop.typedq.json"
    file.write_bytes(dump(bundle(Contact)))
    run = CliRunner().invoke
    words = ["generate", "typescript", str(file), "-o", str(tmp_path / "shop")]
    refused = run(_program("generate"), words)
    assert isinstance(refused.exception, CannotGenerate)
    assert "  invite: $.address: text of the form email" in str(refused.exception)
    assert not (tmp_path / "shop").exists()
    allowed = run(_program("generate"), [*words, "--allow-unchecked"])
    assert allowed.exit_code == 0
    assert "invite: $.address: text of the form email; only the worker checks it" in allowed.output
    assert "t.Contract<Contact>" in (tmp_path / "shop" / "contracts.ts").read_text()


def test_a_schema_that_is_not_understood_is_refused() -> None:
    task = BundledTask("t", "default", {"type": "object", "if": {}})
    with pytest.raises(CannotGenerate, match='t: \\$: at #: the keyword "if"'):
        typescript(Bundle("shop", ("default",), "default", {"t": task}))


@pytest.mark.parametrize(
    "made",
    [{"$ref": "#/$defs/A"}, {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]}],
    ids=["alone", "in a union"],
)
def test_a_definition_that_is_nothing_but_itself_is_refused(made: dict[str, Any]) -> None:
    definitions = {"A": made, "B": {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/A"}]}}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": definitions}
    with pytest.raises(CannotGenerate, match=r"t: #/.defs/.: it refers to itself, and not as a m"):
        typescript(Bundle("shop", ("default",), "default", {"t": BundledTask("t", "x", schema)}))


def test_the_same_bundle_gives_the_same_bytes() -> None:
    assert typescript(bundle(Order)) == typescript(bundle(Order))


def test_types_have_the_names_of_the_owners_code() -> None:
    written = contracts(Order)
    assert "export interface Order {\n  readonly lines: readonly Line[];\n}" in written
    assert "readonly invite: Order;" in written


def test_a_class_of_the_owner_keeps_its_name_whatever_tasks_are_called() -> None:
    def form(order: Order, form: Order) -> None: ...

    class Form(Order): ...

    parameters, own = contract_of(form, task="t", context=Context).schema, document(Form)
    tasks = {n: BundledTask(n, "q", s) for n, s in (("form", parameters), ("send", own))}
    files, _ = typescript(Bundle("shop", ("q",), "q", tasks))
    for line in (b"  readonly form: FormParameters;\n", b"  readonly send: Form;\n"):
        assert line in files["contracts.ts"]


def test_no_type_takes_a_name_that_the_folder_exports() -> None:
    exported = re.findall(
        r"^export \{(.*?)\}|^export type \{(.*?)\}", INDEX, re.MULTILINE | re.DOTALL
    )
    names = {name for both in exported for name in re.findall(r"\w+", "".join(both))}
    assert names <= TAKEN
    assert "export *" not in INDEX.replace('export * from "./contracts.js"', "")


class Created(pydantic.BaseModel):
    kind: Literal["created", "restored"] = "created"


class Deleted(pydantic.BaseModel):
    kind: Literal["deleted"]


class Event(pydantic.BaseModel):
    event: Annotated[Created | Deleted, pydantic.Field(discriminator="kind")]


def test_models_are_told_apart_by_a_discriminator_that_has_a_default() -> None:
    written = contracts(Event)
    assert '(Created & { readonly kind: "created" | "restored" }) | (Deleted & { rea' in written
    assert '[["created", t.ref(() => Created)], ["restored", t.ref(() => Created)], [' in written


def test_safe_bounds_make_a_number_and_others_a_bigint_too() -> None:
    small = Annotated[int, msgspec.Meta(ge=0, le=9)]
    written = contracts(msgspec.defstruct("Order", [("small", small), ("big", int)]))
    assert "readonly small: number;" in written
    assert "readonly big: t.Int;" in written


@pytest.mark.parametrize(
    ("pattern", "engine", "translated"),
    [
        (r"^[A-Z]{2}-\d+$", "rust-regex", r"^[A-Z]{2}-[\p{Nd}]+$"),
        ("^a$", "python-re", r"^a(?=\n?$)"),
        (r"(a|b.)*?\.", "python-re", r"(?:a|b[^\n])*?\."),
        (r"[\w-]", "python-re", r"[\p{L}\p{N}_\-]"),
        (r"\A[^/\s]\Z", "python-re", r"^[^\/\p{White_Space}\x1c-\x1f]$"),
    ],
)
def test_patterns_keep_their_meaning(pattern: str, engine: str, translated: str) -> None:
    assert to_javascript(pattern, engine) == translated


@pytest.mark.parametrize(
    "pattern", ["(?=a)", r"\bword", "a++", "(?i)a", r"(a)\1", "[[a]]", "(", "a**"]
)
def test_other_patterns_are_left_to_the_worker(pattern: str) -> None:
    with pytest.raises(NotTranslated):
        to_javascript(pattern, "python-re")


def test_flags_are_left_to_the_worker() -> None:
    with pytest.raises(NotTranslated, match="flags"):
        to_javascript("a", "python-re:2")
