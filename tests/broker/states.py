"""Watches what moves do to messages, and draws their state machine.

    python -m tests.broker.states

draws `typedq.broker.states.ARROWS` into docs/protocol.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from typedq.broker.states import ARROWS

if TYPE_CHECKING:
    from typedq.broker import Keys, Operation

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
DRAWN = re.compile(r"(?<=<!-- drawn by tests/broker/states.py -->\n).*?(?=<!-- end -->)", re.DOTALL)
# Moves that are a plain command of the server.
COMMANDS = {"UNLINK": "abandon"}
COUNTS = ("crashes", "losses", "attempts")
READ: dict[str, Callable[[Any, bytes], object]] = {
    "ready": lambda pipe, key: pipe.lrange(key, 0, -1),
    "delayed": lambda pipe, key: pipe.zrange(key, 0, -1),
    "flight": lambda pipe, key: pipe.hvals(key),
    "parked": lambda pipe, key: pipe.lrange(key, 0, -1),
    "dead_letters": lambda pipe, key: pipe.hvals(key),
    "broadcasts": lambda pipe, key: pipe.xrange(key),
}
STATES = {"flight": "in flight", "dead_letters": "dead", "broadcasts": "broadcast"}


class Step(NamedTuple):
    """What a move did to a message; `counts` is what went up in its header, "" for nothing."""

    move: str
    start: str
    end: str
    counts: str


class Found(NamedTuple):
    """A message, the key it lies in, and what that makes of it."""

    state: str
    key: bytes
    message: bytes

    @property
    def id(self) -> str:
        return self.message[25:51].decode()

    @property
    def counts(self) -> tuple[int, ...]:
        """As `COUNTS` names them."""
        return tuple(map(int, self.message[2:10].split(b" ")))

    @property
    def name(self) -> tuple[str, bytes]:
        """Id and queue: the copies of a broadcast share their id."""
        return self.id, self.message[52:].split(b" ", 2)[1]


def table() -> list[Step]:
    """The published rows, one for each move that a row names."""
    return [Step(move, *row) for moves, *row, _ in ARROWS for move in moves.split(", ")]


def allowed() -> set[Step]:
    """The table, and what a call of `work` does that fetches what it made ready."""
    rows = set(table())
    fetch = Step("settle_and_fetch", "ready", "in flight", "")
    ready = {row for row in rows if row.move == fetch.move and row.end == fetch.start}
    return rows | ({row._replace(end=fetch.end) for row in ready} if fetch in rows else set())


def look(server: Any, keys: Keys) -> Iterator[Found]:
    """Every message there is, behind the back of the moves."""
    pipe: Any = server.pipeline(transaction=False)
    places = list[tuple[str, bytes]]()
    for key in server.keys(f"{keys.tag}:*"):
        name: str = key.decode().removeprefix(f"{keys.tag}:").split(":")[0]
        if name in READ and key.decode() != keys.parked_groups:
            READ[name](pipe, key)
            places.append((STATES.get(name, name), key))
    for (state, key), lying in zip(places, pipe.execute(), strict=True):
        for item in lying:
            match state:
                case "dead":
                    message = item.split(b"\n", 1)[1]
                case "broadcast":
                    message = item[1][b"m"]
                case _:
                    message = item
            yield Found(state, key, message)


class MoveChecker:
    """Compares what lies where before and after each move; `seen` is what happened so far."""

    def __init__(self, server: Any, keys: Keys) -> None:
        self.server, self.keys = server, keys
        self.seen: set[Step] = set()
        self.allowed = allowed()
        self.done = 0
        self.refresh()

    def refresh(self) -> None:
        """Take what is there as it is, after a change by hand."""
        found = list(look(self.server, self.keys))
        self.there = {one.name: one for one in found}
        assert len(self.there) == len(found), "a message lies in two places"

    def __call__(self, move: Operation[Any]) -> None:
        if isinstance(move.script, str) and move.script not in COMMANDS:
            return  # other plain commands move no message
        before, done = self.there, self.done
        self.refresh()
        gone = [one for name, one in before.items() if name not in self.there]
        ended = [one for one in gone if one.state != "dead"]
        if ended:
            self.done = int(self.server.hget(self.keys.stats, "done") or 0)
        assert self.done - done in {0, len(ended)}, "some are done and some purged: who is which?"
        steps = {
            *self._moved(before),
            *(("dead", "purged", "") for one in gone if one.state == "dead"),
            *((one.state, "done" if self.done > done else "purged", "") for one in ended),
        }
        made = {Step(named(move, start, end), start, end, counts) for start, end, counts in steps}
        assert made <= self.allowed, f"not in the table: {made - self.allowed}"
        self.seen |= made

    def _moved(self, before: dict[tuple[str, bytes], Found]) -> Iterator[tuple[str, str, str]]:
        told = {name[0] for name, one in self.there.items() if one.state == "broadcast"}
        for name, now in self.there.items():
            was = before.get(name)
            if was is None:
                is_copy = now.state != "broadcast" and name[0] in told
                yield "broadcast" if is_copy else "", now.state, ""
            elif was != now:
                each = zip(COUNTS, was.counts, now.counts, strict=True)
                yield was.state, now.state, " ".join(name for name, old, new in each if new > old)


def named(move: Operation[Any], start: str, end: str) -> str:
    """The move of the table; what a burial pushes out is not the work of the move that buries."""
    if isinstance(move.script, str):
        return COMMANDS.get(move.script, move.script)
    pushed_out = (start, end) == ("dead", "purged") and "function bury(" in move.script.source
    return "bury" if pushed_out else move.script.name


def draw() -> str:
    """The state machine as a diagram and a table, in Markdown."""
    edges: dict[tuple[str, str], list[str]] = {}
    for moves, start, end, *_ in ARROWS:
        if start != end:  # drawn, a loop would hide the arrows beside it
            labels = edges.setdefault((start, end), [])
            labels += (move for move in moves.split(", ") if move not in labels)
    diagram = (
        f"{_id(start)} --> {_id(end)}: {', '.join(by)}" for (start, end), by in edges.items()
    )
    rows = (" | ".join((_code(moves), *rest)) for moves, *rest in ARROWS)
    return "\n".join(
        (
            "```mermaid",
            "stateDiagram-v2",
            "    direction LR",
            *(f"    {edge}" for edge in diagram),
            # Named last, because what is named first is drawn first.
            '    state "in flight" as in_flight',
            "```",
            "",
            "| move | from | to | counts | when |",
            "|---|---|---|---|---|",
            *(f"| {row} |" for row in rows),
            "",
        )
    )


def _code(moves: str) -> str:
    return ", ".join(f"`{move}`" for move in moves.split(", "))


def _id(state: str) -> str:
    return state.replace(" ", "_") or "[*]"


def main() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert DRAWN.search(text), f"{DOCUMENT} has no place for the diagram"
    DOCUMENT.write_text(DRAWN.sub(lambda _: draw(), text), "utf-8")


if __name__ == "__main__":
    main()
