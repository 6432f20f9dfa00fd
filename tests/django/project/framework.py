"""Django's Tasks framework, wherever it is: in Django 6, or in its backport."""

# The stubs are those of Django 6, which Python 3.11 does not have.
# pyright: reportMissingModuleSource=false

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django import tasks
    from django.tasks import default_task_backend, exceptions, task, task_backends
    from django.tasks.base import Task
    from django.tasks.signals import task_enqueued
else:
    try:
        from django import tasks
        from django.tasks import default_task_backend, exceptions, task, task_backends
        from django.tasks.base import Task
        from django.tasks.signals import task_enqueued
    except ImportError:
        import django_tasks as tasks
        from django_tasks import default_task_backend, exceptions, task, task_backends
        from django_tasks.base import Task
        from django_tasks.signals import task_enqueued

is_in_django = tasks.__name__ == "django.tasks"

__all__ = [
    "Task",
    "default_task_backend",
    "exceptions",
    "is_in_django",
    "task",
    "task_backends",
    "task_enqueued",
]
