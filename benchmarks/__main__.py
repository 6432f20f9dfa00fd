"""Measure typedq beside floors and rivals in one run.

`python -m benchmarks` runs the default contenders, --all every one, --quick only typedq, the
version before and the floor, for about a minute. What is timed and what is not: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import catalog, plot, report
from benchmarks.contender import ENVIRONMENTS, Contender, install_all
from benchmarks.machine import foreign_load, machine
from benchmarks.trial import FULL, QUICK, Effort, TrialError, measure

RESULTS = Path(__file__).parent / "results"


def run(
    contenders: Sequence[Contender], rounds: int, effort: Effort, log: Path
) -> list[dict[str, Any]]:
    """Measure each contender once a round, in alternating order, so that all share the noise.

    What the contenders print goes to the file `log`.
    """
    trials = list[dict[str, Any]]()
    log.write_text("")
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            load = foreign_load()
            trial: dict[str, Any] = {"round": number, "name": contender.name, "foreign load": load}
            started = time.monotonic()
            try:
                trial["figures"] = measure(contender, log, effort)
            except Exception as error:  # noqa: BLE001 - reported in the results; the others go on
                trial["failed"] = str(error) if isinstance(error, TrialError) else repr(error)
            trial["took s"] = round(time.monotonic() - started, 1)
            trials.append(trial)
            outcome = trial.get("failed", "")
            took = f"{trial['took s']:6} s"
            print(f"round {number + 1}  {contender.name:12}{took}  {outcome}", flush=True)
    return trials


def save(result: dict[str, Any], directory: Path, name: str) -> str:
    """Write figures, report and plot; return the report."""
    directory.mkdir(parents=True, exist_ok=True)
    # One line for each trial, so that a new result can be compared as a diff.
    lines = ",\n".join(json.dumps(trial) for trial in result["trials"])
    rest = json.dumps(result | {"trials": []}, indent=1)
    text = rest.replace('"trials": []', f'"trials": [\n{lines}\n ]') + "\n"
    (directory / f"{name}.json").write_text(text)
    (directory / f"{name}.svg").write_text(plot.draw(report.medians(result["trials"])))
    (directory / f"{name}.md").write_text(page := report.write(result, name))
    return page


def _names(text: str) -> list[str]:
    return [name for name in text.replace(",", " ").split() if name]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--contenders", type=_names, metavar="NAME,...", help="only these")
    which.add_argument("--all", action="store_true", help="every rival that installs")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="short rounds; alone, of typedq, the version before and the floor",
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    named = options.contenders or (catalog.QUICK if options.quick and not options.all else ())
    try:
        chosen = catalog.choose(named) if named else [*catalog.DEFAULT]
    except ValueError as error:
        parser.error(str(error))
    if options.all:
        chosen = [*catalog.DEFAULT, *catalog.MORE]
    contenders, unavailable = install_all(chosen)
    if not contenders:
        raise SystemExit("none of these contenders can take part")
    ENVIRONMENTS.mkdir(exist_ok=True)
    effort = QUICK if options.quick else FULL
    trials = run(contenders, options.rounds, effort, ENVIRONMENTS / "last.log")
    settings = {each.name: f"{each.versions()}; {each.settings}" for each in contenders}
    # Only complete runs are for the record.
    complete = not (named or options.quick)
    directory = RESULTS if complete else ENVIRONMENTS / "results"
    name = (
        "all" if options.all else "latest" if complete else "quick" if options.quick else "chosen"
    )
    about = {"machine": machine(), "settings": settings, "unavailable": unavailable}
    print(save(about | {"trials": trials}, directory, name))
    return int(any("failed" in trial for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
