"""Hashes that tell texts apart and keep no secret, in hexadecimal digits.

From the interpreter's own modules, as `random` of the standard library takes its hash: `hashlib`
would load OpenSSL, which is 1 to 2 MB of memory and a tenth of the start of every process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any


def _hash(name: str, *modules: str) -> Callable[[bytes], Any]:
    for module in modules:
        try:
            found: Callable[[bytes], Any] = getattr(import_module(module), name)
        except (ImportError, AttributeError):  # a Python may be built without
            continue
        return found
    # So that OpenSSL does not refuse it where it is to use approved hashes only.
    return partial(getattr(import_module("hashlib"), name), usedforsecurity=False)


_sha1 = _hash("sha1", "_sha1")
_sha256 = _hash("sha256", "_sha256", "_sha2")  # _sha2 from Python 3.12


def sha1(data: bytes) -> str:
    """40 digits, by which a server knows a script."""
    digest: str = _sha1(data).hexdigest()
    return digest


def sha256(data: bytes) -> str:
    """64 digits."""
    digest: str = _sha256(data).hexdigest()
    return digest
