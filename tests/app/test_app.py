from __future__ import annotations

import asyncio
import functools
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from typedq import (
    AppNotFound,
    Call,
    ConfigurationError,
    Context,
    ContractError,
    EnqueueFailed,
    EnqueueUncertain,
    InvalidArguments,
    InvalidOptions,
    Queue,
    Receipt,
    ServerRefused,
    ServerUnavailable,
    Task,
    TypedQ,
    UnknownTask,
)
from typedq.broker import Keys, OutgoingMessage
from typedq.embedded import OwnServer
from typedq.message import Envelope, decode_message

ONE: Any = 1  # where a checker must not look
NAIVE = datetime(2031, 1, 1)  # noqa: DTZ001
QUEUES = (Queue("high"), Queue("default"), Queue("low"))


class Mail(msgspec.Struct, frozen=True):
    to: str
    subject: str = ""


class Tree(msgspec.Struct):
    branches: list[Tree]


def send_mail(args: Mail) -> None: ...


async def resize(ctx: Context, image_id: int, *, width: int = 100) -> None: ...


def store(data: str) -> None: ...


@pytest.fixture
def app(server: OwnServer, namespace: str) -> Iterator[TypedQ]:
    app = TypedQ(namespace, url=server.url, queues=QUEUES)
    yield app
    app.broker.close()


@pytest.fixture
def waiting(server: OwnServer, namespace: str) -> Callable[[str], list[Envelope]]:
    """What waits in a queue, ready first."""

    def look(queue: str) -> list[Envelope]:
        keys = Keys(namespace)
        with redis.Redis.from_url(server.url) as client:
            ready: Any = client.lrange(keys.ready(queue), 0, -1)
            delayed: Any = client.zrange(keys.delayed(queue), 0, -1)
        return [decode_message(message) for message in [*ready, *delayed]]

    return look


Waiting = Callable[[str], list[Envelope]]


# --- declaring


def test_constructing_and_declaring_resolve_nothing() -> None:
    app = TypedQ("Not A Name", url="nonsense://", default_queue="nowhere", max_mem_percent=7_000)
    task = app.task(send_mail)
    assert task.call(Mail("a@b.c")).task == "send_mail"
    with pytest.raises(ConfigurationError) as caught:
        _ = app.settings
    assert len(caught.value.problems) == 4


@pytest.mark.usefixtures("unmeasured")
def test_importing_typedq_stays_light() -> None:
    heavy = "{'redis', 'pydantic', 'typer', 'croniter', 'psutil'}"
    code = f"import sys, typedq; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"


def test_a_task_is_named_after_its_function_or_as_told() -> None:
    app = TypedQ("n")
    assert app.task(send_mail).name == "send_mail"
    assert app.task(name="mail.send")(send_mail).name == "mail.send"
    assert list(app.tasks) == ["send_mail", "mail.send"]
    assert app.tasks["mail.send"] is app.tasks["mail.send"]


def test_the_options_of_a_task_are_kept() -> None:
    app = TypedQ("n", queues=QUEUES)
    task = app.task(queue="high", soft_timeout=timedelta(seconds=5), hard_timeout=10)(send_mail)
    assert (task.queue, task.soft_timeout, task.hard_timeout) == ("high", 5.0, 10.0)
    assert task.retry is None


@pytest.mark.parametrize("name", ["Mail", "_mail", "a b", "x" * 65, "mail@1"])
def test_a_name_that_cannot_travel_is_refused(name: str) -> None:
    with pytest.raises(ContractError) as caught:
        TypedQ("n").task(name=name)(send_mail)
    assert caught.value.reason == (
        "a name is 1 to 64 of a-z 0-9 _ . -, beginning with a letter or digit; give one with name="
    )


def test_a_name_is_given_once() -> None:
    app = TypedQ("n")
    app.task(send_mail)
    with pytest.raises(ContractError) as caught:
        app.task(name="send_mail")(store)
    line = send_mail.__code__.co_firstlineno
    assert caught.value.reason == (
        f"the name is taken by the one at {__file__}:{line}; give another with name="
    )
    assert app.tasks["send_mail"].fn is send_mail


def test_functions_in_the_same_wrapper_are_told_apart() -> None:
    def logged(fn: Callable[[int], None]) -> Callable[[int], None]:
        @functools.wraps(fn)
        def wrapper(n: int) -> None:
            fn(n)

        return wrapper

    def one(n: int) -> None: ...

    def two(n: int) -> None: ...

    app = TypedQ("n")
    app.task(name="count")(logged(one))
    line = one.__code__.co_firstlineno
    with pytest.raises(ContractError, match=f"the name is taken by the one at .*:{line};"):
        app.task(name="count")(logged(two))


