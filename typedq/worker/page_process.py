"""The process that serves a worker's pages: forked and restarted by the supervisor."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from socket import socket
from typing import NoReturn, final

from typedq.observe.pages import Pages, PageServer, listen
from typedq.telemetry import event
from typedq.worker.processes import end_with, flush_streams, send_signal

CHECK_S = 1.0


@final
class PageProcess:
    """Keeps one process alive that answers probes and scrapers, so that none stops the supervisor.

    Only that process holds the port. Raises ConfigurationError if the port cannot be had.
    """

    def __init__(self, host: str, port: int, pages: Pages, started: Callable[[int], None]) -> None:
        """`started` is told the pid of each new process."""
        self._pages, self._started = pages, started
        self._listener: socket | None = listen(host, port)
        # Chosen by the system if it was 0; the next process gets the same.
        self._host, self._port = host, int(self._listener.getsockname()[1])
        self._pid = 0

    def start(self) -> None:
        """Fork the process before others are; if that cannot be now, `step` does it later."""
        with suppress(OSError):
            self.step(time.monotonic())

    def step(self, now: float) -> float:
        """Fork the process if none runs. Raises ConfigurationError or OSError."""
        if self._pid:
            with suppress(ChildProcessError):
                if os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                    return CHECK_S
            self._pid = 0
            event(logging.ERROR, "the process that serves metrics died; starting another")
        with self._listener or listen(self._host, self._port) as listener:
            self._listener = None
            gc.freeze()
            flush_streams()
            parent = os.getpid()
            self._pid = os.fork()
            if self._pid == 0:
                _serve(listener, self._pages, parent)
        self._started(self._pid)
        event(logging.INFO, "serving probes and metrics", host=self._host, port=self._port)
        return CHECK_S

    def stop(self) -> None:
        """End the process, if one runs."""
        if self._pid and send_signal(self._pid, signal.SIGKILL):
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        self._pid = 0


def _serve(listener: socket, pages: Pages, parent: int) -> NoReturn:
    try:
        end_with(parent)
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM):  # it answers until the supervisor ends
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Connections to the server, and locks: they are the supervisor's.
        os.closerange(3, listener.fileno())
        os.closerange(listener.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        PageServer(pages).run(listener)
    finally:
        os._exit(1)
