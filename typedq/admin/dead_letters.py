"""Find dead letters, requeue them and delete them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import msgspec

from typedq.admin.messages import CHUNK, EVERYTHING, PAGE, Selection, describe, instant, text
from typedq.app import TypedQ
from typedq.broker import stats
from typedq.broker.stats import Grave, Letter


@final
class DeadLetters:
    """The dead letters of an app's namespace. All methods raise ServerError."""

    def __init__(self, app: TypedQ) -> None:
        self._broker, self._keys = app.broker, app.broker.keys
        self._queues = [queue.name for queue in app.settings.queues]

    def find(self, only: Selection = EVERYTHING) -> Iterator[dict[str, Any]]:
        """Yield dead letters, youngest first, without their arguments."""
        return (_facts(*each) for each in self._letters(only))

    def get(self, id: str, *, payload: bool = False) -> dict[str, Any] | None:
        """Return one dead letter with its traceback, or None if there is no such id."""
        (letter,) = self._broker.call(stats.letters(self._keys, [id]))
        pages = self._pages(EVERYTHING, CHUNK) if letter else iter(())
        grave = next((grave for page in pages for grave in page if grave.id == id), None)
        return _facts(grave, letter, payload=payload) if letter and grave else None

    def ids(self, only: Selection) -> list[str]:
        """Return the ids of the dead letters that are meant; bodies are read only for a task."""
        if only.task is not None:
            return [grave.id for grave, _ in self._letters(only)]
        return [grave.id for page in self._pages(only, CHUNK) for grave in page]

    def requeue(self, ids: Sequence[str]) -> Iterator[int]:
        """Put dead letters back in their queues with counters reset; yield how many per step."""
        for chunk in _chunks(ids):
            yield self._broker.call(stats.requeue(self._keys, self._queues, chunk)).revived

    def delete(self, ids: Sequence[str]) -> Iterator[int]:
        """Delete dead letters for good; yield how many per step."""
        for chunk in _chunks(ids):
            yield self._broker.call(stats.delete(self._keys, chunk))

    def _letters(self, only: Selection) -> Iterator[tuple[Grave, Letter]]:
        seen = set[str]()
        for page in self._pages(only, PAGE):
            graves = [grave for grave in page if grave.id not in seen]
            seen.update(ids := [grave.id for grave in graves])
            letters = self._broker.call(stats.letters(self._keys, ids)) if ids else []
            for grave, letter in zip(graves, letters, strict=True):
                if letter and only.task in (None, describe(letter.message)["task"]):
                    yield grave, letter

    def _pages(self, only: Selection, size: int) -> Iterator[list[Grave]]:
        """Yield pages, youngest first; a letter that dies meanwhile makes some come twice."""
        first = 0
        while graves := self._broker.call(stats.graves(self._keys, first, first + size - 1)):
            yield (young := [grave for grave in graves if grave.died_ms >= only.oldest_ms])
            if len(young) < len(graves):
                return
            first += size


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    unique = list(dict.fromkeys(ids))
    return (unique[start : start + CHUNK] for start in range(0, len(unique), CHUNK))


def _facts(grave: Grave, letter: Letter, *, payload: bool = False) -> dict[str, Any]:
    """Return the keys of `dead list --json`; what else the reason says follows."""
    about = describe(letter.message, payload=payload)
    shown = {"payload": about.pop("payload")} if payload else {}
    where = {"id": grave.id, "died": instant(grave.died_ms)}
    blank = {"kind": "unknown", "error": ""}
    return {**where, **about, **where, **blank, **_reason(letter.reason), **shown}


def _reason(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {"error": text(line)}
