"""The context that a task receives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

from typedq.policy.meta import NO_META, Meta

_HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Context:
    """Passed to a task whose first parameter is annotated `Context`; not part of the contract.

    id: the message's id, the same in every attempt
    task, queue: names
    attempt: 1 for the first; each failure, RetryIn, crash or lost worker adds 1
    enqueued_at, due: aware datetimes in UTC
    deadline: when the hard timeout ends this attempt, or None
    fence: id and attempt as text that sorts in their order; external systems can use it to refuse
        an attempt that was superseded
    meta: the metadata that the message was enqueued with; read-only, the same in every attempt
    """

    id: str
    task: str
    queue: str
    attempt: int
    enqueued_at: datetime
    due: datetime
    deadline: datetime | None
    fence: str
    meta: Meta = field(default_factory=lambda: NO_META)
    _will_retry: Callable[[BaseException], bool] = field(
        default=lambda _: False, repr=False, compare=False
    )
    _shield: Callable[[], AbstractContextManager[None]] = field(
        default=nullcontext, repr=False, compare=False
    )

    _arguments: Callable[[], str] = field(default=lambda: _HIDDEN, repr=False, compare=False)

    def shield(self) -> AbstractContextManager[None]:
        """Delay soft timeout and cancellation until the end of the block: `with ctx.shield():`."""
        return self._shield()

    def will_retry(self, error: BaseException) -> bool:
        """Return True if the message will run again after the task raised `error`.

        For middleware: an error after which it does not run again makes it a dead letter.
        """
        return self._will_retry(error)

    def masked_arguments(self) -> str:
        """Return the arguments as JSON, with `"***"` in place of what is secret or may be.

        For middleware that logs or reports. It is `***` if the task was called without a message.
        """
        return self._arguments()
