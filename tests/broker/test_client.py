"""The client: every message exactly once, whatever befalls connections, threads, processes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from typedq.broker import Broker, Operation, stats
from typedq.broker.client import MAX_CONNECTIONS
from typedq.broker.script import command
from typedq.embedded import OwnServer
from typedq.errors import EnqueueUncertain

if TYPE_CHECKING:
    from tests.broker.conftest import Place


@pytest.fixture
def server(private: OwnServer) -> OwnServer:
    return private


class Proxy:
    """A TCP proxy that can lose what comes back (`mute`, `drop`) or everything (`swallow`)."""

    def __init__(self, port: int) -> None:
        self.target, self.mode = ("127.0.0.1", port), "pass"
        self.replies_lost = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}/0"
        self.sockets: list[socket.socket] = []
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
                self.sockets += client, server
                for pump in ((client, server, False), (server, client, True)):
                    self.threads.append(threading.Thread(target=self.pump, args=pump))
                    self.threads[-1].start()

    def pump(self, source: socket.socket, sink: socket.socket, is_reply: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if is_reply and self.mode in {"mute", "drop"}:
                    self.replies_lost += 1
                    if self.mode == "drop":
                        self.mode = "pass"
                        break
                elif self.mode != "swallow":
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.threads[0].join()
        for end in self.sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    proxy = Proxy(int(place.url.rpartition(":")[2].removesuffix("/0")))
    yield proxy
    proxy.close()


def through(place: Place, proxy: Proxy, deadline: float = 10.0) -> Broker:
    """A broker behind the proxy that has connected before."""
    broker = Broker(proxy.url, place.namespace, deadline=deadline)
    broker.enqueue([], place.document)
    place.fill(1)  # the contract is known, so that one request is one enqueue
    place.redis.delete(place.keys.ready("mid"))
    return broker


def asend(place: Place, broker: Broker, *, before: Callable[[], None] = lambda: None) -> str:
    """Enqueue by a coroutine of a loop of its own; `before` runs when it is connected."""
    out = place.outgoing()

    async def run() -> None:
        try:
            await broker.aenqueue([], place.document)
            before()
            await broker.aenqueue([out], place.document)
        finally:
            await broker.aclose()

    asyncio.run(run())
    return out.id


# --- what the server forgot ---------------------------------------------------------------------


def test_scripts_are_loaded_again_after_a_flush(place: Place) -> None:
    ids = place.fill(1)
    place.redis.script_flush()
    ids += place.fill(1)
    ids.append(asend(place, place.broker, before=place.redis.script_flush))
    assert place.everywhere() == dict.fromkeys(ids, 1)


def test_a_server_that_comes_back_empty_gets_the_contracts_again(place: Place) -> None:
    place.fill(1)
    place.redis.flushall()
    place.redis.script_flush()
    [id] = place.fill(1)
    assert place.everywhere() == {id: 1}
    assert place.redis.hkeys(place.keys.contracts) == [place.contract.encode()]


# --- replies lost on the way --------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
def test_a_lost_reply_makes_exactly_one_copy(place: Place, proxy: Proxy, is_async: bool) -> None:
    broker = through(place, proxy)

    def drop() -> None:
        proxy.mode = "drop"

    if is_async:
        id = asend(place, broker, before=drop)
    else:
        out = place.outgoing()
        drop()
        broker.enqueue([out], place.document)
        id = out.id
    assert proxy.replies_lost == 1
    assert place.everywhere() == {id: 1}
    after = place.outgoing()
    broker.enqueue([after], place.document)
    assert place.ready() == [id, after.id]
    broker.close()


@pytest.mark.parametrize(("mode", "copies"), [("swallow", 0), ("mute", 1)])
@pytest.mark.parametrize("is_async", [False, True])
def test_no_answer_is_uncertain_and_then_all_is_well(
    place: Place, proxy: Proxy, mode: str, copies: int, is_async: bool
) -> None:
    broker = through(place, proxy, deadline=0.4)
    batch = [place.outgoing(), place.outgoing()]

    def hush() -> None:
        proxy.mode = mode

    async def run() -> None:
        try:
            await broker.aenqueue([], place.document)
            hush()
            await broker.aenqueue(batch, place.document)
        finally:
            await broker.aclose()

    def blocking() -> None:
        hush()
        broker.enqueue(batch, place.document)

    with pytest.raises(EnqueueUncertain, match=r"no answer within 0\.4 s: 2 message") as caught:
        asyncio.run(run()) if is_async else blocking()
    assert caught.value.ids == tuple(out.id for out in batch)
    assert f"first id {batch[0].id}" in str(caught.value)
    assert place.everywhere() == {out.id: copies for out in batch if copies}
    proxy.mode = "pass"
    after = place.outgoing()
    broker.enqueue([after], place.document)
    assert place.ready()[-1] == after.id
    assert place.everywhere().total() == 2 * copies + 1
    broker.close()


def test_connections_killed_under_load(place: Place) -> None:
    place.fill(1)
    sent: list[str] = place.ready()
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.02):
            place.redis.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")

    def produce(_: int) -> list[str]:
        ids: list[str] = []
        for _ in range(150):
            batch = [place.outgoing() for _ in range(3)]
            place.broker.enqueue(batch, place.document)
            ids += (out.id for out in batch)
        return ids

    killer = threading.Thread(target=kill)
    killer.start()
    with ThreadPoolExecutor(4) as pool:
        for ids in pool.map(produce, range(4)):
            sent += ids
    stop.set()
    killer.join()
    assert place.everywhere() == dict.fromkeys(sent, 1)
    assert place.waiting() == len(sent) == 1_801


def test_signals_do_not_stretch_the_time_that_a_reply_may_take(
    place: Place, private: OwnServer
) -> None:
    """As that of a soft timeout, which comes again and again while it may not interrupt."""
    hasty = Broker(place.url, place.namespace, deadline=0.5)
    hasty.enqueue([], place.document)
    private.pause()
    rescue = threading.Timer(8.0, private.resume)
    rescue.start()
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with pytest.raises(EnqueueUncertain):
            hasty.enqueue([place.outgoing()], place.document)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        rescue.cancel()
        private.resume()
        rescue.join()


def test_a_server_that_hangs_for_two_seconds(place: Place, private: OwnServer) -> None:
    [first] = place.fill(1)
    out = place.outgoing()
    # So that it resends into the silence.
    impatient = Broker(place.url + "?socket_timeout=0.3", place.namespace, deadline=10)
    impatient.enqueue([], place.document)
    private.pause()
    timer = threading.Timer(2.0, private.resume)
    timer.start()
    try:
        impatient.enqueue([out], place.document)
    finally:
        timer.join()
    assert place.ready() == [first, out.id]
    impatient.close()


# --- who sends at the same time -----------------------------------------------------------------


def test_eight_threads_enqueue_each_message_once(place: Place) -> None:
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda _: place.fill(1)[0], range(2_000)))
    finally:
        sys.setswitchinterval(old)
    assert place.everywhere() == dict.fromkeys(ids, 1)
    assert len(set(ids)) == 2_000


def test_parent_and_four_forks_enqueue_each_message_once(place: Place) -> None:
    ids = Counter(place.fill(2))
    children: list[tuple[int, int]] = []
    for _ in range(4):
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads, from 3.12 on
            pid = os.fork()
        if pid == 0:
            status = 1
            with suppress(BaseException):
                mine = [place.fill(1)[0] for _ in range(20)]
                os.write(writer, " ".join(mine).encode())
                status = 0
            os._exit(status)
        os.close(writer)
        children.append((pid, reader))
        ids.update(place.fill(5))
    for pid, reader in children:
        with os.fdopen(reader) as pipe:
            ids.update(pipe.read().split())
        assert os.waitpid(pid, 0)[1] == 0
    assert place.everywhere() == ids
    assert ids.total() == len(ids) == 2 + 4 * 5 + 4 * 20


def test_a_fork_has_a_connection_of_its_own(place: Place) -> None:
    """On its parent's, each would read replies of the other; those to enqueues look alike."""

    def connection_id(_: object) -> Generator[Operation[Any], Any, int]:
        return int((yield command("CLIENT", "ID")))

    mine = place.broker._pool.run(connection_id)
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        with suppress(BaseException):
            os.write(writer, b"%d" % place.broker._pool.run(connection_id))
        os._exit(0)
    os.waitpid(pid, 0)
    assert place.broker._pool.run(connection_id) == mine
    assert int(os.read(reader, 20)) != mine


