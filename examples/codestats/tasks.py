"""The app and its tasks. A worker for it: `typedq worker examples.codestats.tasks:app`."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from examples.codestats import mail, report
from examples.codestats.counting import NotPython, count
from examples.codestats.store import recorded
from typedq import Context, Queue, Reject, Retry, TypedQ

app = TypedQ("codestats", queues=[Queue("high"), Queue("low")])  # the last queue is the default


class EmailArgs(msgspec.Struct, frozen=True):
    to: str
    subject: str


@app.task
def count_file(ctx: Context, path: str, *, module: str) -> None:
    """Count one file. Idempotent, as each task should be: counting it twice changes nothing."""
    with recorded(ctx) as store:
        try:
            lines = count(Path(path))
        except NotPython as error:
            raise Reject(str(error)) from None  # a retry would not help
        store.execute("REPLACE INTO files VALUES (?,?,?,?,?)", (path, module, *lines))


@app.task(queue="high")
def ping(ctx: Context) -> None:
    """Do nothing: the time of its start shows how long a message waits."""
    with recorded(ctx):
        pass


@app.task(queue="high")
async def remind(ctx: Context, note: str) -> None:
    """Stand in for a task that is enqueued now and due later."""
    with recorded(ctx):
        print(f"reminder: {note}")


@app.task(queue="high")
def archive(ctx: Context, *, seconds: float) -> None:
    """Run long enough to be killed in the middle."""
    with recorded(ctx):
        time.sleep(seconds)


# smtplib raises OSErrors, also for a mail server's "try again later".
@app.task(queue="high", retry=Retry(max_retries=5, on=OSError, backoff=0.2, jitter=False))
def send_report(ctx: Context, args: EmailArgs) -> None:
    """Mail the report. The message id lets a mail server recognize a second copy."""
    with recorded(ctx) as store:
        mail.send(ctx.id, to=args.to, subject=args.subject, text=report.text(store))
