"""Share options between commands: a dataclass with one field for each option."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from inspect import Parameter
from typing import Any, get_type_hints


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with each dataclass parameter replaced by its fields, for typer."""
    flat, groups = dict[str, Parameter](), dict[str, tuple[type, list[str]]]()
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        kind: Any = parameter.annotation
        fields = {name: parameter}
        if isinstance(kind, type) and is_dataclass(kind):
            hints = get_type_hints(kind, include_extras=True)
            fields = {
                field: each.replace(annotation=hints[field])
                for field, each in inspect.signature(kind).parameters.items()
            }
            groups[name] = kind, list(fields)
        flat |= {f: p.replace(kind=Parameter.KEYWORD_ONLY) for f, p in fields.items()}

    def run(**values: Any) -> None:
        made = {name: kind(**{f: values.pop(f) for f in fs}) for name, (kind, fs) in groups.items()}
        command(**values, **made)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {name: parameter.annotation for name, parameter in flat.items()}
    run.__signature__ = inspect.Signature([*flat.values()])  # type: ignore[attr-defined]
    return run
