"""An exclusive lock: one rebuild of a shop's index at a time; others wait for their turn.

Holds: no two at a time, since the lock outlasts the hard timeout, which ends every run. The lock of
a worker that was killed is free after LOCK seconds; its message then runs again.
Does not hold: across a failover of Redis, which may forget a lock, nor for a machine that stands
still and wakes up later. Where that matters, a run first tells the resource its `ctx.fence`, and
the resource refuses writes with any other than the last it was told.
"""

# pyright: reportUnknownMemberType=false
import os
import time

import redis

from typedq import Context, RetryIn, TypedQ

app = TypedQ("recipe-exclusive-lock")
store = redis.Redis.from_url(os.environ["REDIS_URL"])
HARD, LOCK = 60, 90  # seconds


@app.task(hard_timeout=HARD)
def rebuild(ctx: Context, shop: int) -> None:
    lock = store.lock(f"lock:rebuild:{shop}", timeout=LOCK)
    if not lock.acquire(blocking=False):
        raise RetryIn(0.1)  # gives the process back to others; nothing is blocked meanwhile
    try:
        store.rpush(f"rebuild:{shop}", f"{ctx.id} begins")
        time.sleep(0.02)  # stands for the work
        store.rpush(f"rebuild:{shop}", f"{ctx.id} ends")
    finally:
        lock.release()
