"""One child of a supervisor: its exit status, how it is killed, what became of its messages."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from typedq.broker import operations
from typedq.telemetry import event
from typedq.worker import processes
from typedq.worker.journal import Entry, Journal, Phase, State

_MAY_HAVE_BROKEN_IT = (State.RUNNING, State.FAILED)
_LOST_STATUS = 255 << 8  # somebody else took the real one


@dataclass
class ChildProcess:
    """One child.

    status: set once it has died, as `waitpid` gave it
    overdue: ids of the messages for whose hard timeout it is killed
    killed_at: when the supervisor first tried to kill it; is_oom: the kernel did, for its memory
    """

    pid: int
    journal: Journal
    status: int | None = None
    overdue: Sequence[bytes] = ()
    killed_at: float | None = None
    is_oom: bool = False

    def kill(self, now: float) -> bool:
        """Kill it and its descendants; never wait. Return False if it is to be called again.

        The child goes last: it is the subreaper of its descendants, so that those which left its
        process group are found below it until then.
        """
        if self.killed_at is None:
            self.killed_at = now
            processes.send_signal(self.pid, signal.SIGSTOP)
        left = processes.kill_descendants(self.pid)
        if left and now - self.killed_at < processes.KILL_PATIENCE_S:
            return False
        if left:
            event(logging.ERROR, "descendants of a child cannot be killed", pid=self.pid, left=left)
        processes.kill_group(self.pid)
        processes.send_signal(self.pid, signal.SIGKILL)
        return True

    def poll(self) -> None:
        """Kill its process group and take its exit status if it has died.

        In this order, and here only: once the status is taken, the kernel may give its pid, and so
        the number of its group, to any new process.
        """
        if self.status is not None:
            return
        try:
            if processes.has_ended(self.pid):
                processes.kill_group(self.pid)
                self.status = os.waitpid(self.pid, 0)[1]
        except ChildProcessError:  # a thread of the app's that waits for any child, or gevent
            self.status = 0 if self.journal.phase == Phase.ENDED else _LOST_STATUS

    @property
    def exit_code(self) -> int:
        """Its exit code; negative: the signal that killed it."""
        return 0 if self.status is None else os.waitstatus_to_exitcode(self.status)

    @property
    def ended_well(self) -> bool:
        """False too if a task ended it with 0, as `os._exit(0)` and programs in its place do."""
        return self.exit_code == 0 and (not self.pid or self.journal.phase == Phase.ENDED)

    def why_ended(self, *, stopping: bool) -> str:
        """Return what metrics call its end."""
        if self.overdue:
            return "timeout"
        if self.ended_well:
            return "stopped" if stopping else "recycled"
        if self.killed_at is not None:
            return "killed"
        return "out_of_memory" if self.is_oom else "crashed"

    def fates(self, entries: Sequence[Entry], *, stopped: bool) -> dict[bytes, operations.Fate]:
        """Return what became of each message that it had finished or was running when it died.

        A message that ran alone or beyond its hard timeout counts a crash, and its neighbors go
        back uncounted. If no culprit is known, each counts a loss; if it was `stopped`, none.
        What failed counts as running: the server does not know of it, and its task may have broken
        the process, which would break the next one, too.
        """
        running = [entry.id for entry in entries if entry.state in _MAY_HAVE_BROKEN_IT]
        culprits = self.overdue or (running if len(running) == 1 else [])
        others: operations.Fate = "back" if stopped or culprits else "lost"
        fates = dict[bytes, operations.Fate]()
        for entry in entries:
            if entry.state in _MAY_HAVE_BROKEN_IT:
                fates[entry.id] = "crash" if entry.id in culprits and not stopped else others
            elif entry.state == State.DONE:
                fates[entry.id] = "done"
        return fates
