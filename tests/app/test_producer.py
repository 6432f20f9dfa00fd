"""What is between a call and the server: one way there, safe from forks and soft timeouts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
import redis

import typedq
from typedq import ConfigurationError, InvalidArguments, Queue, TypedQ
from typedq.broker import Keys
from typedq.embedded import OwnServer, status, stop
from typedq.encoder import MessageEncoder
from typedq.message import decode_message
from typedq.policy import decode_meta
from typedq.task import Call

PACKAGE = f"{Path(typedq.__file__).parent}/"


class Mail(msgspec.Struct, frozen=True):
    to: str


def send_mail(args: Mail) -> None: ...


@pytest.fixture
def app(server: OwnServer, namespace: str) -> Iterator[TypedQ]:
    app = TypedQ(namespace, url=server.url, queues=["high", "low"])
    yield app
    app.close()


# --- the way of a call


def walk(call: Any) -> list[str]:
    """The files of typedq that a call enters, in order."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PACKAGE):
            entered.append(file.removeprefix(PACKAGE))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return entered


def test_an_enqueue_goes_through_few_files_and_never_through_the_app(app: TypedQ) -> None:
    task = app.task(send_mail)
    task.enqueue(Mail("a@b.c"))
    entered = walk(lambda: task.enqueue(Mail("a@b.c")))
    before_the_broker = {file for file in entered if not file.startswith("broker/")}
    assert before_the_broker == {
        "task.py",
        "producer.py",
        "encoder.py",
        "message.py",
        "contracts/contract.py",
        "contracts/codec.py",
    }


def test_metadata_alone_is_made_anew_for_a_message_that_differs_only_in_it(app: TypedQ) -> None:
    """The server gets one group of messages, and nothing else is computed for each."""
    task = app.task(send_mail)
    args = Mail("a@b.c")
    calls = [task.call(args), *(task.options(meta={"trace": f"{n}"}).call(args) for n in range(3))]
    messages = MessageEncoder(app.declarations, app.settings).encode(calls).messages
    assert len({id(out.destination) for out in messages}) == 1
    found = [dict(decode_meta(decode_message(out.message).options)) for out in messages]
    assert found == [{}, {"trace": "0"}, {"trace": "1"}, {"trace": "2"}]


# --- limits


def test_a_call_made_by_hand_is_held_to_both_limits(server: OwnServer, namespace: str) -> None:
    app = TypedQ(namespace, url=server.url, max_body=200, max_depth=3)
    app.task(send_mail)
    for body, reason in (
        (b'{"to":"%s"}' % (b"x" * 200), "209 bytes; the limit is 200"),
        (b"[[[[]]]]", "nested more than 3 levels deep"),
    ):
        with pytest.raises(InvalidArguments) as caught:
            app.enqueue_many([Call("send_mail", body)])
        assert (caught.value.path, caught.value.reason) == ("$", reason)


# --- queues


def test_queues_are_names_or_queues() -> None:
    app = TypedQ("n", queues=["high", Queue("mid", soft_timeout=3), "low"])
    task = app.task(queue="mid")(send_mail)
    assert task.options(queue="high").call(Mail("a@b.c")).options.queue == "high"
    assert app.settings.queues == (Queue("high"), Queue("mid", soft_timeout=3), Queue("low"))
    with pytest.raises(ConfigurationError, match="this app has: high, mid, low"):
        app.task(name="mail", queue="hihg")(send_mail)


@pytest.mark.parametrize(
    ("queues", "problem"),
    [
        (["High"], "queue name 'High': 1 to 64 of a-z"),
        (["a", "b", "a"], "declared twice: a"),
        ([], "there should be at least one"),
        (3, "this is not a list of queues"),
        ([3], "queue name 3: 1 to 64 of a-z"),
        ([None], "queue name None: 1 to 64 of a-z"),
        (["High", Queue("a"), "a"], "queue name 'High': .*; declared twice: a"),
    ],
)
def test_queues_that_cannot_be_are_refused_when_the_app_is_made(queues: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"queues \(argument\): {problem}"):
        TypedQ("n", queues=queues)


# --- forks


def test_a_child_forked_while_another_thread_connects_can_connect(app: TypedQ) -> None:
    """The lock that the thread holds is never released in the child."""
    task = app.task(send_mail)
    lock, held, done = app._producer._lock, threading.Event(), threading.Event()

    def connect() -> None:
        with lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=connect)
    thread.start()
    assert held.wait(10)
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # ends a child that waits for ever
        try:
            task.enqueue(Mail("a@b.c"))
        except BaseException:  # noqa: BLE001
            os._exit(1)
        os._exit(0)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- soft timeouts

TASKS = """
import time
from pathlib import Path
from typedq import SoftTimeout, TypedQ

app, other = TypedQ(sys.argv[-1]), TypedQ("other", url="embedded://")

@other.task
def tick() -> None: ...

@app.task
def enqueue() -> None:
    try:
        tick.enqueue()
        while True:
            time.sleep(1)
    except SoftTimeout:
        Path("cut").touch()
"""


@pytest.mark.parametrize("limit", [0.02, 0.05, 0.2])
def test_a_soft_timeout_does_not_cut_the_start_of_the_embedded_server(
    limit: float,
    server: OwnServer,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    tmp_path.chmod(0o700)
    monkeypatch.setenv("TYPEDQ_URL", server.url)
    monkeypatch.chdir(tmp_path)
    text = TASKS.replace("sys.argv[-1]", repr(namespace))
    (tmp_path / "cut.py").write_text(text)
    app = TypedQ(namespace, url=server.url)

    @app.task
    def enqueue() -> None: ...

    enqueue.options(soft_timeout=limit).enqueue()
    app.close()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "typedq", "worker", "cut:app", "-b", "-c", "1"],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert (tmp_path / "cut").exists(), done.stderr
        started = status("other")
        assert started is not None
        with redis.Redis.from_url(started.url) as client:
            assert client.llen(Keys("other").ready("default")) == 1
    finally:
        stop("other")
