"""Mutation tests break the engine; a test must fail. Run: `python -m tests.faults.mutations`.

Each mutation disables one guarantee in a copy of the package by a change of its text. The test that
is named with it must fail on the copy.
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
class Mutation:
    """Replace `old` by `new` in `file` of the package; `caught_by` are arguments of pytest."""

    file: str
    old: str
    new: str
    caught_by: str

    def applies_to(self, package: Path) -> bool:
        return (package / self.file).read_text().count(self.old) == 1

    def apply(self, package: Path) -> None:
        path = package / self.file
        path.write_text(path.read_text().replace(self.old, self.new))


MUTATIONS = {
    "a copy of a worker that C code made goes on": Mutation(
        "invoke.py",
        "if not owner.mark[0]:",
        "if False:",
        "tests/faults/foreign/test_left.py -k copy_that_returns",
    ),
    "a session that ended fetches": Mutation(
        "broker/lua/settle_and_fetch.lua",
        "not redis.call('ZSCORE', KEYS[1], ARGV[1]) then",
        "false then",
        "tests/broker/test_settle_and_fetch.py -k not_open",
    ),
    "a settlement of what is not held counts": Mutation(
        "broker/lua/settle_and_fetch.lua",
        "if ended > 0 then",
        "ended = last - at - 2\n  if ended > 0 then",
        "tests/broker/test_settle_and_fetch.py -k stale_session_settles_nothing",
    ),
    "any number of messages in flight is acknowledged": Mutation(
        "broker/lua/settle_and_fetch.lua",
        "redis.call('HLEN', in_flight) ~= tonumber(ARGV[at + 1])",
        "false",
        "tests/broker/test_settle_and_fetch.py -k another_number",
    ),
    "a cancelled message is retried": Mutation(
        "broker/lua/settle_and_fetch.lua",
        "    if is_cancelled(m) then return settle.cancel(id) end\n    m = with_due(",
        "    m = with_due(",
        "tests/broker/test_settle_and_fetch.py -k dropped_instead_of_returned",
    ),
    "a cancelled message of a dead session waits again": Mutation(
        "broker/lua/recover_session.lua",
        "if is_cancelled(all[i + 1]) and entry.fate ~= 'done' then entry.fate = 'cancelled' end",
        "",
        "tests/worker/test_cancel.py -k killed_child",
    ),
    "ack before run": Mutation(
        "worker/sync_tasks.py",
        "        delivery.started, self._delivery = True, delivery\n",
        "        journal.done(slot)\n        delivery.started, self._delivery = True, delivery\n",
        "tests/worker/test_crash.py -k killed_child_is_settled",
    ),
    "no lease extension after a gap": Mutation(
        "broker/lua/tick.lua",
        "if now - last > tonumber(ARGV[1]) or last - now > tonumber(ARGV[1]) then",
        "if false then",
        "tests/broker/test_sessions.py -k after_a_gap_extends_each",
    ),
    "leases are extended again and again": Mutation(
        "broker/lua/tick.lua",
        "if redis.call('SADD', KEYS[3], session) == 1 then",
        "if redis.call('SADD', KEYS[3], session) >= 0 then",
        "tests/broker/test_sessions.py -k after_a_gap_extends_each",
    ),
    "resend without sequence": Mutation(
        "broker/lua/enqueue.lua",
        "if seq <= number then return {'seen', seq == number and duplicates or nil} end",
        "",
        "tests/faults/test_scenarios.py -k promise[11]",
    ),
    "a producer id shared with forks": Mutation(
        "broker/client.py",
        "    os.register_at_fork(after_in_child=_drop_all_after_fork)",
        "    pass",
        "tests/broker/test_client.py -k fork",
    ),
    "no wake token for what is left": Mutation(
        "broker/lua/settle_and_fetch.lua",
        "  if list then pass_token(list, KEYS[place[list] + 3]) end\n",
        "",
        "tests/broker/test_settle_and_fetch.py -k leaves_a_wake_token",
    ),
    "a fetch behind a wait leaves no token": Mutation(
        "broker/lua/settle_and_fetch.lua",
        "token < 0 and (#KEYS - 8) / 3 or token",
        "token",
        "tests/worker/test_parts.py -k leaves_a_token_for_what_it_left",
    ),
    "what a lost wait fetched is forgotten": Mutation(
        "worker/waiting.py",
        "            self._connection.count_loss()\n",
        "            pass\n",
        "tests/worker/test_parts.py -k may_have_run",
    ),
    "recovery without the journal": Mutation(
        "worker/child_process.py",
        'fates[entry.id] = "done"',
        "fates.pop(entry.id, None)",
        "tests/worker/test_crash.py -k ended_well_is_not_run_again",
    ),
    "messages that did not start are counted": Mutation(
        "worker/children.py",
        'others="back",',
        'others="lost",',
        "tests/worker/test_crash.py -k fetched_but_not_started",
    ),
    "a crash is never counted": Mutation(
        "worker/child_process.py",
        'fates[entry.id] = "crash" if entry.id in culprits and not stopped else others',
        "fates[entry.id] = others",
        "tests/worker/test_crash.py -k killed_child_is_settled",
    ),
    "neighbours of a known culprit are counted": Mutation(
        "worker/child_process.py",
        'others: operations.Fate = "back" if stopped or culprits else "lost"',
        'others: operations.Fate = "back" if stopped else "lost"',
        "tests/worker/test_children.py -k fate_of_each",
    ),
    "the expiry of a message is not read": Mutation(
        "worker/decoder.py",
        "delivery.until = self._clock.monotonic(envelope.expires_ms or 0)",
        "pass",
        "tests/worker/test_expires.py -k held_by_a_busy_worker",
    ),
    "a sync task begins though it has expired": Mutation(
        "worker/sync_tasks.py",
        "if began >= delivery.until:",
        "if delivery.until < 0:",
        "tests/worker/test_expires.py -k decoded_in_time",
    ),
    "a message that was lost once must run alone": Mutation(
        "broker/lua/parts/message.lua",
        "not find(found, '^[12] 0 0[01] ')",
        "not find(found, '^[12] 0 00 ')",
        "tests/broker/test_settle_and_fetch.py -k lost_once",
    ),
    "a message that was lost twice may run beside others": Mutation(
        "broker/lua/parts/message.lua",
        "not find(found, '^[12] 0 0[01] ')",
        "not find(found, '^[12] 0 %d%d ')",
        "tests/broker/test_settle_and_fetch.py -k lost_twice",
    ),
    "a suspect holds the others up": Mutation(
        "broker/lua/recover_session.lua",
        "if a.alone ~= b.alone then return a.alone end",
        "",
        "tests/broker/test_sessions.py -k behind_the_others",
    ),
    "a replaced session lives on": Mutation(
        "broker/lua/replace_session.lua",
        "if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then kept = 'ended' end",
        "if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then kept = 'ended' end",
        "tests/broker/test_sessions.py -k moves_everything",
    ),
    "messages of a lost reply are forgotten": Mutation(
        "worker/session.py",
        "sorted(held.keys() - known)",
        "sorted(held.keys() - held.keys())",
        "tests/faults/test_scenarios.py -k promise[10]",
    ),
    "a message starts after the lease deadline": Mutation(
        "worker/journal.py",
        "if self._marks[slot] or now >= self.lease_deadline[0]:",
        "if self._marks[slot]:",
        "tests/worker/test_journal.py -k after_the_lease_deadline",
    ),
    "a revoked message is claimed": Mutation(
        "worker/journal.py",
        "if self._marks[slot] or now >= self.lease_deadline[0]:",
        "if now >= self.lease_deadline[0]:",
        "tests/worker/test_journal.py -k revoked_message",
    ),
    "a lock that does not lock": Mutation(
        "worker/locks.py",
        "                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        "tests/worker/test_leases.py -k lock_is_free",
    ),
    "leases are not renewed": Mutation(
        "worker/periodic.py",
        "        return min(self._lease_s / 10, 0.2 if ended else self._lease_s)",
        "        return 3_600.0",
        "tests/worker/test_leases.py -k stopped_child_keeps_its_lease",
    ),
    "no limit on the messages that a tick moves": Mutation(
        "broker/lua/tick.lua",
        "promote(KEYS[k + 1], KEYS[k + 2], now, 500 - moved)",
        "promote(KEYS[k + 1], KEYS[k + 2], now, 5000 - moved)",
        "tests/broker/test_sessions.py -k moves_500",
    ),
    "contracts are published once": Mutation(
        "worker/periodic.py",
        "self._published = self._published and not is_new",
        "self._published = self._published and bool(is_new or True)",
        "tests/faults/test_scenarios.py -k promise[8]",
    ),
}


def copy(directory: Path) -> Path:
    """Copy the package and its tests, to be broken; return where the package is."""
    for name in ("typedq", "tests"):
        shutil.copytree(ROOT / name, directory / name, ignore=LEFT_OUT)
    shutil.copy(ROOT / "pyproject.toml", directory)
    return directory / "typedq"


def run(directory: Path, selection: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a copy."""
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
    """Return True if the test fails on the mutated copy, and its output."""
    mutation = MUTATIONS[name]
    with tempfile.TemporaryDirectory(prefix="mutations-") as directory:
        mutation.apply(copy(Path(directory)))
        ended = run(Path(directory), mutation.caught_by)
    return ended.returncode == 1, ended.stdout[-3000:] + ended.stderr[-1000:]


def main(arguments: Sequence[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("names", nargs="*", metavar="name", help="all, if none is named")
    given = flags.parse_args(arguments)
    missed = list[str]()
    for name in given.names or MUTATIONS:
        started = time.monotonic()
        caught, told = is_caught(name)
        seconds = time.monotonic() - started
        print(f"{'caught' if caught else 'MISSED'} in {seconds:4.1f} s  {name}", flush=True)
        if not caught:
            missed.append(name)
            print(told)
    print(f"{len(given.names or MUTATIONS) - len(missed)} caught, {len(missed)} missed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
