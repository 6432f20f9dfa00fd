"""Cron arithmetic: a golden table, a slow and obvious oracle, and what was missed.

The golden table is also run with the oldest croniter, which is of another major version.
"""

from __future__ import annotations

import os
import warnings
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oldest import run_with
from typedq import ConfigurationError, TypedQ
from typedq.policy import CatchUp, Cron

ROOT = Path(__file__).parents[2]
OLDEST = "6.2.0"
MAJOR = int(version("croniter").partition(".")[0])
MINUTE = timedelta(minutes=1)
SPRING, AUTUMN = "2026-03-29", "2026-10-25"  # when the clocks of Europe jump in 2026

# expression, zone, after this wall time -> the next wall times there, with their offsets
GOLDEN: dict[str, tuple[str, str, str, list[str]]] = {
    "a time that is jumped over comes later by the jump": (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28T12:00+01:00",
        [f"{SPRING}T03:30+02:00", "2026-03-30T02:30+02:00"],
    ),
    "the hour that is missing leaves no hole in a series": (
        "*/20 * * * *",
        "Europe/Berlin",
        f"{SPRING}T01:30+01:00",
        [f"{SPRING}T01:40+01:00", f"{SPRING}T03:00+02:00", f"{SPRING}T03:20+02:00"],
    ),
    "two times that become one fire once": (
        "30 2,3 * * *",
        "Europe/Berlin",
        f"{SPRING}T00:00+01:00",
        [f"{SPRING}T03:30+02:00", "2026-03-30T02:30+02:00", "2026-03-30T03:30+02:00"],
    ),
    "a time that comes twice fires the first time": (
        "30 2 * * *",
        "Europe/Berlin",
        f"{AUTUMN}T00:00+02:00",
        [f"{AUTUMN}T02:30+02:00", "2026-10-26T02:30+01:00"],
    ),
    "asked between the two, it does not fire again": (
        "30 2 * * *",
        "Europe/Berlin",
        f"{AUTUMN}T02:10+01:00",
        ["2026-10-26T02:30+01:00"],
    ),
    "every hour means the hour that comes twice too": (
        "30 * * * *",
        "Europe/Berlin",
        f"{AUTUMN}T01:30+02:00",
        [f"{AUTUMN}T02:30+02:00", f"{AUTUMN}T02:30+01:00", f"{AUTUMN}T03:30+01:00"],
    ),
    "in America the clocks jump at another hour": (
        "30 1,2 * * *",
        "America/New_York",
        "2026-03-08T00:00-05:00",
        ["2026-03-08T01:30-05:00", "2026-03-08T03:30-04:00", "2026-03-09T01:30-04:00"],
    ),
    "a jump of half an hour": (
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T12:00+10:30",
        ["2026-10-04T02:45+11:00", "2026-10-05T02:15+11:00"],
    ),
    "a jump at midnight": (
        "0 0 * * *",
        "America/Santiago",
        "2026-09-05T12:00-04:00",
        ["2026-09-06T01:00-03:00", "2026-09-07T00:00-03:00"],
    ),
    "a day that never was": (
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T00:00-10:00",
        ["2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00", "2012-01-01T12:00+14:00"],
    ),
    "leap day": (
        "0 0 29 2 *",
        "UTC",
        "2026-01-01T00:00+00:00",
        ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"],
    ),
    "leap day, across the year that has none": (
        "0 0 29 2 *",
        "UTC",
        "2096-03-01T00:00+00:00",
        ["2104-02-29T00:00+00:00"],
    ),
    "the 31st, only where there is one": (
        "0 6 31 * *",
        "UTC",
        "2026-03-31T06:00+00:00",
        ["2026-05-31T06:00+00:00", "2026-07-31T06:00+00:00", "2026-08-31T06:00+00:00"],
    ),
    "the last of a month": (
        "59 23 L * *",
        "Europe/Berlin",
        "2028-02-01T00:00+01:00",
        ["2028-02-29T23:59+01:00", "2028-03-31T23:59+02:00", "2028-04-30T23:59+02:00"],
    ),
    "the second, as a sixth field": (
        "*/5 * * * * 10,40",
        "Asia/Kolkata",
        "2026-01-01T00:00+05:30",
        ["2026-01-01T00:00:10+05:30", "2026-01-01T00:00:40+05:30", "2026-01-01T00:05:10+05:30"],
    ),
    "every second, into the hour that comes twice": (
        "* * * * * *",
        "Europe/Berlin",
        f"{AUTUMN}T02:59:58+02:00",
        [f"{AUTUMN}T02:59:59+02:00", f"{AUTUMN}T02:00+01:00", f"{AUTUMN}T02:00:01+01:00"],
    ),
    "weekdays": (
        "0 9 * * mon-fri",
        "Europe/Berlin",
        "2026-11-20T09:00+01:00",
        ["2026-11-23T09:00+01:00", "2026-11-24T09:00+01:00"],
    ),
    "day and weekday: either": (
        "0 0 13 * 5",
        "UTC",
        "2026-11-10T00:00+00:00",
        ["2026-11-13T00:00+00:00", "2026-11-20T00:00+00:00"],
    ),
    "a name for it": (
        "@monthly",
        "Europe/Berlin",
        "2026-03-15T00:00+01:00",
        ["2026-04-01T00:00+02:00", "2026-05-01T00:00+02:00"],
    ),
}


