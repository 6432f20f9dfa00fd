"""What `typedq` offers: `typedq.__all__`. It imports this module on first use of a name."""

from typedq.app import TypedQ
from typedq.contracts import ByPydantic, Json, Secret
from typedq.errors import (
    AppNotFound,
    BadMessage,
    Cancelled,
    CannotGenerate,
    ConfigurationError,
    ContractError,
    EnqueueFailed,
    EnqueueUncertain,
    InvalidArguments,
    InvalidBody,
    InvalidBundle,
    InvalidId,
    InvalidOptions,
    Reject,
    RetryIn,
    SearchLimit,
    ServerError,
    ServerRefused,
    ServerUnavailable,
    SoftTimeout,
    TypedQError,
    UnknownTask,
)
from typedq.outgoing import EnqueueContext, OutgoingCall
from typedq.policy import Context, Options, Queue, Retry
from typedq.remote import RemoteTask
from typedq.single import Cancellation, MessageInfo
from typedq.task import Call, Receipt, Sender, Task
from typedq.telemetry import LogContext

__all__ = [
    "AppNotFound",
    "BadMessage",
    "ByPydantic",
    "Call",
    "Cancellation",
    "Cancelled",
    "CannotGenerate",
    "ConfigurationError",
    "Context",
    "ContractError",
    "EnqueueContext",
    "EnqueueFailed",
    "EnqueueUncertain",
    "InvalidArguments",
    "InvalidBody",
    "InvalidBundle",
    "InvalidId",
    "InvalidOptions",
    "Json",
    "LogContext",
    "MessageInfo",
    "Options",
    "OutgoingCall",
    "Queue",
    "Receipt",
    "Reject",
    "RemoteTask",
    "Retry",
    "RetryIn",
    "SearchLimit",
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
