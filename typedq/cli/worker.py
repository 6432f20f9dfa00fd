"""`typedq worker`: make `WorkerOptions` of flags and settings; flags take precedence."""

from __future__ import annotations

import _thread
import atexit
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from typedq import telemetry
from typedq.app import TypedQ
from typedq.cli.application import AppOrArgument, LogFormat, LogLevel, no_queue
from typedq.cli.parameters import address, cores, duration, processes
from typedq.cli.reload import GRACE_S, run_with_reload
from typedq.errors import ConfigurationError
from typedq.telemetry import event

if TYPE_CHECKING:
    from typedq.settings import Settings

_C_HELP = (
    "Number of child processes, such as 4, cores or cores*2. "
    "\\[default: TYPEDQ_CONCURRENCY, else cores]"
)
_A_HELP = (
    "Coroutine tasks that a child runs at once. \\[default: TYPEDQ_ASYNC_CONCURRENCY, else 100]"
)
_G_HELP = "Time for running tasks to finish after SIGTERM. \\[default: TYPEDQ_GRACE, else 20 s]"
_M_HELP = (
    "Replace a child process after this many tasks. "
    "\\[default: TYPEDQ_MAX_TASKS_PER_CHILD, else never]"
)
_P_HELP = (
    "Replace the largest child when the container, or the machine, uses more than this percentage "
    "of its memory. \\[default: TYPEDQ_MAX_MEM_PERCENT, else never]"
)
_PORT_HELP = (
    "Serve /livez, /readyz and /metrics on this port; 0: any free port. "
    "\\[default: TYPEDQ_METRICS_PORT, else none]"
)
_HOST_HELP = "Address for --metrics-port. \\[default: TYPEDQ_METRICS_HOST, else 0.0.0.0]"
_NAMES = "NAME,..."
_ONE_PROCESS = (
    "it runs one process; "
    "leave out --concurrency, --max-tasks-per-child, --max-mem-percent and --metrics-*"
)

Processes = Annotated[
    int | None, Option("-c", "--concurrency", parser=processes, metavar="N", help=_C_HELP)
]
Coroutines = Annotated[int | None, Option("--async-concurrency", min=1, metavar="N", help=_A_HELP)]
Only = Annotated[
    list[str] | None,
    Option(
        "-Q",
        "--queues",
        metavar=_NAMES,
        envvar="TYPEDQ_WORKER_QUEUES",
        help="Serve only these queues.",
    ),
]
Without = Annotated[
    list[str] | None,
    Option(
        "-X",
        "--exclude-queues",
        metavar=_NAMES,
        envvar="TYPEDQ_EXCLUDE_QUEUES",
        help="Do not serve these queues.",
    ),
]
Burst = Annotated[
    bool, Option("-b", "--burst", envvar="TYPEDQ_BURST", help="Exit when no message is ready.")
]
Solo = Annotated[
    bool, Option("--solo", envvar="TYPEDQ_SOLO", help="Run tasks in one process, for a debugger.")
]
MaxTasks = Annotated[int | None, Option("--max-tasks-per-child", min=1, metavar="N", help=_M_HELP)]
MaxMemory = Annotated[
    float | None,
    Option("--max-mem-percent", min=1, max=100, metavar="N", help=_P_HELP),
]
Reload = Annotated[
    bool,
    Option(
        "-r",
        "--reload",
        envvar="TYPEDQ_RELOAD",
        help="Restart when a .py file in --app-dir changes.",
    ),
]
NoCron = Annotated[
    bool,
    Option("--no-cron", envvar="TYPEDQ_NO_CRON", help="Do not fire cron entries from this worker."),
]
Port = Annotated[
    int | None, Option("--metrics-port", min=0, max=65535, metavar="N", help=_PORT_HELP)
]
Host = Annotated[
    str | None, Option("--metrics-host", parser=address, metavar="IP", help=_HOST_HELP)
]
# With --reload, the watching process starts the worker with this flag.
Reloaded = Annotated[bool, Option("--no-reload", hidden=True)]
EXIT_S = 5.0  # what threads and exit handlers of the app may take when the worker has stopped
Grace = Annotated[float | None, Option(parser=duration, metavar="SECONDS", help=_G_HELP)]


@dataclass(frozen=True)
class PageOptions:
    """Where to serve the pages for probes and scrapers."""

    metrics_port: Port = None
    metrics_host: Host = None

    @property
    def are_given(self) -> bool:
        return self.metrics_port is not None or self.metrics_host is not None

    def address(self, settings: Settings) -> tuple[str, int] | None:
        """Return address and port, or None if the pages are not wanted."""
        port = settings.metrics_port if self.metrics_port is None else self.metrics_port
        return None if port is None else (self.metrics_host or settings.metrics_host, port)


