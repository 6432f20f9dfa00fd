"""The signals of a process that runs tasks."""

from __future__ import annotations

import importlib
import logging
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from typedq.telemetry import event

WORKER_SIGNALS: Final = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGALRM", "SIGCHLD", "SIGURG")
    if hasattr(signal, name)  # a producer may run where there are none of these
)
# The public function makes an enum member of each answer, at thirty times the cost.
get_handler: Callable[[int], Any] = importlib.import_module("_signal").getsignal


def get_mask() -> set[int]:
    """Return the signals that this thread blocks."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


@contextmanager
def kept_signals() -> Generator[None]:
    """Restore the handlers of the signals that a worker uses, and let them through, afterwards."""
    handlers = {number: get_handler(number) for number in WORKER_SIGNALS}
    blocked, fd = get_mask(), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    yield
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, set(WORKER_SIGNALS) - blocked)
    changed = [number for number in WORKER_SIGNALS if get_handler(number) is not handlers[number]]
    for number in changed:
        signal.signal(number, handlers[number])
    if changed:
        what = "a start hook took signals of the worker; restored"
        event(logging.WARNING, what, signals=", ".join(number.name for number in changed))
