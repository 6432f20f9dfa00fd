"""Processes and the kernel: who adopts orphans, who reaps them, who ends with whom."""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import final

import psutil

from typedq.errors import ConfigurationError
from typedq.telemetry import event

OOM_SCORE = 100  # of 1000: as if a tenth of all memory were the child's
KILL_PATIENCE_S = 1.0  # a process in uninterruptible sleep does not die; do not wait for it
KILL_AGAIN_S = 0.01
CHECK_AGAIN_S = 1.0
REAP_IDLE_S, REAP_BUSY_S = 2.0, 60.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 1, 36, 37
# Once, before the fork: it makes types, and each child would have copies of its own.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends. Linux only."""
    if _LIBC:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _adopts_orphans() -> bool:
    flag = ctypes.c_int()
    if _LIBC:
        _LIBC.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(flag))
    return bool(flag.value) or os.getpid() == 1


def end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends, and before it if memory runs out.

    Elsewhere than on Linux a child checks itself that its parent is there.
    """
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        with suppress(OSError, ValueError):
            score = Path("/proc/self/oom_score_adj")
            score.write_text(str(min(1000, int(score.read_text()) + OOM_SCORE)))


def flush_streams() -> None:
    """Flush stdout and stderr. Either may be None, closed, or a pipe that nobody reads."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def kernel_threads() -> int:
    """Count this process's threads, also those that Python did not start; 0 if not on Linux."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0


def child_pids() -> set[int]:
    """Return the pids of this process's direct children, zombies included."""
    with suppress(OSError):  # a thread has just ended, or there are no such files
        files = [task / "children" for task in Path("/proc/self/task").iterdir()]
        return {int(pid) for file in files for pid in file.read_text().split()}
    with suppress(psutil.Error, OSError):
        return {process.pid for process in psutil.Process().children()}
    return set()


def has_ended(pid: int) -> bool:
    """Return True if a child is a zombie, whose status is left to be taken.

    Raises ChildProcessError if somebody took it.
    """
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def send_signal(pid: int, number: int) -> bool:
    """Send a signal; return False if the process is gone or belongs to another user."""
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def kill_group(pid: int) -> None:
    """Kill the process group that a child leads."""
    with suppress(OSError):  # it is empty, or somebody else's by now
        os.killpg(pid, signal.SIGKILL)


def kill_descendants(pid: int) -> list[int]:
    """Kill what runs below a process; return the pids of all that had not died before.

    Raises nothing for processes that may not be killed: they are in the list.
    """
    try:
        found = psutil.Process(pid).children(recursive=True)
    except (psutil.Error, OSError):
        return []
    running = [process for process in found if _runs(process) and not _outlives(process)]
    for process in running:
        send_signal(process.pid, signal.SIGKILL)
    return [process.pid for process in running]


def _outlives(process: psutil.Process) -> bool:
    """Return True for the embedded server of a project, which a task's first enqueue may start."""
    from typedq.embedded import bundled

    try:
        return process.exe() == str(bundled())
    except (psutil.Error, OSError, ConfigurationError):  # it is gone, or there is no such binary
        return False


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return True


@final
class Orphans:
    """Ends and reaps the processes that children leave to their subreaper when they die.

    What this process had started before is left alone. What it adopts at any other time, as PID 1
    of a container does from everybody there, is reaped and not killed.
    """

    def __init__(self) -> None:
        self._kept, self._adopted = child_pids(), set[int]()
        self._doomed: dict[int, float] = {}  # pid -> when it was first killed
        self._given_up = set[int]()
        self._has_heirs = False  # one was reaped; what ran below it is a direct child by now

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be waited for."""
        return not self._has_heirs and self._doomed.keys() <= self._given_up

    def keep(self, pid: int) -> None:
        """Leave alone a process that this one has started for itself."""
        self._kept.add(pid)

    def step(self, now: float, present: Collection[int], *, child_died: bool) -> float:
        """Kill what dead children left, reap what ended; return seconds until the next check.

        present: pids of the direct children, without those that others reap; listed after the
            death of a child was seen, or before none was, so that its orphans are told from others
        """
        new = set(present) - self._kept - self._adopted - self._doomed.keys()
        if child_died or not self.is_done:
            kept = {pid for pid in new if _is_embedded_server(pid)}
            self._adopted |= kept
            self._doomed |= dict.fromkeys(new - kept, now)
        else:
            self._adopted |= new
        self._adopted = {pid for pid in self._adopted if not _reap(pid)}
        self._has_heirs = False
        for pid in [*self._doomed]:
            send_signal(pid, signal.SIGKILL)
            if _reap(pid):
                self._has_heirs = True
                del self._doomed[pid]
                self._given_up.discard(pid)
            elif pid not in self._given_up and now - self._doomed[pid] > KILL_PATIENCE_S:
                self._given_up.add(pid)
                event(logging.ERROR, "process left by a task cannot be killed", pid=pid)
        return CHECK_AGAIN_S if self.is_done else KILL_AGAIN_S


def _is_embedded_server(pid: int) -> bool:
    try:
        return _outlives(psutil.Process(pid))
    except psutil.Error:
        return False


def _reap(pid: int) -> bool:
    """Take a child's exit status if it has one; return True if the child is gone."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


@final
class AdoptedZombies:
    """Reaps orphans below a process that runs user code, which waits for children of its own.

    The kernel does not say which children were adopted. A status is taken only if no object that
    Python knows waits for it, and after a while in which user code could have asked for it.
    """

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}  # zombie -> since when
        self._next = 0.0 if _adopts_orphans() else math.inf

    def reap(self, *, busy: bool) -> None:
        """Reap what nobody waits for; `busy`: a task runs that may yet ask for a status."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + CHECK_AGAIN_S
        zombies = {pid for pid in child_pids() if _is_zombie(pid)}
        self._seen = {pid: self._seen.get(pid, now) for pid in zombies}
        latest = now - (REAP_BUSY_S if busy else REAP_IDLE_S)
        if old := {pid for pid, since in self._seen.items() if since <= latest}:
            for pid in old.difference(_awaited()):
                _reap(pid)


def _is_zombie(pid: int) -> bool:
    with suppress(OSError, ValueError):
        return has_ended(pid)
    return False


def _awaited() -> Iterator[int]:
    """Yield the pids for which a `Popen` of subprocess or multiprocessing has no status yet."""
    places = (("subprocess", "Popen"), ("multiprocessing.popen_fork", "Popen"))
    kinds = tuple(getattr(sys.modules[m], name) for m, name in places if m in sys.modules)
    for found in gc.get_objects():
        # By type alone: what isinstance asks a proxy object may raise.
        if issubclass(type(found), kinds) and getattr(found, "returncode", 0) is None:
            yield found.pid
