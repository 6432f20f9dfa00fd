"""A server that goes, comes back, forgets or hangs: workers go on, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.faults.harness import Stage, pause
from tests.faults.proxy import Proxy
from tests.faults.topologies import port_of
from typedq.broker.script import script
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import WaitUntil

BOUND_S = 6.0  # B1 is 2 s


@pytest.fixture
def own() -> Iterator[OwnServer]:
    with OwnServer(args=("--appendonly", "yes", "--appendfsync", "always")) as server:
        yield server


@pytest.fixture
def alone(own: OwnServer, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    """A stage on a server that no other test uses."""
    with Stage(own.url, namespace, tmp_path) as here:
        yield here


@contextmanager
def again_and_again(every: float, what: Callable[[], Any]) -> Iterator[None]:
    """Do it in the background, so many seconds apart; errors of the connection are expected."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(every):
            with suppress(redis.RedisError, OSError):
                what()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def finish(stage: Stage, wait_until: WaitUntil) -> None:
    wait_until(stage.is_drained, 20.0)
    assert [worker.stop() for worker in stage.workers] == [0] * len(stage.workers)
    verdict = stage.check()
    assert not verdict.broken
    assert verdict.extra_runs == 0


def test_server_restart_loses_nothing_and_work_continues_within_the_bound(
    own: OwnServer, alone: Stage, wait_until: WaitUntil
) -> None:
    worker = alone.worker("-c", "2")
    held = alone.send_many([alone.call("hold", alone.gate()), alone.call("ahold", alone.gate())])
    wait_until(lambda: len(alone.effects("start")) == 2)
    for _ in range(2):
        alone.send_many([alone.call("nap", 0.002)] * 100)
        own.kill()
        own.start()
        back = time.monotonic()
        id = alone.send("nap", queue="high")
        wait_until(partial(lambda wanted: wanted in alone.ended(), id))
        assert time.monotonic() - back < BOUND_S
    alone.open_gate()
    wait_until(lambda: set(held) <= alone.ended())
    finish(alone, wait_until)
    assert not worker.events("child died")


def test_server_that_hangs_loses_and_repeats_no_message(
    own: OwnServer, alone: Stage, wait_until: WaitUntil
) -> None:
    worker = alone.worker("-c", "2")
    alone.send_many([alone.call(("nap", "anap")[n % 2], 0.005) for n in range(300)])
    wait_until(lambda: len(alone.ended()) > 20)
    own.pause()
    pause(2.0)  # the fault itself
    own.resume()
    back = time.monotonic()
    id = alone.send("nap", queue="high")
    wait_until(lambda: id in alone.ended())
    assert time.monotonic() - back < BOUND_S
    finish(alone, wait_until)
    assert not worker.events("recovered the session")


def test_connections_that_are_cut_under_load_lose_nothing(
    alone: Stage, wait_until: WaitUntil
) -> None:
    alone.look()  # a producer's first connection ever is not tried again
    alone.worker("-c", "2")
    cut = partial(alone.redis.execute_command, "CLIENT", "KILL", "TYPE", "normal")
    with again_and_again(0.05, cut):
        for _ in range(20):
            alone.send_many([alone.call(("nap", "anap")[n % 2], 0.002) for n in range(50)])
        wait_until(lambda: len(alone.ended()) == 1000, 20.0)
    started = time.monotonic()
    id = alone.send("nap")
    wait_until(lambda: id in alone.ended())
    assert time.monotonic() - started < BOUND_S
    finish(alone, wait_until)


def test_a_session_whose_opening_was_not_answered_is_ended(
    namespace: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    with (
        OwnServer(tcp=True) as server,
        Proxy(port_of(server)) as proxy,
        Stage(server.url, namespace, tmp_path) as stage,
    ):
        stage.redis.script_load(script("open").source)
        proxy.drop_reply_to(script("open").sha)
        worker = stage.worker("-c", "1", TYPEDQ_URL=proxy.url)
        id = stage.send("nap")
        wait_until(lambda: id in stage.ended())
        assert proxy.dropped == 1
        assert stage.redis.zcard(stage.keys.sessions) == 1
        finish(stage, wait_until)
        assert len(worker.events("request to the server failed; retrying")) == 1


def test_worker_continues_after_script_flush(alone: Stage, wait_until: WaitUntil) -> None:
    worker = alone.worker("-c", "2")
    with again_and_again(0.02, alone.redis.script_flush):
        for _ in range(10):
            alone.send_many([alone.call(("nap", "anap")[n % 2], 0.002) for n in range(50)])
        wait_until(lambda: len(alone.ended()) == 500)
    finish(alone, wait_until)
    assert not worker.events("request to the server failed")


def test_worker_on_a_flushed_server_does_not_crash_in_a_loop(
    alone: Stage, wait_until: WaitUntil
) -> None:
    worker = alone.worker("-c", "2")
    alone.send("nap")
    wait_until(lambda: len(alone.ended()) == 1)
    children = {child.pid for child in worker.children()}
    for round in range(3):
        alone.redis.flushall()
        id = alone.send("anap" if round else "nap")
        wait_until(partial(lambda wanted: wanted in alone.ended(), id))
    assert {child.pid for child in worker.children()} == children
    wait_until(alone.is_drained)
    assert worker.stop() == 0
    assert not worker.events("child died")
    assert not alone.leaked()
    assert not any(alone.look().counts.values())
