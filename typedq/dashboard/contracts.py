"""Contracts: their versions, what changed between two, and which worker reads which."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.responses import Response

from typedq import registry
from typedq.admin.overview import alive
from typedq.admin.schemas import locate, short
from typedq.compat import compare
from typedq.dashboard.pages import reading
from typedq.dashboard.rendering import MAX_TEXT, pretty
from typedq.dashboard.view import Rejected, View
from typedq.errors import ConfigurationError
from typedq.policy import NAME
from typedq.registry import Version

_GROUPS = 6  # of workers, in one matrix


def contracts(view: View) -> Response:
    """List the contracts of this app, and those that wait: the unreadable ones first."""
    seen, q, only = view.facts.seen, view.query("q"), view.query("only")
    rows = [
        row
        for row in by_need(seen["contracts"])
        if q in f"{row['task']}@{row['fingerprint']}"
        and (only != "waiting" or row["waiting"])
        and (only != "unread" or row["unreadable"])
    ]
    counts = {
        "": len(seen["contracts"]),
        "waiting": sum(row["waiting"] > 0 for row in seen["contracts"]),
        "unread": sum(row["unreadable"] > 0 for row in seen["contracts"]),
    }
    workers = len(alive(seen))
    return view.render(
        "contracts.html",
        live=True,
        page=view.page(rows),
        counts=counts,
        q=q,
        only=only,
        workers=workers,
        invalid=seen["invalid_schemas"],
    )


def by_need(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return contracts of which nobody reads some messages first, then others that wait."""
    return sorted(rows, key=lambda r: (not r["unreadable"], -r["waiting"], r["task"]))


class Known(NamedTuple):
    """One contract of a task, from files, the server or the code. `number`: 0 without a file."""

    number: int
    fingerprint: str
    schema: Mapping[str, Any] | None
    places: list[str]


def contract(view: View) -> Response:
    """Show the versions of one task, and what changed between two of them."""
    task = str(view.request.path_params["task"])
    seen = view.facts.seen
    mode, note, versions = _versions(view, task)
    if not versions:
        text = f"Neither this app, the server nor the files have a contract of the task {task!r}."
        raise Rejected(404, "No such task", text)
    waiting = {row["fingerprint"]: row for row in seen["contracts"] if row["task"] == task}
    workers = reading(view, seen)
    readers = {v.fingerprint: workers.of(f"{task}@{v.fingerprint}") for v in versions}
    prints = [version.fingerprint for version in versions]
    new = view.query("new") if view.query("new") in prints else prints[-1]
    before = prints[max(0, prints.index(new) - 1)]
    old = view.query("old") if view.query("old") in prints else before
    return view.render(
        "contract.html",
        task=task,
        declared=view.site.app.tasks.get(task),
        mode=mode,
        note=note,
        versions=versions,
        waiting=waiting,
        readers=readers,
        workers=len(workers.alive),
        old=old,
        new=new,
        **_difference({v.fingerprint: v.schema for v in versions}, old, new),
    )


def _versions(view: View, task: str) -> tuple[str, str, list[Known]]:
    """Return the mode of a task, a problem of its files, and its contracts, the oldest first."""
    if not NAME.fullmatch(task):
        return "", "", []
    directory, mode = locate(view.site.schemas)
    note, history = "", list[Version]()
    folder = directory / task
    try:
        files = {f"{task}/{p.name}": p.read_bytes() for p in sorted(folder.glob("*.json"))}
        parsed = registry.parse(files, short(directory))
        history = list(parsed[task].versions) if task in parsed else []
    except (ConfigurationError, OSError) as error:
        note = str(error)
    found = {v.fingerprint: Known(v.number, v.fingerprint, v.schema, ["files"]) for v in history}
    published = view.facts.contracts.schemas
    for id in sorted(published.ids(task)):
        known = found.setdefault(id.partition("@")[2], Known(0, id.partition("@")[2], None, []))
        found[known.fingerprint] = known._replace(schema=known.schema or published.get(id))
        known.places.append("server")
    if declared := view.site.app.tasks.get(task):
        own = declared.contract
        known = found.pop(own.fingerprint, Known(0, own.fingerprint, own.schema, []))
        found[own.fingerprint] = known._replace(schema=own.schema)
        known.places.append("this app")
    mode = next((v.mode for v in reversed(history) if v.mode), mode)
    return mode, note, list(found.values())


def _difference(
    schemas: Mapping[str, Mapping[str, Any] | None], old: str, new: str
) -> dict[str, Any]:
    texts = {name: pretty(schemas[name] or {}) for name in (old, new)}
    compared = compare(schemas[old], schemas[new]) if old != new else None
    lines = list[str]()
    if old != new and all(len(text) <= MAX_TEXT for text in texts.values()):
        # The code, the files and the server have keys in different orders.
        ordered = (pretty(schemas[name] or {}, sort=True) for name in (old, new))
        before, after = (text.splitlines() for text in ordered)
        lines = list(difflib.unified_diff(before, after, lineterm=""))
    return {"texts": texts, "compared": compared, "diff": lines[2:], "order": _order(compared)}


def _order(compared: Any) -> str:
    return registry.order_of(compared.backward, compared.forward) if compared else "any"


class Group(NamedTuple):
    """Live workers that read the same contracts."""

    reads: tuple[str, ...]
    names: list[str]


def matrix(view: View) -> Response:
    """Show for each contract that waits how each group of live workers reads it, or why not."""
    facts, q = view.facts, view.query("q")
    groups: dict[tuple[str, ...], list[str]] = {}
    for worker in alive(facts.seen):
        groups.setdefault(tuple(worker["reads"]), []).append(f"{worker['host']}:{worker['pid']}")
    columns = [Group(*each) for each in sorted(groups.items(), key=lambda each: -len(each[1]))]
    waiting = [row for row in facts.seen["contracts"] if row["waiting"]]
    rows = [row for row in by_need(waiting) if q in f"{row['task']}@{row['fingerprint']}"]
    page = view.page(rows)
    cells = [
        [_cell(view, "{task}@{fingerprint}".format(**row), group) for group in columns[:_GROUPS]]
        for row in page.rows
    ]
    return view.render(
        "matrix.html",
        live=True,
        page=page,
        cells=cells,
        groups=columns[:_GROUPS],
        left_out=len(columns[_GROUPS:]),
        q=q,
    )


def _cell(view: View, contract: str, group: Group) -> registry.Reading:
    readers = view.facts.contracts.readers
    found = [readers.reading(contract, read) for read in readers.of_task(contract, group.reads)]
    if not found:
        return registry.Reading(None, f"it has no task {contract.partition('@')[0]}")
    return next((reading for reading in found if reading.how), found[0])
