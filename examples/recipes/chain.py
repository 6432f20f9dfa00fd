"""A chain with parallel steps: split a book, count its chapters in parallel, publish the sum.

Holds: each step runs at least once. `publish` runs after the last chapter was counted.
Does not hold: exactly once. If a worker dies after it enqueued the next step, that step runs again.
So each step writes under its own key, and `publish` overwrites. A dead-lettered step stops its
chain; `typedq dead retry` continues it.
"""

# pyright: reportUnknownMemberType=false
import os
from typing import cast

import redis

from typedq import TypedQ

app = TypedQ("recipe-chain")
store = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.task
def split(book: str, text: str) -> None:
    chapters = text.split("\n\n")
    app.enqueue_many(count.call(book, n, len(chapters), c) for n, c in enumerate(chapters))


@app.task
def count(book: str, chapter: int, chapters: int, text: str) -> None:
    counts = f"words:{book}"
    store.hset(counts, str(chapter), len(text.split()))
    store.expire(counts, 86_400)
    if store.hlen(counts) == chapters:
        publish.enqueue(book)


@app.task
def publish(book: str) -> None:
    counts = cast("list[bytes]", store.hvals(f"words:{book}"))
    store.set(f"published:{book}", sum(map(int, counts)))
