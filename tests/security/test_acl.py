"""The ACLs of docs/security.md: each role can do its job, and not that of another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import redis
from redis.exceptions import NoPermissionError

from tests.faults.harness import Stage
from tests.faults.scheduled import CRON
from typedq import TypedQ
from typedq.broker import Broker, Keys, acl
from typedq.embedded import OwnServer
from typedq.errors import EnqueueUncertain, ServerRefused

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```acl\n(.*?)```", (ROOT / "docs" / "security.md").read_text(), re.DOTALL)
LINES = [" ".join(block.split()) for block in BLOCKS]
PRODUCER, BROADCASTER, WAITER, WORKER, ADMIN, CLOSED = LINES


@pytest.fixture
def roles(private: OwnServer, namespace: str, tmp_path: Path) -> Iterator[Roles]:
    with redis.Redis.from_url(private.url) as client:
        yield Roles(private, namespace, client, tmp_path)
        for name in ("producer", "worker", "admin"):
            client.execute_command("ACL", "DELUSER", f"shop-{name}")


class Roles:
    """The users of the documentation, for one namespace."""

    def __init__(self, server: OwnServer, namespace: str, client: Any, directory: Path) -> None:
        self.namespace, self.client, self.directory = namespace, client, directory
        self.server, self.keys = server, Keys(namespace)
        for line in (PRODUCER, WORKER, ADMIN):
            self.apply(line)

    def apply(self, line: str) -> None:
        """Run a line as it stands there; a selector in brackets is one argument."""
        words = re.findall(r"\([^)]*\)|\S+", line.replace("{shop}", self.keys.tag))
        assert self.client.execute_command(*words) in (b"OK", True)

    def url(self, role: str) -> str:
        return self.server.url.replace("://", f"://shop-{role}:{role}-password@")

    def stage(self, role: str) -> Stage:
        """A stage whose producer and worker are such a user."""
        url = self.url(role)
        return Stage(url, self.namespace, self.directory, lease=1.0, eyes=self.server.url)

    def lacking(self, role: str, of: str) -> set[str]:
        """What a user may not do of what a role needs; an error of another kind is an error."""
        dry = Broker(self.server.url, self.namespace)
        wanted = acl.required_commands(self.keys, rights_of(of), "mid")
        may = [(w, dry.call(acl.is_allowed(f"shop-{role}", *w))) for w in wanted]
        dry.close()
        return {" ".join(words) for words, allowed in may if not allowed}


def rights_of(role: str) -> acl.Role:
    return next(each for each in get_args(acl.Role) if each == role)


def test_each_role_may_do_all_that_it_needs(roles: Roles) -> None:
    for role in ("producer", "worker", "admin"):
        assert not roles.lacking(role, role)
    assert not roles.lacking("admin", "worker")
    beyond = roles.lacking("producer", "admin")
    assert {c.split()[0] for c in beyond} >= {"LRANGE", "LPOP", "HGETALL", "HGET", "DEL", "INFO"}


def test_what_is_needed_is_what_scripts_do() -> None:
    scripts = (ROOT / "typedq" / "broker" / "lua").rglob("*.lua")
    sources = {path.stem: path.read_text() for path in scripts}
    called = {stem: set(re.findall(r"redis\.p?call\('(\w+)'", t)) for stem, t in sources.items()}
    every = set.union(*called.values())
    needed = {words[0] for words in acl.required_commands(Keys("x"), "admin", "q")}
    assert every <= needed
    granted = {word[1:].upper() for word in WORKER.split() if re.fullmatch(r"\+[a-z]+", word)}
    direct = {"BLPOP", "XREAD", "UNLINK", "INFO", "SELECT", "EVAL", "EVALSHA"}
    assert granted - direct <= every  # no more than what is used


def test_a_producer_enqueues_and_reads_nothing(roles: Roles) -> None:
    with roles.stage("producer") as stage:
        stage.send("nap")
        stage.send("nap", delay=3600.0)
        stage.send_many([stage.call("nap") for _ in range(3)])
        client: Any = redis.Redis.from_url(roles.url("producer"))
        keys = roles.keys
        script = "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))"
        other = Keys("other")
        for key, command in (
            (keys.ready("mid"), ("LRANGE", "0", "-1")),
            (keys.ready("mid"), ("LPOP",)),
            (keys.ready("mid"), ("LINDEX", "0")),
            (keys.delayed("mid"), ("ZRANGE", "0", "-1")),
            (keys.contracts, ("HGETALL",)),
            (keys.contracts, ("HGET", "x")),
            (keys.contracts, ("HSET", "x", "y")),
            (keys.dead_letters, ("HGETALL",)),
            (keys.workers, ("HGETALL",)),
            (keys.broadcasts, ("XADD", "*", "n", "1")),
            (other.ready("mid"), ("RPUSH", "x")),
            (other.counts, ("HINCRBY", "x", "1")),
            (keys.ready("mid"), ("DEL",)),
        ):
            with pytest.raises(NoPermissionError):
                client.execute_command(command[0], key, *command[1:])
            with pytest.raises(redis.ResponseError, match=r"can't run|NOPERM|permission"):
                client.eval(script, 1, key, *command)
        for words in (["CONFIG", "GET", "*"], ["FLUSHALL"], ["KEYS", "*"], ["INFO"], ["MONITOR"]):
            with pytest.raises(NoPermissionError):
                client.execute_command(*words)
        client.close()
        assert stage.redis.llen(keys.ready("mid")) == 4
        assert stage.redis.zcard(keys.delayed("mid")) == 1


def test_a_producer_broadcasts_only_with_the_lines_for_it(
    roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS_MORE", "tests.faults.scheduled")
    with roles.stage("producer") as stage:
        with pytest.raises(ServerRefused, match="this user may not do that; see the ACLs"):
            stage.app.tasks["told"].broadcast()
        roles.apply(BROADCASTER)
        stage.app.tasks["told"].broadcast()
        assert stage.redis.xlen(roles.keys.broadcasts) == 1
        stage.send("nap")


def test_a_producer_waits_for_a_replica_only_with_the_line_for_it(roles: Roles) -> None:
    """There is none to wait for here; that it may ask is what the line is for."""
    url, namespace = roles.url("producer"), roles.namespace
    app = TypedQ(namespace, url=url, durability="replica", enqueue_deadline=0.3)

    @app.task
    def job() -> None: ...

    with pytest.raises(ServerRefused, match="this user may not do that; see the ACLs"):
        job.enqueue()
    assert not roles.client.exists(roles.keys.ready("default"))
    roles.apply(WAITER)
    with pytest.raises(EnqueueUncertain, match="no replica confirmed"):
        job.enqueue()
    assert roles.client.llen(roles.keys.ready("default")) == 1
    app.close()
    broker = Broker(roles.server.url, namespace)
    assert broker.call(acl.is_allowed("shop-producer", "EXPIRE", roles.keys.sequence("0"), "9"))
    assert not broker.call(acl.is_allowed("shop-producer", "EXPIRE", roles.keys.counts, "9"))
    broker.close()


def test_a_worker_works_under_its_acl(
    roles: Roles, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS_MORE", "tests.faults.scheduled")
    more = {CRON: "* * * * * *", "FAULTS_LOG": "info"}
    with roles.stage("worker") as stage:
        first = stage.worker("-c", "2", "--forget", "anap", **more)
        flaky, bad = stage.send("flaky", 1), stage.send("raising", "value")
        later, slow = stage.send("nap", delay=0.2), stage.send("nap")
        parked = stage.send("anap")

        def is_dead(id: str) -> bool:
            return stage.redis.zscore(stage.keys.dead, id) is not None

        wait_until(lambda: {flaky, later, slow} <= stage.ended() and is_dead(bad))
        wait_until(lambda: stage.redis.hlen(stage.keys.parked_groups))
        wait_until(lambda: stage.effects(task="tick"))
        stage.app.tasks["told"].broadcast()
        wait_until(lambda: stage.effects(task="told"))
        held = stage.send("hold", stage.gate())
        wait_until(lambda: held in stage.ids("start"))
        first.kill_group()  # another takes over what it held
        second = stage.worker("-c", "2", **more)
        stage.open_gate()
        wait_until(lambda: {parked, held} <= stage.ended(), 20)
        assert second.stop() == 0
        for worker in (first, second):
            assert not [e for e in worker.events() if "NOPERM" in str(e) or "may not" in str(e)]
    denied = roles.client.execute_command("ACL", "LOG")
    assert not [entry for entry in denied if b"shop-worker" in str(entry).encode()]


def test_a_worker_may_not_look_elsewhere(roles: Roles) -> None:
    with redis.Redis.from_url(roles.url("worker")) as client:
        for words in (
            ("GET", "other"),
            ("RPUSH", Keys("other").ready("mid"), "x"),
            *(("CONFIG", "GET", "*"), ("FLUSHALL",), ("KEYS", "*"), ("SCRIPT", "FLUSH")),
            *(("ACL", "LIST"), ("CLIENT", "KILL", "ID", "1"), ("MONITOR",)),
        ):
            with pytest.raises(NoPermissionError):
                client.execute_command(*words)


def test_an_admin_runs_every_command(roles: Roles, capfd: pytest.CaptureFixture[str]) -> None:
    from tests.cli.conftest import Shop

    env = {"TYPEDQ_URL": roles.url("admin"), "TYPEDQ_APP": "shop:app"}
    shop = Shop((roles.directory, roles.namespace, capfd), env)
    for words in (
        *(["enqueue", "fail"], ["info"], ["tasks"], ["peek", "low"], ["pause", "low"]),
        *(["resume", "low"], ["dead", "list"], ["parked", "list"], ["purge", "low", "-y"]),
        *(["check-schemas", "--live"], ["doctor"]),
    ):
        shop.out(*words)
    found = {each["check"]: each["found"] for each in shop.json("doctor")["findings"]}
    assert found["acl"] == "shop-admin may act as: producer, worker, admin"
    with shop.start("worker", "--burst", "-c", "1") as worker:
        assert worker.wait(20) == 0
    producer = Shop((roles.directory, roles.namespace, capfd), env)
    producer.env["TYPEDQ_URL"] = roles.url("producer")
    assert "this user may not do that; see the ACLs" in producer.error("info")
    assert "password" not in producer.error("info")


def test_default_user_cannot_log_in_after_the_acls_are_applied(roles: Roles) -> None:
    roles.apply(CLOSED)
    with redis.Redis.from_url(roles.url("admin")) as admin:
        anybody = redis.Redis.from_url(roles.server.url)
        with anybody, pytest.raises(redis.AuthenticationError):
            anybody.ping()
        assert admin.execute_command("ACL", "WHOAMI") == b"shop-admin"
    roles.apply("ACL SETUSER default on")
