"""Resolve settings into one frozen model; report all problems at once.

Priority: arguments > TYPEDQ_* in the environment > [tool.typedq] in pyproject.toml > defaults.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from typedq.addresses import parse_url, project, redact
from typedq.errors import ConfigurationError, meant
from typedq.policy import NAME, TEN_YEARS, Queue, parse_queues

Durability = Literal["memory", "replica", "fsync"]
_MODULE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_LAST: Final = "the last of the queues"  # cannot be the name of a queue
_COMMAND_LINE: Final = ("app", "schemas")  # keys of [tool.typedq] that only the command line reads


def _number(value: object) -> float:
    try:
        # float(True) is 1, but a bool is a mistake in a configuration.
        number = math.nan if isinstance(value, bool) else float(cast("Any", value))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("this is not a number")
    return number


def _seconds(value: object) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else _number(value)


def _namespace(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("this is not a name")
    return value


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("this is not an IP address") from None


def _url(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    url = value.get_secret_value().strip()  # a mounted secret often ends with a newline
    try:
        parse_url(url)
    except ConfigurationError as error:
        raise ValueError("; ".join(error.problems)) from None
    return SecretStr(url)


def _default_queue(value: object, given: ValidationInfo) -> object:
    queues = given.data.get("queues", ())
    return queues[-1].name if value is _LAST and queues else value


def _credentials(value: object) -> object:
    if value is None or callable(value) or callable(getattr(value, "get_credentials", None)):
        return value
    raise ValueError("this is neither callable nor a CredentialProvider")


def _modules(value: object) -> tuple[str, ...]:
    names = value
    if isinstance(value, str):
        names = [name.strip() for name in value.split(",") if name.strip()]
    if not isinstance(names, list | tuple):
        raise ValueError("this is not a list of modules")
    for name in cast("Iterable[object]", names):
        if not (isinstance(name, str) and _MODULE.fullmatch(name)):
            raise ValueError(f"{name!r:.80} is not a module name")
    return tuple(cast("Iterable[str]", names))


_Number = BeforeValidator(_number)
_Time = BeforeValidator(_seconds)
_Count = Annotated[int, _Number, Field(ge=1)]
_Limit = Annotated[float, _Time, Field(gt=0, le=TEN_YEARS)]


class Settings(BaseModel):
    """All settings. Times are in seconds, sizes in bytes; repr is redacted.

    url: None means that none was configured; queues: in strict priority, first is served first
    credentials: a `Credentials` or None; pydantic could not check more than `_credentials` does
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    namespace: Annotated[str, AfterValidator(_namespace)]
    url: Annotated[SecretStr | None, AfterValidator(_url)] = None
    credentials: Annotated[Any, AfterValidator(_credentials), Field(repr=False)] = None
    queues: Annotated[tuple[Queue, ...], PlainValidator(parse_queues)] = (Queue("default"),)
    default_queue: Annotated[str, BeforeValidator(_default_queue), Field(validate_default=True)] = (
        _LAST
    )
    imports: Annotated[tuple[str, ...], PlainValidator(_modules)] = ()
    soft_timeout: _Limit | None = None
    hard_timeout: _Limit | None = None
    max_mem_percent: Annotated[float, _Number, Field(ge=1, le=100)] | None = None
    max_child_mem_mb: Annotated[float, _Number, Field(gt=0)] | None = None
    max_tasks_per_child: _Count | None = None
    max_body: _Count = 1 << 20
    max_depth: _Count = 64
    lease: Annotated[float, _Time, Field(ge=1, le=TEN_YEARS)] = 30.0
    enqueue_deadline: _Limit = 10.0
    durability: Durability = "memory"
    concurrency: _Count | None = None
    async_concurrency: _Count = 100
    grace: Annotated[float, _Time, Field(ge=0, le=TEN_YEARS)] = 30.0
    start_timeout: _Limit = 60.0
    metrics_port: Annotated[int, _Number, Field(ge=0, le=65_535)] | None = None
    metrics_host: Annotated[str, AfterValidator(_address)] = "0.0.0.0"  # noqa: S104 - as documented
    parked_max_age: _Limit = 90 * 86_400.0
    dead_max_age: _Limit = 30 * 86_400.0
    dead_max_count: _Count = 100_000

    @field_validator("default_queue")
    @classmethod
    def _is_a_queue(cls, value: str, given: ValidationInfo) -> str:
        names = [queue.name for queue in given.data.get("queues", ())]
        if names and value not in names:
            raise ValueError(f"the queues are {', '.join(names)}{meant(value, names)}")
        return value

    @field_validator("hard_timeout")
    @classmethod
    def _is_above_soft(cls, value: float | None, given: ValidationInfo) -> float | None:
        soft = given.data.get("soft_timeout")
        if soft and value and value <= soft:
            raise ValueError(f"soft_timeout ({soft:g} s) must be below it")
        return value

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, redact(value.get_secret_value()) if name == "url" and value else value


class _Sources:
    """The values of each setting and their sources; a later source overrides an earlier one."""

    def __init__(self) -> None:
        self.given: dict[str, tuple[object, str]] = {}
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
                self.given[name] = value, source

    def settle(self) -> Settings:
        """Return the settings. Raises ConfigurationError with every problem."""
        settings = None
        try:
            settings = Settings.model_validate(
                {name: value for name, (value, _) in self.given.items()}
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
            expected = f"give it as argument, TYPEDQ_{name.upper()} or in [tool.typedq]"
            return f"{name}: missing; {expected}"
        value, source = self.given[name]
        reason = _REASONS.get(error["type"]) or error["msg"].replace("Input should", "it should")
        if error["type"] == "value_error":
            reason = str(error["ctx"]["error"])
        elif error["type"] == "literal_error":
            known = get_args(_FIELDS[name].annotation)
            reason = f"it should be one of {', '.join(known)}{meant(value, known)}"
        # Their values may be secret, and their reasons name the expected form.
        shown = "" if name in ("url", "credentials") else f" {value!r:.80}"
        expected = f"; expected {_EXPECTED[name]}" if name in _EXPECTED else ""
        return f"{name}{shown} ({source}): {reason}{expected}"


_FIELDS: Final = Settings.model_fields
_ABOVE_0: Final = "seconds above 0 or a timedelta, such as 30"
_COUNTS: Final = "max_tasks_per_child max_depth concurrency async_concurrency dead_max_count"
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
    "lease": "seconds from 1 upward",
    "grace": "seconds from 0 upward or a timedelta",
    "metrics_port": "a port, 1 to 65535, or 0 for any that is free",
    "metrics_host": "an address of this machine, such as 0.0.0.0, :: or 127.0.0.1",
}
_REASONS: Final = {
    "string_type": "this is not text",
    "int_from_float": "it should be a whole number",
}


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
        variable = f"TYPEDQ_{name.upper()}"
        sources.offer({name: environ.get(variable) or None}, variable)
    sources.offer(arguments, "argument")
    return sources.settle()


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
