"""Encode and decode messages: a header that the Lua scripts read, and a body that never changes.

    1 c ll aaa ddddddddddddd <id: 26 hex> <contract: task@fingerprint> <queue> <options> <payload>

One space between fields; the payload (JSON) is the rest. Format 2 has 13 digits and a space before
the payload: when the message expires. `docs/protocol.md` specifies each field.
No other Python module knows the layout: fields, their offsets, ids, broadcasts.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable
from operator import itemgetter, methodcaller
from typing import Final, NamedTuple, final

import msgspec

from typedq.errors import BadMessage

# A message that expires has format 2; this typedq reads both, and each worker says so.
FORMAT, EXPIRING = 2, b"2"
VERSIONS = (b"1", EXPIRING)
NO_EXPIRY, EXPIRY_SIZE = b"", 14  # with the space behind it
PROTOCOL: Final = 1  # of the script enqueue: docs/protocol.md
# The queue of a broadcast; each supervisor has its own copy of it, with a suffix. No queue that an
# app declares can begin with "_".
BROADCAST = "_broadcast"
ID: Final = slice(25, 51)  # `message[ID]` is the id, without splitting the message
id_of: Final = itemgetter(ID)
ID_SIZE: Final = 26
META: Final = b'"m":{'  # begins metadata: the last option, an object of texts without inner braces
KIND_AT: Final = 52  # where contract, queue and options begin: before them all widths are fixed
_FIELDS = 10
_HEXADECIMAL: Final = b"0123456789abcdefABCDEF"
NEW: Final = b" 0 00 000 0000000000000 "  # behind the version: never failed, and due at once
# What is left of one id, or of several that are joined, without hexadecimal digits.
wrong_digits: Final[Callable[[bytes], bytes]] = methodcaller("translate", None, _HEXADECIMAL)

_MESSAGE = re.compile(
    rb"[1-9] \d \d\d \d{3} \d{13} [^ ]{26} [a-z\d_.-]+@[0-9a-fA-F]+ [a-z\d_.-]+ [^ ]+ .",
    re.DOTALL,
)
_EXPIRY = re.compile(rb"\d{13} .", re.DOTALL)

# The header has three digits; from 1,000 attempts on, the options hold the number.
_MORE_ATTEMPTS = re.compile(rb'\{"attempts":(\d{4,15})[,}]')


class Envelope(NamedTuple):
    """The fields of one message, as bytes; in the order in which they travel."""

    version: bytes
    crashes: bytes
    losses: bytes
    attempts: bytes
    due: bytes
    id: bytes
    contract: bytes
    queue: bytes
    options: bytes
    body: bytes
    expiry: bytes = NO_EXPIRY

    def __repr__(self) -> str:
        # A repr ends up in logs, and arguments may be secret.
        return f"<Envelope {self.id!r} {self.contract!r}, {len(self.body)} bytes>"

    @property
    def attempt(self) -> int:
        """Return how many attempts were counted before this one: 0 for a new message."""
        if self.attempts == b"999" and (more := _MORE_ATTEMPTS.match(self.options)):
            return int(more[1])
        return int(self.attempts)

    @property
    def runs(self) -> int:
        """Return how often it was started before: failures, crashes and lost workers."""
        return self.attempt + int(self.crashes) + int(self.losses)

    @property
    def due_ms(self) -> int:
        """Return when it was due, in ms since the epoch on the server's clock; 0 for at once."""
        return int(self.due)

    @property
    def expires_ms(self) -> int | None:
        """Return when it expires, in ms since the epoch on the server's clock; None for never."""
        return int(self.expiry) if self.expiry else None

    @property
    def enqueued_ms(self) -> int:
        """Return when it was enqueued, in ms since the epoch on the producer's clock."""
        return int(self.id[:11], 16)

    @property
    def task(self) -> str:
        """Return the name of the task: the contract id without the fingerprint."""
        return self.contract.partition(b"@")[0].decode()

    @property
    def needs(self) -> bytes:
        """Return the contract that a worker must read, as in `mail@0#2` for formats beyond 1."""
        return self.contract + (b"" if self.version == VERSIONS[0] else b"#" + self.version)

    @property
    def is_broadcast(self) -> bool:
        """Return True for a copy of a broadcast, which is neither parked nor counted as waiting."""
        return is_broadcast(self.queue.decode(errors="replace"))

    @property
    def alone(self) -> bool:
        """Return True if it must run alone in its process: it crashed once, or was lost twice."""
        return self.crashes != b"0" or self.losses > b"01"


def must_run_alone(message: bytes) -> bool:
    """Return True after a crash or a second loss; one that was lost once may run beside others."""
    return not message.startswith((b"0 00 ", b"0 01 "), 2)


def is_broadcast(queue: str) -> bool:
    """Return True if a queue holds broadcasts: that of all workers, or one supervisor's copy."""
    return queue.startswith(BROADCAST)


def encode_message(*, id: str, contract: str, queue: str, options: bytes, body: bytes) -> bytes:
    """Return the bytes of a new message; `options` is JSON without spaces, or b"-"."""
    begin, after_id, *_ = shared_text(contract, queue, options)
    return join_message(begin, id, after_id, body)


class SharedText(NamedTuple):
    """What messages of one contract, queue, options and expiry share.

    begin: before the id
    after_id: between the id and the payload
    before_meta, after_meta: instead of it if metadata, a JSON object, is between these
    """

    begin: bytes
    after_id: bytes
    before_meta: bytes
    after_meta: bytes


