"""Servers we start ourselves: a project's embedded one, and private ones for tests and demos."""

from typedq.embedded.launch import bundled
from typedq.embedded.private import OwnServer
from typedq.embedded.project import Status, ensure, status, stop

__all__ = ["OwnServer", "Status", "bundled", "ensure", "status", "stop"]
