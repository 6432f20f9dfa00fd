"""An API that accepts orders and replies at once: `fastapi run examples/fastapi_app/web.py`."""

# pyright: reportUnknownMemberType=false
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from examples.fastapi_app.tasks import Bill, Order, make_bill, queue, store
from typedq import ServerError


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    queue.load()  # raises a configuration error at startup, not at the first order
    yield
    await queue.aclose()
    await store.aclose()


web = FastAPI(lifespan=lifespan)


@web.post("/orders", status_code=202)
async def take(order: Order) -> dict[str, str]:
    receipt = await make_bill.aenqueue(order)
    return {"id": receipt.id}


@web.get("/orders/{id}")
async def look(id: str) -> Bill:
    if found := await store.get(f"bill:{id}"):
        return Bill.model_validate_json(found)
    raise HTTPException(404, "not billed yet, or never ordered")


@web.exception_handler(ServerError)
async def try_again(_request: Request, _error: Exception) -> JSONResponse:
    """Redis or Valkey is unavailable: the order was not accepted, or its state is unknown."""
    return JSONResponse({"detail": "please try again"}, 503, {"Retry-After": "5"})
