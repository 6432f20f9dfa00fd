"""From a message to the arguments of its task: its contract is looked up, its payload decoded."""

from __future__ import annotations

import contextvars
import time
from typing import final

import msgspec

from typedq.app import TypedQ
from typedq.broker import settlements
from typedq.broker.parking import Parked
from typedq.errors import BadMessage, InvalidBody, ServerError
from typedq.failure import read_failure
from typedq.invoke import LimitRules
from typedq.message import EXPIRY_SIZE, VERSIONS
from typedq.process import end_if_copy
from typedq.worker import settle
from typedq.worker.delivery import Decode, Delivery
from typedq.worker.expiry import ServerClock
from typedq.worker.journal import Journal, State
from typedq.worker.readers import ContractReaders

_PLAIN = VERSIONS[0][0]  # the format of messages that never expire


@final
class MessageDecoder:
    """Sets the arguments of jobs, or decides what else becomes of them."""

    def __init__(
        self, app: TypedQ, readings: ContractReaders, journal: Journal, clock: ServerClock
    ) -> None:
        self._readings, self._journal, self._clock = readings, journal, clock
        self._rules = LimitRules(app.settings)

    def open(self, job: Delivery) -> settlements.Settlement | Parked | None:
        """Return None if the job may run. Each kind of message is looked up once."""
        kind, body_at = job.kind, job.body_at
        decode = kind.decode
        if job.message[0] != _PLAIN:
            if verdict := self._expiry(job):
                return verdict
            body_at += EXPIRY_SIZE
        if decode is None:
            return self._resolve(job) or self.open(job)
        body = job.message[body_at:]
        try:
            if not kind.runs_code:
                job.args, job.kwargs = decode(body)
            elif self._journal.claim(job.slot, time.monotonic(), kind.limits.hard):
                self._decode_claimed(job, decode, body)
            else:
                return settlements.Release(job.id, kind.queue)
        except InvalidBody as error:
            return settle.invalid_body(job.envelope, error, kind.task.contract.id)
        except BaseException as error:  # noqa: BLE001 - validators and upcasters are the app's code
            end_if_copy(error)
            text = f"its arguments cannot be made: {read_failure(error).text}"
            why = InvalidBody("$", kind.task.contract.without_secrets(text, body))
            return settle.invalid_body(job.envelope, why, kind.task.contract.id)
        return None

    def _expiry(self, job: Delivery) -> settlements.Settlement | Parked | None:
        """Note when a message of format 2 expires; return None unless it has."""
        try:
            envelope = job.envelope
            if envelope.version not in VERSIONS:
                return settle.unreadable(envelope)
            job.until = self._clock.monotonic(envelope.expires_ms or 0)
        except BadMessage as error:
            return settle.bad_message(job.message, error.reason)
        except ServerError:
            return settlements.Release(job.id, job.kind.queue)
        return settle.expire(job) if job.until <= time.monotonic() else None

    def _resolve(self, job: Delivery) -> settlements.Settlement | Parked | None:
        kind = job.kind
        try:
            envelope = job.envelope
            reading = self._readings.of(envelope.contract)
        except BadMessage as error:
            return settle.bad_message(job.message, error.reason)
        except ServerError:
            return settlements.Release(job.id, kind.queue)
        if reading is None:
            return settle.unreadable(envelope)
        try:
            limits = self._rules.of(envelope._replace(options=kind.options), reading.task)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return settle.bad_message(job.message, f"its options: {error}")
        kind.resolve(*reading, limits)
        return None

    def _decode_claimed(self, job: Delivery, decode: Decode, body: bytes) -> None:
        """Decode as claimed: code of the app that hangs or ends the process counts like a task."""
        try:
            # In a context of its own: what that code sets is not seen by other tasks.
            job.args, job.kwargs = contextvars.copy_context().run(decode, body)
        finally:
            end_if_copy()
            self._journal.put(job.slot, State.HELD)
