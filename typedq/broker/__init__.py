"""Storage of messages: keys, operations with their Lua scripts, and the client that runs them."""

from typedq.broker.client import Broker, DedicatedClient
from typedq.broker.keys import Keys
from typedq.broker.operations import DeadBounds
from typedq.broker.script import Operation
from typedq.message import Destination, OutgoingMessage

__all__ = [
    "Broker",
    "DeadBounds",
    "DedicatedClient",
    "Destination",
    "Keys",
    "Operation",
    "OutgoingMessage",
]
