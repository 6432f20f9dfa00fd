"""Check the contracts of the code against their history. Pure.

Backward: the new code reads messages of the old code. Forward: the old code reads messages of the
new code. A mode says which of them must hold, and against the last version or all versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from typedq.compat import Change, compare
from typedq.registry.history import Accepted, History, Version

Order = Literal["any", "workers first", "producers first", "none"]
Status = Literal["unchanged", "safe", "unsafe", "not exported", "removed"]
_ORDERS: dict[tuple[bool, bool], Order] = {
    (True, True): "any",
    (True, False): "workers first",
    (False, True): "producers first",
    (False, False): "none",
}
_HOLDS = {order: holds for holds, order in _ORDERS.items()}


def order_of(backward: bool, forward: bool) -> Order:
    """Return the order in which producers and workers of two versions may be deployed."""
    return _ORDERS[backward, forward]


@dataclass(frozen=True, slots=True)
class Declared:
    """A task of the code; `upcasters`: the schemas of the payloads that they read."""

    name: str
    fingerprint: str
    schema: dict[str, Any]
    aliases: tuple[str, ...] = ()
    upcasters: tuple[dict[str, Any], ...] = ()

    def reads(self, fingerprint: str, schema: dict[str, Any]) -> str | None:
        """Return how a worker reads a contract: "equal", "upcaster", "compatible", or None."""
        if fingerprint == self.fingerprint:
            return "equal"
        if self.upcaster(schema) is not None:
            return "upcaster"
        return "compatible" if compare(schema, self.schema).backward else None

    def upcaster(self, schema: dict[str, Any]) -> dict[str, Any] | None:
        """Return the schema of the first upcaster that reads all messages of a contract."""
        return next((old for old in self.upcasters if compare(schema, old).backward), None)


@dataclass(frozen=True, slots=True)
class Finding:
    """One change against versions of a history.

    backward, forward: True if it breaks that compatibility, unlike those of `Change`
    """

    history: str
    change: Change
    backward: bool
    forward: bool
    fails: bool
    versions: tuple[Version, ...]
    accepted: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one task. `exported`: its newest version has the contract of the code."""

    task: str
    mode: str
    status: Status
    exported: bool
    order: Order
    findings: tuple[Finding, ...] = ()
    stale_acceptances: tuple[tuple[str, Accepted], ...] = ()
    upcast: tuple[Version, ...] = ()

    @property
    def fails(self) -> bool:
        """Return True if a change is unsafe or the contract is not exported."""
        return not self.exported or any(finding.fails for finding in self.findings)

    @property
    def is_new_version(self) -> bool:
        """Return True if there is something to export: a new contract, or changed defaults."""
        defaults = (f for f in self.findings if f.change.rule == "DEFAULT_CHANGED")
        return not self.exported or any(f.history == self.task for f in defaults)


def common_order(orders: Iterable[Order]) -> Order:
    """Return the order that satisfies all orders."""
    holds = [_HOLDS[order] for order in orders]
    return order_of(all(b for b, _ in holds), all(f for _, f in holds))


def newest(histories: Mapping[str, History]) -> list[Declared]:
    """Return the newest version of each task that is not removed, to check without the code."""
    kept = {name: h for name, h in histories.items() if not h.removed}
    last = {name: h.versions[-1] for name, h in kept.items() if h.versions}
    return [Declared(name, v.fingerprint, v.schema) for name, v in sorted(last.items())]


def check_histories(
    tasks: Sequence[Declared],
    local: Mapping[str, History],
    base: Mapping[str, History] | None = None,
    *,
    mode: str | None = None,
    default_mode: str = "backward_transitive",
    app: str | None = None,
) -> list[Verdict]:
    """Return one verdict per task, and one per history whose task was removed.

    local: the committed contracts; base: the deployed contracts, if known separately
    mode: for all tasks; else each task's own, else `default_mode`
    app: the app's namespace; tasks that another app exported last do not count as removed
    """
    past = local if base is None else base
    known = {name for task in tasks for name in (task.name, *task.aliases)}

    def mode_of(name: str) -> str:
        modes = (h[name].versions[-1].mode for h in (local, past) if name in h and h[name].versions)
        return mode or next(filter(None, modes), default_mode)

    verdicts = [
        _verdict(task, local, past, mode_of(task.name), separate=base is not None)
        for task in sorted(tasks, key=lambda task: task.name)
    ]
    for name, history in sorted(past.items()):
        if name in known or not history.versions or not history.ordered:
            continue
        if app is None or history.versions[-1].app in (None, app):
            verdicts.append(_removed(history, local.get(name), mode_of(name)))
    return verdicts


def _removed(history: History, local: History | None, mode: str) -> Verdict:
    last = history.versions[-1]
    message = (
        "this code has no task of that name: its workers cannot run messages that still wait, and"
        " park them"
    )
    fix = (
        "name it in aliases= of the task that took over; or keep it until `typedq check-schemas"
        " --live` finds none of its messages, and then accept the removal"
    )
    change = Change("TASK_REMOVED", "$", False, True, False, message, None, fix, None, None)
    deployed = _reason([history], change, last)
    reason = deployed or _reason([local] if local else [], change, last)
    fails = reason is None and not mode.startswith("forward")
    finding = Finding(history.task, change, True, False, fails, (last,), reason)
    order: Order = "any" if deployed else "producers first"
    return Verdict(history.task, mode, "removed", True, order, (finding,))


