"""Rate limiting: 10 calls of a customer's API per second, with any number of workers.

Holds: at most LIMIT runs start in one window. A run that crashes has used its place. The waiting
runs are spread over the next windows, so most of them wait only once.
Does not hold: at most LIMIT in any second. Around the edge of two windows, twice LIMIT may run.
There is no order. Each wait counts as an attempt, so set `max_retries` high enough.
"""

# pyright: reportUnknownMemberType=false
import os

import redis

from typedq import Retry, RetryIn, TypedQ

app = TypedQ("recipe-rate-limit")
store = redis.Redis.from_url(os.environ["REDIS_URL"])
LIMIT, WINDOW = 10, 1.0  # runs, seconds


def take_place(key: str) -> None:
    """Take a place in this window, or run again in the first window with a free place."""
    seconds, micros = store.time()  # the same clock for all machines
    window, passed = divmod(seconds + micros / 1e6, WINDOW)
    counter = f"limit:{key}:{window:.0f}"
    store.set(counter, 0, nx=True, ex=60)
    if behind := (store.incr(counter) - 1) // LIMIT:
        raise RetryIn(behind * WINDOW - passed + 0.001)


@app.task(retry=Retry(max_retries=100, on=ConnectionError))
def notify(customer: str, event: str) -> None:
    take_place(customer)
    store.rpush(f"notified:{customer}", event)  # in place of their API
