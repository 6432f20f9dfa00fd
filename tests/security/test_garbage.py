"""Raw garbage on every key that a worker reads: nobody dies of it, none of it runs.

The seed is printed; GARBAGE_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.faults.scheduled import CRON
from typedq.admin.doctor import check_waiting
from typedq.admin.overview import overview
from typedq.message import encode_message, new_ids

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage, Worker

_ODD = (
    *(b"", b"\x00", b"\xff\xfe\x80", b" ", b"\n", b"nan", b"inf", b"-inf", b"1e300", b"-1"),
    *(b"9" * 19, b"9" * 400, b"{", b"[" * 3000, b"1 0 00 000 0000000000000 ", b"a b", b"@", b"%s"),
    b'{"seen_ms":' + b"9" * 30 + b"}",
    b'{"seen_ms":"x","reads":[[]],"queues":5}',
)


class Garbage:
    """Bytes that nobody would send: odd ones, noise, and messages that were tampered with."""

    def __init__(self, stage: Stage) -> None:
        seed = os.environ.get("GARBAGE_SEED") or str(random.randrange(1 << 32))
        print(f"GARBAGE_SEED={seed}")
        self._dice, self._stage = random.Random(seed), stage

    def some(self) -> Iterator[bytes]:
        """A handful, different each time."""
        yield from self._dice.sample(_ODD, 8)
        for _ in range(4):
            yield self._dice.randbytes(self._dice.randrange(1, 80))
        for _ in range(8):
            yield self._tampered()

    def shuffle(self, names: list[str]) -> None:
        self._dice.shuffle(names)

    def name(self) -> bytes:
        return self._dice.choice((*_ODD, self._dice.randbytes(8)))

    def score(self) -> float:
        return self._dice.choice([0.0, 1.0, -1e308, 1e308, float("inf"), float("-inf"), 1.5])

    def _tampered(self) -> bytes:
        """A message of a task that writes down when it runs, with a byte or a field changed."""
        (id,) = new_ids(1)
        contract = self._stage.app.tasks["nap"].contract.id
        whole = encode_message(
            id=id, contract=contract, queue="mid", options=b"-", body=b'{"seconds":0}'
        )
        fields = whole.split(b" ", 9)
        match self._dice.randrange(4):
            case 0:
                return whole[: self._dice.randrange(len(whole) - 14)]  # no payload is left
            case 1:
                at = self._dice.randrange(8)
                fields[at] = self.name()
            case 2:
                fields[9] = self._dice.choice(
                    [b'{"seconds":NaN}', b"[" * 5000, b'{"seconds":"\xff"}', b"9" * 5000, b"null"]
                )
            case _:
                fields[8] = self._dice.choice(
                    [b'{"hard":-1}', b'{"soft":1e308}', b'{"hard":1e999}', b"{", b"[[[", b"\xff"]
                )
        return b" ".join(fields)


def plant(stage: Stage, garbage: Garbage) -> None:
    """Put garbage of the right type into everything that workers read."""
    server, keys = stage.redis, stage.keys
    owns = [key.decode() for key in server.scan_iter(f"{keys.tag}:ready:_*")]
    for key in (*map(keys.ready, ("high", "mid", "low")), *owns):
        server.rpush(key, *garbage.some())
    for queue in ("high", "mid", "low"):
        server.zadd(keys.delayed(queue), {g: garbage.score() for g in garbage.some()})
        server.rpush(keys.wake(queue), *garbage.some())
    server.rpush(keys.supervisors, *garbage.some())
    for name in ("contracts", "counts", "dead_letters", "stats", "workers", "parked_groups"):
        spoil(server, getattr(keys, name), garbage)
    plant_in_place(stage, garbage)
    groups = [b"mid nap@1", b"mid " + garbage.name(), garbage.name() + b" x", b"mid x#2"]
    groups.append(f"mid {stage.app.tasks['nap'].contract.id}".encode())
    for group in groups:
        server.hset(keys.parked_groups, group, garbage.name())
        list_ = keys.parked("mid", "").encode() + group.split(b" ", 1)[-1]
        server.rpush(list_, *garbage.some())
    sessions = [next(garbage.some()) for _ in range(4)] + [b"gone1", b"gone2"]
    server.zadd(keys.sessions, {s: garbage.score() for s in sessions} | {b"gone1": 1, b"gone2": 2})
    for session in (*sessions, *server.zrange(keys.sessions, 0, -1)):
        known = server.zscore(keys.sessions, session) or 0
        if known < 1e12:
            server.hset(keys.session_queues, session, garbage.name())
        spoil(server, keys.in_flight("").encode() + session, garbage)
    server.sadd(keys.lease_extended, *garbage.some())
    server.sadd(keys.paused, *garbage.some())
    server.set(keys.last_tick, garbage.name())
    for heard in server.scan_iter(f"{keys.tag}:heard:*"):
        server.set(heard, garbage.name())
    for g in garbage.some():
        fields: dict[Any, Any] = {b"n": garbage.name(), b"m": g, garbage.name() + b"_": g}
        server.xadd(keys.broadcasts, fields)


def plant_in_place(stage: Stage, garbage: Garbage) -> None:
    """Not beside what is read, but where it is read."""
    server, keys = stage.redis, stage.keys
    for name, field in (
        *((keys.counts, stage.app.tasks[task].contract.id) for task in ("nap", "anap")),
        *((keys.stats, field) for field in ("done", "dead", "broadcast", "delivered", "retried")),
        *((keys.cron, entry) for entry in ("ticks", "every", "x")),
        *((keys.cron_paused, entry) for entry in ("ticks", "every", "x")),
        *((keys.contracts, f"{task}@{'0' * 16}") for task in ("nap", "anap")),
    ):
        server.hset(name, field, garbage.name())
    for task in ("nap", "anap"):  # of contracts that make a worker read what was published
        (id,) = new_ids(1)
        contract = f"{task}@{'0' * 16}"
        odd = encode_message(id=id, contract=contract, queue="mid", options=b"-", body=b"{}")
        server.rpush(keys.ready("mid"), odd)
    server.zadd(keys.dead, {g: garbage.score() for g in garbage.some()})
    for sequence in server.scan_iter(keys.sequence("*")):
        server.set(sequence, garbage.name())


def spoil(server: Any, key: Any, garbage: Garbage) -> None:
    server.hset(key, mapping={garbage.name() + b".": g for g in garbage.some()})


def is_alive(worker: Worker) -> None:
    assert worker.exit_code is None, worker.log.read_text()[-6000:]
    assert not worker.events("child died"), worker.log.read_text()[-6000:]


def probe(stage: Stage, worker: Worker, wait_until: WaitUntil) -> None:
    """An honest message is run, now and later, and nothing else was."""
    ids = {stage.send("nap"), stage.send("anap", delay=0.05)}

    def ran() -> bool:
        is_alive(worker)
        return ids <= stage.ended()

    wait_until(ran, 20)
    assert set(stage.ids("start")) <= set(stage.accepted)


def test_garbage_of_the_right_type_neither_kills_nor_runs(
    stage: Stage, wait_until: WaitUntil
) -> None:
    garbage = Garbage(stage)
    plant(stage, garbage)
    more = {"FAULTS_MORE": "tests.faults.scheduled", CRON: "* * * * * *"}
    worker = stage.worker("-c", "2", FAULTS_LOG="info", **more)
    for _ in range(5):
        probe(stage, worker, wait_until)
        plant(stage, garbage)
        for session in stage.redis.zrange(stage.keys.sessions, 0, -1):
            spoil(stage.redis, stage.keys.in_flight("").encode() + session, garbage)
    probe(stage, worker, wait_until)
    # Sessions full of garbage end, too; their names are ours, so they are reaped.
    wait_until(lambda: not stage.redis.zscore(stage.keys.sessions, "gone2"), 20)
    wait_until(lambda: stage.effects(task="tick"), 20)
    assert worker.stop() == 0


def scripts_run(server: Any) -> int:
    count: int = server.info("commandstats")["cmdstat_evalsha"]["calls"]
    return count


def test_worker_survives_keys_of_the_wrong_type(stage: Stage, wait_until: WaitUntil) -> None:
    worker = stage.worker("-c", "1", FAULTS_LOG="info", FAULTS_MORE="tests.faults.scheduled")
    probe(stage, worker, wait_until)
    keys, server = stage.keys, stage.redis
    names = [name for attribute, name in vars(keys).items() if attribute != "tag"]
    names += [key for queue in ("high", "mid") for key in keys.queue_keys([queue])]
    names += [
        key.decode()
        for own in ("heard", "ready")
        for key in server.scan_iter(f"{keys.tag}:{own}:_*")
    ]
    names.append(keys.parked("mid", "nap@1"))
    server.hset(keys.parked_groups, "mid nap@1", 1)
    Garbage(stage).shuffle(names)
    for first in range(0, len(names), 3):
        some = names[first : first + 3]
        kept = {name: server.dump(name) for name in some}
        for name in some:
            is_list = server.type(name) == b"list"
            with server.pipeline() as both:  # at once, or the worker writes it anew in between
                both.delete(name)
                both.hset(name, "x", "x") if is_list else both.rpush(name, "x")
                both.execute()
        server.client_kill_filter(_type="normal", skipme=True)
        met = scripts_run(server) + 6

        def has_met(count: int = met) -> bool:
            return scripts_run(server) > count

        wait_until(has_met)
        server.delete(*some)
        for name, dump in kept.items():
            if dump:
                server.restore(name, 0, dump, replace=True)  # it may have been written anew
        probe(stage, worker, wait_until)
    assert worker.stop() == 0
    said = [str(event.get("why")) for event in worker.events()]
    assert any("a key has another type; run typedq doctor (WRONGTYPE" in why for why in said)


def test_burst_solo_worker_and_info_survive_garbage(stage: Stage, wait_until: WaitUntil) -> None:
    garbage = Garbage(stage)
    for flags in (("--burst", "-c", "1"), ("--solo", "--burst")):
        plant(stage, garbage)
        id = stage.send("nap")
        worker = stage.worker(*flags, FAULTS_LOG="info")

        def over(worker: Worker = worker) -> bool:
            return worker.exit_code is not None

        wait_until(over, 20)
        assert worker.exit_code == 0, worker.log.read_text()[-6000:]
        assert id in stage.ended()
        assert set(stage.ids("start")) <= set(stage.accepted)
    plant(stage, garbage)
    facts = overview(stage.app)
    assert [queue["name"] for queue in facts["queues"]] == ["high", "mid", "low"]
    list(check_waiting(facts))
