"""Logs: their two shapes, their colours, and that nothing can forge a line."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from typedq.errors import ConfigurationError
from typedq.telemetry import configure, escape, event, logger


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
