"""Find parked messages by queue and contract, and release or drop them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple, final

from typedq.admin.messages import CHUNK, EVERYTHING, PAGE, Selection, ShowPayload, describe, instant
from typedq.app import TypedQ
from typedq.broker import parking
from typedq.broker.parking import Group


class Size(NamedTuple):
    """How many messages a group holds, and when it was created (server ms)."""

    messages: int
    created_ms: int


Sizes = Mapping[Group, Size]


@final
class Parked:
    """The parked messages of an app's namespace. All methods raise ServerError."""

    def __init__(self, app: TypedQ) -> None:
        self._broker, self._keys = app.broker, app.broker.keys

    def groups(
        self, only: Selection = EVERYTHING, contracts: Collection[str] | None = None
    ) -> Sizes:
        """Return the selected groups that are not empty, the oldest first."""
        created_ms = {
            group: ms
            for group, ms in self._broker.call(parking.groups(self._keys)).items()
            if (not contracts or group.contract in contracts)
            and only.task in (None, group.contract.partition("@")[0])
            and only.queue in (None, group.queue)
            and ms >= only.oldest_ms
        }
        if not created_ms:
            return {}
        return sizes(
            created_ms, self._broker.call(parking.delayed_stats(self._keys, [], created_ms)).parked
        )

    def messages(self, groups: Sizes, show: ShowPayload | None = None) -> Iterator[dict[str, Any]]:
        """Yield the messages of groups in the order of fetching."""
        for group in groups:
            first = 0
            while page := self._broker.call(
                parking.parked(self._keys, group, first, first + PAGE - 1)
            ):
                yield from (describe(message, show) for message in page)
                first += PAGE

    def release(self, groups: Sizes, to: Literal["ready", "purged"]) -> Iterator[int]:
        """Requeue or drop the messages of groups; yield how many after each step.

        The sizes bound the number of steps, because workers may park the same messages again.
        """
        for group, size in groups.items():
            for _ in range(0, size.messages, CHUNK):
                yield self._broker.call(parking.release(self._keys, group, to)).released


def sizes(created_ms: Mapping[Group, int], counts: Mapping[Group, int]) -> Sizes:
    """Return the groups that are not empty, the oldest first."""
    ordered = sorted(created_ms.items(), key=lambda each: (each[1], each[0]))
    return {group: Size(counts[group], ms) for group, ms in ordered if counts[group]}


def rows(groups: Sizes) -> list[dict[str, Any]]:
    """Return the keys of `parked list --json`."""
    return [
        {"queue": group.queue, "contract": group.contract, "messages": n, "since": instant(ms)}
        for group, (n, ms) in groups.items()
    ]
