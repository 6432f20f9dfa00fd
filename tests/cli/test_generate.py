"""`typedq generate python`: from one repository to another, to a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Shop
from typedq.bundle import parse

OWNER = """
import enum, os, uuid
from datetime import UTC, datetime
import msgspec
from typedq import Queue, TypedQ

app = TypedQ(os.environ["SHOP"], queues=[Queue("high"), Queue("low")])

class Size(enum.Enum):
    SMALL = "small"

class Order(msgspec.Struct):
    number: int
    id: uuid.UUID
    at: datetime
    raw: bytes
    sizes: set[Size]
    note: str | None = None
    since: datetime = datetime(2027, 1, 1, tzinfo=UTC)

@app.task(queue="high")
def ship(order: Order) -> None:
    assert order.since.year == 2027 and order.sizes == {Size.SMALL} and order.raw == b"\\0\\xff"
    with open("log", "a") as log:
        log.write(f"{order.number}\\n")
"""
CONSUMER = """
import datetime, uuid
import shop_tasks as shop

calls = [
    shop.ship.call(shop.Order(
        number=n, id=uuid.uuid4(), at=datetime.datetime.now(datetime.UTC), raw=b"\\0\\xff",
        sizes={shop.Size.SMALL},
    ))
    for n in range(999)
]
shop.app.enqueue_many(calls)
now = datetime.datetime.now()
shop.ship.enqueue(shop.Order(999, uuid.uuid4(), now, b"\\0\\xff", set(shop.Size)))
"""


def elsewhere(shop: Shop, folder: Path, code: str) -> None:
    """Run code in a directory that does not have the owner's."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**shop.env, "TYPEDQ_APP": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_process_without_the_owners_code_sends_what_a_worker_runs(
    shop: Shop,
) -> None:
    shop.file("shop.py", OWNER)
    there = shop.directory / "elsewhere"
    bundle = there / "shop.typedq.json"
    shop.out("bundle", "shop:app", "-o", str(bundle))
    said = shop.out("generate", "python", str(bundle), "-o", str(there / "shop_tasks"))
    assert said == f"{there / 'shop_tasks'}: 1 task of {shop.namespace}\n"
    assert {path.name for path in (there / "shop_tasks").iterdir()} == {
        "__init__.py",
        "py.typed",
        "typedq.lock.json",
    }
    elsewhere(shop, there, CONSUMER)
    shop.run("worker", "--burst")
    assert sorted(map(int, shop.ran)) == [*range(1_000)]


def test_a_directory_of_something_else_is_left_alone(shop: Shop) -> None:
    shop.out("bundle", "shop:app", "-o", "b.json")
    (shop.directory / "mine").mkdir()
    shop.file("mine/__init__.py", "x = 1")
    generate = ("generate", "python", "b.json", "-o")
    assert "and `typedq generate` did not write it" in shop.error(*generate, "mine")
    shop.out("generate", "typescript", "b.json", "-o", "src")
    assert "src exists, and `typedq generate` did not write it" in shop.error(*generate, "src")
    for name, why in (("shop-tasks", "cannot be the name"), ("json", "is the name of a module")):
        assert f"'{name}' {why}" in shop.error(*generate, name)
    assert "mine/__init__.py/x cannot be written: File ex" in shop.error(
        "bundle", "shop:app", "-o", "mine/__init__.py/x"
    )
    shop.file("file", "")
    assert "file/x cannot be written: " in shop.error(*generate, "file/x")
    shop.out(*generate, "tasks")
    lock = parse((shop.directory / "tasks/typedq.lock.json").read_bytes(), "lock", kind="pins")
    assert lock.tasks.keys() == {"send_email", "resize", "hold", "fail"}
    shop.out(*generate, "tasks")
    shop.file(
        "other.py", "from typedq import TypedQ\napp = TypedQ('x')\n@app.task\ndef t() -> None: ..."
    )
    shop.out("bundle", "other:app", "-o", "o.json")
    said = shop.error("generate", "python", "o.json", "-o", "tasks")
    assert f"it is of the namespace '{shop.namespace}', not of 'x'; choose another" in said


def test_wrong_bundles_and_types_that_python_has_not_are_explained(shop: Shop) -> None:
    shop.file(
        "hooks.py",
        """
from pydantic import BaseModel, ConfigDict, HttpUrl
from typedq import TypedQ
app = TypedQ("x")
class Hook(BaseModel):
    model_config = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex")
    url: HttpUrl
    digest: bytes
@app.task
def call(hook: Hook) -> None: ...
""",
    )
    shop.out("bundle", "hooks:app", "-o", "b.json")
    generate = ("generate", "python", "b.json", "-o", "tasks")
    said = shop.error(*generate)
    assert (
        "Python cannot say or check these parts of the contracts: call: $.digest: no Python type"
        in said
    )
    assert "--allow-json makes senders that take JSON" in said
    assert not (shop.directory / "tasks").exists()
    _, err = shop.here(*generate, "--allow-json", code=0)
    assert "its sender takes JSON" in err
    text = (shop.directory / "b.json").read_text()
    shop.file("b.json", text.replace('"uri"', '"url"'))
    assert "b.json: it was edited, because its hash does not fit" in shop.error(*generate)
    shop.file("b.json", json.dumps({**json.loads(text), "format": 2}))
    assert "its format is 2, and this typedq knows 1: upgrade typedq" in shop.error(*generate)
    assert "it cannot be read: No such file" in shop.error("generate", "python", "no", "-o", "x")
