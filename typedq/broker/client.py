"""The broker: sends moves over links of its own, sync or async, and survives forks and threads."""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, final

from typedq.addresses import Address, parse_url, redact
from typedq.broker import dialogue
from typedq.broker.dialogue import Batch, Dialogue, Durability, Pause, Schema, Terms
from typedq.broker.keys import Keys
from typedq.broker.link import Link
from typedq.broker.script import Operation
from typedq.broker.wire import FAILURES, Refused

if TYPE_CHECKING:
    from typedq.broker.async_link import AsyncLink
    from typedq.broker.loops import Loops

T = TypeVar("T")


@final
class Broker:
    """The one way from this process to a namespace on a server.

    Thread-safe; usable from several event loops; a forked child drops its parent's connections.
    `deadline` (s) bounds how long an enqueue is tried, and how long any reply is waited for;
    `durability` is where a message must be by then.
    `lost_links` counts the connections that failed, whoever used them: the server may have
    forgotten something since.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        deadline: float = 10.0,
        durability: Durability = "memory",
    ) -> None:
        self.keys = Keys(namespace)
        self.url = redact(url)
        self._address = parse_url(url)
        self._deadline = deadline
        self._terms = Terms(self.keys, self.url, deadline, durability)
        self._connected, self.lost_links = False, 0
        self._forget()
        _brokers.add(self)

    def _forget(self) -> None:
        self._links = deque[Link]()
        self._loops: dict[Address, Loops] = {}

    def link(self) -> Link:
        """A new connection that the caller owns, for waiting on wake tokens."""
        return Link(self._address, self.keys.tag, self._deadline)

    def call(self, move: Operation[T]) -> T:
        """Make a move. Raises `ServerRefused`, `ServerUnavailable` (it may have been made)."""
        return self._talk(lambda _: dialogue.perform(move))

    async def acall(self, move: Operation[T]) -> T:
        """The same, awaited."""
        return await self._atalk(lambda _: dialogue.perform(move))

    def enqueue(self, batch: Batch, schema: Schema) -> None:
        """Accept a batch, all or none, exactly once; `schema` gives a contract's document.

        Raises `ServerUnavailable` and `ServerRefused` (nothing accepted) or `EnqueueUncertain`.
        """
        self._talk(lambda link: self._enqueue(link, batch, schema))

    async def aenqueue(self, batch: Batch, schema: Schema) -> None:
        """The same, awaited."""
        await self._atalk(lambda link: self._enqueue(link, batch, schema))

    def _enqueue(self, link: Link | AsyncLink, batch: Batch, schema: Schema) -> Dialogue[None]:
        return dialogue.enqueue(self._terms, link, batch, schema, patient=self._connected)

    def _talk(self, say: Callable[[Link], Dialogue[T]]) -> T:
        links = self._links
        try:
            link = links.pop()
        except IndexError:
            link = self.link()
        talk = say(link)
        try:
            request = next(talk)
            while True:
                try:
                    reply = None
                    if isinstance(request, Pause):
                        time.sleep(request.seconds)
                    else:
                        reply = link.ask(request)
                except FAILURES as error:
                    self._lost(error)
                    request = talk.throw(error)
                else:
                    request = talk.send(reply)
        except StopIteration as end:
            links.append(link)
            self._connected = True
            result: T = end.value
            return result
        except BaseException as error:
            # It may have an answer outstanding.
            link.close()
            if isinstance(error, FAILURES):
                raise dialogue.failure(self.url, error) from error
            raise

    async def _atalk(self, say: Callable[[AsyncLink], Dialogue[T]]) -> T:
        loops = self._loops.get(self._address) or self._begin_loops()
        try:
            answer = await loops.talk(say, self._lost)
        except FAILURES as error:
            raise dialogue.failure(self.url, error) from error
        self._connected = True
        return answer

    def _begin_loops(self) -> Loops:
        from typedq.broker.loops import Loops  # with asyncio, which sync programs need not import

        # Of two threads that come first at once, both get the same.
        made = Loops(self._address, self.keys.tag, self._deadline)
        return self._loops.setdefault(self._address, made)

    def _lost(self, error: BaseException) -> None:
        self.lost_links += not isinstance(error, Refused)

    def close(self) -> None:
        """Close the idle sync connections; the broker stays usable."""
        while self._links:
            self._links.pop().close()

    async def aclose(self) -> None:
        """Close the idle connections of the running event loop."""
        for loops in self._loops.values():
            loops.close()

    def drop_after_fork(self) -> None:
        """Leave the parent's connections to the parent."""
        # Kept alive: collecting an async connection would touch the parent's event loop.
        _parents.append((self._links, self._loops))
        self._forget()


_brokers = weakref.WeakSet[Broker]()
_parents: list[object] = []


def _drop_all_after_fork() -> None:
    for broker in _brokers:
        broker.drop_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_all_after_fork)
