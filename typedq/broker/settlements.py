"""What may become of messages that a session holds, as words of the `work` script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from typedq.broker.script import Argument


class Ack(NamedTuple):
    """These ended well; ids of one contract, or of broadcasts with the contract b""."""

    contract: bytes
    ids: Sequence[bytes]

    def words(self, place: Callable[[str], int]) -> Sequence[Argument]:
        return ("ack", self.contract, len(self.ids), *self.ids) if self.ids else ()


class AckAll(NamedTuple):
    """All that the session holds ended well, alone in its batch: how many, by contract as in `Ack`.

    witness: the id of one of them. Where the server has another number of messages in flight, or
        not this one, it changes nothing, and the answer says so.
    """

    numbers: Mapping[bytes, int]
    witness: bytes

    def words(self, place: Callable[[str], int]) -> Sequence[Argument]:
        counted = [word for pair in self.numbers.items() for word in pair]
        total = sum(self.numbers.values())
        return ("all", total, 1 + len(counted), self.witness, *counted) if total else ()


class Retry(NamedTuple):
    """Run it again after `delay_ms`; `attempts` is how many are counted by then."""

    id: bytes
    queue: str
    attempts: int
    delay_ms: int

    def words(self, place: Callable[[str], int]) -> Sequence[Argument]:
        return (
            "again",
            place(self.queue),
            self.id,
            f"{min(self.attempts, 999):03d}",
            self.delay_ms,
        )


class DeadLetter(NamedTuple):
    """Make it a dead letter; `reason` is one line of JSON."""

    id: bytes
    reason: bytes

    def words(self, place: Callable[[str], int]) -> Sequence[Argument]:
        return ("bury", self.id, self.reason)


class Discard(NamedTuple):
    """Leave no trace of it: a broadcast that this worker cannot read."""

    id: bytes

    def words(self, place: Callable[[str], int]) -> Sequence[Argument]:
        return ("drop", self.id)


class Release(NamedTuple):
    """Hand it back uncounted, to the head of its queue."""

    id: bytes
    queue: str

    def words(self, place: Callable[[str], int]) -> Sequence[Argument]:
        return ("back", place(self.queue), self.id)


Settlement = Ack | Retry | DeadLetter | Discard | Release
