"""Part of the fault tests' app: tasks under Sentry, whose SDK sends by HTTP."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import sentry_sdk
from sentry_sdk.envelope import Envelope

from tests.faults import tagged
from typedq import TypedQ
from typedq.observe.sentry import instrument

DSN = "FAULTS_DSN"


def declare(app: TypedQ) -> None:
    """Add the tasks, and start the SDK in each child as a user would."""
    tagged.declare(app)
    instrument(app)

    @app.on_process_start
    def start() -> None:
        # Those that the SDK would look for take seconds to import: Django, FastAPI...
        sentry_sdk.init(
            dsn=os.environ[DSN], traces_sample_rate=1.0, auto_enabling_integrations=False
        )


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Receive what SDKs send: yield the DSN, and the transactions and events so far."""
    received = list[dict[str, Any]]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            for item in Envelope.deserialize(body).items:
                if item.type in ("event", "transaction"):
                    received.append(msgspec.json.decode(item.get_bytes()))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://key@127.0.0.1:{server.server_port}/1", received
        finally:
            server.shutdown()
            thread.join()
