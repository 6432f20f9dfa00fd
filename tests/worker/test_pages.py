"""The pages of a worker by HTTP: what they say, and that no client and no death stops them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
import pytest

from tests.conftest import WaitUntil
from tests.faults.harness import Stage, Worker
from typedq.embedded import OwnServer
from typedq.errors import ConfigurationError
from typedq.observe.pages import MAX_CONNECTIONS, listen


def free_port() -> int:
    with listen("127.0.0.1", 0) as found:
        return int(found.getsockname()[1])


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Return status and text; (0, "") if nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()


def send(port: int, request: bytes) -> bytes:
    """Return all that is answered to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read()


def starts(stage: Stage, wait_until: WaitUntil, *flags: str) -> tuple[Worker, int]:
    port = free_port()
    worker = stage.worker(*(flags or ("-c", "1")), "--metrics-port", str(port))
    wait_until(lambda: get(port, "/readyz")[0] == 200)
    return worker, port


def pages_process(worker: Worker, port: int) -> psutil.Process:
    """The only process that holds the port."""

    def has_it(process: psutil.Process) -> bool:
        return any(c.status == "LISTEN" and c.laddr.port == port for c in process.net_connections())

    (found,) = filter(has_it, [psutil.Process(worker.pid), *worker.children()])
    return found


def test_probes_tell_a_worker_that_drains_hangs_or_is_killed(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker, port = starts(stage, wait_until)
    assert get(port, "/livez") == (200, "live\n")
    worker.signal(signal.SIGSTOP)
    stopped = (503, "not live: its supervisor is stopped by a signal\n")
    wait_until(lambda: get(port, "/livez") == stopped)  # it stops when it is scheduled next
    worker.signal(signal.SIGCONT)
    stage.send("hold", stage.gate())
    wait_until(lambda: stage.ids("start"))
    for process in (worker.pid, pages_process(worker, port).pid):  # as systemd stops a unit
        os.kill(process, signal.SIGTERM)
    wait_until(lambda: get(port, "/readyz") == (503, "not ready: it is stopping\n"))
    assert get(port, "/livez")[0] == 200
    worker.kill()
    wait_until(lambda: get(port, "/livez")[0] == 0)


def test_the_process_that_serves_is_started_again_and_ends_with_the_worker(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker, port = starts(stage, wait_until)
    before = pages_process(worker, port)
    assert before.pid != worker.pid
    before.kill()
    wait_until(lambda: get(port, "/livez")[0] == 200)
    assert pages_process(worker, port).pid != before.pid
    # The supervisor knows it from what dead children leave, and does not end it.
    again = pages_process(worker, port)
    stage.send("poison", "kill")
    wait_until(lambda: worker.events("child died"))
    stage.send("nap")
    wait_until(stage.ended)
    assert pages_process(worker, port) == again
    assert worker.stop() == 0
    assert get(port, "/livez")[0] == 0


def test_slow_and_silent_clients_keep_nobody_waiting(stage: Stage, wait_until: WaitUntil) -> None:
    worker, port = starts(stage, wait_until)
    with ExitStack() as clients:
        for n in range(MAX_CONNECTIONS + 20):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"GET /livez HTTP/1.1\r\n"[: n % 10])
        before = time.monotonic()
        assert get(port, "/livez")[0] == 200
        assert time.monotonic() - before < 4  # they would have been cut off after 5 s
        stage.send("nap")
        wait_until(stage.ended)
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /livez HTTP/1.0\r\n\r\n", b"200"),
        (b"HEAD /livez?x=/readyz HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /livez\r\n\r\n", b"400"),
        (b"GET  /livez HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /livez HTTP/2\r\n\r\n", b"400"),
        (b"\x16\x03\x01\xff\x00\r\n\r\n", b"400"),
        (b"\x00" * 100_000, b"400"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"y" * 9_000 + b"\r\n\r\n", b"400"),
        (b"", b"400"),
    ],
    ids=range(11),
)
def test_any_bytes_are_answered(
    stage: Stage, wait_until: WaitUntil, request_: bytes, status: bytes
) -> None:
    _, port = starts(stage, wait_until)
    try:
        head, _, body = send(port, request_).partition(b"\r\n\r\n")
    except ConnectionError:  # it closed while we still sent
        assert len(request_) > 8192
    else:
        assert head.split(b" ")[1] == status
        assert (b"Allow: GET, HEAD" in head) == (status == b"405")
        assert bool(body) != request_.startswith(b"HEAD")
    assert get(port, "/livez")[0] == 200


def test_a_port_that_is_taken_is_refused_at_start(stage: Stage) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        worker = stage.worker("-c", "1", "--metrics-port", str(port))
        assert worker.wait() == 1
    text = worker.log.read_text()
    assert f"metrics_port {port}: cannot listen at 127.0.0.1 (Address already in use)" in text
    assert "end the process that has the port, or choose another port" in text
    assert not stage.redis.keys(f"*{stage.app.settings.namespace}*")


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "::1"])
def test_every_address_of_this_machine_can_be_listened_at(host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        if ":" in host:
            with pytest.raises(ConfigurationError, match="cannot listen at ::"):
                listen(host, 0)
            return
    with listen(host, 0) as found:
        port = found.getsockname()[1]
        reached = "::1" if host == "::1" else "127.0.0.1"
        socket.create_connection((reached, port), timeout=5).close()


def test_solo_says_that_it_serves_no_pages(tmp_path: Path, server: OwnServer) -> None:
    (tmp_path / "shop.py").write_text(
        f"from typedq import TypedQ\napp = TypedQ('solo', url={server.url!r}, metrics_port=9100)\n"
    )
    command = [sys.executable, "-m", "typedq", "worker", "shop:app", "--solo", "--burst"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = [each for each in done.stderr.splitlines() if "--solo serves no pages" in each]
    assert "WARNING" in line.upper()
    assert "9100" in line
