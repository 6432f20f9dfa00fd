"""What all tests share: one server, names that cannot collide, one way to wait, no leftovers."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import psutil
import pytest

if TYPE_CHECKING:
    from tests.faults.harness import Stage
    from typedq.embedded import OwnServer

T = TypeVar("T")
# Tests that start workers, servers of their own or applications; `make check-fast` leaves them out.
_STARTS_PROCESSES = (
    *("worker", "observe", "faults", "examples", "security", "embedded", "test_snippets.py"),
    "typescript/test_client.py",
    *("test_benchmarks.py", "test_conftest.py", "cli/test_reload.py", "cli/test_durability.py"),
    *(f"broker/test_{name}.py" for name in ("durability", "topology", "moved_on", "machine")),
    *(f"broker/test_{name}.py" for name in ("client", "wakeup")),
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that start processes by where they stand."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).as_posix().startswith(_STARTS_PROCESSES):
            item.add_marker(pytest.mark.process)


class WaitUntil(Protocol):
    """The type of the `wait_until` fixture."""

    def __call__(self, condition: Callable[[], T], deadline: float = 20.0) -> T: ...


@pytest.fixture(scope="session")
def server() -> Iterator[OwnServer]:
    """One server for the whole run; TYPEDQ_TEST_SERVER names another binary.

    Shared: a test that stops, pauses or fills a server starts an `OwnServer` of its own.
    """
    from typedq.embedded import OwnServer

    with OwnServer() as own:
        yield own


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def stage(server: OwnServer, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    """A stage on the shared server; its workers are gone when the test is."""
    from tests.faults.harness import Stage

    with Stage(server.url, namespace, tmp_path) as here:
        yield here


@pytest.fixture
def wait_until() -> WaitUntil:
    """Poll until the condition is truthy and return its value; fail after the deadline (seconds).

    The usual deadline finds what hangs, and is no bound: a worker that starts needs a second of
    processor time, which may take ten beside others. It is below the usual lease of 30 s, so that
    what only the end of a lease would mend is found, too.

    The one place in tests where waiting lives; sleeping elsewhere is refused.
    """

    def wait(condition: Callable[[], T], deadline: float = 20.0) -> T:
        end = time.monotonic() + deadline
        while not (value := condition()):
            if time.monotonic() > end:
                pytest.fail(f"not within {deadline:g} s; last answer: {value!r}")
            time.sleep(0.005)
        return value

    return wait


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the children of this test as without `make coverage`, which would measure them.

    For tests of what a child loads or costs, of a child that cannot write where the data is
    kept, and of one that runs other code than that of this checkout.
    """
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)


def _children() -> set[psutil.Process]:
    """Return the descendants of this process; psutil reads all of the machine, at 5 ms a test."""
    if not Path("/proc/thread-self/children").exists():  # not Linux, or a kernel without it
        return set(psutil.Process().children(recursive=True))
    found, parents = set[psutil.Process](), [os.getpid()]
    for parent in parents:  # it grows
        with suppress(OSError):  # it has just ended
            tasks = os.listdir(f"/proc/{parent}/task")  # noqa: PTH208 - a tenth of the time
            for task in tasks:
                with open(f"/proc/{parent}/task/{task}/children") as file:  # noqa: PTH123
                    parents += map(int, file.read().split())
    for pid in parents[1:]:
        with suppress(psutil.NoSuchProcess):
            found.add(psutil.Process(pid))
    return found


def _describe(process: psutil.Process) -> str:
    try:
        status = process.status()
        dead = status == psutil.STATUS_ZOMBIE
        words = process.name() if dead else " ".join(process.cmdline())
    except psutil.Error as error:
        return str(error)
    return f"{process.pid} ({status}): {words}"


def _belongs(process: psutil.Process, owners: set[psutil.Process]) -> bool:
    """Return True for a helper of a process that outlives the test, such as a shared browser."""
    try:
        return not owners.isdisjoint(process.parents())
    except psutil.Error:
        return False


@pytest.fixture(autouse=True)
def no_process_left_behind() -> Iterator[None]:
    """Fail a test that leaves a child or a zombie; end the child, so that only that test fails.

    Autouse, hence torn down last: what fixtures of the test started must be gone by then, what
    session and module fixtures started was there before.
    """
    before = _children()
    yield
    end = time.monotonic() + 1.0  # a child that is just ending may take this long
    while left := {process for process in _children() - before if not _belongs(process, before)}:
        if time.monotonic() > end:
            break
        time.sleep(0.005)
    told = [_describe(process) for process in left]
    # Python's own helper for shared memory lives as long as the interpreter.
    guilty = [line for line in told if "multiprocessing.resource_tracker" not in line]
    if guilty:
        for process in left:
            if process.is_running():
                process.kill()
        psutil.wait_procs(left, timeout=5)
        pytest.fail("left behind: " + "; ".join(guilty))
