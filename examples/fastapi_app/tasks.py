"""The tasks. Start a worker: `typedq worker examples.fastapi_app.tasks:queue`."""

# pyright: reportUnknownMemberType=false
import os

import redis.asyncio as redis
from pydantic import BaseModel, Field

from typedq import Context, Retry, TypedQ

queue = TypedQ("orders", soft_timeout=10)
# It connects at first use, so each process has its own connections.
store = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)


class Order(BaseModel):
    """One model checks both the request and the message."""

    customer: str = Field(min_length=1, max_length=100)
    items: dict[str, int]


class Bill(BaseModel):
    customer: str
    pieces: int


@queue.task(retry=Retry(max_retries=5, on=redis.ConnectionError))
async def make_bill(ctx: Context, order: Order) -> None:
    """Bill an order. Idempotent: the bill has the id of the message, so two runs make one bill."""
    bill = Bill(customer=order.customer, pieces=sum(order.items.values()))
    await store.set(f"bill:{ctx.id}", bill.model_dump_json())


@queue.on_process_stop
async def disconnect() -> None:
    await store.aclose()
