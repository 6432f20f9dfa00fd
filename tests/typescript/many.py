"""Do workers run everything that a producer in Node sends, once, although its connections break?

    python -m tests.typescript.many --messages 10000

Every example of every contract of tests/contracts/models is sent in turn, by both libraries, over
a proxy that drops a reply and cuts connections. A Python worker runs them all.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.contracts.models.app import app as models
from tests.faults.harness import wait_until
from tests.faults.proxy import Proxy
from tests.faults.topologies import client, port_of
from tests.typescript.node import Project, lines, place
from tests.typescript.test_client import LIBRARIES, examples, proxy_port, run_all
from typedq.admin.bundles import of_app
from typedq.embedded import OwnServer

CUTS = 5
PROGRAMS = ("producer.ts", "exact.ts")


def send(project: Project, server: OwnServer, library: str, count: int) -> Counter[int]:
    """Enqueue some messages; return how often each example is among them."""
    calls = list(itertools.islice(itertools.cycle(enumerate(examples())), count))
    ready, port = f"{{{project.namespace}}}:ready:default", port_of(server)
    before = client(port).llen(ready)
    with Proxy(port) as proxy:
        proxy.drop_reply_to("sequence:")
        command = project.command("producer", place(library, "plain", [proxy_port(proxy)]))
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as node:
            assert node.stdin is not None
            assert node.stdout is not None
            node.stdin.write(lines(call for _, call in calls))
            node.stdin.close()
            for part in range(1, CUTS):
                wanted = before + count * part // CUTS
                wait_until(lambda wanted=wanted: client(port).llen(ready) > wanted, 60.0)  # type: ignore[misc]
                proxy.cut()
            ids = json.loads(node.stdout.read())
    assert len({*ids}) == count
    return Counter(number for number, _ in calls)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=10_000)
    count = parser.parse_args().messages // len(LIBRARIES)
    wanted = Counter[int]()
    with tempfile.TemporaryDirectory() as directory, OwnServer(tcp=True) as server:
        project = Project(Path(directory))
        for program in (project.root / "programs").iterdir():
            if program.name not in PROGRAMS:
                program.unlink()
        project.add(
            "models", dataclasses.replace(of_app(models).bundle, namespace=project.namespace)
        )
        assert not (said := project.compile()), said
        for library in LIBRARIES:
            wanted += send(project, server, library, count)
        ran = Counter(run_all(server.url, project.namespace, Path(directory) / "log"))
    print(f"{wanted.total()} messages sent, {ran.total()} ran")
    return int(ran != wanted)


if __name__ == "__main__":
    sys.exit(main())
