"""No idle worker sleeps beside a ready message: every interleaving is tried.

A small model of enqueue, BLPOP and work, for workers that serve different queues. `Rules` takes
single rules of the scripts away, which must lead to stuck states, or the search would be blind.
The model is held to the scripts by a walk through both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import pytest

from typedq.broker import settlements

if TYPE_CHECKING:
    from tests.broker.conftest import Place

T = TypeVar("T")
ANY = -1  # any token may have been taken
# asks: about to call settle_and_fetch; empty: got nothing, will block; blocks: in BLPOP; busy: for
# as long as it likes; ended: gone for good, after others ended its session
Doing = Literal["asks", "empty", "blocks", "busy", "ended"]


class Rules(NamedTuple):
    """What the scripts do about tokens."""

    leaves: bool = True  # settle_and_fetch leaves a token if it leaves messages
    returns: bool = True  # it returns the token that it took if it did not read that queue
    ended: bool = True  # ... even if its session has ended
    released: bool = True  # what is released adds a token
    one_each: bool = True  # a wake token per queue, not one for all


class Worker(NamedTuple):
    serves: tuple[int, ...]
    doing: Doing = "asks"
    token: int | None = None
    alive: bool = True


class State(NamedTuple):
    ready: tuple[int, ...]
    tokens: tuple[bool, ...]
    to_come: tuple[int, ...]  # messages not yet enqueued, per queue
    workers: tuple[Worker, ...]
    deaths: int  # how many sessions others may still end
    returns: int  # how many messages may still be put back


def put(row: tuple[T, ...], at: int, value: T) -> tuple[T, ...]:
    return (*row[:at], value, *row[at + 1 :])


class Model:
    """The steps of the system under some rules; `want` messages at most in one `work`.

    at_once: the server may fetch for whom it gives a token, before anybody else is served
    """

    def __init__(self, rules: Rules, want: int = 1, *, at_once: bool = False) -> None:
        self.rules, self.want, self.at_once = rules, want, at_once

    def wake(self, queue: int) -> int:
        return queue if self.rules.one_each else 0

    def add_token(self, state: State, queue: int) -> State:
        return state._replace(tokens=put(state.tokens, self.wake(queue), True))

    def pass_token(self, state: State, queue: int) -> State:
        left = state.ready[queue] > 0
        return state._replace(tokens=put(state.tokens, self.wake(queue), left))

    def enqueue(self, state: State, queue: int) -> State:
        ready = put(state.ready, queue, state.ready[queue] + 1)
        return self.add_token(state._replace(ready=ready), queue)

    def return_token(self, state: State, serves: tuple[int, ...], owed: int | None) -> State:
        """What a token that was taken obliges to."""
        for queue in serves:
            if owed in (queue, ANY):
                state = self.pass_token(state, queue)
        return state

    def work(self, state: State, serves: tuple[int, ...], owed: int | None) -> tuple[State, int]:
        """enqueue.lua, work.lua and their parts, in Python: the state after, messages fetched."""
        wanted = self.want
        for queue in serves:
            if wanted <= 0:
                break
            got = min(wanted, state.ready[queue])
            wanted -= got
            state = state._replace(ready=put(state.ready, queue, state.ready[queue] - got))
            if self.rules.leaves:
                state = self.pass_token(state, queue)
            if state.ready[queue]:
                break
        if self.rules.leaves and self.rules.returns:
            state = self.return_token(state, serves, owed)
        return state, self.want - wanted

    def steps(self, state: State) -> Iterator[State]:
        """Every state that may come next, busy workers apart: they may stay busy for an hour."""
        for queue, left in enumerate(state.to_come):
            if left:
                to_come = put(state.to_come, queue, left - 1)
                yield self.enqueue(state._replace(to_come=to_come), queue)
        for at, worker in enumerate(state.workers):
            yield from self.steps_of(state, at, worker)

    def steps_of(self, state: State, at: int, worker: Worker) -> Iterator[State]:
        def now(after: State, doing: Doing, token: int | None = None) -> State:
            changed = worker._replace(doing=doing, token=token)
            return after._replace(workers=put(after.workers, at, changed))

        match worker.doing:
            case "asks" if not worker.alive:
                yield now(self.refuse(state, worker), "ended")
            case "asks":
                after, got = self.work(state, worker.serves, worker.token)
                yield now(after, "busy" if got else "empty")
            case "empty":
                yield now(state, "blocks")
            case "blocks":
                # Several may wait for one token; whichever is served first is tried.
                for queue in worker.serves:
                    if state.tokens[self.wake(queue)]:
                        tokens = put(state.tokens, self.wake(queue), False)
                        taken = state._replace(tokens=tokens)
                        yield now(taken, "asks", queue)
                        if self.at_once:
                            yield self.fetch(taken, at)
                        break
            case _:
                pass
        if state.deaths and worker.alive and worker.doing != "ended":
            ended = worker._replace(alive=False)
            yield state._replace(workers=put(state.workers, at, ended), deaths=state.deaths - 1)

    def refuse(self, state: State, worker: Worker) -> State:
        """What the script does for a session that has ended."""
        paid = self.return_token(state, worker.serves, worker.token)
        return paid if self.rules.ended else state

    def fetch(self, state: State, at: int) -> State:
        """What the server does for a worker that asked for it while it waited."""
        worker = state.workers[at]._replace(token=ANY)
        if worker.alive:
            after, got = self.work(state, worker.serves, ANY)
            changed = worker._replace(doing="busy" if got else "empty", token=None)
        else:
            after, changed = self.refuse(state, worker), worker._replace(doing="ended", token=None)
        return after._replace(workers=put(after.workers, at, changed))

    def finishes(self, state: State) -> Iterator[State]:
        for at, worker in enumerate(state.workers):
            if worker.doing == "busy":
                asks = worker._replace(doing="asks")
                yield state._replace(workers=put(state.workers, at, asks))
                if state.returns:  # told to stop, it hands back and leaves
                    queue, leaves = worker.serves[0], worker._replace(doing="ended")
                    back = state._replace(
                        ready=put(state.ready, queue, state.ready[queue] + 1),
                        workers=put(state.workers, at, leaves),
                        returns=state.returns - 1,
                    )
                    yield self.add_token(back, queue) if self.rules.released else back


def sleeps_beside_work(state: State) -> bool:
    return any(
        worker.doing == "blocks" and worker.alive and any(state.ready[q] for q in worker.serves)
        for worker in state.workers
    )


def search(model: Model, state: State) -> tuple[int, int]:
    """How many states can be reached, and in how many of them somebody sleeps for ever."""
    seen, frontier, stuck = {state}, [state], 0
    while frontier:
        state = frontier.pop()
        after = list(model.steps(state))
        if not after and sleeps_beside_work(state):
            stuck += 1
        for other in (*after, *model.finishes(state)):
            if other not in seen:
                seen.add(other)
                frontier.append(other)
    return len(seen), stuck


A, B = 0, 1
CREWS = {
    "one": ((A,),),
    "alike": ((A, B), (A, B)),
    "apart": ((A,), (B,)),
    "across": ((A, B), (B, A)),
    "one serves less": ((A, B), (B,)),
    "three": ((A, B), (A,), (B,)),
    "three alike": ((A, B), (A, B), (A, B)),
}


def totals(
    rules: Rules, *, at_once: bool = False, deaths: int = 0, returns: int = 0
) -> Iterator[tuple[int, int]]:
    """States and stuck states of each crew; what ends or returns is tried with fewer messages."""
    loads = ((2, 1),) if deaths or returns else ((3, 0), (2, 1), (2, 2))
    for serves, want, to_come in product(CREWS.values(), (1, 2), loads):
        crew = tuple(map(Worker, serves))
        start = State((0, 0), (False, False), to_come, crew, deaths, returns)
        yield search(Model(rules, want, at_once=at_once), start)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(("deaths", "returns"), [(0, 0), (0, 1), (1, 0)])
def test_no_worker_sleeps_beside_ready_messages_in_any_interleaving(
    deaths: int, returns: int, at_once: bool
) -> None:
    found = totals(Rules(), at_once=at_once, deaths=deaths, returns=returns)
    states, stuck = map(sum, zip(*found, strict=True))
    assert states > 5_000
    assert stuck == 0


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    ("rules", "deaths", "returns"),
    [
        (Rules(leaves=False), 0, 0),
        (Rules(returns=False), 0, 0),
        (Rules(ended=False), 1, 0),
        (Rules(released=False), 0, 1),
        (Rules(one_each=False), 0, 0),
    ],
    ids=["leaves none", "returns none", "session ended", "released", "one for all queues"],
)
def test_a_missing_rule_leads_to_a_worker_that_sleeps_beside_ready_messages(
    rules: Rules, deaths: int, returns: int, at_once: bool
) -> None:
    found = totals(rules, at_once=at_once, deaths=deaths, returns=returns)
    assert any(stuck for _, stuck in found)


def test_the_model_and_the_scripts_agree(place: Place) -> None:
    names = ("high", "low")
    dice, model = random.Random(7), Model(Rules(), 2)
    state = State((0, 0), (False, False), (0, 0), (), 0, 0)
    place.open("s")
    for step in range(400):
        queue = dice.randrange(2)
        if dice.random() < 0.5:
            state = model.enqueue(state, queue)
            place.fill(1, names[queue])
        else:
            owed = queue if state.tokens[queue] else None
            if owed is not None:  # as BLPOP takes it
                state = state._replace(tokens=put(state.tokens, owed, False))
                place.redis.lpop(place.keys.wake(names[owed]))
            serves = dice.choice([(A, B), (B, A), (A,), (B,)])
            if owed is not None and owed not in serves:
                serves = (*serves, owed)
            queues, token = [names[q] for q in serves], None if owed is None else names[owed]
            if dice.random() < 0.5:  # the server fetches as it gives the token
                owed, token = ANY, settlements.ANY_QUEUE
            state, got = model.work(state, serves, owed)
            worked = place(
                settlements.settle_and_fetch(place.keys, "s", queues, max_messages=2, token=token)
            )
            assert len(worked.messages) == got, step
        found = [(len(place.ready(name)), place.token(name)) for name in names]
        assert found == list(zip(state.ready, state.tokens, strict=True)), step
