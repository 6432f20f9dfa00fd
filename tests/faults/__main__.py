"""Run scenarios: `python -m tests.faults 7 --seed 3`, `python -m tests.faults all`, `... soak`.

Prints the seed, which repeats the run, and the directory of the histories: JSON lines with the time
of each enqueue, start, end and kill. The last line is the outcome.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.plan import ELSEWHERE, SCENARIOS, SOAK
from tests.faults.scene import play


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("which", nargs="+", help="numbers, `all`, `soak`, or `list`")
    flags.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 24))
    flags.add_argument("--seconds", type=float, help="duration of each scenario")
    flags.add_argument("--history", type=Path, help="directory for the histories")
    given = flags.parse_args()
    if given.which == ["list"]:
        rows = {n: f"{plan.provoke}: {plan.promise}" for n, plan in SCENARIOS.items()} | ELSEWHERE
        print("\n".join(f"{number:>3} {told}" for number, told in sorted(rows.items())))
        return 0
    words = {"all": [n for n in sorted(SCENARIOS) if n != SOAK], "soak": [SOAK]}
    numbers = [n for word in given.which for n in words.get(word) or [int(word)]]
    history: Path = given.history or Path(tempfile.mkdtemp(prefix="faults-"))
    failed = list[int]()
    for number in numbers:
        seconds = f" --seconds {given.seconds:g}" if given.seconds else ""
        print(f"python -m tests.faults {number} --seed {given.seed}{seconds}", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"fault{number}-") as directory:
            scene = play(number, given.seed, Path(directory), given.seconds)
            scene.write(history / f"{number}-{given.seed}.jsonl")
        print(f"{scene.outcome()}\n      in {time.monotonic() - started:.1f} s", flush=True)
        failed += [number] if scene.broken else []
    print(f"histories in {history}")
    print(f"broken: {failed}" if failed else f"{len(numbers)} kept")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
