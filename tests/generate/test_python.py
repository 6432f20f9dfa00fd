"""`typedq generate python`: the same contracts, names of the owner, and nothing that can run."""

from __future__ import annotations

import ast
import datetime as dt
import ipaddress
import json
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from tests.compat.fuzz_types import Builder, Maker
from tests.conformance.shop import app as shop
from tests.conformance.vectors import BUNDLE
from tests.contracts.models.app import app as models
from typedq import ContractError, InvalidArguments, Secret
from typedq.admin.bundles import of_app
from typedq.bundle import Bundle, BundledTask
from typedq.contracts import contract_of, document
from typedq.generate.python import pydantics
from typedq.generate.python.module import Form, source
from typedq.generate.python.names import Inexpressible
from typedq.generate.python.proof import checked_source
from typedq.policy import Context

ROOT = Path(__file__).parents[2]
KNOWN_CALLS = {
    *("_typedq.TypedQ", "app.remote", "_msgspec.Meta", "_msgspec.field", "_pydantic.Field"),
    *("_pydantic.StringConstraints", "_pydantic.UrlConstraints", "_pydantic.ConfigDict"),
    *("_decimal.Decimal", "_datetime.date", "_datetime.timedelta", "_functools.partial"),
    "_typing.cast",
}
NODES = (
    *(ast.Module, ast.Expr, ast.Constant, ast.ImportFrom, ast.Import, ast.alias, ast.Assign),
    *(ast.AnnAssign, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Call, ast.keyword),
    *(ast.List, ast.Tuple, ast.Dict, ast.Subscript, ast.BinOp, ast.BitOr, ast.UnaryOp, ast.USub),
    *(ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg, ast.Pass),
)


def bundle(*schemas: dict[str, Any], **more: Any) -> Bundle:
    tasks = {f"task_{n}": BundledTask(f"task_{n}", "low", s) for n, s in enumerate(schemas)}
    return Bundle("shop", ("low",), "low", tasks, **more)


def generated(*schemas: dict[str, Any], **more: Any) -> str:
    text, problems = checked_source(bundle(*schemas, **more))
    assert not problems
    return text


def refused(schema: dict[str, Any]) -> Inexpressible:
    text, (problem,) = checked_source(bundle(schema))
    assert not text
    assert problem.task == "task_0"
    return problem


def of(fn: Any) -> dict[str, Any]:
    return contract_of(fn, task="t", context=Context).schema


def run(text: str) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "_typedq_of_test"}
    sys.modules["_typedq_of_test"] = module = type(sys)("_typedq_of_test")
    exec(compile(text, "<test>", "exec"), vars(module))
    space |= vars(module)
    return space


def test_names_defaults_and_descriptions_are_those_of_the_owner() -> None:
    text, problems = checked_source(BUNDLE)
    assert not problems
    made = run(text)
    order = made["Order"](
        number=7, lines=[made["Line"]("AB12")], payment=made["Card"]("4111"), size=made["Size"].L
    )
    call = made["ship"].call(order)
    (read,), _ = shop.tasks["ship"].contract.decode(call.body)
    assert read.number == 7
    assert made["ship"].queue == "high"
    assert "note: str | None = None\n    size: Size = Size.S\n" in text
    assert (
        "number: Annotated[str, _msgspec.Meta(min_length=4, max_length=19), _typedq.Secret]" in text
    )
    assert text == checked_source(BUNDLE)[0]


def test_what_the_owner_passes_by_place_is_passed_by_place_here() -> None:
    def task(
        first: int, second: str = "", *, third: int, fourth: dt.date = dt.date(2027, 1, 1)
    ) -> None:
        """Not in the contract."""

    text = generated(of(task))
    signature = " ".join(text.partition("def _task_0(")[2].split())
    assert signature.startswith('first: int, second: str = "", *, third: int, fourth:')
    body = run(text)["task_0"].call(1, "x", third=3).body
    assert body == b'{"first":1,"second":"x","third":3}'  # the worker fills in what is left out
    signature = " ".join(generated(of(task), ordered=False).partition("def _task_0(")[2].split())
    assert signature.startswith("*, first: int")


