"""A message that a child holds, and what it shares with others of its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol, final

import msgspec

from typedq.broker.parking import Parked
from typedq.broker.settlements import Settlement
from typedq.contracts import Arguments
from typedq.invoke import Limits, Shield, make_context
from typedq.message import (
    ID,
    KIND_AT,
    META,
    NEW,
    Envelope,
    decode_message,
    id_of,
    kind_of,
    must_run_alone,
    payload_at,
    wrong_digits,
)
from typedq.policy import Context
from typedq.task import Task

NO_ARGUMENTS: Arguments = ((), {})
Decode = Callable[[bytes], Arguments]
UNSEEN_S = 0.020  # assumed for a kind that never ran, so that it is fetched in small batches
_MAX_KINDS = 1_000  # time limits given with a call make a kind of their own


@final
class MessageKind:
    """What is equal in messages that differ only in id, due time, counts, metadata and payload.

    text: part of the header, from the contract to the metadata or the space before the payload
    body_at, meta_at: offset of the payload, or of metadata before it; the other is 0
    options: without metadata
    place: index of the queue among those of the child; 0 unless it `is_ours`
    counted: the contract under which they count as waiting; b"" for a broadcast, which does not
    typical: how long they run (s), as far as known
    decode: None until the contract is readable; `resolve` sets it with task, limits and the flags
    """

    __slots__ = (
        "body_at", "counted", "decode", "is_async", "is_ours", "limits", "meta_at", "options",
        "place", "queue", "runs_code", "task", "text", "typical",
    )  # fmt: skip

    task: Task[..., Any]
    limits: Limits
    runs_code: bool
    is_async: bool

    def __init__(self, text: bytes, queues: Sequence[str]) -> None:
        contract, queue, options = text.split(b" ")[:3]
        self.text, end, has_meta = text, KIND_AT + len(text), text.endswith(META)
        self.body_at, self.meta_at = (0, end) if has_meta else (end, 0)
        self.options = options + b"}}" if has_meta else options
        self.queue = queue.decode(errors="replace")
        self.is_ours = self.queue in queues
        self.place = queues.index(self.queue) if self.is_ours else 0
        self.counted = b"" if queue.startswith(b"_") else contract
        self.typical = UNSEEN_S
        self.decode: Decode | None = None

    def resolve(
        self, task: Task[..., Any], decode: Decode, runs_code: bool, limits: Limits
    ) -> None:
        """Set how messages of this kind are read and run."""
        self.task, self.runs_code, self.limits = task, runs_code, limits
        self.is_async = task.contract.is_async
        self.decode = decode

    def payload_at(self, message: bytes) -> int:
        """Return the offset of the payload; 0 if its metadata makes the message another kind."""
        return self.body_at or payload_at(message, self.meta_at)


class Cancellable(Protocol):
    """The timer of a coroutine: cancels it."""

    def cancel(self) -> None: ...


# Structs, because classes of Python's own take four times as long to make.
class Delivery(msgspec.Struct, eq=False, gc=False):
    """The in-flight record of a message; `Session` owns it, the journal's row `slot` persists it.

    body_at: offset of the payload, or of the expiry time before it
    alone: it must run alone in its child, because it crashed or was lost twice
    arguments: set from when it is decoded until it has run
    started: an attempt was claimed in the journal
    took: how long the attempt ran (s), once it has ended
    settlement: set when it has ended; None acknowledges it
    timer: what cancels it, once it runs on the event loop
    until: when it expires (monotonic): it must start before
    """

    message: bytes
    slot: int
    kind: MessageKind
    body_at: int
    alone: bool = False
    arguments: Arguments = NO_ARGUMENTS
    started: bool = False
    took: float = -1.0
    settlement: Settlement | Parked | None = None
    timer: Cancellable | None = None
    until: float = inf

    def __repr__(self) -> str:
        # A repr ends up in logs, and arguments may be secret.
        return f"<Delivery {self.id!r}, {len(self.message)} bytes>"

    @property
    def id(self) -> bytes:
        """Return the id in its header."""
        return self.message[ID]

    @property
    def envelope(self) -> Envelope:
        """Return all fields of its header. Raises BadMessage."""
        return decode_message(self.message)

    def context(self, shield: Shield) -> Context:
        """Return what the task may know of its message."""
        return make_context(self.envelope, self.kind.task, self.kind.limits, shield)

    def labels(self) -> dict[str, str]:
        """Return what log records say of it while it runs."""
        return {"task": self.kind.task.name, "id": self.id.decode()}


class Batch(msgspec.Struct, frozen=True):
    """Records of messages that were fetched together, their ids, and the indexes of their queues.

    kinds: the kind of each message, or one kind if all have the same
    all_new: none was delayed, and none ran before
    all_good: all name a queue of this child, and have hexadecimal ids
    """

    deliveries: list[Delivery]
    ids: list[bytes]
    places: bytes
    kinds: list[MessageKind]
    all_new: bool
    all_good: bool


@final
class MessageKinds:
    """The kinds of messages that a child of these queues has met."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues, self._known = queues, dict[bytes, MessageKind]()
        self._last = MessageKind(b"@ - ", queues)

    def of(self, message: bytes) -> MessageKind:
        """Return the kind of a message. Raises BadMessage."""
        text = kind_of(message)
        if kind := self._known.get(text):
            return kind
        if len(self._known) >= _MAX_KINDS:
            self._known.clear()
        return self._known.setdefault(text, MessageKind(text, self._queues))

    def deliveries(self, messages: Sequence[bytes], slots: Sequence[int]) -> Batch:
        """Make the records of messages that were fetched. Raises BadMessage."""
        kind, all_new = self._last, True
        kinds, made = [kind], list[Delivery]()
        for message, slot in zip(messages, slots, strict=True):
            fits = message.startswith(kind.text, KIND_AT)
            body_at = fits and (kind.body_at or kind.payload_at(message))
            if not body_at:
                kind = self.of(message)
                kinds.append(kind)
                body_at = kind.payload_at(message)
            alone = False
            if not message.startswith(NEW, 1):
                alone, all_new = must_run_alone(message), False
            made.append(Delivery(message, slot, kind, body_at, alone))
        self._last = kind
        ids = list(map(id_of, messages))
        if len(kinds) == 1:
            places, all_good = bytes((kind.place,)) * len(made), kind.is_ours
        else:
            kinds = [each.kind for each in made]
            places, all_good = bytes([k.place for k in kinds]), all(k.is_ours for k in kinds)
        all_good = all_good and not wrong_digits(b"".join(ids))
        return Batch(made, ids, places, kinds, all_new, all_good)
