"""Show one message, and cancel messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from typedq import registry, single
from typedq.admin.messages import ShowPayload, iso
from typedq.admin.readers import LiveReaders
from typedq.app import TypedQ
from typedq.broker import stats
from typedq.message import FORMAT, is_broadcast
from typedq.single import Cancellation, MessageInfo, Progress


def show(
    app: TypedQ,
    id: str,
    *,
    arguments: ShowPayload | None = None,
    limit: int = single.LIMIT,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the keys of `show --json`: state, header, reason, and the live workers that read it.

    why: why no live worker reads it in its queue; paused: the queue is
    arguments: adds the arguments, which may be confidential, and their schema
    Raises InvalidId, SearchLimit, ServerError.
    """
    found = app.get(id, limit=limit, progress=progress)
    if found.state == "unknown":
        return {"id": id, "state": "unknown"}
    schemas = registry.PublishedSchemas()
    schemas.refresh(app.broker)
    readers = LiveReaders.now(app, schemas)
    about = describe(found)
    if found.contract and found.queue:
        needs = found.contract + (f"#{FORMAT}" if found.expires else "")
        # Each worker serves a queue of its own for broadcasts, which its report does not name.
        own = is_broadcast(found.queue) and found.state != "dead"
        queue = None if own else found.queue
        about |= {"read_by": sorted(readers.of(needs, queue)), "why": readers.why(needs, queue)}
        about["paused"] = bool(app.broker.call(stats.paused(app.broker.keys, [found.queue])))
    if arguments:
        about["arguments"] = _parsed(arguments(found.body, found.contract))
        about["schema"] = schemas.get(found.contract or "")
    return about


def cancel(
    app: TypedQ, ids: Sequence[str], *, limit: int = single.LIMIT, progress: Progress | None = None
) -> Iterator[Cancellation]:
    """Cancel messages one by one; yield what was done with each. All ids are checked first.

    Raises InvalidId, SearchLimit, ServerError.
    """
    unique = [single.check_id(id) for id in dict.fromkeys(ids)]
    return (app.cancel(id, limit=limit, progress=progress) for id in unique)


def describe(message: MessageInfo) -> dict[str, Any]:
    """Return the fields of a message for JSON, without its arguments."""
    about = {name: getattr(message, name) for name in message.__struct_fields__ if name != "body"}
    about["bytes"] = len(message.body)
    return {n: iso(v) if isinstance(v, datetime) else v for n, v in about.items()}


def _parsed(arguments: str) -> object:
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return arguments
