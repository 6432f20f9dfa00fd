"""Log to one logger, `typedq`: messages with named values, never a payload.

The library adds no output handler; `configure` is for the command line. External text is escaped,
or it could forge log lines or move the cursor of a terminal.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, cast

from typedq.errors import ConfigurationError, escape

logger: Final = logging.getLogger("typedq")
logger.addHandler(logging.NullHandler())

# A function that returns task and id of the running message; the worker sets it.
running: ContextVar[Callable[[], dict[str, str]] | None] = ContextVar("running", default=None)

# Ids of the trace of the running attempt, for log records; middleware sets it.
tracing: ContextVar[Mapping[str, str]] = ContextVar("tracing", default={})  # noqa: B039

_get_traceback: Any = vars(BaseException)["__traceback__"].__get__
_configured: list[logging.Handler] = []  # what `configure` added last
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_COLORS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class LogContext(logging.Filter):
    """Adds `typedq_task` and `typedq_id` of the running message to log records, or "-".

    It never drops a record. `--log-level` and `--log-format` configure typedq's logger only. To use
    both names in the logs of an application, add the filter to its handlers:

        handler.addFilter(typedq.LogContext())
        handler.setFormatter(logging.Formatter("%(typedq_task)s %(typedq_id)s %(message)s"))

    or in `logging.config.dictConfig`: `"filters": {"typedq": {"()": "typedq.LogContext"}}`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set both attributes, and keep the record."""
        labels = running.get()
        found = labels() if labels else {}
        record.typedq_task, record.typedq_id = found.get("task", "-"), found.get("id", "-")
        record.typedq_trace = tracing.get()
        return True


def event(
    level: int, message: str, /, *, error: BaseException | None = None, **fields: object
) -> None:
    """Log `message` with named values; `error` adds its traceback. Cheap if the level is off.

    After `configure`, warnings and errors are written even if the application disables all loggers.
    To silence them, set the level of the logger "typedq".
    """
    if _configured and level >= logging.WARNING:
        _write(level, message, error, fields)
    elif logger.isEnabledFor(level):
        with suppress(Exception, SystemExit):  # a filter or handler of the app may raise
            about, extra = _exc_info(error), {"typedq": fields}
            logger.log(level, "%s", message, extra=extra, exc_info=about, stacklevel=2)


def _exc_info(error: BaseException | None) -> Any:
    # Of the exception alone, logging asks whether it is true, and for a `__traceback__` of its own.
    return None if error is None else (type(error), error, _get_traceback(error))


def _write(
    level: int, message: str, error: BaseException | None, fields: Mapping[str, object]
) -> None:
    restore()
    disabled_to = logger.manager.disable
    with suppress(Exception, SystemExit):
        try:
            if disabled_to >= level:
                logging.disable(logging.NOTSET)
            about, extra = _exc_info(error), {"typedq": fields}
            logger.log(level, "%s", message, extra=extra, exc_info=about, stacklevel=3)
        finally:
            if disabled_to >= level:
                logging.disable(disabled_to)


def configure(
    level: str,
    format: Literal["text", "json"],
    stream: TextIO | None = None,
) -> None:
    """Write the log to `stream` (default: stderr) from `level` (a name such as "info") upward.

    Text is colored only on a terminal, and not if NO_COLOR is set. Calling again replaces what
    was configured. Raises ConfigurationError for an unknown level or format.
    """
    problems = [
        f"{name} {value!r} is not one of {', '.join(known)}"
        for name, value, known in (
            ("log level", level.lower(), _LEVELS),
            ("log format", format, tuple(_FORMATS)),
        )
        if value not in known
    ]
    if problems:
        raise ConfigurationError(problems)
    handler = _Output(stream or sys.stderr)
    formatter = _Colored if format == "text" and _wants_colors(handler.stream) else _FORMATS[format]
    handler.setFormatter(formatter())
    handler.addFilter(LogContext())
    for previous in logger.handlers[:]:
        logger.removeHandler(previous)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    _configured[:] = [handler]


def restore() -> None:
    """Enable typedq's logger again after the app has configured logging.

    By default, `logging.config` disables all loggers that its configuration does not name, and the
    worker would log no failures. A configuration that names `typedq` is kept.
    """
    if not logger.disabled:
        return
    logger.disabled = False
    for handler in _configured:
        if handler not in logger.handlers:
            logger.addHandler(handler)


class _Output(logging.StreamHandler[TextIO]):
    """Writes past the buffer of its stream, if there is a file below it.

    A thread that writes to the stream holds the lock of its buffer. If a task forks meanwhile, the
    forked process never releases it, and its first `print` waits for ever. Python renews only the
    locks of the streams with which it started; one that was reopened or replaced stays locked.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + self.terminator
            try:
                file = self.stream.fileno()
            except OSError:  # a stream in memory
                self.stream.write(text)
                return
            except ValueError:  # a task closed or detached it
                if self.stream is not sys.__stderr__:
                    raise
                file = 2  # which Python leaves open
            _write_all(file, text.encode(self.stream.encoding, errors="backslashreplace"))
        except Exception:  # noqa: BLE001 - as every handler does it
            self.handleError(record)


def _write_all(file: int, left: bytes) -> None:
    while left:
        try:
            left = left[os.write(file, left) :]
        except BlockingIOError:  # a program has made it so, for all that share the file
            os.set_blocking(file, True)


def _wants_colors(stream: TextIO) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and stream.isatty()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = getattr(record, "typedq", None)
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    task, id = getattr(record, "typedq_task", "-"), getattr(record, "typedq_id", "-")
    trace: Mapping[str, str] = getattr(record, "typedq_trace", {})
    return {**trace, **fields} if task == "-" else {"task": task, "id": id, **trace, **fields}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: object) -> str:
    text = str(value)
    if text.isprintable() and text and not any(mark in text for mark in ' "=\\'):
        return text
    return '"' + escape(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


class _Text(logging.Formatter):
    colors: Mapping[str, str] = {}

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<8}"
        if color := self.colors.get(record.levelname):
            level = f"\x1b[{color}m{level}\x1b[0m"
        words = [_time(record), level, escape(record.getMessage())]
        words += [f"{escape(key)}={_quoted(value)}" for key, value in _fields(record).items()]
        line = " ".join(words)
        if record.exc_info:
            # Indented: a line of an exception's message must not look like a line of the log.
            trace = self.formatException(record.exc_info).splitlines()
            line = "\n    ".join([line, *map(escape, trace)])
        return line


class _Colored(_Text):
    colors = _COLORS


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        for key, value in _fields(record).items():
            line[f"{key}_" if key in line else key] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # ASCII only: every control character is escaped


_FORMATS: Final = {"text": _Text, "json": _Json}
