"""Faults of the network: lost replies and silence. Also malformed messages and payloads."""

from __future__ import annotations

import time
from functools import partial

from tests.faults.bulk import declare
from tests.faults.harness import Stage, pause, wait_until
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene, scenario
from tests.faults.topologies import port_of
from typedq.broker.script import script
from typedq.errors import EnqueueUncertain, InvalidArguments, ServerError
from typedq.message import encode_message, new_ids

MIB = 1 << 20


@scenario(10, "a proxy drops one reply of a fetch", "no message is stuck while the process lives")
def fetch_reply_lost(scene: Scene) -> None:
    server = scene.server(tcp=True)
    proxy = scene.enter(Proxy(port_of(server)))
    stage = scene.stage(server.url)
    worker = stage.worker("-c", "2", TYPEDQ_URL=proxy.url)
    stage.send("nap")
    wait_until(stage.ended)
    for _ in range(max(5, round(scene.seconds * 3))):
        before = proxy.dropped
        proxy.drop_reply_to(script("settle_and_fetch").sha)
        since = time.time()
        ids = stage.send_many(scene.calls(stage, scene.dice.randint(1, 40), 0.005))
        wait_until(lambda before=before: proxy.dropped > before)  # type: ignore[misc]
        scene.note("reply dropped")
        wait_until(lambda ids=ids: set(ids) <= stage.ended(), 30.0)  # type: ignore[misc]
        ends = [e.at for e in stage.effects("end") if e.id in ids]
        scene.measure("all done though a reply was lost", max(ends) - since, 2.0 * 4)
    scene.expect(worker.events("session ID replaced"), "no reply of a fetch was lost")
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")


@scenario(11, "a proxy drops one reply of an enqueue", "exactly one copy")
def enqueue_reply_lost(scene: Scene) -> None:
    server = scene.server(tcp=True)
    proxy = scene.enter(Proxy(port_of(server)))
    stage = scene.stage(proxy.url, eyes=server.url)
    stage.worker("-c", "2", TYPEDQ_URL=server.url)
    stage.send("nap")
    rounds = max(5, round(scene.seconds * 3))
    for _ in range(rounds):
        proxy.drop_reply_to(script("enqueue").sha)
        since = time.monotonic()
        stage.send_many(scene.calls(stage, scene.dice.randint(1, 100), 0.002))
        scene.measure("an enqueue whose reply was lost", time.monotonic() - since, 4.0)
    scene.expect(proxy.dropped == rounds, f"{proxy.dropped} replies dropped, not {rounds}")
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")


@scenario(12, "a proxy drops everything for 12 s", "reconnect; a clear error at the deadline")
def silence(scene: Scene) -> None:
    server = scene.server(tcp=True)
    proxy = scene.enter(Proxy(port_of(server)))
    stage = scene.stage(proxy.url, eyes=server.url)
    stage.worker("-c", "2")
    stage.send_many(scene.calls(stage, 300))
    wait_until(lambda: len(stage.ended()) > 20)
    proxy.swallow = True
    since, asked = scene.note("silence"), time.monotonic()
    try:
        stage.app.tasks["nap"].enqueue()
        scene.expect(False, "an enqueue was accepted in silence")
    except EnqueueUncertain as error:
        stage.uncertain += error.ids
        scene.expect("may or may not have been accepted" in str(error), str(error))
    # The last try starts within the deadline of 10 s, and waits 5 s for its reply.
    scene.measure("clear error of an enqueue", time.monotonic() - asked, 16.0)
    pause(max(0.0, since + 12.0 - time.time()))
    proxy.swallow = False
    scene.probe(stage, "back after silence", scene.note("end of silence"), 6.0)
    scene.finish(stage)


def garbage(scene: Scene, stage: Stage) -> bytes:
    """Return malformed bytes, made from a valid message."""
    dice, (id,) = scene.dice, new_ids(1)
    contract = stage.app.tasks["nap"].contract.id
    make = partial(encode_message, id=id, contract=contract, queue="mid", options=b"-")
    deep = b'{"seconds":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    whole = make(body=b'{"seconds":0}')
    return dice.choice(
        [
            whole[: dice.randrange(1, 52)],
            b"%d" % dice.choice([0, 7]) + dice.randbytes(40),
            dice.randbytes(dice.randrange(1, 2000)),
            make(body=deep),
            make(body=b'{"seconds":NaN}'),
            make(body=b'{"seconds":' + b"9" * 5000 + b"}"),
            make(body=b'{"seconds":"\xff\xfe"}'),
            make(body=whole),
            make(body=b""),
        ]
    )


@scenario(27, "malformed bytes pushed to a queue key", "dead letters; no child dies, others run")
def raw_garbage(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    worker, pushed = stage.worker("-c", "2"), 0
    end = time.monotonic() + scene.seconds
    while time.monotonic() < end:
        stage.send_many(scene.calls(stage, 20, 0.002))
        new = {garbage(scene, stage) for _ in range(5)}
        new = {raw for raw in new if raw[:1] < b"3"}  # a newer format would be parked
        stage.redis.rpush(stage.keys.ready("mid"), *new)
        pushed += len(new)
        wait_until(lambda: stage.redis.llen(stage.keys.ready("mid")) < 100)
    wait_until(stage.is_drained, 60.0)
    scene.note("pushed", count=pushed)
    scene.expect(not worker.events("child died"), "a child died")
    kinds = {reason["kind"] for reason in stage.dead().values()}
    scene.expect(kinds <= {"garbage", "bad_message", "invalid_body"}, f"kinds {kinds}")
    # The counts are wrong for pushed messages with a real contract: they were never enqueued.
    stage.redis.delete(stage.keys.counts)
    scene.finish(stage, buried=pushed, raw=pushed)


@scenario(26, "10 MB, a byte over the limit, empty, not text", "refused at enqueue", seconds=1)
def payloads(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    declare(stage.app)
    around = len(b'{"text":""}')
    for bad in ("x" * 10 * MIB, "x" * (MIB - around + 1), b"\xff", None, 1.5, "\ud800"):
        try:
            stage.send("bulk", bad)
            scene.expect(False, f"{str(bad)[:9]!r} was accepted")
        except InvalidArguments as error:
            scene.expect("bulk: " in str(error) and len(str(error)) < 400, str(error)[:500])
        except ServerError as error:
            scene.expect(False, f"it came to the server: {error}")
    scene.expect(stage.redis.llen(stage.keys.ready("mid")) == 0, "something came to the server")
    stage.send("bulk", "x" * (MIB - around))
    stage.send("bulk", "")
    stage.worker("-c", "1", FAULTS_MORE="tests.faults.bulk")
    scene.finish(stage)