@pytest.mark.parametrize(
    ("expression", "tz", "start", "expected"), GOLDEN.values(), ids=GOLDEN.keys()
)
def test_golden(expression: str, tz: str, start: str, expected: list[str]) -> None:
    cron, now, found = Cron(expression, tz), datetime.fromisoformat(start), list[datetime]()
    for _ in expected:
        now = cron.after(now)
        found.append(now)
    want = [datetime.fromisoformat(text).isoformat() for text in expected]
    assert [slot.astimezone(ZoneInfo(tz)).isoformat() for slot in found] == want
    for earlier, later in pairwise(found):
        assert cron.last(later - timedelta(seconds=1)) == earlier
        assert cron.last(later) == later


def test_a_fraction_of_a_second_changes_nothing() -> None:
    cron, at = Cron("* * * * * *"), datetime(2026, 1, 1, 0, 0, 5, 700_000, tzinfo=UTC)
    assert cron.after(at) == datetime(2026, 1, 1, 0, 0, 6, tzinfo=UTC)
    assert cron.last(at) == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)


# --- against an oracle that looks at every minute ------------------------------------------------

JUMPS = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
]


def oracle(expression: str, tz: str, jump: datetime) -> set[datetime]:
    """Every slot within some hours of a jump, a minute at a time."""
    zone, twice = ZoneInfo(tz), expression.split()[1].startswith("*")
    minutes, hours = (
        set(range(size) if values == ["*"] else values)
        for values, size in zip(croniter.expand(expression)[0], (60, 24), strict=False)
    )

    def matches(shown: datetime) -> bool:
        return shown.minute in minutes and shown.hour in hours

    before = (jump - MINUTE).astimezone(zone).utcoffset() or timedelta()
    slots = set[datetime]()
    for minute in range(-180, 240):
        instant = jump + minute * MINUTE
        shown = instant.astimezone(zone)
        if matches(shown) and (twice or not shown.fold):
            slots.add(instant)
        unshown = (instant + before).replace(tzinfo=zone)
        is_skipped = unshown.astimezone(UTC).astimezone(zone).time() != unshown.time()
        if is_skipped and matches(unshown):
            slots.add(instant)
    return slots


minutes = st.one_of(
    st.sampled_from(["*", "*/7", "*/20"]),
    st.lists(st.integers(0, 59), min_size=1, max_size=3).map(lambda m: ",".join(map(str, m))),
)
hours = st.one_of(
    st.sampled_from(["*", "*/2", "*/3", "1-3"]),
    st.lists(st.integers(0, 5), min_size=1, max_size=3).map(lambda m: ",".join(map(str, m))),
)