def shared_text(
    contract: str, queue: str, options: bytes, expires_ms: int | None = None
) -> SharedText:
    """Return what messages share; `options` is JSON without spaces, or b"-".

    expires_ms: since the epoch; 0 if `with_expiry` or the server is to set it
    """
    place = b" %b %b " % (contract.encode(), queue.encode())
    others = b"{" if options == b"-" else options[:-1] + b","
    version, end = (b"1", b" ") if expires_ms is None else (EXPIRING, b" %013d " % expires_ms)
    before_meta = b'%b%b"m":' % (place, others)
    return SharedText(version + NEW, place + options + end, before_meta, b"}" + end)


def join_message(begin: bytes, id: str, after_id: bytes, body: bytes) -> bytes:
    """Return the bytes of a new message, of the parts of a `SharedText` and its own."""
    return b"".join((begin, id.encode(), after_id, body))


def with_expiry(message: bytes, expires_ms: int) -> bytes:
    """Return a message of either format that expires at this time (ms since the epoch)."""
    version, *header, body = message.split(b" ", _FIELDS - 1)
    body = body[EXPIRY_SIZE:] if version == EXPIRING else body
    return b" ".join([EXPIRING, *header, b"%013d" % expires_ms, body])


def decode_message(message: bytes) -> Envelope:
    """Split a message into its fields. Raises `BadMessage` if one is missing.

    Later formats keep these fields and their order; only options and payload may differ.
    """
    fields = message.split(b" ", _FIELDS - 1)
    if len(fields) != _FIELDS:
        raise BadMessage(f"a message has {_FIELDS} fields, this one has {len(fields)}")
    if fields[0] != EXPIRING:
        return Envelope._make([*fields, NO_EXPIRY])
    *others, body = fields
    if not _EXPIRY.match(body):
        raise BadMessage("its format needs 13 digits before the payload: when it expires")
    return Envelope._make([*others, body[EXPIRY_SIZE:], body[: EXPIRY_SIZE - 1]])


def kind_of(message: bytes) -> bytes:
    """Return contract, queue and options as text, with the space that ends each.

    Metadata is left out: then the text ends with `META`. Raises `BadMessage`.
    """
    try:
        options = message.index(b" ", message.index(b" ", KIND_AT) + 1) + 1
        end = message.index(b" ", options) + 1
    except ValueError:
        raise BadMessage("it has no contract, queue, options and payload") from None
    after = message.find(META, options, end) + len(META)
    is_last = after > options and payload_at(message, after) == end
    return message[KIND_AT : after if is_last else end]


def payload_at(message: bytes, meta_at: int) -> int:
    """Return where the payload begins; 0 if metadata that begins there does not end the options."""
    closed = message.find(b"}", meta_at)
    return closed + 3 if message.startswith(b"}} ", closed) and closed > 0 else 0


def is_message(data: bytes) -> bool:
    """Return True if bytes are a message of some format, as the server's scripts decide it."""
    return _MESSAGE.match(data) is not None


def uncancelled(data: bytes) -> bytes | None:
    """Return a message that was cancelled in flight as it was before; None for any other bytes.

    The server marks it with a "-" behind its version, so that nothing takes it for a message.
    """
    return data[:1] + b" " + data[2:] if data[1:2] == b"-" else None


# --- on the way to the server -------------------------------------------------------------------


class Destination(NamedTuple):
    """Queue, contract and due time of messages; set only one of `delay_ms` and `eta_ms`.

    broadcast_to_all: a broadcast, alone in its batch
    unique: a key and how long it lives (ms): one message is accepted for it in that time
    expires_ms: how long after it was accepted it expires; the server writes when that is
    """

    queue: str
    contract: str
    delay_ms: int | None = None
    eta_ms: int | None = None
    broadcast_to_all: bool = False
    unique: tuple[str, int] | None = None
    expires_ms: int | None = None

    @property
    def is_plain(self) -> bool:
        """Return True for messages that are due at once, of one queue, and without conditions."""
        return self[2:] == (None, None, False, None, None)


# A Struct, because a NamedTuple takes four times as long to make.
class OutgoingMessage(msgspec.Struct, frozen=True, gc=False):
    """A new message. Messages of one destination should share the object, which is faster."""

    id: str
    destination: Destination
    message: bytes

    def __repr__(self) -> str:
        return f"<OutgoingMessage {self.id} {self.destination.contract}, {len(self.message)} bytes>"


# --- ids ----------------------------------------------------------------------------------------

_BLOCK = [f"{n:02x}" for n in range(256)]


@final
class _Ids:
    """Ids of one process: 11 hex digits of ms since the epoch, 9 of the process, 6 counted up.

    A call takes blocks of 256 of them: formatting each would cost a bulk enqueue 12 %.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        process = int.from_bytes(os.urandom(5)) >> 4
        self.series = itertools.count(process << 24, 256), (process + 1) << 24

    def take(self, count: int) -> list[str]:
        """Return `count` new ids (at most 16 million at once), rising in time."""
        blocks, end = self.series
        now = time.time_ns() // 1_000_000 << 60
        ids: list[str] = []
        while (left := count - len(ids)) > 0:
            if (block := next(blocks)) >= end:
                self.renew()  # the counter is exhausted; a new process part keeps ids unique
                return self.take(count)
            first = "%026x" % (now | block)  # an f-string would take twice as long
            begin = first[:-2]
            ids += [begin + last for last in _BLOCK[:left]] if left > 1 else (first,)
        return ids


_ids = _Ids()
new_ids = _ids.take
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.renew)
