"""Settings: one frozen value, checked whole, all problems at once.

Who wins: arguments > TYPEDQ_* in the environment > [tool.typedq] in pyproject.toml > defaults.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from typedq.addresses import parse_url, project, redact
from typedq.errors import ConfigurationError
from typedq.policy import Queue

_NAME: Final = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
_ELSEWHERE: Final = frozenset({"app", "schemas"})  # what the command line reads of [tool.typedq]


def _number(given: object) -> object:
    if isinstance(given, bool):  # True is 1 to pydantic, and a slip of the pen to us
        raise ValueError("this is not a number")
    return given.total_seconds() if isinstance(given, timedelta) else given


def _names(given: object) -> object:
    if isinstance(given, str):
        return [name.strip() for name in given.split(",") if name.strip()]
    return given


def _queue(given: object) -> Queue:
    if isinstance(given, Queue):
        return given
    plain: dict[str, Any] = {"name": given}
    options = cast("dict[str, Any]", given) if isinstance(given, dict) else plain
    known = ("name", "soft_timeout", "hard_timeout")
    if unknown := [key for key in options if key not in known]:
        raise ValueError(f"a queue has no {unknown[0]!r}{_meant(unknown[0], known)}")
    if "name" not in options:
        raise ValueError("a queue has no name")
    try:
        return Queue(**options)
    except ConfigurationError as error:
        raise ValueError("; ".join(error.problems)) from None


def _queues(given: object) -> object:
    given = _names(given)
    if not isinstance(given, list | tuple):
        raise ValueError("this is not a list of queues")
    queues = tuple(map(_queue, cast("Iterable[object]", given)))
    names = [queue.name for queue in queues]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"declared twice: {', '.join(twice)}")
    return queues


def _meant(word: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word), list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


_Queues = Annotated[tuple[InstanceOf[Queue], ...], BeforeValidator(_queues), Field(min_length=1)]
_Module = Annotated[str, Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$")]
_Modules = Annotated[tuple[_Module, ...], BeforeValidator(_names)]
_ABOVE_0 = "seconds above 0 or a timedelta, such as 30"
_FROM_1 = "a whole number from 1 upward"
_Seconds = Annotated[
    float, BeforeValidator(_number), Field(ge=0, le=315_360_000, allow_inf_nan=False)
]
_Limit = Annotated[_Seconds, Field(gt=0)]
Durability = Literal["memory", "replica", "fsync"]
_Percent = Annotated[float, BeforeValidator(_number), Field(ge=1, le=100)]
_Count = Annotated[int, BeforeValidator(_number), Field(ge=1)]


class Settings(BaseModel):
    """Everything that can be set. Times are in seconds, sizes in bytes; repr is redacted.

    url: None means that none was configured; queues: first is served first
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # The description says what would be right: it ends the problem of that setting.
    namespace: Annotated[str, Field(pattern=_NAME)] = Field(
        description="a name of 1 to 64 characters a-z 0-9 _ . -, beginning with a letter or digit"
    )
    url: str | None = Field(
        default=None, repr=False, description="such as redis://localhost:6379/0"
    )
    queues: _Queues = Field(
        default=(Queue("default"),), description="queues by name, served first to last: high,low"
    )
    default_queue: str = Field(
        default="", validate_default=True, description="the name of one of the queues"
    )
    imports: _Modules = Field(default=(), description="modules that define tasks: myapp.tasks")
    soft_timeout: _Limit | None = Field(default=None, description=_ABOVE_0)
    hard_timeout: _Limit | None = Field(default=None, description=f"{_ABOVE_0}, above soft_timeout")
    max_mem_percent: _Percent | None = Field(default=None, description="a percentage, 1 to 100")
    max_child_mem_mb: _Limit | None = Field(default=None, description="megabytes above 0")
    max_tasks_per_child: _Count | None = Field(default=None, description=_FROM_1)
    max_body: _Count = Field(default=1 << 20, description="bytes, from 1 upward")
    max_depth: _Count = Field(default=64, description=_FROM_1)
    lease: Annotated[_Seconds, Field(ge=1)] = Field(
        default=30.0, description="seconds from 1 upward"
    )
    enqueue_deadline: _Limit = Field(default=10.0, description=_ABOVE_0)
    durability: Durability = Field(default="memory", description="where a message must be by then")
    concurrency: _Count | None = Field(default=None, description=_FROM_1)
    async_concurrency: _Count = Field(default=100, description=_FROM_1)
    grace: _Seconds = Field(default=30.0, description="seconds from 0 upward or a timedelta")
    parked_max_age: _Limit = Field(default=90 * 86_400.0, description=_ABOVE_0)
    dead_max_age: _Limit = Field(default=30 * 86_400.0, description=_ABOVE_0)
    dead_max_count: _Count = Field(default=100_000, description=_FROM_1)

    @field_validator("url")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        try:
            _ = url and parse_url(url)
        except ConfigurationError as error:
            raise ValueError("; ".join(error.problems)) from None
        return url

    @field_validator("default_queue")
    @classmethod
    def _default_queue(cls, name: str, info: ValidationInfo) -> str:
        names = [queue.name for queue in info.data.get("queues", ())]
        if name and names and name not in names:
            raise ValueError(f"the queues are {', '.join(names)}{_meant(name, names)}")
        return name or (names[-1] if names else "")

    @field_validator("hard_timeout")
    @classmethod
    def _hard_timeout(cls, hard: float | None, info: ValidationInfo) -> float | None:
        soft = info.data.get("soft_timeout")
        if hard and soft and hard <= soft:
            raise ValueError(f"soft_timeout ({soft:g} s) must be below it")
        return hard

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        yield "url", self.url and redact(self.url)


