"""Tasks: functions that can also be enqueued.

A task sends its calls through an `Enqueuer`, so this module imports neither app nor worker.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    NamedTuple,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    overload,
)

import msgspec
from msgspec import structs

from typedq import policy
from typedq.contracts import Contract, contract_of, mask
from typedq.errors import ConfigurationError, ContractError
from typedq.message import BROADCAST, new_ids
from typedq.policy import NO_OPTIONS, CallOptions, Context, Options, Retry

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Old = ParamSpec("Old")


class Call(msgspec.Struct, frozen=True, gc=False):
    """A task's name, encoded arguments, options and metadata, not sent yet; equal if all are."""

    task: str
    body: bytes
    options: CallOptions = NO_OPTIONS
    meta: bytes = b""  # apart from the options, because it may be unique to the message

    def __repr__(self) -> str:
        # A repr ends up in logs, and arguments may be secret or long.
        return f"<Call of {self.task}, {len(self.body)} bytes>"


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """An accepted message. `due`: aware UTC datetime, by this machine's clock.

    duplicate: nothing was accepted, because the message `id` holds the unique key of the call
    """

    id: str
    task: str
    queue: str
    due: datetime
    duplicate: bool = False


_NOW = "{0}.enqueue(...) sends one message"
_WITH = "{0}.options(delay=60).enqueue(...) sends one message with options"
_LATER = "{0}.call(...) is a call to be sent later, as by app.enqueue_many"
# What other queues name the methods of a task.
_ELSEWHERE: Final = {
    **dict.fromkeys(("delay", "send", "kiq", "defer"), _NOW),
    **dict.fromkeys(("apply_async", "send_with_options"), _WITH),
    **dict.fromkeys(("s", "si", "signature", "message"), _LATER),
}


class Enqueuer(Protocol):
    """The interface of the app that a task uses."""

    @property
    def queue_names(self) -> Collection[str] | None:
        """Return the names of the app's queues, or None before settings are resolved."""
        ...

    @property
    def known_limits(self) -> tuple[int, int]:
        """Return the limits of a body, as far as known: bytes and levels of nesting.

        `enqueue` holds every call to the limits of the settings.
        """
        ...

    def enqueue(self, call: Call, /) -> Receipt: ...

    async def aenqueue(self, call: Call, /) -> Receipt: ...


