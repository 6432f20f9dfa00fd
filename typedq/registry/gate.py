"""Whether the contracts of today's code may follow those of the past. Pure.

Backward: the new code reads what the old one wrote. Forward: the old code reads what the new one
writes. A mode says which of them must hold, and whether against the last version or all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from typedq.contracts.compatibility import Change, compare
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
    """The order in which producers and workers of two versions may be deployed."""
    return _ORDERS[backward, forward]


@dataclass(frozen=True, slots=True)
class Declared:
    """A task of today's code; `upcasters` are the schemas of what they take."""

    name: str
    fingerprint: str
    schema: dict[str, Any]
    aliases: tuple[str, ...] = ()
    upcasters: tuple[dict[str, Any], ...] = ()

    def reads(self, fingerprint: str, schema: dict[str, Any]) -> str | None:
        """How messages of a contract are read, as a worker decides it: `equal`, ...; or None."""
        if fingerprint == self.fingerprint:
            return "equal"
        if self.upcaster(schema) is not None:
            return "upcaster"
        return "compatible" if compare(schema, self.schema).backward else None

    def upcaster(self, schema: dict[str, Any]) -> dict[str, Any] | None:
        """The first upcaster that takes all messages of a contract."""
        return next((old for old in self.upcasters if compare(schema, old).backward), None)


