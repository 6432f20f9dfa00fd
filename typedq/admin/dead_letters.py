"""Find dead letters, requeue them and delete them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, final

import msgspec

from typedq.admin.messages import (
    CHUNK,
    EVERYTHING,
    PAGE,
    Selection,
    ShowPayload,
    describe,
    instant,
)
from typedq.app import TypedQ
from typedq.broker import stats
from typedq.broker.parking import Group
from typedq.broker.script import text
from typedq.broker.stats import DeadEntry, DeadMessage
from typedq.errors import BadMessage
from typedq.message import decode_message

MAX_LINE = 300  # characters of an error in a list


class Letter(NamedTuple):
    """A dead letter as `dead list --json` shows it. `needs`: whom a retry needs, if it is known."""

    shown: dict[str, Any]
    needs: Group | None

    @property
    def error(self) -> str:
        """Return the error on one line, by which dead letters are grouped."""
        line = " ".join((str(self.shown["error"]) or str(self.shown["kind"])).splitlines())
        return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…"

    def has(self, error: str) -> bool:
        """Return True if its error contains a text, which may be copied from a list."""
        whole = f"{self.error}\n{self.shown['error']}"
        return error.removesuffix("…") in whole


@final
class DeadLetters:
    """The dead letters of an app's namespace. All methods raise ServerError."""

    def __init__(self, app: TypedQ) -> None:
        self._broker, self._keys = app.broker, app.broker.keys
        self._queues = [queue.name for queue in app.settings.queues]

    def find(self, only: Selection = EVERYTHING) -> Iterator[Letter]:
        """Yield dead letters, newest first, without their arguments."""
        for entry, message in self._read(only):
            letter = _describe(entry, message)
            if only.error is None or letter.has(only.error):
                yield letter

    def get(self, id: str, show: ShowPayload | None = None) -> Letter | None:
        """Return one dead letter with its traceback, or None if there is no such id."""
        (message,) = self._broker.call(stats.read_dead(self._keys, [id]))
        died_ms = self._broker.call(stats.died_at(self._keys, id)) if message else None
        if message is None or died_ms is None:
            return None
        return _describe(DeadEntry(id, died_ms), message, show)

    def ids(self, only: Selection) -> list[str]:
        """Return the ids of the selected dead letters; bodies are read only if they decide it."""
        if only.reads_messages:
            return [letter.shown["id"] for letter in self.find(only)]
        return [entry.id for page in self._pages(only, CHUNK) for entry in page]

    def requeue(self, ids: Sequence[str]) -> Iterator[int]:
        """Requeue dead letters with counters reset; yield how many after each step."""
        for chunk in _chunks(ids):
            yield self._broker.call(stats.requeue(self._keys, self._queues, chunk)).requeued

    def delete(self, ids: Sequence[str]) -> Iterator[int]:
        """Delete dead letters for good; yield how many after each step."""
        for chunk in _chunks(ids):
            yield self._broker.call(stats.delete(self._keys, chunk))

    def _read(self, only: Selection) -> Iterator[tuple[DeadEntry, DeadMessage]]:
        seen = set[str]()
        for page in self._pages(only, PAGE):
            entries = [entry for entry in page if entry.id not in seen]
            seen.update(ids := [entry.id for entry in entries])
            messages = self._broker.call(stats.read_dead(self._keys, ids)) if ids else []
            for entry, message in zip(entries, messages, strict=True):
                if message and only.takes(message.message):
                    yield entry, message

    def _pages(self, only: Selection, size: int) -> Iterator[list[DeadEntry]]:
        """Yield pages, newest first; an entry may come twice if others are added meanwhile."""
        first = 0
        while page := self._broker.call(stats.list_dead(self._keys, first, first + size - 1)):
            yield (young := [entry for entry in page if entry.died_ms >= only.oldest_ms])
            if len(young) < len(page):
                return
            first += size


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    unique = list(dict.fromkeys(ids))
    return (unique[start : start + CHUNK] for start in range(0, len(unique), CHUNK))


def _describe(entry: DeadEntry, dead: DeadMessage, show: ShowPayload | None = None) -> Letter:
    """Return the keys of `dead list --json`, then the other fields of the reason."""
    about = describe(dead.message, show)
    shown = {"payload": about.pop("payload")} if show else {}
    first = {"id": entry.id, "died": instant(entry.died_ms)}
    blank = {"kind": "unknown", "error": ""}
    own = {name: about[name] for name in ("task", "contract", "queue")} | first
    whole = {**first, **about, **blank, **_reason(dead.reason), **own, **shown}
    return Letter(whole, _needs(dead.message))


def _reason(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {"error": text(line)}


def _needs(message: bytes) -> Group | None:
    try:
        envelope = decode_message(message)
    except BadMessage:
        return None
    return Group(text(envelope.queue), text(envelope.needs))
