"""One message: opened, checked against its contract, run. The hot path; every line here counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, final

from typedq.broker.moves import Back, Settlement
from typedq.broker.parking import Parked
from typedq.envelope import VERSION, Envelope, unseal
from typedq.errors import BadMessage, InvalidBody, ServerError
from typedq.policy import Context
from typedq.task import Task
from typedq.worker import settle
from typedq.worker.reading import Readings
from typedq.worker.session import Delivery


@final
class Job:
    """A message ready to run."""

    __slots__ = ("args", "delivery", "envelope", "kwargs", "slot", "task")

    def __init__(
        self,
        delivery: Delivery,
        envelope: Envelope,
        task: Task[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.delivery, self.slot = delivery, delivery.slot
        self.envelope, self.task = envelope, task
        self.args, self.kwargs = args, kwargs

    def start(self, fence: str) -> Any:
        """Call the task's function; a coroutine function answers its coroutine."""
        if self.task.contract.takes_context:
            return self.task.fn(self._context(fence), *self.args, **self.kwargs)
        return self.task.fn(*self.args, **self.kwargs)

    def _context(self, fence: str) -> Context:
        envelope = self.envelope
        return Context(
            id=envelope.id.decode(),
            task=self.task.name,
            queue=envelope.queue.decode(),
            attempt=envelope.attempt + 1,
            enqueued_at=_instant(envelope.enqueued_ms),
            due=_instant(envelope.due_ms or envelope.enqueued_ms),
            deadline=None,
            fence=f"{fence}:{envelope.id.decode()}",
        )

    def failed(self, error: BaseException) -> Settlement:
        """What becomes of the message after `error`."""
        trace = error.__traceback__
        while trace and trace.tb_frame.f_globals.get("__package__") == __package__:
            trace = trace.tb_next  # what called the task tells its author nothing
        error.__traceback__ = trace or error.__traceback__
        return settle.after_failure(self.envelope, self.task, error)


def open_message(delivery: Delivery, readings: Readings) -> Job | Settlement | Parked:
    """Make a job of a message, or say what else must become of it."""
    try:
        envelope = unseal(delivery.message)
        reading = readings.of(envelope.contract)
    except BadMessage as error:
        return settle.bad_message(delivery.message, error.reason)
    except ServerError:
        return Back(delivery.id, delivery.queue.decode())
    if reading is None or envelope.version != VERSION:
        return settle.unreadable(envelope)
    try:
        args, kwargs = reading.decode(envelope.body)
    except InvalidBody as error:
        return settle.invalid_body(envelope, error, reading.task.contract.id)
    return Job(delivery, envelope, reading.task, args, kwargs)


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
