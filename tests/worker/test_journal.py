"""The journal: what a child shares with its supervisor, so that a kill loses no knowledge."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from typedq.worker.journal import Journal, Phase, State

ID = b"0123456789abcdef0123456789"


@pytest.fixture
def journal() -> Journal:
    made = Journal(200)
    made.set_lease_deadline(time.monotonic() + 60)
    return made


def test_entries_after_each_change_of_a_message_tell_its_state(journal: Journal) -> None:
    journal.hold([3], [ID], bytes([2]))
    journal.hold([199], [ID[::-1]], bytes([0]))
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
    journal.set_state(3, State.FREE)
    assert [e.slot for e in journal.entries()] == [199]


@pytest.mark.parametrize("slots", [range(3, 6), [3, 5, 4]])
def test_messages_side_by_side_are_held_and_freed_as_others_are(
    journal: Journal, slots: Sequence[int]
) -> None:
    ids = [ID, ID[::-1], ID[3:] + ID[:3]]
    journal.hold([2, 6], [ID, ID], bytes([9, 9]))
    journal.revoke(4)
    journal.hold(slots, ids, bytes([7, 8, 9]))
    found = {e.slot: (e.state, e.id, e.queue) for e in journal.entries()}
    held = zip(slots, ids, [7, 8, 9], strict=True)
    other = (State.HELD, ID, 9)
    assert found == {slot: (State.HELD, id, queue) for slot, id, queue in held} | dict.fromkeys(
        (2, 6), other
    )
    assert not journal.is_revoked(4)
    journal.free(slots, done=3)
    assert [e.slot for e in journal.entries()] == [2, 6]
    assert journal.totals == (3, 0)


def test_claim_of_a_revoked_message_fails_and_its_slot_can_be_used_again(
    journal: Journal,
) -> None:
    journal.hold([0], [ID], bytes([0]))
    journal.revoke(0)
    assert not journal.claim(0, time.monotonic(), None)
    assert [e.state for e in journal.entries()] == [State.HELD]
    journal.hold([0], [ID], bytes([0]))
    assert not journal.is_revoked(0)
    assert journal.claim(0, time.monotonic(), None)


def test_claim_after_the_lease_deadline_fails(journal: Journal) -> None:
    journal.hold([0], [ID], bytes([0]))
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
        journal.hold([7], [ID], bytes([1]))
        journal.claim(7, time.monotonic(), None)
        journal.free([], done=3, failed=1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (journal.session, journal.fresh, journal.phase) == ("a" * 16, "b" * 16, Phase.BUSY)
    assert journal.totals == (3, 1)
    assert [(e.slot, e.state) for e in journal.entries()] == [(7, State.RUNNING)]


class _Meanwhile:
    """A column of the journal; when it is first read, the child goes on."""

    def __init__(self, column: Any, child: Callable[[], object]) -> None:
        self._column, self._child = column, child

    def __getitem__(self, slot: int) -> Any:
        value, child = self._column[slot], self._child
        self._child = lambda: None
        child()
        return value

    def __setitem__(self, slot: int, value: Any) -> None:
        self._column[slot] = value


@pytest.mark.parametrize("column", ["started", "_deadlines"])
def test_an_entry_is_never_made_of_two_messages(journal: Journal, column: str) -> None:
    """Else the next message of a slot would be killed for the hard timeout of the one before."""
    other, now = ID[::-1], time.monotonic()
    journal.hold([0], [ID], bytes([1]))
    assert journal.claim(0, now, 1.0)

    def next_message() -> None:
        journal.done(0)
        journal.free([0], done=1)
        journal.hold([0], [other], bytes([2]))
        assert journal.claim(0, now + 1.0, 60.0)

    setattr(journal, column, _Meanwhile(getattr(journal, column), next_message))
    (entry,) = journal.entries()
    assert (entry.id, entry.queue, entry.deadline) == (other, 2, now + 61.0)


def test_an_entry_that_was_overwritten_is_read_all_the_same(journal: Journal) -> None:
    journal.hold([0], [ID], bytes([1]))
    assert journal.claim(0, float("nan"), None)
    assert [entry.id for entry in journal.entries()] == [ID]
