"""`typedq dead`: messages that nobody will run again, unless somebody says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from typer import Argument

from typedq.cli import messages
from typedq.cli.application import AsJson, Chosen
from typedq.cli.console import Row, instant, same, say, tell, tell_json
from typedq.cli.messages import CHUNK, PAGE, Choice, Filter, Number, Payload

if TYPE_CHECKING:
    from typedq.broker import Broker
    from typedq.broker.stats import Grave, Letter

Id = Annotated[str, Argument(help="As `typedq dead list` shows it.")]
Ids = Annotated[list[str] | None, Argument(metavar="ID", help="Only these.")]
_KIND = "dead letter(s)"
_OTHERS = "the others are not there any more, or are no messages of a queue of this app"


def list_(only: Filter, *, number: Number = 20, json: AsJson = False, app: Chosen) -> None:
    """List dead letters, youngest first."""
    found = [_facts(*each) for each in islice(_letters(app.load().broker, only), number)]
    columns = {**same("id", "died", "task", "queue", "kind"), "error": _first_line}
    none = "no dead letters" + (" like that" if any(only.given.values()) else "")
    tell(found, columns, json=json, none=none)


def show(id: Id, *, payload: Payload = False, json: AsJson = False, app: Chosen) -> None:
    """Show why a message died; its arguments only with --payload."""
    from typedq.broker import stats

    broker = app.load().broker
    (letter,) = broker.call(stats.letters(broker.keys, [id]))
    graves = (grave for page in _graves(broker, Filter(), CHUNK) for grave in page)
    grave = next((grave for grave in graves if grave.id == id), None) if letter else None
    if letter is None or grave is None:
        say(f"no dead letter has the id {id}")
        raise typer.Exit(1)
    facts = _facts(grave, letter, payload=payload)
    if json:
        tell_json(facts)
        return
    trace = str(facts.pop("traceback", ""))
    for name, value in facts.items():
        say(f"{name:<10} {'-' if value is None else value}")
    for line in trace.splitlines():
        say(f"    {line}")


def retry(ids: Ids = None, *, which: Choice, app: Chosen) -> None:
    """Give dead letters a new life, as if just enqueued. Asks, unless each is named."""
    from typedq.broker import stats

    which.check(ids, "id")
    loaded = app.load()
    broker, queues = loaded.broker, [queue.name for queue in loaded.settings.queues]

    def revive(chunk: Sequence[str]) -> int:
        return broker.call(stats.requeue(broker.keys, queues, chunk)).revived

    _each("retry", ids or _choose(broker, which), revive, yes=which.yes or bool(ids))


def drop(ids: Ids = None, *, which: Choice, app: Chosen) -> None:
    """Drop dead letters for good. Asks first."""
    from typedq.broker import stats

    which.check(ids, "id")
    broker = app.load().broker

    def forget(chunk: Sequence[str]) -> int:
        return broker.call(stats.delete(broker.keys, chunk))

    _each("drop", ids or _choose(broker, which), forget, yes=which.yes)


def _choose(broker: Broker, which: Filter) -> list[str]:
    if which.task is not None:
        return [grave.id for grave, _ in _letters(broker, which)]
    return [grave.id for page in _graves(broker, which, CHUNK) for grave in page]


def _each(what: str, ids: Sequence[str], act: Callable[[Sequence[str]], int], *, yes: bool) -> None:
    ids = list(dict.fromkeys(ids))
    chunks = (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
    messages.carry_out(what, _KIND, len(ids), map(act, chunks), _OTHERS, yes=yes)


def _graves(broker: Broker, which: Filter, page: int) -> Iterator[list[Grave]]:
    """Pages, youngest first; one that dies meanwhile pushes others down, so some come twice."""
    from typedq.broker import stats

    first = 0
    while graves := broker.call(stats.graves(broker.keys, first, first + page - 1)):
        yield (young := [grave for grave in graves if grave.died_ms >= which.oldest_ms])
        if len(young) < len(graves):
            return
        first += page


def _letters(broker: Broker, which: Filter) -> Iterator[tuple[Grave, Letter]]:
    from typedq.broker import stats

    told = set[str]()
    for page in _graves(broker, which, PAGE):
        graves = [grave for grave in page if grave.id not in told]
        told.update(ids := [grave.id for grave in graves])
        letters = broker.call(stats.letters(broker.keys, ids)) if ids else []
        for grave, letter in zip(graves, letters, strict=True):
            if letter and which.task in (None, messages.facts(letter.message)["task"]):
                yield grave, letter


def _facts(grave: Grave, letter: Letter, *, payload: bool = False) -> dict[str, Any]:
    """The keys of `--json`; whatever else the reason says follows, the payload is last."""
    about = messages.facts(letter.message, payload=payload)
    shown = {"payload": about.pop("payload")} if payload else {}
    where = {"id": grave.id, "died": instant(grave.died_ms)}
    blank = {"kind": "unknown", "error": ""}
    return {**where, **about, **where, **blank, **_reason(letter.reason), **shown}


def _reason(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"error": messages.text(line)}


def _first_line(row: Row) -> str:
    line = next(iter(str(row["error"]).splitlines()), "")
    return line if len(line) <= 100 else f"{line[:99]}…"