def _covers(accepted: Accepted, change: Change, version: Version) -> bool:
    same = (accepted.rule, accepted.path) == (change.rule, change.path)
    return same and 0 < version.number <= accepted.version


class _Step(NamedTuple):
    """One past version compared with the code; upcasters count as part of the code."""

    history: History
    version: Version
    is_current: bool
    upcast: bool
    backward: bool
    forward: bool
    changes: list[Change]


def _names(task: Declared, histories: Mapping[str, History]) -> list[str]:
    """Return the names of a task that have a history, its own last."""
    return [name for name in (*reversed(task.aliases), task.name) if name in histories]


def _step(task: Declared, history: History, version: Version) -> _Step:
    is_current = version.fingerprint == task.fingerprint
    compared = compare(version.schema, task.schema)
    upcaster = None if is_current else task.upcaster(version.schema)
    if upcaster is None:
        ways = compared.backward, compared.forward
        return _Step(history, version, is_current, False, *ways, list(compared.changes))
    message = "an upcaster reads older messages; old workers cannot read newer ones"
    changes = [
        c if c.backward else replace(c, backward=True, message=message, example=None)
        for c in compared.changes
        if not c.forward
    ]
    dropped = [c for c in compare(version.schema, upcaster).changes if c.rule == "VALUE_DROPPED"]
    return _Step(history, version, is_current, True, True, compared.forward, [*changes, *dropped])


def _verdict(
    task: Declared,
    local: Mapping[str, History],
    past: Mapping[str, History],
    mode: str,
    separate: bool,
) -> Verdict:
    """Check one task against its history."""
    known = [past[name] for name in _names(task, past)]
    steps = [_step(task, history, version) for history in known for version in history.versions]
    last = [step for step in steps if step.history is steps[-1].history]
    last = last[-1:] if last and last[0].history.ordered else last
    same = bool(last) and all(s.is_current and s.history.task == task.name for s in last)
    own = local[task.name].versions[-1:] if task.name in local else ()
    exported = any(version.fingerprint == task.fingerprint for version in own)
    findings = _merged(_findings(_compared(steps, mode, separate), last, local, mode))
    unsafe = any(finding.fails for finding in findings)
    if unsafe and (same or not last) and not separate:  # exporting a contract does not deploy it
        last = [step for step in steps if not step.is_current][-1:]
    if_safe: Status = "unchanged" if same else "safe"
    return Verdict(
        task=task.name,
        mode=mode,
        status="unsafe" if unsafe else if_safe if exported else "not exported",
        exported=exported,
        order=order_of(
            all(step.backward for step in last),
            # Old workers do not know a new task, or a new name of a task.
            bool(last) and all(s.forward and s.history.task == task.name for s in last),
        ),
        findings=tuple(findings),
        stale_acceptances=tuple(_stale(task, local)),
        upcast=tuple(step.version for step in steps if step.upcast),
    )


def _compared(steps: list[_Step], mode: str, separate: bool) -> list[_Step]:
    """Return the versions that a mode compares with, the newest first."""
    if not mode.endswith("_transitive") and all(step.history.ordered for step in steps):
        steps = steps[:]
        # Otherwise exporting an unsafe version would make the check pass.
        while not separate and steps and steps[-1].is_current:
            steps.pop()
        steps = steps[-1:]
    return steps[::-1]


def _findings(
    compared: Sequence[_Step], last: Sequence[_Step], local: Mapping[str, History], mode: str
) -> Iterator[Finding]:
    required = mode.removesuffix("_transitive")
    versions = [step.version for step in last]
    for step in compared:
        name, version = step.history.task, step.version
        both = (local[name], step.history) if name in local else (step.history,)
        for change in step.changes:
            backward, forward = not change.backward, not change.forward
            fails = (backward and required != "forward") or (forward and required != "backward")
            if fails or version in versions:
                reason = _reason(both, change, version)
                fails = fails and reason is None
                yield Finding(name, change, backward, forward, fails, (version,), reason)


def _reason(histories: Iterable[History], change: Change, version: Version) -> str | None:
    accepted = (a for history in histories for a in history.accepted)
    return next((a.reason for a in accepted if _covers(a, change, version)), None)


def _stale(task: Declared, local: Mapping[str, History]) -> Iterator[tuple[str, Accepted]]:
    """Yield accepted breaks that match no change to any version, whatever the mode."""
    for name in _names(task, local):
        if not local[name].accepted:
            continue
        seen = [(v, c) for v in local[name].versions for c in _step(task, local[name], v).changes]
        for accepted in local[name].accepted:
            if not any(_covers(accepted, change, version) for version, change in seen):
                yield name, accepted


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """Merge findings of one change against several versions into the newest one."""
    merged: dict[object, Finding] = {}
    for new in findings:
        key = (new.history, new.change.rule, new.change.path, new.fails, new.accepted)
        first = merged.setdefault(key, new)
        merged[key] = replace(
            first,
            backward=first.backward or new.backward,
            forward=first.forward or new.forward,
            versions=first.versions if first is new else (*new.versions, *first.versions),
        )
    return sorted(merged.values(), key=lambda finding: not finding.fails)
