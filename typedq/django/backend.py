"""A backend for Django's Tasks framework: its tasks get contracts, and run in typedq's workers."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, final

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from typedq.django.application import app
from typedq.django.tasks_framework import (
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)
from typedq.errors import TypedQError, meant
from typedq.policy import Context

_OPTIONS = ("retry", "soft_timeout", "hard_timeout")


@final
class TypedQBackend(BaseTaskBackend):
    """`TASKS = {"default": {"BACKEND": "typedq.django.backend.TypedQBackend"}}`.

    QUEUES: those of the app, if not given; OPTIONS: retry, soft_timeout and hard_timeout of tasks
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = False  # typedq keeps nothing of a message that is done
    supports_priority = False  # queues have one
    _declared: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        """Raise ImproperlyConfigured for queues and options that typedq does not have."""
        super().__init__(alias, params)
        known = app.declarations.queue_names or tuple(q.name for q in app.settings.queues)
        self.queues = set(params.get("QUEUES") or known)
        problems = [
            f"no queue named {name!r}{meant(name, known)}" for name in self.queues - {*known}
        ]
        problems += [
            f"no option named {name!r}{meant(name, _OPTIONS)}"
            for name in self.options
            if name not in _OPTIONS
        ]
        if problems:
            raise ImproperlyConfigured(f"TASKS[{alias!r}]: {'; '.join(problems)}")

    def validate_task(self, task: Task[..., Any]) -> None:
        """Give the function a contract, once. Raises InvalidTask with the reason."""
        super().validate_task(task)
        name = task.module_path
        if self._declared.get(name) is task.func:
            return
        try:
            app.task(name=name, **self.options)(self._attempted(task))
        except (TypedQError, NameError, TypeError, ValueError) as error:
            raise InvalidTask(str(error)) from error
        self._declared[name] = task.func

    def enqueue(
        self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[Any, Any]:
        """Raise InvalidArguments if the contract refuses them, ServerError."""
        self.validate_task(task)
        receipt = self._sender(task).enqueue(*args, **kwargs)
        result = self._result(task, receipt.id, args, kwargs)
        task_enqueued.send(type(self), task_result=result)
        return result

    async def aenqueue(
        self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[Any, Any]:
        """Do as `enqueue`, without blocking the event loop."""
        self.validate_task(task)
        receipt = await self._sender(task).aenqueue(*args, **kwargs)
        result = self._result(task, receipt.id, args, kwargs)
        await task_enqueued.asend(type(self), task_result=result)
        return result

    def _sender(self, task: Task[..., Any]) -> Any:
        due = task.run_after
        later = {} if due is None else {"eta": due if due.tzinfo else timezone.make_aware(due)}
        sender: Any = app.tasks[task.module_path]
        return sender.options(queue=task.queue_name, **later)

    def _result(
        self, task: Task[..., Any], id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[..., Any]:
        plain_args, plain_kwargs = msgspec.to_builtins(
            ([*args], {**kwargs}), str_keys=True, enc_hook=str
        )
        return TaskResult(
            task=task,
            id=id,
            status=TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=list(plain_args),
            kwargs=plain_kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )

    def _attempted(self, task: Task[..., Any]) -> Callable[..., Any]:
        """Return the function that a worker runs: with Django's context and signals."""
        fn, first = task.func, task.takes_context

        @functools.wraps(fn)
        def run(ctx: Context, /, *args: Any, **kwargs: Any) -> Any:
            with self._attempt(task, ctx, args, kwargs) as context:
                return fn(*[context] * first, *args, **kwargs)

        @functools.wraps(fn)
        async def run_async(ctx: Context, /, *args: Any, **kwargs: Any) -> Any:
            with self._attempt(task, ctx, args, kwargs) as context:
                return await fn(*[context] * first, *args, **kwargs)

        chosen: Any = run_async if inspect.iscoroutinefunction(fn) else run
        chosen.__signature__ = _signature(fn, first=first)
        return chosen  # type: ignore[no-any-return]

    @contextmanager
    def _attempt(
        self, task: Task[..., Any], ctx: Context, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Generator[TaskContext[..., Any]]:
        result, now = self._result(task, ctx.id, args, kwargs), timezone.now()
        result.worker_ids.extend(["typedq"] * ctx.attempt)  # its length is the attempt
        _change(
            result,
            status=TaskResultStatus.RUNNING,
            enqueued_at=ctx.enqueued_at,
            started_at=now,
            last_attempted_at=now,
        )
        task_started.send(type(self), task_result=result)
        try:
            yield TaskContext(task_result=result)
        except Exception as error:
            if not ctx.will_retry(error):
                kind = type(error)
                path = f"{kind.__module__}.{kind.__qualname__}"
                text = "".join(traceback.format_exception(error))
                result.errors.append(TaskError(exception_class_path=path, traceback=text))
                self._finish(result, TaskResultStatus.FAILED)
            raise
        self._finish(result, TaskResultStatus.SUCCESSFUL)

    def _finish(self, result: TaskResult[..., Any], status: TaskResultStatus) -> None:
        _change(result, status=status, finished_at=timezone.now())
        task_finished.send(type(self), task_result=result)


def _change(result: TaskResult[..., Any], **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(result, name, value)  # it is frozen; Django's backends do so too


def _signature(fn: Callable[..., Any], *, first: bool) -> inspect.Signature:
    """Return the parameters of `fn` with typedq's context before them, annotations resolved.

    first: whether `fn` takes Django's context first. Raises NameError for an unknown type.
    """
    ours = inspect.Parameter(
        "typedq_context", inspect.Parameter.POSITIONAL_ONLY, annotation=Context
    )
    names: dict[str, Any] = getattr(fn, "__globals__", {})
    taken = [
        each.replace(annotation=eval(each.annotation, names))  # noqa: S307 - as get_type_hints
        if isinstance(each.annotation, str)
        else each
        for each in [*inspect.signature(fn).parameters.values()][int(first) :]
    ]
    return inspect.Signature([ours, *taken])
