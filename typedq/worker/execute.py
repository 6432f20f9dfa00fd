"""From a message to the call of its task: opened, checked against its contract, limited."""

from __future__ import annotations

import time
from typing import Any, final

import msgspec

from typedq import attempt
from typedq.app import TypedQ
from typedq.attempt import Rules, Shield
from typedq.broker import settlements
from typedq.broker.parking import Parked
from typedq.errors import BadMessage, InvalidBody, ServerError
from typedq.message import VERSION
from typedq.policy import Context
from typedq.worker import settle
from typedq.worker.delivery import Decode, Delivery
from typedq.worker.journal import Journal, State
from typedq.worker.readers import ContractReaders


@final
class MessageDecoder:
    """Sets the arguments of jobs, or says what else must become of them."""

    def __init__(self, app: TypedQ, readings: ContractReaders, journal: Journal) -> None:
        self._readings, self._rules, self._journal = readings, Rules(app.settings), journal

    def open(self, job: Delivery) -> settlements.Settlement | Parked | None:
        """None if the job may run; what was learned of its kind is not looked up again."""
        kind = job.kind
        decode = kind.decode
        if decode is None or job.message[0] != VERSION[0]:
            return self._learn(job) or self.open(job)
        try:
            if not kind.upcasts:
                job.args, job.kwargs = decode(job.message[kind.body_at :])
            elif self._journal.claim(job.slot, time.monotonic(), kind.limits.hard):
                self._upcast(job, decode)
            else:
                return settlements.Release(job.id, kind.queue)
        except InvalidBody as error:
            return settle.invalid_body(job.envelope, error, kind.task.contract.id)
        return None

    def _learn(self, job: Delivery) -> settlements.Settlement | Parked | None:
        kind = job.kind
        try:
            envelope = job.envelope
            reading = self._readings.of(envelope.contract)
        except BadMessage as error:
            return settle.bad_message(job.message, error.reason)
        except ServerError:
            return settlements.Release(job.id, kind.queue)
        if reading is None or envelope.version != VERSION:
            return settle.unreadable(envelope)
        try:
            limits = self._rules.of(envelope, reading.task)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return settle.bad_message(job.message, f"its options: {error}")
        kind.learn(*reading, limits)
        return None

    def _upcast(self, job: Delivery, decode: Decode) -> None:
        """As claimed: an upcaster that hangs or ends the process counts like a task that does."""
        try:
            job.args, job.kwargs = decode(job.message[job.kind.body_at :])
        finally:
            self._journal.put(job.slot, State.HELD)


def context(job: Delivery, shield: Shield) -> Context:
    """What the task may know of its message."""
    return attempt.context(job.envelope, job.kind.task, job.kind.limits, shield)


def arguments(job: Delivery, shield: Shield) -> tuple[Any, ...]:
    """The positional arguments, with the context first if the task takes it."""
    if job.kind.task.contract.takes_context:
        return (context(job, shield), *job.args)
    return job.args


def failed(job: Delivery, error: BaseException) -> settlements.Settlement:
    """What becomes of a message after `error`."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_globals.get("__package__") == __package__:
        trace = trace.tb_next  # what called the task tells its author nothing
    error.__traceback__ = trace or error.__traceback__
    return settle.after_failure(job.envelope, job.kind.task, error)
