"""A task queue whose jobs have contracts, on Redis or Valkey."""

from typedq.app import TypedQ
from typedq.contracts import Json
from typedq.errors import (
    AppNotFound,
    BadMessage,
    ConfigurationError,
    ContractError,
    EnqueueFailed,
    EnqueueUncertain,
    InvalidArguments,
    InvalidBody,
    InvalidOptions,
    Reject,
    RetryIn,
    ServerError,
    ServerRefused,
    ServerUnavailable,
    SoftTimeout,
    TypedQError,
    UnknownTask,
)
from typedq.outgoing import EnqueueContext, OutgoingCall
from typedq.policy import Context, Options, Queue, Retry
from typedq.task import Call, Receipt, Sender, Task
from typedq.telemetry import LogContext

__all__ = [
    "AppNotFound",
    "BadMessage",
    "Call",
    "ConfigurationError",
    "Context",
    "ContractError",
    "EnqueueContext",
    "EnqueueFailed",
    "EnqueueUncertain",
    "InvalidArguments",
    "InvalidBody",
    "InvalidOptions",
    "Json",
    "LogContext",
    "Options",
    "OutgoingCall",
    "Queue",
    "Receipt",
    "Reject",
    "Retry",
    "RetryIn",
    "Sender",
    "ServerError",
    "ServerRefused",
    "ServerUnavailable",
    "SoftTimeout",
    "Task",
    "TypedQ",
    "TypedQError",
    "UnknownTask",
]