class Same(msgspec.Struct):
    """A record.

    With a second paragraph.
    """

    number: int
    again: list[Same] = []


def test_a_type_of_several_tasks_is_one_class_and_another_of_that_name_is_another() -> None:
    other = msgspec.defstruct("Same", [("text", str)])
    text = generated(document(Same), document(Same), document(other))
    assert text.count("class Same(") == 1
    assert "class Task2Same(" in text
    assert '    """A record.\n\n    With a second paragraph.\n    """' in text or (
        '    """A record.\n\n    With a second paragraph."""' in text
    )


def test_names_that_python_would_misread_are_renamed_and_written_as_they_were() -> None:
    names = ["class", "a b", "int", "__slots__", "_x", "", "1", "é", "list", "field", "field_2"]
    schema = {
        "title": "def",
        "type": "object",
        "properties": {name: {"type": "integer"} for name in names},
        "required": names,
    }
    made = run(generated(schema))
    cls = next(made[name] for name in made["__all__"] if name[0] == "d")
    fields = cls.__struct_fields__
    assert cls.__struct_encode_fields__ == tuple(names)
    assert fields[:3] == ("class_", "a_b", "int_")
    assert "é" in fields


def test_names_that_the_package_itself_uses_are_given_to_nothing_else() -> None:
    whole, node = {"type": "integer", "minimum": 1}, {"$ref": "#/$defs/Node"}
    own = {"title": "_msgspec", "type": "object", "properties": {"_typing": whole}}
    parameters = {
        "x-typedq-payload": "parameters",
        "title": "msgspec",
        "type": "object",
        "properties": {"a": whole, "Node": node},
        "$defs": {"Node": {"title": "Node", "type": "object", "properties": {"Node": node}}},
    }
    tasks = {n: BundledTask(n, "low", s) for n, s in (("msgspec", parameters), ("re", own))}
    text, problems = checked_source(Bundle("shop", ("low",), "low", tasks))
    assert not problems
    assert "class _msgspec_(_msgspec.Struct" in text
    assert "def _msgspec_2(" in text
    assert "    Node_: Node | _msgspec.UnsetType = _msgspec.field(default=_msgspec.UNS" in text


def _value_of(random: Random, depth: int = 0) -> str:
    parts = [
        *('"""', "'''", "\\", "\n", "\r", "\0", "import os", "__import__('os').system('x')"),
        *("}", "{", "#", "\u202e", "\u2028", "\ud7ff", "é", "\uff49nt", "class", "A", "1", ")"),
        *(
            "]",
            ";",
            "f'{x}'",
            "%s",
            "$",
            "\\N{DIGIT ONE}",
            "\\x22",
            "\\\n",
            "\x0c",
            "\x85",
            "\ufeff",
        ),
        *("await", "match", "_", "__class__", "__init_subclass__", "__doc__", "_msgspec", "None"),
        *(
            "self",
            "mro",
            "name",
            "model_config",
            "_generate_next_value_",
            "\ufb01",
            "# type: ignore",
        ),
        *("lambda: 0", "*", "return", "keys", "_fields", "Annotated", "app", "\U0010ffff"),
    ]
    return "".join(random.choices(parts, k=random.randint(0, 4)))


