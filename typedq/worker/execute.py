"""One message: opened, checked against its contract, run. The hot path; every line here counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import msgspec

from typedq import attempt
from typedq.attempt import Limits, Rules, Shield
from typedq.broker.moves import Back, Settlement
from typedq.broker.parking import Parked
from typedq.envelope import VERSION, Envelope, unseal
from typedq.errors import BadMessage, InvalidBody, ServerError
from typedq.policy import Context
from typedq.task import Task
from typedq.worker import settle
from typedq.worker.journal import Journal, State
from typedq.worker.reading import Arguments, Reading, Readings
from typedq.worker.session import Delivery


@final
@dataclass(slots=True, eq=False)
class Job:
    """A message ready to run."""

    delivery: Delivery
    envelope: Envelope
    task: Task[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    limits: Limits

    @property
    def slot(self) -> int:
        """Where it stands in the journal."""
        return self.delivery.slot

    def arguments(self, shield: Shield) -> tuple[Any, ...]:
        """The positional arguments, with the context first if the task takes it."""
        if self.task.contract.takes_context:
            return (self.context(shield), *self.args)
        return self.args

    def labels(self) -> dict[str, str]:
        """What log records say of it."""
        return {"task": self.task.name, "id": self.envelope.id.decode()}

    def context(self, shield: Shield) -> Context:
        """What the task may know of its message."""
        return attempt.context(self.envelope, self.task, self.limits, shield)

    def failed(self, error: BaseException) -> Settlement:
        """What becomes of the message after `error`."""
        trace = error.__traceback__
        while trace and trace.tb_frame.f_globals.get("__package__") == __package__:
            trace = trace.tb_next  # what called the task tells its author nothing
        error.__traceback__ = trace or error.__traceback__
        return settle.after_failure(self.envelope, self.task, error)


def open_message(
    delivery: Delivery, readings: Readings, rules: Rules, journal: Journal
) -> Job | Settlement | Parked:
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
        limits = rules.of(envelope, reading.task)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return settle.bad_message(delivery.message, f"its options: {error}")
    try:
        if not reading.upcasts:
            args, kwargs = reading.decode(envelope.body)
        elif journal.claim(delivery.slot, limits.hard):
            args, kwargs = _upcast(reading, envelope.body, delivery.slot, journal)
        else:
            return Back(delivery.id, delivery.queue.decode())
    except InvalidBody as error:
        return settle.invalid_body(envelope, error, reading.task.contract.id)
    return Job(delivery, envelope, reading.task, args, kwargs, limits)


def _upcast(reading: Reading, body: bytes, slot: int, journal: Journal) -> Arguments:
    """As claimed: an upcaster that hangs or ends the process counts like a task that does."""
    try:
        return reading.decode(body)
    finally:
        journal.put(slot, State.HELD)
