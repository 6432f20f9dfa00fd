"""Kill a relay at each of its steps: `python kills.py orders|shop`; prints what came of it.

A process of its own, so that nothing is connected when it forks.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import redis

name = sys.argv[1]
if name == "shop":
    import django

    django.setup()
module: Any = importlib.import_module("shop.tasks" if name == "shop" else name)


def fork(act: Callable[..., object], *args: object) -> int:
    if not (pid := os.fork()):
        try:
            act(*args)
        except BaseException:  # noqa: BLE001 - no child may come back
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def in_child(act: Callable[..., object], *args: object) -> int:
    return os.waitpid(fork(act, *args), 0)[1]


def make_tables() -> None:
    if name == "shop":
        from django.core.management import call_command

        call_command("migrate", run_syncdb=True, verbosity=0)
    else:
        module.Base.metadata.create_all(module.engine)


def fail(fails: bool) -> None:
    if fails:
        raise KeyError


def place() -> None:
    """Two orders: the transaction of the first is rolled back."""
    for fails in (True, False):
        with suppress(KeyError):
            if name == "shop":
                with module.transaction.atomic():
                    module.place("Ada")
                    fail(fails)
            else:
                with module.new_session.begin() as session:
                    module.place(session, "Ada")
                    fail(fails)


def killed_at(step: int) -> None:
    """Count the events in the frame of the relay: each line that begins, and its return."""
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        if frame.f_code is not module.relay.__code__:
            return None
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    module.relay()


def relay_afresh() -> None:
    """With a connection of its own. SQLite may refuse one of two; the next round mends that."""
    if name == "shop":
        from django.db import connections

        connections.close_all()
    else:
        module.engine.dispose(close=False)
    module.relay()


def left() -> int:
    if name == "shop":
        return int(module.Outgoing.objects.count())
    with module.new_session() as session:
        return len(session.scalars(module.select(module.Outgoing)).all())


def orders() -> list[int]:
    if name == "shop":
        return list(module.Order.objects.values_list("pk", flat=True))
    with module.new_session() as session:
        return list(session.scalars(module.select(module.Order.id)))


assert in_child(make_tables) == 0
kills, status = 0, 1
while status:
    assert in_child(place) == 0
    status = in_child(killed_at, kills + 1)
    assert status in (0, signal.SIGKILL)
    kills += status != 0

# Only now a connection: two relays at once, until nothing is left.
while left():
    pids = [fork(relay_afresh) for _ in range(2)]
    for pid in pids:
        os.waitpid(pid, 0)

with redis.Redis.from_url(os.environ["TYPEDQ_URL"]) as client:
    lines: Any = client.lrange(f"{{{module.app.settings.namespace}}}:ready:default", 0, -1)
accepted = [json.loads(line.rpartition(b" ")[2])["order"] for line in lines]
print(json.dumps({"kills": kills, "orders": sorted(orders()), "accepted": sorted(accepted)}))
