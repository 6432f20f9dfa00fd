"""Run each example application with its test client and a real worker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from examples.codestats.mail import MailServer
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

ROOT = Path(__file__).parents[2]
APPLICATIONS = ("django_app", "fastapi_app", "flask_app", "report_mailer")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a server, and set the environment of the applications."""
    directory = tmp_path_factory.mktemp("applications")
    with OwnServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TYPEDQ_URL", server.url)
        patch.setenv("REDIS_URL", server.url)
        patch.setenv("COMMENTS_DATABASE", str(directory / "comments.sqlite"))
        patch.setenv("GUESTBOOK_DATABASE", str(directory / "guestbook.sqlite"))
        yield directory


@contextmanager
def worker(app: str, *options: str) -> Generator[None]:
    command = [sys.executable, "-m", "typedq", "worker", f"examples.{app}", "-c", "1", *options]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield
        finally:
            if "-b" not in options:
                process.terminate()
            assert process.wait(30) == 0


def drain(app: str) -> None:
    with worker(app, "-b"):
        pass


def info(app: str) -> dict[str, Any]:
    """Return the output of `typedq info` for an app."""
    command = [sys.executable, "-m", "typedq", "info", f"examples.{app}", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    output: dict[str, Any] = json.loads(done.stdout)
    return output


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_is_small(name: str) -> None:
    texts = [file.read_text() for file in (ROOT / "examples" / name).glob("*.py")]
    assert 0 < sum(bool(line) for text in texts for line in text.splitlines()) < 80


@contextmanager
def uvicorn(app: str, path: Path, wait_until: WaitUntil) -> Generator[httpx2.Client]:
    """Serve an application at a unix socket, and end it in good order."""
    command = [sys.executable, "-m", "uvicorn", app, "--uds", str(path), "--log-level", "warning"]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            wait_until(path.exists, 40)
            transport = httpx2.HTTPTransport(uds=str(path), retries=2)
            with httpx2.Client(transport=transport, base_url="http://web", timeout=30) as client:
                yield client
        finally:
            process.terminate()
            assert process.wait(30) == -signal.SIGTERM  # it raises the signal again at its end


def test_fastapi_takes_an_order_and_a_worker_bills_it(
    environment: Path, wait_until: WaitUntil
) -> None:
    order = {"customer": "Ada", "items": {"pen": 2, "ink": 1}}
    with uvicorn("examples.fastapi_app.web:web", environment / "web", wait_until) as client:
        taken = client.post("/orders", json=order)
        assert taken.status_code == 202
        place = f"/orders/{taken.json()['id']}"
        assert client.get(place).status_code == 404
        assert client.post("/orders", json={**order, "items": {"pen": "two"}}).status_code == 422
        drain("fastapi_app.tasks:queue")
        assert client.get(place).json() == {"customer": "Ada", "pieces": 3}
    assert info("fastapi_app.tasks:queue")["dead"] == 0


def test_fastapi_asks_to_retry_if_the_server_is_unavailable(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi.testclient import TestClient

    from examples.fastapi_app.tasks import make_bill
    from examples.fastapi_app.web import web
    from typedq import TypedQ

    away = TypedQ("away", url="unix:///nowhere", enqueue_deadline=0.1)
    monkeypatch.setattr("examples.fastapi_app.web.make_bill", away.task(make_bill.fn))
    with TestClient(web) as client:
        response = client.post("/orders", json={"customer": "Ada", "items": {}})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_django_enqueues_after_the_commit(environment: Path) -> None:
    from examples.django_app import background

    background.app.load()
    from django.core.management import call_command
    from django.db import connection, transaction
    from django.test import Client

    from examples.django_app.models import Comment

    call_command("migrate", run_syncdb=True, verbosity=0)
    client = Client(SERVER_NAME="localhost")
    assert client.post("/comments", {"text": "It is a truth"}).status_code == 202
    with transaction.atomic():
        client.post("/comments", {"text": "of a row that never was"})
        transaction.set_rollback(True)
    assert info("django_app.background:app")["waiting"] == 1
    drain("django_app.background:app")
    assert list(Comment.objects.values_list("text", "words")) == [("It is a truth", 4)]
    connection.close()
    background.app.broker.close()
    assert info("django_app.background:app")["dead"] == 0


def test_flask_tasks_have_the_context_of_the_app(environment: Path) -> None:
    from examples.flask_app.tasks import queue
    from examples.flask_app.web import create_app

    client = create_app().test_client()
    for text in ("What a lovely page", "Try my CASINO", "Greetings"):
        assert client.post("/", data={"text": text}).status_code == 202
    assert client.get("/").json == []
    drain("flask_app.tasks:queue")
    assert client.get("/").json == ["What a lovely page", "Greetings"]
    queue.broker.close()
    assert info("flask_app.tasks:queue")["dead"] == 0


def test_report_mailer_mails_each_reader_at_each_slot(
    environment: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setenv("REPORT_READERS", "ada@example.org,bob@example.org")
    monkeypatch.setenv("REPORT_CRON", "* * * * * *")  # every second
    with MailServer() as server:
        monkeypatch.setenv("REPORT_SMTP", server.address)
        with worker("report_mailer.tasks:app"):
            wait_until(
                lambda: {m["To"] for m in server.mails} == {"ada@example.org", "bob@example.org"}
            )
    assert all("% full" in mail["Subject"] for mail in server.mails)
    assert server.refused == 1
    assert info("report_mailer.tasks:app")["dead"] == 0