@settings(deadline=None, max_examples=40)
@given(minute=minutes, hour=hours, where=st.sampled_from(JUMPS))
def test_every_slot_around_a_jump(minute: str, hour: str, where: tuple[str, datetime]) -> None:
    (tz, jump), expression = where, f"{minute} {hour} * * *"
    cron, found = Cron(expression, tz), set[datetime]()
    slot = cron.after(jump - 180 * MINUTE - timedelta(seconds=1))
    while slot < jump + 240 * MINUTE:
        assert slot not in found
        found.add(slot)
        slot = cron.after(slot)
    assert found == oracle(expression, tz, jump)


# --- what was missed ------------------------------------------------------------------------------

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def missed(expression: str, catch_up: CatchUp, since_s: float) -> list[float]:
    """Seconds before noon of the slots that fire at noon, `since_s` after the last one."""
    cron = Cron(expression, catch_up=catch_up)
    slots = cron.pending(NOON - timedelta(seconds=since_s), NOON)
    return [(NOON - slot).total_seconds() for slot in slots]


@pytest.mark.parametrize(
    ("expression", "since_s", "skip", "once"),
    [
        ("* * * * * *", 0, [], []),
        ("* * * * * *", 3.5, [3, 2, 1, 0], [3, 2, 1, 0]),
        ("* * * * *", 60, [0], [0]),
        ("* * * * *", 86_400, [0], [0]),
        ("30 * * * *", 7_200, [], [1_800]),
        ("0 3 * * *", 90 * 86_400, [], [9 * 3_600]),
        ("0 0 29 2 *", 86_400, [], []),
        ("0 3 * * *", 8 * 3_600, [], []),
    ],
)
def test_what_fires_after_a_pause(
    expression: str, since_s: float, skip: list[float], once: list[float]
) -> None:
    assert missed(expression, "skip", since_s) == skip
    assert missed(expression, "once", since_s) == once


