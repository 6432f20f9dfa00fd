"""End the copies of a child process that a task forks: only the child may settle messages.

A copy ends as soon as it leaves the task's own code.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any, Final, NoReturn, final

_getpid = os.getpid  # kept, because a task may patch `os.getpid` for a while
_MADV_WIPEONFORK = 18  # linux/mman.h; Python has no name for it
_MAX_END_S = 5.0  # to write the error of a copy; its stderr may be a pipe that nobody reads


@final
class _Owner:
    """The process that runs attempts. `mark[0]` is 1 in it, and 0 in every fork of it.

    `getpid` would be a system call per task. Linux wipes the mark in each fork, also in one that
    C code makes; elsewhere Python's hook does, only in forks that Python makes.
    """

    def __init__(self) -> None:
        self.pid, self.has_handlers = 0, False
        self.loop: Any = None  # the event loop that runs attempts
        self.mark: mmap.mmap | bytearray = bytearray(b"\1")


def _new_mark() -> mmap.mmap | bytearray:
    mark: mmap.mmap | bytearray = bytearray(1)
    if sys.platform == "linux":
        with suppress(OSError):  # a kernel before 4.14
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            mark = mmap.mmap(-1, mmap.PAGESIZE, flags=flags)
            mark.madvise(_MADV_WIPEONFORK)
    mark[0] = 1
    return mark


owner: Final = _Owner()


def own_process(*, has_handlers: bool = False) -> None:
    """Declare that this process runs attempts, and that no fork of it does.

    has_handlers: it has signal handlers that a fork must not inherit
    """
    owner.pid, owner.mark, owner.has_handlers = _getpid(), _new_mark(), has_handlers


def end_if_copy(error: BaseException | None = None) -> None:
    """End this process at once if a task made it by a fork; `error` decides its exit code.

    Nothing is settled and no cleanup runs: both belong to the process that was copied.
    """
    if not owner.mark[0] or (owner.pid and _getpid() != owner.pid):
        _end_copy(error)


def _end_copy(error: BaseException | None) -> NoReturn:
    code: object = 1
    with suppress(BaseException):  # even `SystemExit.code` may be a property that raises
        if error is None:
            code = 0
        elif isinstance(error, SystemExit):
            code = 0 if error.code is None else error.code
        else:
            _report(error)
    os._exit(code & 0xFF if isinstance(code, int) else 1)


def _report(error: BaseException) -> None:
    """Write a traceback to stderr, or be killed by SIGALRM: whoever forked waits for the end."""
    with suppress(ValueError):  # in a fork that C code made in a thread
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _MAX_END_S)
    if sys.excepthook is not sys.__excepthook__:
        sys.excepthook(type(error), error, error.__traceback__)
        return
    # Not to `sys.stderr`: a thread may have held the lock of its buffer when the copy was made, and
    # Python renews that lock only if the stream was never reopened or replaced.
    text = "".join(traceback.format_exception(error)).encode(errors="backslashreplace")
    while text:
        text = text[os.write(2, text) :]


_forking: Final = threading.local()


def _before_fork() -> None:
    # A signal must not reach the copy while it has our handlers: with them,
    # `multiprocessing.Process.terminate()` would not end it.
    if owner.has_handlers:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _after_fork() -> None:
    if owner.has_handlers:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _in_copy() -> None:
    if owner.pid:
        owner.mark[0] = 0
    if owner.loop:  # in the copy, its thread would continue the other coroutines
        with suppress(Exception):  # uvloop hides this list; there, each may run one more step
            owner.loop._ready.clear()  # noqa: SLF001
        with suppress(Exception):
            owner.loop.call_soon(end_if_copy)
    if owner.has_handlers:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        _after_fork()
        owner.has_handlers = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_copy)
