"""Every error typedq raises, grouped by who must act.

One root, `TypedQError`. Evidence is kept in fields, so that a caller never has to parse a message;
the message says what happened and what to do.
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
    """Arguments that the task's contract refuses. Raised by `call` and `enqueue`; nothing was sent.

    Fields: `task` (name), `path` (JSON path such as `$.to`, `$` for the whole), `reason`.
    """

    def __init__(self, task: str, path: str, reason: str) -> None:
        self.task, self.path, self.reason = task, path, reason
        super().__init__(f"{task}: {reason} - at {path}")


class InvalidOptions(TypedQError):
    """An option of a call (queue, delay, eta, timeout) that cannot be honoured; nothing was sent.

    Fields: `task` (name), `option` (name), `reason`.
    """

    def __init__(self, task: str, option: str, reason: str) -> None:
        self.task, self.option, self.reason = task, option, reason
        super().__init__(f"{task}: option {option!r}: {reason}")


class UnknownTask(TypedQError):
    """No task of that name in the app. Fields: `task`, `known` (names)."""

    def __init__(self, task: str, known: Sequence[str]) -> None:
        self.task, self.known = task, tuple(known)
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"no task named {task!r}; this app has: {names}")


# --- who configures and deploys -----------------------------------------------------------------


class ConfigurationError(TypedQError):
    """Settings that cannot work; all problems at once. Field: `problems`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(["the configuration cannot work:", *map("  - {}".format, problems)])
        )


class AppNotFound(TypedQError):
    """The app given as `module:attr` cannot be loaded. Fields: `path`, `reason`."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"cannot load the app {path!r}: {reason}")


# --- who runs the server ------------------------------------------------------------------------


class ServerError(TypedQError):
    """Root of what goes wrong between this process and Redis or Valkey. Field: `url` (redacted)."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url}: {reason}")


class ServerUnavailable(ServerError):
    """The server could not be reached; nothing was accepted."""


class ServerRefused(ServerError):
    """The server answered no (password, memory, version, permission); nothing was accepted."""


class EnqueueUncertain(ServerError):
    """Not known to be safe by the deadline: the messages may or may not be run.

    Fields: `ids`; `lacking`: "replica" or "fsync" if the server took them into its memory, and that
    is what did not confirm them, else "": there was no answer. Sending again may run them twice;
    tasks can tell by `ctx.id`.
    """

    def __init__(self, url: str, ids: Sequence[str], deadline: float, lacking: str = "") -> None:
        self.ids, self.deadline, self.lacking = tuple(ids), deadline, lacking
        missing, fate = "answer", "may or may not have been accepted"
        if lacking:
            missing, fate = f"{lacking} confirmed", "are in the server's memory, and may be lost"
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

    Fields: `reason`; `is_object`, False for what is not even a JSON object.
    """

    def __init__(self, reason: str, *, is_object: bool = True) -> None:
        self.reason, self.is_object = reason, is_object
        super().__init__(reason)


# --- a message that cannot be run ---------------------------------------------------------------


class BadMessage(TypedQError):
    """Bytes that are not a message of this format. Field: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class InvalidBody(TypedQError):
    """A body that its contract refuses. Fields: `path` (JSON path), `reason`."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{reason} - at {path}")


# --- raised by, or inside, a task ---------------------------------------------------------------


class Reject(TypedQError):
    """Raise inside a task: bury this message at once, with this reason. Field: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class RetryIn(TypedQError):
    """Raise inside a task: run it again after this long (seconds or timedelta). Field: `seconds`.

    It is the task's own decision, so `Retry.max_retries` does not limit it. It counts as an
    attempt, though: a task that waits often needs a `max_retries` that allows for its waits.
    """

    def __init__(self, delay: float | timedelta) -> None:
        self.seconds = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if not 0 <= self.seconds < 10 * 365 * 86_400:
            raise ValueError(f"RetryIn takes 0 seconds to 10 years, not {self.seconds!r}")
        super().__init__(f"again in {self.seconds:g} s")


class SoftTimeout(BaseException):
    """The task ran longer than its soft timeout. Raised inside the task only.

    It derives from `BaseException`, so that `except Exception` in a task does not swallow it.
    """


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, for the text of an error."""
    from difflib import get_close_matches  # nobody pays for it before there is an error

    return next(iter(get_close_matches(str(word), list(known), 1)), None)


def meant(word: object, known: Iterable[str]) -> str:
    """A hint such as " (did you mean 'high'?)", or nothing."""
    near = nearest(word, known)
    return f" (did you mean {near!r}?)" if near else ""
