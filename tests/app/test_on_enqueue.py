"""Hooks around an enqueue: what they see, what they may add, and whose error wins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from typedq import (
    ConfigurationError,
    Context,
    EnqueueContext,
    InvalidArguments,
    InvalidOptions,
    Queue,
    ServerUnavailable,
    Task,
    TypedQ,
)
from typedq.message import decode_message
from typedq.policy import decode_meta
from typedq.testing import OwnServer

current: ContextVar[str] = ContextVar("current", default="-")
seen: list[Any] = []


class Refused(Exception):
    pass


@pytest.fixture
def app(server: OwnServer, namespace: str) -> Iterator[TypedQ]:
    seen.clear()
    app = TypedQ(namespace, url=server.url, queues=[Queue("high"), Queue("low")])
    app.task(name="mail", queue="high")(mail)
    app.task(name="index")(index)
    yield app
    app.close()


def mail(ctx: Context, to: str) -> None:
    seen.append((to, dict(ctx.meta)))


async def index(n: int) -> None: ...


def sent(app: TypedQ) -> list[dict[str, str]]:
    """Return the metadata of the messages on the server, in the order of the queues."""
    client, keys = app.broker, app.broker.keys
    from typedq.broker.stats import peek

    found = [m for queue in ("high", "low") for m in client.call(peek(keys, queue, 100))]
    return [dict(decode_meta(decode_message(message).options)) for message in found]


def sync_hook(app: TypedQ, name: str, add: dict[str, str] | None = None) -> None:
    @app.on_enqueue
    def hook(ctx: EnqueueContext) -> Generator[None]:
        seen.append(name)
        ctx.add_meta(add or {})
        try:
            yield
        except BaseException as error:
            seen.append(f"{name} {type(error).__name__}")
            raise
        seen.append(f"{name} {len(ctx.receipts)}")


def async_hook(app: TypedQ, name: str, add: dict[str, str] | None = None) -> None:
    @app.on_enqueue
    async def hook(ctx: EnqueueContext) -> AsyncGenerator[None]:
        await asyncio.sleep(0)
        seen.append(name)
        ctx.add_meta(add or {})
        try:
            yield
        except BaseException as error:
            seen.append(f"{name} {type(error).__name__}")
            raise
        await asyncio.sleep(0)
        seen.append(f"{name} {len(ctx.receipts)}")


Way = Callable[[TypedQ], Any]
WAYS: dict[str, tuple[Way, int]] = {
    "enqueue": (lambda app: app.tasks["mail"].enqueue("a"), 1),
    "aenqueue": (lambda app: app.tasks["mail"].aenqueue("a"), 1),
    "broadcast": (lambda app: app.tasks["mail"].broadcast("a"), 1),
    "abroadcast": (lambda app: app.tasks["mail"].abroadcast("a"), 1),
    "many": (lambda app: app.enqueue_many([app.tasks["mail"].call("a")] * 5, chunk=2), 5),
    "amany": (lambda app: app.aenqueue_many([app.tasks["mail"].call("a")] * 5, chunk=2), 5),
}


def go(app: TypedQ, way: str) -> Any:
    result = WAYS[way][0](app)
    if isinstance(result, Awaitable):

        async def finish() -> Any:
            try:
                return await result
            finally:
                await app.aclose()

        return asyncio.run(finish())
    return result


@pytest.mark.parametrize("way", WAYS)
def test_hooks_of_both_kinds_nest_around_every_way_once(app: TypedQ, way: str) -> None:
    sync_hook(app, "outer")
    async_hook(app, "inner")
    go(app, way)
    number = WAYS[way][1]
    assert seen == ["outer", "inner", f"inner {number}", f"outer {number}"]


@pytest.mark.parametrize("way", ["enqueue", "aenqueue", "many", "amany"])
def test_hooks_add_metadata_to_what_is_there(app: TypedQ, way: str) -> None:
    sync_hook(app, "one", {"tenant": "acme", "by": "one"})
    async_hook(app, "two", {"by": "two"})
    go(app, way)
    assert sent(app) == [{"tenant": "acme", "by": "two"}] * WAYS[way][1]


def test_a_hook_sees_the_calls_and_can_add_to_each(app: TypedQ) -> None:
    @app.on_enqueue
    def hook(ctx: EnqueueContext) -> Generator[None]:
        for number, call in enumerate(ctx.calls):
            seen.append((call.task, call.queue, call.is_broadcast, dict(call.meta)))
            call.add_meta({"n": str(number)})
        yield
        seen.append([receipt.queue for receipt in ctx.receipts])

    given = app.tasks["mail"].options(meta={"a": "b"}, delay=60).call("x")
    app.enqueue_many([app.tasks["index"].call(1), given, app.tasks["mail"].call("y")])
    assert seen == [
        ("index", "low", False, {}),
        ("mail", "high", False, {"a": "b"}),
        ("mail", "high", False, {}),
        ["low", "high", "high"],
    ]
    assert sent(app) == [{"n": "2"}, {"n": "0"}]
    assert given == app.tasks["mail"].options(meta={"a": "b"}, delay=60).call("x")


def test_nothing_of_the_arguments_is_shown(app: TypedQ) -> None:
    @app.on_enqueue
    def hook(ctx: EnqueueContext) -> Generator[None]:
        public: Any = ctx.calls[0]
        seen.append([name for name in dir(public) if not name.startswith("_")])
        with pytest.raises(AttributeError):
            public.task = "other"
        yield

    app.tasks["mail"].enqueue("secret")
    assert seen == [["add_meta", "is_broadcast", "meta", "queue", "task"]]


@pytest.mark.parametrize("way", ["enqueue", "aenqueue", "many", "amany"])
@pytest.mark.parametrize("kind", [sync_hook, async_hook])
def test_a_hook_that_raises_before_its_yield_sends_nothing(
    app: TypedQ, way: str, kind: Callable[..., None]
) -> None:
    kind(app, "outer")

    @app.on_enqueue
    def hook(ctx: EnqueueContext) -> Generator[None]:
        raise Refused
        yield

    with pytest.raises(Refused):
        go(app, way)
    assert (seen, sent(app)) == (["outer", "outer Refused"], [])


@pytest.mark.parametrize("way", ["enqueue", "aenqueue"])
def test_a_hook_that_raises_after_its_yield_fails_the_enqueue_of_an_accepted_message(
    app: TypedQ, way: str
) -> None:
    @app.on_enqueue
    def hook(ctx: EnqueueContext) -> Generator[None]:
        yield
        raise Refused

    with pytest.raises(Refused):
        go(app, way)
    assert len(sent(app)) == 1


@pytest.mark.parametrize("way", ["enqueue", "aenqueue", "many", "amany"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_hook_cannot_handle_the_error_of_the_server(way: str, is_async: bool) -> None:
    app = TypedQ("n", url="redis://127.0.0.1:1/0", enqueue_deadline=0.1)
    app.task(name="mail")(mail)
    seen.clear()
    (async_hook if is_async else sync_hook)(app, "outer")

    @app.on_enqueue
    def swallows(ctx: EnqueueContext) -> Generator[None]:
        try:
            yield
        except ServerUnavailable:
            seen.append(ctx.receipts)

    with pytest.raises(ServerUnavailable):
        go(app, way)
    assert seen[:2] == ["outer", ()]


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"A": "b"}, "mail: option 'meta': key 'A' is not 1 to 64 of a-z 0-9 _ . -"),
        ({"a": 1}, "mail: option 'meta': the value of 'a' is int; make it text with str()"),
        (None, "mail: option 'meta': it takes a mapping of str to str, not NoneType"),
    ],
)
def test_bad_metadata_of_a_hook_fails_the_enqueue(app: TypedQ, bad: Any, text: str) -> None:
    @app.on_enqueue
    def hook(ctx: EnqueueContext) -> Generator[None]:
        ctx.add_meta(bad)
        yield

    with pytest.raises(InvalidOptions) as caught:
        app.tasks["mail"].enqueue("a")
    assert str(caught.value) == text
    assert sent(app) == []


def test_metadata_of_call_and_hook_together_has_the_same_limits(app: TypedQ) -> None:
    sync_hook(app, "one", {f"h{n}": "" for n in range(9)})
    with pytest.raises(InvalidOptions, match="17 keys; the limit is 16"):
        app.tasks["mail"].options(meta={f"c{n}": "" for n in range(8)}).enqueue("a")
    assert sent(app) == []


def test_metadata_comes_too_late_after_the_yield(app: TypedQ) -> None:
    @app.on_enqueue
    def hook(ctx: EnqueueContext) -> Generator[None]:
        yield
        ctx.add_meta({"a": "b"})

    with pytest.raises(RuntimeError, match="sent already; add metadata before the yield"):
        app.tasks["mail"].enqueue("a")
    assert sent(app) == [{}]


def test_an_enqueue_inside_a_hook_runs_no_hooks_again(app: TypedQ) -> None:
    @app.on_enqueue
    async def audit(ctx: EnqueueContext) -> AsyncGenerator[None]:
        app.tasks["index"].enqueue(1)
        yield
        await app.tasks["index"].aenqueue(2)
        await app.aclose()  # the connections of this loop, which is not the test's

    @app.on_enqueue
    def sync_audit(ctx: EnqueueContext) -> Generator[None]:
        seen.append(ctx.calls[0].task)
        app.tasks["index"].enqueue(3)
        yield

    app.tasks["mail"].enqueue("a")
    assert len(sent(app)) == 4
    assert seen == ["mail"]


def test_an_async_hook_may_block_in_an_enqueue_of_another_app_with_async_hooks() -> None:
    """Both would wait for one loop: the hook on it for its inner call, which cannot begin there."""
    names, seen = ("one", "two", "three"), list[str]()
    apps = [TypedQ(name, queues=["low"]) for name in names]

    def task() -> None: ...

    tasks = [app.task(task) for app in apps]

    def add_hook(app: TypedQ, name: str, following: Task[[], None] | None) -> None:
        @app.on_enqueue
        async def hook(ctx: EnqueueContext) -> AsyncGenerator[None]:
            await asyncio.sleep(0)
            seen.append(name)
            if following is not None:
                following.enqueue()
            yield

    for app, name, following in zip(apps, names, [*tasks[1:], None], strict=True):
        add_hook(app, name, following)

    with apps[0].testing(), apps[1].testing(), apps[2].testing() as last:
        thread = threading.Thread(target=tasks[0].enqueue, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        asyncio.run(tasks[0].aenqueue())
        assert len(last.waiting()) == 2
    assert seen == [*names, *names]


def test_hooks_share_the_caller_s_context_variables(app: TypedQ) -> None:
    @app.on_enqueue
    async def outer(ctx: EnqueueContext) -> AsyncGenerator[None]:
        seen.append((current.get(), threading.current_thread() is threading.main_thread()))
        token = current.set("outer")
        yield
        current.reset(token)

    @app.on_enqueue
    def inner(ctx: EnqueueContext) -> Generator[None]:
        seen.append(current.get())
        yield

    current.set("caller")
    app.tasks["mail"].enqueue("a")
    assert seen == [("caller", False), "outer"]
    assert current.get() == "caller"

    async def in_a_loop() -> None:  # a sync enqueue blocks the loop, but works there too
        app.tasks["mail"].enqueue("b")

    asyncio.run(in_a_loop())
    assert len(sent(app)) == 2


def test_no_hook_runs_for_no_calls_or_wrong_arguments(app: TypedQ) -> None:
    sync_hook(app, "one")
    assert app.enqueue_many([]) == []
    wrong: Any = app.tasks["mail"]
    with pytest.raises(InvalidArguments):
        wrong.enqueue(1)
    assert seen == []


@pytest.mark.parametrize("how", ["without", "twice"])
def test_a_hook_that_does_not_yield_once_is_an_error(app: TypedQ, how: str) -> None:
    @app.on_enqueue
    def hook(ctx: EnqueueContext) -> Generator[None]:
        if how == "twice":
            yield
            yield

    with pytest.raises(RuntimeError, match=r"generator didn.t (yield|stop)"):
        app.tasks["mail"].enqueue("a")
    assert len(sent(app)) == (how == "twice")


def test_a_function_that_is_no_generator_is_refused_when_declared(app: TypedQ) -> None:
    plain: Any = print
    with pytest.raises(ConfigurationError) as caught:
        app.on_enqueue(plain)
    rule = "it must yield once, where the messages are sent"
    assert caught.value.problems == (f"on_enqueue hook 'print' is not a generator; {rule}",)


def test_hooks_run_in_testing_and_calls_compare_as_they_were_made() -> None:
    app = TypedQ("n", queues=["high", "low"])
    task = app.task(name="mail")(mail)
    seen.clear()
    sync_hook(app, "one", {"tenant": "acme {1}"})
    with app.testing() as outbox:
        task.options(meta={"a": "b"}).enqueue("x")
        task.broadcast("y")
        assert outbox.calls() == [
            task.options(meta={"a": "b"}).call("x"),
            outbox.calls()[1],
        ]
        assert outbox.broadcasts() == [task.call("y")]
        outbox.run()
    ran = [entry for entry in seen if isinstance(entry, tuple)]
    assert ran == [("y", {"tenant": "acme {1}"}), ("x", {"a": "b", "tenant": "acme {1}"})]
