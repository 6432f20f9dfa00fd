"""The journal: what a child shares with its supervisor, so that a kill loses no knowledge."""

from __future__ import annotations

import os
import signal
import time

import pytest

from typedq.worker.journal import Journal, Phase, State

ID = b"0123456789abcdef0123456789"


@pytest.fixture
def journal() -> Journal:
    made = Journal(200)
    made.set_lease_deadline(time.monotonic() + 60)
    return made


def test_entries_after_each_change_of_a_message_tell_its_state(journal: Journal) -> None:
    journal.hold([3], [ID], [2])
    journal.hold([199], [ID[::-1]], [0])
    assert [(e.slot, e.state, e.id, e.queue) for e in journal.entries()] == [
        (3, State.HELD, ID, 2),
        (199, State.HELD, ID[::-1], 0),
    ]
    before = time.monotonic()
    assert journal.claim(3, time.monotonic(), None)
    (entry, _) = journal.entries()
    assert entry.state == State.RUNNING
    assert before <= entry.started <= time.monotonic()
    journal.done(3)
    assert [e.state for e in journal.entries()] == [State.DONE, State.HELD]
    journal.put(3, State.FREE)
    assert [e.slot for e in journal.entries()] == [199]


def test_claim_of_a_revoked_message_fails_and_its_slot_can_be_used_again(
    journal: Journal,
) -> None:
    journal.hold([0], [ID], [0])
    journal.revoke(0)
    assert not journal.claim(0, time.monotonic(), None)
    assert [e.state for e in journal.entries()] == [State.HELD]
    journal.hold([0], [ID], [0])
    assert not journal.is_revoked(0)
    assert journal.claim(0, time.monotonic(), None)


def test_claim_after_the_lease_deadline_fails(journal: Journal) -> None:
    journal.hold([0], [ID], [0])
    journal.set_lease_deadline(time.monotonic() - 0.001)
    assert journal.is_lease_over()
    assert not journal.claim(0, time.monotonic(), None)
    journal.set_lease_deadline(time.monotonic() + 1)
    assert journal.claim(0, time.monotonic(), None)


def test_entries_after_a_kill_of_the_child_are_those_it_wrote(journal: Journal) -> None:
    journal.session = "a" * 16
    pid = os.fork()
    if pid == 0:
        journal.fresh, journal.phase = "b" * 16, Phase.BUSY
        journal.hold([7], [ID], [1])
        journal.claim(7, time.monotonic(), None)
        journal.free([], done=3, failed=1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (journal.session, journal.fresh, journal.phase) == ("a" * 16, "b" * 16, Phase.BUSY)
    assert journal.totals == (3, 1)
    assert [(e.slot, e.state) for e in journal.entries()] == [(7, State.RUNNING)]
