"""Where messages wait: keys, the moves with their Lua, and the client that sends them."""

from typedq.broker.client import Broker
from typedq.broker.keys import Keys
from typedq.broker.moves import DeadBounds, Outgoing, Way
from typedq.broker.script import Move

__all__ = ["Broker", "DeadBounds", "Keys", "Move", "Outgoing", "Way"]
