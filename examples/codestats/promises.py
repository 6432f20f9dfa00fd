"""What typedq promises, each as a function from what was seen to a verdict. Nothing is assumed.

A promise whose evidence is missing (None, or empty) is broken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from examples.codestats.store import Run
from typedq import InvalidArguments

LATE_S = 1.0  # both children may be in the middle of a large file
BACK_S = 5.0
OVERTAKEN = 0.75  # of those that waited: each child may hold a few it fetched before


class Promise(NamedTuple):
    """A promise, whether it was kept, and the figures that say so."""

    title: str
    kept: bool
    evidence: str


def refused(error: InvalidArguments | None, sent: int) -> Promise:
    """`error` is what enqueue raised; `sent` counts what reached the server all the same."""
    evidence = "it was accepted" if error is None else str(error)
    return Promise("wrong argument refused", error is not None and not sent, evidence)


def overtook(urgent: Run | None, waiting: int, overtaken: int) -> Promise:
    """`waiting` low ones were there first; `overtaken` of them started after the urgent one."""
    title, evidence = "urgent task overtook", "it did not start"
    if urgent:
        after = urgent.started - urgent.enqueued
        evidence = f"{overtaken:,} of {waiting:,} that waited; started after {after * 1e3:.0f} ms"
    return Promise(title, bool(urgent and 0 < OVERTAKEN * waiting <= overtaken), evidence)


def on_time(run: Run | None) -> Promise:
    """Not before it was due, and soon after."""
    title, evidence = "delayed task on time", "it did not start"
    late = run.started - run.due if run else -1.0
    if run:
        evidence = f"due {run.due - run.enqueued:.1f} s later, started {late * 1e3:.0f} ms after"
    return Promise(title, 0 <= late <= LATE_S, evidence)


def buried(sent: Collection[str], reasons: Mapping[str, Mapping[str, str]]) -> Promise:
    """`reasons` are those of the dead letters, by id."""
    found = [reasons[id] for id in sent if id in reasons]
    kept = 0 < len(sent) == len(found) and all(r["kind"] == "invalid_body" for r in found)
    evidence = "; ".join(r["error"] for r in found) or "no dead letter"
    return Promise("broken messages kept", kept, evidence)


def survived(killed_at: float, runs: Sequence[Run], crashes: int) -> Promise:
    """The child that ran the first of `runs` was killed at `killed_at` (s since the epoch)."""
    title = "kill -9 lost nothing"
    if len(runs) < 2:
        return Promise(title, False, "the task did not run again")
    first, last = runs[0], runs[-1]
    back = last.started - killed_at
    kept = len(runs) == 2 and crashes == 1 and first.ended is None and last.ended is not None
    kept = kept and first.pid != last.pid and 0 <= back <= BACK_S
    evidence = f"child {first.pid} killed in mid-task, {last.pid} ran it {back * 1e3:.0f} ms later"
    return Promise(title, kept, f"{evidence}; crashes {crashes}, attempt {last.attempt}")


def counted(files: int, rows: int, rejected: int, unjustified: int) -> Promise:
    """Every file has a row or was rejected; `unjustified` of those could be counted after all."""
    kept = 0 < files == rows + rejected and not unjustified
    evidence = f"{rows:,} of {files:,}; {rejected} rejected, as tokenize cannot read them"
    return Promise("every file counted", kept, evidence)


def mailed(mails: int, turned_away: int, runs: Sequence[Run]) -> Promise:
    """One mail came, by a retry for each time that the server turned it away."""
    kept = mails == 1 and len(runs) == turned_away + 1 and runs[-1].attempt == len(runs)
    evidence = f"{mails} mail, turned away {turned_away} time(s), attempts {len(runs)}"
    return Promise("report mailed", kept, evidence)


def accounted(
    accepted: Collection[str], done: Collection[str], dead: Collection[str], waiting: int
) -> Promise:
    """Ids of the messages; each must have ended in exactly one way. `waiting` is a number."""
    ended, both = {*done, *dead}, {*done} & {*dead}
    lost, strange = {*accepted} - ended, ended - {*accepted}
    kept = bool(accepted) and not (lost or strange or both or waiting)
    evidence = f"{len(accepted):,} accepted = {len(done):,} done + {len(dead):,} dead letters"
    return Promise("nothing lost", kept, f"{evidence}; lost {len(lost)}, waiting {waiting}")


def drained(code: int | None) -> Promise:
    """The worker ended by itself after SIGTERM, with nothing interrupted."""
    return Promise("worker stopped cleanly", code == 0, f"exit code {code} after SIGTERM")


def exit_code(promises: Sequence[Promise]) -> int:
    """0 if there are promises and all were kept, else 1."""
    return 0 if promises and all(promise.kept for promise in promises) else 1
