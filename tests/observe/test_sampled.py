"""Measurements that take time are repeated so seldom that this does not matter."""

from __future__ import annotations

from typedq.observe.sampled import Sampled


def test_a_slow_measurement_is_made_for_one_percent_of_the_time() -> None:
    now, takes = [0.0], {1: 0.5, 2: 0.001}
    made = list[int]()

    def measure(thing: int) -> int:
        made.append(thing)
        now[0] += takes[thing]
        return len(made)

    sampled = Sampled(measure, lambda: now[0])
    first = sampled(1)
    for second in range(1, 101):  # scraped each second
        now[0] = float(second)
        assert sampled(2) == len(made)
        assert sampled(1) == first or second > 50
    assert (made.count(1), made.count(2)) == (2, 100)
    assert sum(takes[thing] for thing in made if thing == 1) <= 0.01 * now[0]


def test_things_that_have_gone_are_forgotten() -> None:
    now, made = [0.0], list[int]()

    def measure(thing: int) -> int:
        made.append(thing)
        now[0] += 1.0
        return thing

    sampled = Sampled(measure, lambda: now[0])
    for thing in range(1_001):
        assert sampled(thing) == thing
    assert sampled(0) == 0
    assert made.count(0) == 2
