"""Servers that typedq starts: the embedded one of a project, private ones for tests and demos."""

from typedq.embedded.project import Status, ensure, status, stop
from typedq.embedded.server import OwnServer, bundled

__all__ = ["OwnServer", "Status", "bundled", "ensure", "status", "stop"]
