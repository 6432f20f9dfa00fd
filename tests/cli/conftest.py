"""The real command in processes of its own, on an app in a directory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from typedq import Queue, Task, TypedQ
from typedq.broker import DeadBounds, operations, settlements
from typedq.broker.parking import Group, Parked, groups, park
from typedq.broker.stats import survey
from typedq.telemetry import logger

if TYPE_CHECKING:
    from typedq.embedded import OwnServer

COMMAND = str(Path(sys.executable).with_name("typedq"))
Place = tuple[Path, str, pytest.CaptureFixture[str]]
APP = """
import os, threading
from pathlib import Path
import msgspec
from typedq import Queue, Retry, TypedQ

app = TypedQ(os.environ["SHOP"], queues=[Queue("high"), Queue("low", soft_timeout=5)])

class Email(msgspec.Struct, frozen=True):
    to: str
    subject: str = ""

@app.task(queue="high", retry=Retry(max_retries=2, on=(OSError,)), hard_timeout=7200)
def send_email(args: Email) -> None:
    with open("log", "a") as log:
        log.write(f"{args.to} {args.subject}\\n")

@app.task
async def resize(image_id: int, *, width: int = 100) -> None:
    with open("log", "a") as log:
        log.write(f"{image_id} {width}\\n")

@app.task
def hold() -> None:
    Path("started").touch()
    while not Path("go").exists():
        threading.Event().wait(0.01)

@app.task
def fail() -> None:
    raise RuntimeError("red \\x1b[31m herring")

