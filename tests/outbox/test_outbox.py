"""The outbox of docs/outbox.md, on both databases: the relay is killed at each of its steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.postgres import running
from tests.snippets import place, snippets
from typedq import Call, TypedQ
from typedq.embedded import OwnServer
from typedq.encoder import MessageEncoder

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
SETTINGS = """
import json, os
SECRET_KEY = "for tests only"
DATABASES = {"default": json.loads(os.environ["SHOP_DATABASE"])}
INSTALLED_APPS = ["typedq.django", "shop"]
TYPEDQ = {"namespace": "shop", "queues": ["relay", "default"]}
"""


@pytest.fixture
def server() -> Iterator[OwnServer]:
    with OwnServer() as made:
        yield made


@pytest.fixture(scope="module")
def postgres() -> Iterator[Path]:
    with running() as home:
        yield home


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    text = (ROOT / "docs" / "outbox.md").read_text().replace("<!-- not run: ", "<!-- ")
    for snippet in snippets(text):
        if path := place(snippet):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(snippet.text)
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


def test_a_row_is_sent_with_the_contract_of_the_code_that_runs_the_relay() -> None:
    old, new = TypedQ("orders"), TypedQ("orders")

    @old.task(name="ship")
    def ship_before(order: int) -> None: ...

    @new.task(name="ship")
    def ship(order: int, express: bool) -> None: ...

    row = msgspec.msgpack.encode(ship_before.call(7))
    call = msgspec.msgpack.decode(row, type=Call)
    (sent,) = MessageEncoder(new.declarations, new.settings).encode([call]).messages
    assert ship.contract.id.encode() in sent.message
    assert sent.message.endswith(b'{"order":7}')  # a worker refuses it, and no upcaster sees it


@pytest.mark.parametrize("name", ["orders", "shop"])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_is_committed_is_accepted_once_wherever_the_relay_is_killed(
    kind: str, name: str, recipe: Path, server: OwnServer, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{recipe / 'orders.sqlite'}"
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(recipe / "shop.sqlite")}
    if kind == "postgres":
        home = request.getfixturevalue("postgres")
        url = f"postgresql+psycopg://shop@/postgres?host={home}"
        database = {"ENGINE": "django.db.backends.postgresql", "HOST": str(home), "USER": "shop"}
        database["NAME"] = "postgres"
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kills.py")), name],
        cwd=recipe,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "SHOP_DATABASE": json.dumps(database),
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": str(recipe),
            "TYPEDQ_URL": server.url,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] >= 6
    assert len(found["orders"]) == found["kills"] + 1
    assert found["accepted"] == found["orders"]
