"""The files in deploy/ use commands, flags, variables, ports and metrics that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.observe.test_deploy import SAMPLES
from tests.reference import command_of, worker_flags
from typedq.cli.program import _COMMANDS
from typedq.configuration import variable_of
from typedq.health import LATE_S
from typedq.settings import Settings
from typedq.worker.supervisor import LEAVE_S

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".json")
KUBERNETES: Final[dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text()) for path in (DEPLOY / "kubernetes").iterdir()
}
COMPOSE: Final[Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNIT = (DEPLOY / "typedq-worker.service").read_text()
# From SIGTERM until the worker has ended, however its tasks behave.
LONGEST_STOP_S = Settings(namespace="n").grace + LEAVE_S


def of_unit(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def pod(name: str) -> Any:
    return KUBERNETES[name]["spec"]["template"]["spec"]


def commands() -> Iterator[list[str]]:
    """Yield the words after `typedq` of each command that a file runs."""
    yield from (shlex.split(line)[1:] for line in of_unit("ExecStart"))
    for line in (DEPLOY / "Procfile").read_text().splitlines():
        yield shlex.split(line.partition(": ")[2])[1:]
    for name, service in COMPOSE["services"].items():
        yield from [service["command"]] if name != "valkey" else []
    for name in ("worker", "exporter", "gate"):
        yield from (container["args"] for container in pod(name)["containers"])
    yield COMPOSE["services"]["worker"]["healthcheck"]["test"][2:]


@pytest.mark.parametrize("words", [*commands()], ids=" ".join)
def test_a_command_and_its_flags_exist(words: list[str]) -> None:
    name, *rest = words
    assert name in _COMMANDS
    known = {flag for option in command_of(name).params for flag in option.opts}
    assert {word for word in rest if word.startswith("-")} <= known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_variable_exists(path: Path) -> None:
    settings = {variable_of(name) for name in Settings.model_fields}
    known = settings | {f"{name}_FILE" for name in settings} | {v for _, v in worker_flags()}
    assert set(re.findall(r"\bTYPEDQ_\w+", path.read_text())) <= known


@pytest.mark.parametrize("name", ["worker", "exporter", "gate"])
def test_a_pod_runs_with_few_rights_and_a_mounted_secret(name: str) -> None:
    (container,) = pod(name)["containers"]
    assert pod(name)["securityContext"]["runAsNonRoot"]
    assert pod(name)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["resources"]["limits"]["memory"]
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"]
    assert not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in pod(name)["volumes"]} == mounts.keys()
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["TYPEDQ_URL_FILE"] == f"{mounts['secret']}/url"


@pytest.mark.parametrize("name", ["worker", "exporter"])
def test_probes_ask_pages_at_a_port_that_is_served(name: str) -> None:
    (container,) = pod(name)["containers"]
    (port,) = container["ports"]
    served = {each["name"]: each["value"] for each in container["env"]}.get("TYPEDQ_METRICS_PORT")
    assert str(port["containerPort"]) == (served or container["args"][-1])
    for probe in ("livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked == {"path": "/livez" if "live" in probe else "/readyz", "port": port["name"]}
    annotations = KUBERNETES[name]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])


def test_a_worker_ends_before_it_is_killed() -> None:
    assert pod("worker")["terminationGracePeriodSeconds"] > LONGEST_STOP_S
    seconds = float(COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("s"))
    assert seconds > LONGEST_STOP_S
    assert float(of_unit("TimeoutStopSec")[0]) > LONGEST_STOP_S


def test_the_gate_runs_before_the_roll_out_and_never_again_by_itself() -> None:
    job = KUBERNETES["gate"]
    assert job["kind"] == "Job"
    assert pod("gate")["containers"][0]["args"] == ["check-schemas", "--live"]
    assert (job["spec"]["backoffLimit"], pod("gate")["restartPolicy"]) == (0, "Never")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"


def test_keda_scales_the_worker_by_metrics_of_the_exporter_and_never_to_none() -> None:
    scaled = KUBERNETES["keda"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == KUBERNETES["worker"]["metadata"]["name"]
    assert scaled["minReplicaCount"] >= 1
    (trigger,) = scaled["triggers"]
    names = set(re.findall(r"\btypedq_\w+", trigger["metadata"]["query"]))
    assert {"typedq_queue_ready", "typedq_in_flight"} <= names <= SAMPLES.keys()


def test_the_server_of_compose_keeps_messages() -> None:
    words = COMPOSE["services"]["valkey"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert (options["--appendonly"], options["--maxmemory-policy"]) == ("yes", "noeviction")
    assert COMPOSE["services"]["valkey"]["volumes"] == ["valkey:/data"]
    for name, service in COMPOSE["services"].items():
        if name != "valkey":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
            assert "/tmp" in service["tmpfs"]


def test_the_image_does_not_contain_the_secrets_of_compose() -> None:
    ignored = (DEPLOY / ".dockerignore").read_text().splitlines()
    assert {Path(each["file"]).parts[0] for each in COMPOSE["secrets"].values()} <= {*ignored}


def test_the_image_is_not_root_and_runs_typedq() -> None:
    lines = [line.split(maxsplit=1) for line in (DEPLOY / "Dockerfile").read_text().splitlines()]
    said = {words[0]: words[1] for words in lines if len(words) == 2}
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", said["USER"])
    assert (said["ENTRYPOINT"], said["CMD"]) == ('["typedq"]', '["worker"]')


def test_the_unit_speaks_the_notify_protocol_with_a_watchdog() -> None:
    assert (of_unit("Type"), of_unit("KillMode")) == (["notify"], ["mixed"])
    assert float(of_unit("WatchdogSec")[0]) >= LATE_S
    # A killed worker's lock file is there for the next start, which need not wait for its lease.
    assert of_unit("Environment")[-1] == "XDG_RUNTIME_DIR=%t/" + of_unit("RuntimeDirectory")[0]
    assert of_unit("RuntimeDirectoryPreserve") == ["yes"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is in systemd")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "typedq-worker.service"
    unit.write_text(UNIT.replace("/opt/shop/venv/bin/typedq", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
