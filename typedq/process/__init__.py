"""The process in which tasks run: undo what they change in it, and end copies that they fork."""

from typedq.process.forks import end_if_copy, own_process, owner
from typedq.process.signals import WORKER_SIGNALS, get_handler, kept_signals
from typedq.process.state import ProcessState, set_trace

__all__ = [
    "WORKER_SIGNALS",
    "ProcessState",
    "end_if_copy",
    "get_handler",
    "kept_signals",
    "own_process",
    "owner",
    "set_trace",
]
