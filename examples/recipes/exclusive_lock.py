"""An exclusive lock: only one rebuild of a shop's index at a time; the others wait.

Holds: two rebuilds never overlap, because the lock lives longer than the hard timeout of a run.
If a worker is killed, its lock expires after LOCK seconds. The message then runs again.
Does not hold: after a failover of Redis, which may lose a lock, or if a machine is suspended and
resumed later. If that matters, each run first gives its `ctx.fence` to the resource. The resource
refuses writes with any fence but the last one.
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
        raise RetryIn(0.1)  # frees the process for other tasks
    try:
        store.rpush(f"rebuild:{shop}", f"{ctx.id} begins")
        time.sleep(0.02)  # in place of the work
        store.rpush(f"rebuild:{shop}", f"{ctx.id} ends")
    finally:
        lock.release()