def test_slots_up_to_a_minute_late_still_fire() -> None:
    late = missed("* * * * * *", "skip", 3_600)
    assert late == list(range(59, -1, -1))
    assert missed("* * * * * *", "once", 3_600) == [0]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (("* * *",), ["3 fields; expected 5 (minute hour day month weekday), or 6 with"]),
        (("* * * * * * 2030",), ["7 fields"]),
        (("61 * * * *",), ["out of range"]),
        (("0 0 30 2 *",), ["there is no such date"]),
        (("0 0 30 2 fri#1",), ["there is no such date; no such month has the day 30: croniter 6"]),
        (("٣ * * * *",), ["write digits as 0 to 9, and names in English"]),
        (("R * * * *",), ["H and R mean a different time in every process"]),
        (("0 h(1-3) * * *",), ["H and R mean a different time in every process"]),
        (("0 0 * * *", "Europe/Berln"), ["tz 'Europe/Berln': no such time zone here; expected"]),
        (("0 0 * * *", "../../etc/passwd"), ["no such time zone"]),
        (("0 0 * * *", "UTC", "twice"), ["catch_up 'twice': expected 'skip' or 'once'"]),
        (("x", "", "y"), ["1 fields", "no such time zone", "expected 'skip' or 'once'"]),
    ],
)
def test_what_cannot_work_is_refused(arguments: Any, problems: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Cron(*arguments)
    assert len(caught.value.problems) == len(problems)
    for told, expected in zip(caught.value.problems, problems, strict=True):
        assert expected in told


def test_day_and_month_names_are_not_random() -> None:
    assert Cron("0 0 * mar,apr thu,fri").after(NOON) == datetime(2027, 3, 4, tzinfo=UTC)


def test_equal_entries_are_equal() -> None:
    assert Cron("0 0 * * *", "UTC") == Cron("0 0 * * *")
    assert Cron("0 0 * * *") != Cron("0 0 * * *", catch_up="once")


# --- croniter 6 and 7 -----------------------------------------------------------------------------

# expression -> what the warning says, the next slots with croniter 6 and with 7
TWO_READINGS: dict[str, tuple[str, list[str] | None, list[str]]] = {
    "59/20 * * * *": ("reads 59/20 as */20, croniter 7 as 59 alone", ["12:20", "12:40"], ["12:59"]),
    "0 5,023/8 * * *": ("reads 023/8 as */8, croniter 7 as 023", ["16:00"], ["23:00"]),
    "0 0 31/10 * *": ("reads 31/10 as */10, ", ["June 11", "June 21"], ["July 31", "August 31"]),
    "0 0 1 DEC/4 *": ("reads dec/4 as */4, croniter 7 as dec alone", ["Sep"], ["December 01"]),
    "0 0 * * sat/3": ("reads sat/3 as */3, ", ["June 03", "June 06"], ["June 06", "June 13"]),
    "0 0 * * 6/3": ("reads 6/3 as */3, ", ["June 03", "June 06"], ["June 06", "June 13"]),
    "0 13 * * * 59/30": ("reads 59/30 as */30, ", ["13:00:00", "13:00:30"], ["13:00:59"]),
    "0 0 * * 7 0": ("does not know 7 for Sunday beside seconds; write 0 or", None, ["June 07"]),
    "0 0 * * 6-07,3 0": ("does not know 6-07 for Sunday beside", None, ["June 03", "June 06"]),
    "0 0 31 2,4 tue": ("no such month has the day 31: croniter 6 refuses", None, ["February 02"]),
}


@pytest.mark.parametrize("expression", TWO_READINGS)
def test_what_two_majors_read_in_two_ways_is_a_warning_at_import(expression: str) -> None:
    told, six, seven = TWO_READINGS[expression]
    app = TypedQ("shop")
    call = app.task(name="tick")(lambda: None).call()
    expected = six if MAJOR == 6 else seven
    if expected is None:
        with pytest.raises(ConfigurationError) as caught:
            app.cron(expression, call)
        assert told in caught.value.problems[0]
        return
    with pytest.warns(UserWarning, match="^cron 'tick': ") as warned:
        app.cron(expression, call)
    (warning,) = warned
    assert told in str(warning.message)
    assert repr(expression) in str(warning.message)
    assert warning.filename == __file__
    slot = NOON
    for text in expected:
        slot = app.declarations.cron_entries["tick"].cron.after(slot)
        assert text in f"{slot:%B %d %H:%M:%S}"


@pytest.mark.parametrize(
    "expression",
    [
        *("*/59 * * * *", "58/2 22/1 30/1 11/1 5/1", "59 23 31 12 6", "59-59/7 * * * *"),
        *("0 0 * * 7", "0 0 * * */7 7", "0 0 31 * mon", "0 0 30 2,3 mon", "@weekly"),
    ],
)
def test_what_both_majors_read_alike_is_no_warning(expression: str) -> None:
    with warnings.catch_warnings(action="error"):
        app = TypedQ("shop")
        app.cron(expression, app.task(name="tick")(lambda: None).call())


@pytest.mark.skipif("TYPEDQ_OLDEST_CRONITER" in os.environ, reason="this is the run with it")
def test_slots_are_the_same_with_the_oldest_supported_croniter(tmp_path: Path) -> None:
    # "around_a_jump" is about our arithmetic, not croniter's.
    selection = [__file__, "-k", "not around_a_jump"]
    run_with(f"croniter=={OLDEST}", tmp_path, selection, {"TYPEDQ_OLDEST_CRONITER": OLDEST})


def test_this_run_uses_the_croniter_it_should() -> None:
    assert version("croniter") == os.environ.get("TYPEDQ_OLDEST_CRONITER", version("croniter"))
    assert croniter.__module__ == "croniter.croniter"
