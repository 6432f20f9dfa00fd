from __future__ import annotations

import asyncio
import inspect
import pydoc
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from typedq.contracts import contract_of
from typedq.errors import ConfigurationError, InvalidArguments, InvalidOptions
from typedq.policy import CallOptions, Context
from typedq.task import Call, Receipt, Task


class Box:
    """An enqueuer that keeps what it is given."""

    def __init__(self) -> None:
        self.depth = 8
        self.queue_names: tuple[str, ...] | None = ("high", "low")
        self.calls: list[Call] = []

    @property
    def known_limits(self) -> tuple[int, int]:
        return 1_000, self.depth

    def enqueue(self, call: Call, /) -> Receipt:
        self.calls.append(call)
        return Receipt("0" * 26, call.task, "low", datetime.now(UTC))

    async def aenqueue(self, call: Call, /) -> Receipt:
        await asyncio.sleep(0)
        return self.enqueue(call)


class Mail(msgspec.Struct, frozen=True):
    to: str
    subject: str = ""


def send_mail(args: Mail) -> str:
    """Send one mail."""
    return f"sent to {args.to}"


async def resize(ctx: Context, image_id: int, *, width: int = 100) -> tuple[Context, int]:
    await asyncio.sleep(0)
    return ctx, image_id * width


def deep(tree: list[list[list[int]]]) -> None: ...


def ratio(value: float) -> None: ...


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def mail(box: Box) -> Task[[Mail], str]:
    return Task(send_mail, contract_of(send_mail, task="send_mail", context=Context), box)


def make(fn: Any, box: Box, **options: Any) -> Task[..., Any]:
    return Task(fn, contract_of(fn, task=fn.__name__, context=Context), box, **options)


def test_a_plain_call_runs_here_and_now(mail: Task[[Mail], str], box: Box) -> None:
    assert mail(Mail("a@b.c")) == "sent to a@b.c"
    assert box.calls == []


def test_a_task_with_a_context_gets_a_local_one(box: Box) -> None:
    task = make(resize, box, queue="high")
    before = datetime.now(UTC)
    ctx, area = asyncio.run(task(7, width=2))
    assert area == 14
    assert (ctx.task, ctx.queue, ctx.attempt, ctx.deadline) == ("resize", "high", 1, None)
    assert before <= ctx.enqueued_at == ctx.due <= datetime.now(UTC)
    assert len(ctx.id) == 26
    assert asyncio.run(task(7))[0].id != ctx.id


def test_a_local_context_names_no_queue_that_was_not_chosen(box: Box) -> None:
    ctx, _ = asyncio.run(make(resize, box)(7))
    assert ctx.queue == "local"


def test_enqueue_sends_what_call_makes(mail: Task[[Mail], str], box: Box) -> None:
    receipt = mail.enqueue(Mail("a@b.c"))
    assert asyncio.run(mail.aenqueue(Mail("d@e.f"))).task == receipt.task == "send_mail"
    assert box.calls == [mail.call(Mail("a@b.c")), mail.call(Mail("d@e.f"))]
    (args, kwargs) = mail.contract.decode(box.calls[0].body)
    assert (args, kwargs) == ((Mail("a@b.c"),), {})


def test_calls_are_values(mail: Task[[Mail], str], box: Box) -> None:
    call = mail.call(Mail("a@b.c"))
    assert call == mail.call(Mail(to="a@b.c", subject=""))
    assert len({call, mail.call(Mail("a@b.c"))}) == 1
    assert call != mail.call(Mail("x@y.z"))
    assert call != mail.options(delay=1).call(Mail("a@b.c"))
    changed: Any = call
    with pytest.raises(AttributeError):
        changed.task = "other"


def test_a_repr_shows_no_payload(mail: Task[[Mail], str]) -> None:
    call = mail.call(Mail("secret@b.c"))
    assert repr(call) == f"<Call of send_mail, {len(call.body)} bytes>"


def test_options_are_checked_once_and_travel_with_the_call(
    mail: Task[[Mail], str], box: Box
) -> None:
    later = mail.options(delay=timedelta(minutes=1), queue="low", soft_timeout=5)
    later.enqueue(Mail("a@b.c"))
    options = CallOptions(queue="low", delay_ms=60_000, timeouts=b'{"soft":5.0}')
    assert [call.options for call in box.calls] == [options]
    assert mail.call(Mail("a@b.c")).options == CallOptions()


def test_a_bad_option_is_refused_before_anything_is_encoded(mail: Task[[Mail], str]) -> None:
    with pytest.raises(InvalidOptions) as caught:
        mail.options(queue="lwo")
    assert str(caught.value) == (
        "send_mail: option 'queue': no queue named 'lwo' (did you mean 'low'?);"
        " this app has: high, low"
    )


def test_while_queues_are_unknown_any_name_may_be_chosen(mail: Task[[Mail], str], box: Box) -> None:
    box.queue_names = None
    assert mail.options(queue="lwo").call(Mail("a")).options.queue == "lwo"


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "path", "words"),
    [
        (send_mail, (), {}, "$", "missing"),
        (send_mail, ({"to": 1},), {}, "$.to", "int"),
        (send_mail, (Mail(to=1),), {}, "$.to", "int"),  # type: ignore[arg-type]
        (send_mail, (Mail("x" * 2_000),), {}, "$", "1,000"),
        (resize, ("7",), {}, "$.image_id", "str"),
        (resize, (), {}, "$.image_id", "missing"),
        (resize, (7,), {"widht": 1}, "$.widht", "width"),
        (resize, (7, 50), {}, "$", "positional"),
        (ratio, (float("nan"),), {}, "$.value", "nan"),
        (ratio, (float("inf"),), {}, "$.value", "inf"),
    ],
)
def test_arguments_that_the_contract_refuses_are_not_sent(  # noqa: PLR0917
    fn: Any, args: Any, kwargs: Any, path: str, words: str, box: Box
) -> None:
    task = make(fn, box)
    with pytest.raises(InvalidArguments) as caught:
        task.enqueue(*args, **kwargs)
    error = caught.value
    assert error.task == task.name
    assert error.path.startswith(path)
    assert words in error.reason.lower()
    assert str(error) == f"{task.name}: {error.reason} - at {error.path}"
    assert box.calls == []


def test_the_limits_are_those_of_the_app(box: Box) -> None:
    task = make(deep, box)
    task.enqueue([[[1]]])
    box.depth = 2
    with pytest.raises(InvalidArguments):
        task.enqueue([[[1]]])


def test_a_task_looks_like_its_function(mail: Task[[Mail], str]) -> None:
    named: Any = mail
    assert (named.__name__, mail.__doc__, mail.__module__) == (
        "send_mail",
        "Send one mail.",
        __name__,
    )
    assert inspect.unwrap(mail) is send_mail
    assert "Send one mail." in pydoc.render_doc(mail)
    assert repr(mail).startswith("<Task send_mail(")


def test_timeouts_of_a_task_are_kept_as_seconds(box: Box) -> None:
    task = make(ratio, box, timeouts=(5, timedelta(seconds=10)))
    assert (task.soft_timeout, task.hard_timeout) == (5.0, 10.0)
    with pytest.raises(ConfigurationError, match=r"task 'ratio': soft_timeout \(9 s\) must be"):
        make(ratio, box, timeouts=(9, 3))
