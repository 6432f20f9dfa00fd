"""The app: declares tasks and queues, without any I/O, and lets calls in."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, cast, overload

from typedq import errors
from typedq.contracts import contract_of
from typedq.hooks import Hooks
from typedq.policy import NAME, Context, Queue, Retry
from typedq.schedule import Schedule
from typedq.task import Call, Decorator, P, R, Receipt, Task, source_location

if TYPE_CHECKING:
    from typedq.batch import EncodedBatch, MessageEncoder
    from typedq.broker import Broker
    from typedq.outbox import Outbox
    from typedq.settings import Durability, Settings


class TypedQ(Hooks, Schedule):
    """An app: a namespace with its queues and tasks. Settings are resolved at first use.

    Arguments left out come from `TYPEDQ_*` in the environment, then `[tool.typedq]` in the nearest
    pyproject.toml, then the defaults. Lengths of time are seconds or timedelta.

    namespace: prefix of every key
    url: of Redis or Valkey; if there is none anywhere, a server of the project's own is started
    queues: in strict priority, first is served first (default: one queue, "default")
    default_queue: a queue's name (default: the last one)
    imports: names of the modules that define tasks
    durability: where a message is when `enqueue` returns, "memory", "replica" or "fsync"
    max_mem_percent: 1 to 100; max_body: bytes; max_depth: levels of nesting
    """

    def __init__(
        self,
        namespace: str,
        *,
        url: str | None = None,
        queues: Sequence[Queue] | None = None,
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
        parked_max_age: float | timedelta | None = None,
        dead_max_age: float | timedelta | None = None,
        dead_max_count: int | None = None,
    ) -> None:
        self._arguments = {name: given for name, given in locals().items() if name != "self"}
        self._lock = Lock()
        self._tasks: dict[str, Task[..., Any]] = {}
        self._by_alias: dict[str, Task[..., Any]] = {}
        self._sealer: MessageEncoder | None = None
        self._settings: Settings | None = None
        self._broker: Broker | None = None
        self._outbox: Outbox | None = None
        # For calls made before settings are known: both are counted again when they are sent.
        self.bounds = (_known(max_body, 1 << 62), _known(max_depth, 64))
        self.queues = tuple(queue.name for queue in queues) if queues else None
        self.tasks: Mapping[str, Task[..., Any]] = MappingProxyType(self._tasks)
        Hooks.__init__(self)
        Schedule.__init__(self, self.tasks)

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
        """Make a function a task; its name is the function's, unless `name` says otherwise.

        aliases: names it had before, whose messages it still takes
        retry: None buries after the first failure; timeouts: None leaves them to the queue or app
        Raises ContractError, ConfigurationError.
        """

        def declare(fn: Callable[..., Any]) -> Task[..., Any]:
            chosen = name or str(getattr(fn, "__name__", type(fn).__name__))
            for known_as in (chosen, *aliases):
                self._check_name(known_as, fn)
            task = Task[..., Any](
                fn,
                contract_of(fn, task=chosen, context=Context),
                self,
                aliases=tuple(aliases),
                queue=queue,
                retry=retry,
                timeouts=(soft_timeout, hard_timeout),
            )
            _refuse_strays([task], self.queues)
            self._tasks[chosen] = task
            self._by_alias.update(dict.fromkeys(aliases, task))
            self._sealer = None
            return task

        return declare if fn is None else declare(fn)

    def _check_name(self, name: str, fn: Callable[..., Any]) -> None:
        if not NAME.fullmatch(name):
            rule = "a name is 1 to 64 of a-z 0-9 _ . -, beginning with a letter or digit"
            raise errors.ContractError(name, None, f"{rule}; give one with name=")
        other = self._tasks.get(name) or self._by_alias.get(name)
        if other is not None and other.place != source_location(fn):
            reason = f"the name is taken by the one at {other.place}; give another with name="
            raise errors.ContractError(name, None, reason)

    def find(self, name: str) -> Task[..., Any]:
        """Return the task of that name or alias. Raises UnknownTask."""
        task = self._tasks.get(name) or self._by_alias.get(name)
        if task is None:
            raise errors.UnknownTask(name, list(self._tasks))
        return task

    def load(self) -> None:
        """Import the modules of `imports`. Raises AppNotFound, ContractError."""
        for module in self.settings.imports:
            try:
                import_module(module)
            except errors.TypedQError:
                raise
            except Exception as error:
                raise errors.AppNotFound(module, f"{type(error).__name__}: {error}") from error

    @property
    def settings(self) -> Settings:
        """Raises ConfigurationError with every problem."""
        if self._settings is None:
            from typedq.settings import resolve

            settings = resolve(self._arguments)
            names = tuple(queue.name for queue in settings.queues)
            _refuse_strays(self._tasks.values(), names)
            self.queues, self.bounds = names, (settings.max_body, settings.max_depth)
            self._settings = settings  # last: other threads take the rest for granted
        return self._settings

    def limits(self) -> tuple[int, int]:
        """Bytes and levels of nesting that a body may have; `bounds` without resolving settings."""
        settings = self.settings
        return settings.max_body, settings.max_depth

    @contextmanager
    def testing(self) -> Generator[Outbox]:
        """`with app.testing() as outbox:` captures calls instead of sending them to a server.

        Raises RuntimeError where it is on already.
        """
        from typedq.outbox import NoServer, Outbox

        if self._outbox is not None:
            raise RuntimeError("app.testing() is on already: use the outbox of the outer `with`")
        before = self._arguments, self._settings, self._broker, self.queues, self.bounds
        # Whatever URL is configured, right or wrong, does not matter here.
        self._arguments = {**self._arguments, "url": "redis://testing"}
        self._broker = cast("Broker", NoServer())
        self._outbox = outbox = Outbox(self, self.find, lambda: self.settings)
        try:
            yield outbox
        finally:
            outbox.closed, self._outbox = True, None
            self._arguments, self._settings, self._broker, self.queues, self.bounds = before

    @property
    def broker(self) -> Broker:
        """The connection, made at first use. Raises ConfigurationError."""
        return self._broker or self._connect()

    def _connect(self) -> Broker:
        from typedq.broker import Broker

        with self._lock:
            if self._broker is None:
                settings, url = self.settings, self.settings.url
                if url is None or url.startswith("embedded:"):
                    from typedq.embedded import ensure

                    url = ensure(settings.namespace)
                name, deadline = settings.namespace, settings.enqueue_deadline
                self._broker = Broker(url, name, deadline=deadline, durability=settings.durability)
            return self._broker

    async def _aconnect(self) -> Broker:
        import asyncio

        # Starting a server of one's own takes time, so it must not hold the loop.
        return await asyncio.to_thread(self._connect) if self._broker is None else self._broker

    def close(self) -> None:
        """Close the connections of sync calls; the next call opens them again."""
        if self._broker is not None:
            self._broker.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, as at the end of a web app's life."""
        if self._broker is not None:
            await self._broker.aclose()

    def enqueue_many(self, calls: Iterable[Call], chunk: int = 1000) -> list[Receipt]:
        """Send calls in chunks, each all or nothing; `chunk` is also bounded by about 4 MiB.

        Raises InvalidArguments or InvalidOptions before anything is sent, the plain ServerError if
        the first chunk fails, else EnqueueFailed: ids are in the order of the calls.
        """
        from typedq.batch import accounting, chunks

        sealed = self._pack(list(calls))
        for start, end in chunks(sealed.batch, chunk):
            with accounting(sealed.batch, start, end):
                self.broker.enqueue(sealed.batch[start:end], self._document)
        return sealed.receipts()

    async def aenqueue_many(self, calls: Iterable[Call], chunk: int = 1000) -> list[Receipt]:
        """As `enqueue_many`."""
        from typedq.batch import accounting, chunks

        broker = await self._aconnect()
        sealed = self._pack(list(calls))
        for start, end in chunks(sealed.batch, chunk):
            with accounting(sealed.batch, start, end):
                await broker.aenqueue(sealed.batch[start:end], self._document)
        return sealed.receipts()

    def send(self, calls: Sequence[Call], /) -> list[Receipt]:
        """Send calls, all or nothing. Raises InvalidArguments, InvalidOptions, ServerError."""
        sealed = self._pack(calls)
        self.broker.enqueue(sealed.batch, self._document)
        return sealed.receipts()

    async def asend(self, calls: Sequence[Call], /) -> list[Receipt]:
        broker = await self._aconnect()
        sealed = self._pack(calls)
        await broker.aenqueue(sealed.batch, self._document)
        return sealed.receipts()

    def _pack(self, calls: Sequence[Call]) -> EncodedBatch:
        settings, sealer = self.settings, self._sealer
        if sealer is None or sealer.settings is not settings:
            from typedq.batch import MessageEncoder

            sealer = self._sealer = MessageEncoder(self.find, settings)
        sealed = sealer.encode_message(calls)
        if self._outbox is not None:
            self._outbox.take(calls, sealed.batch)
        return sealed

    def _document(self, contract: str) -> bytes:
        return self.find(contract.partition("@")[0]).contract.schema_json()


def _known(bound: object, otherwise: int) -> int:
    return bound if type(bound) is int and bound > 0 else otherwise  # settings judge the rest


def _refuse_strays(tasks: Iterable[Task[..., Any]], queues: Sequence[str] | None) -> None:
    strays = [t for t in tasks if queues and t.queue is not None and t.queue not in queues]
    if strays:
        has = f"this app has: {', '.join(queues or ())}"
        raise errors.ConfigurationError(
            [f"task {t.name!r} names the queue {t.queue!r}; {has}" for t in strays]
        )