def hostile(random: Random) -> dict[str, Any]:
    """A schema of the right form, with texts of a stranger wherever there can be any."""

    def text() -> str:
        return _value_of(random)

    def node(depth: int) -> dict[str, Any]:
        kinds: list[dict[str, Any]] = [
            {"type": "string", "pattern": text()},
            {"type": "string", "default": text(), "examples": [text()]},
            {"title": text(), "enum": [text(), text() + "x"], "default": text()},
            {"enum": [text()]},
            {"type": "string", "x-typedq-type": text(), "format": text()},
            {"type": "integer", "default": text(), "description": text()},
            {"$ref": "#/$defs/~1"},
            {"type": "array", "items": {"type": "integer"}, "title": text()},
            {"type": "string", "pattern": text() + "\\d", "x-typedq-text": {"to_lower": True}},
            {"type": "string", "x-typedq-text": {text(): text()}},
            finer("decimal", "x-typedq-decimal", {"ge": random.choice(["1", text()])}),
            finer("date", "x-typedq-bounds", {"ge": random.choice(["2020-01-01", text()])}),
            {"type": "string", "format": "uri", "x-typedq-url": {"schemes": [text()]}},
            {"anyOf": [{"$ref": "#/$defs/~1", "x-typedq-rank": [n, text()]} for n in (0, 1)]},
        ]
        if depth < 2:
            kinds += [record(depth + 1), {"anyOf": [node(depth + 1), {"type": "null"}]}] * 3
        return random.choice(kinds)

    def finer(kind: str, keyword: str, bounds: dict[str, Any]) -> dict[str, Any]:
        return {"type": "string", "format": kind, "x-typedq-type": kind, keyword: bounds}

    def record(depth: int) -> dict[str, Any]:
        names = {text() for _ in range(random.randint(1, 4))}
        made = {name: node(depth) | {"description": text()} for name in names}
        made = {n: {"$ref": p["$ref"]} if "$ref" in p else p for n, p in made.items()}
        return {
            "title": text(), "description": text(), "type": "object", "properties": made,
            "required": [n for n in made if random.random() < 0.5],
            **random.choice([{}, {}, {"additionalProperties": True}]),
        }  # fmt: skip

    inner = record(2)
    parameters = {"x-typedq-payload": "parameters"} if random.random() < 0.3 else {}
    return {**parameters, **record(0), "$defs": {"/": inner}}


def assert_inert(text: str) -> None:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        assert isinstance(node, NODES), ast.dump(node)
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) in KNOWN_CALLS
        if isinstance(node, ast.FunctionDef):
            assert ast.unparse(node.body) == "..." if isinstance(node.body, ast.AST) else True
            assert [ast.unparse(part) for part in node.body] == ["..."]
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names}
            assert names <= {
                *("msgspec", "typedq", "datetime", "decimal", "enum", "uuid", "typing"),
                *("annotations", "Annotated", "Literal", "pydantic", "typing_extensions"),
                *("functools", "operator"),
            }


def test_nothing_of_a_hostile_bundle_can_run() -> None:
    random, typed = Random(7), Counter[Form]()
    for _ in range(200):
        made = bundle(hostile(random))
        for form in ("exact", "narrower", "json"):
            with suppress(Inexpressible):
                assert_inert(source(made, {"task_0": form}))
                typed[form] += 1
    assert typed["narrower"] > typed["exact"] > 25
    assert typed["json"] == 200


@pytest.mark.parametrize("by_pydantic", [False, True])
def test_at_least_97_percent_of_random_types_are_expressed(by_pydantic: bool) -> None:
    random, made, problems = Random(16), 0, list[str]()
    while made < 70:
        builder = Builder(models=by_pydantic)
        try:
            kind = builder.build(Maker(random, models=by_pydantic).node())

            def task(value: Any) -> None: ...

            task.__annotations__ = {"value": kind}
            schema = of(task)
        except (TypeError, ValueError, ContractError):
            continue
        finally:
            builder.forget()
        made += 1
        problems += [str(error) for error in checked_source(bundle(schema))[1]]
    assert len(problems) <= 0.03 * made, problems


@pytest.fixture(scope="module")
def payloads() -> tuple[str, list[Inexpressible]]:
    """A package for a hundred payloads, and those that take JSON."""
    return checked_source(of_app(models).bundle, allow_json=True)


def test_at_least_97_percent_of_a_hundred_payloads_are_expressed(
    payloads: tuple[str, list[Inexpressible]],
) -> None:
    known, (text, problems) = of_app(models).bundle, payloads
    assert len(problems) <= 0.03 * len(known.tasks), problems
    remote = run(text)["app"].declarations.remote
    contracts = {name: task.contract.id for name, task in remote.items()}
    assert contracts == {task.name: task.contract for task in known.tasks.values()}


class Card(pydantic.BaseModel):
    number: str
    at: pydantic.AwareDatetime | None = None


class Transfer(pydantic.BaseModel, extra="forbid"):
    iban: str
    tries: Annotated[int, pydantic.Field(ge=1)] = pydantic.Field(default_factory=lambda: 3)


