"""Tasks of both kinds: of typedq, and of Django's framework."""

from __future__ import annotations

import os
from datetime import date
from typing import Any

from django.db import connection

from tests.django.project.framework import task
from tests.django.project.models import Note
from typedq.django import app

# A connection that the supervisor opens: children must not use it.
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")


@app.task
def read(note: int, by: str = "nobody") -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    Note.objects.filter(pk=note).update(read=by)


@app.task
async def aread(note: int) -> None:
    await Note.objects.filter(pk=note).aupdate(read="a coroutine")


@task
def write(text: str, *, day: date | None = None) -> None:
    Note.objects.create(text=f"{text} {day}")


@task(takes_context=True)
async def attempts(context: Any, text: str) -> None:
    result = context.task_result
    text = f"{text} {context.attempt} {result.status} {bool(result.id)}"
    await Note.objects.acreate(text=text)


@task()
def plain(one: int = 0, two: int = 0) -> int:
    return one + two


@task
def fail(reason: str) -> None:
    raise RuntimeError(reason)


if os.environ.get("SHOP_BREAKS") == "unannotated":

    @task
    def wrong(text) -> None: ...  # type: ignore[no-untyped-def]

elif os.environ.get("SHOP_BREAKS") == "contract":

    @app.task
    def later(text: str) -> None: ...

elif os.environ.get("SHOP_BREAKS") == "changed":

    @app.task(name="later")
    def changed(text: str, more: int) -> None: ...
