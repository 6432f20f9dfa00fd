"""Hashes are those that everybody else computes, whichever module they come from."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from typedq import digests


@pytest.mark.parametrize("data", [b"", b"return 1", bytes(range(256)) * 99])
def test_they_are_the_usual_ones(data: bytes) -> None:
    assert digests.sha1(data) == hashlib.sha1(data, usedforsecurity=False).hexdigest()
    assert digests.sha256(data) == hashlib.sha256(data).hexdigest()


def test_a_python_without_hashes_of_its_own_takes_those_of_hashlib() -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('_sha1', '_sha256', '_sha2'))\n"
        "from typedq import digests; print(digests.sha256(b'x'), 'hashlib' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [hashlib.sha256(b"x").hexdigest(), "True"]


def test_a_worker_loads_no_openssl() -> None:
    code = "import sys, typedq.worker, typedq.cli.worker; print('_hashlib' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