def worker(
    app: AppOrArgument,
    *,
    concurrency: Processes = None,
    async_concurrency: Coroutines = None,
    queues: Only = None,
    exclude_queues: Without = None,
    burst: Burst = False,
    solo: Solo = False,
    log_level: LogLevel = "info",
    log_format: LogFormat = "text",
    max_tasks: MaxTasks = None,
    max_mem_percent: MaxMemory = None,
    grace: Grace = None,
    no_cron: NoCron = False,
    pages: PageOptions,
    reload: Reload = False,
    reloaded: Reloaded = False,
) -> None:
    """Run tasks. SIGTERM or Ctrl-C: finish running tasks, within --grace. Second: stop now."""
    if solo and (concurrency or max_tasks or max_mem_percent or pages.are_given):
        raise typer.BadParameter(_ONE_PROCESS, param_hint="--solo")
    if grace is not None and grace < 0:
        raise typer.BadParameter("must not be negative", param_hint="--grace")
    format: Any = log_format
    if reload and not reloaded:
        telemetry.configure(log_level, format)
        raise typer.Exit(run_with_reload(app.app_dir, GRACE_S if grace is None else grace))
    with _limited_exit() as codes:
        loaded = _load(app, log_level, format)
        settings = loaded.settings
        from typedq.worker import Supervisor, WorkerOptions, run_solo

        options = WorkerOptions(
            _served(loaded, _names(queues), _names(exclude_queues)),
            concurrency or settings.concurrency or cores(),
            async_concurrency or settings.async_concurrency,
            burst=burst,
            grace_s=settings.grace if grace is None else grace,
            max_tasks=None if solo else max_tasks or settings.max_tasks_per_child,
            max_mem_percent=max_mem_percent or settings.max_mem_percent,
            cron=not no_cron,
            app=app.path,
            metrics=pages.address(settings),
        )
        codes.append(1)
        codes.append(run_solo(loaded, options) if solo else Supervisor(loaded, options).run())
    raise typer.Exit(codes[-1])


def _load(app: AppOrArgument, level: str, format: Any) -> TypedQ:
    gc.disable()  # imported modules are not garbage; collecting takes a tenth of the start
    try:
        loaded = app.load(log=(level, format))
        import_module("typedq.worker")  # it is needed next
    finally:
        gc.enable()
    # Before the fork, so that no collection touches it in a child. What is garbage stays: children
    # would fill the holes, and each would have a copy of their pages.
    gc.freeze()
    _warn_of_no_tasks(loaded)
    return loaded


@contextmanager
def _limited_exit() -> Generator[list[int]]:
    """Collect exit codes; from the first on, or if threads are left, the exit takes `EXIT_S`."""
    codes = list[int]()
    try:
        yield codes
    finally:
        if codes or _left_threads(daemons=False):
            _exit_soon([1, *codes][-1])


def _exit_soon(code: int) -> None:
    """Have the process exit with `code` within `EXIT_S`, whatever the app has left in it."""
    for stream in (sys.stdout, sys.stderr):  # now, because a pipe may be slow
        with suppress(Exception):
            stream.flush()
    exiting = threading.Event()

    def end() -> None:
        exiting.wait()
        time.sleep(EXIT_S)
        what = "threads or exit handlers of the app do not end; the process ends without them"
        try:
            event(logging.WARNING, what, threads=",".join(_left_threads(daemons=True)))
        finally:
            os._exit(code)

    # A thread of `threading` does not start where its excepthook was removed.
    _thread.start_new_thread(end, ())
    # The other one comes too late: when all threads have ended.
    register: Any = getattr(threading, "_register_atexit", atexit.register)
    register(exiting.set)


def _left_threads(*, daemons: bool) -> list[str]:
    alive, main = threading.enumerate(), threading.main_thread()
    found = [each for each in alive if daemons or not each.daemon]
    return [t.name for t in found if t is not main and not t.name.startswith("typedq-")]


def _warn_of_no_tasks(app: TypedQ) -> None:
    if app.tasks:
        return
    problem = "the app has no tasks; list their modules in imports="
    if app.declarations.remote:
        problem = "all tasks of the app are remote, so this worker runs nothing, and parks messages"
    event(logging.WARNING, problem)


def _names(given: Sequence[str] | None) -> list[str]:
    return [name for part in given or () for name in part.replace(",", " ").split()]


def _served(app: TypedQ, only: Sequence[str], without: Sequence[str]) -> list[str]:
    """Return the queues to serve, by priority. Raises ConfigurationError for unknown names."""
    known = [queue.name for queue in app.settings.queues]
    problems = [no_queue(name, known) for name in (*only, *without) if name not in known]
    served = [name for name in known if name in (only or known) and name not in without]
    if not served and not problems:
        problems = ["--queues and --exclude-queues leave no queue to serve"]
    if problems:
        raise ConfigurationError(problems)
    return served
