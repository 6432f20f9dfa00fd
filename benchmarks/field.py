"""Who takes part, in which environment, with which settings for short tasks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENVS = ROOT / ".bench"
INSTALL_S = 300


class Missing(Exception):
    """A contender that cannot take part here, and why."""


@dataclass(frozen=True)
class Contender:
    """One queue.

    commands: of the worker, each a process of its own; `{bin}` is that of its environment, `{url}`
        the server's
    backlog: messages to drain, about a second's worth on two cores
    settings: what was chosen for it beyond the defaults, for the table
    python: the version it needs, if not that of the harness
    """

    name: str
    commands: tuple[str, ...]
    backlog: int
    settings: str
    packages: tuple[str, ...] = ()
    python: str | None = None
    tasks: tuple[str, ...] = ("noop",)
    pause: float = 0.005

    @property
    def module(self) -> str:
        return self.name.replace("-", "_") if "floor" in self.name else f"{self.name}_"

    @property
    def bin(self) -> Path:
        return VENVS / self.name / "bin" if self.packages else Path(sys.executable).parent

    def words(self, url: str) -> list[list[str]]:
        """The commands, for a server at `url`."""
        return [each.format(bin=self.bin, url=url).split() for each in self.commands]

    def install(self) -> None:
        """Make its environment, once. Raises Missing."""
        done = VENVS / self.name / "installed"
        if not self.packages or (done.exists() and done.read_text() == " ".join(self.packages)):
            return
        python = sys.executable if self.python is None else _interpreter(self.python)
        print(f"installing {self.name} into {done.parent.relative_to(ROOT)}", flush=True)
        shutil.rmtree(done.parent, ignore_errors=True)
        pip = [self.bin / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        for command in ([python, "-m", "venv", done.parent], [*pip, *self.packages]):
            try:
                ran = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=INSTALL_S
                )
            except subprocess.TimeoutExpired:
                raise Missing(f"it did not install within {INSTALL_S} s") from None
            if ran.returncode:
                lines = ran.stderr.strip().splitlines() or ["no reason given"]
                raise Missing(f"it does not install: {lines[-1]}")
        done.write_text(" ".join(self.packages))

    def versions(self) -> str:
        """Its packages as installed, beside its Python."""
        names = [package.split("[")[0].split("=")[0] for package in self.packages]
        script = (
            "import sys; from importlib.metadata import version\n"
            "print('Python ' + '.'.join(map(str, sys.version_info[:3])),"
            " *(f'{n} {version(n)}' for n in sys.argv[1:]), sep=', ')"
        )
        command = [self.bin / "python", "-c", script, *names]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _interpreter(version: str) -> str:
    """A Python of this version. Raises Missing."""
    tried = [f"python{version}", *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for each in tried:
        command = [each, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        if ran.stdout.strip() == version:
            return str(each)
    raise Missing(f"it needs Python {version}, which is not here")


_HERE = "{bin}/python -m benchmarks.contenders."
SAFE = "floor-safe"
BOTH = ("noop", "anoop")
_TASKIQ = (
    "{bin}/taskiq worker benchmarks.contenders.taskiq_:broker -w 2"
    " --log-level ERROR --max-async-tasks 100 --max-prefetch 100"
)
MAIN = (
    Contender(
        "typedq",
        ("{bin}/typedq worker benchmarks.contenders.typedq_:app -c 2",),
        60_000,
        "defaults; its worker knows the one task that is measured",
        tasks=BOTH,
    ),
    Contender(SAFE, (f"{_HERE}floor_safe",), 300_000, "64 messages a script, on a bare socket"),
    Contender("floor-wide", (f"{_HERE}floor_wide",), 300_000, "the safe floor, 128 at once"),
    Contender("floor-client", (f"{_HERE}floor_client",), 200_000, "the safe floor on redis-py"),
    Contender("floor-batch", (f"{_HERE}floor_batch",), 600_000, "pops 100 at a time, no ack"),
    Contender("floor-one", (f"{_HERE}floor_one",), 20_000, "RPUSH, BLPOP, no ack"),
    Contender(
        "ardiq",
        ("{bin}/ardiq run -q benchmarks.contenders.ardiq_:app -w 2",),
        10_000,
        "concurrency 100, prefetch 1000, results kept 1 ms",
        ("ardiq==1.2.0",),
        python="3.12",
        tasks=BOTH,
    ),
    Contender(
        "wakaq",
        ("{bin}/wakaq-worker --app benchmarks.contenders.wakaq_.wakaq",),
        5_000,
        "2 processes, logs of errors only",
        ("wakaq==4.0.4", "redis", "hiredis"),
    ),
    Contender(
        "huey",
        ("{bin}/huey_consumer benchmarks.contenders.huey_.huey -k process -w 2 -n -q",),
        5_000,
        "2 processes, no periodic tasks, results off, logs of errors only",
        ("huey==3.5.4", "redis", "hiredis"),
    ),
    Contender(
        "taskiq",
        (_TASKIQ,),
        5_000,
        "list broker, orjson, uvloop, no result backend, 100 at a time, logs of errors only",
        ("taskiq[orjson,uv]==0.13.0", "taskiq-redis==1.2.4", "hiredis"),
        tasks=BOTH,
    ),
)
_CELERY = (
    "{bin}/celery -A benchmarks.contenders.celery_:app worker -c 2 -l ERROR"
    " --without-gossip --without-mingle --without-heartbeat"
)
_ONLY_COROUTINES = ("anoop",)
MORE = (
    Contender(
        "dramatiq",
        ("{bin}/dramatiq benchmarks.contenders.dramatiq_ -p 2 -t 8",),
        4_000,
        "2 processes of 8 threads",
        ("dramatiq[redis]==2.2.1", "hiredis"),
        tasks=BOTH,
    ),
    Contender(
        "saq",
        ("{bin}/saq benchmarks.contenders.saq_.settings",) * 2,
        3_000,
        "2 workers, concurrency 100, results not kept",
        ("saq[redis,hiredis]==0.26.4", "typing-extensions"),
        tasks=_ONLY_COROUTINES,
    ),
    Contender(
        "streaq",
        ("{bin}/streaq run benchmarks.contenders.streaq_:worker --workers 2",),
        2_000,
        "2 workers, concurrency 100, results not kept",
        ("streaq==7.2.0", "hiredis"),
        tasks=BOTH,
    ),
    Contender(
        "arq",
        ("{bin}/arq benchmarks.contenders.arq_.WorkerSettings",) * 2,
        2_000,
        "2 workers, 100 jobs at a time, polls every 10 ms, results not kept",
        ("arq==0.28.0", "hiredis"),
        tasks=_ONLY_COROUTINES,
    ),
    Contender(
        "celery",
        (_CELERY,),
        2_000,
        "prefork, 2 processes, prefetch 128, no results, gossip, mingle or heartbeat",
        ("celery[redis]==5.7.0", "hiredis"),
    ),
    Contender(
        "rq",
        ("{bin}/rq worker -q -w rq.worker.SimpleWorker -S json -u {url} bench",) * 2,
        1_000,
        "2 SimpleWorkers, JSON, results not kept, quiet",
        ("rq==3.0.0", "hiredis"),
    ),
    Contender(
        "pydocket",
        (f"{_HERE}pydocket_",) * 2,
        1_000,
        "2 workers, concurrency 100, 200 connections, fire-and-forget, logs of errors only",
        ("pydocket==0.27.0", "hiredis"),
        tasks=_ONLY_COROUTINES,
    ),
    Contender(
        "tasktiger",
        (f"{_HERE}tasktiger_ --executor sync -q bench",) * 2,
        2_000,
        "2 workers, sync executor",
        ("tasktiger==0.26.3", "hiredis"),
    ),
)
