"""A message that a child holds, what it has in common with others, and how many to hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import msgspec

from typedq.attempt import Limits
from typedq.broker.parking import Parked
from typedq.broker.settlements import Settlement
from typedq.message import KIND_AT, Envelope, decode_message, kind_of
from typedq.task import Task

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Decode = Callable[[bytes], Arguments]
UNSEEN_S = 0.020
MAX_PREFETCHED = 128
BATCH_S = 0.020  # a batch holds about this much work, so that a high priority waits no longer
BATCH_BYTES = 1 << 20  # about: a server pays more for one large reply than for its parts
_MAX_KINDS = 1_000  # limits given with a call make a kind of their own


@final
class MessageKind:
    """What messages have in common that differ only in id, due time, counts and payload.

    text: in their headers, from the contract to the space before the payload
    place: of their queue among those of the child, or None
    counted: the contract under which they count as waiting; b"" for a broadcast, which does not
    typical: how long they run (s), as far as known
    decode: None until the contract is known to be readable; then all after it are set, too
    is_plain: a function of its arguments alone, without a soft timeout
    """

    __slots__ = (
        "body_at", "counted", "decode", "is_async", "is_plain", "limits", "place", "queue", "task",
        "text", "typical", "upcasts",
    )  # fmt: skip

    task: Task[..., Any]
    limits: Limits
    upcasts: bool
    is_async: bool
    is_plain: bool

    def __init__(self, text: bytes, queues: Sequence[str]) -> None:
        contract, queue = text.split(b" ")[:2]
        self.text, self.body_at = text, KIND_AT + len(text)
        self.queue = queue.decode(errors="replace")
        self.place = queues.index(self.queue) if self.queue in queues else None
        self.counted = b"" if queue.startswith(b"_") else contract
        self.typical = UNSEEN_S
        self.decode: Decode | None = None

    def resolve(
        self,
        task: Task[..., Any],
        decode: Decode,
        upcasts: bool,
        limits: Limits,
    ) -> None:
        """Set how messages of this kind are read and run."""
        contract = task.contract
        self.task, self.upcasts, self.limits = task, upcasts, limits
        self.is_async = contract.is_async
        self.is_plain = not contract.takes_context and limits.soft is None
        self.decode = decode


@final
class MessageKinds:
    """The kinds of messages that a child of these queues has met."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues, self._known = queues, dict[bytes, MessageKind]()

    def of(self, message: bytes) -> MessageKind:
        """Return the kind of a message. Raises BadMessage."""
        text = kind_of(message)
        if kind := self._known.get(text):
            return kind
        if len(self._known) >= _MAX_KINDS:
            self._known.clear()
        return self._known.setdefault(text, MessageKind(text, self._queues))


# Structs, because classes of Python's own take four times as long to make.
class Delivery(msgspec.Struct, eq=False, gc=False):
    """The in-flight record of a message; `Session` owns it, the journal's row `slot` persists it.

    alone: it must run without neighbours, because it crashed or was lost twice
    args, kwargs: set when it is decoded
    settlement: set when it has ended; None acknowledges it
    """

    message: bytes
    slot: int
    kind: MessageKind
    id: bytes
    alone: bool = False
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    settlement: Settlement | Parked | None = None

    @property
    def envelope(self) -> Envelope:
        """Return all fields of its header. Raises BadMessage."""
        return decode_message(self.message)

    def labels(self) -> dict[str, str]:
        """Return what log records say of it while it runs."""
        return {"task": self.kind.task.name, "id": self.id.decode()}


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How an attempt ended: `settlement` is None for success, `ran` False if it never started."""

    job: Delivery
    settlement: Settlement | None = None
    ran: bool = True


@final
class Prefetch:
    """How long tasks typically take (s), and so how many messages a child fetches at once."""

    def __init__(self, max_messages: int) -> None:
        self._max, self._typical = max_messages, BATCH_S

    def ran(self, kind: MessageKind, took: float) -> None:
        """Learn from a sync task that took this long: rise at once, fall slowly."""
        typical = kind.typical
        kind.typical = took if typical == UNSEEN_S else 0.8 * typical + 0.2 * took
        self._typical = took if took > self._typical else 0.8 * self._typical + 0.2 * took

    def handed_over(self) -> None:
        """Learn from a coroutine, which does not hold the batch up."""
        self._typical *= 0.8

    def batch(self, bytes_each: int = 1) -> int:
        """Return how many messages make about 20 ms of work, and no more than about 1 MiB."""
        by_time, by_size = int(BATCH_S / max(self._typical, 1e-6)), 1 + BATCH_BYTES // bytes_each
        return max(1, min(self._max, by_time, by_size))
