"""`typedq worker`: what it was told becomes `WorkerOptions`; a flag wins over a setting."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer import Option

from typedq import telemetry
from typedq.app import TypedQ
from typedq.cli.application import Placed, no_queue
from typedq.cli.quantities import cores, length, processes
from typedq.cli.reload import GRACE_S, run_again_and_again
from typedq.errors import ConfigurationError
from typedq.telemetry import event

_C_HELP = "Processes: 4, cores or cores*2. \\[default: the setting, else cores]"
_A_HELP = "Coroutines at a time in each process. \\[default: the setting]"
_G_HELP = "How long running tasks may go on after SIGTERM. \\[default: the setting]"
_M_HELP = "Replace a process after so many tasks. \\[default: the setting]"
_P_HELP = "Replace the largest process when more memory is in use. \\[default: the setting]"
_NAMES = "NAME,..."
_OF_PROCESSES = "--concurrency, --max-tasks-per-child and --max-mem-percent"

Processes = Annotated[
    int | None, Option("-c", "--concurrency", parser=processes, metavar="N", help=_C_HELP)
]
Coroutines = Annotated[int | None, Option("--async-concurrency", min=1, help=_A_HELP)]
Only = Annotated[
    list[str] | None, Option("-Q", "--queues", metavar=_NAMES, help="Only these queues.")
]
Without = Annotated[
    list[str] | None, Option("-X", "--exclude-queues", metavar=_NAMES, help="Not these queues.")
]
Burst = Annotated[bool, Option("-b", "--burst", help="Exit when nothing is ready.")]
Solo = Annotated[bool, Option("--solo", help="One process without forks, for a debugger.")]
Level = Annotated[str, Option("-l", "--log-level", help="debug, info, warning, error or critical.")]
Format = Annotated[str, Option("--log-format", help="text or json.")]
MostTasks = Annotated[int | None, Option("--max-tasks-per-child", min=1, help=_M_HELP)]
MostMemory = Annotated[
    float | None,
    Option("--max-mem-percent", min=1, max=100, metavar="PERCENT", help=_P_HELP),
]
Reload = Annotated[
    bool, Option("-r", "--reload", help="Begin again when a .py file in --app-dir changes.")
]
NoCron = Annotated[bool, Option("--no-cron", help="Leave what runs by the clock to others.")]
# How the process that watches starts the one that works, with all the other words it was given.
Reloaded = Annotated[bool, Option("--no-reload", hidden=True)]
Grace = Annotated[float | None, Option(parser=length, metavar="SECONDS", help=_G_HELP)]


def worker(
    app: Placed,
    *,
    concurrency: Processes = None,
    async_concurrency: Coroutines = None,
    queues: Only = None,
    exclude_queues: Without = None,
    burst: Burst = False,
    solo: Solo = False,
    log_level: Level = "info",
    log_format: Format = "text",
    max_tasks: MostTasks = None,
    max_mem_percent: MostMemory = None,
    grace: Grace = None,
    no_cron: NoCron = False,
    reload: Reload = False,
    reloaded: Reloaded = False,
) -> None:
    """Run tasks. SIGTERM or Ctrl-C ends it when the running tasks end, a second one at once."""
    if solo and (concurrency or max_tasks or max_mem_percent):
        reason = f"it is one process: leave out {_OF_PROCESSES}"
        raise typer.BadParameter(reason, param_hint="--solo")
    if grace is not None and grace < 0:
        raise typer.BadParameter("it cannot be negative", param_hint="--grace")
    format: Any = log_format
    if reload and not reloaded:
        telemetry.configure(log_level, format)
        raise typer.Exit(run_again_and_again(app.app_dir, GRACE_S if grace is None else grace))
    gc.disable()  # what is imported stays: to look for garbage in it is a tenth of the start
    try:
        loaded = app.load(log=(log_level, format))
        settings = loaded.settings
        from typedq.worker import Supervisor, WorkerOptions, run_solo
    finally:
        gc.enable()
    gc.freeze()
    orders = WorkerOptions(
        _served(loaded, _names(queues), _names(exclude_queues)),
        concurrency or settings.concurrency or cores(),
        async_concurrency or settings.async_concurrency,
        burst=burst,
        grace_s=settings.grace if grace is None else grace,
        max_tasks=None if solo else max_tasks or settings.max_tasks_per_child,
        max_mem_percent=max_mem_percent or settings.max_mem_percent,
        cron=not no_cron,
    )
    if not loaded.tasks:
        event(logging.WARNING, "the app has no tasks; name their modules in imports=")
    raise typer.Exit(run_solo(loaded, orders) if solo else Supervisor(loaded, orders).run())


def _names(given: Sequence[str] | None) -> list[str]:
    return [name for part in given or () for name in part.replace(",", " ").split()]


def _served(app: TypedQ, only: Sequence[str], without: Sequence[str]) -> list[str]:
    """Queues in the app's order of priority. Raises ConfigurationError naming every stranger."""
    known = [queue.name for queue in app.settings.queues]
    problems = [no_queue(name, known) for name in (*only, *without) if name not in known]
    served = [name for name in known if name in (only or known) and name not in without]
    if not served and not problems:
        problems = ["no queue is left to serve by --queues and --exclude-queues"]
    if problems:
        raise ConfigurationError(problems)
    return served
