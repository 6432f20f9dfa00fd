"""A child that was fenced off comes back, also one that has nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage


def test_an_idle_child_whose_session_was_ended_opens_another(
    brief: Stage, wait_until: WaitUntil
) -> None:
    worker = brief.worker("-c", "1")
    first = brief.send("nap")
    wait_until(lambda: first in brief.ended() and not brief.in_flight())
    (ended,) = brief.redis.zrange(brief.keys.sessions, 0, -1)
    brief.redis.delete(brief.keys.sessions, brief.keys.session_queues)
    wait_until(lambda: brief.redis.zcard(brief.keys.sessions), 15)
    assert brief.redis.zscore(brief.keys.sessions, ended) is None
    second = brief.send("nap")
    wait_until(lambda: second in brief.ended())
    assert worker.stop() == 0
