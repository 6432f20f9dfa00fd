"""The internals of typedq that the growth benchmarks use; no other file of them imports any.

They measure single operations, which users cannot call. Whoever renames an operation adapts this
file.
"""

from __future__ import annotations

from typedq.broker import Keys
from typedq.broker import Move as Operation
from typedq.broker.moves import DEFAULT_BOUNDS as DEAD_BOUNDS
from typedq.broker.moves import open as open_sessions
from typedq.broker.moves import renew, tick
from typedq.broker.moves import work as settle_and_fetch
from typedq.broker.parking import Group as ParkedGroup
from typedq.broker.parking import Parked, park, parked, release
from typedq.broker.parking import groups as parked_groups
from typedq.broker.settlements import Bury as DeadLetter
from typedq.broker.views import graves as dead_letters
from typedq.broker.views import revive as requeue
from typedq.broker.views import sessions
from typedq.broker.views import survey as stats
from typedq.cli.tasks import declared as declared_tasks
from typedq.registry import look as live_report

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
