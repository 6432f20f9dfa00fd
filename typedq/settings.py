"""All settings as one frozen model; configuration.py reads them.

The text below each field is its line in docs/settings.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from typedq.addresses import parse_url, redact
from typedq.errors import ConfigurationError, meant
from typedq.policy import NAME, TEN_YEARS, Queue, parse_duration, parse_queues

Durability = Literal["memory", "replica", "fsync"]
_MODULE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_LAST: Final = "the last of the queues"  # cannot be the name of a queue


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
    if isinstance(value, timedelta):
        return value.total_seconds()
    length = parse_duration(value) if isinstance(value, str) else None
    return _number(value) if length is None else length


def _processes(value: object) -> object:
    if not (isinstance(value, str) and "cores" in value):
        return value
    from typedq.cgroup import parse_processes  # with psutil

    count = parse_processes(value)
    if count is None:
        raise ValueError("this is not a number of processes")
    return count


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
    """All settings. Times are in seconds, sizes in bytes; repr is redacted."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    namespace: Annotated[str, AfterValidator(_namespace)]
    """The prefix of every key in the server. Apps with different namespaces never meet."""

    url: Annotated[SecretStr | None, AfterValidator(_url)] = None
    """The Redis or Valkey server. Without it, an embedded server is started if there is one."""

    credentials: Annotated[Any, AfterValidator(_credentials), Field(repr=False)] = None
    """A function or provider that returns (user name, password). An argument only."""

    queues: Annotated[tuple[Queue, ...], PlainValidator(parse_queues)] = (Queue("default"),)
    """The queues by name, in strict priority: the first is served first."""

    default_queue: Annotated[str, BeforeValidator(_default_queue), Field(validate_default=True)] = (
        _LAST
    )
    """The queue of tasks that name none."""

    imports: Annotated[tuple[str, ...], PlainValidator(_modules)] = ()
    """The modules that define tasks. Workers and commands import them."""

    soft_timeout: _Limit | None = None
    """Seconds after which SoftTimeout is raised in a task that names no limit of its own."""

    hard_timeout: _Limit | None = None
    """Seconds after which the process of such a task is killed."""

    max_mem_percent: Annotated[float, _Number, Field(ge=1, le=100)] | None = None
    """Percent of the container's or machine's memory; above it, the largest child is replaced."""

    max_child_mem_mb: Annotated[float, _Number, Field(gt=0)] | None = None
    """Megabytes above which a child is replaced after its task."""

    max_tasks_per_child: _Count | None = None
    """The number of tasks after which a child is replaced."""

    max_body: _Count = 1 << 20
    """The largest message, in bytes of JSON."""

    max_depth: _Count = 64
    """The deepest nesting of arguments, in levels."""

    lease: Annotated[float, _Time, Field(ge=1, le=TEN_YEARS)] = 30.0
    """Seconds until the messages of a lost machine run elsewhere. It does not limit tasks."""

    enqueue_deadline: _Limit = 10.0
    """Seconds until `enqueue` gives up on a server that does not answer."""

    durability: Durability = "memory"
    """Where a message is when `enqueue` returns: memory, replica or fsync."""

    concurrency: Annotated[_Count, BeforeValidator(_processes)] | None = None
    """The number of child processes: 4, cores or cores*2. If it is not set, cores."""

    async_concurrency: _Count = 100
    """The number of coroutine tasks that a child runs at once."""

    grace: Annotated[float, _Time, Field(ge=0, le=TEN_YEARS)] = 20.0
    """Seconds that running tasks have to finish after SIGTERM. Kubernetes kills after 30."""

    start_timeout: _Limit = 60.0
    """Seconds that a child may take to start before `typedq health` calls it stuck."""

    metrics_port: Annotated[int, _Number, Field(ge=0, le=65_535)] | None = None
    """The port of /livez, /readyz and /metrics of a worker; 0 takes any. If not set, none."""

    metrics_host: Annotated[str, AfterValidator(_address)] = "0.0.0.0"  # noqa: S104 - as documented
    """The address that `metrics_port` is opened on."""

    parked_max_age: _Limit = 90 * 86_400.0
    """Seconds after which a parked message becomes a dead letter."""

    dead_max_age: _Limit = 30 * 86_400.0
    """Seconds after which a dead letter is deleted."""

    dead_max_count: _Count = 100_000
    """The number of dead letters above which the oldest are deleted."""

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
