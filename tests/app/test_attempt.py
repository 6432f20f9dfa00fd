from __future__ import annotations

from itertools import product

import pytest

from typedq import Queue, Reject, Retry, RetryIn, SoftTimeout, TypedQ
from typedq.attempt import Limits, Rules, again
from typedq.message import decode_message, encode_message

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
    rules = Rules(app.settings)
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
    assert again(task, error, attempt, roll=0.5) == wanted


def test_without_retry_only_retry_in_is_followed_by_another() -> None:
    task = TypedQ("n").task(nothing)
    assert again(task, OSError(), 1, roll=0.5) is None
    assert again(task, RetryIn(0), 1, roll=0.5) == 0
