"""All errors that typedq raises, grouped by who must act.

The root is `TypedQError`. Fields hold the details, so callers need not parse messages. A message
says what happened and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta


class TypedQError(Exception):
    """Root of all errors that typedq raises."""


# --- the developer who declares or calls a task -------------------------------------------------


class ContractError(TypedQError):
    """A task's signature has no contract. Raised at import.

    Fields: `task` (name), `parameter` (name, or None for the task as a whole), `reason`.
    """

    def __init__(self, task: str, parameter: str | None, reason: str) -> None:
        self.task, self.parameter, self.reason = task, parameter, reason
        where = f"parameter {parameter!r}" if parameter else "its signature"
        super().__init__(f"task {task!r} has no contract: {where}: {reason}")


class InvalidArguments(TypedQError):
    """The task's contract refuses the arguments. Raised by `call` and `enqueue`; nothing was sent.

    Fields: `task` (name), `path` (JSON path such as `$.to`, `$` for the whole), `reason`.
    """

    def __init__(self, task: str, path: str, reason: str) -> None:
        self.task, self.path, self.reason = task, path, reason
        super().__init__(f"{task}: {reason} - at {path}")


class InvalidOptions(TypedQError):
    """An option of a call (queue, delay, eta, timeout) is not valid; nothing was sent.

    Fields: `task` (name), `option` (name), `reason`.
    """

    def __init__(self, task: str, option: str, reason: str) -> None:
        self.task, self.option, self.reason = task, option, reason
        super().__init__(f"{task}: option {option!r}: {reason}")


class UnknownTask(TypedQError):
    """The app has no task of that name. Fields: `task`, `known` (names)."""

    def __init__(self, task: str, known: Sequence[str]) -> None:
        self.task, self.known = task, tuple(known)
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"no task named {task!r}; this app has: {names}")


class InvalidId(TypedQError):
    """The id of a message is not valid, or that message cannot be treated so.

    Fields: `id`, `reason`.
    """

    def __init__(self, id: object, reason: str) -> None:
        self.id, self.reason = id, reason
        super().__init__(f"{id!r}: {reason}")


class SearchLimit(TypedQError):
    """A message was not found among so many that the search gave up. Fields: `id`, `limit`."""

    def __init__(self, id: str, limit: int) -> None:
        self.id, self.limit = id, limit
        super().__init__(
            f"{id} is not among the first {limit:,} waiting messages, and more wait;"
            " give a higher limit to look at them too"
        )


# --- who configures and deploys -----------------------------------------------------------------


class ConfigurationError(TypedQError):
    """Settings or declarations are not valid; all problems at once. Field: `problems`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(["the configuration is invalid:", *map("  - {}".format, problems)])
        )


class AppNotFound(TypedQError):
    """The app given as `module:attr` cannot be loaded. Fields: `path`, `reason`."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"cannot load the app {path!r}: {reason}")


class InvalidBundle(TypedQError):
    """A file is not a bundle, or pins, that this version reads. Fields: `where`, `reason`."""

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(f"{where}: {reason}")


class CannotGenerate(TypedQError):
    """A bundle has contracts that another language cannot express or check; nothing was written.

    Fields: `language`, `problems` (task, JSON path, reason).
    """

    def __init__(self, language: str, problems: Iterable[tuple[str, str, str]]) -> None:
        self.language, self.problems = language, tuple(problems)
        lines = "\n".join(f"  {task}: {path}: {reason}" for task, path, reason in self.problems)
        super().__init__(f"{language} cannot say or check these parts of the contracts:\n{lines}")


# --- who runs the server ------------------------------------------------------------------------


class ServerError(TypedQError):
    """Root of the errors between this process and Redis or Valkey. Field: `url` (redacted)."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url}: {reason}")


class ServerUnavailable(ServerError):
    """The server could not be reached; nothing was accepted."""


class ServerRefused(ServerError):
    """The server refused (password, memory, version, permission); nothing was accepted."""


