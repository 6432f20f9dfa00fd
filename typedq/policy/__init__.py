"""Queues, retries, schedules, options of a call, metadata, the context of a task. Pure values."""

from typedq.policy.context import Context
from typedq.policy.cron import CatchUp, Cron, Schedule
from typedq.policy.durations import TEN_YEARS, parse_duration, seconds, timeouts
from typedq.policy.meta import NO_META, Meta, decode_meta, encode_meta, merge_meta, read_meta
from typedq.policy.options import (
    NO_OPTIONS,
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
    "NO_OPTIONS",
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
    "encode_meta",
    "merge_meta",
    "parse_duration",
    "parse_queues",
    "read_meta",
    "refuse_options",
    "seconds",
    "timeouts",
    "unknown_queue",
]
