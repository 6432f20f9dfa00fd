"""The state of the process that a task may change, and how it is restored."""

from __future__ import annotations

import gc
import locale
import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Set
from contextlib import suppress
from functools import cache, partial
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast, final

from typedq.process.forks import end_if_copy
from typedq.process.signals import WORKER_SIGNALS, get_handler, get_mask
from typedq.process.streams import Streams
from typedq.telemetry import event, logger

CHECK_EVERY_S = 0.005
_LIMITS: Final = ("NOFILE", "FSIZE", "CPU", "AS", "DATA", "STACK", "NPROC")
_FIXED: Final = {"SIGKILL", "SIGSTOP"}
_SIGNALS: Final = sorted(
    number for number in signal.valid_signals() if getattr(number, "name", "") not in _FIXED
)
# Those of the worker that C code may have taken, unseen by Python. SIGCHLD is not ours in a child:
# gevent takes it so for good, and never sees the end of a process if that is undone.
_SET_ANEW: Final = {*WORKER_SIGNALS} - {getattr(signal, "SIGCHLD", None)}
# Names, because a producer may run where there are none of these.
_TIMERS: Final = ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
_CLOCKS: Final = ("monotonic", "time", "sleep")


class _Part(NamedTuple):
    """One thing that belongs to the process; `read` and `write` may raise."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _set_mask(mask: set[int]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _locale() -> str:
    return locale.setlocale(locale.LC_ALL)


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


@cache
def _resources() -> tuple[int, ...]:
    import resource

    return tuple(getattr(resource, f"RLIMIT_{name}") for name in _LIMITS)


def _limits() -> list[tuple[int, int]]:
    import resource

    return [*map(resource.getrlimit, _resources())]


def _set_limits(before: list[tuple[int, int]]) -> None:
    import resource

    try:
        for kind, limits in zip(_resources(), before, strict=True):
            resource.setrlimit(kind, limits)
    except (ValueError, OSError):
        event(logging.ERROR, "a task lowered limits of its process for good; the process ends")
        signal.raise_signal(signal.SIGTERM)


def _collector() -> tuple[bool, tuple[int, int, int], int]:
    return gc.isenabled(), gc.get_threshold(), gc.get_debug()


def _set_collector(before: tuple[bool, tuple[int, int, int], int]) -> None:
    gc.enable() if before[0] else gc.disable()
    gc.set_threshold(*before[1])
    gc.set_debug(before[2])


def _stack_size() -> int:
    now = threading.stack_size(0)  # it can only be read by setting another
    if now:
        threading.stack_size(now)
    return now


def _set_traceback_limit(limit: Any) -> None:
    sys.tracebacklimit = limit  # None means none, too


def _logger() -> tuple[Any, ...]:
    return (*logger.handlers,), (*logger.filters,), logger.level, logger.propagate, logger.disabled


def _set_logger(before: tuple[Any, ...]) -> None:
    handlers, filters, logger.level, logger.propagate, logger.disabled = before
    logger.handlers, logger.filters = [*handlers], [*filters]  # it may have none any more


def set_trace(function: Any) -> None:
    """Set the trace function of this thread, unless a debugger may be the one that runs."""
    if not {"bdb", "pydevd"} & sys.modules.keys():  # a debugger may have been attached meanwhile
        sys.settrace(function)


def _policy() -> Any:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or sys.version_info >= (3, 14):  # which deprecates policies
        return None
    return asyncio.get_event_loop_policy()


def _set_policy(policy: Any) -> None:
    sys.modules["asyncio"].set_event_loop_policy(policy)


def _filters() -> tuple[Any, list[Any]]:
    return warnings.filters, [*warnings.filters]


def _set_filters(before: tuple[Any, list[Any]]) -> None:
    warnings.filters, content = before
    warnings.resetwarnings()  # it also tells the cache of the C code
    cast("list[Any]", warnings.filters).extend(content)


def _set_clocks(before: tuple[Any, ...]) -> None:
    for name, clock in zip(_CLOCKS, before, strict=True):
        setattr(time, name, clock)


_LOGGER: Final = _Part("typedq's logger", _logger, _set_logger)
_TRACEBACKS: Final = _Part(
    "traceback limit", partial(vars(sys).get, "tracebacklimit"), _set_traceback_limit
)
_PARTS: Final = (
    # First: with a low limit, little else can be called.
    _Part("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _Part("resource limits", _limits, _set_limits),
    _Part("signal mask", get_mask, _set_mask),
    _Part("working directory", os.getcwd, os.chdir),
    _Part("umask", _umask, os.umask),
    _Part("locale", _locale, partial(locale.setlocale, locale.LC_ALL)),
    _Part("default socket timeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
    _Part("switch interval", sys.getswitchinterval, sys.setswitchinterval),
    _Part("garbage collector", _collector, _set_collector),
    _Part("trace function", sys.gettrace, set_trace),
    _Part("profile function", sys.getprofile, sys.setprofile),
    _Part("event loop policy", _policy, _set_policy),
    _Part("log record factory", logging.getLogRecordFactory, logging.setLogRecordFactory),
    _Part("logging.disable", lambda: logging.root.manager.disable, logging.disable),
    _LOGGER,
    _Part("warnings filters", _filters, _set_filters),
    # Leases, time limits and logs are read from it.
    _Part("clock", partial(attrgetter(*_CLOCKS), time), _set_clocks),
    _Part("stack size of threads", _stack_size, threading.stack_size),
    _Part("digits of integers", sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    _TRACEBACKS,
)
_UNREADABLE: Final = object()
_VALUES: Final = frozenset((int, float, str, set, bool))


def _read(part: _Part) -> Any:
    try:
        return part.read()
    except Exception:  # noqa: BLE001 - such as a working directory that was removed
        return _UNREADABLE


def _are_same(now: Any, before: Any) -> bool:
    """Compare states. Only values by `==`: that of a function of the task's may raise, or lie."""
    if now is before:
        return True
    if type(now) is not type(before):
        return False
    if type(now) in (list, tuple):
        return len(now) == len(before) and all(map(_are_same, now, before))
    return type(now) in _VALUES and bool(now == before)


