"""A contender: how to install it in an environment of its own, and how to start its worker."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".bench"
INSTALL_S = 300
_SHARED = ("redis", "hiredis", "msgspec")  # shown for all that have them
_VERSIONS = """
import sys
from importlib.metadata import distributions
found = {each.name.lower(): each.version for each in distributions()}
names = [f"{name} {found[name]}" for name in sys.argv[1:] if name in found]
print("Python " + ".".join(map(str, sys.version_info[:3])), *names, sep=", ")
"""


class Unavailable(Exception):
    """A contender that cannot take part on this machine, and why."""


@dataclass(frozen=True)
class Contender:
    """One task queue.

    module: of benchmarks.contenders; enqueues messages and declares the tasks
    commands: start the worker, each a process of its own; `{bin}` is the directory of the
        environment's programs, `{module}` the dotted module, `{url}` the server's URL
    backlog: messages to drain, about a second's worth on two cores
    settings: what was chosen for it beyond the defaults, for the report
    packages: requirements for an environment of its own; without any (and without a commit) it
        runs in the development environment
    commit: of this repository, to be installed as a package beside `packages`
    python: the version it needs, if not the one that runs the benchmarks
    pause: seconds between two messages when latency is measured
    """

    name: str
    module: str
    commands: tuple[str, ...]
    backlog: int
    settings: str
    packages: tuple[str, ...] = ()
    commit: str | None = None
    python: str | None = None
    tasks: tuple[str, ...] = ("noop",)
    pause: float = 0.005

    @property
    def bin(self) -> Path:
        own = self.packages or self.commit
        return ENVIRONMENTS / self.name / "bin" if own else Path(sys.executable).parent

    def worker_commands(self, url: str) -> list[list[str]]:
        """The commands, as lists of words, for a server at `url`."""
        module = f"benchmarks.contenders.{self.module}"
        return [each.format(bin=self.bin, module=module, url=url).split() for each in self.commands]

    def install(self) -> None:
        """Make its environment unless it is there already. Raises Unavailable."""
        wanted = " ".join((*self.packages, self.commit or ""))
        stamp = ENVIRONMENTS / self.name / "installed"
        if not wanted.strip() or (stamp.exists() and stamp.read_text() == wanted):
            return
        python = sys.executable if self.python is None else find_python(self.python)
        with TemporaryDirectory(prefix="bench-source-") as source:
            if self.commit:
                export_commit(self.commit, Path(source))
            print(f"installing {self.name} into {stamp.parent.relative_to(ROOT)}", flush=True)
            shutil.rmtree(stamp.parent, ignore_errors=True)
            _run(python, "-m", "venv", stamp.parent)
            pip = (self.bin / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
            _run(*pip, *self.packages, *([source] if self.commit else []))
        stamp.write_text(wanted)

    def versions(self) -> str:
        """Return the versions of Python, of its packages and of redis-py as installed."""
        packages = (*self.packages, *_SHARED)
        names = dict.fromkeys(package.split("[")[0].split("=")[0] for package in packages)
        command = [self.bin / "python", "-c", _VERSIONS, *names]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def same_versions(*packages: str) -> tuple[str, ...]:
    """Pin packages to the versions in the development environment."""
    return tuple(f"{package}=={version(package)}" for package in packages)


def export_commit(commit: str, directory: Path, repository: Path = ROOT) -> None:
    """Write the files of a commit into a directory. Raises Unavailable if it is not there."""
    command = ["git", "archive", "--format=tar", commit]
    try:
        archive = subprocess.run(command, cwd=repository, capture_output=True, check=False)
    except FileNotFoundError:
        raise Unavailable(f"git is needed to read commit {commit[:7]}") from None
    if archive.returncode:
        raise Unavailable(
            f"commit {commit[:7]} is not in this clone;"
            " if the clone is shallow, run: git fetch --unshallow"
        )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")


def find_python(version: str) -> str:
    """Return the path of a Python of this version. Raises Unavailable."""
    candidates = [f"python{version}", *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for each in candidates:
        command = [each, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        if ran.stdout.strip() == version:
            return str(each)
    raise Unavailable(f"it needs Python {version}, which was not found")


def _run(*command: str | Path) -> None:
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_S
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"installing took more than {INSTALL_S} s") from None
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or ["no reason given"]
        raise Unavailable(f"installing failed: {lines[-1]}")


def install_all(wanted: Sequence[Contender]) -> tuple[list[Contender], dict[str, str]]:
    """Install contenders; return those that can take part, and why the others cannot."""
    installed, unavailable = list[Contender](), dict[str, str]()
    for contender in wanted:
        try:
            contender.install()
            installed.append(contender)
        except Unavailable as error:
            unavailable[contender.name] = str(error)
            print(f"{contender.name} is left out: {error}", flush=True)
    return installed, unavailable