class EnqueueUncertain(ServerError):
    """The messages were not confirmed by the deadline; they may or may not run.

    Fields: `ids`; `unconfirmed`: "" if the server did not reply, or "replica" or "fsync" if it
    accepted them in memory but did not confirm that step. Sending them again may run them twice.
    """

    def __init__(
        self, url: str, ids: Sequence[str], deadline: float, unconfirmed: str = ""
    ) -> None:
        self.ids, self.deadline, self.unconfirmed = tuple(ids), deadline, unconfirmed
        missing, fate = "answer", "may or may not have been accepted"
        if unconfirmed:
            missing, fate = (
                f"{unconfirmed} confirmed",
                "are in the server's memory, and may be lost",
            )
        super().__init__(
            url,
            f"no {missing} within {deadline:g} s: {len(self.ids)} message(s) {fate}"
            f" (first id {self.ids[0] if self.ids else '-'}); sending again may run them twice",
        )


class EnqueueFailed(ServerError):
    """`enqueue_many` stopped between chunks. Fields: `accepted`, `uncertain`, `not_sent` (ids)."""

    def __init__(
        self,
        url: str,
        reason: str,
        *,
        accepted: Sequence[str],
        uncertain: Sequence[str],
        not_sent: Sequence[str],
    ) -> None:
        self.accepted, self.uncertain = tuple(accepted), tuple(uncertain)
        self.not_sent = tuple(not_sent)
        super().__init__(
            url,
            f"{reason}: {len(self.accepted)} accepted, {len(self.uncertain)} uncertain,"
            f" {len(self.not_sent)} not sent",
        )


class InvalidSchema(TypedQError):
    """A published document that is not a JSON Schema.

    Fields: `reason`; `is_object`, False if it is not a JSON object.
    """

    def __init__(self, reason: str, *, is_object: bool = True) -> None:
        self.reason, self.is_object = reason, is_object
        super().__init__(reason)


# --- a message that cannot be run ---------------------------------------------------------------


class BadMessage(TypedQError):
    """Bytes are not a message. Field: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class InvalidBody(TypedQError):
    """The contract refuses a message's body. Fields: `path` (JSON path), `reason`."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{reason} - at {path}")


# --- raised by, or inside, a task ---------------------------------------------------------------


class Reject(TypedQError):
    """Raise inside a task to make its message a dead letter, with this reason. Field: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class RetryIn(TypedQError):
    """Raise inside a task to run it again after this long (seconds or timedelta).

    Field: `seconds`. `Retry.max_retries` does not limit it, because the task itself decides. It
    counts as an attempt: a task that waits often needs a `max_retries` that allows for its waits.
    """

    def __init__(self, delay: float | timedelta) -> None:
        self.seconds = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if not 0 <= self.seconds < 10 * 365 * 86_400:
            raise ValueError(f"RetryIn takes 0 seconds to 10 years, not {self.seconds!r}")
        super().__init__(f"again in {self.seconds:g} s")


class SoftTimeout(BaseException):
    """The task ran longer than its soft timeout. Raised inside the task only.

    It derives from `BaseException`: `except Exception` in a task does not catch it.
    """


class Cancelled(BaseException):
    """The message was cancelled while its task ran. Raised inside the task only.

    It derives from `BaseException`, as `SoftTimeout` does. A message whose task raises it, or lets
    it pass, has ended as cancelled.
    """


def escape(text: str) -> str:
    """Return `text` with all unprintable characters (controls, line ends, bidi) escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Return the most similar known word, or None."""
    from difflib import get_close_matches  # imported only when there is an error

    return next(iter(get_close_matches(str(word), list(known), 1)), None)


def meant(word: object, known: Iterable[str]) -> str:
    """Return a hint such as " (did you mean 'high'?)", or an empty text."""
    near = nearest(word, known)
    return f" (did you mean {near!r}?)" if near else ""
