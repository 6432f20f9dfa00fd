"""Groups of dead letters that failed alike and of parked messages, and who could read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from typedq.admin.dead_letters import Letter
from typedq.admin.messages import describe
from typedq.admin.parked import Sizes
from typedq.admin.readers import LiveReaders
from typedq.app import TypedQ
from typedq.broker import parking
from typedq.broker.parking import Group


@final
@dataclass
class DeadGroup:
    """Dead letters of one task that failed alike; `oldest`, `newest`: when the first and last died.

    needs: how many of them need a worker that reads a contract in a queue
    """

    task: str
    error: str
    kind: str
    newest: str
    oldest: str = ""
    ids: list[str] = field(default_factory=list[str])
    needs: Counter[Group] = field(default_factory=Counter[Group])


def group_dead(letters: Iterable[Letter]) -> list[DeadGroup]:
    """Return dead letters (the newest first) by task and error, the largest group first."""
    found: dict[tuple[str, str], DeadGroup] = {}
    for letter in letters:
        shown = letter.shown
        key, died = (shown["task"] or "", letter.error), str(shown["died"])
        group = found.setdefault(key, DeadGroup(*key, str(shown["kind"]), died))
        group.oldest = died
        group.ids.append(str(shown["id"]))
        if letter.needs:
            group.needs[letter.needs] += 1
    return sorted(found.values(), key=lambda group: -len(group.ids))


def dead_rows(groups: Iterable[DeadGroup], live: LiveReaders) -> list[dict[str, Any]]:
    """Return the keys of `dead list --groups --json`; `read_by` can read all of a group."""
    return [
        {
            "messages": len(group.ids),
            "task": group.task or None,
            "error": group.error,
            "kind": group.kind,
            "oldest": group.oldest,
            "newest": group.newest,
            "contracts": sorted({each.contract for each in group.needs}),
            **read_by(group.needs, live),
        }
        for group in groups
    ]


def destinations(
    needs: Mapping[Group | None, int], live: LiveReaders, queues: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Return what a retry or a drop would change: by queue and contract, and who can read it.

    needs: how many messages of each; None for malformed ones
    queues: the only ones into which messages can be retried; None if all would be changed
    """
    rows = list[dict[str, Any]]()
    for each, count in sorted(needs.items(), key=lambda item: -item[1]):
        row: dict[str, Any] = dict.fromkeys(("task", "queue", "contract"))
        row |= {"messages": count, "changed": queues is None, "read_by": [], "why": "malformed"}
        if each is not None:
            row |= {"task": each.contract.partition("@")[0], **each._asdict()}
            row |= {"changed": queues is None or each.queue in queues, **read_by([each], live)}
            row["why"] = row["why"] if row["changed"] else f"this app has no queue {each.queue}"
        rows.append(row)
    return rows


def parked_rows(app: TypedQ, groups: Sizes, live: LiveReaders) -> list[dict[str, Any]]:
    """Return the keys of `parked list --groups --json`: by contract, and why nobody reads it.

    oldest, newest: when the first and last of them were enqueued
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for group, size in groups.items():
        readers = read_by([group], live)
        row = found.setdefault(
            (group.contract, readers["why"]),
            {
                "messages": 0,
                "task": group.contract.partition("@")[0],
                "contract": group.contract,
                "queues": [],
                "oldest": None,
                "newest": None,
                **readers,
            },
        )
        row["messages"] += size.messages
        row["queues"].append(group.queue)
        ends = [_enqueued(app, group, at) for at in (0, -1)]
        row["oldest"] = min(filter(None, [row["oldest"], *ends]), default=None)
        row["newest"] = max(filter(None, [row["newest"], *ends]), default=None)
        row["read_by"] = sorted({*row["read_by"], *readers["read_by"]})
    return sorted(found.values(), key=lambda row: -row["messages"])


def _enqueued(app: TypedQ, group: Group, at: int) -> str | None:
    messages = app.broker.call(parking.parked(app.broker.keys, group, at, at))
    return describe(messages[0])["enqueued"] if messages else None


def read_by(needs: Iterable[Group], live: LiveReaders) -> Mapping[str, Any]:
    """Return `read_by`: the live workers that read all of it, in its queue; else `why` not."""
    asked, names = list(needs), set(live.alive)
    for each in asked:
        names &= set(live.of(each.contract, each.queue))
    whys = [live.why(each.contract, each.queue) for each in asked] if not names else []
    why = next(filter(None, whys), "no single worker reads all of them") if whys else ""
    return {"read_by": sorted(names) if asked else [], "why": why}
