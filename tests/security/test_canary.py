"""A password that must not be seen: looked for in all that typedq prints, and in /proc."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis

from tests.cli.conftest import Place, Shop
from typedq import TypedQ
from typedq.addresses import parse_url
from typedq.broker import Broker
from typedq.broker.script import command
from typedq.cli import main
from typedq.configuration import resolve
from typedq.embedded import OwnServer
from typedq.errors import ConfigurationError, TypedQError

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

CANARY = "c4n4ry-p455"
WRONG = f"{CANARY}-wrong"
PAYLOAD = "s3cret-payl0ad"


@pytest.fixture(scope="module")
def locked() -> Iterator[OwnServer]:
    """A server with a password."""
    with OwnServer(tcp=True) as own:
        with redis.Redis.from_url(own.url) as client:
            client.execute_command("ACL", "SETUSER", "default", "resetpass", f">{CANARY}")
        yield own


def url(server: OwnServer, password: str = CANARY, more: str = "") -> str:
    return server.url.replace("://", f"://default:{password}@") + more


def command_lines() -> str:
    """Of everything this test runs."""
    family = psutil.Process().children(recursive=True)
    return "\n".join(Path(f"/proc/{each.pid}/cmdline").read_text() for each in family)


def test_a_worker_never_shows_the_password(
    place: Place, locked: OwnServer, wait_until: WaitUntil
) -> None:
    given = {"TYPEDQ_URL": url(locked), "TYPEDQ_APP": "shop:app"}
    shop = Shop(place, given | {"XDG_RUNTIME_DIR": str(place[0])})  # for files of locks
    with redis.Redis.from_url(url(locked)) as client:
        for format in ("text", "json"):
            arguments = ("-c", "1", "-l", "debug", "--log-format", format)
            with shop.start("worker", *arguments) as worker:
                wait_until(lambda: "worker started" in shop.log)
                shop.out("enqueue", "fail")
                shop.out("enqueue", "send_email", f'{{"to":"{PAYLOAD}"}}')
                wait_until(lambda: "task failed" in shop.log and PAYLOAD in str(shop.ran))
                # Everything is lost, the connections and the door.
                client.execute_command("ACL", "SETUSER", "default", "resetpass", ">another")
                client.client_kill_filter(_type="normal", skipme=True)
                wait_until(lambda: "request to the server failed; retrying" in shop.log)
                if Path("/proc/self/cmdline").exists():
                    assert "worker" in command_lines()
                    assert CANARY not in command_lines()
                line = ("ACL", "SETUSER", "default", "resetpass", f">{CANARY}")
                client.execute_command(*line)
                assert not written(place[0])
                worker.terminate()
                worker.wait(20)
            assert CANARY not in shop.log
            assert PAYLOAD not in shop.log
    for failing in (url(locked, WRONG), f"redis://:{CANARY}@127.0.0.1:1/0"):
        shop.env["TYPEDQ_URL"] = failing
        with shop.start("worker", "-b", "-c", "1") as worker:
            wait_until(lambda: "request to the server failed" in shop.log)
            worker.kill()
        assert CANARY not in shop.log


def written(directory: Path) -> list[Path]:
    """The files that hold the password."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path for path in files if CANARY.encode() in path.read_bytes()]


URL = "URL"  # stands for the URL in a command
COMMANDS = (
    *(["info"], ["doctor"], ["dead", "list"], ["parked", "list"], ["peek", "low"], ["tasks"]),
    *(["pause", "low"], ["enqueue", "fail"], ["check-schemas", "--live"], ["purge", "low", "-y"]),
    *(["info", "--json"], ["doctor", "--json"], ["tasks", "--json"], ["export-schemas"]),
    *(["check-schemas", "--against", URL], ["check-schemas", "--live", "--format", "json"]),
    *(["server", "status", "--json"], ["enqueue", "fail", "--json"]),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_shows_it_even_when_it_fails(
    place: Place, locked: OwnServer, words: list[str]
) -> None:
    for given in (
        url(locked),
        url(locked, WRONG),
        f"redis://:{CANARY}@127.0.0.1:1/0",
        f"redis://default:{CANARY}@nowhere.invalid/0",
        f"redis://127.0.0.1:6379/0?password={CANARY}&nonsense=1",
        f"redis://default:{CANARY}/x@127.0.0.1/0",
        f"redis:/default:{CANARY}@127.0.0.1",
        f"redis://{CANARY}:{CANARY}",
        f"rediss://u:{CANARY}@127.0.0.1:1/0?ssl_keyfile=/nowhere&ssl_password={CANARY}",
        f"redis+sentinel://:{CANARY}@127.0.0.1:1/jobs?sentinel_password={CANARY}",
        f"redis+cluster://:{CANARY}@127.0.0.1:1",
        f"redis://{CANARY}@127.0.0.1:1/0",
        f"redis://u:{CANARY[:6]}%2{CANARY}@127.0.0.1:1/0",
        f"unix://u:{CANARY}@/nowhere/s?password={CANARY}",
        f"redis://127.0.0.1:1/0?db=x&username=u&PassWord={CANARY}",
        f"redis://127.0.0.1:1/{CANARY}",
    ):
        shop = Shop(place, {"TYPEDQ_URL": given, "TYPEDQ_APP": "shop:app"})
        here = [given if word == URL else word for word in words]
        with shop._surroundings(*here), pytest.raises(SystemExit):
            main()
        out, err = place[2].readouterr()
        assert CANARY not in out + err, given
        assert not written(place[0]), given


def shown(thing: Any) -> str:
    return f"{thing!r} {thing} {thing!s:>1} {thing!a}"


def test_no_repr_shows_it(locked: OwnServer, namespace: str, tmp_path: Path) -> None:
    given = url(locked, more=f"?sentinel_password={CANARY}")
    app = TypedQ(namespace, url=given)
    settings = resolve({"namespace": namespace, "url": given}, start=tmp_path, environ={})
    broker = Broker(given, namespace)
    connection = broker.connection()
    connection.execute(command("PING"))
    tls = Broker(f"rediss://u:{CANARY}@h/0?ssl_keyfile=/k&ssl_password={CANARY}", namespace)
    things = (app, app.settings, settings, broker, parse_url(given), connection, broker.keys, tls)
    for thing in (*things, connection._redis, tls.connection()):
        assert CANARY not in shown(thing)
    assert CANARY not in broker.url
    broker.close()


def test_no_error_shows_it(
    locked: OwnServer, namespace: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)  # of every library
    for given in (
        url(locked, WRONG),
        f"redis://:{CANARY}@127.0.0.1:1/0",
        f"redis://:{CANARY}@h/0?pass={CANARY}",
        f"rediss://:{CANARY}@127.0.0.1:1/0?ssl_keyfile=/nowhere&ssl_password={CANARY}",
        f"rediss+sentinel://:{CANARY}@127.0.0.1:1/jobs?sentinel_password={CANARY}",
        f"redis+cluster://:{CANARY}@127.0.0.1:1",
    ):
        app = TypedQ(namespace, url=given, enqueue_deadline=0.5)

        @app.task
        def nothing() -> None: ...

        with pytest.raises(TypedQError) as caught:
            nothing.enqueue()
        trace = traceback.TracebackException.from_exception(caught.value, capture_locals=False)
        told = "".join(trace.format())
        assert CANARY not in told
        assert CANARY not in shown(caught.value) + repr(vars(caught.value)) + caplog.text
    with pytest.raises(ConfigurationError) as wrong:
        resolve({"namespace": "UPPER", "url": f"x://:{CANARY}@h", "lease": -1}, start=tmp_path)
    assert CANARY not in shown(wrong.value)
