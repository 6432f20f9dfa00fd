"""The worker of deploy/kubernetes/worker.yaml and of the image, in what a container gives it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.observe.test_deploy_files import DEPLOY, pod
from tests.worker.test_hosts import covered, may, reachable, script
from typedq import TypedQ
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

pytestmark = pytest.mark.process
SHOP = """
from typedq import TypedQ

app = TypedQ("shop")


@app.task
def hello(name: str) -> None:
    print("hello", name, flush=True)
"""


def container_of(directory: Path) -> list[str]:
    """A command that runs another as PID 1 of the pod's container; its image is in /mnt."""
    (container,) = pod("worker")["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    user, given = pod("worker")["securityContext"], container["securityContext"]
    assert given == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    lines = [
        *("mount --make-rprivate /", *reachable(), f"mount --bind {directory / 'app'} /mnt"),
        f"url=$(cat {directory / 'url'})",
        *("mount -t tmpfs none /run", f"mkdir -p {mounts['secret']}"),
        *(f'echo "$url" > {mounts["secret"]}/url', "mount -o remount,ro /run"),
        *covered(mounts["tmp"], "size=64m,mode=1777"),
        *("mount -o remount,bind,ro /mnt", "mount -o remount,bind,ro /", "cd /mnt"),
    ]
    rights = ["setpriv", f"--reuid={user['runAsUser']}", f"--regid={user['runAsGroup']}"]
    rights += ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return [
        *(*script(*lines), "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *rights),
    ]


def environment(port: int) -> dict[str, str]:
    """That of the image and of the pod, and nothing else."""
    (container,) = pod("worker")["containers"]
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    (line,) = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    image = dict(part.split("=", 1) for part in line.split())
    image["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin"
    asked = {each["name"]: each["value"] for each in container["env"]}
    return image | asked | {"TYPEDQ_METRICS_PORT": str(port)}


def status(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def test_the_worker_of_the_pod_works_in_its_container(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "shop.py").write_text(SHOP)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    prefix = container_of(tmp_path)
    with OwnServer(tcp=True) as own:
        (tmp_path / "url").write_text(own.url)
        may(prefix)
        app = TypedQ("shop", url=own.url)
        hello = app.task(name="hello")(greet)
        (container,) = pod("worker")["containers"]
        with (
            (tmp_path / "log").open("wb") as log,
            subprocess.Popen(
                [*prefix, str(Path(sys.executable).parent / "typedq"), *container["args"]],
                env=environment(port),
                stdout=log,
                stderr=log,
            ) as process,
        ):
            try:
                wait_until(lambda: status(port, "/readyz") == 200, 40.0)
                assert status(port, "/livez") == 200
                hello.enqueue("pod")
                wait_until(lambda: b"hello pod" in (tmp_path / "log").read_bytes())
                supervisor = psutil.Process(process.pid)
                while "typedq" not in " ".join(supervisor.cmdline()[1:2]):
                    (supervisor,) = supervisor.children()
                facts = Path(f"/proc/{supervisor.pid}/status").read_text()
                assert re.search(r"^NSpid:.*\t1$", facts, re.MULTILINE)
                assert re.search(r"^NoNewPrivs:\t1$", facts, re.MULTILINE)
                assert set(re.findall(r"^Cap(?:Eff|Bnd|Prm):\t(\w+)$", facts, re.MULTILINE)) == {
                    "0" * 16
                }
                supervisor.terminate()
                assert process.wait(30) == 0
            finally:
                process.kill()
    app.close()
    told = (tmp_path / "log").read_text()
    assert '"warning"' not in told.lower()
    assert not list((tmp_path / "app").glob("__pycache__"))


def greet(name: str) -> None: ...
