"""Does TypeScript accept what the worker's decoder accepts, and nothing else?

    python -m tests.typescript.differential --values 20000 --seed 1

Types are random; values come from the type, from others that were edited, and are spoiled.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pydantic

from tests.compat.fuzz_types import Builder, Maker, Node, Writer, edited
from typedq.bundle import Bundle, BundledTask
from typedq.contracts.codec import Codec
from typedq.contracts.schema import document

VALUES = 25  # of each type
REFUSED = (TypeError, ValueError, NameError, StopIteration, pydantic.PydanticUserError)
_ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.5, -0.0, 1e300, 1 << 53, (1 << 64) - 1, -(1 << 63), 1 << 70),
    *("", "a", "\u00e9\U0001f600", "\0", " a ", "1", "2027-02-29", "P1D", "PT", "-PT1.5S", "AAA"),
    *("AA==", "2027-01-31T09:30:00Z", "2027-01-31T09:30:00", "09:30:00+14:00", "1e5", "NaN"),
    *([], {}, [1], {"a": 1}, [None], [[]], {"type": "A"}, {"__proto__": 1, "constructor": 2}),
]


class Case:
    """One type: how a worker reads it, its schema, and JSON texts to try. models: pydantic's."""

    def __init__(self, kind: Any, texts: Sequence[str], *, models: bool) -> None:
        self.schema, self.codec = document(kind), Codec(kind)
        self.texts, self.models = texts, models

    def is_other_spelling(self, text: str) -> bool:
        """Whether a worker reads it and would write it in another way: `true` for 1, NaN.

        pydantic reads more spellings than anybody writes; a Decimal that is NaN is never sent.
        """
        written = self.codec.encoded(self.codec.parse(text.encode()))
        different = _leaves(json.loads(text)) - _leaves(json.loads(written or b"null"))
        return '"NaN"' in text or (self.models and bool(different))

    def accepts(self, text: str) -> bool:
        try:
            self.codec.parse(text.encode())
        except Exception:  # noqa: BLE001  whatever the types raise
            return False
        return True


class RandomCase(Case):
    """A random type, with values that often fit it."""

    def __init__(self, random: Random) -> None:
        models = random.random() < 0.3
        self._random, maker = random, Maker(random, models=models)
        node = maker.record(0, "model") if models else maker.node()
        builder = Builder(models=models)
        try:
            super().__init__(builder.build(node), (), models=models)
        finally:
            builder.forget()
        others = [node, node, node, edited(node, maker), edited(node, maker)]
        self.texts = [self._text(random.choice(others)) for _ in range(VALUES)]

    def _text(self, node: Node) -> str:
        value = msgspec.json.decode(msgspec.json.encode(Writer(self._random).value(node)))
        if self._random.random() < 0.4:
            value = self._spoiled(value)
        return json.dumps(_as_numbers(value))

    def _spoiled(self, value: Any) -> Any:
        """Return the value with one part that is another, missing or more."""
        random = self._random
        parts: list[Any] = list(value) if isinstance(value, dict | list) else []
        if not parts or random.random() < 0.3:
            return random.choice(_ODD)
        if isinstance(value, dict):
            name = random.choice(parts)
            if random.random() < 0.2:
                return {key: part for key, part in value.items() if key != name}
            if random.random() < 0.2:
                return {**value, random.choice(["zz", "toString", "__proto__"]): 1}
            return {**value, name: self._spoiled(value[name])}
        place = random.randrange(len(parts))
        if random.random() < 0.2:
            return [*value, random.choice(parts)]
        return [self._spoiled(p) if i == place else p for i, p in enumerate(value)]


def _leaves(value: Any, path: str = "$") -> set[str]:
    """Return the texts of all parts that hold no others, each behind its path."""
    if isinstance(value, dict):
        return {leaf for name, part in value.items() for leaf in _leaves(part, f"{path}.{name}")}
    if isinstance(value, list):
        return {leaf for part in value for leaf in _leaves(part, f"{path}[*]")}
    return {f"{path} {json.dumps(value)}"}


def _as_numbers(value: Any) -> Any:
    """Return a value as JavaScript has it: 1.0 is 1, and not told apart from it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, dict):
        return {key: _as_numbers(part) for key, part in value.items()}
    return [_as_numbers(part) for part in value] if isinstance(value, list) else value


def cases(random: Random, count: int) -> dict[str, Case]:
    """Return random types by the name of a task."""
    found = dict[str, Case]()
    while len(found) < count:
        try:
            found[f"t{len(found)}"] = RandomCase(random)
        except REFUSED:
            continue
    return found


def bundle_of(made: Mapping[str, Case]) -> Bundle:
    tasks = {name: BundledTask(name, "default", case.schema) for name, case in made.items()}
    return Bundle("fuzz", ("default",), "default", tasks)


def judge(made: Mapping[str, Case], calls: list[tuple[str, str]], answers: list[str]) -> list[str]:
    """Return what TypeScript judged wrongly, each with the schema."""
    wrong = list[str]()
    for (name, text), answer in zip(calls, answers, strict=True):
        if problem := _problem(made[name], text, json.loads(answer)):
            wrong.append(f"{text} {problem}\n{json.dumps(made[name].schema)}")
    return wrong


def _problem(case: Case, text: str, sent: str) -> str:
    accepted = case.accepts(text)
    if not sent:
        other = not accepted or case.is_other_spelling(text)
        return "" if other else "is accepted by the worker"
    if not case.accepts(sent):
        return f"is sent as {sent}, which the worker refuses"
    if not accepted and json.loads(sent) != json.loads(text):  # 1 may be sent as 1.0
        return f"is sent as {sent}, although the worker refuses it"
    read = case.codec.parse
    same = not accepted or read(sent.encode()) == read(text.encode())
    return "" if same else f"is sent as {sent}, which is another value"


def main() -> int:
    from tests.typescript.node import Project, lines

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--values", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    made = cases(Random(given.seed), max(1, given.values // VALUES))
    with tempfile.TemporaryDirectory() as directory:
        project = Project(Path(directory))
        for program in (project.root / "programs").iterdir():
            if program.name not in ("differential.ts", "exact.ts"):
                program.unlink()
        unchecked = project.add("fuzz", bundle_of(made))
        assert not unchecked, unchecked
        said = project.compile()
        calls = [(name, text) for name, case in made.items() for text in case.texts]
        answers = [] if said else project.run("differential", input=lines(calls)).splitlines()
    wrong = [said] if said else judge(made, calls, answers)
    accepted = sum(answer != '""' for answer in answers)
    print(f"{len(calls)} values of {len(made)} types, {accepted} accepted, {len(wrong)} wrong")
    print("\n\n".join(wrong[:10]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
