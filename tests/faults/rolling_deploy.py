"""A deploy and a rollback under load: `python -m tests.faults.rolling_deploy --messages 20000`.

Old and new producers and workers run at the same time, as processes. Children are killed meanwhile.
Prints its seed and the result: each message ran once, in code that could read it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.harness import ROOT, Stage, Verdict, Worker, pause, wait_until
from tests.faults.rolling import ERA, READS, SENT
from typedq.broker.parking import Group, groups
from typedq.embedded import OwnServer
from typedq.observe.exporter import Exporter

RELEASED_S = 5.0
# Atomic, so it can run at any moment. It only knows which keys hold messages.
_SCAN = """
local crashes, found, counts, read = 0, {}, {}, {
  ready = function(key) return redis.call('LRANGE', key, 0, -1) end,
  delayed = function(key) return redis.call('ZRANGE', key, 0, -1) end,
  flight = function(key) return redis.call('HVALS', key) end,
}
read.parked = read.ready
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*:*')) do
  local messages = read[string.match(key, '}:(%l+):')]
  for _, m in ipairs(messages and messages(key) or {}) do
    local contract = string.match(m, '^[^ ]+', 53)
    found[contract] = (found[contract] or 0) + 1
    crashes = math.max(crashes, tonumber(string.sub(m, 3, 3)) or 0)
  end
end
local all = redis.call('HGETALL', ARGV[2])
for i = 1, #all, 2 do
  if all[i + 1] ~= '0' then counts[all[i]] = tonumber(all[i + 1]) end
end
return cjson.encode({found, counts, crashes})
"""


class Sent(NamedTuple):
    """A message that was accepted, as its producer recorded it."""

    id: str
    task: str
    era: str
    value: str


class Deploy:
    """One deploy on a stage; `broken` lists the broken promises."""

    def __init__(self, stage: Stage, *, messages: int, kills: int, seed: int, every: float) -> None:
        self.stage, self.messages, self.kills, self.every = stage, messages, kills, every
        self.dice, self.killed, self.scans = random.Random(seed), 0, 0
        self.broken, self.releases = list[str](), list[float]()
        self._producers = list[subprocess.Popen[bytes]]()
        self._ups = list[tuple[str, Worker]]()
        self._sent = stage.directory / "sent"
        self._sent.touch()
        stage.environment |= {"FAULTS_MORE": "tests.faults.rolling", SENT: str(self._sent)}

    # --- the deploy ----------------------------------------------------------------------------

    def run(self) -> Verdict:
        """Deploy, roll back, drain."""
        try:
            old = self._worker("old")
            self._expect_unreadable(False, "before the deploy")
            self._produce("old", self.messages // 3)
            self._produce("new", self.messages // 3)
            self._wait(lambda: self._is_parked("added@", "moved@", "is_called@"), 30)
            self._expect_unreadable(True, "before new workers")
            self._worker("new")
            self._under_fire()
            self._drain()
            self._expect_unreadable(False, "after the deploy")
            codes = [old.stop(60)]
            self._produce("old", self.messages - len(self.sent()))
            self._wait(lambda: self._is_parked("removed@", "broken@"), 30)
            self._expect_unreadable(True, "before the rollback")
            self._worker("old")
            self._under_fire()
            self._drain()
            self._expect_unreadable(False, "after the rollback")
        finally:
            for producer in self._producers:
                producer.kill()
                producer.wait()
        codes += [worker.stop(60) for worker in self.stage.workers[1:]]
        self.stage.accepted += [sent.id for sent in self.sent()]
        verdict = self.stage.check()
        verdict.broken += (*self.broken, *self._judge(), *(f"exit {c}" for c in codes if c))
        return verdict

    def _worker(self, era: str) -> Worker:
        worker = self.stage.worker("-c", "2", **{ERA: era})
        self._ups.append((era, worker))
        wait_until(lambda: worker.events("worker started"), 30)
        return worker

    def _produce(self, era: str, count: int) -> None:
        flags = ("--count", count, "--seed", self.dice.randrange(1 << 30), "--every", self.every)
        command = [sys.executable, "-m", "tests.faults.rolling", *map(str, flags)]
        environment = os.environ | self.stage.environment | {ERA: era}
        self._producers.append(subprocess.Popen(command, cwd=ROOT, env=environment))

    def _is_parked(self, *beginnings: str) -> bool:
        found = {group.contract for group in self.groups()}
        return all(any(c.startswith(beginning) for c in found) for beginning in beginnings)

    def _under_fire(self) -> None:
        """Kill children and count waiting messages until the producers are finished."""
        target = self.killed + self.kills // 2
        while any(producer.poll() is None for producer in self._producers) or self.killed < target:
            pause(self.dice.uniform(0.02, 0.1))
            # Three deaths make a message poison. Random kills must not do that.
            if self._scan() < 2 and self.killed < target:
                self._kill_one()
        if codes := [producer.returncode for producer in self._producers if producer.returncode]:
            self.broken.append(f"producers ended with {codes}")

    def _kill_one(self) -> None:
        children = [c for w in self.stage.workers if w.exit_code is None for c in w.children()]
        if children:
            with suppress(psutil.NoSuchProcess):
                self.dice.choice(children).kill()
                self.killed += 1

    def _drain(self) -> None:
        self._wait(lambda: self.stage.is_drained() and not self.groups(), 300)

    def _wait(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait for the condition. Count waiting messages meanwhile, and once at the end."""

        def counted() -> bool:
            if codes := [p.returncode for p in self._producers if p.poll()]:
                raise TimeoutError(f"producers ended with {codes}")
            met = condition()
            self._scan()
            return met

        wait_until(counted, deadline, every=0.03)

    def _scan(self) -> int:
        """Compare all waiting messages with the counts. Return their highest crash count."""
        keys, server = self.stage.keys, self.stage.redis
        found, counts, crashes = json.loads(server.eval(_SCAN, 0, keys.tag, keys.counts))
        self.scans += 1
        if found != counts:
            self.broken.append(f"counted {counts}, found {found}")
        return int(crashes)

    # --- observations ----------------------------------------------------------------------------

    def _expect_unreadable(self, some: bool, when: str) -> None:
        """Check what an exporter says now of messages that no live worker reads."""
        page = Exporter(self.stage.app).metrics()
        found = sum(
            sample.value
            for family in text_string_to_metric_families(page.text)
            for sample in family.samples
            if sample.name == "typedq_contract_waiting" and sample.labels["readable"] == "no"
        )
        if (found > 0) is not some:
            self.broken.append(f"the exporter counts {found} unreadable messages {when}")

    def groups(self) -> dict[Group, int]:
        return self.stage.ask(groups(self.stage.keys))

    def sent(self) -> list[Sent]:
        return [Sent(*line.split()) for line in self._sent.read_text().splitlines()]

    def parkings(self) -> list[tuple[str, float, int]]:
        """Return (id, time, index of the worker) for each time a message was parked."""
        return [
            (event["id"], _at(event), place)
            for place, worker in enumerate(self.stage.workers)
            for event in worker.events("message parked")
        ]

    def _judge(self) -> Iterator[str]:
        sent = {each.id: each for each in self.sent()}
        for effect in self.stage.effects():
            if effect.what.startswith("saw:"):
                _, era, value = effect.what.split(":")
                of = sent[effect.id]
                if era not in READS[of.task, of.era]:
                    yield f"{of} was run by {era} code"
                if value != of.value:
                    yield f"{of} was read as {value}"
        parked = Counter(id for id, _, _ in self.parkings())
        if not self.killed and (again := [id for id, n in parked.items() if n > 1]):
            yield f"{len(again)} were parked more than once"
        if not parked:
            yield "nothing was parked"
        self.releases = sorted(self._released(sent))
        if not self.releases or self.releases[-1] > RELEASED_S + 2 * (self.killed > 0):
            yield f"released after {self.releases[-1:]} s"

    def _released(self, sent: dict[str, Sent]) -> Iterator[float]:
        """Yield the seconds until each parked message ran, with a worker that can read it."""
        starts = dict[str, float]()
        for effect in self.stage.effects("start"):
            starts.setdefault(effect.id, effect.at)
        ups = [
            (era, _at(w.events("worker started")[0]), [_at(e) for e in w.events("worker stopped")])
            for era, w in self._ups
        ]
        for id, at, _ in self.parkings():
            start, of = starts.get(id, 0.0), sent[id]
            able = [
                max(at, up)
                for era, up, down in ups
                if era in READS[of.task, of.era] and (not down or down[0] > at)
            ]
            if start > at and able:
                yield start - min(able)


