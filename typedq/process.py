"""What a task may change of the process it runs in, and how that is put back.

Forks: only the process that was started for it may settle messages. A copy that a task makes of it
ends as soon as it leaves the task's own code.
"""

from __future__ import annotations

import gc
import importlib
import locale
import logging
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn, TextIO, cast, final

from typedq.telemetry import event, logger

CHECK_EVERY_S = 0.001
_SIGNALS: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
# The public function makes an enum member of each answer, at thirty times the cost.
get_handler: Callable[[int], Any] = importlib.import_module("_signal").getsignal
_TIMERS: Final = {
    signal.SIGALRM: signal.ITIMER_REAL,
    signal.SIGVTALRM: signal.ITIMER_VIRTUAL,
    signal.SIGPROF: signal.ITIMER_PROF,
}

# --- forks ----------------------------------------------------------------------------------------


@final
class _Owner:
    """The process that runs attempts; `is_copy` is set in each fork that Python makes of it."""

    def __init__(self) -> None:
        self.pid, self.is_copy, self.has_handlers = 0, False, False


owner: Final = _Owner()


def own_process(*, has_handlers: bool = False) -> None:
    """Declare that this process runs attempts, and that no fork of it does.

    has_handlers: it has signal handlers that a fork must not inherit
    """
    owner.pid, owner.is_copy, owner.has_handlers = os.getpid(), False, has_handlers


def end_if_copy(error: BaseException | None = None) -> None:
    """End this process at once if a task made it by a fork; `error` decides its exit code.

    Nothing is settled and no cleanup runs: both belong to the process that was copied.
    """
    if owner.is_copy or (owner.pid and os.getpid() != owner.pid):
        _end_copy(error)


def _end_copy(error: BaseException | None) -> NoReturn:
    code: object = 1
    with suppress(BaseException):  # even `SystemExit.code` may be a property that raises
        if error is None:
            code = 0
        elif isinstance(error, SystemExit):
            code = 0 if error.code is None else error.code
        else:
            sys.excepthook(type(error), error, error.__traceback__)
    os._exit(code & 0xFF if isinstance(code, int) else 1)


def _after_fork() -> None:
    owner.is_copy = owner.pid != 0
    if owner.has_handlers:  # with ours, `multiprocessing.Process.terminate()` would not end it
        owner.has_handlers = False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

# --- what is put back -----------------------------------------------------------------------------


