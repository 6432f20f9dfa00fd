"""The Django app: it imports tasks at start and registers the check of contracts."""

from __future__ import annotations

from typing import final

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules

from typedq.django import checks


@final
class TypedqConfig(AppConfig):
    """`INSTALLED_APPS = ["typedq.django"]`."""

    name = "typedq.django"
    label = "typedq"

    def ready(self) -> None:
        """Import the module `tasks` of each app; a task without a contract ends the start."""
        autodiscover_modules("tasks")
        checks.add()
