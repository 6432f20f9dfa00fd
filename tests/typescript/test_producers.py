"""Producers in Node, real servers, and Python workers that run what they send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.contracts.models.app import EXAMPLES, TASKS
from tests.faults.proxy import Proxy
from tests.faults.topologies import port_of
from tests.typescript.node import Project, lines, place
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

ROOT = Path(__file__).parents[2]
Calls = list[tuple[str, str]]
LIBRARIES = ("ioredis", "node-redis")


@pytest.fixture(scope="module")
def calls() -> Calls:
    """Every example of every contract in tests/contracts/models."""
    pairs = zip(TASKS, EXAMPLES, strict=True)
    return [(task.name, task.contract.encode((value,), {}).decode()) for task, (_, value) in pairs]


@pytest.fixture(scope="module")
def tcp() -> Iterator[OwnServer]:
    with OwnServer(tcp=True) as server:
        yield server


def sent(project: Project, calls: Calls, where: str) -> list[str]:
    """Enqueue calls from Node; return the ids of their receipts."""
    ids: list[str] = json.loads(project.run("producer", where, input=lines(calls)))
    return ids


def run_all(url: str, namespace: str, log: Path) -> list[int]:
    """Run a worker until the queues are empty; return the numbers of the examples that ran."""
    log.touch()
    environment = {
        **os.environ,
        "TYPEDQ_URL": url,
        "TYPEDQ_TEST_NAMESPACE": namespace,
        "TYPEDQ_TEST_LOG": str(log),
    }
    worker = ["-m", "typedq", "worker", "tests.contracts.models.app:app", "--burst", "-c", "1"]
    subprocess.run([sys.executable, *worker], cwd=ROOT, env=environment, check=True, timeout=100)
    return sorted(map(int, log.read_text().split()))


def waiting(server: OwnServer, namespace: str) -> list[bytes]:
    with redis.Redis.from_url(server.url) as client:
        found: Any = client.lrange(f"{{{namespace}}}:ready:default", 0, -1)
        return list(found)


def has_more(server: OwnServer, namespace: str, count: int) -> bool:
    return len(waiting(server, namespace)) > count


@pytest.mark.timeout(120)
def test_workers_run_the_examples_of_every_contract(
    project: Project, tcp: OwnServer, calls: Calls, tmp_path: Path
) -> None:
    ids = list[str]()
    for library in LIBRARIES:
        ids += sent(project, calls, place(library, "plain", [port_of(tcp)]))
    assert len({*ids}) == 2 * len(calls)
    twice = sorted([*range(len(EXAMPLES))] * 2)
    assert run_all(tcp.url, project.namespace, tmp_path / "log") == twice


def test_the_program_of_the_documentation_runs(project: Project, tcp: OwnServer) -> None:
    assert project.run("docs/elsewhere", url=tcp.url) == "ship high\n"
    with redis.Redis.from_url(tcp.url) as client:
        assert client.llen("{shop}:ready:high") == 1
        assert client.llen("{shop}:ready:default") == 2
        assert client.zcard("{shop}:delayed:high") == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_lost_replies_and_cut_connections_double_nothing(
    project: Project, tcp: OwnServer, calls: Calls, wait_until: WaitUntil, library: str
) -> None:
    many = Random(1).choices(calls, k=400)
    with redis.Redis.from_url(tcp.url) as client:
        client.flushall()
    with Proxy(port_of(tcp)) as proxy:
        proxy.drop_reply_to("sequence:")
        command = project.command("producer", place(library, "plain", [proxy_port(proxy)]))
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as node:
            assert node.stdin is not None
            node.stdin.write(lines(many))
            node.stdin.close()
            for part in (1, 2, 3):
                wait_until(partial(has_more, tcp, project.namespace, len(many) * part // 5))
                proxy.cut()
            assert node.stdout is not None
            ids = json.loads(node.stdout.read())
    assert proxy.dropped == 1
    found = [message[25:51].decode() for message in waiting(tcp, project.namespace)]
    assert sorted(found) == sorted(ids)
    assert len({*ids}) == len(many)


def proxy_port(proxy: Proxy) -> int:
    return int(proxy.url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
