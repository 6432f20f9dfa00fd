"""What the gate for contracts tells: to people, to programs, and as annotations on GitHub."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from typedq.cli.console import console, tell_json
from typedq.telemetry import escape

if TYPE_CHECKING:
    from typedq.registry import Finding, Live, Verdict, Version

Line = tuple[str, str | None]  # text, style

_TO_EXPORT = "run typedq export-schemas, and commit what it writes"

_ORDERS = {
    "any": "any: producers and workers may be deployed in any order",
    "workers first": "workers first: old workers cannot read what new producers write",
    "producers first": "producers first: new workers cannot read what old producers still write",
    "none": "none is safe for all: messages that one side cannot read wait, parked, for a worker"
    " that can",
}


def shown(path: Path) -> str:
    """As short as it can be from here."""
    here, full = Path.cwd(), path.resolve()
    return (full.relative_to(here) if full.is_relative_to(here) else path).as_posix()


def tell(verdicts: Sequence[Verdict], where: Path, format: str) -> None:
    """The verdicts on all tasks; `format` is text, json or github."""
    from typedq.registry import altogether

    order = altogether(verdict.order for verdict in verdicts)
    failing = sum(verdict.fails for verdict in verdicts)
    if format == "json":
        tasks = [facts(verdict) for verdict in verdicts]
        tell_json({"safe": not failing, "order": order, "tasks": tasks})
        return
    counts = Counter(verdict.status for verdict in verdicts)
    count = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no tasks"
    unsafe = any(finding.fails for verdict in verdicts for finding in verdict.findings)
    how = "NOT safe" if unsafe else f"safe, but {_TO_EXPORT}" if failing else "safe"
    end: Line = (f"{how}: {count}", "bold red" if failing else "green")
    if format == "github":
        _print_lines([*((line, None) for v in verdicts for line in _annotations(v, where)), end])
        return
    _print_lines(
        [
            *map(_headline, verdicts),
            *_details(verdicts, where),
            ("", None),
            end,
            (f"deploy order: {_ORDERS[order]}", None),
        ]
    )


def tell_written(verdicts: Sequence[Verdict], written: Mapping[str, Path], where: Path) -> None:
    """What was exported: the file of each task that changed, and how safe the change is."""
    lines = list[Line]()
    for verdict in verdicts:
        told, unsafe = str(verdict.status), any(finding.fails for finding in verdict.findings)
        if file := written.get(verdict.task):
            first = file.name == "1.json" and not verdict.findings
            safe = "its first version" if first else f"safe, deploy order: {verdict.order}"
            told = f"wrote {shown(file)}, {'not safe' if unsafe else safe}"
        lines.append((f"{verdict.task}: {told}", "red" if unsafe else None))
    _print_lines([*lines, *_details(verdicts, where)])


def _headline(verdict: Verdict) -> Line:
    more = [f"mode {verdict.mode}"] if verdict.status == "unsafe" else []
    if verdict.order != "any":
        more.append(f"deploy order: {verdict.order}")
    if verdict.upcast:
        more.append(f"upcaster reads {', '.join(map(str, verdict.upcast))}")
    told = f" ({'; '.join(more)})" if more else ""
    return f"{verdict.task}: {verdict.status}{told}", "red" if verdict.fails else None


def _details(verdicts: Sequence[Verdict], where: Path) -> Iterator[Line]:
    for verdict in verdicts:
        for finding in verdict.findings:
            yield from _finding(finding, verdict, where)
        for history, accepted in verdict.unneeded:
            yield "", None
            told = f"{accepted.rule} at {accepted.path} from version {accepted.version}"
            file = shown(where / history / "accepted.json")
            yield f"{file}: {told} is no longer needed; remove it", "yellow"


def _finding(finding: Finding, verdict: Verdict, where: Path) -> Iterator[Line]:
    change, style = finding.change, "red" if finding.fails else "yellow"
    place = shown(where / finding.history)
    yield "", None
    yield f"{place}  {change.path}  {change.rule}  {_weight(finding, verdict)}", style
    yield f"  {change.message}", None
    if finding.accepted is None and change.example is not None:
        yield f"  example: {json.dumps(change.example, ensure_ascii=False)}", None
    if finding.fails or (change.warning and not finding.accepted):
        yield f"  fix: {_fix(finding)}", None
    last = finding.versions[-1].number
    if finding.fails and last:
        entry = {"rule": change.rule, "path": change.path, "from": last, "reason": "..."}
        exists = (where / finding.history / "accepted.json").exists()
        listed = json.dumps(entry if exists else [entry], ensure_ascii=False)
        verb = "add to the list in" if exists else "write"
        yield f"  or accept it, for a reason: {verb} {place}/accepted.json: {listed}", None


def _weight(finding: Finding, verdict: Verdict) -> str:
    sides, numbers = _sides(finding), [str(number) for number in _numbers(finding.versions)]
    many = f"{'version' if len(numbers) == 1 else 'versions'} {', '.join(numbers)}"
    told = f"breaks {' and '.join(sides)}" if sides else "warning"
    if finding.accepted is not None:
        told = f"accepted: {finding.accepted}"
    elif sides and not finding.fails:
        told += f", which the mode {verdict.mode} allows"
    return f"{told} (against {many})"


def _sides(finding: Finding) -> list[str]:
    return [side for side in ("backward", "forward") if getattr(finding, side)]


def _numbers(versions: Sequence[Version]) -> list[int | str]:
    return [version.number or version.fingerprint for version in versions]


def _fix(finding: Finding) -> str:
    return finding.change.fix.replace("the old version", str(finding.versions[-1]))


def _annotations(verdict: Verdict, where: Path) -> Iterator[str]:
    if not verdict.exported:
        yield f"::error title=contract not exported::{verdict.task}: {_TO_EXPORT}"
    for finding in verdict.findings:
        change, version = finding.change, finding.versions[-1]
        level = "error" if finding.fails else "warning" if change.warning else "notice"
        level = "notice" if finding.accepted is not None else level
        file = shown(where / finding.history / f"{version.number}.json")
        title = f"{change.rule} {_weight(finding, verdict)}"
        told = f"{change.path}: {change.message}; fix: {_fix(finding)}"
        yield f"::{level} file={_quoted(file, ',:')},title={_quoted(title, ',:')}::{_quoted(told)}"
    for history, accepted in verdict.unneeded:
        file = shown(where / history / "accepted.json")
        told = f"{accepted.rule} at {accepted.path} is no longer needed"
        yield f"::warning file={_quoted(file, ',:')}::{_quoted(told)}"


def _quoted(text: str, more: str = "") -> str:
    return "".join(f"%{ord(c):02X}" if c in f"%\r\n{more}" else c for c in text)


def facts(verdict: Verdict) -> dict[str, Any]:
    """The keys of one task in JSON."""
    findings = [
        {
            "history": f.history,
            "rule": f.change.rule,
            "path": f.change.path,
            "breaks": _sides(f),
            "fails": f.fails,
            "accepted": f.accepted,
            "versions": _numbers(f.versions),
            "message": f.change.message,
            "example": f.change.example,
            "fix": _fix(f),
            "old": f.change.old,
            "new": f.change.new,
        }
        for f in verdict.findings
    ]
    return {
        "task": verdict.task,
        "status": verdict.status,
        "exported": verdict.exported,
        "mode": verdict.mode,
        "order": verdict.order,
        "findings": findings,
        "read_by_upcaster": _numbers(verdict.upcast),
        "no_longer_needed": [
            {"rule": a.rule, "path": a.path, "from": a.version} for _, a in verdict.unneeded
        ],
    }


def tell_live(live: Live, format: str) -> None:
    """What waits on the server. Ends with exit code 1 if this code cannot read some of it."""
    bad = [waiting for waiting in live.waiting if waiting.read is None]
    if format == "json":
        tell_json(
            {
                "safe": not bad,
                "order": live.order,
                "workers": live.workers,
                "due_until": _day(live.due_ms),
                "waiting": [
                    {"contract": w.contract, "messages": w.count, "read": w.read, "why": w.why}
                    for w in live.waiting
                ],
            }
        )
    else:
        lines = list[Line]()
        due = f", due until {_day(live.due_ms)}," if live.due_ms else ""
        for w in live.waiting:
            told = f"{w.count:,} message{'s' * (w.count != 1)} of {w.contract}"
            if w.read:
                lines.append((f"{told}: read ({w.read})", None))
            else:
                lines.append((f"{told}{due} cannot be read by this code: {w.why}", "red"))
        safe = "safe: this code reads all that waits" if not bad else "NOT safe"
        running = f"{live.workers} live worker{'s' * (live.workers != 1)}"
        lines.append((safe, "bold red" if bad else "green"))
        lines.append((f"deploy order, for {running}: {_ORDERS[live.order]}", None))
        _print_lines(lines)
    if bad:
        raise typer.Exit(1)


def _day(ms: int | None) -> str | None:
    return None if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _print_lines(lines: Sequence[Line]) -> None:
    screen = console()
    for text, style in lines:
        screen.print(escape(text), style=style, soft_wrap=True)
