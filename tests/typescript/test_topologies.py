"""The TypeScript client over TLS, Sentinels and a Cluster, by both libraries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import MovedError

from tests.contracts.models.app import EXAMPLES, TASKS
from tests.faults.topologies import client, cluster, port_of, sentinels
from tests.security.authority import Authority, free_port, speaking
from tests.typescript.node import Project, lines, place

CALLS = [
    (task.name, task.contract.encode((value,), {}).decode())
    for task, (_, value) in zip(TASKS, EXAMPLES, strict=True)
]
Place = dict[str, Any]


@contextmanager
def over_tls(directory: Path) -> Iterator[tuple[Place, list[int]]]:
    ours, port = Authority(directory, "ours"), free_port()
    more = ("--tls-auth-clients", "no")
    with speaking(ours, ours.sign("server"), port, more, tcp=True) as server:
        yield {"kind": "plain", "ports": [port], "ca": str(ours.pem)}, [port_of(server)]


@contextmanager
def by_sentinels(directory: Path) -> Iterator[tuple[Place, list[int]]]:
    with sentinels(directory) as (url, primary, _):
        hosts = url.removeprefix("redis+sentinel://").partition("/")[0].split(",")
        ports = [int(host.rpartition(":")[2]) for host in hosts]
        yield {"kind": "sentinel", "ports": ports}, [port_of(primary)]


@contextmanager
def in_a_cluster(_directory: Path) -> Iterator[tuple[Place, list[int]]]:
    with cluster(0) as nodes:
        ports = [port_of(node) for node in nodes]
        yield {"kind": "cluster", "ports": ports}, ports


@pytest.mark.timeout(120)
@pytest.mark.parametrize("topology", [over_tls, by_sentinels, in_a_cluster])
def test_every_call_arrives_once(project: Project, topology: Any, tmp_path: Path) -> None:
    ids = list[str]()
    with topology(tmp_path) as (where, ports):
        for library in ("ioredis", "node-redis"):
            argument = place(library, **where)
            ids += json.loads(project.run("producer", argument, input=lines(CALLS)))
        found = [message for port in ports for message in waiting(port, project.namespace)]
    assert sorted(message[25:51] for message in found) == sorted(ids)
    assert len({*ids}) == 2 * len(CALLS)


def waiting(port: int, namespace: str) -> list[str]:
    with suppress(MovedError):  # the slot is on another node
        found: list[str] = client(port).lrange(f"{{{namespace}}}:ready:default", 0, -1)
        return found
    return []
