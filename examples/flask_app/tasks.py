"""The tasks. Start a worker: `typedq worker examples.flask_app.tasks:queue`."""

from collections.abc import Generator
from functools import cache
from typing import cast

from flask import Flask, current_app

from examples.flask_app.database import database
from typedq import Context, TypedQ

queue = TypedQ("guestbook")


@cache
def flask_app() -> Flask:
    # Not at the top: web.py imports this module.
    from examples.flask_app.web import create_app

    return create_app()


@queue.middleware
def in_app_context(_: Context) -> Generator[None]:
    """Give each task what a request has: `current_app`, `g`, and the teardown at its end."""
    with flask_app().app_context():
        yield


@queue.task
def review(entry: int) -> None:
    """Show an entry unless it is spam. A second run changes nothing."""
    (text,) = database().execute("SELECT text FROM entries WHERE id = ?", (entry,)).fetchone()
    spam = cast("list[str]", current_app.config["SPAM"])
    shown = not any(word in text.lower() for word in spam)
    database().execute("UPDATE entries SET shown = ? WHERE id = ?", (shown, entry))
    database().commit()
