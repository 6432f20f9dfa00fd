"""A TCP proxy between clients and a server that can drop data and cut connections."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class Proxy:
    """Forward connections to a port on loopback.

    `swallow`: drop all data in both directions; connections stay open.
    `drop_reply_to(word)`: drop the reply to the next request that contains the word, and cut its
    connection; `dropped` counts them.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.swallow, self.dropped = False, 0
        self._word: bytes | None = None
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def drop_reply_to(self, word: str) -> None:
        self._word = word.encode()

    def cut(self, target: int | None = None) -> None:
        """Cut all connections; new ones go to the new target."""
        self.target = target or self.target
        with self._lock:
            ends, self._sockets = self._sockets, []
        for end in ends:
            _shut(end)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                doomed = threading.Event()
                with self._lock:
                    self._sockets += client, server
                for pump in ((client, server, doomed, False), (server, client, doomed, True)):
                    self._threads.append(threading.Thread(target=self._pump, args=pump))
                    self._threads[-1].start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, doomed: threading.Event, reply: bool
    ) -> None:
        with suppress(OSError), source:
            while data := source.recv(1 << 16):
                if self.swallow:
                    continue
                if reply and doomed.is_set():
                    self.dropped += 1
                    break
                if not reply and self._word is not None and self._word in data:
                    self._word = None
                    doomed.set()
                sink.sendall(data)
            _shut(source)
        _shut(sink)

    def close(self) -> None:
        _shut(self._listener)
        self._threads[0].join()
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
