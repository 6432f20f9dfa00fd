"""Count the lines of Python's standard library through typedq, and check what typedq promises.

`python -m examples.codestats [--files N]`; exit code 1 if a promise was not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import sysconfig
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from examples.codestats import promises, tasks
from examples.codestats.counting import NotPython, count
from examples.codestats.promises import Promise
from examples.codestats.screen import Screen
from examples.codestats.store import Run, runs, store
from examples.codestats.surroundings import CHILDREN, Surroundings, WorkerDied, surroundings
from typedq import InvalidArguments, Receipt
from typedq.broker import Destination, OutgoingMessage
from typedq.broker.stats import Stats, graves, letters, survey
from typedq.message import encode_message, new_ids

PATIENCE_S = 20.0
COUNTING_S = 120.0
ARCHIVE_S = 1.0  # long enough to be killed in, on a busy machine too
FEWEST = 50  # with fewer files there is nothing to overtake
DELAY = timedelta(seconds=2)
PINGS = 100
BROKEN = (b'{"path": "os.py", "module":', b'{"path": 42, "module": "os"}')
app = tasks.app


def library(most: int | None) -> dict[Path, str]:
    """Source files of the standard library, each with its module; at most so many, evenly."""
    root = Path(sysconfig.get_path("stdlib"))
    found = sorted(root.rglob("*.py"))
    found = [f for f in found if not {"site-packages", "dist-packages"} & set(f.parts)]
    chosen = found[:: -(-len(found) // (most or len(found)))]
    return {file: file.relative_to(root).parts[0].removesuffix(".py") for file in chosen}


class Demo:
    """One run; every step shows a promise and keeps it for the verdict."""

    def __init__(self, screen: Screen, around: Surroundings, files: dict[Path, str]) -> None:
        self.screen, self.around, self.files = screen, around, files
        self.promises: list[Promise] = []
        self.accepted: dict[str, Path | None] = {}
        self.started = time.monotonic()
        self.is_counting = False

    def run(self) -> int:
        """Everything in turn; return the exit code."""
        self.greet()
        self.refuse()
        reminder = self.accept(tasks.remind.options(delay=DELAY).enqueue("stretch your legs"))
        self.enqueue_files()
        self.overtake()
        self.bury()
        self.kill()
        ran = self.wait_for(reminder.id)
        self.judge(promises.on_time(ran[0] if ran else None))
        self.count()
        for _ in range(PINGS):
            if not self.wait_for(self.accept(tasks.ping.enqueue()).id):
                break
        self.mail()
        self.account()
        self.judge(promises.drained(self.around.stop_worker()))
        self.sum_up()
        return promises.exit_code(self.promises)

    # --- the steps ---------------------------------------------------------------------------

    def greet(self) -> None:
        """Show what is there, once the worker has answered."""
        self.screen.console.print(
            f"[bold]codestats[/]: the standard library of Python {platform.python_version()},"
            f" counted through typedq\n"
        )
        ping = self.wait_for(self.accept(tasks.ping.enqueue()).id)
        took = f"ready after {time.monotonic() - self.started:.1f} s" if ping else "not ready"
        worker = self.around.worker.pid
        self.screen.say("server", "one of its own, on a private socket")
        self.screen.say("mail server", self.around.postbox.address)
        self.screen.say("worker", f"process {worker} with {CHILDREN} children, {took}\n")

    def refuse(self) -> None:
        """A type checker would flag this call; the contract refuses it at run time too."""
        wrong: Any = 42
        before, error = self.waiting(), None
        try:
            tasks.count_file.enqueue(wrong, module="os")
        except InvalidArguments as refusal:
            error = refusal
        self.judge(promises.refused(error, self.waiting() - before))

    def enqueue_files(self) -> None:
        """One message per file, atomic per chunk of 1,000."""
        start = time.perf_counter()
        calls = [tasks.count_file.call(str(f), module=name) for f, name in self.files.items()]
        receipts, self.is_counting = app.enqueue_many(calls), True
        took = time.perf_counter() - start
        self.accepted.update(zip((receipt.id for receipt in receipts), self.files, strict=True))
        self.screen.say("enqueued", f"{len(receipts):,} files in {took * 1e3:.0f} ms")

    def overtake(self) -> None:
        """Enqueue one file with priority, as for a user who is looking at it now."""
        self.around.until(lambda: self.counted() > 0, PATIENCE_S)
        file = next(iter(self.files))
        urgent = tasks.count_file.options(queue="high")
        receipt = self.accept(urgent.enqueue(str(file), module=self.files[file]))
        ran = self.wait_for(receipt.id)
        place, sent = (ran[0].place, ran[0].enqueued) if ran else (0, 0.0)
        before = runs("queue = 'low' AND started < ?", sent)
        between = runs("queue = 'low' AND started >= ? AND place < ?", sent, place)
        waiting = len(self.files) - len(before)
        self.judge(promises.overtook(ran[0] if ran else None, waiting, waiting - len(between)))

    def bury(self) -> None:
        """What no typed producer can send: a header that is right, a body that is not."""
        contract, batch = tasks.count_file.contract, list[OutgoingMessage]()
        way = Destination("high", contract.id)
        for id, body in zip(new_ids(len(BROKEN)), BROKEN, strict=True):
            message = encode_message(
                id=id, contract=contract.id, queue="high", options=b"-", body=body
            )
            batch.append(OutgoingMessage(id, way, message))
        app.broker.enqueue(batch, lambda _: contract.schema_json())
        sent = [message.id for message in batch]
        self.accepted.update(dict.fromkeys(sent))
        self.around.until(lambda: self.dead().keys() >= set(sent), PATIENCE_S, self.show)
        self.judge(promises.buried(sent, self.dead()))

    def kill(self) -> None:
        """SIGKILL for a child, in the middle of a task."""
        id = self.accept(tasks.archive.enqueue(seconds=ARCHIVE_S)).id
        first = self.around.until(lambda: runs("id = ?", id), PATIENCE_S, self.show)
        if first:
            os.kill(first[0].pid, signal.SIGKILL)
        killed_at = time.time()
        ran = self.wait_for(id)
        self.judge(promises.survived(killed_at, ran, self.survey().stats.get("crashed", 0)))

    def count(self) -> None:
        """Wait for the rest; look again at every file that was rejected."""
        self.around.until(lambda: self.counted() == len(self.files), COUNTING_S, self.show)
        self.show()
        rejected = [file for id in self.dead() if (file := self.accepted.get(id))]
        rows = store().execute("SELECT count(*) FROM files").fetchone()[0]
        unjustified = sum(map(is_python, rejected))
        self.judge(promises.counted(len(self.files), rows, len(rejected), unjustified))

    def mail(self) -> None:
        """Send the report; the mail server says "try again later" to the first attempt."""
        args = tasks.EmailArgs(to="ada@example.org", subject="The standard library in numbers")
        ran = self.wait_for(self.accept(tasks.send_report.enqueue(args)).id)
        box = self.around.postbox
        self.judge(promises.mailed(len(box.mails), box.turned_away, ran))
        for mail in box.mails:
            self.screen.mail(mail)

    def account(self) -> None:
        """Where every message is, by the application's own notes and by the server's counts."""
        self.around.until(lambda: not self.waiting(), PATIENCE_S)
        done = {run.id for run in runs("ended IS NOT NULL")}
        self.judge(promises.accounted(self.accepted, done, self.dead(), self.waiting()))

    def sum_up(self) -> None:
        """All figures are read from the run."""
        seen, say = self.survey(), self.screen.say
        low, pings = runs("queue = 'low' AND ended"), runs("task = 'ping'")[-PINGS:]
        lines = store().execute("SELECT sum(code + comments + blanks) FROM files").fetchone()[0]
        ends = {word: seen.stats.get(word, 0) for word in ("done", "retried", "crashed", "dead")}
        self.screen.console.print()
        say("messages", ", ".join(f"{word} {number:,}" for word, number in ends.items()))
        if low:
            took = max(run.ended or 0 for run in low) - min(run.enqueued for run in low)
            say("rate", f"{len(low) / took:,.0f} files/s, {lines / took:,.0f} lines/s")
        say("latency", latencies("idle", pings) + "; " + latencies("in the backlog", low))
        kept, took = sum(p.kept for p in self.promises), time.monotonic() - self.started
        say("promises", f"{kept} of {len(self.promises)} kept, in {took:.1f} s")

    # --- what they share ---------------------------------------------------------------------

    def accept(self, receipt: Receipt) -> Receipt:
        """Note what the server accepted: each of them must be found again in the end."""
        self.accepted[receipt.id] = None
        return receipt

    def judge(self, promise: Promise) -> None:
        self.promises.append(promise)
        self.screen.promise(promise)

    def wait_for(self, id: str) -> list[Run]:
        """Runs of a message, once one of them succeeded; at the latest after `PATIENCE_S`."""
        ended = "id = ? AND ended IS NOT NULL"
        self.around.until(lambda: runs(ended, id), PATIENCE_S, self.show)
        return runs("id = ?", id)

    def survey(self) -> Stats:
        return app.broker.call(survey(app.broker.keys, ("high", "low"), ()))

    def dead(self) -> dict[str, dict[str, Any]]:
        """Reasons of the dead letters by id."""
        broker = app.broker
        ids = [grave.id for grave in broker.call(graves(broker.keys))]
        found = broker.call(letters(broker.keys, ids)) if ids else []
        return {id: json.loads(it.reason) for id, it in zip(ids, found, strict=True) if it}

    def waiting(self) -> int:
        """Messages that have not ended, as the server counts them."""
        return sum(self.survey().counts.values())

    def counted(self) -> int:
        """Files whose message has ended."""
        waiting = self.survey().counts.get(tasks.count_file.contract.id, 0)
        return max(0, len(self.files) - waiting) if self.is_counting else 0

    def show(self) -> None:
        self.screen.progress(self.counted(), len(self.files))


def is_python(file: Path) -> bool:
    """Whether the file can be counted after all."""
    try:
        count(file)
    except NotPython:
        return False
    return True


def latencies(name: str, ran: list[Run]) -> str:
    """From enqueued to started: median and 99th percentile."""
    waits = sorted(1e3 * (run.started - run.enqueued) for run in ran)
    if not waits:
        return f"{name}: none"
    p50, p99 = (waits[int(len(waits) * part)] for part in (0.5, 0.99))
    return f"{name} p50 {p50:,.1f} ms, p99 {p99:,.1f} ms"


def stop(*_: object) -> NoReturn:
    """SIGTERM ends the demo as Ctrl-C does."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 if every promise was kept, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="codestats", description=__doc__)
    parser.add_argument("--files", type=int, metavar="N", help="count about N files, not all")
    most = parser.parse_args(arguments).files
    if most is not None and most < FEWEST:
        parser.error(f"--files takes {FEWEST} or more, not {most}")
    files = library(most)
    signal.signal(signal.SIGTERM, stop)
    try:
        with surroundings() as around, Screen() as screen:
            return Demo(screen, around, files).run()
    except WorkerDied as error:
        print(f"the worker ended before its time:\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; all that was started is stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