def _name(task: object) -> str:
    return getattr(task, "name", "")


@final
class ProcessState:
    """The state in which tasks find the process. Main thread only.

    It takes longer than a short task. So it is due after each attempt that failed or is of a task
    that is not known as `tidy`, and otherwise every 5 ms: from `due` on (monotonic clock).
    """

    def __init__(self) -> None:
        self._handlers = [get_handler(number) for number in _SIGNALS]
        timers = [getattr(signal, name) for name in _TIMERS]
        self._idle_timers = [timer for timer in timers if not signal.getitimer(timer)[0]]
        self._wakeup_fd = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
        self._parts = [_read(part) for part in _PARTS]
        self._streams = Streams()
        self.tidy, self._untidy, self.due = set[object](), set[object](), 0.0

    def is_due_after(self, tasks: Set[object]) -> bool:
        """Return True if `restore_after` is due, now that these have ended."""
        return not tasks <= self.tidy or time.monotonic() >= self.due

    def restore_after(self, *tasks: object) -> None:
        """Restore what tasks may have changed, and log it. Never raises."""
        end_if_copy()
        changed: list[str] = []
        with suppress(BaseException):  # a handler of the app may raise, too
            changed += self.restore()
            if changed:
                what, names = "a task changed its process; restored", ",".join(map(_name, tasks))
                level = logging.DEBUG if self._untidy.issuperset(tasks) else logging.WARNING
                event(level, what, task=names, changed=", ".join(changed))
        if changed:
            self.tidy.difference_update(tasks)
            self._untidy.update(tasks)
        else:
            self.tidy.update(tasks)
        self.due = time.monotonic() + CHECK_EVERY_S

    def restore_log(self, task: object) -> None:
        """Restore only what logs a failure. In any thread; never raises.

        The rest may be changed by coroutines that still run, and for a moment only.
        """
        for part in (_LOGGER, _TRACEBACKS):
            with suppress(BaseException):  # as above
                before = self._parts[_PARTS.index(part)]
                if not _are_same(_read(part), before):
                    part.write(before)
                    what = "a task changed its process; restored"
                    event(logging.WARNING, what, task=_name(task), changed=part.name)

    def restore(self) -> list[str]:
        """Restore what differs, and return its names."""
        changed: list[str] = []
        for part, before in zip(_PARTS, self._parts, strict=True):
            if before is not _UNREADABLE and not _are_same(_read(part), before):
                changed.append(part.name)
                with suppress(Exception):  # a directory that was removed stays so
                    part.write(before)
        changed += self._restore_signals()
        if not self._streams.are_whole():
            # Our own connections and pipes are gone too, or have become somebody else's files.
            event(logging.ERROR, "a task closed files of its process; the process ends")
            signal.raise_signal(signal.SIGTERM)
        return [*changed, *self._streams.restore()]

    def _restore_signals(self) -> list[str]:
        changed: list[str] = []
        for timer in self._idle_timers:  # where nobody handles its signal, it ends the process
            left = signal.setitimer(timer, 0)[0]
            if left and timer != signal.ITIMER_REAL:  # which may be ours, of a task that has ended
                changed.append("profiling timer")
        for number, before in zip(_SIGNALS, self._handlers, strict=True):
            if before is None:
                continue
            if get_handler(number) is not before:
                changed.append(f"handler of {getattr(number, 'name', number)}")
            elif number not in _SET_ANEW:
                continue
            with suppress(OSError, ValueError):
                signal.signal(number, before)
        with suppress(ValueError, OSError):  # it may have been closed
            fd = signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
            if fd != self._wakeup_fd:
                changed.append("wakeup file of signals")
        return changed

    def watch_file(self, fd: int) -> None:
        """End the process if a task closes or replaces this file."""
        self._streams.watch(fd)

    def close(self) -> None:
        """Give back what was opened."""
        self._streams.close()
