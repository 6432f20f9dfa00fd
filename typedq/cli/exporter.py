"""`typedq exporter`: the metrics of a namespace by HTTP."""

from __future__ import annotations

import logging
import signal
from typing import Annotated, Any

from typer import Option

from typedq.cli.application import AppOrArgument, LogFormat, LogLevel
from typedq.cli.parameters import address
from typedq.telemetry import event

_PORT_HELP = "Serve /metrics, /livez and /readyz on this port; 0: any free port."
Port = Annotated[int, Option("--port", "-p", min=0, max=65535, help=_PORT_HELP)]
Host = Annotated[
    str, Option("--host", parser=address, metavar="IP", help="Listen on this address.")
]


def exporter(
    app: AppOrArgument,
    port: Port = 9101,
    host: Host = "0.0.0.0",  # noqa: S104 - as documented
    log_level: LogLevel = "info",
    log_format: LogFormat = "text",
) -> None:
    """Serve the metrics of queues, contracts, workers and cron entries to Prometheus.

    One is enough for a namespace. Each worker serves its own with `typedq worker --metrics-port`.
    """
    format: Any = log_format
    loaded = app.load(log=(log_level, format))
    from typedq.observe.exporter import Exporter
    from typedq.observe.pages import PageServer, listen

    listener = listen(host, port, "--port")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    event(logging.INFO, "serving metrics", host=host, port=listener.getsockname()[1])
    try:
        PageServer(Exporter(loaded).pages()).run(listener)
    except KeyboardInterrupt:
        event(logging.INFO, "exporter stopped")
