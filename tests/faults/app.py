"""The app of the fault tests: each task records what it does, as an effect outside of Redis."""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from typedq import Context, Queue, Reject, Retry, RetryIn, TypedQ
from typedq.worker import children as worker_children

EFFECTS, NAMESPACE, BIRTH = "FAULTS_EFFECTS", "FAULTS_NAMESPACE", "FAULTS_BIRTH"
MORE = "FAULTS_MORE"
_pause = threading.Event().wait
_MOST_MB = 512


def _gorge() -> NoReturn:
    """Allocate memory until the process is killed, or up to _MOST_MB."""
    kept = [b"x" * (1 << 20) for _ in range(_MOST_MB)]
    raise MemoryError(f"{len(kept)} MiB without a limit")


def _in_a_thread(end: Callable[[], object], stack: int = 0) -> None:
    before = threading.stack_size(stack)
    thread = threading.Thread(target=end)
    thread.start()
    threading.stack_size(before)
    thread.join()


_POISON: dict[str, Callable[[], object]] = {
    "abort": os.abort,
    "exit in a thread": lambda: _in_a_thread(lambda: os._exit(0)),
    "stack": lambda: _in_a_thread(lambda: json.loads("[" * 900), 1 << 15),
    "exit": lambda: os._exit(3),
    "segv": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": _gorge,
}


class Effects:
    """The records of one process, in a memory-mapped file, so that a kill loses none.

    A write to a file releases the GIL. If the process is killed before it gets the GIL back, the
    file has the end of a task that did not end. A write to memory has no such gap.
    """

    def __init__(self, directory: Path) -> None:
        self.pid, self._at, self._lock = os.getpid(), 0, threading.Lock()
        path = directory / f"{self.pid}-{time.time_ns()}"
        path.touch()
        os.truncate(path, 1 << 25)  # a sparse file takes no disk space until written
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    def add(self, line: bytes) -> None:
        with self._lock:
            self._memory[self._at : self._at + len(line)] = line
            self._at += len(line)


_mine: list[Effects] = []


def note(ctx: Context, what: str) -> None:
    """Record one line."""
    if not _mine or _mine[0].pid != os.getpid():
        _mine[:] = [Effects(Path(os.environ[EFFECTS]))]
    line = f"{ctx.id} {ctx.attempt} {os.getpid()} {what} {time.time():.6f} {ctx.task}\n"
    _mine[0].add(line.encode())


def noted(directory: Path) -> list[str]:
    """Return the records of all processes, in order of time."""
    lines = list[str]()
    for path in directory.iterdir():
        with path.open("rb") as file, suppress(ValueError):  # the file is still empty
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            written = memory[: memory.find(b"\0")]
            whole = written[: written.rfind(b"\n") + 1]  # the last line may be incomplete
            lines += whole.decode().splitlines()
    return sorted(lines, key=lambda line: line.split()[4])


def build(namespace: str | None = None, *, url: str | None = None) -> TypedQ:
    """Return the app for workers and producers."""
    app = TypedQ(
        namespace or os.environ[NAMESPACE],
        url=url,
        queues=[Queue("high"), Queue("mid"), Queue("low")],
        default_queue="mid",
    )
    _steady(app)
    _gated(app)
    _failing(app)
    for module in os.environ.get(MORE, "").split():
        importlib.import_module(module).declare(app)
    return app


def _steady(app: TypedQ) -> None:
    @app.task
    def crash_quickly(ctx: Context, times: int) -> None:
        """End the process in the first runs, without reading a file."""
        note(ctx, "start")
        if ctx.attempt <= times:
            os._exit(3)
        note(ctx, "end")

    @app.task
    def nap(ctx: Context, seconds: float = 0.0) -> None:
        note(ctx, "start")
        _pause(seconds) if seconds else None
        note(ctx, "end")

    @app.task
    async def anap(ctx: Context, seconds: float = 0.0) -> None:
        note(ctx, "start")
        await asyncio.sleep(seconds)
        note(ctx, "end")


def _gated(app: TypedQ) -> None:
    """Add tasks that run until a file exists, so that a test decides when they end."""

    @app.task
    def hold(ctx: Context, gate: str) -> None:
        note(ctx, "start")
        while not Path(gate).exists():
            _pause(0.002)
        note(ctx, "end")

    @app.task
    async def ahold(ctx: Context, gate: str) -> None:
        note(ctx, "start")
        while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - a local file
            await asyncio.sleep(0.002)
        note(ctx, "end")

    @app.task
    def crash_at(ctx: Context, gate: str, times: int = 1, how: str = "exit") -> None:
        """End the process when the file exists, in the first `times` runs."""
        note(ctx, "start")
        while not Path(gate).exists():
            _pause(0.002)
        lines = noted(Path(os.environ[EFFECTS]))
        if sum(line.startswith(ctx.id) and " start " in line for line in lines) <= times:
            _POISON[how]()
        note(ctx, "end")


def _failing(app: TypedQ) -> None:
    @app.task
    def poison(ctx: Context, how: str) -> None:
        note(ctx, "start")
        _POISON[how]()

    @app.task
    async def apoison(ctx: Context, how: str) -> None:
        note(ctx, "start")
        _POISON[how]()

    @app.task(retry=Retry(max_retries=2, on=(OSError,), backoff=0.05, jitter=False))
    def flaky(ctx: Context, failures: int) -> None:
        note(ctx, "start")
        if ctx.attempt <= failures:
            raise OSError("not yet")
        note(ctx, "end")

    @app.task
    def later(ctx: Context, seconds: float, times: int) -> None:
        note(ctx, "start")
        if ctx.attempt <= times:
            raise RetryIn(seconds)
        note(ctx, "end")

    @app.task
    def rejecting(ctx: Context, why: str) -> None:
        note(ctx, "start")
        raise Reject(why)

    @app.task
    def raising(ctx: Context, what: str) -> None:
        note(ctx, "start")
        raise _RAISED[what]

    @app.task
    async def araising(ctx: Context, what: str) -> None:
        note(ctx, "start")
        await _raise(what)


async def _raise(what: str) -> None:
    if what == "subtask":
        await asyncio.create_task(_raise("exit"))
    raise _RAISED[what]


_RAISED: dict[str, BaseException] = {
    "value": ValueError("no such thing"),
    "exit": SystemExit(5),
    "interrupt": KeyboardInterrupt(),
    "cancelled": asyncio.CancelledError(),
    "generator": GeneratorExit(),
}


def die_at_birth() -> None:
    """End each forked child at its start, if a test sets BIRTH."""
    if os.environ.get(BIRTH) == "raise":
        setattr(worker_children, "Child", _cannot_be)  # noqa: B010
    if os.environ.get(BIRTH) == "exit":
        os.write(2, b"born to die\n")
        os._exit(7)


def _cannot_be(*args: object, **kwargs: object) -> NoReturn:
    raise RuntimeError("born to die")


if BIRTH in os.environ:
    os.register_at_fork(after_in_child=die_at_birth)
