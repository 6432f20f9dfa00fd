"""The state machine of a message: a table, a checker of what operations do, and a picture.

    python -m tests.broker.states

writes `ARROWS` as a table into docs/protocol.md, and draws docs/pictures/states.svg.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from typedq.broker import Keys, Operation

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
PICTURE = DOCUMENT.parent / "pictures" / "states.svg"
# The middle of each box. Every other state is final, and is named in the boxes that lead to it.
BOXES = {
    "": (200, 24),
    "delayed": (70, 122),
    "ready": (200, 122),
    "broadcast": (330, 122),
    "parked": (70, 252),
    "in flight": (200, 252),
    "dead": (330, 252),
}
HALF = 55, 32
DRAWN = re.compile(r"(?<=<!-- drawn by tests/broker/states.py -->\n).*?(?=<!-- end -->)", re.DOTALL)
# Moves that are a plain command of the server.
COMMANDS = {"UNLINK": "abandon"}
COUNTS = ("crashes", "losses", "attempts")
# Final states that leave no message behind, and that the statistics count.
COUNTED = ("done", "cancelled", "expired")
READ: dict[str, Callable[[Any, bytes], object]] = {
    "ready": lambda pipe, key: pipe.lrange(key, 0, -1),
    "delayed": lambda pipe, key: pipe.zrange(key, 0, -1),
    "flight": lambda pipe, key: pipe.hvals(key),
    "parked": lambda pipe, key: pipe.lrange(key, 0, -1),
    "dead_letters": lambda pipe, key: pipe.hvals(key),
    "broadcasts": lambda pipe, key: pipe.xrange(key),
}
STATES = {"flight": "in flight", "dead_letters": "dead", "broadcasts": "broadcast"}


# The operations that make it | from | to | what they count in the message's header | when
ARROWS = [
    tuple(cell.strip() for cell in row.split("|"))
    for row in """\
