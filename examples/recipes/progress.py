"""Progress of a long import: a page shows it, and the next attempt continues from it.

Holds: each file counted as done was loaded. Progress never decreases. After a crash or a retry,
the next attempt continues where the last one stopped.
Does not hold: each file exactly once. The file that was loading at a crash is loaded again. This is
idempotent, because it is written under its own name. Progress expires a day after its last change.
"""

# pyright: reportUnknownMemberType=false
import os
from pathlib import Path
from typing import cast

import redis

from typedq import Context, Retry, TypedQ

app = TypedQ("recipe-progress")
store = redis.Redis.from_url(os.environ["REDIS_URL"])
DAY = 86_400


@app.task(retry=Retry(max_retries=10, on=OSError, backoff=0.5))
def load(ctx: Context, paths: list[str]) -> None:
    for done in range(progress_of(ctx.id), len(paths)):
        lines = Path(paths[done]).read_text().splitlines()
        store.hset("lines", paths[done], len(lines))
        store.set(f"progress:{ctx.id}", done + 1, ex=DAY)


def progress_of(id: str) -> int:
    """Return how many files are done; `id` is the id of the receipt."""
    return int(cast("bytes | None", store.get(f"progress:{id}")) or 0)
