"""Keep what an app declares: tasks, cron entries, middleware and hooks. No I/O, no settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast, final

from typedq import errors, policy
from typedq.middleware import Hooks
from typedq.policy import NAME, CatchUp, Cron, Schedule
from typedq.remote import RemoteTask
from typedq.task import Call, Task, is_redeclared, source_location

_NAME_RULE = "a name is 1 to 64 of a-z 0-9 _ . -, beginning with a letter or digit"


class CronEntry(NamedTuple):
    """A call and its schedule. The name alone identifies the entry."""

    name: str
    cron: Cron
    call: Call


@final
class Declarations:
    """The tasks, cron entries, middleware and hooks of one app.

    tasks, cron_entries: read-only, by name; hooks: middleware and process hooks
    queue_names: of the app, or None while they are not known
    app_path: the app as module:attr, if it was an argument of the command; else ""
    """

    def __init__(self, queue_names: tuple[str, ...] | None) -> None:
        self.queue_names = queue_names
        self.app_path = ""
        self.hooks = Hooks()
        self._tasks: dict[str, Task[..., Any]] = {}
        self._by_alias: dict[str, Task[..., Any]] = {}
        self._remote: dict[str, RemoteTask[Any]] = {}
        self._entries: dict[str, CronEntry] = {}
        self._replaceable: set[str] = set()  # entries of tasks that were declared again
        self.tasks: Mapping[str, Task[..., Any]] = MappingProxyType(self._tasks)
        self.cron_entries: Mapping[str, CronEntry] = MappingProxyType(self._entries)

    # --- tasks -------------------------------------------------------------------------------

    def check_names(self, chosen: str, aliases: Iterable[str], fn: Callable[..., Any]) -> None:
        """Raise ContractError or ConfigurationError if `fn` cannot be the task of these names."""
        if isinstance(aliases, str):
            what = f"task {chosen!r}: aliases takes a list of names, such as [{aliases!r}]"
            raise errors.ConfigurationError([what])
        for name in (chosen, *aliases):
            if not NAME.fullmatch(name):
                raise errors.ContractError(name, None, f"{_NAME_RULE}; give one with name=")
            other = self._tasks.get(name) or self._by_alias.get(name)
            if name in self._remote:
                reason = "the name is that of a remote task; a task is either run here or elsewhere"
                raise errors.ContractError(name, None, reason)
            if other is not None and not is_redeclared(fn, other.fn):
                place = source_location(other.fn)
                reason = f"the name is taken by the one at {place}; give another with name="
                raise errors.ContractError(name, None, reason)

    def add_task(self, task: Task[..., Any]) -> None:
        """Add a task, or replace an earlier version of it. Raises ConfigurationError."""
        self._refuse_unknown_queues([task])
        if task.name in self._tasks:
            entries = self._entries.values()
            self._replaceable |= {e.name for e in entries if e.call.task == task.name}
        self._tasks[task.name] = task
        self._by_alias.update(dict.fromkeys(task.aliases, task))

    def add_remote(self, task: RemoteTask[Any]) -> None:
        """Add a task that is not run here. Raises ContractError, ConfigurationError."""
        name = task.name
        if not NAME.fullmatch(name):
            raise errors.ContractError(name, None, f"{_NAME_RULE}; it is the owner's name")
        known = self._tasks.get(name) or self._by_alias.get(name) or self._remote.get(name)
        if known is not None and known.contract.id != task.contract.id:
            what = "remote task" if name in self._remote else "task of this app"
            reason = f"there is a {what} of that name, with another contract; keep one of them"
            raise errors.ContractError(name, None, reason)
        if known is not None and name not in self._remote:
            raise errors.ContractError(name, None, "this app has the task itself; enqueue that one")
        self._refuse_unknown_queues([task])
        self._remote[name] = task

    @property
    def remote(self) -> Mapping[str, RemoteTask[Any]]:
        """Return the remote tasks by name, read-only."""
        return MappingProxyType(self._remote)

    def find_sender(self, name: str) -> Task[..., Any] | RemoteTask[Any]:
        """Return the task of that name or alias, or the remote task. Raises UnknownTask."""
        return self._remote.get(name) or self.find(name)

    def find(self, name: str) -> Task[..., Any]:
        """Return the task of that name or alias, which is run here. Raises UnknownTask."""
        task = self._tasks.get(name) or self._by_alias.get(name)
        if task is None:
            raise errors.UnknownTask(name, list(self._tasks))
        return task

    def set_queues(self, names: tuple[str, ...]) -> None:
        """Set the app's queues. Raises ConfigurationError for tasks that name another one."""
        self._refuse_unknown_queues([*self._tasks.values(), *self._remote.values()], names)
        self.queue_names = names

    def _refuse_unknown_queues(
        self,
        tasks: Iterable[Task[..., Any] | RemoteTask[Any]],
        names: tuple[str, ...] | None = None,
    ) -> None:
        names = names or self.queue_names or ()
        unknown = [t for t in tasks if names and t.queue is not None and t.queue not in names]
        if unknown:
            has = f"this app has: {', '.join(names)}"
            raise errors.ConfigurationError(
                [f"task {t.name!r} names the queue {t.queue!r}; {has}" for t in unknown]
            )

    # --- cron --------------------------------------------------------------------------------

    def add_cron_entry(
        self, expression: str, call: Call, name: str | None, tz: str, catch_up: CatchUp
    ) -> None:
        """Check and add an entry. Raises ConfigurationError, InvalidOptions, UnknownTask."""
        untyped = cast("object", call)
        if not isinstance(untyped, Call):  # callers without a type checker
            reason = f"cron takes a call, such as my_task.call(1), not {untyped!r}"
            raise errors.ConfigurationError([reason])
        if call.task in self._remote:
            reason = f"{call.task!r} is a remote task; declare the entry in the app that owns it"
            raise errors.ConfigurationError([f"cron {name or call.task!r}: {reason}"])
        if call.task not in self._tasks:
            raise errors.UnknownTask(call.task, list(self._tasks))
        reason = "a cron entry runs at its slots; leave it out"
        policy.refuse_options(call.task, call.options, reason, "delay", "eta", "unique")
        if call.options.expires_at_ms is not None:
            reason = "a cron entry runs again and again; give seconds, which count from each slot"
            raise errors.InvalidOptions(call.task, "expires", reason)
        chosen, problems = call.task if name is None else name, list[str]()
        if not NAME.fullmatch(str(chosen)):
            problems.append(_NAME_RULE)
        try:
            entry = CronEntry(chosen, Cron(expression, tz, catch_up), call)
            # A module that is imported twice declares the same entry again.
            if self._entries.get(chosen, entry) != entry and chosen not in self._replaceable:
                problems.append("the name is taken by another entry; give one with name=")
            elif not problems:
                self._entries[chosen] = entry
                _warn(entry)
                self._replaceable.discard(chosen)
        except errors.ConfigurationError as error:
            problems += error.problems
        if problems:
            raise errors.ConfigurationError([f"cron {chosen!r}: {problem}" for problem in problems])

    def schedules(self) -> dict[str, Schedule]:
        """Return the schedule of each entry, by name."""
        return {
            name: Schedule(entry.cron.expression, entry.cron.tz, entry.call.task)
            for name, entry in self._entries.items()
        }


def _warn(entry: CronEntry) -> None:
    """Warn at the line that calls `app.cron`."""
    for ambiguity in entry.cron.ambiguities:
        text = f"cron {entry.name!r}: {entry.cron.expression!r}: {ambiguity}"
        warnings.warn(text, stacklevel=4)
