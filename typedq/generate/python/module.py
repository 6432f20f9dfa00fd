"""The source of a Python package with the types and senders of a bundle."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from typedq.bundle import Bundle, BundledTask
from typedq.contracts.dialect import Document, Unsupported
from typedq.generate.python.annotations import Types
from typedq.generate.python.classes import Classes, Field, field_source, is_record
from typedq.generate.python.names import (
    RESERVED,
    STANDARD,
    Inexpressible,
    Names,
    is_name,
    literal,
    name_of,
)
from typedq.generate.python.narrowing import narrowed

_IMPORTS = {f"_{name}.": f"import {name} as _{name}\n" for name in STANDARD}
_LINE = 100
_TYPED_DICT = "_typing_extensions."
_CLASS = re.compile(r"(?!Annotated\[|Literal\[)\w+(\[.*\])?")


# How the arguments of a task are typed: exactly as its contract, by narrower types, or as JSON.
Form = Literal["exact", "narrower", "json"]


def source(bundle: Bundle, forms: Mapping[str, Form] | None = None) -> str:
    """Return the source of the package. Raises Inexpressible.

    forms: of each task whose types are not exact
    """
    names = Names(RESERVED)
    senders = names.take_each({task: name_of(task, "task") for task in bundle.tasks})
    classes, parts = Classes(names, ordered=bundle.ordered), list[str]()
    for task in bundle.tasks.values():
        name = senders[task.name]
        form = (forms or {}).get(task.name, "exact")
        if form == "json":
            parts.append(_sender(name, task, literal(task.schema)))
        else:
            parts.append(_typed(name, task, classes, form))
    body = "\n\n".join(classes.sources.values())
    code = (f"\n\n{body}\n\n" if body else "") + "".join(parts)
    public = sorted([*classes.sources, *senders.values(), "app"])
    typing = [name for name in ("Annotated", "Literal") if f"{name}[" in code]
    text = "".join(
        [
            f'"""Types and senders of the tasks of {bundle.namespace}.\n\n',
            "Written by `typedq generate python`; do not edit, but generate it again.\n",
            '"""\n\nfrom __future__ import annotations\n\n',
            *(line for word, line in _IMPORTS.items() if word in code),
            f"from typing import {', '.join(typing)}\n" if typing else "",
            "\nimport msgspec as _msgspec\n" if "_msgspec." in code else "\n",
            "import pydantic as _pydantic\n" if "_pydantic." in code else "",
            "import typedq as _typedq\n",
            "import typing_extensions as _typing_extensions\n" if _TYPED_DICT in code else "",
            "\n",
            _list("__all__ = [", public, "]"),
            f"app = _typedq.TypedQ(\n    {literal(bundle.namespace)},\n",
            f"    queues=[{', '.join(map(literal, bundle.queues))}],\n",
            f"    default_queue={literal(bundle.default_queue)},\n",
            f"    max_body={bundle.max_body},\n    max_depth={bundle.max_depth},\n)\n",
            code,
        ]
    )
    return re.sub(r"\n{4,}", "\n\n\n", text)


def _typed(name: str, task: BundledTask, classes: Classes, form: Form) -> str:
    """Return the source of a sender whose arguments have types."""
    try:
        schema = task.schema if form == "exact" else narrowed(Document(task.schema).root)
        document = Document(schema)
    except Unsupported as error:
        raise Inexpressible(task.name, "$", f"its schema cannot be used: {error}") from None
    types = Types(task.name, document, classes)
    owners = "" if form == "exact" else f", schema={literal(task.schema)}"
    if "x-typedq-payload" not in schema:
        kind = types.of(schema, "$")
        if not _CLASS.fullmatch(kind):
            raise Inexpressible(task.name, "$", "no class stands for the payload")
        return _sender(name, task, kind + owners)
    if not is_record(schema):
        raise Inexpressible(task.name, "$", "its parameters are not listed")
    fields = types.fields(schema, "$")
    for field in fields:
        if not is_name(field.wire_name) or field.wire_name.startswith("__"):
            reason = f"{field.wire_name!r:.80} cannot be the name of a parameter"
            raise Inexpressible(task.name, "$", reason)
    function = classes.names.take(f"_{name}")
    parameters = _parameters(fields, by_place=classes.ordered)
    stub = f"\n\ndef {function}({parameters}) -> None: ...\n\n\n"
    return stub + _sender(name, task, function + owners)


def _parameters(fields: Sequence[Field], *, by_place: bool) -> str:
    shown, optional = list[str](), False
    for field in fields:
        if (not by_place or (optional and field.default is None)) and "*" not in shown:
            shown.append("*")
        optional = optional or field.default is not None
        shown.append(field_source(field, field.wire_name))
    line = ", ".join(shown)
    return line if len(line) < _LINE - 30 else "\n    " + ",\n    ".join(shown) + ",\n"


def _sender(name: str, task: BundledTask, contract: str) -> str:
    options = f"contract={contract}, queue={literal(task.queue)}"
    return f"{name} = app.remote({literal(task.name)}, {options})\n"


def _list(begin: str, names: Sequence[str], end: str) -> str:
    return begin + "\n" + "".join(f"    {literal(name)},\n" for name in names) + end + "\n\n"


def derived(module: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the contracts of an imported package by task."""
    return {name: task.contract for name, task in module["app"].declarations.remote.items()}
