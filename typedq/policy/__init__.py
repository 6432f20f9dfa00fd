"""Queues, retries, schedules, options of a call, metadata, the context of a task. Pure values."""

from typedq.policy.context import Context
from typedq.policy.cron import CatchUp, Cron, Schedule
from typedq.policy.durations import TEN_YEARS, parse_duration, seconds, timeouts
from typedq.policy.meta import NO_META, Meta, decode_meta
from typedq.policy.options import (
    CallOptions,
    Options,
    check_options,
    refuse_options,
    unknown_queue,
)
from typedq.policy.queue import NAME, Queue, parse_queues
from typedq.policy.retry import Retry

__all__ = [
    "NAME",
    "NO_META",
    "TEN_YEARS",
    "CallOptions",
    "CatchUp",
    "Context",
    "Cron",
    "Meta",
    "Options",
    "Queue",
    "Retry",
    "Schedule",
    "check_options",
    "decode_meta",
    "parse_duration",
    "parse_queues",
    "refuse_options",
    "seconds",
    "timeouts",
    "unknown_queue",
]
