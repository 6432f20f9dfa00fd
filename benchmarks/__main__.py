"""typedq beside floors and rivals, in one run: `python -m benchmarks [--all] [NAME...]`.

What is timed and what is not: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import field, plot, report
from benchmarks.field import SAFE, Contender, Missing
from benchmarks.machine import machine, noise
from benchmarks.turn import Failed, take

RESULTS = Path(__file__).parent / "results"


def enrol(wanted: list[Contender]) -> tuple[list[Contender], dict[str, str]]:
    """Who can take part, and why the others cannot."""
    there, missing = list[Contender](), dict[str, str]()
    for contender in wanted:
        try:
            contender.install()
            there.append(contender)
        except Missing as error:
            missing[contender.name] = str(error)
            print(f"{contender.name} is left out: {error}", flush=True)
    return there, missing


def run(contenders: list[Contender], rounds: int) -> list[dict[str, Any]]:
    """Every round has a turn of each, in turning order, so that noise is shared out."""
    log, turns = RESULTS / "last.log", list[dict[str, Any]]()
    log.write_text("")
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            turn: dict[str, Any] = {"round": number, "name": contender.name, "noise": noise()}
            started = time.monotonic()
            try:
                turn["figures"] = take(contender, log)
            except Exception as error:  # noqa: BLE001 - told in the results; the others go on
                turn["failed"] = str(error) if isinstance(error, Failed) else repr(error)
            turn["took s"] = round(time.monotonic() - started, 1)
            turns.append(turn)
            said = turn.get("failed", "")
            print(
                f"round {number + 1}  {contender.name:14}{turn['took s']:6} s  {said}", flush=True
            )
    return turns


def _lines(result: dict[str, Any]) -> str:
    """JSON with a line for each turn, so that the history of results can be read as a diff."""
    turns = ",\n".join(json.dumps(turn) for turn in result["turns"])
    rest = json.dumps(result | {"turns": []}, indent=1)
    return rest.replace('"turns": []', f'"turns": [\n{turns}\n ]') + "\n"


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("names", nargs="*", help="only these, and the safe floor")
    flags.add_argument("--all", action="store_true", help="every rival, not only the fastest")
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--name", help="of the files in benchmarks/results")
    chosen = flags.parse_args()
    wanted = [*field.MAIN, *(field.MORE if chosen.all or chosen.names else ())]
    if chosen.names:
        if unknown := set(chosen.names) - {each.name for each in wanted}:
            raise SystemExit(f"no such contender: {', '.join(sorted(unknown))}")
        wanted = [each for each in wanted if each.name in (*chosen.names, SAFE)]
    contenders, missing = enrol(wanted)
    RESULTS.mkdir(exist_ok=True)
    turns = run(contenders, chosen.rounds)
    settings = {each.name: f"{each.versions()}; {each.settings}" for each in contenders}
    result = {"machine": machine(), "settings": settings, "missing": missing, "turns": turns}
    name = chosen.name or ("chosen" if chosen.names else "all" if chosen.all else "latest")
    (RESULTS / f"{name}.json").write_text(_lines(result))
    text = report.write(result, name)
    (RESULTS / f"{name}.md").write_text(text)
    (RESULTS / f"{name}.svg").write_text(plot.draw(report.medians(turns)))
    print(text)
    return int(any("failed" in turn for turn in turns))


if __name__ == "__main__":
    sys.exit(main())
