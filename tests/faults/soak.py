"""All kinds of faults, mixed at random, under load, for a given time."""

from __future__ import annotations

import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.faults import on_foreign_code
from tests.faults.foreign import app
from tests.faults.harness import Worker, pause, wait_until
from tests.faults.scene import ALWAYS, Scene, scenario
from typedq.worker.child import MAX_PREFETCHED

LEASE_S = 3.0
CYCLE_S = 12.0


class Soak:
    """Three machines with one worker each, and the faults of workers and server."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.dice = scene, scene.dice
        self.server = scene.server(*ALWAYS)
        self.stage = scene.stage(self.server.url, lease=LEASE_S)
        self.stage.declare(app)
        self.machines = [scene.elsewhere() for _ in range(3)]
        self.workers = [self.start(machine) for machine in self.machines]
        self.batches, self.done = 0, Counter[str]()
        self.faults: list[Callable[[], None]] = [
            self.kill_a_child,
            self.kill_a_child,
            self.kill_a_supervisor,
            self.kill_a_group,
            self.stop_a_worker,
            self.stall_a_child,
            self.stall_a_supervisor,
            self.stall_the_server,
            self.kill_the_server,
            self.cut_connections,
            self.flush_scripts,
            self.run_foreign_code,
        ]

    def start(self, machine: dict[str, str]) -> Worker:
        return self.stage.worker("-c", "2", FAULTS_LOG="info", **machine)

    def fault(self) -> None:
        """Cause one fault, unless a message is close to the limit of deaths (poison)."""
        flying = self.stage.in_flight().values()
        if any(message[2:3] >= b"2" or message[4:6] >= b"07" for message in flying):
            return
        what = self.dice.choice(self.faults)
        self.scene.note(what.__name__)
        self.done[what.__name__] += 1
        what()

    def kill_a_child(self) -> None:
        with suppress(psutil.NoSuchProcess, IndexError):
            self.dice.choice(self.dice.choice(self.workers).children()).kill()

    def _again(self, end: Callable[[Worker], object]) -> None:
        # Never the first worker: the test watches its memory.
        place = self.dice.randrange(1, len(self.workers))
        end(self.workers[place])
        self.workers[place] = self.start(self.machines[place])

    def kill_a_supervisor(self) -> None:
        self.batches += 2 * MAX_PREFETCHED
        self._again(Worker.kill)

    def kill_a_group(self) -> None:
        self.batches += 2 * MAX_PREFETCHED
        self._again(Worker.kill_group)

    def stop_a_worker(self) -> None:
        def stop(worker: Worker) -> None:
            wait_until(
                lambda: worker.events("worker started")
            )  # before that, it does not handle signals
            code = worker.stop(30.0)
            self.scene.expect(code == 0, f"a worker ended with {code}")

        self._again(stop)

    def stall_a_child(self) -> None:
        with suppress(psutil.NoSuchProcess, IndexError):
            child = self.dice.choice(self.dice.choice(self.workers).children())
            child.suspend()
            pause(self.dice.uniform(0.1, LEASE_S))
            child.resume()

    def stall_a_supervisor(self) -> None:
        self.batches += 2 * MAX_PREFETCHED
        worker = self.dice.choice(self.workers)
        worker.signal(signal.SIGSTOP)
        pause(self.dice.uniform(0.1, 2 * LEASE_S))
        worker.signal(signal.SIGCONT)

    def stall_the_server(self) -> None:
        self.server.pause()
        pause(self.dice.uniform(0.1, 2 * LEASE_S))
        self.server.resume()

    def kill_the_server(self) -> None:
        self.server.kill()
        pause(self.dice.uniform(0.0, LEASE_S))
        self.server.start()

    def cut_connections(self) -> None:
        for _ in range(self.dice.randint(1, 20)):
            self.stage.redis.execute_command("CLIENT", "KILL", "TYPE", "normal")
            pause(self.dice.uniform(0.0, 0.1))

    def flush_scripts(self) -> None:
        self.stage.redis.script_flush()

    def run_foreign_code(self) -> None:
        """Tasks that change their process, and end well however often they are interrupted."""
        tasks = self.dice.sample(on_foreign_code.tasks(harmless=True), 12)
        self.stage.send_many([self.stage.call(task) for task in tasks])

    def cycle(self) -> None:
        """Cause faults under load, then wait until the queue is drained."""
        end = time.monotonic() + min(CYCLE_S, self.scene.seconds / 2)
        with self.scene.producing(self.stage, batch=8, longest=0.05):
            while time.monotonic() < end:
                pause(self.dice.uniform(0.0, 1.0))
                self.fault()
        since = time.time()
        wait_until(self.stage.is_drained, 120.0, every=0.05)
        self.scene.measured["drained after faults"].append(time.time() - since)

    def memory_mb(self) -> tuple[float, float]:
        """Return the memory of the first supervisor, and of the server without its buffers."""
        used = float(self.stage.redis.info("memory")["used_memory_dataset"])
        return psutil.Process(self.workers[0].pid).memory_info().rss / 1e6, used / 1e6


@scenario(39, "all of these, mixed at random", "all promises hold, memory stays flat", seconds=1800)
def soak(scene: Scene) -> None:
    soak, memory = Soak(scene), list[tuple[float, float]]()
    end = time.monotonic() + scene.seconds
    while time.monotonic() < end or len(memory) < 2:
        soak.cycle()
        memory.append(soak.memory_mb())
        scene.note("memory", supervisor_mb=memory[-1][0], server_mb=memory[-1][1])
    scene.note("faults", **soak.done)
    for who, seen in zip(("the supervisor", "the server"), zip(*memory, strict=True), strict=True):
        third = max(1, len(seen) // 3)
        first, last = statistics.median(seen[:third]), statistics.median(seen[-third:])
        scene.expect(last < first * 1.15 + 3.0, f"{who} grew from {first:.1f} to {last:.1f} MB")
        scene.note("memory", who=who, first_mb=first, last_mb=last)
    scene.finish(soak.stage, batches=soak.batches, deadline=120.0)
