"""An app whose server holds one of everything, and its dashboard: in this process or served."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis
import uvicorn
from starlette.testclient import TestClient

from typedq import Queue, TypedQ
from typedq.broker import DeadBounds, operations, server_checks, settlements
from typedq.broker.parking import Group, Parked, park
from typedq.dashboard import asgi

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from typedq.embedded import OwnServer

SAME = {"Sec-Fetch-Site": "same-origin"}
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">\u202egnp.exe\x1b[31m\x00'


class Order(msgspec.Struct, kw_only=True):
    """What ships today."""

    number: int
    customer: str
    note: str = ""
    priority: int = 0


class OldOrder(msgspec.Struct, kw_only=True):
    """What was shipped before: today's workers cannot read it."""

    customer: str
    carrier: str


class Shop:
    """An app, and ways to bring its server into each state."""

    def __init__(self, url: str, namespace: str) -> None:
        queues = [Queue("high"), Queue("default"), Queue("low")]
        self.url, self.namespace = url, namespace
        self.app = app = TypedQ(namespace, url=url, queues=queues)
        self.old = TypedQ(namespace, url=url, queues=queues)
        self.client = redis.Redis.from_url(url)

        @app.task(queue="high")
        def ship(order: Order) -> None: ...

        @app.task
        def resize(image_id: int, *, width: int = 100) -> None: ...

        @app.task(queue="low")
        def report(name: str) -> None: ...

        @self.old.task(name="ship", queue="high")
        def old_ship(order: OldOrder) -> None: ...

        @self.old.task(name="gone", queue="low")
        def gone() -> None: ...

        app.cron("*/10 * * * *", resize.call(7), name="thumbs", tz="Europe/Berlin")
        self.ship, self.resize, self.report, self.old_ship = ship, resize, report, old_ship
        self.gone = gone

    @property
    def contract(self) -> str:
        return self.ship.contract.id

    @property
    def old_contract(self) -> str:
        return self.old_ship.contract.id

    def worker(
        self,
        name: str,
        app: TypedQ | None = None,
        *,
        without: str = "",
        age_s: float = 0,
        format: int = 2,
        queues: Sequence[str] = ("high", "default"),
    ) -> None:
        """A live worker, as it reports itself."""
        now = self.app.broker.call(server_checks.clock())
        tasks = [task for task in (app or self.app).tasks.values() if task.name != without]
        about = {
            "host": name,
            "pid": 7,
            "children": 4,
            "queues": queues,
            "reads": sorted(task.contract.id for task in tasks),
            "format": format,
            "cron": (app or self.app).declarations.schedules(),
            "started_ms": int(now * 1000) - 60_000,
            "seen_ms": int((now - age_s) * 1000),
        }
        self.client.hset(self.app.broker.keys.workers, name, json.dumps(about))

    def _fetch(self, queue: str, count: int) -> None:
        broker = self.app.broker
        broker.call(operations.open(broker.keys, ["s"], [queue], 600_000))
        broker.call(settlements.settle_and_fetch(broker.keys, "s", [queue], max_messages=count))

    def bury(
        self,
        name: str,
        error: str = "ValueError: no",
        count: int = 1,
        kind: str = "failed",
        **options: Any,
    ) -> list[str]:
        """Make dead letters of `report`; return their ids."""
        calls = [self.report.options(**options).call(name)] * count
        ids = [receipt.id for receipt in self.app.enqueue_many(calls)]
        reason = {"kind": kind, "error": error, "attempts": 2, "traceback": f"Trace\n{error}"}
        line = json.dumps(reason).encode()
        broker = self.app.broker
        for start in range(0, count, 500):
            chunk = ids[start : start + 500]
            self._fetch("low", len(chunk))
            settle = [settlements.DeadLetter(id.encode(), line) for id in chunk]
            broker.call(settlements.settle_and_fetch(broker.keys, "s", ["low"], settle=settle))
        return ids

    def copy_dead_letter(self, id: str, count: int) -> None:
        """Make so many dead letters like one, younger ones."""
        keys = self.app.broker.keys
        raw = self.client.hget(keys.dead_letters, id)
        for start in range(0, count, 10_000):
            ids = [f"{id}{number}" for number in range(start, min(count, start + 10_000))]
            copies: dict[Any, Any] = dict.fromkeys(ids, raw)
            self.client.hset(keys.dead_letters, mapping=copies)
            self.client.zadd(keys.dead, dict.fromkeys(ids, 4000000000000.0))

    def park(self, count: int = 1, contract: str = "") -> None:
        """Park so many messages of the old contract, in the group of another if one is given."""
        calls = [self.old_ship.call(OldOrder(customer="ada", carrier="x"))] * count
        ids = [receipt.id.encode() for receipt in self.old.enqueue_many(calls)]
        self._fetch("high", count)
        group = Group("high", contract or self.old_contract)
        broker = self.app.broker
        parked = [Parked(group, id) for id in ids]
        assert broker.call(park(broker.keys, "s", parked, DeadBounds())) == count

    def fill(self) -> None:
        """One of everything."""
        self.bury("a secret", "ConnectionError: no route to host", 3)
        self.bury("a secret", "ValueError: no such report", 2)
        self.park(37)
        for number in range(12):
            self.ship.enqueue(Order(number=number, customer="ada"))
        self.resize.options(delay=3600).enqueue(3)
        self.report.enqueue("weekly")
        # They do not report again, so they have reported in the future.
        self.worker("web-1", age_s=-3600)
        self.worker("web-2", age_s=-3600)
        self.worker("web-3", without="ship", age_s=-3600)

    def close(self) -> None:
        self.client.close()
        self.app.close()
        self.old.close()

    def site(self, **options: Any) -> TestClient:
        """The dashboard in this process."""
        return TestClient(asgi(self.app, **options), follow_redirects=False)


@pytest.fixture
def shop(server: OwnServer, namespace: str) -> Iterator[Shop]:
    made = Shop(server.url, namespace)
    yield made
    made.close()


@contextmanager
def served(app: ASGIApp, **options: Any) -> Iterator[str]:
    """Serve an application on a free port of this machine; the value is its URL."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none", **options)
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    listener.listen()  # from here on, connections wait until the server has started
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def history(directory: Path, app: TypedQ) -> Path:
    """Write the contracts of an app as `schemas/`."""
    from typedq.admin.schemas import export, read

    export(app, read(directory))
    return directory