@dataclass(frozen=True, eq=False, repr=False)
class Sender(Generic[P]):
    """A task with options for its calls."""

    contract: Contract
    _enqueuer: Enqueuer
    _options: CallOptions = NO_OPTIONS
    _meta: bytes = b""

    @property
    def name(self) -> str:
        """Return the name of the task."""
        return self.contract.task

    def __dir__(self) -> list[str]:
        """Return the names of attributes, by which a mock made from a task knows what it has."""
        return [name for name in super().__dir__() if name not in _ELSEWHERE]

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Check the arguments and return a call to be sent later. Raises InvalidArguments."""
        contract, (max_body, max_depth) = self.contract, self._enqueuer.known_limits
        body = contract.encode(args, kwargs, max_body, max_depth)
        return Call(contract.task, body, self._options, self._meta)

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Send one message. Raises InvalidArguments, InvalidOptions, ServerError."""
        return self._enqueuer.enqueue(self.call(*args, **kwargs))

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Send one message. Raises InvalidArguments, InvalidOptions, ServerError."""
        return await self._enqueuer.aenqueue(self.call(*args, **kwargs))

    def broadcast(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Run the task once on every worker (`typedq worker`) that is running now.

        A worker runs a broadcast at most once and before the messages of its queues. A worker that
        was disconnected for less than an hour still gets it. Retries and crashes are handled as for
        any message. Broadcasts that a worker has not run when it exits are dropped; a worker that
        cannot read one logs it.
        Raises InvalidArguments, ServerError, and InvalidOptions for options other than time limits
        and metadata.
        """
        return self._enqueuer.enqueue(self._to_all(self.call(*args, **kwargs)))

    async def abroadcast(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Do as `broadcast`, without blocking the event loop."""
        return await self._enqueuer.aenqueue(self._to_all(self.call(*args, **kwargs)))

    def _to_all(self, call: Call) -> Call:
        reason = "a broadcast goes to every worker, at once; leave it out"
        refused: tuple[Any, ...] = ("delay", "eta", "queue", "unique", "expires")
        policy.refuse_options(self.contract.task, self._options, reason, *refused)
        return structs.replace(call, options=structs.replace(self._options, queue=BROADCAST))

    def _with(self, options: Options) -> Sender[P]:
        name, given, meta = self.contract.task, options.get("meta"), b""
        if given is not None:
            meta = policy.encode_meta(name, given)
            if len(options) == 1:
                return Sender(self.contract, self._enqueuer, NO_OPTIONS, meta)
        now, queues = datetime.now(UTC), self._enqueuer.queue_names
        checked = policy.check_options(name, options, now=now, queues=queues)
        return Sender(self.contract, self._enqueuer, checked, meta)


class _Elsewhere:
    """What other queues name a method of a task; asking for it says what it is here.

    A `__getattr__` would say it too, but slow down every access to an attribute of a task.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text

    def __get__(self, task: Sender[...] | None, _: type) -> NoReturn:
        shown = self._text.format("task" if task is None else task.name)
        raise AttributeError(f"a task has no {self._name}: {shown}")


for _name, _text in _ELSEWHERE.items():  # type checkers refuse them by themselves
    setattr(Sender, _name, _Elsewhere(_name, _text))


class Upcaster(NamedTuple):
    """A function that makes a call of the current task from a payload of an older contract."""

    contract: Contract
    fn: Callable[..., Call]


class Task(Sender[P], Generic[P, R_co]):
    """A function with a contract. Calling it runs it at once, in this process.

    aliases: former names; upcasters: for older contracts
    queue: its name, or None for the app's default
    retry: None makes the message a dead letter after the first failure
    soft_timeout, hard_timeout: seconds, or None for the queue's or the app's
    """

    def __init__(
        self,
        fn: Callable[..., R_co],
        contract: Contract,
        enqueuer: Enqueuer,
        *,
        aliases: tuple[str, ...] = (),
        queue: str | None = None,
        retry: Retry | None = None,
        timeouts: tuple[float | timedelta | None, float | timedelta | None] = (None, None),
    ) -> None:
        super().__init__(contract, enqueuer)
        try:
            self.soft_timeout, self.hard_timeout = policy.timeouts(*timeouts)
        except ValueError as error:
            raise ConfigurationError([f"task {contract.task!r}: {error}"]) from None
        if type(retry) not in (Retry, type(None)):
            what = f"retry takes a Retry, such as Retry(max_retries=3), not {retry!r}"
            raise ConfigurationError([f"task {contract.task!r}: {what}"])
        self.fn: Final = fn
        self.aliases: Final = aliases
        self.upcasters: Final = list[Upcaster]()
        self.queue: Final = queue
        self.retry: Final = retry
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        if self.contract.takes_context:
            return self.fn(self._local_context(), *args, **kwargs)
        return self.fn(*args, **kwargs)

    def options(self, **options: Unpack[Options]) -> Sender[P]:
        """Return a sender whose calls have these options. Raises InvalidOptions."""
        return self._with(options)

    def upcast(self, fn: Callable[Old, Call], /) -> Callable[Old, Call]:
        """Read messages of an older contract: `fn` takes the old payload and returns a new call.

        The old contract is that of the signature of `fn`. Raises ContractError.
        """
        contract = contract_of(fn, task=self.name, context=Context)
        if contract.is_async or contract.takes_context:
            reason = "an upcaster is a plain function of the old payload, without a context"
            raise ContractError(self.name, None, reason)
        if contract.fingerprint == self.contract.fingerprint:
            raise ContractError(self.name, None, "the upcaster's payload is that of today's task")
        self.upcasters.append(Upcaster(contract, fn))
        return fn

    def masked(self, contract: str, body: bytes) -> str:
        """Return the text of a payload that this task reads, with its secrets masked."""
        old = {upcaster.contract.fingerprint: upcaster.contract for upcaster in self.upcasters}
        own = old.get(contract.partition("@")[2], self.contract)
        return mask(body, own.schema, self.contract.schema)

    def _local_context(self) -> Context:
        (id,), now = new_ids(1), datetime.now(UTC)
        queue = self.queue or "local"
        return Context(id, self.name, queue, 1, now, now, deadline=None, fence=f"{id}:0001")

    def __repr__(self) -> str:
        return f"<Task {self.name}{self.contract.signature}>"


def source_location(fn: Callable[..., Any]) -> str:
    """Return the file and line of a function."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(fn)


def is_redeclared(fn: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Return True if a function is a new definition of another one.

    That happens if a module is imported twice or reloaded, or a notebook cell is run again. Then
    the source location is the same, or the module and the qualified name.
    """
    if source_location(fn) == source_location(other):
        return True
    (module, name), theirs = _full_name(fn), _full_name(other)
    return (module, name) == theirs and bool(name) and "<lambda>" not in name


def _full_name(fn: Callable[..., Any]) -> tuple[str, str]:
    plain = inspect.unwrap(fn)
    return str(getattr(plain, "__module__", "")), str(getattr(plain, "__qualname__", ""))


class Decorator(Protocol):
    """What `app.task(...)` with options returns."""

    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...
