"""A message that a child holds; what it shares with others of its kind is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

from typedq.attempt import Limits
from typedq.envelope import KIND_AT, Envelope, kind_of, unseal
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
        self.decode = decode


@final
class Kinds:
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


@final
class Job:
    """A message and its slot in the journal; `args` and `kwargs` are set when it is opened."""

    __slots__ = ("args", "id", "kind", "kwargs", "message", "slot")

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(self, message: bytes, slot: int, kind: Kind) -> None:
        self.message, self.slot, self.kind = message, slot, kind
        self.id = message[25:51]

    @property
    def envelope(self) -> Envelope:
        """All fields of its header. Raises `BadMessage`."""
        return unseal(self.message)

    def labels(self) -> dict[str, str]:
        """What log records say of it while it runs."""
        return {"task": self.kind.task.name, "id": self.id.decode()}
