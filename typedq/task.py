"""A task as its author and its callers see it: a function that can also be enqueued.

A task knows where calls go only as an `Enqueuer` that was handed down: no app and no worker.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    overload,
)

import msgspec
from msgspec import structs

from typedq import policy
from typedq.contracts import Contract, contract_of
from typedq.errors import ConfigurationError, ContractError
from typedq.message import BROADCAST, new_ids
from typedq.policy import Context, Options, Plan, Retry

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Old = ParamSpec("Old")


class Call(msgspec.Struct, frozen=True, gc=False):
    """A task's name, encoded arguments and options, not sent yet; equal if all three are."""

    task: str
    body: bytes
    options: Plan = Plan()

    def __repr__(self) -> str:
        # Arguments may be secret or long, and a repr ends up in logs.
        return f"<Call of {self.task}, {len(self.body)} bytes>"


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """An accepted message. `due`: aware UTC datetime, by this machine's clock."""

    id: str
    task: str
    queue: str
    due: datetime


class Enqueuer(Protocol):
    """What a task needs from its app."""

    @property
    def bounds(self) -> tuple[int, int]:
        """Bytes and levels of nesting that a body may have, as far as is known."""
        ...

    def limits(self) -> tuple[int, int]:
        """The same, with all settings resolved. Raises ConfigurationError."""
        ...

    @property
    def queues(self) -> Collection[str] | None:
        """The names of the app's queues, or None while they are not known."""
        ...

    def send(self, calls: Sequence[Call], /) -> list[Receipt]: ...

    async def asend(self, calls: Sequence[Call], /) -> list[Receipt]: ...


@dataclass(frozen=True, eq=False, repr=False)
class Sender(Generic[P]):
    """A task with the options its calls will have."""

    contract: Contract
    _outlet: Enqueuer
    _plan: Plan

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Check the arguments and return a call to be sent later. Raises InvalidArguments."""
        return self._call(args, kwargs, self._outlet.bounds)

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Send one message. Raises InvalidArguments, InvalidOptions, ServerError."""
        return self._outlet.send((self._call(args, kwargs, self._outlet.limits()),))[0]

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Send one message. Raises InvalidArguments, InvalidOptions, ServerError."""
        return (await self._outlet.asend((self._call(args, kwargs, self._outlet.limits()),)))[0]

    def broadcast(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Run it once on every worker (`typedq worker`) that is running now.

        Each takes it once at most, before the messages of its queues, also after it lost its
        connection for less than an hour; then retries and crashes are those of any message. What a
        worker did not come to ends with it; one that cannot read it says so in its log.
        Raises InvalidArguments, InvalidOptions for a delay, eta or queue, ServerError.
        """
        return self._outlet.send((self._call_of_all(args, kwargs),))[0]

    async def abroadcast(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """As `broadcast`."""
        return (await self._outlet.asend((self._call_of_all(args, kwargs),)))[0]

    def _call_of_all(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        why = "a broadcast goes to every worker, at once; leave it out"
        policy.refuse(self.contract.task, self._plan, why, "delay", "eta", "queue")
        call = self._call(args, kwargs, self._outlet.limits())
        return structs.replace(call, options=structs.replace(self._plan, queue=BROADCAST))

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], bounds: tuple[int, int]) -> Call:
        contract, (most, depth) = self.contract, bounds
        return Call(contract.task, contract.encode(args, kwargs, most, depth), self._plan)


class Upcaster(NamedTuple):
    """Makes a call of today's task of a payload of an older contract."""

    contract: Contract
    fn: Callable[..., Call]


class Task(Sender[P], Generic[P, R_co]):
    """A function with a contract. Calling it runs it here and now, without a queue.

    aliases: names it had before; upcasters: for older contracts
    queue: its name, or None for the app's default
    retry: None buries after the first failure
    soft_timeout, hard_timeout: seconds, or None for the queue's or the app's
    """

    def __init__(
        self,
        fn: Callable[..., R_co],
        contract: Contract,
        outlet: Enqueuer,
        *,
        aliases: tuple[str, ...] = (),
        queue: str | None = None,
        retry: Retry | None = None,
        timeouts: tuple[float | timedelta | None, float | timedelta | None] = (None, None),
    ) -> None:
        super().__init__(contract, outlet, Plan())
        try:
            self.soft_timeout, self.hard_timeout = policy.timeouts(*timeouts)
        except ValueError as error:
            raise ConfigurationError([f"task {contract.task!r}: {error}"]) from None
        self.fn: Final = fn
        self.name: Final = contract.task
        self.aliases: Final = aliases
        self.upcasters: Final = list[Upcaster]()
        self.queue: Final = queue
        self.retry: Final = retry
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        if self.contract.takes_context:
            return self.fn(self._local(), *args, **kwargs)
        return self.fn(*args, **kwargs)

    def options(self, **options: Unpack[Options]) -> Sender[P]:
        """Return a sender whose calls have these options. Raises InvalidOptions."""
        now, queues = datetime.now(UTC), self._outlet.queues
        checked = policy.plan(self.name, options, now=now, queues=queues)
        return Sender(self.contract, self._outlet, checked)

    def upcast(self, fn: Callable[Old, Call], /) -> Callable[Old, Call]:
        """Read messages of an older contract: `fn` makes a call of today's task of the old payload.

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

    def bound(self, body: int, depth: int) -> None:
        """Read no messages beyond these bytes and levels of nesting, of older contracts neither."""
        for contract in (self.contract, *(upcaster.contract for upcaster in self.upcasters)):
            contract.max_body, contract.max_depth = body, depth

    @property
    def place(self) -> str:
        """Where its function was written."""
        return source_location(self.fn)

    def _local(self) -> Context:
        (fresh,), now = new_ids(1), datetime.now(UTC)
        queue = self.queue or "local"
        return Context(fresh, self.name, queue, 1, now, now, deadline=None, fence=f"{fresh}:0001")

    def __repr__(self) -> str:
        return f"<Task {self.name}{self.contract.signature}>"


def source_location(fn: Callable[..., Any]) -> str:
    """Where a function was written: the same when its module is imported again."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(fn)


class Decorator(Protocol):
    """What `app.task(...)` with options returns."""

    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...
