"""Decide what becomes of a message: here and nowhere else, however its attempt ended."""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from random import random  # by its own name, because a task may patch the module
from typing import Any

from typedq.broker import settlements
from typedq.broker.parking import MAX_GROUPS, Group, Parked
from typedq.errors import InvalidBody, RetryIn
from typedq.failure import is_cancellation, next_retry_delay, read_failure, rejection, type_name
from typedq.message import ID, Envelope
from typedq.process import end_if_copy
from typedq.reasons import is_rejection, reason
from typedq.task import Task
from typedq.telemetry import event
from typedq.worker.delivery import Delivery

# How attempts end that raised: their tasks may have broken the process.
FAILURES = (settlements.DeadLetter, settlements.Retry, settlements.Cancel)
LOG_AGAIN_S = 60.0
_logged_until: dict[str, float] = {}  # contract -> when its parked messages are logged again
_CONTRACT = re.compile(rb"[a-z0-9][a-z0-9_.-]{0,63}@[0-9a-f]{1,64}")


def bad_message(message: bytes, why: str) -> settlements.DeadLetter:
    """Dead-letter a message whose header is malformed."""
    return settlements.DeadLetter(message[ID], reason("bad_message", why))


def unreadable(envelope: Envelope) -> Parked | settlements.Discard | settlements.DeadLetter:
    """Park a message that another worker may be able to read: as it is, uncounted."""
    if not _CONTRACT.fullmatch(envelope.contract):  # it would be part of the key of the group
        why = reason("bad_message", "its contract id is malformed")
        return settlements.DeadLetter(envelope.id, why)
    contract = envelope.needs.decode()
    id = envelope.id.decode()
    if envelope.is_broadcast:  # each worker has its own copy, which no other worker fetches
        what = "broadcast dropped: this worker cannot read its contract"
        event(logging.ERROR, what, contract=contract, id=id)
        return settlements.Discard(envelope.id)
    now = time.monotonic()
    was_logged = now < _logged_until.get(contract, 0.0)  # a deploy parks many: one line is enough
    if not was_logged:
        if len(_logged_until) > MAX_GROUPS:
            _logged_until.clear()
        _logged_until[contract] = now + LOG_AGAIN_S
    level = logging.DEBUG if was_logged else logging.WARNING
    what = "message parked: this worker cannot read its contract"
    event(level, what, contract=contract, id=id)
    return Parked(Group(envelope.queue.decode(), contract), envelope.id)


def expire(delivery: Delivery) -> settlements.Expire:
    """Drop a message that expired before its attempt started. Never raises."""
    envelope = delivery.envelope
    about = {"task": envelope.task, "id": envelope.id.decode(), "attempt": envelope.runs + 1}
    _log(logging.INFO, "message expired; dropped", **about)
    return settlements.Expire(delivery.id)


def invalid_body(envelope: Envelope, error: InvalidBody, reader: str) -> settlements.DeadLetter:
    """Dead-letter a body that the contract id `reader` refuses. A retry would not change it."""
    contract, id = envelope.contract.decode(), envelope.id.decode()
    what = "message dead-lettered: invalid body"
    event(logging.ERROR, what, contract=contract, id=id, path=error.path)
    why = reason("invalid_body", str(error), path=error.path, contract=contract, known=reader)
    return settlements.DeadLetter(envelope.id, why)


def outcome_of(settlement: settlements.Settlement | Parked | None) -> str | None:
    """Return what metrics call the end of an attempt; None if it counts as none."""
    match settlement:
        case None:
            return "done"
        case settlements.Retry():
            return "retried"
        case settlements.Cancel():
            return "cancelled"
        case settlements.Expire():
            return "expired"
        case Parked():
            return "parked"
        case settlements.DeadLetter(_, why):
            return "rejected" if is_rejection(why) else "failed"
        case _:
            return None


def failed(delivery: Delivery, error: BaseException) -> settlements.Settlement:
    """Retry or dead-letter a message after its task raised `error`. Never raises."""
    end_if_copy(error)
    try:
        settlement = _after_failure(delivery.envelope, delivery.kind.task, error)
    except BaseException as fault:  # noqa: BLE001 - a message is settled whatever happened
        end_if_copy(fault)
        text = f"{type_name(error)}: it cannot be shown ({type_name(fault)})"
        settlement = settlements.DeadLetter(delivery.id, reason("failed", text))
    # One object may be raised each time: it would keep the frames, and so the arguments, of all.
    BaseException.with_traceback(error, None)
    end_if_copy()  # the text of the error forked, or a handler of the app that logged it
    return settlement


def _after_failure(
    envelope: Envelope, task: Task[..., Any], error: BaseException
) -> settlements.Settlement:
    id, queue, attempts = envelope.id, envelope.queue.decode(), envelope.attempt + 1
    about: dict[str, Any] = {"task": task.name, "id": id.decode(), "attempt": attempts}
    if is_cancellation(error):
        _log(logging.INFO, "task cancelled", **about)
        return settlements.Cancel(id)
    delay = next_retry_delay(task, error, attempts, random())
    if delay is not None and issubclass(type(error), RetryIn):
        return settlements.Retry(id, queue, attempts, round(delay * 1000))
    if (rejected := rejection(error)) is not None:
        _log(logging.WARNING, "task rejected its message", reason=rejected, **about)
        return settlements.DeadLetter(id, reason("rejected", rejected, attempts=attempts))
    failure = read_failure(error)
    if failure.error is None:  # then no formatter could show it
        about["traceback"] = failure.traceback
    if delay is not None:
        what = "task failed, will retry"
        _log(logging.WARNING, what, error=failure.error, **about, retry_in_s=delay)
        return settlements.Retry(id, queue, attempts, round(delay * 1000))
    _log(logging.ERROR, "task failed", error=failure.error, **about)
    return settlements.DeadLetter(
        id, reason("failed", failure.text, attempts=attempts, traceback=failure.traceback)
    )


def _log(level: int, message: str, **fields: Any) -> None:
    """Log an event. If a filter or handler of the app raises, the message is still settled."""
    with suppress(BaseException):
        event(level, message, **fields)
