"""A task queue whose jobs have contracts, on Redis or Valkey."""

from typedq.app import TypedQ
from typedq.contracts import Json, Secret
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
    "EnqueueFailed",
    "EnqueueUncertain",
    "InvalidArguments",
    "InvalidBody",
    "InvalidOptions",
    "Json",
    "LogContext",
    "Options",
    "Queue",
    "Receipt",
    "Reject",
    "Retry",
    "RetryIn",
    "Secret",
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
