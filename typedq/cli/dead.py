"""`typedq dead`: messages that nobody will run again, unless somebody says so."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer
from typer import Argument, BadParameter, Option

from typedq.cli.application import HERE, AppDir, AppOption, AsJson, load
from typedq.cli.console import console, instant, say, table, tell_json
from typedq.cli.quantities import since as read_since
from typedq.envelope import Envelope, unseal
from typedq.errors import BadMessage

if TYPE_CHECKING:
    from typedq.broker import Broker
    from typedq.broker.views import Grave, Letter

program = typer.Typer(
    help="Dead letters: look, try again, drop.",
    epilog="Example: typedq dead list --task send_email --since 1h",
    no_args_is_help=True,
)
_PAGE = 100  # letters are read whole, and each may have a megabyte
_CHUNK = 500  # what one move takes
_SINCE = "Only younger: 30m, 1h, 2d or 2027-01-31."

OfTask = Annotated[str | None, Option("--task", metavar="NAME", help="Only of this task.")]
Since = Annotated[datetime | None, Option(parser=read_since, metavar="WHEN", help=_SINCE)]
Id = Annotated[str, Argument(help="As `typedq dead list` shows it.")]
Ids = Annotated[list[str] | None, Argument(metavar="ID", help="Only these.")]
All = Annotated[bool, Option("--all", help="All of them.")]
Yes = Annotated[bool, Option("-y", "--yes", help="Do not ask.")]
Number = Annotated[int, Option("-n", "--number", min=1, help="At most so many.")]
Payload = Annotated[bool, Option("--payload", help="Show the arguments too.")]


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
    graves = (grave for page in _graves(broker, None, _CHUNK) for grave in page)
    grave = next((grave for grave in graves if grave.id == id), None) if letter else None
    if letter is None or grave is None:
        say(f"no dead letter has the id {id}")
        raise typer.Exit(1)
    facts = _facts(_Found(grave, letter))
    if payload:
        envelope = _opened(letter.message)
        facts["payload"] = _text(envelope.body if envelope else letter.message)
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

    _check(ids, task, since, all=all)
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

    _check(ids, task, since, all=all)
    broker = load(app, app_dir).broker
    _each(
        "drop",
        ids or _choose(broker, task, since),
        lambda chunk: broker.call(views.forget(broker.keys, chunk)),
        yes=yes,
    )


def _check(
    ids: Sequence[str] | None, task: str | None, since: datetime | None, *, all: bool
) -> None:
    # Nothing given means nothing, not everything.
    if bool(ids) == (all or task is not None or since is not None):
        raise BadParameter("name ids, or choose by --task, --since or --all", param_hint="ID")


def _choose(broker: Broker, task: str | None, since: datetime | None) -> list[str]:
    if task is not None:
        return [found.grave.id for found in _letters(broker, task, since)]
    return [grave.id for page in _graves(broker, since, _CHUNK) for grave in page]


def _each(what: str, ids: Sequence[str], act: Callable[[Sequence[str]], int], *, yes: bool) -> None:
    """Act on chunks, after asking; exit code 1 if not all could be done."""
    from rich.progress import track

    ids = list(dict.fromkeys(ids))
    if ids and not yes:
        if not sys.stdin.isatty():
            raise BadParameter("no terminal to ask at; say yes by -y", param_hint="-y")
        typer.confirm(f"{what} {len(ids):,} dead letter(s)?", abort=True)
    chunks = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
    screen = console(stderr=True)
    count = sum(map(act, track(chunks, what, console=screen, disable=not screen.is_terminal)))
    say(f"{what}: {count:,} of {len(ids):,} dead letter(s)")
    if count < len(ids):
        say("the others are not there any more, or are no messages of a queue of this app")
        raise typer.Exit(1)


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
    for page in _graves(broker, since, _PAGE):
        graves = [grave for grave in page if grave.id not in told]
        told.update(grave.id for grave in graves)
        ids = [grave.id for grave in graves]
        letters = broker.call(views.letters(broker.keys, ids)) if ids else []
        for grave, letter in zip(graves, letters, strict=True):
            envelope = letter and _opened(letter.message)
            if letter and (task is None or (envelope and envelope.task == task)):
                yield _Found(grave, letter)


def _facts(found: _Found) -> dict[str, Any]:
    """The keys of `--json`; whatever else the reason says follows."""
    envelope, reason = _opened(found.letter.message), _reason(found.letter.reason)
    return {
        "id": found.grave.id,
        "died": instant(found.grave.died_ms),
        "task": envelope and envelope.task,
        "contract": envelope and _text(envelope.contract),
        "queue": envelope and _text(envelope.queue),
        "enqueued": envelope and instant(envelope.enqueued_ms),
        "attempts": reason.pop("attempts", envelope and envelope.attempt),
        "crashes": envelope and int(envelope.crashes),
        "losses": envelope and int(envelope.losses),
        "bytes": len(found.letter.message),
        "kind": reason.pop("kind", "unknown"),
        "error": reason.pop("error", ""),
        **{f"{name}_" if name == "payload" else name: said for name, said in reason.items()},
    }


def _opened(message: bytes) -> Envelope | None:
    """The message, if all of its header can be read."""
    try:
        envelope = unseal(message)
        _ = envelope.task, envelope.attempt, envelope.enqueued_ms
        _ = int(envelope.crashes), int(envelope.losses)
    except (BadMessage, ValueError):
        return None
    return envelope


def _reason(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"error": _text(line)}


def _first_line(text: object) -> str:
    line = next(iter(str(text).splitlines()), "")
    return line if len(line) <= 100 else f"{line[:99]}…"


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
