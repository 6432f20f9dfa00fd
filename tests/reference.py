"""Write docs/settings.md, commands.md and api.md from the code: `python -m tests.reference`.

`test_reference.py` fails when a page is not what this module makes.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer.main
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tests.site.api import api_page
from typedq import settings as module
from typedq.cli.program import _COMMANDS, _program
from typedq.configuration import variable_of
from typedq.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
MADE = "<!-- Made from the code by `python -m tests.reference`. Do not edit. -->"
# Flags of `typedq worker` that are read elsewhere.
APP = {"--app": "TYPEDQ_APP"}


def field_texts() -> dict[str, str]:
    """Return the text below each field of `Settings`."""
    (body,) = (
        node.body
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    texts = {}
    for field, text in pairwise(body):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(said))),
            ):
                texts[name] = " ".join(said.split())
            case _:
                pass
    return texts


def default_of(name: str, field: FieldInfo) -> str:
    """Return the default of a setting as somebody would write it."""
    if field.default is PydanticUndefined:
        return "required"
    if name == "queues":
        return ", ".join(f"`{queue.name}`" for queue in field.default)
    if name == "default_queue":
        return "the last of `queues`"
    if field.default in (None, ()):
        return "-"
    whole = isinstance(field.default, float) and field.default.is_integer()
    return f"`{int(field.default) if whole else field.default}`"


def worker_flags() -> Iterator[tuple[str, str]]:
    """Yield each flag of `typedq worker` with its environment variable."""
    for option in command_of("worker").params:
        if option.param_type_name != "option" or option.hidden:
            continue
        flag = max(option.opts, key=len)
        variable = APP.get(flag) or option.envvar
        if not variable and (setting := flag.removeprefix("--").replace("-", "_")) in _FIELDS:
            variable = variable_of(setting)
        yield flag, str(variable or "")


def settings_page() -> str:
    """Return docs/settings.md."""
    texts, lines = field_texts(), list[str]()
    for name, field in _FIELDS.items():
        variable = "-" if name == "credentials" else f"`{variable_of(name)}`"
        lines.append(f"| `{name}` | {variable} | {default_of(name, field)} | {texts[name]} |")
    flags = [f"| `{flag}` | `{variable}` |" for flag, variable in worker_flags()]
    return _SETTINGS.format(made=MADE, settings="\n".join(lines), flags="\n".join(flags))


def command_of(words: str) -> Any:
    """Return a command as click sees it."""
    found: Any = typer.main.get_command(_program(words.split(maxsplit=1)[0]))
    for word in words.split():
        found = found.commands.get(word, found) if hasattr(found, "commands") else found
    return found


def commands_page() -> str:
    """Return docs/commands.md."""
    parts = [_COMMANDS_HEAD.format(made=MADE)]
    for words, (_, _, example) in _COMMANDS.items():
        command = command_of(words)
        parts.append(f"## typedq {words}\n\n{_plain(command.help)}\n")
        rows = [row for option in command.params if (row := _row(option))]
        parts.append("| | | |\n|---|---|---|\n" + "\n".join(rows) + "\n" if rows else "")
        parts.append(f"```sh\ntypedq {words} {example}".rstrip() + "\n```\n")
    return "\n".join(part for part in parts if part)


def _row(option: Any) -> str:
    if getattr(option, "hidden", False):
        return ""
    names = [*option.opts, *option.secondary_opts]
    if option.param_type_name == "argument":
        names = [str(option.metavar or option.name).strip("[]{}").upper()]
    variable = f"`{option.envvar}`" if option.envvar else ""
    said = _plain(getattr(option, "help", "") or "")
    default = option.default
    has_default = bool(option.show_default) and isinstance(default, str | int | float)
    if has_default and not isinstance(default, bool) and default != "":
        said += f" Default: `{default}`."
    return f"| {', '.join(f'`{name}`' for name in names)} | {variable} | {said} |"


def _plain(text: str | None) -> str:
    """Return a help text as Markdown: without escapes, on one line for each paragraph."""
    paragraphs = inspect.cleandoc(text or "").replace("\\[", "[").split("\n\n")
    joined = "\n\n".join(" ".join(part.split()) for part in paragraphs)
    return re.sub(r"(?<!`)(\*|<|\||\[(?=tool))", r"\\\1", joined)


_FIELDS = Settings.model_fields
_SETTINGS = """\
{made}

# Settings

Each setting can be given in three places. The first that has it wins:

1. an argument of `TypedQ(...)`,
2. an environment variable, if it is not empty,
3. a key below `[tool.typedq]` in the nearest `pyproject.toml`.

A wrong value and an unknown name are errors. One error lists all of them, each with its source.

| setting | environment variable | default | |
|---|---|---|---|
{settings}

- A length of time is a number of seconds, a text such as `30m`, `2h` or `1d`, or a `timedelta`.
- A list in an environment variable is separated by commas: `TYPEDQ_QUEUES=high,default`.
- `TYPEDQ_SCHEMAS` and the key `schemas` name the directory of the contracts.

## Secrets in files

Each of these variables can be replaced by one with `_FILE` at its end, which names a file that
has the value. Docker, Kubernetes and systemd mount secrets as files:
`TYPEDQ_URL_FILE=/run/secrets/typedq_url`. White space around the value is ignored. It is an error
if both variables are set, or if the file is empty or cannot be read. No error quotes its content.

## Flags of the worker

Each flag of `typedq worker` has an environment variable, so that one image can run any worker. A
flag wins over its variable. `TYPEDQ_QUEUES` is the list of queues that the app has;
`TYPEDQ_WORKER_QUEUES` chooses those that this worker serves. A switch is on if its variable is
`1`, `true`, `yes` or `on`.

| flag | environment variable |
|---|---|
{flags}
"""
_COMMANDS_HEAD = """\
{made}

# Commands

`typedq COMMAND --help` prints the same on a terminal. Commands with `--json` print JSON for
programs. The exit code is 0 if all is well, 1 if the answer is no, and 2 for an error: a wrong
option or configuration, an app that cannot be loaded, or a server that does not answer.
"""
PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "api.md": lambda: api_page(MADE),
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
