"""kill -9 of random children under load: `python -m tests.faults.kill_loop --kills 200`.

Prints its seed, which repeats the run, and writes the result as JSON.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.faults.harness import Stage, Verdict, Worker, pause, wait_until
from typedq import Call
from typedq.embedded import OwnServer

LONGEST_TASK_S = 0.02


class KillLoop:
    """A worker whose children are killed one by one until all messages ended."""

    def __init__(self, stage: Stage, *, messages: int, kills: int, children: int, seed: int):
        self.stage, self.messages, self.kills = stage, messages, kills
        self.children, self.dice = children, random.Random(seed)
        self.killed, self.recoveries = list[int](), list[float]()

    def _calls(self, count: int) -> list[Call]:
        """Return calls, half of them coroutines; half take no time, the others up to 20 ms."""
        dice, call = self.dice, self.stage.call
        return [
            call(dice.choice(("nap", "anap")), max(0.0, dice.uniform(-LONGEST_TASK_S, 0.02)))
            for _ in range(count)
        ]

    def run(self) -> Verdict:
        worker = self.stage.worker("-c", str(self.children))
        wait_until(lambda: len(worker.children()) == self.children)
        # Messages are sent in step with the kills, so that each kill hits a busy worker.
        per_kill = -(-self.messages // max(1, self.kills))
        while (missing := self.messages - len(self.stage.accepted)) > 0:
            self.stage.send_many(self._calls(min(per_kill, missing)))
            if len(self.killed) < self.kills:
                pause(self.dice.uniform(0.02, 0.12))
                self._kill_one(worker)
        wait_until(self.stage.is_drained, 120, every=0.05)
        code = worker.stop()
        verdict = self.stage.check(killed=self.killed)
        if code:
            verdict.broken += (f"the worker ended with {code}",)
        return verdict

    def _kill_one(self, worker: Worker) -> None:
        victims = wait_until(lambda: self._victims(worker))
        before = self._sessions()
        victim = self.dice.choice(victims)
        with suppress(psutil.NoSuchProcess):
            victim.kill()
        at = time.monotonic()
        self.killed.append(victim.pid)
        # The operation that requeues its messages also closes its session.
        wait_until(lambda: before - self._sessions(), every=0.0005)
        self.recoveries.append(time.monotonic() - at)

    def _victims(self, worker: Worker) -> list[psutil.Process]:
        # Three deaths make a message poison. Random kills must not do that.
        if any(message[2:3] >= b"2" for message in self.stage.in_flight().values()):
            return []
        # Nor may they hit children that only start: after five in a row the worker gives up.
        begun = {effect.pid for effect in self.stage.effects()}
        return [child for child in worker.children() if child.pid in begun]

    def _sessions(self) -> set[bytes]:
        return set(self.stage.redis.zrange(self.stage.keys.sessions, 0, -1))


def report(loop: KillLoop, verdict: Verdict, seconds: float) -> str:
    v, times = verdict, sorted(loop.recoveries) or [0.0]
    median, worst = statistics.median(times) * 1000, times[-1] * 1000
    broken = "".join(f"\nBROKEN: {what}" for what in v.broken)
    return f"""\
messages {v.accepted:,}   kills {len(loop.killed)}   seconds {seconds:.1f}
lost {v.lost}   dead letters {v.buried}
extra runs {v.extra_runs}   interrupted runs {v.starts_without_end}
recovery after a kill: median {median:.1f} ms, worst {worst:.1f} ms{broken}"""


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--kills", type=int, default=200)
    flags.add_argument("--messages", type=int, default=20_000)
    flags.add_argument("--children", type=int, default=2)
    flags.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    flags.add_argument("--history", type=Path, default=None, help="file for the JSON")
    given = flags.parse_args()
    print(
        f"python -m tests.faults.kill_loop --kills {given.kills} --messages {given.messages}"
        f" --children {given.children} --seed {given.seed}"
    )
    with (
        tempfile.TemporaryDirectory() as directory,
        OwnServer() as server,
        Stage(server.url, f"kill{given.seed}", Path(directory)) as stage,
    ):
        loop = KillLoop(
            stage,
            messages=given.messages,
            kills=given.kills,
            children=given.children,
            seed=given.seed,
        )
        started = time.monotonic()
        try:
            verdict = loop.run()
        except TimeoutError:
            print("".join(worker.log.read_text()[-4000:] for worker in stage.workers))
            raise
        print(report(loop, verdict, time.monotonic() - started))
        if given.history:
            verdict.write(
                given.history, seed=given.seed, kills=len(loop.killed), recovery_s=loop.recoveries
            )
    return int(bool(verdict.broken))


if __name__ == "__main__":
    sys.exit(main())
