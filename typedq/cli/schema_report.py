"""Print the check of contracts as text, JSON or GitHub annotations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typedq.admin import consumers, schemas
from typedq.admin.schemas import fix, numbers, short, sides
from typedq.cli.console import console, plural, print_json
from typedq.errors import escape

if TYPE_CHECKING:
    from typedq.admin.schemas import Check
    from typedq.registry import Finding, LiveCheck, Verdict

Line = tuple[str, str | None]  # text, style

_EXPORT = "run typedq export-schemas, and commit the files"
_ORDERS = {
    "any": "any: old and new code read each other's messages",
    "workers first": "workers first: old workers cannot read what new producers write",
    "producers first": "producers first: new workers cannot read what old producers still write",
    "none": "none is safe: messages that one side cannot read are parked for a worker that can",
}


def print_check(check: Check, format: str, pinned: Sequence[consumers.Verdict] = ()) -> None:
    """Print the verdicts on all tasks, and on pins; `format` is text, json or github."""
    facts = schemas.report(check)
    if pinned:
        facts |= {"pins": consumers.report(pinned)}
        facts["safe"] = facts["safe"] and all(each.read for each in pinned)
        if format != "json":
            print_consumers(pinned, format, "pins")
    if format == "json":
        print_json(facts)
        return
    counts = Counter(verdict.status for verdict in check.verdicts)
    count = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no tasks"
    unsafe = any(finding.fails for verdict in check.verdicts for finding in verdict.findings)
    result = "NOT safe" if unsafe else f"safe, but {_EXPORT}" if check.fails else "safe"
    end: Line = (f"{result}: {count}", "bold red" if check.fails else "green")
    if format == "github":
        lines = [line for verdict in check.verdicts for line in _annotations(verdict, check)]
        _print_lines([*((line, None) for line in lines), end])
        return
    _print_lines(
        [
            *map(_headline, check.verdicts),
            *_details(check),
            ("", None),
            end,
            (f"deploy order: {_ORDERS[facts['order']]}", None),
            *((line, None) for line in _next_steps(check, unsafe=unsafe)),
        ]
    )


def print_export(check: Check, written: Mapping[str, Path], *, as_json: bool) -> None:
    """Print the file of each contract that changed, and how safe the change is."""
    if as_json:
        files = {task: short(file) for task, file in written.items()}
        rows = [{**schemas.describe(v), "written": files.get(v.task)} for v in check.verdicts]
        print_json(rows)
        return
    lines = list[Line]()
    for verdict in check.verdicts:
        text, unsafe = str(verdict.status), any(finding.fails for finding in verdict.findings)
        if file := written.get(verdict.task):
            first = file.name == "1.json" and not verdict.findings
            safe = "its first version" if first else f"safe, deploy order: {verdict.order}"
            text = f"wrote {short(file)}, {'not safe' if unsafe else safe}"
        lines.append((f"{verdict.task}: {text}", "red" if unsafe else None))
    _print_lines([*lines, *_details(check)])


def print_consumers(verdicts: Sequence[consumers.Verdict], format: str, key: str) -> None:
    """Print how contracts from elsewhere are read."""
    facts = consumers.report(verdicts)
    safe = all(each.read for each in verdicts)
    if format == "json":
        print_json({"safe": safe, key: facts})
        return
    lines = list[Line]()
    for fact in facts:
        told = f"{fact['contract']} of {fact['by']}: {fact['read'] or 'not read any more'}"
        lines.append((told, None if fact["read"] else "red"))
        for problem in fact["problems"]:
            what, remedy = "{rule} at {path}: {message}".format(**problem), f"fix: {problem['fix']}"
            if format == "github":
                whole = _quoted(f"{fact['by']}: {what} ({fact['contract']}); {remedy}")
                lines.append((f"::error::{whole}", None))
            else:
                lines += [(f"  {what}", None), (f"  {remedy}", None)]
    good = "producers elsewhere are read" if safe else "NOT safe: a producer elsewhere is not read"
    _print_lines([*lines, (good, "green" if safe else "bold red")])


def print_live(live: LiveCheck, format: str) -> None:
    """Print the waiting messages by contract, and whether this code reads them."""
    facts = schemas.report_live(live)
    if format == "json":
        print_json(facts)
        return
    lines = list[Line]()
    due = f", due until {facts['due_until']}," if facts["due_until"] else ""
    for waiting in live.waiting:
        text = f"{plural(waiting.count, 'message')} of {waiting.contract}"
        if waiting.read:
            lines.append((f"{text}: read ({waiting.read})", None))
        else:
            lines.append((f"{text}{due} cannot be read by this code: {waiting.why}", "red"))
    safe = "safe: this code reads all waiting messages" if facts["safe"] else "NOT safe"
    lines.append((safe, "green" if facts["safe"] else "bold red"))
    running = f"{plural(live.workers, 'live worker')}"
    lines.append((f"deploy order, for {running}: {_ORDERS[live.order]}", None))
    _print_lines(lines)


def _next_steps(check: Check, *, unsafe: bool) -> Iterator[str]:
    """Yield what to do next, for somebody who runs the check for the first time."""
    where, new = short(check.directory), any(not verdict.exported for verdict in check.verdicts)
    if unsafe:
        yield "next: apply a fix above, or deploy in the order that is named, and accept the break"
        yield f"  in {where}/<task>/accepted.json with a reason"
    elif new:
        yield f"next: {_EXPORT} in {where}; CI then compares with them"


def _headline(verdict: Verdict) -> Line:
    more = [f"mode {verdict.mode}"] if verdict.status == "unsafe" else []
    if verdict.order != "any":
        more.append(f"deploy order: {verdict.order}")
    if verdict.upcast:
        more.append(f"upcaster reads {', '.join(map(str, verdict.upcast))}")
    text = f" ({'; '.join(more)})" if more else ""
    return f"{verdict.task}: {verdict.status}{text}", "red" if verdict.fails else None


def _details(check: Check) -> Iterator[Line]:
    for verdict in check.verdicts:
        for finding in verdict.findings:
            yield from _finding(finding, verdict, check.directory)
        for history, accepted in verdict.stale_acceptances:
            yield "", None
            text = f"{accepted.rule} at {accepted.path} from version {accepted.version}"
            file = short(check.directory / history / "accepted.json")
            yield f"{file}: {text} is no longer needed; remove it", "yellow"


def _finding(finding: Finding, verdict: Verdict, where: Path) -> Iterator[Line]:
    change, style = finding.change, "red" if finding.fails else "yellow"
    place = short(where / finding.history)
    yield "", None
    yield f"{place}  {change.path}  {change.rule}  {_effect(finding, verdict)}", style
    yield f"  {change.message}", None
    if finding.accepted is None and change.example is not None:
        yield f"  example: {json.dumps(change.example, ensure_ascii=False)}", None
    if finding.fails or (change.warning and not finding.accepted):
        yield f"  fix: {fix(finding)}", None
    last = finding.versions[-1].number
    if finding.fails and last:
        entry = {"rule": change.rule, "path": change.path, "from": last, "reason": "..."}
        exists = (where / finding.history / "accepted.json").exists()
        listed = json.dumps(entry if exists else [entry], ensure_ascii=False)
        verb = "add to the list in" if exists else "write"
        yield f"  or accept it, with a reason: {verb} {place}/accepted.json: {listed}", None


def _effect(finding: Finding, verdict: Verdict) -> str:
    broken, known = sides(finding), [str(number) for number in numbers(finding.versions)]
    many = f"{'version' if len(known) == 1 else 'versions'} {', '.join(known)}"
    text = f"breaks {' and '.join(broken)}" if broken else "warning"
    if finding.accepted is not None:
        text = f"accepted: {finding.accepted}"
    elif broken and not finding.fails:
        text += f", which the mode {verdict.mode} allows"
    return f"{text} (against {many})"


def _annotations(verdict: Verdict, check: Check) -> Iterator[str]:
    where = check.directory
    if not verdict.exported:
        yield f"::error title=contract not exported::{verdict.task}: {_EXPORT}"
    for finding in verdict.findings:
        change, version = finding.change, finding.versions[-1]
        level = "error" if finding.fails else "warning" if change.warning else "notice"
        level = "notice" if finding.accepted is not None else level
        file = short(where / finding.history / f"{version.number}.json")
        title = f"{change.rule} {_effect(finding, verdict)}"
        text = f"{change.path}: {change.message}; fix: {fix(finding)}"
        yield f"::{level} file={_quoted(file, ',:')},title={_quoted(title, ',:')}::{_quoted(text)}"
    for history, accepted in verdict.stale_acceptances:
        file = short(where / history / "accepted.json")
        text = f"{accepted.rule} at {accepted.path} is no longer needed"
        yield f"::warning file={_quoted(file, ',:')}::{_quoted(text)}"


def _quoted(text: str, more: str = "") -> str:
    return "".join(f"%{ord(c):02X}" if c in f"%\r\n{more}" else c for c in text)


def _print_lines(lines: Sequence[Line]) -> None:
    screen = console()
    for text, style in lines:
        screen.print(escape(text), style=style, soft_wrap=True)
