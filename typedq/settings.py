"""Settings: one frozen value, checked whole, all problems at once.

Who wins: arguments > TYPEDQ_* in the environment > [tool.typedq] in pyproject.toml > defaults.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, cast, get_args, get_type_hints

import msgspec

from typedq.addresses import parse_url, project, redact
from typedq.errors import ConfigurationError, meant
from typedq.policy import NAME, Queue

_ELSEWHERE: Final = frozenset({"app", "schemas"})  # what the command line reads of [tool.typedq]
_MODULE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
Durability = Literal["memory", "replica", "fsync"]


class _Rule(NamedTuple):
    """What a setting may be. `keep` makes what is kept of what was given; raises ValueError.

    right: what would be right; it ends the problem of that setting
    """

    keep: Callable[[object], Any]
    right: str


def _number(
    given: object, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> float:
    try:
        # True is 1 to Python, and a slip of the pen to us.
        number = math.nan if isinstance(given, bool) else float(cast("Any", given))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("this is not a number")
    if number <= above:
        raise ValueError(f"it should be greater than {above:g}")
    if number < least:
        raise ValueError(f"it should be greater than or equal to {least:g}")
    if number > most:
        raise ValueError(f"it should be less than or equal to {most:g}")
    return number


def _seconds(given: object, *, least: float = 0.0, above: float = -math.inf) -> float:
    given = given.total_seconds() if isinstance(given, timedelta) else given
    return _number(given, least=least, above=above, most=315_360_000)


def _count(given: object) -> int:
    number = _number(given, least=1)
    if not number.is_integer():
        raise ValueError("it should be a whole number")
    return int(number)


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError("this is not text")
    return given


def _namespace(given: object) -> str:
    if not NAME.fullmatch(_text(given)):
        raise ValueError("this is not a name")
    return _text(given)


def _url(given: object) -> str:
    parse_url(_text(given))
    return _text(given)


def _listed(given: object, what: str) -> list[Any]:
    if isinstance(given, str):
        return [name.strip() for name in given.split(",") if name.strip()]
    if not isinstance(given, list | tuple):
        raise ValueError(f"this is not a list of {what}")
    return list(cast("Iterable[Any]", given))


def _imports(given: object) -> tuple[str, ...]:
    names = _listed(given, "modules")
    for name in names:
        if not (isinstance(name, str) and _MODULE.fullmatch(name)):
            raise ValueError(f"{name!r:.80} is no name of a module")
    return tuple(names)


def _durability(given: object) -> str:
    known = get_args(Durability)
    if given not in known:
        raise ValueError(f"it should be one of {', '.join(known)}{meant(given, known)}")
    return _text(given)


def _queue(given: object) -> Queue:
    if isinstance(given, Queue):
        return given
    plain: dict[str, Any] = {"name": given}
    options = cast("dict[str, Any]", given) if isinstance(given, dict) else plain
    known = ("name", "soft_timeout", "hard_timeout")
    if unknown := [key for key in options if key not in known]:
        raise ValueError(f"a queue has no {unknown[0]!r}{meant(unknown[0], known)}")
    if "name" not in options:
        raise ValueError("a queue has no name")
    return Queue(**options)


def _queues(given: object) -> tuple[Queue, ...]:
    queues = tuple(map(_queue, _listed(given, "queues")))
    if not queues:
        raise ValueError("there should be one at least")
    names = [queue.name for queue in queues]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"declared twice: {', '.join(twice)}")
    return queues


_QUEUES_BY_DEFAULT = (Queue("default"),)
_ABOVE_0 = "seconds above 0 or a timedelta, such as 30"
_NAMESPACE = _Rule(
    _namespace, "a name of 1 to 64 characters a-z 0-9 _ . -, beginning with a letter or digit"
)
_URL = _Rule(_url, "a URL")
_QUEUES = _Rule(_queues, "queues by name, served first to last: high,low")
_QUEUE = _Rule(_text, "the name of one of the queues")
_MODULES = _Rule(_imports, "modules that define tasks: myapp.tasks")
_LIMIT = _Rule(partial(_seconds, above=0), _ABOVE_0)
_HARD = _Rule(partial(_seconds, above=0), f"{_ABOVE_0}, above soft_timeout")
_LEASE = _Rule(partial(_seconds, least=1), "seconds from 1 upward")
_GRACE = _Rule(_seconds, "seconds from 0 upward or a timedelta")
_PERCENT = _Rule(partial(_number, least=1, most=100), "a percentage, 1 to 100")
_MEGABYTES = _Rule(partial(_number, above=0), "megabytes above 0")
_BYTES = _Rule(_count, "bytes, from 1 upward")
_COUNT = _Rule(_count, "a whole number from 1 upward")
_DURABLE = _Rule(_durability, "where a message must be by then")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. Times are in seconds, sizes in bytes; repr is redacted.

    url: None means that none was configured; queues: first is served first
    """

    namespace: Annotated[str, _NAMESPACE]
    url: Annotated[str | None, _URL] = None
    queues: Annotated[tuple[Queue, ...], _QUEUES] = _QUEUES_BY_DEFAULT
    default_queue: Annotated[str, _QUEUE] = "default"
    imports: Annotated[tuple[str, ...], _MODULES] = ()
    soft_timeout: Annotated[float | None, _LIMIT] = None
    hard_timeout: Annotated[float | None, _HARD] = None
    max_mem_percent: Annotated[float | None, _PERCENT] = None
    max_child_mem_mb: Annotated[float | None, _MEGABYTES] = None
    max_tasks_per_child: Annotated[int | None, _COUNT] = None
    max_body: Annotated[int, _BYTES] = 1 << 20
    max_depth: Annotated[int, _COUNT] = 64
    lease: Annotated[float, _LEASE] = 30.0
    enqueue_deadline: Annotated[float, _LIMIT] = 10.0
    durability: Annotated[Durability, _DURABLE] = "memory"
    concurrency: Annotated[int | None, _COUNT] = None
    async_concurrency: Annotated[int, _COUNT] = 100
    grace: Annotated[float, _GRACE] = 30.0
    parked_max_age: Annotated[float, _LIMIT] = 90 * 86_400.0
    dead_max_age: Annotated[float, _LIMIT] = 30 * 86_400.0
    dead_max_count: Annotated[int, _COUNT] = 100_000

    def __repr__(self) -> str:
        shown = msgspec.structs.asdict(self) | {"url": self.url and redact(self.url)}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


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
    known = (*Settings.__struct_fields__, *_ELSEWHERE)
    problems: list[str] = []
    given: dict[str, tuple[object, str]] = {}
    source, table = project_table(problems, start)
    offered = [(name, value, source) for name, value in table.items()]
    variables = {name: f"TYPEDQ_{name.upper()}" for name in known}
    offered += [(name, environ.get(key) or None, key) for name, key in variables.items()]
    offered += [(name, value, "argument") for name, value in arguments.items()]
    for name, value, source in offered:
        if name not in known:
            problems.append(f"{name} ({source}): there is no such setting{meant(name, known)}")
        elif value is not None and name not in _ELSEWHERE:
            given[name] = value, source
    kept = _keep(given, problems)
    if problems:
        raise ConfigurationError(problems)
    return Settings(**kept)