enqueue, cron | | ready | | due at once; or a slot of a cron entry
enqueue | | delayed | | due later
broadcast | | broadcast | | for every supervisor; kept for an hour
broadcast | broadcast | purged | | older than an hour when another one comes
deliver | broadcast | ready | | a copy for each supervisor, in a queue of its own
abandon | ready | purged | | a copy whose supervisor has ended
abandon | delayed | purged | | a copy whose supervisor has ended
tick, settle_and_fetch | delayed | ready | | its time has come
settle_and_fetch | ready | in flight | | fetched
settle_and_fetch, recover_session | in flight | done | | it ended well
settle_and_fetch, recover_session | in flight | ready | | released before it started
settle_and_fetch | in flight | ready | attempts | it failed; retried at once
settle_and_fetch | in flight | delayed | attempts | it failed; retried later
settle_and_fetch | in flight | dead | | it failed; no more retries
settle_and_fetch, recover_session | in flight | purged | | a copy: unreadable, or supervisor ended
recover_session | in flight | ready | crashes | its process died while it ran alone
recover_session | in flight | ready | losses | its process died beside others, or with its worker
recover_session | in flight | dead | crashes | the limit is reached
recover_session | in flight | dead | losses | the limit is reached
recover_session | in flight | dead | | its session did not serve its queue
settle_and_fetch, recover_session, park | in flight | cancelled | | it met that, or would wait again
settle_and_fetch | in flight | expired | | its expiry had passed before it began
cancel | in flight | in flight | | marked: it never waits again; its worker is told
cancel | ready | cancelled | | dropped by its id
cancel | delayed | cancelled | | dropped by its id
cancel | parked | cancelled | | dropped by its id
replace_session | in flight | in flight | | a reply was lost; a fresh session holds it
park | in flight | parked | | this worker cannot read it
park | in flight | dead | | the same, but too many contracts are parked
unpark | parked | in flight | | fetched by a worker that can read it
release | parked | ready | | retried by hand
release | parked | dead | | parked for too long
release | parked | expired | | parked for too long, and its expiry has passed
release | parked | purged | | dropped by hand
purge | ready | purged | | dropped by hand
purge | delayed | purged | | dropped by hand
requeue | dead | ready | | retried by hand; counts are reset
delete | dead | purged | | dropped by hand
dead_letter | dead | purged | | evicted by age or count when a dead letter is added
""".splitlines()
]


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
    def is_cancelled(self) -> bool:
        return self.message[1:2] == b"-"

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
        self.counted = dict.fromkeys(COUNTED, 0)
        self.refresh()

    def refresh(self) -> None:
        """Take what is there as it is, after a change by hand."""
        found = list(look(self.server, self.keys))
        self.there = {one.name: one for one in found}
        assert len(self.there) == len(found), "a message lies in two places"

    def __call__(self, move: Operation[Any]) -> None:
        if isinstance(move.script, str) and move.script not in COMMANDS:
            return  # other plain commands move no message
        before = self.there
        self.refresh()
        gone = [one for name, one in before.items() if name not in self.there]
        ended = [one for one in gone if one.state != "dead"]
        ends = self._ends(len(ended)) if ended else []
        assert len(ends) < 2 or len({one.state for one in ended}) < 2, "who ended as what?"
        steps = {
            *self._moved(before),
            *(("dead", "purged", "") for one in gone if one.state == "dead"),
            *((one.state, end, "") for one in ended for end in ends),
        }
        made = {Step(named(move, start, end), start, end, counts) for start, end, counts in steps}
        assert made <= self.allowed, f"not in the table: {made - self.allowed}"
        self.seen |= made

    def _ends(self, number: int) -> list[str]:
        """How so many messages have ended since the last time."""
        found = self.server.hmget(self.keys.stats, COUNTED)
        now = {name: int(count or 0) for name, count in zip(COUNTED, found, strict=True)}
        rose = [name for name in COUNTED if now[name] > self.counted[name]]
        purged = number - sum(now.values()) + sum(self.counted.values())
        assert purged >= 0, "something was counted twice"
        self.counted = now
        return [*rose, *["purged"] * (purged > 0)]

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
    """The operation of the table; what a dead letter evicts is by its part, not by its script."""
    if isinstance(move.script, str):
        return COMMANDS.get(move.script, move.script)
    pushed_out = (start, end) == (
        "dead",
        "purged",
    ) and "function add_dead_letter(" in move.script.source
    return "dead_letter" if pushed_out else move.script.name


def picture() -> str:
    """The state machine as an SVG, in the style of the other pictures."""
    pairs = dict.fromkeys((start, end) for _, start, end, *_ in ARROWS if start != end)
    arrows = [pair for pair in pairs if pair[1] in BOXES]
    style = re.search(r"<style>.*</defs>\n", PICTURE.with_name("lease.svg").read_text(), re.DOTALL)
    assert style is not None
    head = 'width="400" height="346" viewBox="0 0 400 346" role="img"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {head}>',
        "<title>The states of a message</title>",
        f'{style[0]}<rect class="p" x=".5" y=".5" width="399" height="345" rx="6"/>',
        '<circle class="h" cx="200" cy="24" r="7"/><text class="s" x="214" y="28">enqueue</text>',
        *(f'<path class="l" d="{_path(*pair, pairs)}" marker-end="url(#a)"/>' for pair in arrows),
    ]
    for state, (x, y) in list(BOXES.items())[1:]:
        ends = [end for start, end in pairs if start == state and end not in BOXES]
        texts = [", ".join(ends[at : at + 2]) for at in range(0, len(ends), 2)]
        shape = f'x="{x - HALF[0]}" y="{y - HALF[1]}" width="{2 * HALF[0]}" height="{2 * HALF[1]}"'
        lines.append(f'<rect class="b" {shape} rx="4"/>')
        lines.append(f'<text x="{x}" y="{y - 12}" text-anchor="middle">{state}</text>')
        lines += (
            f'<text class="s" style="font-size:11px" x="{x}" y="{y + 6 + 16 * n}"'
            f' text-anchor="middle">{text}</text>'
            for n, text in enumerate(texts)
        )
    lines.append(
        '<text class="s" x="24" y="334">in small letters: how a message can end there</text>'
    )
    return "\n".join((*lines, "</svg>", ""))


def _path(start: str, end: str, pairs: Collection[tuple[str, str]]) -> str:
    """Return the line from box to box; two of opposite directions are beside each other."""
    (x, y), (to_x, to_y) = BOXES[start], BOXES[end]
    across, down = to_x - x, to_y - y
    if abs(across) > 200:  # below the box between them
        return f"M{x} {y + HALF[1]}Q200 {y + 110} {to_x} {to_y + HALF[1] + 2}"
    length, side = (across**2 + down**2) ** 0.5, 8 if (end, start) in pairs else 0
    x, y = x - down / length * side, y + across / length * side
    to_x, to_y = x + across, y + down
    inside = min(half / abs(part) for half, part in zip(HALF, (across, down), strict=True) if part)
    first, last = inside if start else 9 / length, 1 - inside - 2 / length
    at = [(x + across * part, y + down * part) for part in (first, last)]
    return "M{:.0f} {:.0f}L{:.0f} {:.0f}".format(*at[0], *at[1])


def draw() -> str:
    """The state machine as a table, in Markdown."""
    rows = (" | ".join((_code(moves), *rest)) for moves, *rest in ARROWS)
    return "\n".join(
        (
            "| operation | from | to | counts | when |",
            "|---|---|---|---|---|",
            *(f"| {row} |" for row in rows),
            "",
        )
    )


def _code(moves: str) -> str:
    return ", ".join(f"`{move}`" for move in moves.split(", "))


def main() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert DRAWN.search(text), f"{DOCUMENT} has no place for the diagram"
    DOCUMENT.write_text(DRAWN.sub(lambda _: draw(), text), "utf-8")
    PICTURE.write_text(picture(), "utf-8")


if __name__ == "__main__":
    main()
