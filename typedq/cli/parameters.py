"""Parse durations, moments and numbers of processes as they are typed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from typer import BadParameter

from typedq.policy import parse_duration


def duration(text: str) -> float:
    """Return seconds; the text is "90", "1.5s", "30m", "2h" or "1d"."""
    if (length := parse_duration(text)) is not None:
        return length
    raise BadParameter(f"{text!r} is not a duration (90, 30m, 2h, 1d)")


def moment(text: str) -> datetime:
    """Return an aware moment; the text is ISO 8601."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise BadParameter(f"{text!r} is not a date and time (2027-01-31T09:30:00Z)") from None
    if read.utcoffset() is None:
        raise BadParameter(f"{text!r} has no time zone; add Z for UTC, or an offset such as +01:00")
    return read


def expiry(text: str) -> float | datetime:
    """Return seconds for a duration, else an aware moment."""
    if (length := parse_duration(text)) is not None:
        return length
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise BadParameter(
            f"{text!r} is neither a duration (10m, 2h) nor a date and time (2027-01-31T09:30:00Z)"
        ) from None
    return moment(text)


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return the values of texts such as "tenant=acme" by key."""
    found = dict[str, str]()
    for text in texts:
        key, mark, value = text.partition("=")
        if not mark:
            raise BadParameter(f"{text!r} is not KEY=VALUE (tenant=acme)", param_hint=option)
        if key in found:
            raise BadParameter(f"{key!r} is given twice", param_hint=option)
        found[key] = value
    return found


def since(text: str) -> datetime:
    """Return a moment; the text is a duration ago, or ISO 8601 (UTC if it has no time zone)."""
    try:
        if (ago := parse_duration(text)) is not None:
            return datetime.now(UTC) - timedelta(seconds=ago)
        read = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise BadParameter(
            f"{text!r} is not a duration (30m, 1h, 2d) or a date (2027-01-31)"
        ) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def address(text: str) -> str:
    """Return an IP address as it was given."""
    try:
        ip_address(text)
    except ValueError:
        raise BadParameter(f"{text!r} is not an IP address (0.0.0.0, ::, 127.0.0.1)") from None
    return text


def processes(text: str) -> int:
    """Return a number of processes; the text is "4", "cores" or "cores*2"."""
    from typedq.cgroup import parse_processes  # with psutil

    count = parse_processes(text)
    if not count:
        raise BadParameter(f"{text!r} is not a number of processes (4, cores, cores*2)")
    return count


def cores() -> int:
    """Return how many cores this process may use: its CPU quota rounded up, at least 1."""
    from typedq.cgroup import usable_cores

    return usable_cores()
