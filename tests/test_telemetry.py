"""Logs: their two shapes, their colours, and that nothing can forge a line."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from typedq.errors import ConfigurationError, escape
from typedq.telemetry import LogContext, configure, event, logger, restore, running


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    kept = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = kept


def text(*args: Any, level: str = "info", **fields: Any) -> str:
    stream = io.StringIO()
    configure(level, "text", stream)
    event(*args, **fields)
    return stream.getvalue()


def test_a_line_of_text() -> None:
    line = text(logging.INFO, "task failed", task="send_email", attempt=2, reason="no route", at="")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO     task failed"
        r' task=send_email attempt=2 reason="no route" at=""\n',
        line,
    )


def test_a_line_of_json() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    error = ValueError("no\nway")
    event(logging.ERROR, "failed", error=error, task="t", attempt=2, message=stream.__class__)
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert list(found) == ["time", "level", "message", "task", "attempt", "message_", "traceback"]
    assert (found["level"], found["message"], found["attempt"]) == ("error", "failed", 2)
    assert found["traceback"] == "ValueError: no\nway"


def test_the_traceback_of_an_exception_that_is_false_is_shown() -> None:
    falsy = type("Falsy", (ValueError,), {"__len__": lambda _: 0})
    assert "Falsy: no way" in text(logging.ERROR, "failed", error=falsy("no way"))


FORGED = "x\n2027-01-01T00:00:00.000Z INFO     all is well\r\x1b[2J\x00\x7f\x85\u2028\u202e\ud800"


@pytest.mark.parametrize("format", ["text", "json"])
def test_nothing_from_outside_forges_a_line(format: Any) -> None:
    stream = io.StringIO()
    configure("info", format, stream)
    fields: dict[str, Any] = {FORGED: 1, "value": FORGED}
    event(logging.INFO, FORGED, **fields)
    logger.info("%s", FORGED)
    written = stream.getvalue()
    assert written.endswith("\n")
    lines = written[:-1].split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert r"\n2027" in lines[0]
    written.encode()


def test_a_value_cannot_forge_another() -> None:
    line = text(logging.INFO, "m", a='x" b="y', c="p=q", d="back\\slash")
    assert line.endswith(r'a="x\" b=\"y" c="p=q" d="back\\slash"' + "\n")


def test_a_traceback_is_indented_and_escaped() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        first, *trace = text(logging.ERROR, "failed", error=error)[:-1].split("\n")
    assert first.endswith("ERROR    failed")
    assert trace[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in trace)


def test_colours_only_on_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def written(stream: io.StringIO) -> str:
        configure("info", "text", stream)
        event(logging.ERROR, "m")
        return stream.getvalue()

    assert "\x1b[31mERROR" in written(Terminal())
    assert "\x1b" not in written(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in written(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in written(Terminal())


def test_levels_and_foreign_records() -> None:
    assert text(logging.INFO, "m", level="warning") == ""
    stream = io.StringIO()
    configure("WARNING", "text", stream)
    logging.getLogger("typedq.inner").warning("plain %s", "words", extra={"typedq": "not fields"})
    assert stream.getvalue().endswith("WARNING  plain words\n")


def test_configuring_again_replaces() -> None:
    first = io.StringIO()
    configure("info", "text", first)
    assert text(logging.INFO, "m").count("\n") == 1
    assert first.getvalue() == ""


def test_a_level_that_is_off_formats_nothing() -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    assert text(logging.DEBUG, "m", value=Costly()) == ""


def test_wrong_levels_and_formats_are_told_together() -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure("loud", "xml")  # type: ignore[arg-type]
    assert caught.value.problems == (
        "log level 'loud' is not one of debug, info, warning, error, critical",
        "log format 'xml' is not one of text, json",
    )


def test_a_library_writes_nothing_by_itself() -> None:
    code = (
        "import logging, typedq.telemetry as t\n"
        "t.event(logging.ERROR, 'lost', task='x')\n"
        "logging.basicConfig(format='%(levelname)s %(message)s')\n"
        "t.event(logging.ERROR, 'seen', task='x')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "ERROR seen\n")


def test_escape_leaves_what_prints() -> None:
    assert escape("Grüße, 東京 \\ ok") == "Grüße, 東京 \\ ok"
    assert escape("a\tb\x9b") == "a\\tb\\x9b"


# --- what a record says of the message that is being run


@pytest.fixture
def in_a_task() -> Iterator[None]:
    token = running.set(lambda: {"task": "send_email", "id": "0123"})
    yield
    running.reset(token)


@pytest.fixture
def applications() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of the application, with a handler of its own."""
    stream, log = io.StringIO(), logging.getLogger("myapp")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(typedq_task)s %(typedq_id)s %(message)s"))
    handler.addFilter(LogContext())
    log.addHandler(handler)
    log.propagate = False
    yield log, stream
    log.removeHandler(handler)


