"""Time the steps of one enqueue and of one task, in this process: `python -m benchmarks.steps`.

Everything is warm, and nothing else runs in the process, so the sum is less than an enqueue or a
task takes in the benchmarks. The best of many repetitions counts: other processes only add time.
The server shares one processor with this process: as the scheduler places the two, a round trip
would take half or twice as long.
"""

from __future__ import annotations

import importlib
import itertools
import os
import time
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.runs import DIRECTORY
from benchmarks.server import Server

APP = "benchmarks.contenders.typedq_"
REPEAT, TIMES, BATCH = 300, 20, 512
SESSION_S = 1_000.0


class Steps(NamedTuple):
    """The name of the whole, and microseconds of each step for one message."""

    whole: str
    steps: dict[str, float]


def best_us(function: Callable[[], object], each: int = TIMES, repeat: int = REPEAT) -> float:
    """Return the microseconds of one call, the best of `repeat` times `each` calls."""
    best = float("inf")
    for _ in range(repeat):
        began = time.perf_counter()
        for _ in range(each):
            function()
        best = min(best, time.perf_counter() - began)
    return best / each * 1e6


def enqueue_steps(module: Any) -> Steps:
    """Time one sync enqueue and its steps."""
    from typedq.broker import operations
    from typedq.broker.connections import packed
    from typedq.encoder import MessageEncoder

    app, task, mail = module.app, module.TASKS["noop"], module.Mail(**module.ARGUMENTS)
    broker, encoder = app.broker, MessageEncoder(app.declarations, app.settings)
    task.enqueue(mail)
    call = task.call(mail)
    batch = encoder.encode((call,)).messages
    connection, numbers = broker.connection(), itertools.count(1)

    def operation() -> Any:
        return operations.enqueue(broker.keys, "steps", next(numbers), batch, {})

    connection.execute(operation())
    pack_us = best_us(lambda: packed(operation()))
    stale_us = best_us(connection.close_if_stale)
    sent_us = best_us(lambda: connection.execute(operation()))
    whole_us = best_us(lambda: broker.enqueue(batch, lambda _: b""))
    steps = {
        "check and encode the arguments": best_us(lambda: task.call(mail)),
        "choose the queue, make message and receipt": best_us(lambda: encoder.encode((call,))),
        "name the keys and arguments, and pack them": pack_us,
        "see whether the server has closed the connection": stale_us,
        "take a connection, be ready to resend, return it": whole_us - stale_us - sent_us,
        "send, the server's script, read the reply": sent_us - pack_us,
    }
    connection.close()
    return Steps("one enqueue", steps)


def task_steps(module: Any) -> Steps:
    """Time the steps of one sync task in a child that is always busy."""
    from typedq.broker import DeadBounds, DedicatedClient, operations
    from typedq.worker.coroutines import Coroutines
    from typedq.worker.decoder import MessageDecoder, ServerClock
    from typedq.worker.journal import Journal
    from typedq.worker.readers import ContractReaders
    from typedq.worker.session import Session
    from typedq.worker.sync_tasks import SyncTasks

    app, queues = module.app, [module.app.settings.default_queue]
    client, journal = DedicatedClient(app.broker), Journal(2 * BATCH)
    name = journal.begin_session(SESSION_S)
    client.call(operations.open(client.keys, [name], queues, round(SESSION_S * 1000)))
    session = Session(client, journal, queues, lease_s=SESSION_S, bounds=DeadBounds())
    decoder = MessageDecoder(app, ContractReaders(app, client), journal, ServerClock(client))
    coroutines = Coroutines(app, journal, lambda: None)
    tasks = SyncTasks(coroutines, journal)
    coroutines.middleware.start()
    best = dict[str, float]()

    def timed(step: str, function: Callable[[Any], object], items: Sequence[Any]) -> None:
        began = time.perf_counter()
        for item in items:
            function(item)
        best[step] = min(best.get(step, 1.0), time.perf_counter() - began)

    for _ in range(REPEAT // 10):
        module.enqueue_many("noop", BATCH)
        timed("settle and fetch a batch, and record it", session.sync, [BATCH])
        held = [*session.waiting]
        session.waiting.clear()
        timed("decode the arguments", decoder.decode, held)
        for each in held:
            each.kind.typical = 0.0  # as for a task that is known to be short
        timed("run it", tasks.run, held)
        timed("record its end", session.end, held)
    session.sync()
    return Steps("one task", {step: seconds / BATCH * 1e6 for step, seconds in best.items()})


def table(measured: Steps) -> str:
    """Return the steps, and each as a share of their sum."""
    total = sum(measured.steps.values())
    lines = [f"{measured.whole:52}{'us':>8}{'share':>8}"]
    lines += [f"  {name:50}{us:8.2f}{us / total:8.0%}" for name, us in measured.steps.items()]
    return "\n".join([*lines, f"  {'sum':50}{total:8.2f}"])


def main() -> None:
    with Server() as server, TemporaryDirectory(prefix="bench-") as directory:
        server.pin(min(os.sched_getaffinity(0)))
        os.environ |= {"BENCH_URL": server.url, DIRECTORY: directory, "XDG_RUNTIME_DIR": directory}
        module = importlib.import_module(APP)  # not before: it reads the environment
        print(table(enqueue_steps(module)), end="\n\n")
        server.client.flushall()
        print(table(task_steps(module)))


if __name__ == "__main__":
    main()
