"""`typedq dead`: messages that nobody will run again, unless somebody says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer
from typer import Argument

from typedq.cli import messages
from typedq.cli.application import HERE, AppDir, AppOption, AsJson, load
from typedq.cli.console import console, instant, say, table, tell_json
from typedq.cli.messages import CHUNK, PAGE, All, Number, OfTask, Payload, Since, Yes

if TYPE_CHECKING:
    from typedq.broker import Broker
    from typedq.broker.views import Grave, Letter

program = typer.Typer(
    help="Dead letters: look, try again, drop.",
    epilog="Example: typedq dead list --task send_email --since 1h",
    no_args_is_help=True,
)
Id = Annotated[str, Argument(help="As `typedq dead list` shows it.")]
Ids = Annotated[list[str] | None, Argument(metavar="ID", help="Only these.")]


class _Found(NamedTuple):
    grave: Grave
    letter: Letter


@program.command("list", epilog="Example: typedq dead list --since 2h -n 50 -A myapp.tasks:app")
def list_(
    *,
    task: OfTask = None,
    since: Since = None,
    number: Number = 20,
    json: AsJson = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """List dead letters, youngest first."""
    found = _letters(load(app, app_dir).broker, task, since)
    facts = [_facts(each) for _, each in zip(range(number), found, strict=False)]
    if json:
        tell_json(facts)
    elif facts:
        rows = [
            (f["id"], f["died"], f["task"], f["queue"], f["kind"], _first_line(f["error"]))
            for f in facts
        ]
        console().print(table("id, died, task, queue, kind, error", rows))
    else:
        say("no dead letters" + (" like that" if task or since else ""))


@program.command(epilog="Example: typedq dead show 019ad0f3c1e5d1c0ffee000007 --payload")
def show(
    id: Id,
    payload: Payload = False,
    json: AsJson = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """Show why a message died; its arguments only with --payload."""
    from typedq.broker import views

    broker = load(app, app_dir).broker
    (letter,) = broker.call(views.letters(broker.keys, [id]))
    graves = (grave for page in _graves(broker, None, CHUNK) for grave in page)
    grave = next((grave for grave in graves if grave.id == id), None) if letter else None
    if letter is None or grave is None:
        say(f"no dead letter has the id {id}")
        raise typer.Exit(1)
    facts = _facts(_Found(grave, letter), payload=payload)
    if json:
        tell_json(facts)
        return
    trace = str(facts.pop("traceback", ""))
    for name, value in facts.items():
        say(f"{name:<10} {'-' if value is None else value}")
    for line in trace.splitlines():
        say(f"    {line}")


@program.command(epilog="Example: typedq dead retry --task send_email --since 1d -y")
def retry(
    ids: Ids = None,
    *,
    task: OfTask = None,
    since: Since = None,
    all: All = False,
    yes: Yes = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """Give dead letters a new life, as if just enqueued. Asks, unless each is named."""
    from typedq.broker import views

    messages.check_choice(ids, "id", task=task, since=since, all=all)
    loaded = load(app, app_dir)
    broker, queues = loaded.broker, [queue.name for queue in loaded.settings.queues]
    _each(
        "retry",
        ids or _choose(broker, task, since),
        lambda chunk: broker.call(views.revive(broker.keys, queues, chunk)).revived,
        yes=yes or bool(ids),
    )


@program.command(epilog="Example: typedq dead drop --task send_email -y")
def drop(
    ids: Ids = None,
    *,
    task: OfTask = None,
    since: Since = None,
    all: All = False,
    yes: Yes = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """Drop dead letters for good. Asks first."""
    from typedq.broker import views

    messages.check_choice(ids, "id", task=task, since=since, all=all)
    broker = load(app, app_dir).broker
    _each(
        "drop",
        ids or _choose(broker, task, since),
        lambda chunk: broker.call(views.forget(broker.keys, chunk)),
        yes=yes,
    )


def _choose(broker: Broker, task: str | None, since: datetime | None) -> list[str]:
    if task is not None:
        return [found.grave.id for found in _letters(broker, task, since)]
    return [grave.id for page in _graves(broker, since, CHUNK) for grave in page]


def _each(what: str, ids: Sequence[str], act: Callable[[Sequence[str]], int], *, yes: bool) -> None:
    """Act on chunks, after asking; exit code 1 if not all could be done."""
    ids = list(dict.fromkeys(ids))
    messages.ask(f"{what} {len(ids):,} dead letter(s)?", yes=yes or not ids)
    chunks = (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
    done = messages.tally(what, len(ids), map(act, chunks))
    why = "the others are not there any more, or are no messages of a queue of this app"
    messages.report(what, done, len(ids), "dead letter(s)", why)


def _graves(broker: Broker, since: datetime | None, page: int) -> Iterator[list[Grave]]:
    """Pages, youngest first; one that dies meanwhile pushes others down, so some come twice."""
    from typedq.broker import views

    first, oldest = 0, since.timestamp() * 1000 if since else 0.0
    while graves := broker.call(views.graves(broker.keys, first, first + page - 1)):
        yield (young := [grave for grave in graves if grave.died_ms >= oldest])
        if len(young) < len(graves):
            return
        first += page


def _letters(broker: Broker, task: str | None, since: datetime | None) -> Iterator[_Found]:
    from typedq.broker import views

    told = set[str]()
    for page in _graves(broker, since, PAGE):
        graves = [grave for grave in page if grave.id not in told]
        told.update(grave.id for grave in graves)
        ids = [grave.id for grave in graves]
        letters = broker.call(views.letters(broker.keys, ids)) if ids else []
        for grave, letter in zip(graves, letters, strict=True):
            envelope = letter and messages.opened(letter.message)
            if letter and (task is None or (envelope and envelope.task == task)):
                yield _Found(grave, letter)


def _facts(found: _Found, *, payload: bool = False) -> dict[str, Any]:
    """The keys of `--json`; whatever else the reason says follows, the payload is last."""
    about = messages.facts(found.letter.message, payload=payload)
    shown = {"payload": about.pop("payload")} if payload else {}
    where = {"id": found.grave.id, "died": instant(found.grave.died_ms)}
    blank = {"kind": "unknown", "error": ""}
    return {**where, **about, **where, **blank, **_reason(found.letter.reason), **shown}


def _reason(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"error": messages.text(line)}


def _first_line(text: object) -> str:
    line = next(iter(str(text).splitlines()), "")
    return line if len(line) <= 100 else f"{line[:99]}…"
