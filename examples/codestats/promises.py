"""The promises of typedq, each as a function from observations to a result.

Nothing is assumed: without evidence (None, or empty), a promise counts as broken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from examples.codestats.store import Run
from typedq import InvalidArguments

LATE_S = 1.0  # both children may be counting a large file
BACK_S = 5.0
OVERTAKEN = 0.75  # of the waiting ones: each child may have prefetched a few


class Promise(NamedTuple):
    """A promise, whether it was kept, and the figures that show it."""

    title: str
    kept: bool
    evidence: str


def refused(error: InvalidArguments | None, sent: int) -> Promise:
    """Check a refusal: `error` is what enqueue raised; `sent` counts messages on the server."""
    evidence = "it was accepted" if error is None else str(error)
    return Promise("wrong argument refused", error is not None and not sent, evidence)


def ran_first(urgent: Run | None, waiting: int, overtaken: int) -> Promise:
    """Check priority: of `waiting` older messages, `overtaken` started after the urgent one."""
    title, evidence = "urgent task ran first", "it did not start"
    if urgent:
        after = urgent.started - urgent.enqueued
        evidence = f"before {overtaken:,} of {waiting:,} waiting tasks, after {after * 1e3:.0f} ms"
    return Promise(title, bool(urgent and 0 < OVERTAKEN * waiting <= overtaken), evidence)


def on_time(run: Run | None) -> Promise:
    """Check that the run started when it was due, or soon after."""
    title, evidence = "delayed task on time", "it did not start"
    late = run.started - run.due if run else -1.0
    if run:
        evidence = f"due after {run.due - run.enqueued:.1f} s, started {late * 1e3:.0f} ms late"
    return Promise(title, 0 <= late <= LATE_S, evidence)


def dead_lettered(sent: Collection[str], reasons: Mapping[str, Mapping[str, str]]) -> Promise:
    """Check that each sent message is a dead letter; `reasons` has their reasons by id."""
    found = [reasons[id] for id in sent if id in reasons]
    kept = 0 < len(sent) == len(found) and all(r["kind"] == "invalid_body" for r in found)
    evidence = "; ".join(r["error"] for r in found) or "no dead letter"
    return Promise("invalid messages kept", kept, evidence)


def survived(killed_at: float, runs: Sequence[Run], crashes: int) -> Promise:
    """Check the run after a kill: the first child was killed at `killed_at` (s since the epoch)."""
    title = "kill -9 lost nothing"
    if len(runs) < 2:
        return Promise(title, False, "the task did not run again")
    first, last = runs[0], runs[-1]
    back = last.started - killed_at
    kept = len(runs) == 2 and crashes == 1 and first.ended is None and last.ended is not None
    kept = kept and first.pid != last.pid and 0 <= back <= BACK_S
    evidence = (
        f"child {first.pid} killed during the task, {last.pid} ran it {back * 1e3:.0f} ms later"
    )
    return Promise(title, kept, f"{evidence}; crashes {crashes}, attempt {last.attempt}")


def counted(files: int, rows: int, rejected: int, unjustified: int) -> Promise:
    """Check that each file has a row or was rejected; `unjustified` rejections were wrong."""
    kept = 0 < files == rows + rejected and not unjustified
    evidence = f"{rows:,} of {files:,}; {rejected} rejected by tokenize"
    return Promise("every file counted", kept, evidence)


def mailed(mails: int, refused: int, runs: Sequence[Run]) -> Promise:
    """Check that one mail arrived, with one retry for each refusal of the mail server."""
    kept = mails == 1 and len(runs) == refused + 1 and runs[-1].attempt == len(runs)
    evidence = f"mails {mails}, attempts {len(runs)}, refused by the mail server {refused}"
    return Promise("report mailed", kept, evidence)


def accounted(
    accepted: Collection[str], done: Collection[str], dead: Collection[str], waiting: int
) -> Promise:
    """Check that each accepted id has exactly one end. `waiting` counts messages without an end."""
    ended, both = {*done, *dead}, {*done} & {*dead}
    lost, unknown = {*accepted} - ended, ended - {*accepted}
    kept = bool(accepted) and not (lost or unknown or both or waiting)
    evidence = f"{len(accepted):,} accepted = {len(done):,} done + {len(dead):,} dead letters"
    return Promise("nothing lost", kept, f"{evidence}; lost {len(lost)}, waiting {waiting}")


def drained(code: int | None) -> Promise:
    """Check that the worker exited after SIGTERM without interrupting a task."""
    return Promise("worker stopped cleanly", code == 0, f"exit code {code} after SIGTERM")


def exit_code(promises: Sequence[Promise]) -> int:
    """Return 0 if there are promises and all were kept, else 1."""
    return 0 if promises and all(promise.kept for promise in promises) else 1