def make(): return app
def needs(a): return app
def wrong(): return 3
def boom(): raise ValueError("boom")
"""


class Shop:
    """A directory with `shop.py`; commands run there."""

    command = COMMAND

    def __init__(self, place: Place, env: Mapping[str, str]) -> None:
        self.directory, self.namespace, self._capture = place
        self.file("shop.py", APP)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TYPEDQ_", "XDG_"))}
        self.env = {**kept, "SHOP": self.namespace, "COLUMNS": "300", **env}

    def file(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def run(self, *words: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which must have this exit code."""
        done = subprocess.run(
            [COMMAND, *words],
            cwd=self.directory,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def out(self, *words: str, code: int = 0, **more: Any) -> str:
        return (
            self.run(*words, code=code, **more).stdout if more else self.here(*words, code=code)[0]
        )

    def json(self, *words: str, **more: Any) -> Any:
        return json.loads(self.out(*words, "--json", **more))

    def here(self, *words: str, code: int) -> tuple[str, str]:
        """Run a command in this process: a process of its own takes a second to begin."""
        from typedq.cli import main

        with self._surroundings(*words), pytest.raises(SystemExit) as end:
            main()
        out, err = self._capture.readouterr()
        assert end.value.code == code, (words, end.value.code, out, err)
        return out, err

    @contextmanager
    def _surroundings(self, *words: str) -> Iterator[None]:
        handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("TYPEDQ_")]:
                patch.delenv(name)
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.chdir(self.directory)
            patch.setattr("sys.argv", ["typedq", *words])
            patch.setattr("sys.path", sys.path[:])
            yield
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(self.directory)):
                del sys.modules[name]

    def error(self, *words: str, code: int = 2) -> str:
        """What a refused command writes to stderr, in one line: error panels break lines."""
        out, err = self.here(*words, code=code)
        assert not out
        assert ("Traceback" in err) <= (code == 1)
        return " ".join(err.replace("│", " ").split())

    @contextmanager
    def start(self, *words: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on; killed in the end if it still runs. Its log: `stderr`."""
        with (self.directory / "stderr").open("w") as log:
            command = [COMMAND, *words]
            options: dict[str, Any] = {"stderr": log, "text": True, **more}
            with subprocess.Popen(command, cwd=self.directory, env=self.env, **options) as process:
                try:
                    yield process
                finally:
                    process.kill()

    @property
    def log(self) -> str:
        return (self.directory / "stderr").read_text()

    @property
    def ran(self) -> list[str]:
        log = self.directory / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def place(tmp_path: Path, namespace: str, capfd: pytest.CaptureFixture[str]) -> Place:
    return tmp_path, namespace, capfd


@pytest.fixture
def shop(place: Place, server: OwnServer) -> Shop:
    """An app on the shared server, chosen by TYPEDQ_APP."""
    return Shop(place, {"TYPEDQ_URL": server.url, "TYPEDQ_APP": "shop:app"})


class Cemetery:
    """Buries and parks messages without a worker."""

    def __init__(self, url: str, namespace: str) -> None:
        self.app = TypedQ(namespace, url=url, queues=[Queue("high"), Queue("low")])
        self.broker = self.app.broker

        @self.app.task(queue="high")
        def send_email(to: str) -> None: ...

        @self.app.task
        def fail(secret: str) -> None: ...

        @self.app.task
        def legacy(secret: str) -> None: ...

        @self.app.task
        def resize(image_id: int) -> None: ...

        tasks: list[Task[..., Any]] = [send_email, fail, legacy, resize]
        self.calls = {task.name: task for task in tasks}

    def park(self, task: str, count: int = 1, **options: Any) -> str:
        """So many new messages, set aside; returns their contract."""
        known = self.calls[task]
        group = Group(known.queue or "low", known.contract.id)
        receipts = self.app.enqueue_many([known.options(**options).call("xyz")] * count)
        keys, queues = self.broker.keys, ["high", "low"]
        self.broker.call(operations.open(keys, ["s"], queues, 60_000))
        for start in range(0, count, 500):
            ids = [receipt.id.encode() for receipt in receipts[start : start + 500]]
            self.broker.call(settlements.settle_and_fetch(keys, "s", queues, max_messages=len(ids)))
            parked = [Parked(group, id) for id in ids]
            assert self.broker.call(park(keys, "s", parked, DeadBounds())) == len(ids)
        # Groups begun in the same millisecond have no order.
        since = self.broker.call(groups(keys))[group]
        while self.broker.call(survey(keys, queues, [])).now_ms <= since:
            pass
        return group.contract

    def bury(self, task: str, count: int = 1, reason: bytes | None = None) -> list[str]:
        """The ids of so many new dead letters, oldest first."""
        receipts = self.app.enqueue_many([self.calls[task].call("xyz")] * count)
        why = reason or b'{"kind":"failed","error":"RuntimeError: a\\u001b[31mb","attempts":2}'
        self.fetch([settlements.DeadLetter(receipt.id.encode(), why) for receipt in receipts])
        return [receipt.id for receipt in receipts]

    def fetch(self, settle: list[settlements.DeadLetter]) -> None:
        keys, queues = self.broker.keys, ["high", "low"]
        self.broker.call(operations.open(keys, ["s"], queues, 60_000))
        for start in range(0, max(1, len(settle)), 500):
            batch = settle[start : start + 500]
            self.broker.call(
                settlements.settle_and_fetch(keys, "s", queues, max_messages=max(1, len(batch)))
            )
            self.broker.call(settlements.settle_and_fetch(keys, "s", queues, settle=batch))


@pytest.fixture
def cemetery(server: OwnServer, namespace: str) -> Iterator[Cemetery]:
    made = Cemetery(server.url, namespace)
    yield made
    made.broker.close()


@pytest.fixture
def project(place: Place, tmp_path: Path) -> Iterator[Shop]:
    """An app without a URL in a project of its own, and so with an embedded server of its own."""
    state = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_RUNTIME_DIR": str(tmp_path)}
    shop = Shop(place, state)
    shop.file("pyproject.toml", '[tool.typedq]\napp = "shop:app"\n')
    yield shop
    # Whatever a test left running; without a project file, it is found by the app.
    stop = [COMMAND, "server", "stop", "-A", "shop:app"]
    subprocess.run(stop, cwd=tmp_path, env=shop.env, capture_output=True, check=False)
