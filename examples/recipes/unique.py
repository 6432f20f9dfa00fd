"""Unique jobs: while a reindex of a product waits, further requests are not enqueued.

Holds: a run that starts after a request sees each change made before it, because the task deletes
the key before it reads anything. A request during a run is enqueued.
Does not hold: only one at a time. If a job waits longer than WAIT, or runs again after a crash, two
may run: make the task idempotent. If a producer is killed between `set` and `enqueue`, its key
blocks further requests for at most WAIT seconds.
"""

# pyright: reportUnknownMemberType=false
import os

import redis

from typedq import Receipt, TypedQ

app = TypedQ("recipe-unique")
store = redis.Redis.from_url(os.environ["REDIS_URL"])
WAIT = 600  # seconds


def reindex_once(product: int) -> Receipt | None:
    if not store.set(f"waits:{product}", 1, nx=True, ex=WAIT):
        return None  # the waiting job will see this change
    try:
        return reindex.enqueue(product)
    except BaseException:
        store.delete(f"waits:{product}")
        raise


@app.task
def reindex(product: int) -> None:
    store.delete(f"waits:{product}")
    store.incr(f"reindexed:{product}")  # in place of the work