def test_a_module_that_is_imported_again_may_declare_its_tasks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "again_app.py").write_text("import typedq\napp = typedq.TypedQ('n')\n")
    (tmp_path / "again_tasks.py").write_text(
        "from again_app import app\n@app.task\ndef tick(n: int) -> None: ...\n"
    )
    tasks: Any = importlib.import_module("again_tasks")
    first = tasks.tick
    importlib.reload(tasks)
    assert tasks.app.tasks["tick"] is tasks.tick is not first


CELL = """
@app.task(name="tick", aliases=("tock",))
def tick(n: {kind}) -> None: ...
app.cron("{expression}", tick.call({value}))
"""


def run_cell(app: TypedQ, number: int, **change: str) -> Any:
    """Run a cell of a notebook: each is a file of its own, with its lines in other places."""
    text = "\n" * number + CELL.format(
        **{"kind": "int", "expression": "@daily", "value": "1"} | change
    )
    names: dict[str, Any] = {"app": app, "__name__": "__main__"}
    exec(compile(text, f"<cell {number}>", "exec"), names)
    return names["tick"]


def test_a_cell_of_a_notebook_may_be_run_again_after_an_edit() -> None:
    app = TypedQ("n")
    first = run_cell(app, 1)
    again = run_cell(app, 2, kind="str", value="'x'", expression="@hourly")
    assert app.tasks["tick"] is app.declarations.find("tock") is again is not first
    assert app.declarations.cron_entries["tick"].cron.expression == "@hourly"
    with pytest.raises(ConfigurationError, match="the name is taken by another entry"):
        app.cron("@weekly", again.call("x"))


def test_a_module_may_be_reloaded_after_an_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "edited_app.py").write_text("import typedq\napp = typedq.TypedQ('n')\n")
    text = "from edited_app import app\n@app.task\ndef tick(n: int) -> None: ...\n"
    (tmp_path / "edited_tasks.py").write_text(text)
    tasks: Any = importlib.import_module("edited_tasks")
    (tmp_path / "edited_tasks.py").write_text(f"# A comment.\n{text}")
    importlib.reload(tasks)
    assert tasks.app.tasks["tick"] is tasks.tick


def test_two_functions_of_one_name_in_two_modules_clash() -> None:
    app, other = TypedQ("n"), dict[str, Any]()
    app.task(name="mail")(send_mail)
    exec("def send_mail(n: int) -> None: ...", other | {"__name__": "elsewhere"}, other)
    with pytest.raises(ContractError, match="the name is taken by the one at "):
        app.task(name="mail")(other["send_mail"])


def test_two_lambdas_of_one_module_clash() -> None:
    app = TypedQ("n")
    app.task(name="mail")(lambda: None)
    with pytest.raises(ContractError, match="the name is taken by the one at "):
        app.task(name="mail")(
            lambda: None,
        )


def test_an_unknown_task_is_told_what_there_is() -> None:
    app = TypedQ("n")
    app.task(send_mail)
    with pytest.raises(UnknownTask) as caught:
        app.declarations.find("mail")
    assert str(caught.value) == "no task named 'mail'; this app has: send_mail"


def test_a_queue_that_the_app_lacks_is_refused_when_the_task_is_declared() -> None:
    app = TypedQ("n", queues=QUEUES)
    with pytest.raises(ConfigurationError) as caught:
        app.task(queue="hihg")(send_mail)
    assert caught.value.problems == (
        "task 'send_mail' names the queue 'hihg'; this app has: high, default, low",
    )
    assert dict(app.tasks) == {}


def test_queues_from_elsewhere_are_checked_once_they_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = TypedQ("n")
    app.task(queue="a")(send_mail)
    app.task(queue="b")(store)
    app.task(queue="c")(resize)
    monkeypatch.setenv("TYPEDQ_QUEUES", "b,z")
    with pytest.raises(ConfigurationError) as caught:
        app.enqueue_many([])
    assert caught.value.problems == (
        "task 'send_mail' names the queue 'a'; this app has: b, z",
        "task 'resize' names the queue 'c'; this app has: b, z",
    )


def test_timeouts_that_cannot_work_are_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"task 'store': soft_timeout \(9 s\) must be less"
    ):
        TypedQ("n").task(soft_timeout=9, hard_timeout=3)(store)


