"""Rate limiting: 10 calls of a customer's API per second, however many workers there are.

Holds: no more than LIMIT runs get a place in one window; one that then crashes has used its place.
Those that must wait are spread over the windows to come, so that most wait only once.
Does not hold: for any second you choose, since the edge of two windows may see twice LIMIT. Nor is
there an order. Every wait counts as an attempt, so leave `Retry` room for them.
"""

# pyright: reportUnknownMemberType=false
import os

import redis

from typedq import Retry, RetryIn, TypedQ

app = TypedQ("recipe-rate-limit")
store = redis.Redis.from_url(os.environ["REDIS_URL"])
LIMIT, WINDOW = 10, 1.0  # runs, seconds


def take_place(key: str) -> None:
    """Return if there is room in this window, else come back in the first that has some."""
    seconds, micros = store.time()  # one clock for all machines
    window, passed = divmod(seconds + micros / 1e6, WINDOW)
    counter = f"limit:{key}:{window:.0f}"
    store.set(counter, 0, nx=True, ex=60)
    if behind := (store.incr(counter) - 1) // LIMIT:
        raise RetryIn(behind * WINDOW - passed + 0.001)


@app.task(retry=Retry(max_retries=100, on=ConnectionError))
def notify(customer: str, event: str) -> None:
    take_place(customer)
    store.rpush(f"notified:{customer}", event)  # stands for their API
