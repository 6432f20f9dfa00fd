"""The children of one supervisor: forked, watched, and their messages settled when they die."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, final

from typedq import reasons
from typedq.app import TypedQ
from typedq.broker import Broker, operations
from typedq.broker.script import script
from typedq.cgroup import oom_kills
from typedq.errors import ServerError
from typedq.observe.tallies import Tallies
from typedq.observe.tally import Tally
from typedq.telemetry import event, restore
from typedq.worker import processes
from typedq.worker.child import Child, ChildConfig
from typedq.worker.child_process import ChildProcess
from typedq.worker.journal import Journal, Phase, State
from typedq.worker.locks import HostLock
from typedq.worker.processes import Orphans

STOPPING = (signal.SIGTERM, signal.SIGINT)
MAX_EARLY_DEATHS = 5
MAX_BACKOFF_S = 5.0


@final
class ChildPool:
    """Keeps `size` children alive, and recovers the messages of those that died.

    failure: set when children die as soon as they start, again and again; nothing more is forked
    """

    def __init__(
        self,
        app: TypedQ,
        config: ChildConfig,
        size: int,
        lock: HostLock,
        tallies: Tallies | None = None,
    ) -> None:
        self._app, self._config, self._size, self._lock = app, config, size, lock
        self._tallies = tallies
        self.children: list[ChildProcess] = []
        self._dead: list[ChildProcess] = []
        self.orphans = Orphans()
        self._early_deaths, self._failed_forks, self._fork_at = 0, 0, 0.0
        self._oom_kills = oom_kills()
        script("settle_and_fetch")  # read before the fork, so that children share it
        self._stopping = False
        self.killing, self.interrupted = False, 0
        self.failure: str | None = None

    @property
    def is_gone(self) -> bool:
        """Whether no child is left, nor a session or a process of one."""
        return not self.children and not self._dead and self.orphans.is_done

    @property
    def holds_messages(self) -> bool:
        """Whether a child is alive, or died and its messages are not recovered yet."""
        return bool(self.children) or any(any(dead.journal.entries()) for dead in self._dead)

    def journals(self) -> list[Journal]:
        """Return the journals of the children that are alive."""
        return [child.journal for child in self.children]

    def stop(self) -> None:
        """Have every child end when its tasks end; no more forks."""
        self._stopping = True
        for child in self.children:
            child.journal.request_stop()
            processes.send_signal(child.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill every child; what it was running goes back uncounted."""
        self._stopping = self.killing = True
        for child in self.children:
            child.killed_at = time.monotonic()
            processes.kill_group(child.pid)
            processes.send_signal(child.pid, signal.SIGKILL)

    def step(self, now: float) -> float:
        """Settle dead children, then fork replacements. Raises ServerError."""
        present = processes.child_pids()
        if died := self._collect():
            present = processes.child_pids()
        present -= {child.pid for child in self.children}
        pause = self.orphans.step(now, present, child_died=died)
        while self._dead:
            self._settle(self._dead[0])
            self._dead.pop(0)
        while not self._stopping and len(self.children) < self._size:
            if now < self._fork_at:
                return min(pause, self._fork_at - now)
            self._fork(now)
        return pause

    def _collect(self) -> bool:
        for child in self.children:
            child.poll()
        dead = [child for child in self.children if child.status is not None]
        for child in dead:
            killed = child.exit_code == -signal.SIGKILL and child.killed_at is None
            child.is_oom = killed and oom_kills() > self._oom_kills
            self._oom_kills += child.is_oom  # one each: the next may have been killed already
            self._count(child)
        self._dead += dead
        self.children = [child for child in self.children if child.status is None]
        return bool(dead)

    def _tally(self, journal: Journal) -> Tally | None:
        """Return the counts of a place that no child has, if there are any."""
        if self._tallies is None:
            return None
        taken = [child.journal.tally for child in self.children]
        (free, *_) = (t for t in self._tallies.of_children if t not in taken)
        free.started, free.ids = journal.started, journal.ids
        return free

    def _count(self, child: ChildProcess) -> None:
        """Count what the dead child could not count any more, and its end."""
        if self._tallies is None or child.journal.tally is None:
            return
        entries = [*child.journal.entries()]
        ended = {entry.slot: "done" for entry in entries if entry.state == State.DONE}
        for entry in entries:
            if entry.state == State.RUNNING and not self.killing:
                ended[entry.slot] = "timeout" if entry.id in child.overdue else "crashed"
        child.journal.tally.recover(ended)
        child.journal.tally.pid = 0
        self._tallies.own.exit(child.why_ended(stopping=self._stopping))

    def _settle(self, child: ChildProcess) -> None:
        """Recover its messages. Raises ServerError: then it is to be done again."""
        running = list[bytes]()
        try:
            running = self._recover(child)
        except ServerError:
            raise
        except Exception as error:  # noqa: BLE001 - a journal that the child has overwritten
            text = "cannot recover the messages of a dead child; they return when its lease ends"
            event(logging.ERROR, text, error=error, pid=child.pid)
        if self.killing:
            self.interrupted += len(running)
        if child.overdue:
            ids = ",".join(id.decode() for id in child.overdue)
            event(logging.ERROR, "hard timeout: child killed", pid=child.pid, running=ids)
        elif not self.killing and not child.ended_well:
            self._log_exit(child, running)

    def _recover(self, child: ChildProcess) -> list[bytes]:
        """End its sessions; return the ids of the messages that it was running."""
        entries = list(child.journal.entries())
        fates = child.fates(entries, stopped=self.killing)
        killed_for = reasons.OUT_OF_MEMORY if child.is_oom else reasons.CRASHED
        reason = reasons.HARD_TIMEOUT if child.overdue else killed_for
        end_sessions(self._app.broker, child.journal, self._config, fates, reason)
        return [id for id, fate in fates.items() if fate != "done"]

    def _log_exit(self, child: ChildProcess, running: Sequence[bytes]) -> None:
        text = "child died" + (", probably killed for its memory" if child.is_oom else "")
        ids = ",".join(id.decode() for id in running)
        event(logging.ERROR, text, pid=child.pid, exit=child.exit_code, running=ids)
        if child.journal.phase != Phase.STARTING:
            self._early_deaths = 0
            return
        self._early_deaths += 1
        if self._early_deaths >= MAX_EARLY_DEATHS:
            self.failure = f"{self._early_deaths} children in a row died as they started"
            self._stopping = True
        self._fork_at = time.monotonic() + _backoff(self._early_deaths)

    def _fork(self, now: float) -> None:
        try:
            journal = Journal(self._config.slots)
            journal.tally = self._tally(journal)
            self._open_session(journal)
            pid = self._start(journal)
        except OSError as error:  # too many processes, too little memory: for a moment, perhaps
            self._failed_forks += 1
            self._fork_at = now + _backoff(self._failed_forks)
            if self._failed_forks == 1:
                event(logging.ERROR, "cannot fork a child; retrying", why=str(error))
            return
        if journal.tally:
            journal.tally.pid = pid
        self._failed_forks = 0
        self._dead.pop()
        self.children.append(ChildProcess(pid, journal))

    def _open_session(self, journal: Journal) -> None:
        session = journal.begin_session(self._config.lease_s)
        # Listed before it can take anything: who finds the group dead must find all of it.
        names = [each.session for each in (*self.journals(), journal)]
        self._lock.record(names, self._config.queues)
        # Until the child lives, its session is that of a dead one: it is ended if the reply to
        # this, or the fork, fails.
        self._dead.append(ChildProcess(0, journal, status=0))
        keys, lease_ms = self._app.broker.keys, round(self._config.lease_s * 1000)
        self._app.broker.call(operations.open(keys, [session], self._config.queues, lease_ms))

    def _start(self, journal: Journal) -> int:
        processes.flush_streams()
        # A signal that comes before the child has handlers of its own waits until `on_signals`.
        parent, before = os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            pid = os.fork()
            if pid == 0:
                _run_child(self._app, journal, self._config, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid


def end_sessions(
    broker: Broker,
    journal: Journal,
    config: ChildConfig,
    fates: Mapping[bytes, operations.Fate],
    crashed: bytes = reasons.CRASHED,
) -> None:
    """End the sessions of a child that runs no more; messages without a fate are requeued.

    crashed: the reason of dead letters that crashed too often. Raises ServerError.
    """
    for session in filter(None, (journal.session, journal.fresh)):
        broker.call(
            operations.recover_session(
                *(broker.keys, session, config.queues),
                owner=True,
                fates=fates,
                others="back",
                bounds=config.bounds,
                crashed=crashed,
            )
        )


def _backoff(failures: int) -> float:
    return min(0.1 * 2.0 ** min(failures, 10), MAX_BACKOFF_S)


def _run_child(app: TypedQ, journal: Journal, config: ChildConfig, parent: int) -> NoReturn:
    code = 1
    try:
        try:
            os.setpgid(0, 0)
            processes.end_with(parent)
            processes.adopt_orphans()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            child = Child(app, journal, config, parent=parent)
            signal.signal(signal.SIGTERM, child.on_signal)
            child.waiter.on_signals()
            child.begin()
            restore()
            child.run()
            child.end()
            journal.phase = Phase.ENDED
            code = 0
        except BaseException as error:  # noqa: BLE001 - it must never run its parent's code
            with suppress(BaseException):  # an exception whose text raises, a stream that is closed
                event(logging.CRITICAL, "child failed", error=error)
        processes.flush_streams()
    finally:
        os._exit(code)
