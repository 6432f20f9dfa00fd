"""A generated package offers only what a contract promises, so a new one breaks callers loudly.

An owner may add a name, or stop reading what nobody sends, and the contract stays compatible.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, NamedTuple

import msgspec
import pydantic
import pytest

from tests.generate.test_python import generated, of, run
from typedq.bundle import Bundle, BundledTask
from typedq.contracts import document
from typedq.generate.python.module import source


def task(first: int, second: int, third: int = 3) -> None: ...


class Pair(NamedTuple):
    low: int
    high: int = 9


class Row(msgspec.Struct, array_like=True):
    low: int
    high: int = 9


class Rows(msgspec.Struct):
    pair: Pair
    row: Row


def test_elements_are_passed_by_place_because_their_order_is_in_the_contract() -> None:
    made = run(generated(document(Rows)))
    rows = made["Rows"](pair=made["Pair"](1), row=made["Row"](2, 3))
    assert made["task_0"].call(rows).body == b'{"pair":[1,9],"row":[2,3]}'


class OnlyRead(pydantic.BaseModel):
    name: str = pydantic.Field(
        serialization_alias="name", validation_alias=pydantic.AliasChoices("name", "title")
    )
    hidden: int = pydantic.Field(5, exclude=True)
    renamed: Annotated[int, pydantic.Field(exclude=True, alias="other")] = 5

    @pydantic.computed_field
    def size(self) -> int:
        return len(self.name)


def test_what_workers_read_and_nobody_sends_is_no_member() -> None:
    made = run(generated(document(OnlyRead)))
    assert made["OnlyRead"].__struct_fields__ == ("name",)


def _enum(*values: str) -> dict[str, Any]:
    make: Any = enum.Enum
    choice = make("Choice", {f"M{place}": value for place, value in enumerate(values)})
    return document(msgspec.defstruct("T", [("choice", choice)]))


def _choices(*values: str) -> dict[str, str]:
    return {m.name: m.value for m in run(generated(_enum(*values)))["Choice"]}


def _members(*names: str) -> dict[str, str]:
    renamed = {f"m{place}": name for place, name in enumerate(names)}
    cls = msgspec.defstruct("T", [(name, int) for name in renamed], rename=renamed)
    made: Any = run(generated(document(cls)))["T"]
    return dict(zip(made.__struct_fields__, made.__struct_encode_fields__, strict=True))


def _senders(*names: str) -> dict[str, str]:
    tasks = {name: BundledTask(name, "q", of(task)) for name in sorted(names)}
    made = run(source(Bundle("shop", ("q",), "q", tasks)))
    return {name: made[name].name for name in made["__all__"] if name != "app"}


@pytest.mark.parametrize(
    ("named", "before", "added"),
    [
        (_choices, ["a"], "A"),
        (_choices, ["a b"], "a-b"),
        (_choices, ["empty"], ""),
        (_choices, ["\u00df"], "ss"),
        (_members, ["a_b"], "a-b"),
        (_members, ["class_"], "class"),
        (_members, ["field"], ""),
        (_senders, ["a_b"], "a-b"),
        (_senders, ["a.b"], "a-b"),
    ],
)
def test_no_name_ever_comes_to_mean_something_else(
    named: Any, before: list[str], added: str
) -> None:
    old, new = named(*before), named(added, *before)
    assert sorted(new.values()) == sorted([*before, added])
    assert all(new.get(name, value) == value for name, value in old.items())
    assert named(*before, added) == new


def test_members_that_differ_in_case_only_keep_their_names() -> None:
    assert _members("name", "Name", "NAME") == {n: n for n in ("name", "Name", "NAME")}
