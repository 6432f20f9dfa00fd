"""`typedq worker` as it is started by hand or by a service manager."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Shop

REFUSED = [
    ("-Q hihg -X lo", "no queue named 'hihg' (did you mean 'high'?); this app has: high, low"),
    ("-Q hihg -X lo", "no queue named 'lo' (did you mean 'low'?)"),
    ("-X high,low", "--queues and --exclude-queues leave no queue to serve"),
    ("-c 0", "'0' is not a number of processes (4, cores, cores*2)"),
    ("-c many", "'many' is not a number of processes"),
    ("--solo -c 2", "it runs one process; leave out --concurrency, --max-tasks-per-child, --max"),
    ("--max-mem-percent 0.5", "Invalid value for '--max-mem-percent'"),
    ("--grace -1", "must not be negative"),
    ("-l loud", "log level 'loud' is not one of debug, info, warning, error, critical"),
    ("--log-format xml", "log format 'xml' is not one of text, json"),
    ("--max-tasks-per-child 0", "Invalid value for '--max-tasks-per-child'"),
]


@pytest.mark.parametrize("more", ["-c 1", "--solo", "-c cores*2 -Q low -Q high --grace 5s"])
def test_burst_runs_what_was_enqueued(more: str, shop: Shop) -> None:
    shop.out("enqueue", "send_email", '{"to": "a@b.c", "subject": "hi"}')
    shop.out("enqueue", "resize", '{"image_id": 7}')
    shop.run("worker", "shop:app", "-b", *more.split())
    assert sorted(shop.ran) == ["7 100", "a@b.c hi"]
    assert shop.json("info")["waiting"] == 0


@pytest.mark.parametrize(
    ("choice", "ran"),
    [("-Q high", ["a@b.c "]), ("-X high", ["7 100"]), ("-Q high -X low", ["a@b.c "])],
)
def test_only_the_chosen_queues_are_served(choice: str, ran: list[str], shop: Shop) -> None:
    shop.out("enqueue", "send_email", '{"to": "a@b.c"}')
    shop.out("enqueue", "resize", '{"image_id": 7}')
    shop.run("worker", "-b", "--solo", *choice.split())
    assert shop.ran == ran


def test_a_failure_is_logged_as_json_and_ends_as_a_dead_letter(shop: Shop) -> None:
    shop.out("enqueue", "fail")
    done = shop.run("worker", "-b", "-c", "1", "--log-format", "json", "-l", "error")
    (line,) = (json.loads(line) for line in done.stderr.splitlines())
    assert (line["level"], line["task"]) == ("error", "fail")
    (letter,) = shop.json("dead", "list")
    assert letter["error"] == "RuntimeError: red \x1b[31m herring"


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_bad_options_are_explained(words: str, message: str, shop: Shop) -> None:
    assert message in shop.error("worker", *words.split())


def test_an_app_without_tasks_is_warned_about(shop: Shop) -> None:
    shop.file("bare.py", "import os, typedq\napp = typedq.TypedQ(os.environ['SHOP'])\n")
    assert "WARNING  the app has no tasks" in shop.run("worker", "bare:app", "-b", "--solo").stderr


def test_a_worker_of_remote_tasks_alone_is_warned_and_parks_their_messages(shop: Shop) -> None:
    remote = "import os, typedq\napp = typedq.TypedQ(os.environ['SHOP'])\n"
    remote += "app.remote('ping', contract={'type': 'object'}).enqueue({})\n"
    shop.file("elsewhere.py", remote)
    said = shop.run("worker", "elsewhere:app", "-b", "--solo").stderr
    assert "WARNING  all tasks of the app are remote, so this worker runs nothing, and par" in said
    assert [row["messages"] for row in shop.json("parked", "list")] == [1]


@pytest.mark.parametrize(
    ("setting", "flag"), [("1", []), ("100", ["--max-mem-percent", "1"])], ids=["setting", "flag"]
)
def test_memory_is_limited_by_flag_else_by_setting(
    setting: str, flag: list[str], shop: Shop, wait_until: Any
) -> None:
    shop.env["TYPEDQ_MAX_MEM_PERCENT"] = setting
    with shop.start("worker", "-c", "1", *flag) as worker:
        wait_until(lambda: re.search("memory limit exceeded", shop.log), 20)
        worker.terminate()
        assert worker.wait(20) == 0


@pytest.mark.parametrize("more", [["-c", "1"], ["--solo"]])
def test_sigterm_lets_the_running_task_end(more: list[str], shop: Shop, wait_until: Any) -> None:
    shop.out("enqueue", "hold")
    with shop.start("worker", *more) as worker:
        wait_until((shop.directory / "started").exists)
        worker.send_signal(signal.SIGTERM)
        if "--solo" not in more:
            wait_until(lambda: "stopping: no new tasks" in shop.log)
        assert worker.poll() is None
        shop.file("go", "")
        assert worker.wait(20) == 0
    facts = shop.json("info")
    assert (facts["waiting"], facts["in_flight"], facts["dead"]) == (0, 0, 0)


def test_a_second_sigterm_hands_the_running_task_back(shop: Shop, wait_until: Any) -> None:
    shop.out("enqueue", "hold")
    with shop.start("worker", "-c", "1") as worker:
        wait_until((shop.directory / "started").exists)
        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping: no new tasks" in shop.log)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 1
    facts = shop.json("info")
    assert (facts["queues"][1]["ready"], facts["in_flight"], facts["dead"]) == (1, 0, 0)


LEFT = """
import asyncio, threading, typedq
from shop import app as shop
for_ever = threading.Event().wait
app = typedq.TypedQ(shop.settings.namespace, url=shop.settings.url)

