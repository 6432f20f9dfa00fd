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


def inject(ctx: EnqueueContext, headers: Mapping[str, str], parent: str) -> None:
    """Add headers to all calls, the first ones if there is no room for all of them.

    parent: the header that names the span; a call that carries it belongs to the trace of whoever
        made the call, for example the request that wrote it to an outbox, and keeps that
    A trace never fails an enqueue, and replaces no metadata of the app.
    """
    try:
        if all(headers.keys().isdisjoint(call.meta) for call in ctx.calls):
            ctx.add_meta(headers)
            return
    except InvalidOptions:  # no room beside the metadata of the app
        pass
    for call in ctx.calls:
        meta = call.meta
        for name, value in headers.items():
            if meta.get(parent) or meta.get(name):
                continue
            try:
                call.add_meta({name: value})
            except InvalidOptions:
                break
