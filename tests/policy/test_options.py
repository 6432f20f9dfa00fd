from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from typedq.errors import InvalidOptions
from typedq.policy import CallOptions, Options, check_options

NOW = datetime(2027, 1, 1, tzinfo=UTC)
NOW_MS = 1_798_761_600_000
QUEUES = ("high", "default")
KINDS = "it takes seconds, a timedelta or an aware datetime"
LATE = "it would expire before it is due, and never run"
BOTH = "unique takes a key, and unique_for how long one message is accepted; give both"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, CallOptions()),
        ({"delay": 0}, CallOptions(delay_ms=0)),
        ({"delay": 1.5}, CallOptions(delay_ms=1500)),
        ({"delay": timedelta(hours=1)}, CallOptions(delay_ms=3_600_000)),
        ({"eta": NOW}, CallOptions(eta_ms=NOW_MS)),
        (
            {"eta": datetime(2027, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))},
            CallOptions(eta_ms=NOW_MS),
        ),
        ({"eta": datetime(1969, 1, 1, tzinfo=UTC)}, CallOptions(eta_ms=0)),
        ({"eta": NOW + timedelta(microseconds=1999)}, CallOptions(eta_ms=NOW_MS + 1)),
        ({"queue": "high"}, CallOptions(queue="high")),
        ({"delay": None, "eta": None, "queue": None}, CallOptions()),
        ({"delay": None, "eta": NOW}, CallOptions(eta_ms=NOW_MS)),
        ({"soft_timeout": None, "hard_timeout": None}, CallOptions()),
        ({"unique": "a", "unique_for": 1.5}, CallOptions(unique="a", unique_ms=1500)),
        (
            {"unique": "é" * 128, "unique_for": timedelta(1)},
            CallOptions(unique="é" * 128, unique_ms=86_400_000),
        ),
        ({"unique": None, "unique_for": None}, CallOptions()),
        ({"expires": 1.5}, CallOptions(expires_ms=1500)),
        ({"expires": timedelta(hours=1)}, CallOptions(expires_ms=3_600_000)),
        ({"expires": NOW}, CallOptions(expires_at_ms=NOW_MS)),
        ({"expires": datetime(1969, 1, 1, tzinfo=UTC)}, CallOptions(expires_at_ms=0)),
        ({"expires": 2, "delay": 1}, CallOptions(delay_ms=1000, expires_ms=2000)),
        (
            {"expires": 1, "eta": datetime(2026, 1, 1, tzinfo=UTC)},
            CallOptions(eta_ms=NOW_MS - 365 * 86_400_000, expires_ms=1000),
        ),
        ({"expires": None}, CallOptions()),
        ({"soft_timeout": 5}, CallOptions(timeouts=b'{"soft":5.0}')),
        ({"hard_timeout": timedelta(seconds=10)}, CallOptions(timeouts=b'{"hard":10.0}')),
        (
            {"soft_timeout": 5, "hard_timeout": 10},
            CallOptions(timeouts=b'{"soft":5.0,"hard":10.0}'),
        ),
    ],
)
def test_options_are_checked_once(options: Options, expected: CallOptions) -> None:
    assert check_options("mail", options, now=NOW, queues=QUEUES) == expected


