"""Where messages wait: keys, the moves with their Lua, and the client that sends them."""

from typedq.broker.client import Broker
from typedq.broker.keys import Keys
from typedq.broker.operations import DeadBounds, Destination, OutgoingMessage
from typedq.broker.script import Operation

__all__ = ["Broker", "DeadBounds", "Destination", "Keys", "Operation", "OutgoingMessage"]
