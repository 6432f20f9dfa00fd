"""Do workers run everything that a producer in Node sends, once, although its connections break?

    python -m tests.typescript.many --messages 10000

Every example of every contract of tests/contracts/models is sent in turn, by both libraries, over
a proxy that drops a reply and cuts connections. A Python worker runs them all.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.contracts.models.app import app as models
from tests.typescript.cuts import send_over_cuts
from tests.typescript.node import Project
from tests.typescript.test_client import LIBRARIES, examples, run_all
from typedq.admin.bundles import of_app
from typedq.embedded import OwnServer

PROGRAMS = ("producer.ts", "exact.ts")


def send(project: Project, server: OwnServer, library: str, count: int) -> Counter[int]:
    """Enqueue some messages; return how often each example is among them."""
    calls = list(itertools.islice(itertools.cycle(enumerate(examples())), count))
    send_over_cuts(project, server, library, [call for _, call in calls])
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
