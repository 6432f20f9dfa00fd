"""Write docs/api.md from the docstrings of the public names; `tests.reference` calls it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from typedq import public

# Title of a section -> module and names. `*` stands for all public names not named before.
SECTIONS: dict[str, tuple[str, str]] = {
    "The app": ("typedq", "TypedQ Queue"),
    "Tasks and calls": ("typedq", "Task RemoteTask Sender Options Call Receipt"),
    "Inside a task": ("typedq", "Context Retry RetryIn Reject SoftTimeout Cancelled"),
    "Arguments": ("typedq", "Json Secret"),
    "One message": ("typedq", "MessageInfo Cancellation"),
    "Hooks and logs": ("typedq", "EnqueueContext OutgoingCall LogContext"),
    "Errors": ("typedq", "*"),
    "Tests": ("typedq.testing", "TestQueue DeadLetter OwnServer"),
    "Compare schemas": ("typedq.compat", "compare Comparison Change read_schema"),
    "The dashboard": ("typedq.dashboard", "asgi"),
    "OpenTelemetry": ("typedq.observe.otel", "instrument"),
    "Sentry": ("typedq.observe.sentry", "instrument"),
}
WIDTH = 90
STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
PUBLIC = public.__all__
_HEAD = """\
{made}

# Python API

Every public name, from its docstring. Names that are not here are internal. Durations are seconds
or a `timedelta`, unless a text says otherwise.
"""


def api_page(made: str) -> str:
    """Return docs/api.md."""
    parts, named = [_HEAD.format(made=made)], set[str]()
    for title, (module, names) in SECTIONS.items():
        owner = importlib.import_module(module)
        listed = names.split() if names != "*" else sorted({*owner.__all__} - named)
        named |= {*listed}
        parts.append(f"## {title}\n")
        if module != "typedq":
            parts.append(f"In the module `{module}`.\n")
        for name in listed:
            parts.extend(_entry(name, getattr(owner, name)))
    return "\n".join(parts)


def _entry(name: str, thing: Any) -> Iterator[str]:
    """Yield the Markdown of one public name and of its members."""
    yield f"### {name}\n"
    if code := _shape(name, thing):
        yield _fence(code)
    yield _markdown(_doc_of(thing))
    if not inspect.isclass(thing):
        return
    bases = [base.__name__ for base in thing.__mro__[1:] if base.__name__ in PUBLIC]
    if bases and not issubclass(thing, BaseException):
        yield f"Also has what [`{bases[0]}`](#{bases[0].lower()}) has.\n"
    for member, value in _members(thing):
        yield f"#### {name}.{member}\n"
        if not isinstance(value, property):
            yield _fence(_signature(member, value, skip=1))
        yield _markdown(_doc_of(value))


def _fence(code: str) -> str:
    """Return a block of code, not to be run."""
    return "```py\n" + code.replace("'", '"') + "\n```\n"


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield methods and properties that have a text, also those of bases that are not public."""
    seen = set[str]()
    for base in cls.__mro__:
        ours = base.__module__.startswith("typedq")
        if not ours or (base is not cls and base.__name__ in PUBLIC):
            continue
        for name, value in vars(base).items():
            shown = inspect.isfunction(value) or isinstance(value, property)
            if name[0] != "_" and shown and name not in seen and _doc_of(value):
                seen.add(name)
                yield name, value


def _shape(name: str, thing: Any) -> str:
    """Return how to write it: the signature, or the fields of a record."""
    if inspect.isfunction(thing):
        return _signature(name, thing)
    if not inspect.isclass(thing):
        return ""
    init = vars(thing).get("__init__")
    if init and inspect.isfunction(init) and init.__code__.co_filename[0] != "<":
        return _signature(name, init, skip=1).removesuffix(" -> None")
    is_record = hasattr(thing, "__struct_fields__") or dataclasses.is_dataclass(thing)
    if is_record or hasattr(thing, "__total__"):
        fields = {k: v for k, v in inspect.get_annotations(thing).items() if k[0] != "_"}
        lines = [f"    {field}: {_type(kind)}" for field, kind in fields.items()]
        return "\n".join([f"class {name}:", *lines]) if lines else ""
    return ""


def _signature(name: str, fn: Any, skip: int = 0) -> str:
    """Return the signature as code; skip: leading parameters that are not written in a call."""
    signature = inspect.signature(fn)
    written, star = list[str](), False
    for parameter in list(signature.parameters.values())[skip:]:
        text = STARS.get(parameter.kind, "")
        star = star or text == "*"
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            written.append("*")
        text += parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_type(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            equals = " = " if parameter.annotation is not parameter.empty else "="
            text += equals + re.sub(r"<class '([\w.]+)'>", r"\1", repr(parameter.default))
        written.append(text)
    result = signature.return_annotation
    end = "" if result is signature.empty else f" -> {_type(result)}"
    prefix = "await " if inspect.iscoroutinefunction(fn) else ""
    line = f"{prefix}{name}({', '.join(written)}){end}"
    if len(line) <= WIDTH:
        return line
    return f"{prefix}{name}(\n" + "".join(f"    {each},\n" for each in written) + f"){end}"


def _type(annotation: Any) -> str:
    text = getattr(annotation, "__forward_arg__", annotation)
    return text if isinstance(text, str) else inspect.formatannotation(annotation)


def _doc_of(thing: Any) -> str:
    """Return its own docstring, not one that Python made."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


def _markdown(doc: str) -> str:
    """Return a docstring as Markdown: `name: text` becomes an item of a list."""
    lines, listed = list[str](), False
    for line in doc.splitlines():
        if found := re.match(r"([a-z_]+(?:, [a-z_]+)*): (.+)", line):
            lines += [] if listed or not lines or not lines[-1] else [""]
            names = ", ".join(f"`{each}`" for each in found[1].split(", "))
            lines.append(f"- {names}: {found[2]}")
            listed = True
            continue
        if listed and line and line[0] != " ":
            lines.append("")
        if not listed and line[:4] == "    " and lines and lines[-1].endswith(":"):
            lines.append("")
        listed = listed and line[:1] == " "
        lines.append(f"  {line.strip()}" if listed else line)
    return "\n".join(lines).strip() + "\n"
