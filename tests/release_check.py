"""Build wheel and sdist, check both, and use the wheel in an empty environment.

    python -m tests.release_check

Needs `build` and `twine`. What it built is left in dist/, with its SHA-256 printed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = """\
import msgspec
from typedq import TypedQ

app = TypedQ("release", url="embedded://")


class EmailArgs(msgspec.Struct):
    to: str


@app.task
def send_email(args: EmailArgs) -> None:
    print("sent to", args.to, flush=True)


if __name__ == "__main__":
    print(send_email.enqueue(EmailArgs(to="a@b.c")).task)
"""
PYPROJECT = "[tool.typedq]\n"
WANTED = {
    *("typedq/py.typed", "typedq/broker/lua/enqueue.lua", "typedq/cli/__init__.py"),
    *("typedq/dashboard/templates/now.html", "typedq/dashboard/static/htmx.LICENSE.txt"),
}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command, show what it says, and return it. Raises CalledProcessError."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TYPEDQ_"))}
    environment["SOURCE_DATE_EPOCH"] = "1767225600"  # the same sources make the same bytes
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    print(f"$ {' '.join(map(str, command))}\n{done.stdout}{done.stderr}", flush=True)
    done.check_returncode()
    return done.stdout


def build(directory: Path) -> list[Path]:
    """Build sdist and wheel into a directory, in an isolated environment."""
    run(sys.executable, "-m", "build", "--outdir", directory)
    return sorted(directory.iterdir())


def names(archive: Path) -> set[str]:
    """Return the paths in an archive; those of an sdist without its leading folder."""
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def use(wheel: Path, directory: Path) -> None:
    """Install the wheel into an empty environment; enqueue and run a task there."""
    venv.create(directory / "venv", with_pip=True)
    programs = directory / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python, typedq = programs / "python", programs / "typedq"
    run(python, "-m", "pip", "install", "-q", f"typedq[embedded] @ {wheel.as_uri()}")
    (directory / "tasks.py").write_text(EXAMPLE)
    (directory / "pyproject.toml").write_text(PYPROJECT)
    try:
        assert run(python, "tasks.py", cwd=directory) == "send_email\n"
        told = run(typedq, "worker", "tasks:app", "--burst", cwd=directory)
        assert "sent to a@b.c" in told, told
    finally:
        run(typedq, "server", "stop", "-A", "tasks:app", cwd=directory)


def main() -> None:
    """Do all of it; the first failure ends it."""
    with tempfile.TemporaryDirectory(prefix="tq") as temporary:
        first, second = Path(temporary, "first"), Path(temporary, "second")
        built, again = build(first), build(second)
        for one, other in zip(built, again, strict=True):
            assert one.read_bytes() == other.read_bytes(), f"{one.name}: two builds differ"
            missing = WANTED - names(one)
            assert not missing, f"{one.name} lacks {missing}"
        run(sys.executable, "-m", "twine", "check", "--strict", *built)
        (wheel,) = (path for path in built if path.suffix == ".whl")
        (place := Path(temporary, "use")).mkdir()
        use(wheel, place)
        (dist := ROOT / "dist").mkdir(exist_ok=True)
        for path in built:
            shutil.copy(path, dist)
            print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)


if __name__ == "__main__":
    main()
