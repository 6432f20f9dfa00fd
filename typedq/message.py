"""The message format: a header the server's scripts read, and a sealed body that never changes.

    1 c ll aaa ddddddddddddd <id: 26 hex> <contract: task@fingerprint> <queue> <options> <payload>

One space between fields; the payload (JSON) is the rest. `docs/protocol.md` specifies each field.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterable
from typing import NamedTuple

from typedq.errors import BadMessage

VERSION = b"1"
# The queue of a broadcast; in a supervisor's hands, with a suffix of its own. No queue that an app
# declares can begin with "_".
BROADCAST = "_broadcast"
_FIELDS = 10
_FRESH = b"1 0 00 000 0000000000000 "
KIND_AT = 52  # where the contract begins, as everything before it has a fixed place
_UNHARMED = b"1 0 00 "  # how messages of this format begin that were never lost

_MESSAGE = re.compile(
    rb"[1-9] \d \d\d \d{3} \d{13} [^ ]{26} [a-z\d_.-]+@[0-9a-fA-F]+ [a-z\d_.-]+ [^ ]+ .",
    re.DOTALL,
)


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

    @property
    def attempt(self) -> int:
        """How many attempts were counted before this one: 0 for a new message."""
        return int(self.attempts)

    @property
    def runs(self) -> int:
        """How often it was begun before and is counted: failures, crashes and losses."""
        return int(self.attempts) + int(self.crashes) + int(self.losses)

    @property
    def due_ms(self) -> int:
        """When it was due, in ms since the epoch on the server's clock; 0 for at once."""
        return int(self.due)

    @property
    def enqueued_ms(self) -> int:
        """When it was enqueued, in ms since the epoch on the producer's clock."""
        return int(self.id[:11], 16)

    @property
    def task(self) -> str:
        """The name of the task: the contract id without the fingerprint."""
        return self.contract.partition(b"@")[0].decode()

    @property
    def is_broadcast(self) -> bool:
        """Whether every worker has one: then it is neither parked nor counted as waiting."""
        return self.queue.startswith(b"_")

    @property
    def alone(self) -> bool:
        """Whether it was lost before, and so must run without neighbours."""
        return self.crashes != b"0" or self.losses != b"00"


def encode_message(*, id: str, contract: str, queue: str, options: bytes, body: bytes) -> bytes:
    """Return the bytes of a new message; `options` is JSON without spaces, or b"-"."""
    return seal_of(kind_text(contract, queue, options), id, body)


def kind_text(contract: str, queue: str, options: bytes) -> bytes:
    """What messages of one contract, queue and options share, for `seal_of`."""
    return b" %b %b %b " % (contract.encode(), queue.encode(), options)


def seal_of(kind: bytes, id: str, body: bytes) -> bytes:
    """As `encode_message`, for who makes many of a kind."""
    return b"".join((_FRESH, id.encode(), kind, body))


def decode_message(message: bytes) -> Envelope:
    """Split a message into its fields. Raises `BadMessage` if they are not all there.

    Later formats keep these fields and their places; only the rest may mean something else.
    """
    fields = message.split(b" ", _FIELDS - 1)
    if len(fields) != _FIELDS:
        raise BadMessage(f"a message has {_FIELDS} fields, this one has {len(fields)}")
    return Envelope._make(fields)


def kind_of(message: bytes) -> bytes:
    """What it shares with messages of one contract, queue and options: their text, with the space.

    Raises `BadMessage`.
    """
    try:
        end = message.index(b" ", KIND_AT)
        end = message.index(b" ", end + 1)
        return message[KIND_AT : message.index(b" ", end + 1) + 1]
    except ValueError:
        raise BadMessage("it has no contract, queue, options and payload") from None


def is_ordinary(message: bytes) -> bool:
    """Whether it is of this format, and was never lost: it may run beside others."""
    return message.startswith(_UNHARMED)


def is_message(found: bytes) -> bool:
    """Whether bytes are a message of some format, as the server's scripts decide it."""
    return _MESSAGE.match(found) is not None


def are_ids(found: Iterable[bytes]) -> bool:
    """Whether these 26 bytes each are hexadecimal digits alone."""
    return not b"".join(found).translate(None, b"0123456789abcdefABCDEF")


_ENDS = [f"{n:02x}" for n in range(256)]


class _Ids:
    """Ids of one process: 11 hex digits of ms since the epoch, 9 of the process, 6 counted up.

    A call takes blocks of 256 of its own, since to count on costs a lock, or to format each number.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.series = os.urandom(5).hex()[:9], itertools.count()

    def take(self, count: int) -> list[str]:
        process, blocks = self.series
        now = time.time_ns() // 1_000_000
        ids: list[str] = []
        while (left := count - len(ids)) > 0:
            if (block := next(blocks)) > 0xFFFF:
                # Counted to the end, it goes on under a new name; ids never repeat.
                self.renew()
                return self.take(count)
            # As an f-string it would take twice as long.
            begin = "%011x%s%04x" % (now, process, block)  # noqa: UP031
            ids += [begin + end for end in _ENDS[:left]] if left > 1 else (begin + "00",)
        return ids


_ids = _Ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.renew)


def new_ids(count: int) -> list[str]:
    """Return `count` ids (at most 16 million at once), never used before, rising in time."""
    return _ids.take(count)