class Opened(pydantic.BaseModel, extra="allow"):
    kind: Literal["opened"] = "opened"
    code: Annotated[str, pydantic.StringConstraints(to_upper=True, pattern=r"^\d+$")]


class Sold(pydantic.BaseModel):
    kind: Literal["sold"] = "sold"
    price: Annotated[Decimal, pydantic.Field(ge=0, max_digits=5)]
    share: Annotated[float, pydantic.Field(ge=0, multiple_of=0.1)] = 0.3
    until: Annotated[dt.date, pydantic.Field(gt=dt.date(2020, 1, 1))]
    user: int = pydantic.Field(alias="uid", validation_alias=pydantic.AliasChoices("uid", "userId"))

    @pydantic.computed_field
    def total(self) -> Decimal:
        return self.price * 2


class Paid(pydantic.BaseModel):
    method: Card | Transfer
    event: Annotated[Opened | Sold, pydantic.Field(discriminator="kind")]
    raw: bytes = b"x"


def test_what_models_say_is_checked_and_the_owner_reads_it() -> None:
    text = generated(document(Paid))
    made = run(text)
    sold = made["Sold"](price=Decimal("1.5"), until=dt.date(2024, 1, 1), uid=3)
    for method, read in (
        (made["Card"](number="4"), Card(number="4")),
        (made["Transfer"](iban="A"), Transfer(iban="A", tries=3)),
        (made["Transfer"](iban="A", tries=1), Transfer(iban="A", tries=1)),
    ):
        body = made["task_0"].call(made["Paid"](method=method, event=sold, raw=b"y")).body
        paid = Paid.model_validate_json(body)
        assert (paid.method, paid.event.kind, paid.raw) == (read, "sold", b"y")
    for event, path in (
        (made["Sold"](price=Decimal(-1), until=dt.date(2024, 1, 1), uid=3), "$.event.price"),
        (made["Sold"](price=Decimal(1), until=dt.date(2019, 1, 1), uid=3), "$.event.until"),
        (
            made["Sold"](price=Decimal(1), until=dt.date(2024, 1, 1), uid=3, share=0.35),
            "$.event.share",
        ),
        (made["Opened"](code="a"), "$.event.code"),
    ):
        with pytest.raises(InvalidArguments) as caught:
            made["task_0"].call(made["Paid"](method=made["Card"](number="4"), event=event))
        assert caught.value.path == path


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        ({"type": "string", "x-typedq-url": {}}, "$.a", "no Python type says x-typedq-url"),
        ({"type": "string", "x-typedq-decimal": 1}, "$.a", "no Python type says x-typedq-decimal"),
        ({"type": "object", "properties": {"b": {"oneOf": [{}]}}}, "$.a.b", "described by oneOf"),
        ({"type": "array", "prefixItems": [{}]}, "$.a", "a tuple has a fixed length"),
        ({"enum": [1.5]}, "$.a", "a Literal holds text, whole numbers, booleans and None"),
        ({"enum": []}, "$.a", "no value fits it"),
        (False, "$.a", "no value fits it"),
        ({"$ref": "#/properties/a"}, "$.a", "it refers to itself without a class"),
        ({"type": "integer", "minimum": 1.5}, "$", "no Python type says the same"),
    ],
)
def test_what_python_cannot_say_is_named_with_its_path(schema: Any, path: str, reason: str) -> None:
    whole = {"title": "T", "type": "object", "properties": {"a": schema}, "required": ["a"]}
    problem = refused(whole)
    assert (problem.path, reason in problem.reason) == (path, True), str(problem)


def test_a_task_without_types_takes_json_if_that_is_asked_for() -> None:
    odd = {"title": "T", "type": "object", "properties": {"a": {"oneOf": [{"type": "null"}]}}}
    text, problems = checked_source(bundle(odd, document(Same)), allow_json=True)
    assert [problem.task for problem in problems] == ["task_0"]
    made = run(text)
    assert made["task_0"].call({"a": None}).body == b'{"a":null}'
    assert made["task_1"].call(made["Same"](1))


class Contact(msgspec.Struct):
    email: pydantic.EmailStr
    home: pydantic.HttpUrl
    address: ipaddress.IPv4Address | None = None


