"""A message that a child holds; what it shares with others of its kind is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import msgspec

from typedq.attempt import Limits
from typedq.broker import settlements
from typedq.message import KIND_AT, Envelope, decode_message, kind_of
from typedq.task import Task

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Decode = Callable[[bytes], Arguments]
UNSEEN_S = 0.020
_MOST_KINDS = 1_000  # limits given with a call make a kind of their own


@final
class Kind:
    """What messages have in common that differ only in id, due time, attempts and payload.

    text: in their headers, from the contract to the space before the payload
    place: of their queue among those of the child, or None
    counted: the contract as it counts as waiting; b"" for a broadcast, which does not
    typical: how long they run (s), as far as known
    decode: None until the contract is known to be readable; then all after it are set, too
    is_plain: a function of its arguments alone, without a soft timeout
    direct: of a plain one, what makes its only argument of a payload, or None; direct_to: for
        messages of at most so many bytes
    """

    __slots__ = (
        "body_at", "counted", "decode", "direct", "direct_to", "is_async", "is_plain", "limits",
        "place", "queue", "task", "text", "typical", "upcasts",
    )  # fmt: skip

    task: Task[..., Any]
    limits: Limits
    upcasts: bool
    is_async: bool
    is_plain: bool
    direct: Callable[[bytes], Any] | None
    direct_to: int

    def __init__(self, text: bytes, queues: Sequence[str]) -> None:
        contract, queue = text.split(b" ")[:2]
        self.text, self.body_at = text, KIND_AT + len(text)
        self.queue = queue.decode(errors="replace")
        self.place = queues.index(self.queue) if self.queue in queues else None
        self.counted = b"" if queue.startswith(b"_") else contract
        self.typical = UNSEEN_S
        self.decode: Decode | None = None

    def learn(
        self,
        task: Task[..., Any],
        decode: Decode,
        upcasts: bool,
        limits: Limits,
    ) -> None:
        """Its contract can be read, and so."""
        contract = task.contract
        self.task, self.upcasts, self.limits = task, upcasts, limits
        self.is_async = contract.is_async
        self.is_plain = not contract.takes_context and limits.soft is None
        direct = contract.direct if self.is_plain and not upcasts else None
        self.direct, size = direct or (None, 0)
        self.direct_to = self.body_at + size
        self.decode = decode


@final
class MessageKinds:
    """Every kind of message that a child of these queues has met."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues, self._known = queues, dict[bytes, Kind]()

    def of(self, message: bytes) -> Kind:
        """Raises `BadMessage`."""
        text = kind_of(message)
        if kind := self._known.get(text):
            return kind
        if len(self._known) >= _MOST_KINDS:
            self._known.clear()
        return self._known.setdefault(text, Kind(text, self._queues))


# A Struct, because a class of Python's own takes four times as long to make.
class Delivery(msgspec.Struct, eq=False, gc=False):
    """A message and its slot in the journal; `args` and `kwargs` are set when it is opened.

    alone: it was lost before, and so must run without neighbours; or it is of a later format
    """

    message: bytes
    slot: int
    kind: Kind
    id: bytes
    alone: bool = False
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}

    @property
    def envelope(self) -> Envelope:
        """All fields of its header. Raises `BadMessage`."""
        return decode_message(self.message)

    def labels(self) -> dict[str, str]:
        """What log records say of it while it runs."""
        return {"task": self.kind.task.name, "id": self.id.decode()}


class Outcome(NamedTuple):
    """A job that is over; `settlement` is None if it ended well, `ran` False if it never began."""

    job: Delivery
    settlement: settlements.Settlement | None = None
    ran: bool = True