@pytest.mark.parametrize(
    ("options", "option", "reason"),
    [
        ({"unique": "a"}, "unique", BOTH),
        ({"unique_for": 60}, "unique_for", BOTH),
        ({"unique": "", "unique_for": 60}, "unique", "it takes a text of 1 to 256 bytes, not ''"),
        ({"unique": 5, "unique_for": 60}, "unique", "it takes a text of 1 to 256 bytes, not 5"),
        ({"unique": "a", "unique_for": 0}, "unique_for", "it must be at least a millisecond"),
        ({"unique": "a", "unique_for": -1}, "unique_for", "it cannot be negative (-1 s)"),
        ({"expires": 0}, "expires", "it must be at least a millisecond"),
        ({"expires": -1}, "expires", "it cannot be negative (-1 s)"),
        ({"expires": float("nan")}, "expires", "it takes a finite number of seconds, not nan"),
        ({"expires": 315_360_001}, "expires", "it is longer than 10 years"),
        ({"expires": True}, "expires", f"{KINDS}, not bool"),
        ({"expires": "5"}, "expires", f"{KINDS}, not str"),
        (
            {"expires": datetime(2027, 1, 1)},  # noqa: DTZ001
            "expires",
            "2027-01-01T00:00:00 has no time zone; add one, such as tzinfo=UTC",
        ),
        (
            {"expires": datetime(2037, 1, 1, tzinfo=UTC)},
            "expires",
            "2037-01-01T00:00:00+00:00 is more than 10 years away",
        ),
        ({"expires": 5, "delay": 5}, "expires", LATE),
        ({"expires": NOW + timedelta(1), "delay": 86_401}, "expires", LATE),
        ({"expires": 5, "eta": NOW + timedelta(seconds=6)}, "expires", LATE),
        ({"expires": NOW, "eta": NOW + timedelta(seconds=6)}, "expires", LATE),
        ({"delay": -1}, "delay", "it cannot be negative (-1 s)"),
        ({"delay": timedelta(-1)}, "delay", "it cannot be negative (-86400 s)"),
        ({"delay": float("nan")}, "delay", "it takes a finite number of seconds, not nan"),
        ({"delay": 315_360_001}, "delay", "it is longer than 10 years"),
        ({"delay": "5"}, "delay", "it takes seconds or a timedelta, not str"),
        (
            {"eta": datetime(2027, 1, 1)},  # noqa: DTZ001
            "eta",
            "2027-01-01T00:00:00 has no time zone; add one, such as tzinfo=UTC",
        ),
        ({"eta": 1_800_000_000}, "eta", "it takes an aware datetime, not int"),
        (
            {"eta": datetime(2037, 1, 1, tzinfo=UTC)},
            "eta",
            "2037-01-01T00:00:00+00:00 is more than 10 years away",
        ),
        (
            {"delay": 1, "eta": NOW},
            "eta",
            "delay and eta exclude each other; give one of them",
        ),
        (
            {"queue": "hihg"},
            "queue",
            "no queue named 'hihg' (did you mean 'high'?); this app has: high, default",
        ),
        ({"queue": "x"}, "queue", "no queue named 'x'; this app has: high, default"),
        ({"queue": 7}, "queue", "no queue named 7; this app has: high, default"),
        (
            {"soft_timeout": 0},
            "soft_timeout",
            "soft_timeout must be above 0 seconds; leave it out for no limit",
        ),
        (
            {"soft_timeout": 9, "hard_timeout": 3},
            "soft_timeout",
            "soft_timeout (9 s) must be less than hard_timeout (3 s)",
        ),
        (
            {"hard_timeout": float("inf")},
            "hard_timeout",
            "hard_timeout takes a finite number of seconds, not inf",
        ),
        (
            {"dealy": 1},
            "dealy",
            f"no such option; there are: {', '.join(Options.__annotations__)}",
        ),
    ],
)
def test_an_option_that_cannot_be_honoured_is_refused(
    options: Any, option: str, reason: str
) -> None:
    with pytest.raises(InvalidOptions) as caught:
        check_options("mail", options, now=NOW, queues=QUEUES)
    error = caught.value
    assert (error.task, error.option) == ("mail", option)
    assert str(error) == f"mail: option {option!r}: {reason}"


def test_a_queue_is_not_judged_while_queues_are_unknown() -> None:
    assert check_options("mail", {"queue": "later"}, now=NOW, queues=None).queue == "later"


def test_ten_years_are_still_fine() -> None:
    assert (
        check_options("mail", {"delay": timedelta(days=3650)}, now=NOW).delay_ms == 315_360_000_000
    )
