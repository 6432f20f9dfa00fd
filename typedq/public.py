"""What `typedq` offers: `typedq.__all__`. It imports this module on first use of a name."""

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
