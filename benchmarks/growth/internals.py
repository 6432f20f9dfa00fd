"""The internals of typedq that the growth benchmarks use; no other file of them imports any.

They measure single operations, which users cannot call. Whoever renames an operation adapts this
file.
"""

from __future__ import annotations

from typedq.admin.tasks import declared as declared_tasks
from typedq.broker import Keys, Operation
from typedq.broker.operations import DEFAULT_BOUNDS as DEAD_BOUNDS
from typedq.broker.operations import open as open_sessions
from typedq.broker.operations import renew, tick
from typedq.broker.parking import Group as ParkedGroup
from typedq.broker.parking import Parked, park, parked, release
from typedq.broker.parking import groups as parked_groups
from typedq.broker.settlements import DeadLetter, settle_and_fetch
from typedq.broker.stats import list_dead as dead_letters
from typedq.broker.stats import requeue, sessions
from typedq.broker.stats import survey as stats
from typedq.registry import check_server as live_report

ID = slice(25, 51)  # of a message

__all__ = [
    "DEAD_BOUNDS",
    "ID",
    "DeadLetter",
    "Keys",
    "Operation",
    "Parked",
    "ParkedGroup",
    "dead_letters",
    "declared_tasks",
    "live_report",
    "open_sessions",
    "park",
    "parked",
    "parked_groups",
    "release",
    "renew",
    "requeue",
    "sessions",
    "settle_and_fetch",
    "stats",
    "tick",
]
