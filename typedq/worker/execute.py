"""One message: opened, checked against its contract, run. The hot path; every line here counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, final

from typedq.app import TypedQ
from typedq.broker.moves import Bury, Settlement
from typedq.envelope import Envelope, unseal
from typedq.errors import BadMessage, InvalidBody
from typedq.policy import Context
from typedq.task import Task
from typedq.worker import settle
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


def opener(app: TypedQ) -> Callable[[Delivery], Job | Bury]:
    """Return a function that makes a job of a message, or says why it must be buried."""
    by_contract = {task.contract.id.encode(): task for task in app.tasks.values()}
    by_name = app.tasks

    def open_message(delivery: Delivery) -> Job | Bury:
        try:
            envelope = unseal(delivery.message)
        except BadMessage as error:
            return settle.unreadable(delivery.message, error.reason)
        task = by_contract.get(envelope.contract)
        if task is None:
            task = by_name.get(envelope.task)
            if task is None:
                return settle.unknown_task(envelope)
        try:
            args, kwargs = task.contract.decode(envelope.body)
        except InvalidBody as error:
            return settle.invalid_body(envelope, error, task.contract.id)
        return Job(delivery, envelope, task, args, kwargs)

    return open_message


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