@pytest.mark.usefixtures("in_a_task")
@pytest.mark.parametrize("name", ["id", "task", "typedq_id", "typedq_task", "typedq", "labels"])
def test_extra_fields_of_any_name_can_be_logged_in_a_task(
    name: str, applications: tuple[logging.Logger, io.StringIO]
) -> None:
    log, stream = applications
    log.warning("stored", extra={name: 1})
    assert stream.getvalue() == "send_email 0123 stored\n"


def test_outside_of_a_task_there_is_a_dash(
    applications: tuple[logging.Logger, io.StringIO],
) -> None:
    log, stream = applications
    log.warning("stored")
    assert stream.getvalue() == "- - stored\n"


@pytest.mark.usefixtures("in_a_task")
def test_the_log_of_typedq_names_the_task_once() -> None:
    assert text(logging.WARNING, "request failed", url="u").endswith(
        "request failed task=send_email id=0123 url=u\n"
    )
    assert text(logging.WARNING, "failed", task="other", id="9").endswith(
        "failed task=other id=9\n"
    )


@pytest.mark.usefixtures("in_a_task")
def test_no_record_factory_is_replaced() -> None:
    before = logging.getLogRecordFactory()
    text(logging.WARNING, "m")
    assert logging.getLogRecordFactory() is before


# --- an application that sets up logging after typedq did


@pytest.fixture
def unchanged_logging() -> Iterator[None]:
    kept = logging.root.handlers[:], logging.root.level, logger.disabled
    disabled = logging.root.manager.disable
    yield
    logging.disable(disabled)
    logging.root.handlers[:], logging.root.level, logger.disabled = kept


@pytest.mark.usefixtures("unchanged_logging")
@pytest.mark.parametrize(
    "configuration",
    [
        {"version": 1},
        {"version": 1, "root": {"level": "ERROR", "handlers": []}},
        {"version": 1, "loggers": {"django": {"level": "INFO"}}},
    ],
)
def test_a_configuration_that_disables_typedq_is_undone(configuration: dict[str, Any]) -> None:
    stream = io.StringIO()
    configure("info", "text", stream)
    logging.config.dictConfig(configuration)
    event(logging.INFO, "lost")
    restore()
    event(logging.INFO, "seen")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["seen"]


@pytest.mark.usefixtures("unchanged_logging")
def test_a_configuration_that_names_typedq_is_kept() -> None:
    stream = io.StringIO()
    configure("info", "text", stream)
    logging.config.dictConfig({"version": 1, "loggers": {"typedq": {"handlers": []}}})
    restore()
    event(logging.ERROR, "theirs")
    assert stream.getvalue() == ""


def _disable_by_file(tmp_path: Path) -> None:
    file = tmp_path / "logging.ini"
    file.write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n"
        "[logger_root]\nlevel=ERROR\nhandlers=\n"
    )
    logging.config.fileConfig(file)


@pytest.mark.usefixtures("unchanged_logging")
@pytest.mark.parametrize(
    "silence",
    [
        lambda _: logging.config.dictConfig({"version": 1}),
        _disable_by_file,
        lambda _: logging.disable(logging.CRITICAL),
    ],
    ids=["dictConfig", "fileConfig", "disable"],
)
def test_failures_are_written_though_all_loggers_are_disabled(
    silence: Callable[[Path], None], tmp_path: Path
) -> None:
    stream = io.StringIO()
    configure("info", "text", stream)
    silence(tmp_path)
    disabled = logging.root.manager.disable
    event(logging.ERROR, "seen")
    assert stream.getvalue().endswith("seen\n")
    assert logging.root.manager.disable == disabled


@pytest.mark.usefixtures("unchanged_logging")
def test_a_level_of_typedqs_own_logger_is_kept() -> None:
    stream = io.StringIO()
    configure("info", "text", stream)
    logger.setLevel(logging.CRITICAL)
    event(logging.ERROR, "unwanted")
    assert stream.getvalue() == ""
