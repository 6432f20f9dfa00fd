"""The app of a Django project, made of the setting TYPEDQ."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from functools import partial
from typing import Any, cast, final

import django
from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections, connections, transaction
from django.utils.module_loading import autodiscover_modules

from typedq.app import TypedQ
from typedq.errors import TypedQError
from typedq.policy import Context
from typedq.task import Call

_EXPECTED = 'expected the arguments of TypedQ as a dict, such as TYPEDQ = {"namespace": "shop"}'


@final
class DjangoApp(TypedQ):
    """An app whose tasks are in the modules `tasks` of INSTALLED_APPS, as well as in `imports`."""

    _closes_in_loops = False

    def load(self) -> None:
        """Set Django up if nobody did, and import the tasks. Raises AppNotFound, ContractError."""
        if not apps.ready:
            django.setup()
        autodiscover_modules("tasks")
        super().load()
        if not self._closes_in_loops and any(t.contract.is_async for t in self.tasks.values()):
            self._closes_in_loops = True
            self.middleware(self._around_coroutines)

    async def _around_coroutines(self, ctx: Context) -> AsyncGenerator[None]:
        """Close old connections in the thread in which coroutines use the database."""
        if not self.declarations.find(ctx.task).contract.is_async:
            yield
            return
        close = sync_to_async(close_old_connections)
        await close()
        try:
            yield
        finally:
            await close()


def _make() -> DjangoApp:
    given: Any = getattr(settings, "TYPEDQ", None)
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"the setting TYPEDQ is missing or no dict: {_EXPECTED}")
    try:
        made = DjangoApp(**cast("dict[str, Any]", given))
    except (TypeError, TypedQError) as error:
        raise ImproperlyConfigured(f"TYPEDQ: {error}; {_EXPECTED}") from None
    made.middleware(_fresh_connections)
    made.on_process_start(_leave_inherited_connections)
    return made


def _fresh_connections(_: Context) -> Generator[None]:
    """Do for a task what Django does for a request: close broken and old connections."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


def _leave_inherited_connections() -> None:
    """Close what the start of the worker opened: a child must not share a socket with others."""
    connections.close_all()


def enqueue_on_commit(*calls: Call, using: str | None = None) -> None:
    """Enqueue calls when the transaction commits; never if it is rolled back.

    They are encoded at once, so wrong arguments fail inside the transaction. Without a transaction
    they are enqueued at once. After the commit, a server that is away raises ServerError: the
    transaction stays committed. using: the alias of the database.
    """
    transaction.on_commit(partial(app.enqueue_many, calls), using=using)


app = _make()
