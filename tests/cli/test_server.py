"""The embedded default: a project without a URL, from the first message to the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Shop


def test_the_embedded_server_is_shared_kept_and_stopped(project: Shop) -> None:
    assert "no embedded server is running" in project.out("server", "status", code=1)
    assert project.json("server", "status", code=1) == {"running": False}
    assert "no embedded server is running" in project.out("server", "stop", code=1)
    started = project.run("enqueue", "send_email", '{"to": "a@b.c"}').stderr
    assert started.count("\n") == 1
    assert "embedded server started; to stop it: typedq server stop" in started
    status = project.json("server", "status")
    assert status["running"]
    assert status["url"].startswith("unix://")
    assert f"pid {status['pid']}" in project.out("server", "status")
    assert project.out("server", "stop") == "stopped; its data stays on disk\n"
    project.run("worker", "-b", "-c", "1")
    assert project.ran == ["a@b.c "]


def test_without_a_project_it_belongs_to_the_namespace(project: Shop) -> None:
    (project.directory / "pyproject.toml").unlink()
    assert "app: missing" in project.error("server", "status")
    project.env["TYPEDQ_APP"] = "shop:app"
    project.out("enqueue", "hold")
    assert project.json("server", "status")["running"]
    project.out("server", "stop")
