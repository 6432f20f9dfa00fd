"""The links of the event loops of this process, and who drives a dialogue over one of them."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from typing import TypeVar, final

from typedq.addresses import Address
from typedq.broker.async_link import AsyncLink
from typedq.broker.dialogue import Dialogue, Pause
from typedq.broker.wire import FAILURES

T = TypeVar("T")
MOST_LINKS = 16


class _Pool:
    """Links of one event loop; bounded, because a thousand coroutines may enqueue at once."""

    def __init__(self) -> None:
        self.idle = deque[AsyncLink]()
        self.turns = asyncio.Semaphore(MOST_LINKS)


@final
class Loops:
    """A pool of links for each loop."""

    def __init__(self, address: Address, tag: str, deadline_s: float) -> None:
        self._to = address, tag, deadline_s
        self.pools = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool]()

    async def talk(
        self, say: Callable[[AsyncLink], Dialogue[T]], lost: Callable[[BaseException], None]
    ) -> T:
        """Drive a dialogue on the running loop; `lost` is told of each failure. Raises FAILURES."""
        loop = asyncio.get_running_loop()
        if loop not in self.pools:  # an `asyncio.run` each time must not leave links behind
            for closed in [each for each in self.pools if each.is_closed()]:
                del self.pools[closed]
        pool = self.pools.setdefault(loop, _Pool())
        async with pool.turns:
            link = pool.idle.pop() if pool.idle else AsyncLink(*self._to)
            try:
                answer = await _drive(link, say(link), lost)
            except BaseException:
                # It may have an answer outstanding.
                link.close()
                raise
            pool.idle.append(link)
            return answer

    def close(self) -> None:
        """Close the idle links of the running loop."""
        pool = self.pools.pop(asyncio.get_running_loop(), None)
        while pool and pool.idle:
            pool.idle.pop().close()


async def _drive(link: AsyncLink, talk: Dialogue[T], lost: Callable[[BaseException], None]) -> T:
    try:
        request = next(talk)
        while True:
            try:
                reply = None
                if isinstance(request, Pause):
                    await asyncio.sleep(request.seconds)
                else:
                    reply = await link.ask(request)
            except FAILURES as error:
                lost(error)
                request = talk.throw(error)
            else:
                request = talk.send(reply)
    except StopIteration as end:
        answer: T = end.value
        return answer