def test_a_fork_beside_an_event_loop_leaves_its_connections_alone(place: Place) -> None:
    """Also where another thread holds the lock of the pools at that moment."""

    def in_the_child() -> None:
        async def run() -> None:
            await place.broker.aenqueue([place.outgoing()], place.document)

        asyncio.run(run())
        place.broker.enqueue([place.outgoing()], place.document)

    async def run() -> None:
        await place.broker.aenqueue([place.outgoing()], place.document)
        with place.broker._async_pools._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads, from 3.12 on
            pid = os.fork()
        if pid == 0:
            status = 1
            with suppress(BaseException):
                # Here, this loop is nobody's.
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(in_the_child).result(20)
                status = 0
            os._exit(status)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert status == 0
        for _ in range(3):
            await place.broker.aenqueue([place.outgoing()], place.document)

    asyncio.run(run())
    assert len(place.ready()) == 1 + 2 + 3
    assert place.broker.lost_connections == 0


def test_many_coroutines_share_few_connections(place: Place) -> None:
    async def run() -> list[str]:
        batch = [place.outgoing() for _ in range(500)]
        try:
            await asyncio.gather(*(place.broker.aenqueue([o], place.document) for o in batch))
            names = [client["name"] for client in place.redis.client_list()]
            assert 0 < names.count("typedq-producer") <= MAX_CONNECTIONS
        finally:
            await place.broker.aclose()
        return [out.id for out in batch]

    ids = asyncio.run(run())
    assert place.everywhere() == dict.fromkeys(ids, 1)


