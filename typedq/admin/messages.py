"""Select messages, and describe one as the commands and `--json` show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from typedq.errors import BadMessage
from typedq.message import decode_message
from typedq.policy import decode_meta

CHUNK = 500  # messages that one operation changes
PAGE = 100  # messages that one operation reads with their payloads; each may have 1 MiB
# Returns the arguments of a message as text; of a malformed one, without a contract, all of it.
ShowPayload: TypeAlias = Callable[[bytes, str | None], str]
_ABOUT = (
    "id",
    "task",
    "contract",
    "queue",
    "enqueued",
    "due",
    "expires",
    "attempts",
    "crashes",
    "losses",
    "meta",
)


@dataclass(frozen=True)
class Selection:
    """Which messages to select: of a task, of a queue, not older than a moment; else all.

    error: a text in the error of a dead letter
    """

    task: str | None = None
    queue: str | None = None
    since: datetime | None = None
    error: str | None = None

    @property
    def oldest_ms(self) -> float:
        """Return the time of the oldest selected message, in ms since the epoch."""
        return self.since.timestamp() * 1000 if self.since else 0.0

    @property
    def reads_messages(self) -> bool:
        """Return True if messages must be read to select them."""
        return any((self.task, self.queue, self.error))

    def takes(self, message: bytes) -> bool:
        """Return True if a message is of the task and queue."""
        about = describe(message) if self.task or self.queue else dict[str, Any]()
        return all(about[n] == v for n, v in (("task", self.task), ("queue", self.queue)) if v)

    @property
    def narrows(self) -> bool:
        """Return True unless all messages are selected."""
        return any((self.task, self.queue, self.since, self.error))


EVERYTHING = Selection()


def describe(message: bytes, show: ShowPayload | None = None) -> dict[str, Any]:
    """Return the parts of a message by name; None for each part that cannot be read.

    bytes: the size of the arguments; of a malformed message, of all of it
    show: None leaves the arguments out
    """
    try:
        envelope = decode_message(message)
        moments = envelope.enqueued_ms, envelope.due_ms or None, envelope.expires_ms
        times = map(instant, moments)
        counts = envelope.attempt, int(envelope.crashes), int(envelope.losses)
        contract, queue = text(envelope.contract), text(envelope.queue)
        known = (text(envelope.id), envelope.task, contract, queue, *times, *counts)
        meta = dict(decode_meta(envelope.options))
        about: dict[str, Any] = dict(zip(_ABOUT, (*known, meta), strict=True))
        body: tuple[bytes, str | None] = envelope.body, contract
    except (BadMessage, ValueError):
        body = message, None
        about = dict[str, Any].fromkeys(_ABOUT)
    arguments = {"payload": show(*body)} if show else {}
    return {**about, "bytes": len(body[0]), **arguments}


def text(raw: bytes) -> str:
    """Return bytes as text; bytes that are not UTF-8 are escaped."""
    # As `broker.script.text`, which would load the broker for each `--help`.
    return raw.decode(errors="backslashreplace")


def instant(ms: int | None) -> str | None:
    """Return ms since the epoch as ISO 8601 in UTC; None for times out of range."""
    try:
        return None if ms is None else iso(datetime.fromtimestamp(ms / 1000, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def iso(moment: datetime) -> str:
    """Return an aware moment as ISO 8601 in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(seconds: float | None) -> str | None:
    """Return a duration as one number and its unit."""
    if seconds is None:
        return None
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.{int(abs(seconds) < 10)}f} s"
