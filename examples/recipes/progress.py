"""Progress: how far a long import is, for a page to show, and for the next attempt to go on from.

Holds: a file that is counted as done was loaded, and progress never goes back. The next attempt,
after a crash or a retry, goes on where the last one was.
Does not hold: once for each file. The one in hand at a crash is loaded again, so that must change
nothing: here it is written under its own name. Progress is forgotten a day after it last moved.
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
    """Answer how many files are done; `id` is that of the receipt."""
    return int(cast("bytes | None", store.get(f"progress:{id}")) or 0)
