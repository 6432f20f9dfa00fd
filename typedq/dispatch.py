"""Calls on their way to the broker: sealed, cut into chunks, and accounted for if one fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from typedq import errors
from typedq.broker import Outgoing, Way
from typedq.contracts import MAX_DEPTH, too_deep
from typedq.envelope import BROADCAST, kind_text, new_ids, seal_of
from typedq.policy import Plan, unknown_queue
from typedq.task import Call, Receipt

_NOWHERE = Way("", "")
CHUNK_BYTES = 4 << 20  # one script call should not hold the server for long


def pack(
    calls: Sequence[Call],
    route: Callable[[str], tuple[str, str]],
    *,
    queues: Collection[str],
    max_body: int,
    max_depth: int,
) -> tuple[list[Outgoing], list[Receipt]]:
    """Seal calls; `route` gives the contract and the queue of a task.

    Raises InvalidArguments, InvalidOptions, UnknownTask.
    """
    now = time.time_ns() // 1_000_000
    batch, receipts = list[Outgoing](), list[Receipt]()
    task, plan, way, kind, due = "", None, _NOWHERE, b"", datetime.now(UTC)
    for call, id_ in zip(calls, new_ids(len(calls)), strict=True):
        body = call.body
        if call.task != task or call.options is not plan:
            task, plan = call.task, call.options
            way = _way(task, plan, *route(task), queues)
            kind, due = kind_text(way.contract, way.queue, plan.limits), _due(plan, now)
        if len(body) > max_body:
            reason = f"{len(body):,} bytes; the limit is {max_body:,}"
            raise errors.InvalidArguments(call.task, "$", reason)
        # A call made before settings were known was held to the default.
        if max_depth < MAX_DEPTH and too_deep(body, max_depth):
            reason = f"nested more than {max_depth} levels deep"
            raise errors.InvalidArguments(call.task, "$", reason)
        batch.append(Outgoing(id_, way, seal_of(kind, id_, body)))
        receipts.append(Receipt(id_, task, way.queue, due))
    return batch, receipts


def _way(task: str, plan: Plan, contract: str, queue: str, queues: Collection[str]) -> Way:
    if plan.queue is not None:
        queue = plan.queue
        if queue not in queues and queue != BROADCAST:
            raise unknown_queue(task, queue, queues)
    return Way(queue, contract, plan.delay_ms, plan.eta_ms, queue == BROADCAST)


def _due(plan: Plan, now: int) -> datetime:
    due_ms = max(now + (plan.delay_ms or 0), plan.eta_ms or 0)
    return datetime.fromtimestamp(due_ms / 1000, UTC)


def chunks(batch: Sequence[Outgoing], most: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of chunks of at most `most` messages and about 4 MiB."""
    if most < 1:
        raise ValueError(f"chunk takes 1 or more, not {most}")
    start = size = 0
    for end, outgoing in enumerate(batch):
        length = len(outgoing.message)
        if end - start == most or (size and size + length > CHUNK_BYTES):
            yield start, end
            start, size = end, 0
        size += length
    if batch:
        yield start, len(batch)


@contextmanager
def accounting(batch: Sequence[Outgoing], start: int, end: int) -> Generator[None]:
    """Say what became of every call if a chunk after the first fails."""
    try:
        yield
    except errors.ServerError as error:
        if start == 0:
            raise
        ids = [outgoing.id for outgoing in batch]
        sent = end if isinstance(error, errors.EnqueueUncertain) else start
        raise errors.EnqueueFailed(
            error.url,
            str(error).removeprefix(f"{error.url}: "),
            accepted=ids[:start],
            uncertain=ids[start:sent],
            not_sent=ids[sent:],
        ) from error
