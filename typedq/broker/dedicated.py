"""A client with one connection of its own, for a caller that must know of each reconnect."""

from __future__ import annotations

from typing import TypeVar, final

from typedq.broker.client import Broker, only
from typedq.broker.connections import drive
from typedq.broker.failures import Failure, NotSent, server_error
from typedq.broker.script import Operation

T = TypeVar("T")


@final
class DedicatedClient:
    """Runs operations of one thread over one connection, and never over another unnoticed.

    A server that restarted may have lost the last second. A caller that says "all that I hold" to
    the server must know that it is still the one that handed it out.
    """

    def __init__(self, broker: Broker) -> None:
        self.keys = broker.keys
        self._broker, self._connection = broker, broker.connection()

    @property
    def lost_connections(self) -> int:
        """Return how many connections of this process are known to have failed."""
        return self._broker.lost_connections

    def call(self, operation: Operation[T]) -> T:
        """Run an operation. Raises ServerRefused, ServerUnavailable (it may have been run).

        If the connection was lost since the last call, nothing is sent; the next call connects.
        """
        connection = self._connection
        try:
            if connection.is_open:
                connection.close_if_stale()
                if not connection.is_open:
                    raise NotSent("the server closed the connection")
            return operation.parse(drive(connection, only(operation.command(), connection)))
        except Failure as failure:
            connection.close()
            raise server_error(self._broker.url, failure) from failure
        except BaseException:
            connection.close()  # it may have a reply outstanding
            raise