def _keep(given: Mapping[str, tuple[object, str]], problems: list[str]) -> dict[str, Any]:
    """What is kept of what was given, each by its rule, then those that must fit together."""
    kept: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    hints = get_type_hints(Settings, include_extras=True)
    rules: dict[str, _Rule] = {name: hints[name].__metadata__[0] for name in given}
    for name, rule in rules.items():
        try:
            kept[name] = rule.keep(given[name][0])
        except ValueError as error:
            wrong[name] = str(error)
        except ConfigurationError as error:
            wrong[name] = "; ".join(error.problems)
    if "queues" not in wrong:
        names = [queue.name for queue in kept.get("queues", _QUEUES_BY_DEFAULT)]
        name = kept["default_queue"] = kept.get("default_queue") or names[-1]
        if name not in names:
            wrong["default_queue"] = f"the queues are {', '.join(names)}{meant(name, names)}"
    soft, hard = kept.get("soft_timeout"), kept.get("hard_timeout")
    if soft and hard and hard <= soft:
        wrong["hard_timeout"] = f"soft_timeout ({soft:g} s) must be below it"
    if "namespace" not in given:
        ways = "give it as argument, TYPEDQ_NAMESPACE or in [tool.typedq]"
        problems.append(f"namespace: missing; {ways}")
    for name, reason in wrong.items():
        value, source = given[name]
        if name == "url":  # its reasons say what is right, and never what is secret
            problems.append(f"url ({source}): {reason}")
        else:
            right = rules[name].right
            problems.append(f"{name} {value!r:.80} ({source}): {reason}; right is {right}")
    return kept


def project_table(problems: list[str], start: Path | None = None) -> tuple[str, Mapping[str, Any]]:
    """Where [tool.typedq] of the project is, and what it holds; what is wrong joins `problems`."""
    root = project(start)
    if root is None:
        return "", {}
    file = root / "pyproject.toml"
    source = f"[tool.typedq] in {file}"
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("typedq", {})
    except (OSError, ValueError, AttributeError) as error:
        problems.append(f"{file} cannot be read: {error}")
        return source, {}
    if not isinstance(found, dict):
        problems.append(f"{source}: this is not a table")
        return source, {}
    return source, cast("dict[str, Any]", found)
