"""fetch: how much one reply holds where messages are large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typedq.broker.operations import DEFAULT_BOUNDS
from typedq.broker.parking import Group, Parked, park, unpark

if TYPE_CHECKING:
    from tests.broker.conftest import Place


def put(place: Place, count: int, size: int) -> list[str]:
    body = b'"' + b"x" * size + b'"'
    return place.put(*(place.outgoing(body=body) for _ in range(count)))


def test_large_messages_come_a_few_at_a_time_and_the_rest_is_told_of(place: Place) -> None:
    sent = put(place, 7, 400_000)
    place.open("s")
    assert place.fetch("s", 64) == sent[:3]
    assert place.tokens() == "mid", "who comes next must not wait"
    assert place.fetch("s", 64) == sent[3:6]
    assert place.fetch("s", 64) == sent[6:]
    assert place.flying("s") == set(sent)


def test_a_message_above_the_bound_comes_alone(place: Place) -> None:
    sent = put(place, 2, 2**21)
    place.open("s")
    assert [place.fetch("s", 64) for _ in range(3)] == [sent[:1], sent[1:], []]


def test_small_ones_come_as_wanted(place: Place) -> None:
    sent = put(place, 70, 10)
    place.open("s")
    assert place.fetch("s", 64) == sent[:64]


def test_what_is_parked_comes_by_the_same_measure(place: Place) -> None:
    sent, group = put(place, 5, 400_000), Group("mid", "t@0")
    place.open("s", "t")
    for _ in range(2):
        parked = [Parked(group, id.encode()) for id in place.fetch("s", 64)]
        place(park(place.keys, "s", parked, DEFAULT_BOUNDS))
    got = [len(place(unpark(place.keys, "t", group, 64)).messages) for _ in range(3)]
    assert got == [3, 2, 0]
    assert place.flying("t") == set(sent)
