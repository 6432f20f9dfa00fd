"""A namespace on a real server, with eyes of its own that do not go through the moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import redis

from tests.broker.states import look
from typedq.broker import (
    Broker,
    Destination,
    Keys,
    Operation,
    OutgoingMessage,
    operations,
    settlements,
)
from typedq.broker.connections import packed
from typedq.message import encode_message, new_ids, with_expiry

if TYPE_CHECKING:
    from tests.broker.states import MoveChecker
    from typedq.embedded import OwnServer

T = TypeVar("T")
CONTRACT = "t@0123456789abcdef"
LEASE = 30_000
WAITING = {"ready", "delayed", "in flight", "parked"}


def id_of(message: bytes) -> str:
    return message[25:51].decode()


class Place:
    """One namespace: make moves, and look at the keys behind their back."""

    queues = ("high", "mid", "low")
    contract = CONTRACT

    def __init__(self, server: OwnServer, namespace: str) -> None:
        self.namespace, self.url = namespace, server.url
        self.broker = Broker(server.url, namespace)
        self.keys = Keys(namespace)
        self.redis: Any = redis.Redis.from_url(server.url)
        self.watch: MoveChecker | None = None

    def __call__(self, move: Operation[T]) -> T:
        reply = self.broker.call(move)
        if self.watch:
            self.watch(move)
        return reply

    def declared_only(self, move: Operation[T]) -> T:
        """Make a move as a user who may touch its declared keys and no other."""
        self.redis.acl_setuser(
            "probe", enabled=True, nopass=True, reset_keys=True, keys=move.keys,
            categories=["+@all"],
        )  # fmt: skip
        host, port = self.url.removeprefix("redis://").removesuffix("/0").split(":")
        who: dict[str, Any] = {"username": "probe", "password": "x", "protocol": 3}
        probe: Any = redis.Redis(host=host, port=int(port), **who)
        # Past the client's own idea of what a reply means.
        connection = probe.connection_pool.get_connection()
        try:
            connection.send_packed_command([packed(move, with_source=True)])
            return move.parse(connection.read_response())
        finally:
            probe.connection_pool.release(connection)
            probe.close()

    @staticmethod
    def document(contract: str) -> bytes:
        return f'{{"title":"{contract}"}}'.encode()

    @staticmethod
    def outgoing(
        queue: str = "mid",
        *,
        contract: str = CONTRACT,
        body: bytes = b"{}",
        delay_ms: int | None = None,
        eta_ms: int | None = None,
        unique: tuple[str, int] | None = None,
        expires_ms: int | None = None,
    ) -> OutgoingMessage:
        id = new_ids(1)[0]
        message = encode_message(id=id, contract=contract, queue=queue, options=b"-", body=body)
        if expires_ms is not None:
            message = with_expiry(message, 0)
        destination = Destination(
            queue, contract, delay_ms, eta_ms, unique=unique, expires_ms=expires_ms
        )
        return OutgoingMessage(id, destination, message)

    def put(self, *batch: OutgoingMessage) -> list[str]:
        self.broker.enqueue(batch, self.document)
        return [out.id for out in batch]

    def fill(
        self,
        count: int,
        queue: str = "mid",
        *,
        delay_ms: int | None = None,
        eta_ms: int | None = None,
    ) -> list[str]:
        batch = (self.outgoing(queue, delay_ms=delay_ms, eta_ms=eta_ms) for _ in range(count))
        return self.put(*batch)

    def open(self, *sessions: str, lease_ms: int = LEASE) -> None:
        self(operations.open(self.keys, sessions, self.queues, lease_ms))

    def work(
        self,
        session: str,
        want: int = 0,
        *settle: settlements.Settlement | settlements.AckAll,
        token: str | None = None,
    ) -> settlements.Fetched:
        return self(
            settlements.settle_and_fetch(
                self.keys, session, self.queues, settle=settle, max_messages=want, token=token
            )
        )

    def fetch(self, session: str, want: int = 1) -> list[str]:
        return [id_of(m) for m in self.work(session, want).messages]

    def tick(self, grace_ms: int = LEASE, lease_ms: int = LEASE) -> operations.Ticked:
        return self(operations.tick(self.keys, self.queues, grace_ms=grace_ms, lease_ms=lease_ms))

    def expire(self, *sessions: str) -> None:
        """End leases by hand, so that no test waits for one."""
        for session in sessions:
            self.redis.zadd(self.keys.sessions, {session: 1}, xx=True)

    # --- looking ---------------------------------------------------------------------------

    def ready(self, queue: str = "mid") -> list[str]:
        return [id_of(m) for m in self.redis.lrange(self.keys.ready(queue), 0, -1)]

    def delayed(self, queue: str = "mid") -> list[str]:
        return [id_of(m) for m in self.redis.zrange(self.keys.delayed(queue), 0, -1)]

    def flying(self, session: str) -> set[str]:
        return {id.decode() for id in self.redis.hkeys(self.keys.in_flight(session))}

    def dead(self) -> list[str]:
        return [id.decode() for id in self.redis.zrange(self.keys.dead, 0, -1)]

    def letter(self, id: str) -> bytes | None:
        text: bytes | None = self.redis.hget(self.keys.dead_letters, id)
        return text

    def token(self, queue: str = "mid") -> int:
        count: int = self.redis.llen(self.keys.wake(queue))
        return count

    def tokens(self) -> str:
        return " ".join(q for q in self.queues if self.token(q))

    def supervisors_token(self) -> bool:
        return bool(self.redis.llen(self.keys.supervisors))

    def stats(self) -> dict[str, int]:
        return {k.decode(): int(v) for k, v in self.redis.hgetall(self.keys.stats).items()}

    def waiting(self, contract: str = CONTRACT) -> int:
        return int(self.redis.hget(self.keys.counts, contract) or 0)

    def names(self) -> set[str]:
        """Every key there is, without the namespace."""
        tag = self.keys.tag
        return {k.decode().removeprefix(tag + ":") for k in self.redis.scan_iter(f"{tag}:*")}

    def snapshot(self) -> dict[str, bytes]:
        """Everything there is, byte by byte; equal snapshots mean that nothing was changed."""
        tag = self.keys.tag
        return {k.decode(): self.redis.dump(k) for k in self.redis.scan_iter(f"{tag}:*")}

    def everywhere(self) -> Counter[str]:
        """How often each id that has not ended lies anywhere: never more than once."""
        found = look(self.redis, self.keys)
        return Counter(one.id for one in found if one.state in WAITING)

    def close(self) -> None:
        self.broker.close()
        self.redis.close()


@pytest.fixture(scope="module")
def private() -> Iterator[OwnServer]:
    """A server that the tests of one file may stop, fill and reconfigure."""
    from typedq.embedded import OwnServer

    slow = ("--loading-process-events-interval-bytes", "1024")
    with OwnServer(args=("--enable-debug-command", "yes", *slow), tcp=True) as own:
        yield own


@pytest.fixture
def place(server: OwnServer, namespace: str) -> Iterator[Place]:
    here = Place(server, namespace)
    yield here
    here.close()
