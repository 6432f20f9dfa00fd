"""Typed results: stored for an hour under the message's id, and read with the same type.

Holds: each result comes from a run that finished. If a task runs twice, the last run wins, because
the id is the same in each attempt.
Does not hold: that a result arrives. `None` means waiting, running, dead-lettered or expired, so
stop waiting after a while. `typedq dead list` shows the dead letters.
"""

# pyright: reportUnknownMemberType=false
import os
from typing import cast

import msgspec
import redis

from typedq import Context, Receipt, TypedQ

app = TypedQ("recipe-results")
store = redis.Redis.from_url(os.environ["REDIS_URL"])
HOUR = 3600


class Summary(msgspec.Struct, frozen=True):
    words: int
    longest: str


@app.task
def summarize(ctx: Context, text: str) -> None:
    words = text.split()
    summary = Summary(len(words), max(words, key=len, default=""))
    store.set(f"result:{ctx.id}", msgspec.json.encode(summary), ex=HOUR)


def summary_of(receipt: Receipt) -> Summary | None:
    stored = cast("bytes | None", store.get(f"result:{receipt.id}"))
    return msgspec.json.decode(stored, type=Summary) if stored else None