@dataclass(frozen=True, slots=True)
class Finding:
    """One change against some versions of one history. `backward`, `forward`: what it breaks."""

    history: str
    change: Change
    backward: bool
    forward: bool
    fails: bool
    versions: tuple[Version, ...]
    accepted: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of one task. `exported`: its newest version is what the code says."""

    task: str
    mode: str
    status: Status
    exported: bool
    order: Order
    findings: tuple[Finding, ...] = ()
    unneeded: tuple[tuple[str, Accepted], ...] = ()
    upcast: tuple[Version, ...] = ()

    @property
    def fails(self) -> bool:
        return not self.exported or any(finding.fails for finding in self.findings)


def altogether(orders: Iterable[Order]) -> Order:
    """The order that suits all."""
    holds = [_HOLDS[order] for order in orders]
    return order_of(all(b for b, _ in holds), all(f for _, f in holds))


def newest(histories: Mapping[str, History]) -> list[Declared]:
    """The newest versions, as if they were what the code says."""
    last = {name: h.versions[-1] for name, h in histories.items() if h.versions}
    return [Declared(name, v.fingerprint, v.schema) for name, v in sorted(last.items())]


def judge(
    tasks: Sequence[Declared],
    local: Mapping[str, History],
    base: Mapping[str, History] | None = None,
    *,
    mode: str | None = None,
    default_mode: str = "backward_transitive",
) -> list[Verdict]:
    """One verdict per task, and per history that has no task any more.

    local: the files that stand beside the code; base: what was deployed, if that is known apart.
    mode: for all tasks; else each task's own, else `default_mode`.
    """
    past = local if base is None else base
    known = {name for task in tasks for name in (task.name, *task.aliases)}

    def mode_of(name: str) -> str:
        modes = (h[name].versions[-1].mode for h in (local, past) if name in h and h[name].versions)
        return mode or next(filter(None, modes), default_mode)

    verdicts = [
        _Case(task, local, past, mode_of(task.name), apart=base is not None).verdict()
        for task in sorted(tasks, key=lambda task: task.name)
    ]
    for name, history in sorted(past.items()):
        if name not in known and history.versions and history.ordered:
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
    deployed, new = [
        next((a.reason for a in each if _covers(a, change, last)), None)
        for each in (history.accepted, local.accepted if local else ())
    ]
    reason = deployed or new
    fails = reason is None and not mode.startswith("forward")
    finding = Finding(history.task, change, True, False, fails, (last,), reason)
    order: Order = "any" if deployed else "producers first"
    return Verdict(history.task, mode, "removed", True, order, (finding,))


def _covers(accepted: Accepted, change: Change, version: Version) -> bool:
    same = (accepted.rule, accepted.path) == (change.rule, change.path)
    return same and 0 < version.number <= accepted.version


@dataclass(slots=True)
class _Case:
    """One task against its past."""

    task: Declared
    local: Mapping[str, History]
    past: Mapping[str, History]
    mode: str
    apart: bool
    seen: dict[int, tuple[bool, bool, list[Change]]] = field(
        default_factory=dict[int, tuple[bool, bool, list[Change]]]
    )

    def verdict(self) -> Verdict:
        histories = [self.past[n] for n in self._names() if n in self.past]
        histories = [history for history in histories if history.versions]
        last = [(h, v) for h in histories[-1:] for v in h.versions]
        last = last[-1:] if last and last[0][0].ordered else last
        same = [self._is_todays(v) and h.task == self.task.name for h, v in last]
        own = self.local.get(self.task.name)
        exported = own is not None and any(map(self._is_todays, own.versions[-1:]))
        findings = self._merged(self._findings(histories, [v for _, v in last]))
        unsafe = any(finding.fails for finding in findings)
        if unsafe and all(same) and not self.apart:  # it was exported, which does not deploy it
            last = [(h, v) for h in histories for v in h.versions if not self._is_todays(v)][-1:]
        quiet: Status = "unchanged" if same and all(same) else "safe"
        return Verdict(
            task=self.task.name,
            mode=self.mode,
            status="unsafe" if unsafe else quiet if exported else "not exported",
            exported=exported,
            order=order_of(
                all(self._seen(v)[0] for _, v in last),
                # Old workers know no new task, and no new name.
                bool(last) and all(self._seen(v)[1] and h.task == self.task.name for h, v in last),
            ),
            findings=tuple(findings),
            unneeded=tuple(self._unneeded()),
            upcast=tuple(v for h in histories for v in h.versions if self._upcast(v)),
        )

    def _is_todays(self, version: Version) -> bool:
        return version.fingerprint == self.task.fingerprint

    def _names(self) -> list[str]:
        return [*reversed(self.task.aliases), self.task.name]

    def _upcast(self, version: Version) -> dict[str, Any] | None:
        return None if self._is_todays(version) else self.task.upcaster(version.schema)

    def _seen(self, version: Version) -> tuple[bool, bool, list[Change]]:
        """Backward, forward, and what an upcaster does not take out of the way."""
        if id(version) not in self.seen:
            self.seen[id(version)] = self._compared(version)
        return self.seen[id(version)]

    def _compared(self, version: Version) -> tuple[bool, bool, list[Change]]:
        compared = compare(version.schema, self.task.schema)
        upcaster = self._upcast(version)
        if upcaster is None:
            return compared.backward, compared.forward, list(compared.changes)
        told = "an upcaster reads what was written before; old workers cannot read what comes after"
        changes = [
            c if c.backward else replace(c, backward=True, message=told, example=None)
            for c in compared.changes
            if not c.forward
        ]
        dropped = [
            c for c in compare(version.schema, upcaster).changes if c.rule == "VALUE_DROPPED"
        ]
        return True, compared.forward, [*changes, *dropped]

    def _relevant(self, histories: Sequence[History]) -> list[tuple[History, Version]]:
        every = [(h, v) for h in histories for v in h.versions]
        if self.mode.endswith("_transitive") or not all(h.ordered for h in histories):
            return every
        if not self.apart:  # exporting an unsafe version must not be the way through the gate
            while every and self._is_todays(every[-1][1]):
                every.pop()
        return every[-1:]

    def _findings(
        self, histories: Sequence[History], references: Sequence[Version]
    ) -> Iterator[Finding]:
        demanded = self.mode.removesuffix("_transitive")
        for history, version in reversed(self._relevant(histories)):
            for change in self._seen(version)[2]:
                backward, forward = not change.backward, not change.forward
                fails = (backward and demanded != "forward") or (forward and demanded != "backward")
                if fails or version in references:
                    reason = self._reason(history, change, version)
                    fails = fails and reason is None
                    yield Finding(
                        history.task, change, backward, forward, fails, (version,), reason
                    )

    def _reason(self, history: History, change: Change, version: Version) -> str | None:
        both = [self.local[history.task]] if history.task in self.local else []
        accepted = (a for h in (*both, history) for a in h.accepted if _covers(a, change, version))
        return next((a.reason for a in accepted), None)

    def _unneeded(self) -> Iterator[tuple[str, Accepted]]:
        """Against all versions: what one mode does not ask for may be needed by another."""
        for name in self._names():
            if name in self.local:
                seen = [(v, c) for v in self.local[name].versions for c in self._seen(v)[2]]
                for accepted in self.local[name].accepted:
                    if not any(_covers(accepted, change, version) for version, change in seen):
                        yield name, accepted

    def _merged(self, findings: Iterable[Finding]) -> list[Finding]:
        """The same change against several versions is told once, as against the newest."""
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
