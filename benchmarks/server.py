"""A Redis of one's own: the same binary and settings for every contender."""

from __future__ import annotations

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
    """What a server has done: commands (those inside scripts too), bytes in and out."""

    commands: int
    bytes: int


def binary() -> str:
    """The server on the PATH. Raises SystemExit if there is none."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise SystemExit("the benchmarks need redis-server or valkey-server on the PATH")
    return found


class Server:
    """Runs while the `with` block does; keeps nothing."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        command = [binary(), "--port", str(self.port), *SETTINGS]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.client: Any = redis.Redis(port=self.port)
        until = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
                return self
            except redis.ConnectionError:
                if time.monotonic() > until:
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

    def cpu_us(self) -> float:
        """Microseconds of a processor that its main thread has had. Linux only.

        Unlike its own account of commands, it stands still while others have the processor.
        """
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e3

    def load(self) -> Load:
        """What it has done so far; looking adds a few hundred bytes and three commands."""
        commands: dict[str, Any] = self.client.info("commandstats")
        stats = self.client.info("stats")
        return Load(
            sum(int(each["calls"]) for each in commands.values()),
            stats["total_net_input_bytes"] + stats["total_net_output_bytes"],
        )

    def memory(self) -> int:
        """Bytes in use, without what its clients' buffers take."""
        info = self.client.info("memory")
        return int(info["used_memory"]) - int(info["mem_clients_normal"])
