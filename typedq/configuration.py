"""Read settings from all of their sources; report every problem at once.

Priority: arguments > TYPEDQ_* in the environment > [tool.typedq] in pyproject.toml > defaults.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args

from pydantic import ValidationError

from typedq.addresses import project
from typedq.errors import ConfigurationError, meant
from typedq.settings import Settings

_COMMAND_LINE: Final = ("app", "schemas")  # keys of [tool.typedq] that only the command line reads


class _Sources:
    """The values of each setting and their sources; a later source overrides an earlier one."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[object, str]] = {}
        self.problems: list[str] = []

    def offer(self, values: Mapping[str, object], source: str) -> None:
        """Add the values of one source; None counts as not set."""
        for name, value in values.items():
            if name in _COMMAND_LINE or value is None:
                continue
            if name not in Settings.model_fields:
                hint = meant(name, (*Settings.model_fields, *_COMMAND_LINE))
                self.problems.append(f"{name} ({source}): there is no such setting{hint}")
            elif name == "credentials" and source != "argument":
                reason = "give it as an argument of TypedQ; a fixed password belongs in the URL"
                self.problems.append(f"credentials ({source}): {reason}")
            else:
                self.values[name] = value, source

    def offer_file(self, name: str, file: str, *, is_variable_set: bool) -> None:
        """Add a value that a mounted file holds, such as a secret. Problems never quote it."""
        variable = variable_of(name)
        source = f"{variable}_FILE"
        try:
            value = Path(file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
            self.problems.append(f"{name} ({source}): {file} cannot be read: {reason}")
            return
        if is_variable_set:
            self.problems.append(f"{name} ({source}): {variable} is set too; unset one of them")
        elif not value:
            self.problems.append(f"{name} ({source}): {file} is empty")
        else:
            self.offer({name: value}, source)

    def validate(self) -> Settings:
        """Return the settings. Raises ConfigurationError with every problem."""
        settings = None
        try:
            settings = Settings.model_validate(
                {name: value for name, (value, _) in self.values.items()}
            )
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False)
            self.problems += dict.fromkeys(map(self._problem, problems))
        if settings is None or self.problems:
            raise ConfigurationError(self.problems)
        return settings

    def _problem(self, error: Any) -> str:
        name = str(error["loc"][0])
        if error["type"] == "missing":
            expected = f"give it as argument, {variable_of(name)} or in [tool.typedq]"
            return f"{name}: missing; {expected}"
        value, source = self.values[name]
        reason = _REASONS.get(error["type"]) or error["msg"].replace("Input should", "it should")
        if error["type"] == "value_error":
            reason = str(error["ctx"]["error"])
        elif error["type"] == "literal_error":
            known = get_args(_FIELDS[name].annotation)
            reason = f"it should be one of {', '.join(known)}{meant(value, known)}"
        # Their values may be secret, and their reasons name the expected form.
        is_secret = name in ("url", "credentials") or source.endswith("_FILE")
        shown = "" if is_secret else f" {value!r:.80}"
        expected = f"; expected {_EXPECTED[name]}" if name in _EXPECTED else ""
        return f"{name}{shown} ({source}): {reason}{expected}"


_FIELDS: Final = Settings.model_fields
_ABOVE_0: Final = "seconds above 0, a text such as 90, 30m or 2h, or a timedelta"
_COUNTS: Final = "max_tasks_per_child max_depth async_concurrency dead_max_count"
_EXPECTED: Final = {
    **dict.fromkeys(_COUNTS.split(), "a whole number from 1 upward"),
    **dict.fromkeys(
        ("enqueue_deadline", "start_timeout", "parked_max_age", "dead_max_age"), _ABOVE_0
    ),
    "namespace": "a name of 1 to 64 characters a-z 0-9 _ . -, beginning with a letter or digit",
    "credentials": "a function that returns (user name, password)",
    "queues": "queues by name, in strict priority: high,low",
    "default_queue": "the name of one of the queues",
    "imports": "modules that define tasks: myapp.tasks",
    "soft_timeout": _ABOVE_0,
    "hard_timeout": f"{_ABOVE_0}, above soft_timeout",
    "max_mem_percent": "a percentage, 1 to 100",
    "max_child_mem_mb": "megabytes above 0",
    "max_body": "bytes, from 1 upward",
    "concurrency": "a whole number from 1 upward, cores or cores*2",
    "lease": "seconds from 1 upward, a text such as 90, 30m or 2h, or a timedelta",
    "grace": "seconds from 0 upward, a text such as 90, 30m or 2h, or a timedelta",
    "metrics_port": "a port, 1 to 65535, or 0 for any that is free",
    "metrics_host": "an address of this machine, such as 0.0.0.0, :: or 127.0.0.1",
}
_REASONS: Final = {
    "string_type": "this is not text",
    "int_from_float": "it should be a whole number",
}


def variable_of(setting: str) -> str:
    """Return the environment variable of a setting; with _FILE it names a file that has it."""
    return f"TYPEDQ_{setting.upper()}"


def resolve(
    arguments: Mapping[str, Any],
    *,
    start: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings of all sources; an empty environment variable counts as not set.

    start: search pyproject.toml from here (default: the current directory). Raises
    ConfigurationError with every problem: setting, source, what is wrong, what is expected.
    """
    sources = _Sources()
    source, table = project_table(sources.problems, start)
    sources.offer(table, source)
    for name in _FIELDS:
        variable = variable_of(name)
        sources.offer({name: environ.get(variable) or None}, variable)
        if file := environ.get(f"{variable}_FILE"):
            sources.offer_file(name, file, is_variable_set=bool(environ.get(variable)))
    sources.offer(arguments, "argument")
    return sources.validate()


def project_table(problems: list[str], start: Path | None = None) -> tuple[str, Mapping[str, Any]]:
    """Return the location and content of [tool.typedq]; add its problems to `problems`."""
    root = project(start)
    if root is None:
        return "", {}
    file = root / "pyproject.toml"
    source = f"[tool.typedq] in {file}"
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("typedq", {})
    except (OSError, ValueError, AttributeError) as error:
        problems.append(f"{file} cannot be read: {error}")
        return source, {}
    if not isinstance(table, dict):
        problems.append(f"{source}: this is not a table")
        return source, {}
    return source, cast("dict[str, Any]", table)
