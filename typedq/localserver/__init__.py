"""Servers we start ourselves: a project's embedded one, and private ones for tests and demos."""

from typedq.localserver.embedded import Status, ensure, status, stop
from typedq.localserver.launch import bundled
from typedq.localserver.own import OwnServer

__all__ = ["OwnServer", "Status", "bundled", "ensure", "status", "stop"]
