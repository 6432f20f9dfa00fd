"""The end of a burst: nothing that may be fetched is ready, and nothing of one's own runs."""

from __future__ import annotations

from collections.abc import Sequence

from typedq.broker import Broker
from typedq.broker.stats import paused, survey
from typedq.worker.journal import Journal, Phase


def is_drained(broker: Broker, journals: Sequence[Journal], queues: Sequence[str]) -> bool:
    """Whether these children have nothing left to do. Raises ServerError."""
    # An idle child has also looked for parked messages that it can read.
    if not journals or any(journal.phase != Phase.IDLE for journal in journals):
        return False
    held = broker.call(paused(broker.keys, queues))
    sessions = [name for j in journals for name in (j.session, j.fresh) if name]
    seen = broker.call(survey(broker.keys, queues, sessions))
    waiting = any(depth.ready for name, depth in seen.queues.items() if name not in held)
    return not seen.in_flight and not waiting
