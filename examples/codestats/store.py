"""The application's own SQLite database: a queue is not a store.

`files` has one row per file, also if a task counted it twice. `runs` has one row per run of a
task, in the order of their starts; `ended` is empty unless the run succeeded.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from typedq import Context

TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE files (path TEXT PRIMARY KEY, module TEXT, code INT, comments INT, blanks INT);
CREATE TABLE runs (
    place INTEGER PRIMARY KEY, id TEXT, task TEXT, queue TEXT, attempt INT, pid INT,
    enqueued REAL, due REAL, started REAL, ended REAL
);
CREATE INDEX runs_by_id ON runs (id);
"""
_mine = threading.local()


class Run(NamedTuple):
    """One run of a task. Times are seconds since the epoch."""

    place: int
    id: str
    task: str
    queue: str
    attempt: int
    pid: int
    enqueued: float
    due: float
    started: float
    ended: float | None


def store() -> sqlite3.Connection:
    """Return the connection of this thread. Opened at first use, because none may cross a fork."""
    if not hasattr(_mine, "connection"):
        file = os.environ["CODESTATS_STORE"]
        _mine.connection = sqlite3.connect(file, timeout=30, isolation_level=None)
        _mine.connection.execute("PRAGMA synchronous = NORMAL")
    connection: sqlite3.Connection = _mine.connection
    return connection


@contextmanager
def recorded(ctx: Context) -> Generator[sqlite3.Connection]:
    """Record the start of a run, and its end if it succeeds."""
    times = (ctx.enqueued_at.timestamp(), ctx.due.timestamp(), time.time())
    row = (ctx.id, ctx.task, ctx.queue, ctx.attempt, os.getpid(), *times)
    place = store().execute("INSERT INTO runs VALUES (NULL, ?,?,?,?,?,?,?,?, NULL)", row).lastrowid
    yield store()
    store().execute("UPDATE runs SET ended = ? WHERE place = ?", (time.time(), place))


def runs(where: str = "TRUE", *values: object) -> list[Run]:
    """Return the runs that match, in the order of their starts."""
    found = store().execute(f"SELECT * FROM runs WHERE {where} ORDER BY place", values)
    return [Run(*row) for row in found]
