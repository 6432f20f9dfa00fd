"""The counts of one child: whatever is counted at once equals what is counted one by one."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import pytest

from typedq.message import encode_message, new_ids
from typedq.observe.labels import Labels
from typedq.observe.tallies import Tallies
from typedq.observe.tally import Tally
from typedq.worker.journal import Journal, compact

SLOTS, KIND = 40, b"nap@0 mid - "
Cells = list[float]


@dataclass
class Attempt:
    slot: int
    message: bytes
    took: float
    started: float


def attempts(number: random.Random, *, ms: int, delays: bool) -> list[Attempt]:
    """Return attempts that were due within the last `ms`, in slots that follow each other."""
    first, now, clock = number.randrange(SLOTS - 20), time.time(), time.monotonic()
    made = []
    for slot, id in enumerate(new_ids(number.randrange(1, 20)), first):
        due = round(now * 1000) - 5_000 - number.randrange(ms)
        own = f"{due:011x}{0:09}{id[20:]}"  # what is less than a millisecond may be left out
        message = encode_message(id=own, contract="nap@0", queue="mid", options=b"-", body=b"1")
        if delays and number.random() < 0.5:
            message = message[:11] + b"%013d" % (due + 4_000) + message[24:]
        took = number.choice([0.0, 1e-6, 0.004, 0.02, 3.0])
        made.append(Attempt(slot, message, took, clock - number.random() * 3))
    return made


def tally_of(made: list[Attempt], slots: list[int]) -> Tally:
    """Return the counts of a child that holds these messages in these slots."""
    tally = Tallies(Labels.of({"nap": ()}, ["mid"]), 1, SLOTS).of_children[0]
    journal, run = Journal(SLOTS), compact(slots)
    tally.started, tally.ids = journal.started, journal.ids
    journal.hold(run, [each.message[25:51] for each in made], bytes([0] * len(made)))
    is_new = all(each.message[11:24] == b"0" * 13 for each in made)
    tally.track(run, [KIND], () if is_new else [each.message for each in made])
    for slot, each in zip(slots, made, strict=True):
        each.slot, journal.started[slot] = slot, each.started
    return tally


@pytest.mark.parametrize("delays", [False, True])
@pytest.mark.parametrize("ms", [1, 3, 4_000])
def test_counts_of_a_batch_equal_those_of_each_attempt(
    ms: int, delays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, now, clock = random.Random(ms), time.time(), time.monotonic()
    monkeypatch.setattr(time, "time", lambda: now)  # else it runs between two readings
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    for _ in range(60):
        made = attempts(number, ms=ms, delays=delays)
        slots = [each.slot for each in made]
        shuffled = number.sample(range(SLOTS), len(slots))
        counts = list[Cells]()
        for taken in (slots, shuffled, shuffled[::-1]):
            tally = tally_of(made, taken)
            tally.fold({KIND: made}, compact(taken))
            tally.close()
            counts.append([*tally.row(0)])
        tally = tally_of(made, slots)
        for each in made:
            tally.count(each, KIND, "done")
            tally.close()
        for found in counts:
            assert found == pytest.approx(tally.row(0), abs=0.001)
            assert sum(found[:1]) == len(made)


def test_a_batch_that_was_counted_before_a_kill_is_not_counted_again() -> None:
    made = attempts(random.Random(1), ms=3, delays=False)
    tally = tally_of(made, [each.slot for each in made])
    tally.fold({KIND: made}, compact([each.slot for each in made]))
    tally.recover({each.slot: "done" for each in made})  # it died before it freed them
    assert tally.row(0)[0] == len(made)
    tally.recover({each.slot: "done" for each in made})  # as of another batch
    assert tally.row(0)[0] == 2 * len(made)


def test_many_slots_are_a_range_if_each_follows_the_one_before() -> None:
    assert compact([4, 5, 6, 7]) == range(4, 8)
    for others in ([6, 5, 4, 3], [4, 6, 7, 8], [4, 6, 5, 7], [4, 5, 5, 6]):
        assert compact(others) == others
