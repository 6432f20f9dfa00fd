"""Declare tasks and queues, without any I/O, and send calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar, cast, overload

from typedq.contracts import Json, contract_of
from typedq.declarations import Declarations
from typedq.errors import AppNotFound, ConfigurationError, TypedQError
from typedq.message_methods import MessageMethods
from typedq.middleware import E, H, M
from typedq.policy import CatchUp, Context, Queue, Retry, parse_queues
from typedq.producer import Producer
from typedq.remote import RemoteTask, remote_contract
from typedq.task import Call, Decorator, P, R, Receipt, Task

T = TypeVar("T")
if TYPE_CHECKING:
    from typedq.broker import Broker
    from typedq.broker.credentials import Credentials
    from typedq.settings import Durability, Settings
    from typedq.testing import TestQueue


class TypedQ(MessageMethods):
    """An app: a namespace with its queues and tasks. Settings are resolved at first use.

    Arguments left out come from `TYPEDQ_*` in the environment, then `[tool.typedq]` in the nearest
    pyproject.toml, then the defaults. Lengths of time are seconds or timedelta.

    namespace: prefix of every key
    url: of Redis or Valkey; if there is none anywhere, an embedded server of the project is started
    credentials: returns (user name, password) at each connect: a function, sync or async, or a
        `CredentialProvider` of redis-py
    queues: names or `Queue`s in strict priority, the first is served first (default: "default")
    default_queue: a queue's name (default: the last one)
    imports: names of the modules that define tasks
    durability: where a message is when `enqueue` returns, "memory", "replica" or "fsync"
    start_timeout: how long a child process may take to start before `typedq health` calls it stuck
    metrics_port: where a worker serves /livez, /readyz and /metrics (default: nowhere), at the
        address metrics_host (default: all of IPv4)
    max_mem_percent: 1 to 100; max_body: bytes; max_depth: levels of nesting
    Raises ConfigurationError for invalid queues; other settings are checked at first use.
    """

    def __init__(
        self,
        namespace: str,
        *,
        url: str | None = None,
        credentials: Credentials | None = None,
        queues: Sequence[str | Queue] | None = None,
        default_queue: str | None = None,
        imports: Sequence[str] | None = None,
        soft_timeout: float | timedelta | None = None,
        hard_timeout: float | timedelta | None = None,
        max_mem_percent: float | None = None,
        max_child_mem_mb: float | None = None,
        max_tasks_per_child: int | None = None,
        max_body: int | None = None,
        max_depth: int | None = None,
        lease: float | timedelta | None = None,
        enqueue_deadline: float | timedelta | None = None,
        durability: Durability | None = None,
        concurrency: int | None = None,
        async_concurrency: int | None = None,
        grace: float | timedelta | None = None,
        start_timeout: float | timedelta | None = None,
        metrics_port: int | None = None,
        metrics_host: str | None = None,
        parked_max_age: float | timedelta | None = None,
        dead_max_age: float | timedelta | None = None,
        dead_max_count: int | None = None,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name != "self"}
        names: tuple[str, ...] | None = None
        if queues is not None:
            try:
                names = tuple(queue.name for queue in parse_queues(queues))
            except ValueError as error:
                raise ConfigurationError([f"queues (argument): {error}"]) from None
        self.declarations = Declarations(names)
        self._producer = Producer(self.declarations, arguments)

    # --- declaring ---------------------------------------------------------------------------

    @overload
    def task(self, fn: Callable[Concatenate[Context, P], R], /) -> Task[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        queue: str | None = None,
        retry: Retry | None = None,
        soft_timeout: float | timedelta | None = None,
        hard_timeout: float | timedelta | None = None,
    ) -> Decorator: ...
    def task(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        queue: str | None = None,
        retry: Retry | None = None,
        soft_timeout: float | timedelta | None = None,
        hard_timeout: float | timedelta | None = None,
    ) -> Any:
        """Make a function a task. Its name is `name`, or the name of the function.

        aliases: former names; the task still runs their messages
        retry: None makes a message a dead letter after its first failure
        timeouts: None uses those of the queue or app
        Raises ContractError, ConfigurationError.
        """

        def declare(fn: Callable[..., Any]) -> Task[..., Any]:
            chosen = name or str(getattr(fn, "__name__", type(fn).__name__))
            self.declarations.check_names(chosen, aliases, fn)
            task = Task[..., Any](
                fn,
                contract_of(fn, task=chosen, context=Context),
                self._producer,
                aliases=tuple(aliases),
                queue=queue,
                retry=retry,
                timeouts=(soft_timeout, hard_timeout),
            )
            self.declarations.add_task(task)
            return task

        return declare if fn is None else declare(fn)

    @overload
    def remote(
        self,
        name: str,
        /,
        *,
        contract: type[T],
        schema: Mapping[str, Any] | None = None,
        queue: str | None = None,
    ) -> RemoteTask[[T]]: ...
    @overload
    def remote(
        self, name: str, /, *, contract: Mapping[str, Any], queue: str | None = None
    ) -> RemoteTask[[Json]]: ...
    @overload
    def remote(
        self,
        name: str,
        /,
        *,
        contract: Callable[P, Any],
        schema: Mapping[str, Any] | None = None,
        queue: str | None = None,
    ) -> RemoteTask[P]: ...
    def remote(
        self,
        name: str,
        /,
        *,
        contract: Any,
        schema: Mapping[str, Any] | None = None,
        queue: str | None = None,
    ) -> Any:
        """Return a sender for a task that other workers of this namespace run.

        contract: the type of the payload, a function with the parameters of the task (which is
            never called), or its JSON Schema, for calls with JSON values
        schema: the owner's JSON Schema, if `contract` is narrower: the contract id is that of the
            schema, which must read all that `contract` writes
        queue: where its messages go (default: the app's default queue)
        A worker with this app parks its messages. Raises ContractError, ConfigurationError.
        """
        made = remote_contract(name, contract, schema)
        task = RemoteTask[Any](made, self._producer, queue=queue)
        self.declarations.add_remote(task)
        return task

    def cron(
        self,
        expression: str,
        call: Call,
        *,
        name: str | None = None,
        tz: str = "UTC",
        catch_up: CatchUp = "skip",
    ) -> None:
        """Enqueue `call` at every slot, once for any number of workers; `ctx.due` is the slot.

        expression: minute, hour, day, month, weekday and, if there is a sixth, second; or @daily
        name: identifies the entry when its call or expression changes (default: the task's)
        catch_up: slots more than 60 s late are dropped ("skip"), or run once for all ("once")
        The first slot is after the moment when a worker first loads the entry. Raises
        ConfigurationError with every problem, InvalidOptions, UnknownTask.
        """
        self.declarations.add_cron_entry(expression, call, name, tz, catch_up)

    def middleware(self, fn: M, /) -> M:
        """Wrap every attempt of every task: a generator of the context that yields once.

        It may be async; both kinds wrap sync and coroutine tasks alike. The task's exception is
        raised at the yield; if a middleware does not raise it again, it counts as handled. A soft
        timeout never interrupts it. Raises ConfigurationError.
        """
        return self.declarations.hooks.middleware(fn)

    def on_enqueue(self, fn: E, /) -> E:
        """Wrap every enqueue: a generator of the `EnqueueContext` that yields once.

        It runs once for one call, a broadcast, or all the calls of `enqueue_many`. It can add
        metadata before the yield. The error of an enqueue that failed is raised at the yield; a
        hook cannot handle it. It may be async, for sync and async enqueues alike. An enqueue inside
        a hook runs no hooks, and neither does a slot of a cron entry. Raises ConfigurationError.
        """
        return self.declarations.hooks.on_enqueue(fn)

    def on_process_start(self, fn: H, /) -> H:
        """Run in every child before its first task; may be async. If it fails, the child ends.

        Tasks start from the context variables and the process state that these hooks leave.
        Raises ConfigurationError if it is no function.
        """
        return self.declarations.hooks.on_process_start(fn)

    def on_process_stop(self, fn: H, /) -> H:
        """Run in every child that ends normally, after its last task; may be async."""
        return self.declarations.hooks.on_process_stop(fn)

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """Return the tasks by name, read-only."""
        return self.declarations.tasks

    def load(self) -> None:
        """Import the modules of `imports`. Raises AppNotFound, ContractError."""
        for module in self.settings.imports:
            try:
                import_module(module)
            except TypedQError:
                raise
            except Exception as error:
                raise AppNotFound(module, f"{type(error).__name__}: {error}") from error

    # --- sending -----------------------------------------------------------------------------

    def enqueue_many(self, calls: Iterable[Call], chunk: int = 1000) -> list[Receipt]:
        """Send calls in chunks, each all or nothing. A chunk has at most about 4 MiB.

        Raises InvalidArguments or InvalidOptions before anything is sent, the plain ServerError if
        the first chunk fails, else EnqueueFailed: ids are in the order of the calls. TypeError for
        what is no call, such as a task.
        """
        return self._producer.enqueue_many(calls, chunk)

    async def aenqueue_many(self, calls: Iterable[Call], chunk: int = 1000) -> list[Receipt]:
        """Do as `enqueue_many`, without blocking the event loop."""
        return await self._producer.aenqueue_many(calls, chunk)

    def testing(self) -> AbstractContextManager[TestQueue]:
        """`with app.testing() as outbox:` captures calls instead of sending them to a server.

        Raises RuntimeError inside another `testing()` of this app.
        """
        from typedq.testing.capture import Capture, NoServer
        from typedq.testing.queue import TestQueue

        outbox = TestQueue(self.declarations.hooks, self.declarations.find, lambda: self.settings)
        captured = self._producer.captured(cast("Broker", NoServer(outbox)), outbox.capture, outbox)
        return Capture(outbox, captured)

    @property
    def settings(self) -> Settings:
        """Return all settings, resolved at first use. Raises ConfigurationError."""
        return self._producer.settings

    @property
    def broker(self) -> Broker:
        """Return the client of the server, made at first use. Raises ConfigurationError."""
        return self._producer.broker

    def close(self) -> None:
        """Close the connections of sync calls; the next call opens them again."""
        self._producer.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, as a web app does at shutdown."""
        await self._producer.aclose()