# --- loading


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "ModuleNotFoundError: No module named '{name}'"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    text: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"module_{namespace}"
    if text is not None:
        (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(AppNotFound) as caught:
        TypedQ("n", imports=[name]).load()
    reason = reason.format(name=name)
    assert (caught.value.path, caught.value.reason) == (name, reason)
    assert str(caught.value) == f"cannot load the app {name!r}: {reason}"


def test_a_contract_error_in_a_module_speaks_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    text = "import typedq\n@typedq.TypedQ('n').task\ndef bad(x) -> None: ...\n"
    (tmp_path / f"bad_{namespace}.py").write_text(text)
    with pytest.raises(ContractError, match="'bad'"):
        TypedQ("n", imports=[f"bad_{namespace}"]).load()


# --- letting calls in


def test_one_call_becomes_one_message(app: TypedQ, waiting: Waiting) -> None:
    task = app.task(queue="high")(send_mail)
    before = datetime.now(UTC)
    receipt = task.enqueue(Mail("a@b.c"))
    (message,) = waiting("high")
    assert (receipt.task, receipt.queue) == ("send_mail", "high")
    assert message.id.decode() == receipt.id
    assert message.contract.decode() == task.contract.id
    assert (message.options, message.attempt) == (b"-", 0)
    assert task.contract.decode(message.body) == ((Mail("a@b.c"),), {})
    assert before - timedelta(milliseconds=1) <= receipt.due <= datetime.now(UTC)
    assert receipt.due.utcoffset() == timedelta(0)


def test_a_coroutine_function_is_enqueued_from_a_loop(app: TypedQ, waiting: Waiting) -> None:
    task = app.task(resize)

    async def main() -> list[str]:
        try:
            one = await task.options(queue="high").aenqueue(7, width=5)
            many = await app.aenqueue_many((task.call(n) for n in range(25)), chunk=10)
        finally:
            await app.broker.aclose()
        return [one.queue, *{receipt.queue for receipt in many}]

    assert asyncio.run(main()) == ["high", "low"]
    assert [task.contract.decode(m.body)[1] for m in waiting("high")] == [{"width": 5}]
    assert [task.contract.decode(m.body)[0] for m in waiting("low")] == [(n,) for n in range(25)]


def test_the_default_queue_is_the_last_unless_said(server: OwnServer, namespace: str) -> None:
    for chosen, queue in ((None, "low"), ("high", "high")):
        app = TypedQ(namespace, url=server.url, queues=QUEUES, default_queue=chosen)
        assert app.task(store).enqueue("x").queue == queue
        app.broker.close()


def test_without_queues_there_is_one_called_default(server: OwnServer, namespace: str) -> None:
    app = TypedQ(namespace, url=server.url)
    assert app.task(store).enqueue("x").queue == "default"
    app.broker.close()


def test_options_travel(app: TypedQ, waiting: Waiting) -> None:
    task = app.task(store)
    task.options(queue="high", soft_timeout=5, hard_timeout=10).enqueue("x")
    assert [m.options for m in waiting("high")] == [b'{"soft":5.0,"hard":10.0}']


def test_due_follows_delay_and_eta(app: TypedQ) -> None:
    task = app.task(store)
    now = datetime.now(UTC)
    eta = datetime(2031, 5, 1, 12, 30, tzinfo=UTC)
    past = datetime(1999, 1, 1, tzinfo=UTC)
    assert task.options(eta=eta).enqueue("x").due == eta
    assert abs(task.options(delay=3600).enqueue("x").due - now - timedelta(hours=1)).seconds < 30
    assert abs(task.options(eta=past).enqueue("x").due - now).seconds < 30


def test_a_queue_unknown_when_chosen_is_refused_when_sent(
    server: OwnServer, namespace: str
) -> None:
    app = TypedQ(namespace, url=server.url)
    later = app.task(store).options(queue="defualt")
    with pytest.raises(InvalidOptions) as caught:
        later.enqueue("x")
    assert str(caught.value) == (
        "store: option 'queue': no queue named 'defualt' (did you mean 'default'?);"
        " this app has: default"
    )


def test_limits_from_the_environment_hold(
    server: OwnServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYPEDQ_MAX_BODY", "100")
    app = TypedQ(namespace, url=server.url)
    task = app.task(store)
    early = task.call("x" * 101)  # settings are not known yet
    with pytest.raises(InvalidArguments) as caught:
        app.enqueue_many([task.call("fine"), early])
    assert caught.value.reason == f"{len(early.body)} bytes; the limit is 100"
    with pytest.raises(InvalidArguments, match="the limit is 100"):
        task.call("x" * 101)


def test_limits_raised_by_the_environment_hold_from_the_first_call(
    server: OwnServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYPEDQ_MAX_BODY", str(2 << 20))
    monkeypatch.setenv("TYPEDQ_MAX_DEPTH", "200")
    app = TypedQ(namespace, url=server.url)
    tree = Tree([])
    for _ in range(50):
        tree = Tree([tree])
    app.task(nested).enqueue(tree)
    app = TypedQ(namespace, url=server.url)
    call = app.task(store).call("x" * (3 << 19))
    assert len(app.enqueue_many([call])) == 1


def test_a_call_of_another_app_is_refused(app: TypedQ) -> None:
    with pytest.raises(UnknownTask, match="no task named 'elsewhere'"):
        app.enqueue_many([Call("elsewhere", b"{}")])


@pytest.mark.parametrize(
    ("send", "message"),
    [
        (
            lambda mail, _: mail.enqueue(Mail(to=ONE)),
            "send_mail: Expected `str`, got `int` - at $.to",
        ),
        (
            lambda _, resize: resize.enqueue("7"),
            "resize: Expected `int`, got `str` - at $.image_id",
        ),
        (lambda _, resize: resize.enqueue(), "resize: missing required argument - at $.image_id"),
        (
            lambda mail, _: mail.enqueue(Mail("x" * (1 << 20))),
            "send_mail: 1,048,598 bytes; the limit is 1,048,576 - at $",
        ),
        (
            lambda mail, _: mail.options(queue="mid").enqueue(Mail("a")),
            "send_mail: option 'queue': no queue named 'mid'; this app has: high, default, low",
        ),
        (
            lambda mail, _: mail.options(eta=NAIVE).enqueue(Mail("a")),
            f"send_mail: option 'eta': {NAIVE:%FT%T} has no time zone; add one, such as tzinfo=UTC",
        ),
        (
            lambda mail, _: mail.options(delay=-1).enqueue(Mail("a")),
            "send_mail: option 'delay': it cannot be negative (-1 s)",
        ),
        (
            lambda mail, _: mail.options(delay=float("nan")).enqueue(Mail("a")),
            "send_mail: option 'delay': it takes a finite number of seconds, not nan",
        ),
    ],
)
def test_bad_input_is_refused_with_a_reason_and_nothing_is_sent(
    send: Callable[[Any, Any], object], message: str, app: TypedQ, waiting: Waiting
) -> None:
    mail, sized = app.task(queue="high")(send_mail), app.task(queue="high")(resize)
    with pytest.raises((InvalidArguments, InvalidOptions)) as caught:
        send(mail, sized)
    assert str(caught.value) == message
    assert waiting("high") == []


def ratio(value: float) -> None: ...


def nested(tree: Tree) -> None: ...


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_json_cannot_say_is_refused(app: TypedQ, value: float) -> None:
    with pytest.raises(InvalidArguments) as caught:
        app.task(ratio).enqueue(value)
    assert caught.value.path == "$.value"
    assert caught.value.reason == "NaN and infinity cannot be said in JSON"


def test_what_is_nested_too_deep_is_refused(app: TypedQ) -> None:
    task, tree = app.task(nested), Tree([])
    for _ in range(29):
        tree = Tree([tree])  # two levels each, and one for the parameter
    task.enqueue(tree)
    for _ in range(40):
        tree = Tree([tree])
    with pytest.raises(InvalidArguments, match="64"):
        task.enqueue(tree)


def test_many_calls_keep_their_order(app: TypedQ, waiting: Waiting) -> None:
    task = app.task(resize)
    receipts = app.enqueue_many((task.call(n) for n in range(2_500)), chunk=1_000)
    messages = waiting("low")
    assert [m.id.decode() for m in messages] == [receipt.id for receipt in receipts]
    assert [task.contract.decode(m.body)[0] for m in messages] == [(n,) for n in range(2_500)]
    assert app.enqueue_many([]) == []


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_holds_at_least_one(app: TypedQ, chunk: int) -> None:
    with pytest.raises(ValueError, match=f"^chunk takes 1 or more, not {chunk}$"):
        app.enqueue_many([app.task(store).call("x")], chunk=chunk)


def test_threads_share_one_broker(app: TypedQ, waiting: Waiting) -> None:
    task = app.task(store)
    with ThreadPoolExecutor(8) as pool:
        brokers = set(pool.map(lambda _: id(app.broker), range(16)))
        receipts = list(pool.map(lambda n: task.enqueue(str(n)), range(200)))
    assert len(brokers) == 1
    assert {m.id.decode() for m in waiting("low")} == {receipt.id for receipt in receipts}


# --- when the server says no


def test_a_server_that_is_not_there_is_the_plain_error(namespace: str, tmp_path: Path) -> None:
    app = TypedQ(namespace, url=f"unix://{tmp_path}/none", enqueue_deadline=0.2)
    calls = [app.task(store).call("x")] * 3
    with pytest.raises(ServerUnavailable):
        app.enqueue_many(calls, chunk=1)


def test_a_full_server_tells_what_was_accepted(namespace: str) -> None:
    with OwnServer(args=("--maxmemory", "16mb", "--maxmemory-policy", "noeviction")) as full:
        app = TypedQ(namespace, url=full.url)
        big = app.task(store).call("x" * 500_000)
        with pytest.raises(EnqueueFailed) as caught:
            app.enqueue_many([big] * 60)  # 30 MB, in chunks of 8 messages or 4 MB
        error = caught.value
        with redis.Redis.from_url(full.url) as client:
            found: Any = client.lrange(Keys(namespace).ready("default"), 0, -1)
        assert [decode_message(message).id.decode() for message in found] == list(error.accepted)
        assert len(error.accepted) % 8 == 0 < len(error.accepted)
        assert error.uncertain == ()
        assert len(error.accepted) + len(error.not_sent) == 60
        assert isinstance(error.__cause__, ServerRefused)
        assert str(error).endswith(
            f": {len(found)} accepted, 0 uncertain, {60 - len(found)} not sent"
        )
        assert str(error).count(error.url) == 1
        with pytest.raises(ServerRefused):
            app.enqueue_many([big] * 60)
        app.broker.close()


class Faltering:
    """A broker whose third batch gets no answer."""

    def __init__(self) -> None:
        self.turns = count(1)

    def enqueue(
        self, batch: Sequence[OutgoingMessage], schema: Callable[[str], bytes]
    ) -> dict[str, str]:
        if next(self.turns) == 3:
            raise EnqueueUncertain("unix://s", [outgoing.id for outgoing in batch], 10.0)
        return {}

    async def aenqueue(
        self, batch: Sequence[OutgoingMessage], schema: Callable[[str], bytes]
    ) -> dict[str, str]:
        return self.enqueue(batch, schema)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_lost_answer_makes_only_its_chunk_uncertain(asynchronous: bool) -> None:
    app: Any = TypedQ("n", url="unix:///s")
    app._producer._broker = Faltering()
    calls = [app.task(store).call("x")] * 9

    def send() -> None:
        if asynchronous:
            asyncio.run(app.aenqueue_many(calls, chunk=2))
        else:
            app.enqueue_many(calls, chunk=2)

    with pytest.raises(EnqueueFailed) as caught:
        send()
    error = caught.value
    assert [len(error.accepted), len(error.uncertain), len(error.not_sent)] == [4, 2, 3]
    ids = [*error.accepted, *error.uncertain, *error.not_sent]
    assert ids == sorted(ids)
    assert str(error).startswith("unix://s: no answer within 10 s")


# --- the server of one's own


def test_without_a_url_the_project_gets_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    from typedq.embedded import status, stop

    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    tmp_path.chmod(0o700)
    monkeypatch.delenv("TYPEDQ_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    app = TypedQ(namespace)
    task: Task[[str], None] = app.task(store)
    try:
        receipt: Receipt = task.enqueue("x")
        assert receipt.queue == "default"
        assert status(namespace) is not None
    finally:
        app.broker.close()
        assert stop(namespace)


def test_bounds_given_as_text_hold_for_calls_made_before_settings_are_known() -> None:
    """As from a file of one's own: what settings take, calls must bear."""
    given: Any = {"max_body": "100", "max_depth": "5"}
    app = TypedQ("text", url="redis://127.0.0.1:1", **given)

    @app.task
    def say(words: list[str]) -> None: ...

    early = say.call(["x" * 200])
    assert (app.settings.max_body, app.settings.max_depth) == (100, 5)
    with pytest.raises(InvalidArguments, match="the limit is 100"):
        app.enqueue_many([early])
    with pytest.raises(InvalidArguments, match="the limit is 100"):
        say.call(["x" * 200])
