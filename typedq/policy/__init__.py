"""How a task should run: queues, retries, options of a call, the context. Pure values."""

from typedq.policy.context import Context
from typedq.policy.cron import CatchUp, Cron
from typedq.policy.durations import seconds, timeouts
from typedq.policy.options import Options, Plan, plan, refuse, unknown_queue
from typedq.policy.queue import NAME, Queue
from typedq.policy.retry import Retry

__all__ = [
    "NAME",
    "CatchUp",
    "Context",
    "Cron",
    "Options",
    "Plan",
    "Queue",
    "Retry",
    "plan",
    "refuse",
    "seconds",
    "timeouts",
    "unknown_queue",
]
