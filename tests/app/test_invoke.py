from __future__ import annotations

import contextvars
import decimal
from itertools import product
from typing import Annotated

import pytest

from typedq import Call, Context, Queue, Reject, Retry, RetryIn, Secret, SoftTimeout, TypedQ
from typedq.failure import next_retry_delay
from typedq.invoke import LimitRules, Limits, make_context
from typedq.message import decode_message, encode_message
from typedq.middleware import copies_of

ID = "0" * 26


def nothing() -> None: ...


@pytest.mark.parametrize("given", list(product((False, True), repeat=4)), ids=str)
def test_the_limit_nearest_to_the_call_holds(given: tuple[bool, ...]) -> None:
    """Each pair is soft and hard; half of them are given by one place and half by another."""
    by_call, by_task, by_queue, by_app = given
    app = TypedQ(
        "n",
        url="redis://127.0.0.1:1/0",
        queues=[Queue("q", soft_timeout=3 if by_queue else None)],
        soft_timeout=4 if by_app else None,
        hard_timeout=40 if by_app else None,
    )
    task = app.task(soft_timeout=2 if by_task else None)(nothing)
    options = b'{"soft":1.0}' if by_call else b"-"
    message = encode_message(
        id=ID, contract=task.contract.id, queue="q", options=options, body=b"{}"
    )
    soft = 1 if by_call else 2 if by_task else 3 if by_queue else 4 if by_app else None
    rules = LimitRules(app.settings)
    for _ in range(2):  # the second is from memory
        assert rules.of(decode_message(message), task) == Limits(soft, 40 if by_app else None)


@pytest.mark.parametrize(
    ("error", "attempt", "wanted"),
    [
        (OSError(), 1, 2.0),
        (SoftTimeout(), 2, 4.0),
        (OSError(), 3, None),
        (ValueError(), 1, None),
        (RetryIn(7), 900, 7.0),
        (Reject("no"), 1, None),
    ],
)
def test_whether_another_attempt_follows(
    error: BaseException, attempt: int, wanted: float | None
) -> None:
    retry = Retry(max_retries=2, on=(OSError, SoftTimeout), backoff=4)
    task = TypedQ("n").task(retry=retry)(nothing)
    assert next_retry_delay(task, error, attempt, 0.5) == wanted


def test_without_retry_only_retry_in_is_followed_by_another() -> None:
    task = TypedQ("n").task(nothing)
    assert next_retry_delay(task, OSError(), 1, 0.5) is None
    assert next_retry_delay(task, RetryIn(0), 1, 0.5) == 0


@pytest.mark.parametrize(
    ("of", "body", "shown"),
    [
        ("own", b'{"user":"ada","token":"s"}', '{"user":"ada","token":"***"}'),
        (
            "own",
            b'{"user":"ada","token":"s","more":1}',
            '{"user":"ada","token":"***","more":"***"}',
        ),
        ("upcast", b'{"key":"s","age":3}', '{"key":"***","age":3}'),
        ("upcast", b'{"key":"s","age":3,"user":"ada"}', '{"key":"***","age":3,"user":"***"}'),
        ("own", b"not JSON", "***"),
    ],
)
@pytest.mark.parametrize("name", ["sign_in", "login"])  # the second is an alias
def test_arguments_are_shown_to_middleware_without_their_secrets(
    name: str, of: str, body: bytes, shown: str
) -> None:
    app = TypedQ("n")

    @app.task(aliases=["login"])
    def sign_in(user: str, token: Annotated[str, Secret]) -> None: ...

    @sign_in.upcast
    def from_key(key: Annotated[str, Secret], age: int) -> Call:
        return sign_in.call(str(age), key)

    contract = sign_in.contract if of == "own" else sign_in.upcasters[0].contract
    message = encode_message(
        id=ID, contract=f"{name}@{contract.fingerprint}", queue="q", options=b"-", body=body
    )
    context = make_context(decode_message(message), sign_in, Limits(None, None))
    assert context.masked_arguments() == shown
    assert "s3" not in repr(context)


def test_a_task_that_is_called_has_no_message_to_show() -> None:
    app, seen = TypedQ("n"), list[str]()

    @app.task
    def work(ctx: Context, user: str) -> None:
        seen.append(ctx.masked_arguments())

    work("ada")
    assert seen == ["***"]


def test_the_context_of_an_attempt_is_made_whatever_a_task_did_to_decimal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decimal.getcontext()
    base = contextvars.copy_context()
    new_context = copies_of(base)
    monkeypatch.setattr(decimal, "setcontext", None)
    assert new_context().run(decimal.getcontext) is not base.run(decimal.getcontext)
