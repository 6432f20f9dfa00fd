"""The generated client under a real compiler and a real Node, with real servers and workers.

One file, because each file may run in a process of its own, and each process compiles the project.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Annotated, Any

import pytest
import redis
from redis.exceptions import MovedError

from tests.contracts.models.app import EXAMPLES, TASKS
from tests.faults.topologies import client, cluster, port_of, sentinels
from tests.security.authority import Authority, free_port, speaking
from tests.typescript import differential, edges, hostile
from tests.typescript.conftest import CASES, CONFORMANCE
from tests.typescript.cuts import Calls, send_over_cuts
from tests.typescript.node import Project, lines, place
from typedq import ByPydantic
from typedq.contracts.codec import Codec
from typedq.embedded import OwnServer

ROOT = Path(__file__).parents[2]
LIBRARIES = ("ioredis", "node-redis")
Topology = tuple[dict[str, Any], list[int]]  # an argument of `place`, ports of the servers behind


def examples() -> Calls:
    """Return a call of every example of every contract in tests/contracts/models."""
    pairs = zip(TASKS, EXAMPLES, strict=True)
    return [(task.name, task.contract.encode((value,), {}).decode()) for task, (_, value) in pairs]


@pytest.fixture(scope="module")
def calls() -> Calls:
    return examples()


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
    project: Project, tcp: OwnServer, calls: Calls, library: str
) -> None:
    many = Random(1).choices(calls, k=400)
    with redis.Redis.from_url(tcp.url) as client:
        client.flushall()
    ids = send_over_cuts(project, tcp, library, many)
    found = [message[25:51].decode() for message in waiting(tcp, project.namespace)]
    assert sorted(found) == sorted(ids)


@contextmanager
def over_tls(directory: Path) -> Iterator[Topology]:
    ours, port = Authority(directory, "ours"), free_port()
    more = ("--tls-auth-clients", "no")
    with speaking(ours, ours.sign("server"), port, more, tcp=True) as server:
        yield {"kind": "plain", "ports": [port], "ca": str(ours.pem)}, [port_of(server)]


@contextmanager
def by_sentinels(directory: Path) -> Iterator[Topology]:
    with sentinels(directory) as (url, primary, _):
        hosts = url.removeprefix("redis+sentinel://").partition("/")[0].split(",")
        ports = [int(host.rpartition(":")[2]) for host in hosts]
        yield {"kind": "sentinel", "ports": ports}, [port_of(primary)]


@contextmanager
def in_a_cluster(_directory: Path) -> Iterator[Topology]:
    with cluster(0) as nodes:
        ports = [port_of(node) for node in nodes]
        yield {"kind": "cluster", "ports": ports}, ports


@pytest.mark.timeout(120)
@pytest.mark.parametrize("topology", [over_tls, by_sentinels, in_a_cluster])
def test_each_call_arrives_once_over_any_topology(
    project: Project, calls: Calls, topology: Any, tmp_path: Path
) -> None:
    ids = list[str]()
    with topology(tmp_path) as (where, ports):
        for library in LIBRARIES:
            argument = place(library, **where)
            ids += json.loads(project.run("producer", argument, input=lines(calls)))
        found = [message for port in ports for message in waiting_at(port, project.namespace)]
    assert sorted(message[25:51] for message in found) == sorted(ids)
    assert len({*ids}) == 2 * len(calls)


def waiting_at(port: int, namespace: str) -> list[str]:
    with suppress(MovedError):  # the slot is on another node
        found: list[str] = client(port).lrange(f"{{{namespace}}}:ready:default", 0, -1)
        return found
    return []


def test_good_calls_compile_and_each_misuse_is_an_error(project: Project) -> None:
    """programs/misuse.ts marks each misuse; a mark without an error is an error itself."""
    assert not project.said


def test_the_vectors_hold_in_typescript(project: Project) -> None:
    assert json.loads(project.run("vectors", str(CONFORMANCE))) == []


def test_checks_accept_what_the_workers_decoder_accepts_and_nothing_else(project: Project) -> None:
    """A short version of `python -m tests.typescript.differential`."""
    calls = [(name, text) for name, case in CASES.items() for text in case.texts]
    answers = project.run("differential", input=lines(calls)).splitlines()
    assert differential.judge(CASES, calls, answers) == []
    assert 0.3 < sum(answer != '""' for answer in answers) / len(answers) < 0.9


@pytest.mark.parametrize("name", edges.CASES)
def test_at_the_edges_of_a_contract_nothing_is_lost_or_changed(project: Project, name: str) -> None:
    """As above, with types and values that random ones rarely hit."""
    calls = [(name, text) for text in edges.CASES[name].texts]
    answers = project.run("differential", input=lines(calls)).splitlines()
    assert differential.judge(edges.CASES, calls, answers) == []
    assert '""' not in answers[: edges.SENT[name]]


def test_durations_in_seconds_are_exact_and_every_worker_reads_them(project: Project) -> None:
    texts = json.loads(project.run("durations", json.dumps([*edges.SECONDS, *edges.TOO_LONG])))
    assert texts[len(edges.SECONDS) :] == [""] * len(edges.TOO_LONG)
    for seconds, text in zip(edges.SECONDS, texts, strict=False):
        for codec in (Codec(dt.timedelta), Codec(Annotated[dt.timedelta, ByPydantic])):
            assert codec.parse(json.dumps(text).encode()) == dt.timedelta(seconds=seconds), text


def test_mistakes_that_no_compiler_sees_are_errors_at_once(project: Project) -> None:
    null, *deadlines, prefix, same = json.loads(project.run("mistakes"))
    assert null == "InvalidArguments: expected an object, got null - at $"
    assert {told.rpartition(",")[0] for told in deadlines} == {
        "RangeError: deadline takes a number of seconds above 0"
    }
    assert "keyPrefix of this client hides messages from workers" in prefix
    assert prefix == same


def test_nothing_in_a_bundle_becomes_code(project: Project) -> None:
    """The project compiles with it, too."""
    tasks = len(hostile.BUNDLE.tasks)
    told = json.loads(project.run("inert"))
    assert told == {"pwned": None, "tasks": tasks, "refused": tasks}


@pytest.mark.parametrize("folder", ["shop", "models", "hostile"])
def test_a_generated_folder_needs_nothing_else(project: Project, folder: str) -> None:
    for path in (project.root / folder).glob("*.ts"):
        found = [
            line
            for line in path.read_text().splitlines()
            if line.startswith(("import", "export *"))
        ]
        assert all('from "./' in line for line in found), path
