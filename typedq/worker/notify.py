"""Tell systemd how the worker is: the notify protocol of units with `Type=notify`.

Each message is one datagram to the socket that NOTIFY_SOCKET names; see sd_notify(3).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import final

from typedq.health import LATE_S, Report, not_live, not_ready
from typedq.telemetry import event


@final
class Notifier:
    """Says READY=1 once, STOPPING=1 once, and WATCHDOG=1 at each report of a live worker.

    Without systemd it does nothing. It takes its variables out of the environment: programs that
    tasks start are not the worker.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        address, limit, pid = (environ.pop(name, "") for name in names)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._is_watched = limit.isdecimal() and pid in ("", str(os.getpid()))
        self._is_ready = self._is_stopping = False
        self._status = ""
        if self._address and self._is_watched and int(limit) / 1e6 < LATE_S:
            # A request to a server that hangs holds the supervisor up for 10 s.
            event(logging.WARNING, "WatchdogSec is short", seconds=int(limit) / 1e6, least=LATE_S)

    def update(self, report: Report, now: float) -> None:
        """Send what has changed, and that the worker lives if it does."""
        if not self._address:
            return
        reason = not_ready(report, now)
        lines = [f"STATUS={status}"] if (status := reason or "ready") != self._status else []
        self._status = status
        if not reason and not self._is_ready:
            self._is_ready = True
            lines.append("READY=1")
        if self._is_watched and not not_live(report, now):
            lines.append("WATCHDOG=1")
        self._send(*lines)
        if report.stopping:
            self.stop()

    def stop(self) -> None:
        """Say once that the worker ends."""
        if not self._is_stopping:
            self._is_stopping = True
            self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not (lines and self._address):
            return
        # Lost if systemd restarts at this moment; the next report follows in a second.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)