def test_texts_whose_types_pydantic_reads_have_those_types() -> None:
    text = generated(document(Contact))
    made = run(text)
    assert "    email: _pydantic.EmailStr\n    home: _pydantic.HttpUrl\n" in text
    call = made["task_0"].call(
        made["Contact"](email="a@b.example", home=pydantic.HttpUrl("https://b.example/"))
    )
    assert call.body == b'{"email":"a@b.example","home":"https://b.example/","address":null}'


FIRST, LAST = (dt.datetime(*day, tzinfo=dt.UTC) for day in ((1, 1, 1), (9999, 12, 31)))


class Moments(pydantic.BaseModel):
    either: Annotated[dt.datetime, pydantic.Field(ge=FIRST)]
    aware: Annotated[pydantic.AwareDatetime, pydantic.Field(le=LAST)]
    day: Annotated[dt.date, pydantic.Field(ge=dt.date.min, lt=dt.date.max)]
    time: Annotated[dt.time, pydantic.Field(gt=dt.time.min)]
    span: Annotated[dt.timedelta, pydantic.Field(ge=dt.timedelta.min)]


def test_bounds_of_moments_hold_up_to_the_last_one() -> None:
    made = run(generated(document(Moments)))
    last: dict[str, Any] = {"either": FIRST, "aware": LAST, "day": dt.date.min}
    last |= {"time": dt.time.max, "span": dt.timedelta.min}
    body = made["task_0"].call(made["Moments"](**last)).body
    assert Moments.model_validate_json(body) == Moments(**last)
    for name, value in (("day", dt.date.max), ("time", dt.time.min)):
        with pytest.raises(InvalidArguments) as caught:
            made["task_0"].call(made["Moments"](**last | {name: value}))
        assert caught.value.path == f"$.{name}"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydantics, "_named", list)
    monkeypatch.setitem(sys.modules, "email_validator", None)
    problem = refused(document(Contact))
    assert problem.path == "$.email"
    assert "install email-validator, which pydantic needs for it" in problem.reason


def test_secrets_stay_secret() -> None:
    class Pin(msgspec.Struct):
        code: Annotated[str, Secret]
        codes: dict[str, Annotated[int, Secret]] = {}
        other: Annotated[str | None, Secret] = None

    made = run(generated(document(Pin)))
    with pytest.raises(Exception, match=r"\$.code") as error:
        made["task_0"].call(made["Pin"](code=4111))
    assert "4111" not in str(error.value)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_type_checkers_accept_the_package_and_flag_misuse(
    payloads: tuple[str, list[Inexpressible]], tmp_path: Path
) -> None:
    random, schemas = Random(3), [document(Same)]
    while len(schemas) < 25:
        builder = Builder(models=False)
        try:
            schemas.append(document(builder.build(Maker(random, models=False).record(0, "struct"))))
        except (TypeError, ValueError):
            continue
        finally:
            builder.forget()
    for name, text in (
        ("shop_tasks", checked_source(BUNDLE)[0]),
        ("random_tasks", checked_source(bundle(*schemas), allow_json=True)[0]),
        ("models_tasks", payloads[0]),
        ("paid_tasks", generated(document(Paid))),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    (tmp_path / "use.py").write_text(
        "import shop_tasks as s\n"
        "s.ship.enqueue(s.Order(number=1, lines=[], payment=s.Card(number='4')))\n"
        "s.ping.options(delay=5).call()\n"
        "s.ship.enqueue(1)\n"
        "s.Order(number='1', lines=[], payment=s.Card(number='4'))\n"
    )
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]})
    )
    mypy = [sys.executable, "-m", "mypy", "--strict"]
    pyright = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    for command in (mypy, pyright):
        done = subprocess.run(
            command if command is pyright else [*command, str(tmp_path)],
            cwd=tmp_path if command is pyright else ROOT,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        found = [line for line in done.stdout.splitlines() if "error" in line and "use.py" in line]
        assert {line.split("use.py:")[1][0] for line in found} == {"4", "5"}, done.stdout
        assert "_tasks/" not in done.stdout, done.stdout
