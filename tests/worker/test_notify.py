"""What a worker tells systemd, received at a real socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import WaitUntil
from tests.faults.harness import Stage
from typedq import health
from typedq.worker.notify import Notifier

READY = {
    "namespace": "n",
    "app": "",
    "pid": os.getpid(),
    "started": 0,
    "max_silence": 10,
    "starting": 0,
    "start_timeout": 60,
    "children": 1,
    "held": 1,
    "busy": 0,
    "ticked": 1,
}


def report(**values: float) -> health.Report:
    now = time.monotonic()
    given = {**READY, "written": now, "renewed": now, "stopping": 0, **values}
    return health.Report(health.encode({name: str(value) for name, value in given.items()}))


class Systemd:
    """A socket that keeps what it was told."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.setblocking(False)
        self._told = list[str]()

    @property
    def told(self) -> list[str]:
        while True:
            try:
                self._told += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self._told


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        str(tmp_path / "s") if request.param == "path" else f"@typedq-{os.getpid()}-{tmp_path.name}"
    )


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    listens = Systemd(address)
    yield listens
    listens.socket.close()


def test_ready_once_then_the_watchdog_at_each_beat_then_stopping_once(
    systemd: Systemd, address: str
) -> None:
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "PATH": "/bin"}
    notifier = Notifier(environment)
    assert environment == {"PATH": "/bin"}  # programs of tasks are not the worker
    now = time.monotonic()
    notifier.update(report(held=0), now)
    assert systemd.told == ["STATUS=no child has started yet", "WATCHDOG=1"]
    notifier.update(report(), now)
    notifier.update(report(), now)
    assert systemd.told[2:] == ["STATUS=ready", "READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    notifier.update(report(stopping=1), now)
    notifier.stop()
    assert systemd.told[6:] == ["STATUS=it is stopping", "WATCHDOG=1", "STOPPING=1"]


def test_a_worker_that_is_stuck_does_not_feed_the_watchdog(systemd: Systemd, address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
    now = time.monotonic()
    notifier.update(report(starting=now - 61), now)
    (status,) = systemd.told
    assert status.startswith("STATUS=a child has been starting for 61 s")


@pytest.mark.parametrize(
    "environment", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}]
)
def test_the_watchdog_is_fed_only_where_it_waits_for_this_process(
    systemd: Systemd, address: str, environment: dict[str, str]
) -> None:
    Notifier({"NOTIFY_SOCKET": address, **environment}).update(report(), time.monotonic())
    assert systemd.told == ["STATUS=ready", "READY=1"]


@pytest.mark.parametrize("gone", ["", "/nowhere/at/all", "@typedq-nobody-listens"])
def test_without_systemd_nothing_happens(gone: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": gone, "WATCHDOG_USEC": "30000000"})
    notifier.update(report(), time.monotonic())
    notifier.stop()


def test_a_watchdog_that_is_too_short_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "5000000"})
    assert "WatchdogSec is short" in caplog.text


@pytest.mark.parametrize("flags", [("-c", "1"), ("--solo",)])
def test_a_real_worker_tells_systemd_how_it_is(
    stage: Stage, wait_until: WaitUntil, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    listens = Systemd(address := str(tmp_path / "systemd"))
    worker = stage.worker(*flags, NOTIFY_SOCKET=address, WATCHDOG_USEC="30000000")
    wait_until(lambda: "READY=1" in listens.told and listens.told[-1] == "WATCHDOG=1")
    assert worker.stop() == 0
    assert (listens.told.count("READY=1"), listens.told.count("STOPPING=1")) == (1, 1)
    listens.socket.close()
