"""From a message to the arguments of its task: find its contract, decode its payload."""

from __future__ import annotations

import contextvars
import time
from typing import final

import msgspec

from typedq.app import TypedQ
from typedq.broker import DedicatedClient, settlements
from typedq.broker.parking import Parked
from typedq.broker.server_checks import clock
from typedq.errors import BadMessage, InvalidBody, ServerError
from typedq.failure import read_failure
from typedq.invoke import LimitRules
from typedq.message import EXPIRY_SIZE, VERSIONS
from typedq.process import end_if_copy
from typedq.worker import settle
from typedq.worker.delivery import Decode, Delivery
from typedq.worker.journal import Journal, State
from typedq.worker.readers import ContractReaders

CLOCK_TTL_S = 30.0
_PLAIN = VERSIONS[0][0]  # the format of messages that never expire


@final
class ServerClock:
    """The server's clock. It is asked at most every 30 s, and only if messages expire."""

    def __init__(self, client: DedicatedClient) -> None:
        self._client, self._zero_s, self._ask_at = client, 0.0, 0.0

    def monotonic(self, moment_ms: int) -> float:
        """Return a moment of that clock on our monotonic one. Raises ServerError."""
        if (now := time.monotonic()) >= self._ask_at:
            # The time that the reply takes is not subtracted: rather a little early than too late.
            self._zero_s = self._client.call(clock()) - now
            self._ask_at = now + CLOCK_TTL_S
        return moment_ms / 1000 - self._zero_s


@final
class MessageDecoder:
    """Decodes the arguments of deliveries, or decides what else becomes of them."""

    def __init__(
        self, app: TypedQ, readers: ContractReaders, journal: Journal, clock: ServerClock
    ) -> None:
        self._readers, self._journal, self._clock = readers, journal, clock
        self._rules = LimitRules(app.settings)

    def decode(self, delivery: Delivery) -> settlements.Settlement | Parked | None:
        """Set the arguments and return None, or return how the message is settled instead.

        The contract of each kind of message is looked up once.
        """
        kind, body_at = delivery.kind, delivery.body_at
        decode = kind.decode
        if delivery.message[0] != _PLAIN:
            if verdict := self._expiry(delivery):
                return verdict
            body_at += EXPIRY_SIZE
        if decode is None:
            return self._resolve(delivery) or self.decode(delivery)
        body = delivery.message[body_at:]
        try:
            if not kind.runs_code:
                delivery.arguments = decode(body)
            elif self._journal.claim(delivery.slot, time.monotonic(), kind.limits.hard):
                self._decode_claimed(delivery, decode, body)
            else:
                return settlements.Release(delivery.id, kind.queue)
        except InvalidBody as error:
            return settle.invalid_body(delivery.envelope, error, kind.task.contract.id)
        except BaseException as error:  # noqa: BLE001 - validators and upcasters are the app's code
            end_if_copy(error)
            text = f"its arguments cannot be made: {read_failure(error).text}"
            why = InvalidBody("$", kind.task.contract.without_secrets(text, body))
            return settle.invalid_body(delivery.envelope, why, kind.task.contract.id)
        return None

    def _expiry(self, delivery: Delivery) -> settlements.Settlement | Parked | None:
        """Note when a message of format 2 expires; return None unless it has."""
        try:
            envelope = delivery.envelope
            if envelope.version not in VERSIONS:
                return settle.unreadable(envelope)
            delivery.until = self._clock.monotonic(envelope.expires_ms or 0)
        except BadMessage as error:
            return settle.bad_message(delivery.message, error.reason)
        except ServerError:
            return settlements.Release(delivery.id, delivery.kind.queue)
        return settle.expire(delivery) if delivery.until <= time.monotonic() else None

    def _resolve(self, delivery: Delivery) -> settlements.Settlement | Parked | None:
        kind = delivery.kind
        try:
            envelope = delivery.envelope
            reader = self._readers.of(envelope.contract)
        except BadMessage as error:
            return settle.bad_message(delivery.message, error.reason)
        except ServerError:
            return settlements.Release(delivery.id, kind.queue)
        if reader is None:
            return settle.unreadable(envelope)
        try:
            limits = self._rules.of(envelope._replace(options=kind.options), reader.task)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return settle.bad_message(delivery.message, f"its options: {error}")
        kind.resolve(*reader, limits)
        return None

    def _decode_claimed(self, delivery: Delivery, decode: Decode, body: bytes) -> None:
        """Decode as claimed: code of the app that hangs or ends the process counts like a task."""
        try:
            # In a context of its own: what that code sets is not seen by other tasks.
            delivery.arguments = contextvars.copy_context().run(decode, body)
        finally:
            end_if_copy()
            self._journal.set_state(delivery.slot, State.HELD)
