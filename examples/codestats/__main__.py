"""Count the lines of Python's standard library with typedq, and check its promises.

`python -m examples.codestats [--files N]`; the exit code is 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import sysconfig
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from msgspec import structs

from examples.codestats import promises, tasks
from examples.codestats.counting import NotPython, count
from examples.codestats.promises import Promise
from examples.codestats.screen import Screen
from examples.codestats.services import CHILDREN, Services, WorkerDied, ask, services
from examples.codestats.store import Run, runs, store
from typedq import InvalidArguments, Receipt

WAIT_S = 20.0
COUNTING_S = 120.0
ARCHIVE_S = 1.0  # long enough to kill the child during the task, also on a busy machine
MIN_FILES = 50  # with fewer files, no low-priority task is left when the urgent one arrives
DELAY = timedelta(seconds=2)
PINGS = 100
BROKEN = (b'{"path": "os.py", "module":', b'{"path": 42, "module": "os"}')
app = tasks.app


def library(most: int | None) -> dict[Path, str]:
    """Return source files of the standard library with their modules; `most` of them, evenly."""
    root = Path(sysconfig.get_path("stdlib"))
    found = sorted(root.rglob("*.py"))
    found = [f for f in found if not {"site-packages", "dist-packages"} & set(f.parts)]
    chosen = found[:: -(-len(found) // (most or len(found)))]
    return {file: file.relative_to(root).parts[0].removesuffix(".py") for file in chosen}


class Demo:
    """One run. Each step checks a promise, prints the result and keeps it."""

    def __init__(self, screen: Screen, running: Services, files: dict[Path, str]) -> None:
        self.screen, self.services, self.files = screen, running, files
        self.promises: list[Promise] = []
        self.accepted: dict[str, Path | None] = {}
        self.started = time.monotonic()

    def run(self) -> int:
        """Run all steps; return the exit code."""
        self.greet()
        self.refuse()
        reminder = self.accept(tasks.remind.options(delay=DELAY).enqueue("stretch your legs"))
        self.enqueue_files()
        self.run_urgent()
        self.send_invalid()
        self.kill()
        ran = self.wait_for(reminder.id)
        self.judge(promises.on_time(ran[0] if ran else None))
        self.count()
        for _ in range(PINGS):
            if not self.wait_for(self.accept(tasks.ping.enqueue()).id):
                break
        self.mail()
        self.account()
        self.judge(promises.drained(self.services.stop_worker()))
        self.sum_up()
        return promises.exit_code(self.promises)

    # --- the steps ---------------------------------------------------------------------------

    def greet(self) -> None:
        """Wait for the worker, and show the services."""
        self.screen.console.print(
            f"[bold]codestats[/] counts the standard library of Python {platform.python_version()}"
            f" with typedq\n"
        )
        ping = self.wait_for(self.accept(tasks.ping.enqueue()).id)
        took = f"ready after {time.monotonic() - self.started:.1f} s" if ping else "not ready"
        worker = self.services.worker.pid
        self.screen.say("server", "a private Valkey, on a unix socket")
        self.screen.say("mail server", self.services.mail_server.address)
        self.screen.say("worker", f"process {worker} with {CHILDREN} children, {took}\n")

    def refuse(self) -> None:
        """Enqueue a call that a type checker would flag; the contract refuses it, too."""
        wrong: Any = 42
        before, error = self.waiting(), None
        try:
            tasks.count_file.enqueue(wrong, module="os")
        except InvalidArguments as refusal:
            error = refusal
        self.judge(promises.refused(error, self.waiting() - before))

    def enqueue_files(self) -> None:
        """Enqueue one message per file, atomic per chunk of 1,000."""
        start = time.perf_counter()
        calls = [tasks.count_file.call(str(f), module=name) for f, name in self.files.items()]
        receipts = app.enqueue_many(calls)
        took = time.perf_counter() - start
        self.accepted.update(zip((receipt.id for receipt in receipts), self.files, strict=True))
        self.screen.say("enqueued", f"{len(receipts):,} files in {took * 1e3:.0f} ms")

    def run_urgent(self) -> None:
        """Enqueue one file with high priority, as for a user who waits for it."""
        self.services.until(lambda: self.started_files() > 0, WAIT_S)
        file = next(iter(self.files))
        urgent = tasks.count_file.options(queue="high")
        receipt = self.accept(urgent.enqueue(str(file), module=self.files[file]))
        ran = self.wait_for(receipt.id)
        place, sent = (ran[0].place, ran[0].enqueued) if ran else (0, 0.0)
        before = runs("queue = 'low' AND started < ?", sent)
        between = runs("queue = 'low' AND started >= ? AND place < ?", sent, place)
        waiting = len(self.files) - len(before)
        self.judge(promises.ran_first(ran[0] if ran else None, waiting, waiting - len(between)))

    def send_invalid(self) -> None:
        """Send what no checked call can hold: a body that the contract refuses."""
        call = tasks.count_file.options(queue="high").call("os.py", module="os")
        broken = [structs.replace(call, body=body) for body in BROKEN]
        sent = [receipt.id for receipt in app.enqueue_many(broken)]
        self.accepted.update(dict.fromkeys(sent))
        self.services.until(lambda: self.dead().keys() >= set(sent), WAIT_S, self.show)
        self.judge(promises.dead_lettered(sent, self.dead()))

    def kill(self) -> None:
        """Kill a child with SIGKILL during a task."""
        id = self.accept(tasks.archive.enqueue(seconds=ARCHIVE_S)).id
        first = self.services.until(lambda: runs("id = ?", id), WAIT_S, self.show)
        if first:
            os.kill(first[0].pid, signal.SIGKILL)
        killed_at = time.time()
        ran = self.wait_for(id)
        crashes = ask("info")["since_start"].get("crashed", 0)
        self.judge(promises.survived(killed_at, ran, crashes))

    def count(self) -> None:
        """Wait for the other files; check again each file that was rejected."""
        everything = len(self.files)
        self.services.until(
            lambda: self.started_files() == everything and not self.waiting(), COUNTING_S, self.show
        )
        self.show()
        rejected = [file for id in self.dead() if (file := self.accepted.get(id))]
        rows = store().execute("SELECT count(*) FROM files").fetchone()[0]
        unjustified = sum(map(is_python, rejected))
        self.judge(promises.counted(len(self.files), rows, len(rejected), unjustified))

    def mail(self) -> None:
        """Send the report; the mail server refuses the first attempt with "try again later"."""
        args = tasks.EmailArgs(to="ada@example.org", subject="The standard library in numbers")
        ran = self.wait_for(self.accept(tasks.send_report.enqueue(args)).id)
        server = self.services.mail_server
        self.judge(promises.mailed(len(server.mails), server.refused, ran))
        for mail in server.mails:
            self.screen.mail(mail)

    def account(self) -> None:
        """Account for each message, by the application's records and by the server's counts."""
        self.services.until(lambda: not self.waiting(), WAIT_S)
        done = {run.id for run in runs("ended IS NOT NULL")}
        self.judge(promises.accounted(self.accepted, done, self.dead(), self.waiting()))

    def sum_up(self) -> None:
        """Print the figures of this run."""
        ended, say = ask("info")["since_start"], self.screen.say
        low, pings = runs("queue = 'low' AND ended"), runs("task = 'ping'")[-PINGS:]
        lines = store().execute("SELECT sum(code + comments + blanks) FROM files").fetchone()[0]
        ends = {word: ended.get(word, 0) for word in ("done", "retried", "crashed", "dead")}
        self.screen.console.print()
        say("messages", ", ".join(f"{word} {number:,}" for word, number in ends.items()))
        if low:
            took = max(run.ended or 0 for run in low) - min(run.enqueued for run in low)
            say("rate", f"{len(low) / took:,.0f} files/s, {lines / took:,.0f} lines/s")
        say("latency", latencies("idle", pings) + "; " + latencies("in the backlog", low))
        kept, took = sum(p.kept for p in self.promises), time.monotonic() - self.started
        say("promises", f"{kept} of {len(self.promises)} kept, in {took:.1f} s")

    # --- shared by the steps -----------------------------------------------------------------

    def accept(self, receipt: Receipt) -> Receipt:
        """Record an accepted message: it must have an end when the demo ends."""
        self.accepted[receipt.id] = None
        return receipt

    def judge(self, promise: Promise) -> None:
        self.promises.append(promise)
        self.screen.promise(promise)

    def wait_for(self, id: str) -> list[Run]:
        """Wait up to WAIT_S until a run of the message succeeded; return its runs."""
        ended = "id = ? AND ended IS NOT NULL"
        self.services.until(lambda: runs(ended, id), WAIT_S, self.show)
        return runs("id = ?", id)

    def dead(self) -> dict[str, dict[str, Any]]:
        """Return the dead letters by id."""
        return {row["id"]: row for row in ask("dead", "list", "--number", "100000")}

    def waiting(self) -> int:
        """Return how many messages have no end yet, as the server counts them."""
        return int(ask("info")["waiting"])

    def started_files(self) -> int:
        """Return how many files a task has started to count."""
        query = "SELECT count(DISTINCT id) FROM runs WHERE task = 'count_file' AND queue = 'low'"
        return int(store().execute(query).fetchone()[0])

    def show(self) -> None:
        self.screen.progress(self.started_files(), len(self.files))


def is_python(file: Path) -> bool:
    """Return True if tokenize can read the file."""
    try:
        count(file)
    except NotPython:
        return False
    return True


def latencies(name: str, ran: list[Run]) -> str:
    """Return the time from enqueued to started: median and 99th percentile."""
    waits = sorted(1e3 * (run.started - run.enqueued) for run in ran)
    if not waits:
        return f"{name}: none"
    p50, p99 = (waits[int(len(waits) * part)] for part in (0.5, 0.99))
    return f"{name} p50 {p50:,.1f} ms, p99 {p99:,.1f} ms"


def stop(*_: object) -> NoReturn:
    """Stop the demo on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the demo. Return 0 if all promises were kept, 1 if not, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="codestats", description=__doc__)
    parser.add_argument("--files", type=int, metavar="N", help="count about N files, not all")
    most = parser.parse_args(arguments).files
    if most is not None and most < MIN_FILES:
        parser.error(f"--files must be {MIN_FILES} or more, not {most}")
    files = library(most)
    signal.signal(signal.SIGTERM, stop)
    try:
        with services() as running, Screen() as screen:
            return Demo(screen, running, files).run()
    except WorkerDied as error:
        print(f"the worker exited unexpectedly:\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; stopped the worker and the servers", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
