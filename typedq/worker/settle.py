"""However an attempt ended, this is the one place that decides what becomes of its message."""

from __future__ import annotations

import logging
import random
import re
import time
import traceback
from typing import Any

import msgspec

from typedq.attempt import again
from typedq.broker import settlements
from typedq.broker.parking import MOST_GROUPS, Group, Parked
from typedq.errors import InvalidBody, Reject, RetryIn
from typedq.message import VERSION, Envelope
from typedq.task import Task
from typedq.telemetry import event

TELL_AGAIN_S = 60.0
_told: dict[str, float] = {}  # contract -> until when what is parked of it is no news
_CONTRACT = re.compile(rb"[a-z0-9][a-z0-9_.-]{0,63}@[0-9a-f]{1,64}")
_LONGEST_TRACE = 8_000  # characters: the end of a traceback says what happened
_to_json = msgspec.json.Encoder().encode


def reason(kind: str, error: str, **more: object) -> bytes:
    """The line of JSON that a dead letter carries."""
    told = {"kind": kind, "error": error, **more}
    for name, it in told.items():  # half a surrogate pair, as in a file name, fits into no JSON
        told[name] = it.encode(errors="backslashreplace").decode() if isinstance(it, str) else it
    return _to_json(told)


def bad_message(message: bytes, why: str) -> settlements.DeadLetter:
    """A message whose header makes no sense."""
    return settlements.DeadLetter(message[25:51], reason("bad_message", why))


def unreadable(envelope: Envelope) -> Parked | settlements.Discard | settlements.DeadLetter:
    """A message that another worker may be able to read: kept as it is, uncounted."""
    if not _CONTRACT.fullmatch(envelope.contract):  # no key is named after it
        return settlements.DeadLetter(
            envelope.id, reason("bad_message", "no contract has the name that it gives")
        )
    contract = envelope.contract.decode()
    if envelope.version != VERSION:
        contract += f"#{envelope.version.decode()}"
    if envelope.is_broadcast:  # every worker has one, so there is no other to keep it for
        event(
            logging.ERROR,
            "broadcast dropped: this worker cannot read its contract",
            contract=contract,
            id=envelope.id.decode(),
        )
        return settlements.Discard(envelope.id)
    now = time.monotonic()
    known = now < _told.get(contract, 0.0)  # a deploy parks many: one line for all is enough
    if not known:
        if len(_told) > MOST_GROUPS:
            _told.clear()
        _told[contract] = now + TELL_AGAIN_S
    event(
        logging.DEBUG if known else logging.WARNING,
        "message parked: this worker cannot read its contract",
        contract=contract,
        id=envelope.id.decode(),
    )
    return Parked(Group(envelope.queue.decode(), contract), envelope.id)


def invalid_body(envelope: Envelope, error: InvalidBody, known: str) -> settlements.DeadLetter:
    """A body that the contract refuses: never retried, since it never changes."""
    contract, id = envelope.contract.decode(), envelope.id.decode()
    event(logging.ERROR, "message buried: invalid body", contract=contract, id=id, path=error.path)
    why = reason("invalid_body", str(error), path=error.path, contract=contract, known=known)
    return settlements.DeadLetter(envelope.id, why)


def after_failure(
    envelope: Envelope, task: Task[..., object], error: BaseException
) -> settlements.Settlement:
    """Retry or bury, after the task raised `error`."""
    queue, attempts = envelope.queue.decode(), envelope.attempt + 1
    if isinstance(error, RetryIn):
        return settlements.Retry(envelope.id, queue, attempts, round(error.seconds * 1000))
    about: dict[str, Any] = {"task": task.name, "id": envelope.id.decode(), "attempt": attempts}
    if isinstance(error, Reject):
        event(logging.WARNING, "task rejected its message", reason=error.reason, **about)
        return settlements.DeadLetter(
            envelope.id, reason("rejected", error.reason, attempts=attempts)
        )
    delay = again(task, error, attempts, random.random())
    if delay is not None:
        event(logging.WARNING, "task failed, will retry", error=error, **about, again_in_s=delay)
        return settlements.Retry(envelope.id, queue, attempts, round(delay * 1000))
    event(logging.ERROR, "task failed", error=error, **about)
    trace = "".join(traceback.format_exception(error))[-_LONGEST_TRACE:]
    what = "".join(traceback.format_exception_only(error)).strip()[-_LONGEST_TRACE:]
    return settlements.DeadLetter(
        envelope.id, reason("failed", what, attempts=attempts, traceback=trace)
    )
