"""What a view does, with and without its transaction; prints what the test asserts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import django

django.setup()

from django.core.exceptions import ImproperlyConfigured  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

from tests.django.project import tasks  # noqa: E402
from tests.django.project.framework import default_task_backend, task_enqueued  # noqa: E402
from tests.django.project.models import Note  # noqa: E402
from typedq.django import enqueue_on_commit  # noqa: E402
from typedq.django.backend import TypedQBackend  # noqa: E402
from typedq.django.tasks_framework import InvalidTask  # noqa: E402
from typedq.errors import InvalidArguments  # noqa: E402

told: list[str] = []
task_enqueued.connect(lambda task_result, **_: told.append(task_result.id), weak=False)
call_command("migrate", run_syncdb=True, verbosity=0)


with transaction.atomic():
    kept = Note.objects.create(text="kept")
    enqueue_on_commit(tasks.read.call(kept.pk, by="Ada"), tasks.aread.call(kept.pk + 1))
    Note.objects.create(text="kept too")
    with transaction.atomic():
        enqueue_on_commit(tasks.read.call(kept.pk, by="a savepoint that is rolled back"))
        transaction.set_rollback(True)
with transaction.atomic():
    enqueue_on_commit(tasks.read.call(kept.pk, by="a transaction that is rolled back"))
    transaction.set_rollback(True)
refused = ""
try:
    with transaction.atomic():
        Note.objects.create(text="never")
        enqueue_on_commit(tasks.read.call("one"))  # type: ignore[arg-type]
except InvalidArguments as error:
    refused = str(error)
first = tasks.write.enqueue("written", day=date(2027, 1, 31))
asyncio.run(tasks.attempts.aenqueue(text="counted"))
tasks.fail.enqueue(reason="red herring")
later = tasks.write.using(run_after=datetime.now(UTC) + timedelta(days=1)).enqueue("later")
unreadable = ""
try:
    tasks.write.enqueue(3)  # type: ignore[arg-type]
except InvalidArguments as error:
    unreadable = str(error)
backend = default_task_backend


def refusal(make: Callable[[], object]) -> str:
    try:
        make()
    except (ImproperlyConfigured, InvalidTask) as error:
        return str(error)
    return ""


print(
    json.dumps(
        {
            "refused": refused,
            "unreadable": unreadable,
            "never": Note.objects.filter(text="never").count(),
            "result": [first.status, first.args, first.kwargs, first.id in told],
            "told": len(told),
            "priority": refusal(lambda: tasks.write.using(priority=3)),
            "queue": refusal(lambda: tasks.write.using(queue_name="hihg")),
            "QUEUES": refusal(lambda: TypedQBackend("x", {"QUEUES": ["defualt"]})),
            "OPTIONS": refusal(lambda: TypedQBackend("x", {"OPTIONS": {"retries": 3}})),
            "flags": [
                name
                for name in ("defer", "async_task", "get_result", "priority")
                if getattr(backend, f"supports_{name}")
            ],
        }
    )
)
