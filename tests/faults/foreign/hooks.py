"""Start hooks that take signals of the worker, as servers and libraries do when they are set up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from tests.faults.app import note
from tests.faults.limited import spin
from typedq import Context, TypedQ

HOW = "FAULTS_HOOK"


def _nothing(*_: object) -> None: ...


def _serve() -> None:
    async def serve() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _nothing)

    asyncio.run(serve())


def _take_timeouts() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.signal(signal.SIGURG, signal.SIG_IGN)


HOOKS: dict[str, Callable[[], object]] = {
    "default": lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    "ignores": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "exits": lambda: signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)),
    "serves": _serve,
    "timeouts": _take_timeouts,
    "blocks": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()),
    "wakeup": lambda: signal.set_wakeup_fd(-1),
}


def declare(app: TypedQ) -> None:
    """The hook that the environment names."""
    if how := os.environ.get(HOW):

        @app.on_process_start
        def take() -> None:
            HOOKS[how]()

    @app.task(soft_timeout=0.1)
    def limited(ctx: Context) -> None:
        note(ctx, "start")
        spin(20)
