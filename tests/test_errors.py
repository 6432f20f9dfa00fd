"""Errors: one root, evidence in fields, and a message that says what to do."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pytest

from typedq import errors
from typedq.errors import (
    AppNotFound,
    BadMessage,
    Cancelled,
    CannotGenerate,
    ConfigurationError,
    ContractError,
    EnqueueFailed,
    EnqueueUncertain,
    InvalidArguments,
    InvalidBody,
    InvalidBundle,
    InvalidId,
    InvalidOptions,
    InvalidSchema,
    Reject,
    RetryIn,
    SearchLimit,
    ServerError,
    ServerRefused,
    ServerUnavailable,
    SoftTimeout,
    TypedQError,
    UnknownTask,
)

Case = tuple[BaseException, str, dict[str, Any]]

TOO_MANY = (
    "00 is not among the first 5,000 waiting messages, and more wait;"
    " give a higher limit to look at them too"
)
CASES: list[Case] = [
    (
        ContractError("t", "width", "it has no annotation"),
        "task 't' has no contract: parameter 'width': it has no annotation",
        {"task": "t", "parameter": "width", "reason": "it has no annotation"},
    ),
    (
        ContractError("t", None, "a method"),
        "task 't' has no contract: its signature: a method",
        {"parameter": None},
    ),
    (
        InvalidArguments("t", "$.to", "Expected `str`, got `int`"),
        "t: Expected `str`, got `int` - at $.to",
        {"task": "t", "path": "$.to", "reason": "Expected `str`, got `int`"},
    ),
    (
        InvalidOptions("t", "delay", "it cannot be negative"),
        "t: option 'delay': it cannot be negative",
        {"task": "t", "option": "delay", "reason": "it cannot be negative"},
    ),
    (InvalidId("x", "it has no digits"), "'x': it has no digits", {"id": "x"}),
    (
        SearchLimit("00", 5_000),
        TOO_MANY,
        {"id": "00", "limit": 5_000},
    ),
    (Cancelled("its message was cancelled"), "its message was cancelled", {}),
    (
        UnknownTask("x", ["b", "a"]),
        "no task named 'x'; this app has: a, b",
        {"task": "x", "known": ("b", "a")},
    ),
    (UnknownTask("x", []), "no task named 'x'; this app has: none", {"known": ()}),
    (
        ConfigurationError(["one", "two"]),
        "the configuration is invalid:\n  - one\n  - two",
        {"problems": ("one", "two")},
    ),
    (
        AppNotFound("a:b", "no module named a"),
        "cannot load the app 'a:b': no module named a",
        {"path": "a:b", "reason": "no module named a"},
    ),
    (
        ServerUnavailable("redis://h", "refused"),
        "redis://h: refused",
        {"url": "redis://h", "reason": "refused"},
    ),
    (ServerRefused("redis://h", "NOAUTH"), "redis://h: NOAUTH", {"reason": "NOAUTH"}),
    (
        EnqueueUncertain("redis://h", ["1", "2"], 10.0),
        (
            "redis://h: no answer within 10 s: 2 message(s) may or may not have been accepted"
            " (first id 1); sending again may run them twice"
        ),
        {"ids": ("1", "2"), "deadline": 10.0, "unconfirmed": ""},
    ),
    (
        EnqueueUncertain("redis://h", ["1"], 0.5, "replica"),
        (
            "redis://h: no replica confirmed within 0.5 s: 1 message(s) are in the server's memory,"
            " and may be lost (first id 1); sending again may run them twice"
        ),
        {"ids": ("1",), "unconfirmed": "replica"},
    ),
    (
        EnqueueFailed("redis://h", "gone", accepted=["1"], uncertain=["2", "3"], not_sent=[]),
        "redis://h: gone: 1 accepted, 2 uncertain, 0 not sent",
        {"accepted": ("1",), "uncertain": ("2", "3"), "not_sent": ()},
    ),
    (BadMessage("too short"), "too short", {"reason": "too short"}),
    (
        InvalidSchema("not an object", is_object=False),
        "not an object",
        {"reason": "not an object", "is_object": False},
    ),
    (
        CannotGenerate("Python", [("ship", "$.a", "no type")]),
        "Python cannot say or check these parts of the contracts:\n  ship: $.a: no type",
        {"language": "Python", "problems": (("ship", "$.a", "no type"),)},
    ),
    (InvalidBundle("b.json", "no"), "b.json: no", {"where": "b.json", "reason": "no"}),
    (InvalidBody("$.a", "too deep"), "too deep - at $.a", {"path": "$.a", "reason": "too deep"}),
    (Reject("no"), "no", {"reason": "no"}),
    (RetryIn(timedelta(minutes=1)), "again in 60 s", {"seconds": 60.0}),
    (RetryIn(3), "again in 3 s", {"seconds": 3.0}),
    (SoftTimeout(), "", {}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case[0]).__name__)
def test_message_and_evidence(case: Case) -> None:
    error, message, fields = case
    assert str(error) == message
    assert {name: getattr(error, name) for name in fields} == fields


def test_every_error_has_a_case() -> None:
    classes = {value for _, value in inspect.getmembers(errors, inspect.isclass)}
    ours = {each for each in classes if each.__module__ == errors.__name__}
    assert ours - {type(error) for error, _, _ in CASES} == {TypedQError, ServerError}


def test_one_root_but_for_what_interrupts_a_task() -> None:
    for error, _, _ in CASES:
        assert isinstance(error, TypedQError) != isinstance(error, SoftTimeout | Cancelled)
    assert not issubclass(SoftTimeout, Exception)
    assert not issubclass(Cancelled, Exception)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 10 * 366 * 86_400])
def test_a_retry_outside_of_ten_years_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="RetryIn takes 0 seconds to 10 years"):
        RetryIn(seconds)
