"""One connection for each app context: for each request and each task."""

import sqlite3
from typing import cast

from flask import current_app, g

TABLE = "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, text TEXT, shown INT)"


def database() -> sqlite3.Connection:
    if "database" not in g:
        g.database = sqlite3.connect(cast("str", current_app.config["DATABASE"]))
        g.database.execute(TABLE)
    connection: sqlite3.Connection = g.database
    return connection


def close(_: BaseException | None) -> None:
    if connection := g.pop("database", None):
        connection.close()
