"""A producer in Node whose connections break while it sends."""

from __future__ import annotations

import json
import subprocess
from functools import partial

from tests.faults.harness import wait_until
from tests.faults.proxy import Proxy
from tests.faults.topologies import client, port_of
from tests.typescript.node import Project, lines, place
from typedq.embedded import OwnServer

CUTS = 4
Calls = list[tuple[str, str]]


def send_over_cuts(project: Project, server: OwnServer, library: str, calls: Calls) -> list[str]:
    """Enqueue calls over a proxy that drops a reply and cuts connections; return their ids."""
    port = port_of(server)
    before = waiting(port, project)
    with Proxy(port) as proxy:
        proxy.drop_reply_to("sequence:")
        at = int(proxy.url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
        command = project.command("producer", place(library, "plain", [at]))
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as node:
            assert node.stdin is not None
            assert node.stdout is not None
            node.stdin.write(lines(calls))
            node.stdin.close()
            for part in range(1, CUTS):
                wait_until(partial(_has, port, project, before + len(calls) * part // CUTS), 60.0)
                proxy.cut()
            ids: list[str] = json.loads(node.stdout.read())
    assert proxy.dropped == 1
    assert len({*ids}) == len(calls)
    return ids


def waiting(port: int, project: Project) -> int:
    length: int = client(port).llen(f"{{{project.namespace}}}:ready:default")
    return length


def _has(port: int, project: Project, count: int) -> bool:
    return waiting(port, project) > count
