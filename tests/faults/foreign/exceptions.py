"""Exceptions that do something when they are touched, and those that mean something to typedq."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.foreign.table import situation
from typedq import Context, Reject, Retry, RetryIn

AGAIN: dict[str, Any] = {
    "retry": Retry(max_retries=1, on=(OSError, EOFError), backoff=0.01, jitter=False)
}


@dataclass(frozen=True)
class Frozen(Exception):
    code: int = 1


@dataclass(frozen=True, slots=True)
class FrozenSlots(Exception):
    code: int = 1


class NoSetattr(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError("nothing is set here")


def _forbidden(_: object) -> Any:
    raise RuntimeError("not for you")


ANY_BYTES: Any = b"x = \xff"
NO: Any = property(_forbidden)


class TracebackProperty(Exception):
    __traceback__ = NO


class NoAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Getattr(Exception):
    def __getattr__(self, name: str) -> Any:
        raise SystemExit(name)


Lying: Any = type("Lying", (Exception,), {"__class__": NO})


class NoText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class TextExits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class TextIsNone(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307


class CauseProperty(Exception):
    __cause__ = __context__ = NO


class Notes(Exception):
    __notes__ = NO


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)

    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("no check")


class OddClass(Exception, metaclass=Meta):
    pass


class NoPickle(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


class Finalizer(Exception):
    def __del__(self) -> None:
        raise RuntimeError("in a finalizer")


class NoInit(Exception):
    def __init__(self) -> None:
        self.args = (object(), b"\xff", "\udcff")


class Falsy(Exception):
    def __len__(self) -> int:
        return 0


class NoTruth(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("neither")


class Own(BaseException):
    pass


class LazyReject(Reject):
    def __init__(self) -> None: ...


class LazyRetryIn(RetryIn):
    def __init__(self) -> None: ...


def _odd_delay(value: Any) -> RetryIn:
    error = RetryIn(1)
    error.seconds = value
    return error


def _bytes_in_syntax_error() -> BaseException:
    error: BaseException = SyntaxError("bad", ("m.py", 1, 1, ANY_BYTES))
    return error


def _circle() -> BaseException:
    a, b = ValueError("a"), ValueError("b")
    a.__context__, b.__context__ = b, a
    return a


def _deep_group() -> BaseException:
    error: Any = ValueError("leaf")
    for _ in range(500):
        error = ExceptionGroup("g", [error])
    deepest: BaseException = error
    return deepest


def _local_class() -> BaseException:
    class Local(Exception):
        def __init__(self, a: int, *, b: int) -> None:
            super().__init__(a, b)

    return Local(1, b=2)


def _deeper_group() -> BaseException:
    error: Any = ValueError("leaf")
    for _ in range(1_000):
        error = BaseExceptionGroup("g", [error])
    deepest: BaseException = error
    return deepest


def _deep_causes() -> BaseException:
    error = ValueError("first")
    for _ in range(2_000):
        following = ValueError("next")
        following.__cause__ = error
        error = following
    return error


FAILING: dict[str, Callable[[], BaseException]] = {
    "frozen": Frozen,
    "frozen_slots": FrozenSlots,
    "no_setattr": NoSetattr,
    "traceback_property": TracebackProperty,
    "no_attributes": NoAttributes,
    "getattr_exits": Getattr,
    "lying_class": Lying,
    "no_text": NoText,
    "text_exits": TextExits,
    "text_is_none": TextIsNone,
    "cause_property": CauseProperty,
    "notes": Notes,
    "odd_metaclass": OddClass,
    "no_pickle": NoPickle,
    "finalizer": Finalizer,
    "no_init": NoInit,
    "falsy": Falsy,
    "no_truth": NoTruth,
    "own_base_exception": Own,
    "syntax_error_with_bytes": _bytes_in_syntax_error,
    "circle": _circle,
    "deep_group": _deep_group,
    "deeper_group": _deeper_group,
    "deep_causes": _deep_causes,
    "local_class": _local_class,
    "many_leaves": lambda: ExceptionGroup("g", [ValueError(i) for i in range(20_000)]),
    "surrogate": lambda: ValueError("\ud800 \udcff"),
    "ten_megabytes": lambda: ValueError("x" * 10_000_000),
    "generator_exit": GeneratorExit,
    "stop_iteration": lambda: StopIteration(1),
    "stop_async_iteration": StopAsyncIteration,
    "keyboard_interrupt": KeyboardInterrupt,
    "system_exit": lambda: SystemExit("bye"),
    "cancelled": asyncio.CancelledError,
    "memory": lambda: MemoryError("x"),
    "group": lambda: ExceptionGroup("g", [ValueError(1), OSError(2)]),
    "base_group": lambda: BaseExceptionGroup("g", [KeyboardInterrupt(), SystemExit()]),
    "retry_in_without_seconds": LazyRetryIn,
    "retry_in_nan": lambda: _odd_delay(float("nan")),
    "retry_in_text": lambda: _odd_delay("soon"),
    "retry_in_negative": lambda: _odd_delay(-1),
    "mixed_group": lambda: BaseExceptionGroup("g", [RetryIn(0), Reject("no"), ValueError()]),
}
REJECTED: dict[str, Callable[[], BaseException]] = {
    "reject_error": lambda: Reject(ValueError("an object")),  # type: ignore[arg-type]
    "reject_none": lambda: Reject(None),  # type: ignore[arg-type]
    "reject_no_text": lambda: Reject(NoText()),  # type: ignore[arg-type]
    "reject_without_reason": LazyReject,
    "reject_group": lambda: ExceptionGroup("g", [Reject("a"), ExceptionGroup("h", [Reject("b")])]),
}


LyingRetried: Any = type("LyingRetried", (EOFError,), {"__class__": NO})


RETRIED: dict[str, Callable[[], BaseException]] = {
    "retry_in": lambda: RetryIn(0.01),
    "retry_lying": LyingRetried,
    "retry_group": lambda: ExceptionGroup("g", [OSError(1), OSError(2)]),
    "retry_nested_group": lambda: ExceptionGroup("g", [ExceptionGroup("h", [RetryIn(0.01)])]),
    "retry_both_kinds": lambda: ExceptionGroup("g", [RetryIn(0.01), OSError()]),
}


def _raises(name: str, make: Callable[[], BaseException]) -> Callable[[Context], None]:
    def run(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise make()

    run.__name__ = name
    return run


for _name, _make in FAILING.items():
    situation("failed", both=True)(_raises(_name, _make))
for _name, _make in REJECTED.items():
    situation("rejected", both=True)(_raises(_name, _make))
for _name, _make in RETRIED.items():
    situation("retried", both=True, **AGAIN)(_raises(_name, _make))


@situation("failed", both=True)
def recursion(ctx: Context) -> None:
    recursion(ctx)


@situation("failed", both=True)
def chained(ctx: Context) -> None:
    try:
        raise NoText
    except NoText as error:
        raise Frozen from error


async def _raise_in_group(error: BaseException) -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        raise error

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        group.create_task(asyncio.sleep(20))


@situation("retried", modes=("coroutine",), **AGAIN)
def task_group_retries(ctx: Context) -> Any:
    return _raise_in_group(OSError("x")) if ctx.attempt == 1 else None


@situation("retried", modes=("coroutine",))
def task_group_retry_in(ctx: Context) -> Any:
    return _raise_in_group(RetryIn(0.01)) if ctx.attempt == 1 else None


@situation("rejected", modes=("coroutine",))
def task_group_rejects(ctx: Context) -> Any:
    return _raise_in_group(Reject("no"))


@situation("failed", modes=("coroutine",))
def task_group_fails(ctx: Context) -> Any:
    return _raise_in_group(Frozen())
