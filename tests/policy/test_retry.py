from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from typedq.errors import ConfigurationError, SoftTimeout
from typedq.policy import Retry

STEADY = Retry(4, backoff=1.5, factor=3, max_backoff=20, jitter=False)


@pytest.mark.parametrize(
    ("attempt", "delay"), [(1, 1.5), (2, 4.5), (3, 13.5), (4, 20.0), (5, None), (999, None)]
)
def test_the_delay_grows_up_to_its_bound_and_then_the_message_is_buried(
    attempt: int, delay: float | None
) -> None:
    assert STEADY.next(ValueError(), attempt, 0.5) == delay


def test_only_named_exceptions_and_their_subclasses_are_retried() -> None:
    retry = Retry(on=(SoftTimeout, ConnectionError), jitter=False)
    assert retry.next(SoftTimeout(), 1, 0) == 1.0
    assert retry.next(BrokenPipeError(), 1, 0) == 1.0
    assert retry.next(ValueError(), 1, 0) is None
    assert Retry(jitter=False).next(SoftTimeout(), 1, 0) is None


def test_a_single_class_and_any_iterable_of_classes_are_accepted() -> None:
    assert Retry(on=OSError).on == (OSError,)
    assert Retry(on=[OSError, KeyError]) == Retry(on=(OSError, KeyError))


def test_no_retries_means_none() -> None:
    assert Retry(0).next(ValueError(), 1, 0) is None


def test_lengths_of_time_may_be_timedeltas() -> None:
    retry = Retry(backoff=timedelta(seconds=2), max_backoff=timedelta(minutes=1))
    assert (retry.backoff, retry.max_backoff) == (2.0, 60.0)


@given(
    most=st.integers(0, 998),
    backoff=st.floats(0, 600),
    factor=st.floats(1, 999_999),
    attempt=st.integers(1, 999),
    roll=st.floats(0, 1, exclude_max=True),
    jitter=st.booleans(),
)
def test_a_delay_is_never_outside_its_bounds(
    *, most: int, backoff: float, factor: float, attempt: int, roll: float, jitter: bool
) -> None:
    retry = Retry(most, backoff=backoff, factor=factor, jitter=jitter)
    delay = retry.next(ValueError(), attempt, roll)
    assert (delay is None) == (attempt > most)
    if delay is not None:
        assert 0 <= delay <= 600
        assert backoff > 0 or delay == 0


def test_jitter_spreads_the_whole_delay() -> None:
    retry = Retry(backoff=8)
    assert [retry.next(ValueError(), 1, roll) for roll in (0.0, 0.25, 0.75)] == [0.0, 2.0, 6.0]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_retries": -1}, "max_retries takes a number from 0 to 998, not -1"),
        ({"max_retries": 999}, "max_retries takes a number from 0 to 998, not 999"),
        ({"max_retries": 1.5}, "max_retries takes a number from 0 to 998, not 1.5"),
        ({"max_retries": True}, "max_retries takes a number from 0 to 998, not True"),
        ({"on": ()}, "on takes one or more exception classes, not ()"),
        ({"on": "OSError"}, "on takes one or more exception classes, not 'OSError'"),
        ({"on": (int,)}, "on takes one or more exception classes, not (<class 'int'>,)"),
        ({"on": 7}, "on takes one or more exception classes, not 7"),
        ({"factor": 0.5}, "factor takes a number from 1 to a million, not 0.5"),
        ({"factor": float("nan")}, "factor takes a number from 1 to a million, not nan"),
        ({"backoff": -1}, "backoff cannot be negative (-1 s)"),
        ({"backoff": "1s"}, "backoff takes seconds or a timedelta, not str"),
        ({"max_backoff": float("inf")}, "max_backoff takes a finite number of seconds, not inf"),
        ({"backoff": 3600}, "backoff (3600 s) is longer than max_backoff (600 s)"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Retry(**options)
    assert caught.value.problems == (f"Retry: {problem}",)


def test_all_problems_are_told_at_once() -> None:
    bad: Any = {"max_retries": -1, "on": 7, "factor": 0, "backoff": -1}
    with pytest.raises(ConfigurationError) as caught:
        Retry(**bad)
    assert len(caught.value.problems) == 4
