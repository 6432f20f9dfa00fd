"""Credentials that are asked for at every connect: each form, and a password that rotates."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from redis.credentials import CredentialProvider

from typedq.broker import Broker, stats
from typedq.embedded import OwnServer
from typedq.errors import ConfigurationError, ServerRefused, ServerUnavailable
from typedq.worker.waiting import Waiter

if TYPE_CHECKING:
    from tests.broker.conftest import Place
    from tests.conftest import WaitUntil

SECRET = "t0ken-of-now"


@pytest.fixture
def server(private: OwnServer) -> OwnServer:
    return private


class Provider(CredentialProvider):
    """The oldest kind: a class with a blocking method only."""

    def get_credentials(self) -> tuple[str, str]:
        return "shop", SECRET


class BothWays(Provider):
    """One that has the other method as well, which a loop is to be asked by."""

    async def get_credentials_async(self) -> tuple[str, str]:
        asyncio.get_running_loop()
        return "shop", SECRET


class CalledObject:
    """An object that is called."""

    def __call__(self) -> tuple[str, str]:
        return "shop", SECRET


class AwaitedObject:
    """An object whose call is awaited."""

    async def __call__(self) -> list[str]:
        await asyncio.sleep(0)
        return ["shop", SECRET]


async def coroutine() -> tuple[str, str]:
    await asyncio.sleep(0)
    return "shop", SECRET


FORMS: dict[str, Any] = {
    "provider": Provider(),
    "provider for both": BothWays(),
    "function": lambda: ("shop", SECRET),
    "coroutine function": coroutine,
    "function of a coroutine": lambda: asyncio.wait_for(coroutine(), 5),
    "object": CalledObject(),
    "awaited object": AwaitedObject(),
}


@pytest.fixture
def user(place: Place) -> Iterator[Callable[[str], None]]:
    """Sets the only password of the user "shop", and ends the connections with the old one."""

    def rotate(password: str) -> None:
        place.redis.execute_command(
            "ACL", "SETUSER", "shop", "reset", "on", f">{password}", "~*", "+@all"
        )
        place.redis.client_kill_filter(user="shop")

    rotate(SECRET)
    yield rotate
    place.redis.execute_command("ACL", "DELUSER", "shop")


def whoami(place: Place) -> set[str]:
    return {client["user"] for client in place.redis.client_list() if client["name"]}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_logs_in(place: Place, user: object, form: str) -> None:
    broker = Broker(place.url, place.namespace, credentials=FORMS[form])

    async def inside_a_loop() -> None:
        await broker.aenqueue([place.outgoing()], place.document)
        broker.enqueue([place.outgoing()], place.document)
        assert whoami(place) == {"shop"}
        broker.close()

    asyncio.run(inside_a_loop())
    broker.enqueue([place.outgoing()], place.document)
    assert len(place.ready()) == 3
    broker.close()


@pytest.mark.parametrize("answer", [SECRET, (SECRET,)])
def test_a_password_alone_is_that_of_the_urls_user(
    place: Place, user: object, answer: object
) -> None:
    given: Any = lambda: answer  # noqa: E731
    broker = Broker(place.url.replace("//", "//shop@"), place.namespace, credentials=given)
    broker.call(stats.workers(broker.keys))
    assert whoami(place) == {"shop"}
    broker.close()
    place.redis.execute_command("ACL", "SETUSER", "default", f">{SECRET}")
    Broker(place.url, place.namespace, credentials=given).call(stats.workers(broker.keys))
    place.redis.execute_command("ACL", "SETUSER", "default", "nopass")


def test_a_password_in_the_url_beside_it_is_refused(place: Place) -> None:
    with pytest.raises(ConfigurationError, match="it has a password, so credentials= cannot be"):
        Broker(place.url.replace("//", "//shop:pw@"), place.namespace, credentials=Provider())


def broken() -> tuple[str, str]:
    raise OSError("the identity service is away")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (broken, r"credentials= failed: OSError: the identity service is away"),
        (lambda: None, "it must return a password or"),
        (lambda: {"username": "shop", "password": "x"}, "it must return a password or"),
        (lambda: ("a", "b", "c"), "it must return a password or"),
        (lambda: (b"shop", b"secret"), "it must return a password or"),
        (dict, "it must return a password or"),
    ],
)
def test_a_provider_that_fails_is_named_as_the_cause(place: Place, given: Any, why: str) -> None:
    broker = Broker(place.url, place.namespace, deadline=0.3, credentials=given)

    async def awaited() -> None:
        await broker.aenqueue([place.outgoing()], place.document)

    attempts: list[Callable[[], object]] = [
        lambda: broker.enqueue([place.outgoing()], place.document),
        lambda: asyncio.run(awaited()),
    ]
    for attempt in attempts:
        with pytest.raises(ServerUnavailable, match=why) as caught:
            attempt()
        assert str(caught.value).endswith("does the provider given as credentials= work?")


def test_a_wrong_password_is_tried_again_and_then_refused(place: Place, user: object) -> None:
    asked = list[int]()

    def wrong() -> tuple[str, str]:
        asked.append(1)
        return "shop", "wr0ng-one"

    broker = Broker(place.url, place.namespace, deadline=0.5, credentials=wrong)
    with pytest.raises(ServerRefused, match="or from credentials= ") as caught:
        broker.enqueue([place.outgoing()], place.document)
    assert len(asked) > 2
    assert "wr0ng-one" not in str(caught.value) + repr(vars(broker)) + repr(vars(broker._endpoint))


@pytest.mark.slow
def test_a_password_that_rotates_under_load_loses_nothing(
    place: Place, user: Callable[[str], None], wait_until: WaitUntil
) -> None:
    """Every connection is ended with each rotation, and what is asked for may be late."""
    current, stop = [SECRET], threading.Event()

    def rotate() -> None:
        number = 0
        while not stop.wait(2.0):
            number += 1
            user(f"{SECRET}-{number}")
            stop.wait(0.1)  # the provider hears of it later than the server
            current[0] = f"{SECRET}-{number}"

    async def acredentials() -> tuple[str, str]:
        return "shop", current[0]

    sync = Broker(place.url, place.namespace, credentials=lambda: ("shop", current[0]))
    awaited = Broker(place.url, place.namespace, credentials=acredentials)
    waiter = Waiter(sync, [sync.keys.wake("mid")])

    def produce(_: int) -> list[str]:
        ids = list[str]()
        while not stop.is_set():
            out = place.outgoing()
            sync.enqueue([out], place.document)
            ids.append(out.id)
        return ids

    async def aproduce() -> list[str]:
        ids = list[str]()
        while not stop.is_set():
            batch = [place.outgoing() for _ in range(4)]
            await asyncio.gather(*(awaited.aenqueue([out], place.document) for out in batch))
            ids += (out.id for out in batch)
        return ids

    def wait() -> list[str]:
        while not stop.is_set():
            waiter.wait(0.2)
        return []

    with ThreadPoolExecutor(5) as pool:
        results = [pool.submit(produce, 1), pool.submit(produce, 2), pool.submit(wait)]
        results.append(pool.submit(lambda: asyncio.run(aproduce())))
        rotation = pool.submit(rotate)
        try:
            wait_until(lambda: current[0].endswith("-3"))
        finally:
            stop.set()
        sent = [id for result in results for id in result.result(20)]
        rotation.result()
    waiter.close()
    sync.close()
    assert sync.lost_connections
    assert place.everywhere() == dict.fromkeys(sent, 1)