class _Part(NamedTuple):
    """One thing that belongs to the process; `read` and `write` may raise."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _mask() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _locale() -> str:
    return locale.setlocale(locale.LC_ALL)


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _set_collector(enabled: bool) -> None:
    gc.enable() if enabled else gc.disable()


def _set_trace(function: Any) -> None:
    if not {"bdb", "pydevd"} & sys.modules.keys():  # a debugger may have been attached meanwhile
        sys.settrace(function)


def _policy() -> Any:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or sys.version_info >= (3, 14):  # which deprecates policies
        return None
    return asyncio.get_event_loop_policy()


def _set_policy(policy: Any) -> None:
    sys.modules["asyncio"].set_event_loop_policy(policy)


def _set_filters(before: list[Any]) -> None:
    warnings.resetwarnings()  # it also tells the cache of the C code
    cast("list[Any]", warnings.filters).extend(before)


_PARTS: Final = (
    _Part("signal mask", _mask, partial(signal.pthread_sigmask, signal.SIG_SETMASK)),
    _Part("working directory", os.getcwd, os.chdir),
    _Part("umask", _umask, os.umask),
    _Part("locale", _locale, partial(locale.setlocale, locale.LC_ALL)),
    _Part("default socket timeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
    _Part("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _Part("switch interval", sys.getswitchinterval, sys.setswitchinterval),
    _Part("garbage collector", gc.isenabled, _set_collector),
    _Part("trace function", sys.gettrace, _set_trace),
    _Part("profile function", sys.getprofile, sys.setprofile),
    _Part("event loop policy", _policy, _set_policy),
    _Part("warnings filters", lambda: [*warnings.filters], _set_filters),
)
_UNREADABLE: Final = object()


def _read(part: _Part) -> Any:
    try:
        return part.read()
    except OSError:  # the working directory was removed
        return _UNREADABLE


@final
class ProcessState:
    """The state in which tasks find the process. Main thread only.

    A look costs more than a short task. So it is due after each attempt that failed or is of a task
    that is not known as `tidy`, and otherwise once a millisecond: from `due` on (monotonic clock).
    """

    def __init__(self) -> None:
        self._handlers = [get_handler(number) for number in _SIGNALS]
        self._wakeup_fd = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
        self._parts = [_read(part) for part in _PARTS]
        self._streams = _Streams()
        self.tidy, self.due = set[object](), 0.0

    def look(self, task: object) -> None:
        """Put back what `task` may have changed; log it."""
        end_if_copy()
        changed = self.restore()
        if changed:
            level = logging.WARNING if task in self.tidy or not self.due else logging.INFO
            what = ", ".join(changed)
            event(level, "a task changed its process; put back", task=str(task), changed=what)
            self.tidy.discard(task)
        else:
            self.tidy.add(task)
        self.due = time.monotonic() + CHECK_EVERY_S

    def restore(self) -> list[str]:
        """Put back what differs, and return its names."""
        changed = self._restore_signals()
        for part, before in zip(_PARTS, self._parts, strict=True):
            if before is not _UNREADABLE and _read(part) != before:
                changed.append(part.name)
                with suppress(Exception):  # a directory that was removed stays so
                    part.write(before)
        if not self._streams.are_whole():
            # Our own connections and pipes are gone too, or have become somebody else's files.
            what = "a task closed files of its process; the process ends"
            event(logging.ERROR, what)
            signal.raise_signal(signal.SIGTERM)
        return [*changed, *self._streams.restore()]

    def _restore_signals(self) -> list[str]:
        changed = list[str]()
        for number, before in zip(_SIGNALS, self._handlers, strict=True):
            if get_handler(number) is before or before is None:
                continue
            changed.append(f"handler of {signal.Signals(number).name}")
            if number in _TIMERS:  # it would ring where nobody expects it
                signal.setitimer(_TIMERS[signal.Signals(number)], 0)
            with suppress(OSError, ValueError):
                signal.signal(number, before)
        with suppress(ValueError, OSError):  # it may have been closed
            fd = signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
            if fd != self._wakeup_fd:
                changed.append("wakeup file of signals")
        return changed

    def close(self) -> None:
        """Give back what was opened."""
        self._streams.close()


@final
class _Streams:
    """Standard output and error: the objects, and the open files below them."""

    def __init__(self) -> None:
        self._objects = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
        self._files = dict[int, tuple[int, int] | None]()
        self._copies = dict[int, int]()
        for fd in (1, 2):
            self._files[fd] = _identity(fd)
            if self._files[fd]:
                self._copies[fd] = os.dup(fd)

    def are_whole(self) -> bool:
        """Return False if the files were closed that only this object knows."""
        return all(_identity(copy) == self._files[fd] for fd, copy in self._copies.items())

    def restore(self) -> list[str]:
        """Put back what differs, and return its names."""
        changed = list[str]()
        for fd, copy in self._copies.items():
            if _identity(fd) != self._files[fd] and self.are_whole():
                changed.append(f"file descriptor {fd}")
                os.dup2(copy, fd)
        for fd, (name, before) in enumerate(self._objects.items()):
            if getattr(sys, name, None) is not before:
                changed.append(f"sys.{name}")
                setattr(sys, name, before)
            if before is not None and before.closed and fd in self._copies:
                changed.append(f"sys.{name}")
                self._objects[name] = _reopen(fd, name, before)
        return changed

    def close(self) -> None:
        """Close the copies."""
        for copy in self._copies.values():
            with suppress(OSError):
                os.close(copy)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _reopen(fd: int, name: str, closed: TextIO) -> TextIO:
    encoding, errors = getattr(closed, "encoding", None), getattr(closed, "errors", None)
    stream = open(  # noqa: SIM115
        fd, "w", buffering=1, encoding=encoding, errors=errors, closefd=False
    )
    setattr(sys, name, stream)
    for handler in logger.handlers:
        if getattr(handler, "stream", None) is closed:
            cast("logging.StreamHandler[TextIO]", handler).setStream(stream)
    return stream