@app.task
def thread() -> None:
    threading.Thread(target=for_ever, name="reporter").start()

@app.task
async def executor() -> None:
    asyncio.get_running_loop().run_in_executor(None, for_ever)
"""
SHORT = "from typedq.cli import main, worker; worker.EXIT_S = 0.1; main()"


def short(shop: Shop, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SHORT, "worker", *words]
    return subprocess.run(
        command,
        cwd=shop.directory,
        env=shop.env,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_solo_worker_ends_whatever_its_tasks_left(shop: Shop) -> None:
    shop.file("left.py", LEFT)
    for task in ("thread", "executor"):
        shop.out("enqueue", task, "-A", "left:app")
    done = short(shop, "left:app", "-b", "--solo")
    assert done.returncode == 0
    assert "worker stopped" in done.stderr
    assert "the process ends without them threads=reporter,asyncio_0\n" in done.stderr


def test_a_worker_whose_app_does_not_load_ends_whatever_that_left(shop: Shop) -> None:
    shop.file("left.py", LEFT)
    shop.file("broken.py", "import left\nleft.thread.fn()\nraise OSError('no database')\n")
    done = short(shop, "broken:app")
    assert done.returncode == 1
    assert "OSError: no database" in done.stderr


def test_more_queues_than_a_worker_can_serve_are_refused(shop: Shop) -> None:
    shop.file(
        "many.py",
        "from typedq import Queue, TypedQ\n"
        "from shop import app as shop\n"
        "app = TypedQ('many', url=shop.settings.url,"
        " queues=[Queue(f'q{n}') for n in range(300)], default_queue='q254')\n"
        "@app.task\n"
        "def note(text: str) -> None:\n"
        "    print(text, flush=True)\n",
    )
    told = shop.run("worker", "many:app", code=2).stderr
    assert "a worker cannot serve 300 queues; choose at most 255 with --queues" in told
    shop.out("enqueue", "note", '{"text": "the last of them"}', "--app", "many:app")
    chosen = ",".join(f"q{n}" for n in range(255))
    ran = shop.run("worker", "many:app", "-b", "-c", "1", "-Q", chosen)
    assert ran.stdout == "the last of them\n"


def test_flags_come_from_the_environment_too(shop: Shop) -> None:
    shop.out("enqueue", "send_email", '{"to": "a@b.c"}')
    shop.out("enqueue", "resize", '{"image_id": 7}')
    shop.env |= {
        "TYPEDQ_APP": "shop:app",
        "TYPEDQ_BURST": "1",
        "TYPEDQ_CONCURRENCY": "cores*2",
        "TYPEDQ_GRACE": "5s",
        "TYPEDQ_LOG_FORMAT": "json",
        "TYPEDQ_NO_CRON": "",
        "TYPEDQ_WORKER_QUEUES": "high",
    }
    done = shop.run("worker")
    started = json.loads(done.stderr.splitlines()[0])
    assert (started["message"], started["queues"]) == ("worker started", "high")
    assert shop.ran == ["a@b.c "]
    shop.run("worker", "-Q", "low")
    assert shop.ran == ["a@b.c ", "7 100"]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("TYPEDQ_WORKER_QUEUES", "hihg", "no queue named 'hihg' (did you mean 'high'?)"),
        ("TYPEDQ_LOG_LEVEL", "loud", "log level 'loud' is not one of debug, info"),
        ("TYPEDQ_NO_CRON", "maybe", "(env var: 'TYPEDQ_NO_CRON')"),
        ("TYPEDQ_CONCURRENCY", "cores*0", "concurrency 'cores*0' (TYPEDQ_CONCURRENCY): this is no"),
    ],
)
def test_a_bad_variable_is_refused(variable: str, value: str, told: str, shop: Shop) -> None:
    shop.env[variable] = value
    assert told in shop.error("worker", "-b")
