"""Tasks that leave processes behind, and tasks that ask later what became of theirs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from tests.faults.app import note
from typedq import Context, TypedQ

_pause = threading.Event().wait
_kept = dict[str, Any]()


def _in_group(mark: str) -> None:
    subprocess.run(["sh", "-c", f"sleep {mark} &"], check=True)


def _in_session(mark: str) -> None:
    subprocess.run(["sh", "-c", f"setsid sleep {mark} &"], check=True)


def _child_in_session(mark: str) -> None:
    _kept[mark] = subprocess.Popen(["sleep", mark], start_new_session=True)


def _tree(mark: str) -> None:
    subprocess.run(["sh", "-c", f"setsid sh -c 'sleep {mark} & sleep {mark}; true' &"], check=True)


def _daemon(mark: str) -> None:
    """Fork twice, as daemons do; the name is changed so that it can be found."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(write, b"1")
            os.execvp("sleep", ["sleep", mark])
        os._exit(0)
    os.read(read, 1)
    os.close(read)
    os.close(write)
    os.wait()


def _as_root(mark: str) -> None:
    """By a shell that has the set-user-ID bit of root."""
    script = f"exec setpriv --reuid=0 sleep {mark}"
    _kept[mark] = subprocess.Popen([os.environ["FAULTS_SETUID"], "-p", "-c", script])


LEAVE: dict[str, Callable[[str], None]] = {
    "in its group": _in_group,
    "in a session": _in_session,
    "own child in a session": _child_in_session,
    "a tree": _tree,
    "a daemon": _daemon,
}


def declare(app: TypedQ) -> None:
    """Give an app these tasks."""
    if mark := os.environ.get("FAULTS_HELPER"):
        _kept["helper"] = subprocess.Popen(["sleep", mark])
    _leaving(app)
    _asking(app)


def _leaving(app: TypedQ) -> None:

    @app.task
    def leaves(ctx: Context, how: str, mark: str, then: str = "") -> None:
        """Leave a process, and run on, end, or end the whole process."""
        LEAVE[how](mark)
        note(ctx, "start")
        if then == "hold":
            while True:
                _pause(0.01)
        elif then == "exit":
            os._exit(7)
        note(ctx, "end")

    @app.task(hard_timeout=0.3)
    def overruns(ctx: Context, how: str, mark: str) -> None:
        (_as_root if how == "as root" else LEAVE[how])(mark)
        note(ctx, "start")
        while True:
            _pause(0.01)

    @app.task(hard_timeout=1.0)
    async def stuck(ctx: Context, gate: str) -> None:
        """A coroutine that blocks nobody and does not end."""
        note(ctx, "start")
        await asyncio.Event().wait()


def _asking(app: TypedQ) -> None:
    @app.task
    def starts(ctx: Context, name: str, code: int) -> None:
        """Start a program for a later task to ask about."""
        note(ctx, "start")
        _kept[name] = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
        note(ctx, "end")

    @app.task
    def asks(ctx: Context, name: str) -> None:
        note(ctx, "start")
        note(ctx, f"code={_kept[name].wait()}")
        note(ctx, "end")
