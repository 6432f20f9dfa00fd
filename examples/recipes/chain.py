"""A chain with a fork in it: split a book, count its chapters side by side, publish the sum.

Holds: every step runs at least once, and `publish` after the last chapter was counted.
Does not hold: once. A worker that dies after it enqueued the next step does so again, so every step
may be repeated: each writes what it found under a key of its own, and `publish` replaces.
A step that is buried ends its chain; `typedq dead retry` takes it up again.
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
    found = f"words:{book}"
    store.hset(found, str(chapter), len(text.split()))
    store.expire(found, 86_400)
    if store.hlen(found) == chapters:
        publish.enqueue(book)


@app.task
def publish(book: str) -> None:
    counts = cast("list[bytes]", store.hvals(f"words:{book}"))
    store.set(f"published:{book}", sum(map(int, counts)))
