"""Tasks that change the process they run in, and forget to put it back."""

from __future__ import annotations

import asyncio
import decimal
import gc
import locale
import logging
import logging.config
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults.foreign.table import situation, stream, tenant
from typedq import Context

NONE: Any = None

# --- context variables


@situation(both=True)
def tenant_left(ctx: Context) -> None:
    tenant.set(ctx.id)


@situation(both=True)
def precision_left(ctx: Context) -> None:
    decimal.getcontext().prec = 3


@situation("failed", both=True)
def tenant_left_by_failure(ctx: Context) -> None:
    tenant.set("failed")
    raise ValueError


# --- signals


def _nothing(*_: object) -> None: ...


@situation()
def alarm_borrowed(ctx: Context) -> None:
    before = signal.signal(signal.SIGALRM, _nothing)
    signal.alarm(1)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@situation()
def alarm_taken(ctx: Context) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(60)  # it would kill the process, and does if a loaded machine is slow


@situation()
def virtual_timer(ctx: Context) -> None:
    signal.signal(signal.SIGVTALRM, _nothing)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)


@situation()
def limits_lowered(ctx: Context) -> None:
    for name in ("RLIMIT_NOFILE", "RLIMIT_FSIZE"):
        kind = getattr(resource, name)
        resource.setrlimit(kind, (8, resource.getrlimit(kind)[1]))


@situation()
def timer_repeats(ctx: Context) -> None:
    signal.signal(signal.SIGALRM, _nothing)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)


@situation()
def timer_without_handler(ctx: Context) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)


@situation()
def profiling_timer(ctx: Context) -> None:
    signal.signal(signal.SIGPROF, _nothing)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)


@situation(both=True)
def profiling_timer_without_handler(ctx: Context) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0.5)


@situation()
def sigterm_taken(ctx: Context) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@situation("failed")
def sigterm_taken_by_failure(ctx: Context) -> None:
    signal.signal(signal.SIGTERM, _nothing)
    raise ValueError


@situation()
def sigint_and_sigusr1_taken(ctx: Context) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGUSR1, _nothing)


@situation()
def sigchld_ignored(ctx: Context) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@situation()
def signals_of_a_loop(ctx: Context) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, _nothing)
        loop.add_signal_handler(signal.SIGINT, _nothing)
        await asyncio.sleep(0)

    asyncio.run(serve())


@situation()
def signals_blocked(ctx: Context) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])


@situation()
def wakeup_file_taken(ctx: Context) -> None:
    signal.set_wakeup_fd(-1)


# --- standard streams


@situation(both=True)
def stdout_none(ctx: Context) -> None:
    sys.stdout = NONE


@situation("failed", both=True)
def stderr_none(ctx: Context) -> None:
    sys.stderr = NONE
    raise ValueError


@situation()
def stdout_closed(ctx: Context) -> None:
    stream("stdout").close()


@situation("failed")
def stderr_closed(ctx: Context) -> None:
    stream("stderr").close()
    raise ValueError


@situation()
def files_closed(ctx: Context) -> None:
    os.close(1)
    os.close(2)


@situation()
def stderr_redirected(ctx: Context) -> None:
    with Path(os.devnull).open("w") as sink:
        os.dup2(sink.fileno(), 2)


# --- the rest of it


@situation(both=True)
def directory_changed(ctx: Context) -> None:
    os.chdir("/")


@situation()
def directory_removed(ctx: Context) -> None:
    with tempfile.TemporaryDirectory() as gone:
        os.chdir(gone)


@situation(both=True)
def umask_changed(ctx: Context) -> None:
    os.umask(0o777)


@situation()
def locale_changed(ctx: Context) -> None:
    locale.setlocale(locale.LC_ALL, "C" if locale.setlocale(locale.LC_ALL) != "C" else "C.UTF-8")


@situation()
def recursion_limited(ctx: Context) -> None:
    sys.setrecursionlimit(120)


