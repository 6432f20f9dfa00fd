"""Typed results: kept for an hour under the message's id, read with the type they were written in.

Holds: a result that is there is that of a run which came to its end. Should a task run twice, the
last one wins: the id is the same in every attempt.
Does not hold: that there ever is one. `None` means waiting, running, buried or expired, so give up
after a while; `typedq dead list` has what was buried.
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
    found = cast("bytes | None", store.get(f"result:{receipt.id}"))
    return msgspec.json.decode(found, type=Summary) if found else None
