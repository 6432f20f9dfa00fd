"""What tracers share: the queue as they name it, and their headers in the metadata of messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from typedq.errors import InvalidOptions
from typedq.message import is_broadcast

if TYPE_CHECKING:
    from typedq.outgoing import EnqueueContext


def destination(queue: str) -> str:
    """Return the name of a queue; each worker has one of its own for broadcasts."""
    return "broadcast" if is_broadcast(queue) else queue


def inject(ctx: EnqueueContext, headers: Mapping[str, str]) -> None:
    """Add headers to all calls, the first ones if there is no room for all of them.

    A trace never fails an enqueue.
    """
    try:
        ctx.add_meta(headers)
    except InvalidOptions:  # no room beside the metadata of the app
        for call in ctx.calls:
            for name, value in headers.items():
                try:
                    call.add_meta({name: value})
                except InvalidOptions:
                    break
