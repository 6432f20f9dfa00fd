"""One run of a scenario: its servers and stages, its load, its measurements and its history."""

from __future__ import annotations

import json
import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import redis

from tests.faults.harness import Stage, Verdict, wait_until
from typedq import Call
from typedq.embedded import OwnServer
from typedq.errors import EnqueueFailed, ServerError

T = TypeVar("T")
ALWAYS = ("--appendfsync", "always")
# A test asserts this multiple of each bound, because the machine may be busy.
ROOM = 4.0


class Scene:
    """The context of a scenario: `seconds` for its load, and random numbers from one seed."""

    def __init__(self, number: int, seed: int, seconds: float, directory: Path) -> None:
        self.number, self.seed, self.seconds = number, seed, seconds
        self.directory = directory
        self.dice = random.Random(seed)
        self.measured = defaultdict[str, list[float]](list)
        self.verdicts, self.broken = list[Verdict](), list[str]()
        self.skipped = ""
        self.refused = 0
        self.killed = list[int]()  # processes, amid what they ran
        self._stages, self._events = list[Stage](), list[dict[str, Any]]()
        self._stack = ExitStack()

    # --- servers and stages ------------------------------------------------------------------

    def server(self, *args: str, **more: Any) -> OwnServer:
        return self.enter(OwnServer(args=args, **more))

    def stage(
        self, url: str, *, lease: float = 30.0, eyes: str | None = None, name: str = ""
    ) -> Stage:
        directory = self.directory / f"stage{len(self._stages)}"
        directory.mkdir()
        name = name or f"f{self.number}-{self.seed}-{len(self._stages)}"
        stage = Stage(url, name, directory, lease=lease, eyes=eyes)
        self._stages.append(stage)
        return self.enter(stage)

    def elsewhere(self) -> dict[str, str]:
        """Return the environment of a worker on another machine: it shares no lock file."""
        directory = self.directory / f"machine{self.dice.randrange(1 << 32)}"
        directory.mkdir()
        return {"XDG_RUNTIME_DIR": str(directory)}

    def enter(self, manager: AbstractContextManager[T]) -> T:
        return self._stack.enter_context(manager)

    # --- load --------------------------------------------------------------------------------

    def calls(self, stage: Stage, count: int, longest: float = 0.02) -> list[Call]:
        """Return calls: half sync, half coroutines; half of both take no time."""
        return [
            stage.call(
                self.dice.choice(("nap", "anap")), max(0.0, self.dice.uniform(-longest, longest))
            )
            for _ in range(count)
        ]

    @contextmanager
    def producing(
        self, stage: Stage, *, batch: int = 5, every: float = 0.02, longest: float = 0.02
    ) -> Iterator[None]:
        """Enqueue in the background. Count calls that are refused with a clear error."""
        calls = self.calls(stage, 997, longest)

        def step(turn: int = 0) -> None:
            at = self.dice.randrange(len(calls) - batch)
            try:
                stage.send_many(calls[at : at + batch])
            except EnqueueFailed as error:
                stage.accepted += error.accepted
                stage.uncertain += error.uncertain
                self.refused += len(error.not_sent)
            except ServerError:
                self.refused += batch

        with again_and_again(every, step):
            yield

    # --- observations ------------------------------------------------------------------------

    def note(self, what: str, **more: object) -> float:
        """Add a line to the history; return the time."""
        now = time.time()
        self._events.append({"at": now, "what": what} | more)
        return now

    def measure(self, event: str, seconds: float, bound: float) -> None:
        self.measured[event].append(seconds)
        self.expect(seconds < bound, f"{event}: {seconds:.2f} s, not within {bound:g} s")

    def expect(self, kept: object, promise: str) -> None:
        if not kept:
            self.broken.append(promise)

    def probe(self, stage: Stage, event: str, since: float, bound: float) -> None:
        """Measure how long after `since` a new message ends."""

        def send() -> str:
            with suppress(ServerError):
                return stage.send("nap", queue="high")
            return ""

        id = wait_until(send, 60.0)
        self.ends(stage, id, event, since, bound)

    def ends(self, stage: Stage, id: str, event: str, since: float, bound: float) -> None:
        """Measure how long after `since` this message ends."""

        def ended() -> list[float]:
            return [e.at for e in stage.effects("end") if e.id == id]

        self.measure(event, wait_until(ended, 90.0, every=0.01)[0] - since, bound * ROOM)

    def finish(
        self,
        stage: Stage,
        *,
        deadline: float = 60.0,
        codes: Collection[int] = (0,),
        buried: int = 0,
        batches: int = 0,
        raw: int = 0,
        forgiven: Collection[str] = frozenset(),
    ) -> Verdict:
        """Drain the queue, stop the workers, and run the checker."""
        wait_until(stage.is_drained, deadline, every=0.05)
        for worker in stage.workers:
            wait_until(lambda w=worker: w.exit_code is not None or w.events("worker started"))  # type: ignore[misc]
            code = worker.stop(30.0) if worker.exit_code is None else 0
            self.expect(code in codes, f"a worker ended with {code}")
        verdict = stage.check(
            buried=buried, batches=batches, raw=raw, forgiven=forgiven, killed=self.killed
        )
        self.verdicts.append(verdict)
        self.broken += verdict.broken
        return verdict

    # --- results -----------------------------------------------------------------------------

    def write(self, path: Path) -> None:
        """Write the history in order of time; the last line is the outcome."""
        lines = list(self._events)
        for stage in self._stages:
            fields = {"namespace": stage.keys.tag[1:-1]}
            accepted = stage.accepted_at.items()
            lines += [{"at": at, "what": "enqueued", "id": id} | fields for id, at in accepted]
            lines += [{"what": "uncertain", "id": id} | fields for id in stage.uncertain]
            lines += [effect._asdict() | fields for effect in stage.effects()]
        lines.sort(key=lambda line: line.get("at", 0.0))
        lines.append(asdict(self.outcome()))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def outcome(self) -> Outcome:
        return Outcome(
            self.number,
            self.seed,
            self.skipped,
            tuple(self.broken),
            sum(verdict.accepted for verdict in self.verdicts),
            sum(verdict.extra_runs for verdict in self.verdicts),
            self.refused,
            {event: (statistics.median(s), max(s), len(s)) for event, s in self.measured.items()},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a scenario; `measured`: event -> median and worst in seconds, and count."""

    scenario: int
    seed: int
    skipped: str
    broken: tuple[str, ...]
    accepted: int
    extra_runs: int
    refused: int
    measured: dict[str, tuple[float, float, int]]

    def __str__(self) -> str:
        how = f"skipped: {self.skipped}" if self.skipped else "BROKEN" if self.broken else "kept"
        head = f"{self.scenario:>3} {how}   accepted {self.accepted:,}"
        lines = [f"{head}   extra runs {self.extra_runs}   refused {self.refused}"]
        for event, (median, worst, times) in self.measured.items():
            lines.append(f"      {event}: median {median:.3f} s, worst {worst:.3f} s of {times}")
        return "\n".join([*lines, *(f"      BROKEN: {what}" for what in self.broken)])


@dataclass(frozen=True)
class Scenario:
    """One row of the fault plan."""

    number: int
    provoke: str
    promise: str
    run: Callable[[Scene], None]
    seconds: float


SCENARIOS: dict[int, Scenario] = {}


def scenario(
    number: int, provoke: str, promise: str, *, seconds: float = 10.0
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Add a function to the plan; `seconds` is its default duration."""

    def enter(run: Callable[[Scene], None]) -> Callable[[Scene], None]:
        SCENARIOS[number] = Scenario(number, provoke, promise, run, seconds)
        return run

    return enter


@contextmanager
def again_and_again(every: float, what: Callable[[], Any]) -> Iterator[None]:
    """Call `what` in the background, at intervals of `every` seconds. Ignore connection errors.

    Raises any other error of `what` at the end.
    """
    over, errors = threading.Event(), list[Exception]()

    def loop() -> None:
        while not over.wait(every):
            try:
                what()
            except (redis.RedisError, OSError):
                continue
            except Exception as error:  # noqa: BLE001 - raised again below, in the main thread
                errors.append(error)
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]


def play(number: int, seed: int, directory: Path, seconds: float | None = None) -> Scene:
    """Run one scenario. A scenario that times out counts as a broken promise."""
    plan = SCENARIOS[number]
    with Scene(number, seed, seconds or plan.seconds, directory) as scene:
        try:
            plan.run(scene)
        except TimeoutError as error:
            logs: Sequence[Path] = sorted(directory.rglob("worker-*.log"))
            tails = "".join(f"\n{log}\n{log.read_text()[-1500:]}" for log in logs[-3:])
            scene.broken.append(f"{error}{tails}")
        scene.write(directory / "history.jsonl")
    return scene
