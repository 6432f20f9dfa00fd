"""Breaks the engine on purpose and looks whether tests see it: `python -m tests.faults.saboteur`.

Each sabotage takes one promise away from a copy of the package, by a change of its text; the test
that is named with it must fail there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".hypothesis")


@dataclass(frozen=True)
class Sabotage:
    """In `file` of the package, `old` becomes `new`; `caught_by` are arguments of pytest."""

    file: str
    old: str
    new: str
    caught_by: str

    def is_possible(self, package: Path) -> bool:
        return (package / self.file).read_text().count(self.old) == 1

    def commit(self, package: Path) -> None:
        path = package / self.file
        path.write_text(path.read_text().replace(self.old, self.new))


SABOTAGES = {
    "no fencing": Sabotage(
        "broker/lua/settle_and_fetch.lua",
        "not redis.call('ZSCORE', KEYS[1], ARGV[1]) then",
        "false then",
        "tests/broker/test_settle_and_fetch.py -k not_open_gets_nothing",
    ),
    "a settlement of what is not held counts": Sabotage(
        "broker/lua/settle_and_fetch.lua",
        "if ended > 0 then",
        "ended = last - at - 2\n  if ended > 0 then",
        "tests/broker/test_settle_and_fetch.py -k stale_session_settles_nothing",
    ),
    "all is whatever is there": Sabotage(
        "broker/lua/settle_and_fetch.lua",
        "redis.call('HLEN', flight) ~= tonumber(ARGV[at + 1])",
        "false",
        "tests/broker/test_settle_and_fetch.py -k what_differs",
    ),
    "who asked before a token came owes nothing": Sabotage(
        "broker/lua/fetch_idle.lua",
        "if not paused[KEYS[k]] then pass_on(KEYS[k], KEYS[k + 2]) end",
        "",
        "tests/broker/test_fetch_idle.py -k asked_before_a_token",
    ),
    "a look takes what was lost before": Sabotage(
        "broker/lua/fetch_idle.lua",
        "if not plain or type(",
        "if type(",
        "tests/broker/test_fetch_idle.py -k not_plain",
    ),
    "a look that was lost is forgotten": Sabotage(
        "worker/session.py",
        "self._unsure = reply is None or (refused and self._is_known)",
        "self._unsure = refused and self._is_known",
        "tests/worker/test_parts.py -k answer_was_lost",
    ),
    "ack before run": Sabotage(
        "worker/sync_tasks.py",
        "        settlement: Settlement | None = None\n",
        "        self._journal.done(job.slot)\n        settlement: Settlement | None = None\n",
        "tests/worker/test_crash.py -k killed_child_is_settled",
    ),
    "no gap guard": Sabotage(
        "broker/lua/tick.lua",
        "if now - last > tonumber(ARGV[1]) or last - now > tonumber(ARGV[1]) then",
        "if false then",
        "tests/broker/test_sessions.py -k gap_guard",
    ),
    "pardoned again and again": Sabotage(
        "broker/lua/tick.lua",
        "if redis.call('SADD', KEYS[3], session) == 1 then",
        "if redis.call('SADD', KEYS[3], session) >= 0 then",
        "tests/broker/test_sessions.py -k gap_guard",
    ),
    "resend without sequence": Sabotage(
        "broker/lua/enqueue.lua",
        "if seq <= (tonumber(redis.call('GET', KEYS[1]) or '0') or 0) then return {'seen'} end",
        "",
        "tests/faults/test_scenarios.py -k kept[11]",
    ),
    "a lane shared with forks": Sabotage(
        "broker/client.py",
        "    os.register_at_fork(after_in_child=_drop_all_after_fork)",
        "    pass",
        "tests/broker/test_client.py -k four_forks",
    ),
    "no baton": Sabotage(
        "broker/lua/settle_and_fetch.lua",
        "  if list then pass_on(list, KEYS[place[list] + 3]) end\n",
        "",
        "tests/broker/test_settle_and_fetch.py -k baton",
    ),
    "reap without journal": Sabotage(
        "worker/children.py",
        'e.id: "done" for e in entries if e.state == State.DONE',
        'e.id: "done" for e in entries[:0] if e.state == State.DONE',
        "tests/worker/test_crash.py -k ended_well_is_not_run_again",
    ),
    "neighbours are convicted": Sabotage(
        "worker/children.py",
        'others="back",',
        'others="lost",',
        "tests/worker/test_crash.py -k fetched_but_not_started",
    ),
    "poison is never convicted": Sabotage(
        "worker/children.py",
        '"crash" if alone else "lost"',
        '"back" if alone else "lost"',
        "tests/worker/test_crash.py -k killed_child_is_settled",
    ),
    "the old session lives on": Sabotage(
        "broker/lua/replace_session.lua",
        "if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then kept = 'gone' end",
        "if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then kept = 'gone' end",
        "tests/broker/test_sessions.py -k rotate_moves_everything",
    ),
    "what a lost reply brought is forgotten": Sabotage(
        "worker/session.py",
        "for id in new for job in",
        "for id in new[:0] for job in",
        "tests/faults/test_scenarios.py -k kept[10]",
    ),
    "no local fence": Sabotage(
        "worker/journal.py",
        "if self._marks[slot] or now >= self._fence[0]:",
        "if self._marks[slot]:",
        "tests/worker/test_parts.py -k behind_the_fence",
    ),
    "a revoked message is claimed": Sabotage(
        "worker/journal.py",
        "if self._marks[slot] or now >= self._fence[0]:",
        "if now >= self._fence[0]:",
        "tests/worker/test_parts.py -k marked_message_cannot_be_claimed",
    ),
    "a lock that does not lock": Sabotage(
        "worker/locks.py",
        "                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        "tests/worker/test_leases.py -k lock_is_free",
    ),
    "leases are not renewed": Sabotage(
        "worker/periodic.py",
        "        return min(self._lease_s / 10, 0.2 if ended else self._lease_s)",
        "        return 3_600.0",
        "tests/worker/test_leases.py -k stands_still_keeps_its_lease",
    ),
    "no bound to what a call moves": Sabotage(
        "broker/lua/tick.lua",
        "promote(KEYS[k + 1], KEYS[k + 2], now, 500 - moved)",
        "promote(KEYS[k + 1], KEYS[k + 2], now, 5000 - moved)",
        "tests/broker/test_sessions.py -k tick_moves_500",
    ),
    "contracts are published once": Sabotage(
        "worker/periodic.py",
        "self._published = self._published and not is_new",
        "self._published = self._published and bool(is_new or True)",
        "tests/faults/test_scenarios.py -k kept[8]",
    ),
}


def copy(directory: Path) -> Path:
    """The package and its tests, to be broken; answers where the package is."""
    for name in ("typedq", "tests"):
        shutil.copytree(ROOT / name, directory / name, ignore=LEFT_OUT)
    shutil.copy(ROOT / "pyproject.toml", directory)
    return directory / "typedq"


def run(directory: Path, selection: str) -> subprocess.CompletedProcess[str]:
    """The tests of a copy."""
    flags = ["-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *flags, *selection.split()],
        cwd=directory,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def is_caught(name: str) -> tuple[bool, str]:
    """Whether the test fails on the sabotaged copy; and what it said."""
    sabotage = SABOTAGES[name]
    with tempfile.TemporaryDirectory(prefix="saboteur-") as directory:
        sabotage.commit(copy(Path(directory)))
        ended = run(Path(directory), sabotage.caught_by)
    return ended.returncode == 1, ended.stdout[-3000:] + ended.stderr[-1000:]


def main(arguments: Sequence[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("names", nargs="*", metavar="name", help="all, if none is named")
    given = flags.parse_args(arguments)
    missed = list[str]()
    for name in given.names or SABOTAGES:
        started = time.monotonic()
        caught, told = is_caught(name)
        seconds = time.monotonic() - started
        print(f"{'caught' if caught else 'MISSED'} in {seconds:4.1f} s  {name}", flush=True)
        if not caught:
            missed.append(name)
            print(told)
    print(f"{len(given.names or SABOTAGES) - len(missed)} caught, {len(missed)} missed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
