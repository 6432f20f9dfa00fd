"""A private PostgreSQL of Debian for the tests, at a unix socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

_INITDB = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
REASON = "PostgreSQL is Debian's package postgresql; initdb needs root here, to become its user"


@contextmanager
def running() -> Generator[Path]:
    """Yield the directory of its socket; the user is shop, the database postgres."""
    if not _INITDB or os.geteuid() or not shutil.which("setpriv"):
        pytest.skip(REASON)
    home = Path(tempfile.mkdtemp(prefix="typedq-postgres-"))  # pytest's own is for root alone
    shutil.chown(home, "postgres", "postgres")
    binaries, as_user = _INITDB[-1].parent, ["setpriv", "--reuid=postgres", "--regid=postgres"]
    options = f"-c listen_addresses= -c unix_socket_directories={home} -c fsync=off"
    start = [str(binaries / "pg_ctl"), "-D", str(home / "data"), "-w", "-o", options]
    make = [str(_INITDB[-1]), "-D", str(home / "data"), "-A", "trust", "-U", "shop", "-N"]
    for command in (make, [*start, "-l", str(home / "log"), "start"]):
        subprocess.run(
            [*as_user, "--clear-groups", *command], cwd=home, check=True, capture_output=True
        )
    try:
        yield home
    finally:
        stop = [*as_user, "--clear-groups", *start, "-m", "immediate", "stop"]
        subprocess.run(stop, cwd=home, check=True, capture_output=True)
        shutil.rmtree(home)