@situation("failed")
def recursion_limited_by_failure(ctx: Context) -> None:
    for limit in range(10, 1_000):
        with suppress(RecursionError):
            sys.setrecursionlimit(limit)
            raise ValueError


def _hostile(*_: object) -> None:
    raise ValueError("in a trace function")


@situation("failed")
def hostile_trace(ctx: Context) -> None:
    sys.settrace(_hostile)
    raise OSError


@situation()
def traced_and_profiled(ctx: Context) -> None:
    sys.setprofile(_nothing)
    sys.settrace(lambda *_: None)


@situation()
def collector_off(ctx: Context) -> None:
    gc.disable()
    gc.set_threshold(0)
    sys.setswitchinterval(1)


@situation()
def warnings_are_errors(ctx: Context) -> None:
    warnings.simplefilter("error")


@situation(both=True)
def sockets_time_out(ctx: Context) -> None:
    socket.setdefaulttimeout(0.0001)


# --- loggers


class _Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit("in a handler")


def _broken_filter(record: logging.LogRecord) -> bool:
    raise ValueError("in a filter")


def _broken_factory(*args: Any, **kwargs: Any) -> Any:
    raise ValueError("in a factory")


def _with_handler(handler: logging.Handler | None) -> None:
    """As long as the failure is logged; it belongs to the app, which would keep it."""
    logger = logging.getLogger("typedq")
    if handler:
        logger.addHandler(handler)
        threading.Timer(0.2, logger.removeHandler, [handler]).start()
    else:
        logger.addFilter(_broken_filter)
        threading.Timer(0.2, logger.removeFilter, [_broken_filter]).start()
    raise ValueError


@situation("failed", both=True)
def handler_exits(ctx: Context) -> None:
    _with_handler(_Broken())


@situation("failed", both=True)
def filter_raises(ctx: Context) -> None:
    _with_handler(None)


@situation("failed")
def record_factory_raises(ctx: Context) -> None:
    logging.setLogRecordFactory(_broken_factory)
    raise ValueError


@situation()
def logging_disabled(ctx: Context) -> None:
    logging.disable(logging.CRITICAL)
    logging.getLogger("typedq").disabled = True


# --- event loops and threads


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> Any:
        raise RuntimeError("no loop of mine")


@situation()
def logger_emptied(ctx: Context) -> None:
    logging.getLogger("typedq").handlers = []  # a coroutine beside may have left none to clear
    logging.getLogger("typedq").setLevel(logging.CRITICAL)


@situation()
def logging_configured(ctx: Context) -> None:
    logging.config.dictConfig({"version": 1})


@situation()
def policy_changed(ctx: Context) -> None:
    asyncio.set_event_loop_policy(_Policy())


@situation()
def runs_a_loop(ctx: Context) -> None:
    asyncio.run(asyncio.sleep(0))


@situation("failed", modes=("coroutine",))
def nests_a_loop(ctx: Context) -> None:
    coroutine = asyncio.sleep(0)
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


@situation(modes=("coroutine",))
def stops_the_loop(ctx: Context) -> None:
    asyncio.get_running_loop().stop()


@situation("failed", modes=("coroutine",))
def cancels_itself(ctx: Context) -> Any:
    task = asyncio.current_task()
    assert task
    task.cancel()
    return asyncio.sleep(20)


_left: list[Any] = []


@situation(modes=("coroutine",))
def leaves_tasks(ctx: Context) -> None:
    async def fail() -> None:
        raise SystemExit

    _left.append([asyncio.ensure_future(fail()), asyncio.ensure_future(asyncio.sleep(600))])


@situation(both=True)
def leaves_threads(ctx: Context) -> None:
    threading.Thread(target=sys.exit, daemon=True).start()
    threading.Thread(target=threading.Event().wait, args=(600,), daemon=True).start()


@situation()
def context_in_a_thread(ctx: Context) -> None:
    with suppress(RuntimeError):
        thread = threading.Thread(target=tenant.set, args=("thread",))
        thread.start()
        thread.join()