def test_two_event_loops_at_once_and_one_after(place: Place) -> None:
    async def run() -> list[str]:
        batch = [place.outgoing() for _ in range(50)]
        try:
            await asyncio.gather(*(place.broker.aenqueue([o], place.document) for o in batch))
        finally:
            await place.broker.aclose()
        return [out.id for out in batch]

    with ThreadPoolExecutor(2) as pool:
        ids = [id for found in pool.map(lambda _: asyncio.run(run()), range(2)) for id in found]
    ids += asyncio.run(run())
    assert place.everywhere() == dict.fromkeys(ids, 1)


def test_event_loops_that_ended_leave_no_connections(place: Place) -> None:
    """A web app may run a loop for every request."""

    def sockets() -> int:
        return sum("socket:" in str(file.resolve()) for file in Path("/proc/self/fd").iterdir())

    async def ask() -> None:
        await place.broker.acall(stats.workers(place.keys))

    gc.collect()  # what other tests left
    before = sockets()
    for _ in range(10):
        asyncio.run(ask())
        gc.collect()
    assert sockets() <= before
    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask())
        loop.close()  # without asyncio.run, which ends generators first
    asyncio.run(ask())
    gc.collect()
    assert sockets() <= before


def test_a_cancelled_enqueue_happens_once_or_never(place: Place) -> None:
    async def run() -> tuple[list[str], list[str]]:
        sure, unsure = list[str](), list[str]()
        try:
            for turns in range(60):
                out, after = place.outgoing(), place.outgoing()
                task = asyncio.create_task(place.broker.aenqueue([out], place.document))
                for _ in range(turns % 6):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    await task
                    sure.append(out.id)
                except asyncio.CancelledError:
                    unsure.append(out.id)
                await place.broker.aenqueue([after], place.document)
                sure.append(after.id)
        finally:
            await place.broker.aclose()
        return sure, unsure

    sure, unsure = asyncio.run(run())
    found = place.everywhere()
    assert {id: found.pop(id, 0) for id in sure} == dict.fromkeys(sure, 1)
    assert set(found) <= set(unsure)
    assert set(found.values()) <= {1}
    assert unsure