def _at(event: dict[str, str]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def report(deploy: Deploy, verdict: Verdict, seconds: float) -> str:
    v, times = verdict, deploy.releases or [0.0]
    worst, median = times[-1], statistics.median(times)
    broken = "".join(f"\nBROKEN: {what}" for what in v.broken)
    return f"""\
messages {v.accepted:,}   kills {deploy.killed}   full scans {deploy.scans}   seconds {seconds:.1f}
lost {v.lost}   dead letters {v.buried}
extra runs {v.extra_runs}   interrupted runs {v.starts_without_end}
parked {len(times):,}, released: median {median:.2f} s, worst {worst:.2f} s{broken}"""


def perform(
    url: str, namespace: str, directory: Path, *, messages: int, kills: int, seed: int, every: float
) -> tuple[Deploy, Verdict, str]:
    """Run one deploy. Return it with its result and the text to print."""
    began, told = time.monotonic(), f"--messages {messages} --kills {kills} --seed {seed}"
    with Stage(url, namespace, directory) as stage:
        deploy = Deploy(stage, messages=messages, kills=kills, seed=seed, every=every)
        try:
            verdict = deploy.run()
        except TimeoutError:
            print(told, *(worker.log.read_text()[-3000:] for worker in stage.workers), sep="\n")
            raise
    return deploy, verdict, f"{told}\n{report(deploy, verdict, time.monotonic() - began)}"


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--messages", type=int, default=20_000)
    flags.add_argument("--kills", type=int, default=100)
    flags.add_argument("--every", type=float, default=0.003, help="seconds between two messages")
    flags.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = flags.parse_args()
    with tempfile.TemporaryDirectory() as directory, OwnServer() as server:
        _, verdict, told = perform(
            server.url,
            f"deploy{given.seed}",
            Path(directory),
            messages=given.messages,
            kills=given.kills,
            seed=given.seed,
            every=given.every,
        )
    print(f"python -m tests.faults.rolling_deploy {told}")
    return int(bool(verdict.broken))


if __name__ == "__main__":
    sys.exit(main())
