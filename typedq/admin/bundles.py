"""Make the bundle of an app: from its code, its committed contracts, or a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from typedq import registry
from typedq.admin.schemas import histories_at, locate
from typedq.app import TypedQ
from typedq.broker import Broker, stats
from typedq.bundle import (
    Bundle,
    BundledTask,
    Kind,
    parse,
    without_secret_values,
)
from typedq.compat import compare
from typedq.configuration import resolve
from typedq.errors import ConfigurationError, InvalidBundle
from typedq.policy import Queue
from typedq.registry import Worker
from typedq.settings import Settings

_Schemas = Mapping[str, dict[str, Any]]
_Contract = tuple[str, dict[str, Any]]  # id, schema


class Bundled(NamedTuple):
    """A bundle, and what its source does not tell."""

    bundle: Bundle
    notes: list[str]


def read_file(path: Path, *, namespace: str | None = None, kind: Kind = "bundle") -> Bundle:
    """Read a bundle. Raises InvalidBundle."""
    try:
        return parse(path.read_bytes(), str(path), namespace=namespace, kind=kind)
    except OSError as error:
        raise InvalidBundle(str(path), f"it cannot be read: {error.strerror}") from None


def of_app(app: TypedQ) -> Bundled:
    """Return the bundle of an app's code. Raises ConfigurationError."""
    queues = {task.name: task.queue for task in app.tasks.values() if task.queue}
    found = {task.name: task.contract.schema for task in app.tasks.values()}
    return Bundled(_bundle(app.settings, found, queues, ordered=True), [])


def of_place(place: str, namespace: str | None = None, option: str = "--from") -> Bundled:
    """Return the bundle of contracts that are not in code.

    place: a directory of committed contracts, `git:REF`, or the URL of a server
    namespace: of the app; else as the contracts or the settings say
    option: that gave the place, for errors
    Raises ConfigurationError, ServerError.
    """
    if "://" in place:
        return _of_server(place, namespace)
    newest = {
        name: history.versions[-1]
        for name, history in histories_at(place, locate()[0], option).items()
        if history.versions and not history.removed
    }
    apps = sorted({version.app for version in newest.values() if version.app})
    if namespace is None and len(apps) > 1:
        problem = f"{place} has contracts of {', '.join(apps)}; choose one with --namespace"
        raise ConfigurationError([problem])
    settings = _settings(namespace or next(iter(apps), None))
    own = (None, settings.namespace)
    found = {name: version.schema for name, version in newest.items() if version.app in own}
    bundle = _bundle(settings, found, {}, ordered=True)
    return Bundled(bundle, [_queues_are_guessed(place, settings)])


def _of_server(url: str, namespace: str | None) -> Bundled:
    settings = _settings(namespace)
    broker = Broker(url, settings.namespace, deadline=settings.enqueue_deadline)
    try:
        published, _ = registry.read_published(broker)
        seen = broker.call(stats.survey(broker.keys, [], []))
    finally:
        broker.close()
    workers = [*registry.live_workers(seen, settings.lease).values()]
    found = {
        task: _current(task, contracts, bool(workers))
        for task, contracts in _by_task(published, workers)
    }
    routed = [worker for worker in workers if worker.default_queue]
    task_queues, notes = dict[str, str](), [_queues_are_guessed(broker.url, settings)]
    if routed:
        names = dict.fromkeys(name for worker in routed for name in worker.queues)
        task_queues = {t: q for worker in routed for t, q in worker.task_queues.items()}
        names |= dict.fromkeys([*task_queues.values(), str(routed[0].default_queue)])
        update = {"queues": tuple(map(Queue, names)), "default_queue": routed[0].default_queue}
        settings, notes = settings.model_copy(update=update), []
    return Bundled(_bundle(settings, found, task_queues, ordered=False), notes)


def _by_task(published: _Schemas, workers: Iterable[Worker]) -> list[tuple[str, list[_Contract]]]:
    """Return the contracts that live workers read, by task; all, if there is no worker."""
    read = {id for worker in workers for id in worker.reads} & published.keys()
    found: dict[str, list[_Contract]] = {}
    for id in sorted(read or published):
        found.setdefault(id.partition("@")[0], []).append((id, published[id]))
    return sorted(found.items())


def _current(task: str, contracts: list[_Contract], served: bool) -> dict[str, Any]:
    """Return the schema that every one of them reads. Raises ConfigurationError."""
    if len(contracts) == 1 or served:
        for _, schema in contracts:
            if all(compare(schema, other).backward for _, other in contracts):
                return schema
    known = ", ".join(id for id, _ in contracts)
    hint = "wait until the deploy is complete" if served else "start a worker, which says so"
    problem = f"{task} has several contracts, and nothing says which is the current one: {known}"
    raise ConfigurationError([f"{problem}; {hint}, or take the bundle from the app"])


def _settings(namespace: str | None) -> Settings:
    return resolve({"namespace": namespace})


def _queues_are_guessed(place: str, settings: Settings) -> str:
    names = ", ".join(queue.name for queue in settings.queues)
    return (
        f"{place} does not say which queues there are, so all tasks use {settings.default_queue!r}"
        f" of: {names}; set TYPEDQ_QUEUES if that is wrong, or take the bundle from the app"
    )


def _bundle(
    settings: Settings, schemas: _Schemas, queues: Mapping[str, str], *, ordered: bool
) -> Bundle:
    if not schemas:
        raise ConfigurationError([f"there are no tasks of {settings.namespace!r}"])
    return Bundle(
        settings.namespace,
        tuple(queue.name for queue in settings.queues),
        settings.default_queue,
        {
            name: BundledTask(
                name, queues.get(name, settings.default_queue), without_secret_values(schema)
            )
            for name, schema in sorted(schemas.items())
        },
        ordered,
        settings.max_body,
        settings.max_depth,
    )
