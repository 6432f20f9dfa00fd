"""Describe the tasks of an app."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from typedq.app import TypedQ
from typedq.registry import Declared
from typedq.task import Task


def declared(app: TypedQ) -> list[Declared]:
    """Return the tasks as the registry of contracts knows them."""
    return [
        Declared(
            task.name,
            task.contract.fingerprint,
            task.contract.schema,
            task.aliases,
            tuple(upcaster.contract.schema for upcaster in task.upcasters),
        )
        for task in app.tasks.values()
    ]


def tasks(app: TypedQ) -> list[dict[str, Any]]:
    """Return the keys of `tasks --json`, by name; limits in seconds, defaults applied."""
    return [_describe(app, task) for _, task in sorted(app.tasks.items())]


def _describe(app: TypedQ, task: Task[..., Any]) -> dict[str, Any]:
    settings, name = app.settings, task.queue or app.settings.default_queue
    queue = next(queue for queue in settings.queues if queue.name == name)
    errors = [error.__qualname__ for error in task.retry.on] if task.retry else []
    return {
        "name": task.name,
        "signature": task.contract.signature,
        "async": task.contract.is_async,
        "queue": name,
        "retry": asdict(task.retry) | {"on": errors} if task.retry else None,
        "soft_timeout": task.soft_timeout or queue.soft_timeout or settings.soft_timeout,
        "hard_timeout": task.hard_timeout or queue.hard_timeout or settings.hard_timeout,
        "fingerprint": task.contract.fingerprint,
    }
