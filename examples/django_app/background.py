"""The typedq app. Start a worker: `typedq worker examples.django_app.background:app`."""

import os
from collections.abc import Generator

import django
from django.db import close_old_connections

from typedq import Context, TypedQ

# Before the tasks are imported, because they import models.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_app.settings")
django.setup()

app = TypedQ("comments", imports=["examples.django_app.tasks"])


@app.middleware
def fresh_connections(_: Context) -> Generator[None]:
    """Do for a task what Django does for a request: close broken and old connections."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
