"""Servers of our own, for real: started, killed, paused, found again. Each test has its own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from typedq.embedded import OwnServer, bundled, ensure, status, stop
from typedq.embedded import project as project_server
from typedq.errors import ConfigurationError, ServerUnavailable

WaitUntil = Callable[[Callable[[], Any]], Any]
BINARIES = [str(bundled()), *filter(None, [shutil.which("redis-server")])]
OWNER = """
import sys
from typedq.embedded import OwnServer
server = OwnServer().start()
print(server.pid, server.directory, flush=True)
"""


@pytest.fixture(params=BINARIES, ids=lambda path: Path(path).name)
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a state and a socket directory of its own; its server is stopped."""
    runtime = Path(tempfile.mkdtemp(prefix="tq"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    (tmp_path / "pyproject.toml").touch()
    yield tmp_path
    stop("n", start=tmp_path)
    shutil.rmtree(runtime)


def get(url: str, key: str) -> bytes | None:
    with redis.Redis.from_url(url) as client:
        value: Any = client.get(key)
        return value if value is None else bytes(value)


def put(url: str, key: str, value: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(key, value)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pid_of(project: Path) -> int:
    found = status("n", start=project)
    assert found is not None
    return found.pid


# --- private servers


def test_a_private_server_serves_and_leaves_nothing(binary: str) -> None:
    with OwnServer(binary=binary) as server:
        put(server.url, "k", "v")
        assert get(server.url, "k") == b"v"
        assert server.url.startswith("unix://")
        pid, room = server.pid, server.directory
        assert room.stat().st_mode & 0o077 == 0
    server.stop()
    assert gone(pid)
    assert not room.exists()
    with pytest.raises(ServerUnavailable, match="this server is not running"):
        _ = server.pid


def test_data_survive_kill_and_restart_under_the_same_url(binary: str, tmp_path: Path) -> None:
    with OwnServer(tmp_path / "data", binary=binary) as server:
        url, pid = server.url, server.pid
        put(url, "k", "v")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            get(url, "k")
        server.restart()
        assert (server.url, get(url, "k")) == (url, b"v")
        assert server.pid != pid
        server.restart()
        assert get(url, "k") == b"v"
    with OwnServer(tmp_path / "data", binary=binary) as server:
        assert get(server.url, "k") == b"v"


def test_a_paused_server_hangs_until_resumed(binary: str) -> None:
    with OwnServer(binary=binary) as server:
        server.pause()
        with (
            redis.Redis.from_url(server.url, socket_timeout=0.1, retry=None) as client,
            pytest.raises(redis.TimeoutError),
        ):
            client.ping()
        server.resume()
        assert get(server.url, "k") is None
        server.pause()  # stop must work on a paused one too


def test_tcp_keeps_its_port(binary: str) -> None:
    with OwnServer(binary=binary, tcp=True) as server:
        url = server.url
        assert url.startswith("redis://127.0.0.1:")
        put(url, "k", "v")
        server.restart()
        assert get(url, "k") == b"v"


def test_options_are_passed_on(binary: str) -> None:
    with (
        OwnServer(args=("--requirepass", "pw"), binary=binary) as server,
        redis.Redis.from_url(server.url, password="pw") as client,
    ):
        assert client.config_get("requirepass") == {"requirepass": "pw"}


def test_a_server_that_does_not_start_tells_why(binary: str) -> None:
    server = OwnServer(args=("--nonsense", "1"), binary=binary)
    with pytest.raises(ServerUnavailable) as caught:
        server.start()
    assert "the server did not start; its log says:" in str(caught.value)
    assert "nonsense" in str(caught.value)
    server.stop()
    assert not server.directory.exists()


def test_the_binary_is_chosen_by_argument_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TYPEDQ_TEST_SERVER", "no-such-server")
    with pytest.raises(ConfigurationError, match="'no-such-server' is not a server binary"):
        OwnServer()
    monkeypatch.setenv("TYPEDQ_TEST_SERVER", BINARIES[-1])
    for server in (OwnServer(), OwnServer(binary=BINARIES[0])):
        with server:
            assert psutil.Process(server.pid).exe() == os.path.realpath(server.binary)


def owner(more: str) -> tuple[subprocess.Popen[str], int, Path]:
    command = [sys.executable, "-c", OWNER + more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout
    pid, directory = process.stdout.readline().split()
    return process, int(pid), Path(directory)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_server_does_not_outlive_an_owner_killed_by_force(wait_until: WaitUntil) -> None:
    process, pid, directory = owner("sys.stdin.read()")
    with process:
        assert not gone(pid)
        process.kill()
    wait_until(lambda: gone(pid))
    shutil.rmtree(directory)


def test_an_owner_that_forgets_to_stop_leaves_nothing(wait_until: WaitUntil) -> None:
    process, pid, directory = owner("")
    process.communicate(timeout=30)
    wait_until(lambda: gone(pid))
    assert not directory.exists()


def test_a_forked_child_that_exits_leaves_the_server_alone() -> None:
    process, pid, directory = owner(
        "import os\n"
        "if child := os.fork(): os.waitpid(child, 0); print('alive', flush=True); sys.stdin.read()"
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "alive\n"
        assert not gone(pid)
        assert directory.exists()
        process.communicate(timeout=30)


# --- the embedded server of a project


def test_one_server_per_project_is_started_once_and_logged_once(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "typedq"):
        url = ensure("n", start=project)
        inside = project / "src"
        inside.mkdir()
        assert ensure("other", start=inside) == url
    assert len(caplog.messages) == 1
    assert "typedq server stop" in caplog.messages[0]
    socket = Path(url.removeprefix("unix://"))
    assert len(os.fsencode(socket)) < 104
    assert socket.parent.stat().st_mode & 0o777 == 0o700


def test_without_a_project_the_namespace_decides(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "pyproject.toml").unlink()
    monkeypatch.chdir(project)
    try:
        assert ensure("a") == ensure("a") != ensure("b")
    finally:
        assert stop("a")
        assert stop("b")


def test_status_tells_where_it_runs(project: Path) -> None:
    assert status("n", start=project) is None
    url = ensure("n", start=project)
    found = status("n", start=project)
    assert found is not None
    assert (found.url, found.version[:2]) == (url, "9.")
    assert found.directory.is_relative_to(project / "state" / "typedq")
    assert found.log.is_file()
    assert psutil.Process(found.pid).cmdline()[0] == str(bundled())


def test_many_processes_at_once_share_one_server(project: Path) -> None:
    code = "import sys; from typedq.embedded import *; print(ensure('n'), status('n').pid)"
    starters = [
        subprocess.Popen([sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    answers = {starter.communicate(timeout=30)[0] for starter in starters}
    assert len(answers) == 1
    url, pid = answers.pop().split()
    # Their starters are gone, the server is not; nobody is left to be its parent.
    assert not gone(int(pid))
    assert ensure("n", start=project).encode() == url


@pytest.mark.parametrize("chosen", BINARIES, ids=lambda path: Path(path).name)
def test_stop_and_kill_lose_nothing(
    project: Path, chosen: str, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setattr(project_server, "bundled", lambda: Path(chosen))
    url = ensure("n", start=project)
    put(url, "k", "v")
    pid = pid_of(project)
    assert stop("n", start=project)
    assert gone(pid)
    assert not stop("n", start=project)
    assert status("n", start=project) is None
    assert get(ensure("n", start=project), "k") == b"v"
    pid = pid_of(project)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))
    assert Path(url.removeprefix("unix://")).exists()  # the stale socket it left
    assert get(ensure("n", start=project), "k") == b"v"
    assert pid_of(project) != pid


def test_a_server_whose_socket_was_swept_away_is_replaced(project: Path) -> None:
    url = ensure("n", start=project)
    put(url, "k", "v")
    pid = pid_of(project)
    shutil.rmtree(Path(url.removeprefix("unix://")).parent)
    assert get(ensure("n", start=project), "k") == b"v"
    assert gone(pid)


def test_a_stale_pid_file_hurts_nobody(project: Path) -> None:
    ensure("n", start=project)
    found = status("n", start=project)
    assert found is not None
    assert stop("n", start=project)
    (found.directory / "server.pid").write_text(str(os.getpid()), encoding="ascii")
    assert not stop("n", start=project)
    ensure("n", start=project)


def test_sessions_with_different_runtime_directories_meet(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = ensure("n", start=project)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert ensure("n", start=project) == url


def test_a_long_runtime_directory_is_passed_over(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = project / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    url = ensure("n", start=project)
    assert url.startswith(f"unix:///tmp/typedq-{os.geteuid()}/")
    assert get(url, "k") is None


def test_a_directory_that_others_may_enter_is_refused(project: Path) -> None:
    theirs = Path(os.environ["XDG_RUNTIME_DIR"]) / f"typedq-{os.geteuid()}"
    theirs.mkdir(mode=0o755)
    with pytest.raises(ConfigurationError) as caught:
        ensure("n", start=project)
    assert f"{theirs} must be a directory of this user alone (mode 0700)" in str(caught.value)
    theirs.rmdir()
    theirs.symlink_to(project)
    with pytest.raises(ConfigurationError, match="must be a directory of this user alone"):
        ensure("n", start=project)


def test_a_recorded_socket_in_a_directory_of_others_is_not_trusted(project: Path) -> None:
    place = Path(ensure("n", start=project).removeprefix("unix://")).parent
    place.chmod(0o755)
    with pytest.raises(ConfigurationError, match="must be a directory of this user alone"):
        ensure("n", start=project)
    place.chmod(0o700)


def test_a_server_that_hangs_is_reported_by_ensure_and_stop(
    project: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    url, pid = ensure("n", start=project), pid_of(project)
    monkeypatch.setattr(project_server, "START_DEADLINE", 0.1)
    monkeypatch.setattr(project_server, "STOP_DEADLINE", 0.1)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServerUnavailable) as caught:
            ensure("n", start=project)
        assert str(caught.value) == f"{url}: the server (pid {pid}) does not answer"
        with pytest.raises(ServerUnavailable, match=rf"\(pid {pid}\) does not end within 0.1 s"):
            stop("n", start=project)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: gone(pid))


def test_no_place_for_a_socket_is_reported(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_server, "PATH_LIMIT", 10)
    with pytest.raises(ConfigurationError, match="its path may have 10 bytes; set XDG_RUNTIME_DIR"):
        ensure("n", start=project)


def test_data_that_cannot_be_read_are_reported_with_the_log(project: Path) -> None:
    put(ensure("n", start=project), "k", "v")
    found = status("n", start=project)
    assert found is not None
    assert stop("n", start=project)
    for file in (found.directory / "appendonlydir").glob("*.incr.aof"):
        file.write_bytes(b"no such thing\r\n" * 10)
    with pytest.raises(ServerUnavailable) as caught:
        ensure("n", start=project)
    assert "the server did not start; its log says:" in str(caught.value)
    assert "Bad file format" in str(caught.value)


def test_a_missing_extra_names_both_ways_out(project: Path) -> None:
    code = (
        "import importlib.util as u\n"
        "u.find_spec = lambda name: None\n"
        "import json, typedq.embedded as l, typedq.errors as e\n"
        "try: l.ensure('n')\n"
        "except e.ConfigurationError as error: print(json.dumps(error.problems))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, check=True
    )
    (problem,) = json.loads(done.stdout)
    assert "set TYPEDQ_URL or url=" in problem
    assert "pip install 'typedq[embedded]'" in problem


def test_a_recorded_place_that_is_gone_for_good_is_replaced(project: Path) -> None:
    ensure("n", start=project)
    found = status("n", start=project)
    assert found is not None
    stop("n", start=project)
    (project / "over").touch()  # as a directory of a login session that nobody can make again
    (found.directory / "socket").write_text(str(project / "over" / "typedq-0" / "s.sock"))
    assert ensure("n", start=project) == found.url


def test_a_process_with_many_open_files_starts_the_server(project: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, most), most))
        for _ in range(1_100):
            stack.enter_context(Path(os.devnull).open("rb"))
        ensure("n", start=project)
    assert status("n", start=project) is not None


# --- places that cannot be used


ASK = """
import os, sys
# All is imported first: that user may not be able to read Python's own files.
import email.parser, encodings.ascii, redis.connection
from typedq import ConfigurationError, embedded
os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
try:
    print(getattr(embedded, sys.argv[2])("n"))
except ConfigurationError as error:
    print(*error.problems)
"""
NOBODY, NAMELESS = 65_534, 54_321  # the second is in no list of users


def asked(user: int, function: str, where: Path, **environ: str) -> str:
    """What a user gets who calls ensure, status or stop."""
    base = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(user), function],
        cwd=where,
        env=base | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """A directory that everybody may enter, in no project."""
    place = Path(tempfile.mkdtemp(prefix="tq"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def to_set(variable: str) -> str:
    return f"set {variable} to a directory of this user, or TYPEDQ_URL or url= to your server"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_without_a_home_is_told_what_to_set(anywhere: Path) -> None:
    assert asked(NAMELESS, "ensure", anywhere) == (
        f"user {NAMELESS} has no home directory:"
        " set HOME or XDG_STATE_HOME to a directory that can be written"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_home_that_cannot_be_written_is_told(anywhere: Path) -> None:
    told = asked(NOBODY, "ensure", anywhere, HOME="/")
    assert "cannot be created or written (Permission denied)" in told
    assert told.startswith("/.local/state/typedq/")
    assert told.endswith(to_set("XDG_STATE_HOME"))
    (anywhere / "file").touch()
    told = asked(NOBODY, "ensure", anywhere, XDG_STATE_HOME=str(anywhere / "file"))
    assert "(Not a directory)" in told
    assert told.endswith(to_set("XDG_STATE_HOME"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("function", ["ensure", "stop"])
def test_the_state_of_another_user_is_not_entered(anywhere: Path, function: str) -> None:
    (anywhere / "theirs").mkdir(mode=0o700)
    told = asked(NOBODY, function, anywhere, XDG_STATE_HOME=str(anywhere / "theirs"))
    assert "(Permission denied)" in told
    assert told.endswith(to_set("XDG_STATE_HOME"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_runtime_directory_of_another_user_is_passed_over(anywhere: Path) -> None:
    mine = anywhere / "mine"
    mine.mkdir()
    os.chown(mine, NOBODY, NOBODY)
    (anywhere / "theirs").mkdir(mode=0o700)
    environ = {"XDG_STATE_HOME": str(mine), "XDG_RUNTIME_DIR": str(anywhere / "theirs")}
    try:
        assert "theirs" not in asked(NOBODY, "ensure", anywhere, **environ)
    finally:
        assert asked(NOBODY, "stop", anywhere, **environ) == "True"


def test_a_read_only_place_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/typedq")
    with pytest.raises(ConfigurationError) as caught:
        ensure("n", start=project)
    (problem,) = caught.value.problems
    assert problem.startswith("/proc/typedq/typedq/")
    assert "cannot be created or written" in problem
    assert problem.endswith(to_set("XDG_STATE_HOME"))
