"""Unique jobs: while a reindex of a product waits, further wishes for it are not enqueued.

Holds: what changed before a wish is seen by a run that begins after it, for the key is given back
before the task reads anything. So a wish made while it runs is enqueued.
Does not hold: never two. One that waits longer than WAIT, or is run again after a crash, may have
company: a task should bear that. A producer killed between `set` and `enqueue` blocks its key, and
so further wishes, for WAIT at most.
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
        return None  # one that waits will see this change too
    try:
        return reindex.enqueue(product)
    except BaseException:
        store.delete(f"waits:{product}")
        raise


@app.task
def reindex(product: int) -> None:
    store.delete(f"waits:{product}")
    store.incr(f"reindexed:{product}")  # stands for the work
