"""The children of one supervisor: forked, watched, and their messages settled when they die."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, final

from typedq.app import TypedQ
from typedq.broker import operations
from typedq.telemetry import event, label_records
from typedq.worker.cgroup import oom_kills
from typedq.worker.child import Child, Plan
from typedq.worker.journal import Journal, Phase, State
from typedq.worker.locks import HostLock
from typedq.worker.session import new_session

if TYPE_CHECKING:
    import psutil

STOPPING = (signal.SIGTERM, signal.SIGINT)
EARLY_DEATHS = 5
HARD_TIMEOUT = b'{"kind":"hard_timeout","error":"it ran beyond its hard timeout, too often"}'
MEMORY = b'{"kind":"crashed","error":"the kernel killed it, probably for its memory, too often"}'
LONGEST_BACKOFF_S, OOM_SCORE = 5.0, 100  # of 1000: as if a tenth of all memory were its own


@dataclass
class ChildProcess:
    """One child.

    status: set once it has died, as `waitpid` gave it
    overdue: ids of the messages for whose hard timeout it was killed
    oom: whether the kernel killed it, probably for its memory
    """

    pid: int
    journal: Journal
    status: int | None = None
    overdue: Sequence[bytes] = ()
    oom: bool = False

    def kill_group(self) -> None:
        """Kill it with its descendants, also those that left its process group."""
        import psutil

        # It is the reaper of its descendants, so that they stay below it until it is gone.
        os.kill(self.pid, signal.SIGSTOP)
        while running := [p for p in psutil.Process(self.pid).children(recursive=True) if _runs(p)]:
            for process in running:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    @property
    def exit_code(self) -> int:
        """Its exit code; negative: the signal that killed it."""
        return 0 if self.status is None else os.waitstatus_to_exitcode(self.status)


class ChildrenKeepDying(Exception):
    """Children die as soon as they start, again and again."""


@final
class ChildPool:
    """Keeps `size` children alive, and ends the sessions of those that are not."""

    def __init__(self, app: TypedQ, plan: Plan, size: int, lock: HostLock) -> None:
        self._app, self._plan, self._size, self._lock = app, plan, size, lock
        self.members: list[ChildProcess] = []
        self._dead: list[ChildProcess] = []
        self._early_deaths, self._oom_kills = 0, oom_kills()
        self._fork_at = 0.0
        self._growing = True
        self.killing = False
        self.interrupted = 0

    @property
    def is_gone(self) -> bool:
        """Whether no child is left, nor a session of one."""
        return not self.members and not self._dead

    def journals(self) -> list[Journal]:
        """Of the living."""
        return [member.journal for member in self.members]

    def living(self) -> Sequence[ChildProcess]:
        """Those that have not died."""
        return self.members

    def totals(self) -> tuple[int, int]:
        """Done and failed, of the living."""
        done, failed = 0, 0
        for journal in self.journals():
            more_done, more_failed = journal.totals
            done, failed = done + more_done, failed + more_failed
        return done, failed

    def signal(self, number: signal.Signals) -> None:
        """To every child; from SIGTERM on, none is born any more."""
        self._growing = False
        self.killing = self.killing or number == signal.SIGKILL
        for member in self.members:
            if member.status is None:
                os.kill(member.pid, number)

    def step(self, now: float) -> float:
        """Bury the dead, then raise the young. Raises ServerError, ChildrenKeepDying."""
        self._collect()
        while self._dead:
            running = self._end(self._dead[0])
            self._account(self._dead.pop(0), running)
        while self._growing and len(self.members) < self._size:
            if now < self._fork_at:
                return self._fork_at - now
            self._fork()
        return 1.0

    def _collect(self) -> None:
        for member in self.members:
            if member.status is None:
                pid, status = os.waitpid(member.pid, os.WNOHANG)
                member.status = status if pid else None
        dead = [m for m in self.members if m.status is not None]
        for member in dead:
            killed = member.exit_code == -signal.SIGKILL and not member.overdue
            member.oom = killed and oom_kills() > self._oom_kills
            self._oom_kills += member.oom  # one each: the next may have been killed already
        self._dead += dead
        self.members = [m for m in self.members if m.status is None]

    def _end(self, member: ChildProcess) -> list[bytes]:
        """End its sessions; answers the ids of what it was running."""
        entries = list(member.journal.entries())
        running = [e.id for e in entries if e.state == State.RUNNING]
        fates: dict[bytes, operations.Fate] = {
            e.id: "done" for e in entries if e.state == State.DONE
        }
        for id in running:
            alone = len(running) == 1 or id in member.overdue
            fates[id] = "back" if self.killing else "crash" if alone else "lost"
        reason = HARD_TIMEOUT if member.overdue else MEMORY if member.oom else operations.CRASHED
        keys, bounds = self._app.broker.keys, self._plan.bounds
        for session in filter(None, (member.journal.session, member.journal.fresh)):
            self._app.broker.call(
                operations.recover_session(
                    keys,
                    session,
                    self._plan.queues,
                    owner=True,
                    fates=fates,
                    others="back",
                    bounds=bounds,
                    crashed=reason,
                )
            )
        return running

    def _account(self, member: ChildProcess, running: Sequence[bytes]) -> None:
        if self.killing:
            self.interrupted += len(running)
        if member.overdue:
            ids = ",".join(id.decode() for id in member.overdue)
            event(logging.ERROR, "hard timeout: child killed", pid=member.pid, running=ids)
        elif not self.killing and member.exit_code != 0:
            self._mourn(member, running)

    def _mourn(self, member: ChildProcess, running: Sequence[bytes]) -> None:
        event(
            logging.ERROR,
            "child died" + (", probably killed for its memory" if member.oom else ""),
            pid=member.pid,
            exit=member.exit_code,
            running=",".join(id.decode() for id in running),
        )
        if member.journal.phase != Phase.STARTING:
            self._early_deaths = 0
            return
        self._early_deaths += 1
        if self._early_deaths >= EARLY_DEATHS:
            raise ChildrenKeepDying(f"{self._early_deaths} children in a row died as they started")
        backoff = min(0.1 * 2**self._early_deaths, LONGEST_BACKOFF_S)
        self._fork_at = time.monotonic() + backoff

    def _fork(self) -> None:
        journal, broker = Journal(self._plan.slots), self._app.broker
        journal.session = new_session()
        lease_ms = round(self._plan.lease_s * 1000)
        journal.set_lease_deadline(time.monotonic() + self._plan.lease_s)
        # Listed before it can take anything: who finds the group dead must find all of it.
        names = [j.session for j in (*self.journals(), journal)]
        self._lock.record(names, self._plan.queues)
        # Not answered, it may be open all the same: then it is ended like that of the dead.
        self._dead.append(ChildProcess(0, journal, status=0))
        broker.call(operations.open(broker.keys, [journal.session], self._plan.queues, lease_ms))
        self._dead.pop()
        gc.collect()
        gc.freeze()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that comes before the child has handlers of its own waits until it has.
        parent, _ = os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        pid = os.fork()
        if pid == 0:
            _be_a_child(self._app, journal, self._plan, parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        self.members.append(ChildProcess(pid, journal))


def _be_a_child(app: TypedQ, journal: Journal, plan: Plan, parent: int) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        _tie_to(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child = Child(app, journal, plan, parent=parent)
        signal.signal(signal.SIGTERM, child.on_signal)
        child.waiter.on_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        label_records()
        child.begin()
        child.run()
        child.end()
        code = 0
    except BaseException:  # noqa: BLE001 - a forked child must never run its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _tie_to(parent: int) -> None:
    """Ask the kernel for SIGKILL when the supervisor is gone; elsewhere the child looks itself.

    And to be the reaper of its descendants, so that a hard timeout finds them all; and to be killed
    for memory before the supervisor, with which all children would end.
    """
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
        if os.getppid() != parent:
            os._exit(1)
        with suppress(OSError, ValueError):
            score = Path("/proc/self/oom_score_adj")
            score.write_text(str(min(1000, int(score.read_text()) + OOM_SCORE)))
