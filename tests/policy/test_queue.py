from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from typedq.errors import ConfigurationError
from typedq.policy import Queue, seconds


@pytest.mark.parametrize("name", ["a", "0", "high", "eu-west.mail_2", "x" * 64])
def test_a_good_name_is_kept(name: str) -> None:
    assert Queue(name).name == name


@pytest.mark.parametrize(
    "name", ["", "High", "-a", ".a", "_a", "a b", "a\n", "é", "x" * 65, "{a}", 7, None]
)
def test_a_bad_name_is_refused_with_the_rule(name: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Queue(name)
    rule = "1 to 64 of a-z 0-9 _ . - are allowed, beginning with a letter or digit"
    assert caught.value.problems == (f"queue name {name!r}: {rule}",)


def test_timeouts_are_kept_as_seconds_and_equal_queues_are_equal() -> None:
    queue = Queue("a", soft_timeout=timedelta(minutes=1), hard_timeout=90)
    assert (queue.soft_timeout, queue.hard_timeout) == (60.0, 90.0)
    assert queue == Queue("a", 60.0, 90.0)
    assert len({queue, Queue("a", 60, timedelta(seconds=90))}) == 1
    assert dataclasses.replace(queue, name="b") == Queue("b", 60, 90)


def test_a_queue_cannot_be_changed() -> None:
    queue: Any = Queue("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        queue.name = "b"


@pytest.mark.parametrize(
    ("soft", "hard", "problem"),
    [
        (0, None, "soft_timeout must be above 0 seconds; leave it out for no limit"),
        (None, timedelta(0), "hard_timeout must be above 0 seconds; leave it out for no limit"),
        (10, 10, "soft_timeout (10 s) must be less than hard_timeout (10 s)"),
        (-1, None, "soft_timeout cannot be negative (-1 s)"),
        (None, "5", "hard_timeout takes seconds or a timedelta, not str"),
    ],
)
def test_timeouts_that_cannot_work_are_refused(soft: Any, hard: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Queue("a", soft, hard)
    assert caught.value.problems == (f"queue 'a': {problem}",)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Queue("A", soft_timeout=-1)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("value", "kept"),
    [(0, 0.0), (1, 1.0), (0.25, 0.25), (timedelta(hours=1), 3600.0), (315_360_000, 315_360_000.0)],
)
def test_lengths_of_time_become_seconds(value: float | timedelta, kept: float) -> None:
    assert seconds(value, "it") == kept


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (True, "it takes seconds or a timedelta, not bool"),
        (None, "it takes seconds or a timedelta, not NoneType"),
        ("1", "it takes seconds or a timedelta, not str"),
        (float("nan"), "it takes a finite number of seconds, not nan"),
        (float("inf"), "it takes a finite number of seconds, not inf"),
        (-0.5, "it cannot be negative (-0.5 s)"),
        (timedelta(days=-1), "it cannot be negative (-86400 s)"),
        (315_360_001, "it is longer than 10 years"),
        (10**400, "it is longer than 10 years"),
        (timedelta.max, "it is longer than 10 years"),
    ],
)
def test_what_is_no_length_of_time_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^it ") as caught:
        seconds(value, "it")
    assert str(caught.value) == reason
