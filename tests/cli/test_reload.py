"""`typedq worker --reload`: changes are worked with at once."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import sys
import termios
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import APP

if TYPE_CHECKING:
    from tests.cli.conftest import Shop

pytest.importorskip("watchfiles")


def started(shop: Shop) -> int:
    return shop.log.count("worker started")


@pytest.mark.parametrize("more", [["-c", "1"], ["--solo"]])
def test_a_change_is_worked_with_at_once(more: list[str], shop: Shop, wait_until: Any) -> None:
    with shop.start("worker", "-r", *more) as worker:
        wait_until(lambda: started(shop) == 1, 20)
        shop.file("notes.txt", "not code")
        shop.file("shop.py", APP.replace("{image_id} {width}", "new {image_id}"))
        wait_until(lambda: started(shop) == 2, 20)
        shop.out("enqueue", "resize", '{"image_id": 7}')
        wait_until(lambda: shop.ran)
        worker.terminate()
        assert worker.wait(20) == 0
    assert shop.ran == ["new 7"]
    assert shop.log.count("files=shop.py") == 1
    assert "notes.txt" not in shop.log


def test_code_that_cannot_be_imported_waits_for_a_change(shop: Shop, wait_until: Any) -> None:
    shop.file("shop.py", "app = (")
    with shop.start("worker", "--reload", "-c", "1") as worker:
        wait_until(lambda: "worker ended; waiting for a change code=1" in shop.log, 20)
        assert "SyntaxError" in shop.log
        shop.file("shop.py", APP)
        wait_until(lambda: started(shop) == 1, 20)
        worker.send_signal(signal.SIGINT)
        assert worker.wait(20) == 0


def test_reload_requeues_a_task_that_exceeds_the_grace(shop: Shop, wait_until: Any) -> None:
    shop.out("enqueue", "hold")
    with shop.start("worker", "-r", "-c", "1", "--grace", "0") as worker:
        wait_until((shop.directory / "started").exists, 20)
        (shop.directory / "started").unlink()
        shop.file("other.py", "")
        wait_until((shop.directory / "started").exists, 20)
        assert started(shop) == 2
        shop.file("go", "")
        wait_until(lambda: shop.json("info")["in_flight"] == 0)
        worker.terminate()
        assert worker.wait(20) == 0
    facts = shop.json("info")
    assert (facts["waiting"], facts["dead"]) == (0, 0)


def test_a_second_signal_reaches_the_worker(shop: Shop, wait_until: Any) -> None:
    shop.out("enqueue", "hold")
    with shop.start("worker", "-r", "-c", "1") as worker:
        wait_until((shop.directory / "started").exists, 20)
        worker.terminate()
        wait_until(lambda: "stopping: no new tasks" in shop.log)
        worker.terminate()
        assert worker.wait(20) == 1
    assert shop.json("info")["queues"][1]["ready"] == 1


def test_ctrl_c_at_a_terminal_cuts_no_task_short(shop: Shop, wait_until: Any) -> None:
    master, slave = pty.openpty()
    shop.out("enqueue", "hold")
    options: dict[str, Any] = {
        "stdin": slave,
        "start_new_session": True,
        "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    }
    with shop.start("worker", "-r", "-c", "1", **options) as worker:
        wait_until((shop.directory / "started").exists, 20)
        os.write(master, b"\x03")
        wait_until(lambda: "stopping: no new tasks" in shop.log)
        wait_until(lambda: "stopped watching" in shop.log)
        shop.file("go", "")
        assert worker.wait(20) == 0
    os.close(slave)
    os.close(master)
    assert "stopping now" not in shop.log
    assert "interrupted=0" in shop.log


def test_the_missing_extra_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert "it needs watchfiles: pip install 'typedq[reload]'" in shop.error("worker", "-r")