def resolve(
    arguments: Mapping[str, Any],
    *,
    start: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings from all sources; an argument that is None and an empty variable count as not given.

    `start` is where the search for pyproject.toml begins (default: the current directory). Raises
    ConfigurationError with every problem: its setting, its source, what is wrong, what is right.
    """
    known = (*Settings.model_fields, *_ELSEWHERE)
    problems: list[str] = []
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    source, table = _project_table(start, problems)
    given = [(name, value, source) for name, value in table.items()]
    variables = {name: f"TYPEDQ_{name.upper()}" for name in known}
    given += [(name, environ.get(key) or None, key) for name, key in variables.items()]
    given += [(name, value, "argument") for name, value in arguments.items()]
    for name, value, source in given:
        if name not in known:
            problems.append(f"{name} ({source}): there is no such setting{_meant(name, known)}")
        elif value is not None and name not in _ELSEWHERE:
            values[name], sources[name] = value, source
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [
            _problem(cast("dict[str, Any]", each), values, sources) for each in error.errors()
        ]
    else:
        if not problems:
            return settings
    raise ConfigurationError(problems)


def _project_table(start: Path | None, problems: list[str]) -> tuple[str, Mapping[str, Any]]:
    root = project(start)
    if root is None:
        return "", {}
    file = root / "pyproject.toml"
    source = f"[tool.typedq] in {file}"
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("typedq", {})
    except (OSError, ValueError) as error:
        problems.append(f"{file} cannot be read: {error}")
        return source, {}
    if not isinstance(found, dict):
        problems.append(f"{source}: this is not a table")
        return source, {}
    return source, cast("dict[str, Any]", found)


def _problem(error: dict[str, Any], values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    name = str(error["loc"][0])
    if error["type"] == "missing":
        return f"{name}: missing; give it as argument, TYPEDQ_{name.upper()} or in [tool.typedq]"
    what = re.sub(r"^Value error, ", "", error["msg"])
    what = re.sub(r"^(Input|String) should", "it should", what)
    right = "" if name == "url" else f"; right is {Settings.model_fields[name].description}"
    given = "" if name == "url" else f" {values.get(name)!r:.80}"
    return f"{name}{given} ({sources.get(name, 'default')}): {what}{right}"
